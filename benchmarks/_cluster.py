"""Contenders and rounds: what is measured of each, in turns, and how it is summed up."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from _common import median, percentile, progress
from _processes import Child, processor_seconds, resident_bytes, stop_all

# The clients need a moment to read their orders; then commands flow for `warm_seconds` before anything counts.
START_SECONDS = 0.05
DRAIN_SECONDS_MAX = 60.0
PERCENTILES = (("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999))


class Share(NamedTuple):
    """What one client process does of a measurement."""

    client: Child
    in_flight: int


class Contender:
    """A cluster of three nodes with its clients. A subclass starts the nodes and says who sends what."""

    name: str
    what: str
    is_durable: bool
    in_flight_max = 1 << 30  # what it takes; deeper levels are measured with this

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Child] = []
        self.clients: list[Child] = []
        self.acknowledged = 0

    def prepare(self) -> None:
        """Wait until it serves; start the clients, and have them send what comes first."""
        raise NotImplementedError

    def shares(self, in_flight: int) -> list[Share]:
        """How a number of commands in flight is spread over the clients; by default as evenly as it goes."""
        whole, rest = divmod(in_flight, len(self.clients))
        shares = [whole + (place < rest) for place in range(len(self.clients))]
        return [Share(client, share) for client, share in zip(self.clients, shares, strict=True) if share]

    def check(self) -> None:
        """Raise unless it holds what was acknowledged, as far as it can tell."""

    def stop(self) -> None:
        """End all its processes."""
        stop_all([*self.clients, *self.nodes])


class Sample(NamedTuple):
    """One contender at one level in one round."""

    commands_per_second: float
    latencies: array[float]
    node_processor_seconds: float  # a command
    client_processor_seconds: float | None  # a command; None where the nodes make the commands themselves
    failed: int


def sample(contender: Contender, in_flight: int, warm_seconds: float, seconds: float, directory: Path) -> Sample:
    """Keep commands in flight for a while."""
    nodes = [child.pid for child in contender.nodes]
    clients = [child.pid for child in contender.clients]
    before = processor_seconds(nodes), processor_seconds(clients)
    shares = contender.shares(in_flight)
    begins = time.monotonic() + START_SECONDS + warm_seconds
    for place, share in enumerate(shares):
        path = str(directory / f"latencies{place}")
        share.client.tell("run", in_flight=share.in_flight, begins=begins, ends=begins + seconds, latencies=path)
    answers = [share.client.hear(warm_seconds + seconds + DRAIN_SECONDS_MAX) for share in shares]
    latencies: array[float] = array("d")
    for place in range(len(shares)):
        latencies.frombytes((directory / f"latencies{place}").read_bytes())
    acknowledged = sum(answer["commands"] for answer in answers)
    contender.acknowledged += acknowledged
    commands = max(1, acknowledged)
    return Sample(
        len(latencies) / seconds,
        latencies,
        (processor_seconds(nodes) - before[0]) / commands,
        (processor_seconds(clients) - before[1]) / commands if clients else None,
        sum(answer["failed"] for answer in answers),
    )


def idle_processor_ratio(contender: Contender, seconds: float) -> float:
    """What part of one core its nodes take while nothing happens."""
    pids = [child.pid for child in contender.nodes]
    before = processor_seconds(pids)
    time.sleep(seconds)
    return round((processor_seconds(pids) - before) / seconds, 3)


def measure_rounds(contenders: Sequence[Contender], scale: Any, directory: Path) -> list[dict[str, Any]]:
    """All contenders at all levels, in turns, so that a disturbance from outside hits all of them."""
    samples: dict[tuple[str, int], list[Sample]] = {}
    before = {each.name: [resident_bytes(child.pid) for child in each.nodes] for each in contenders}
    for number in range(scale.rounds):
        for level, warm_seconds, seconds in scale.levels:
            for contender in contenders:
                found = sample(contender, min(level, contender.in_flight_max), warm_seconds, seconds, directory)
                samples.setdefault((contender.name, level), []).append(found)
                rate = f"{found.commands_per_second:,.0f} commands a second"
                progress(f"round {number + 1} of {scale.rounds}, {level:,} in flight: {contender.name} {rate}")
    return [
        {
            "name": each.name,
            "what": each.what,
            "is_durable": each.is_durable,
            "resident_before_bytes": before[each.name],
            "resident_after_bytes": [resident_bytes(child.pid) for child in each.nodes],
            "levels": [
                {"commands_in_flight": min(level, each.in_flight_max)} | summary(samples[each.name, level])
                for level, _, _ in scale.levels
            ],
        }
        for each in contenders
    ]


def summary(samples: Sequence[Sample]) -> dict[str, Any]:
    """Medians over the rounds of one contender at one level."""
    rates = [each.commands_per_second for each in samples]
    found: dict[str, Any] = {
        "rounds": len(samples),
        "commands": sum(len(each.latencies) for each in samples),
        "failed": sum(each.failed for each in samples),
        "commands_per_second": round(median(rates)),
        "commands_per_second_min": round(min(rates)),
        "commands_per_second_max": round(max(rates)),
    }
    for name, fraction in PERCENTILES:
        # A percentile that fewer answers lie beyond than one is the slowest answer, and says nothing.
        told = [each.latencies for each in samples if len(each.latencies) * (1 - fraction) >= 1]
        found[f"{name}_milliseconds"] = median([percentile(each, fraction) * 1e3 for each in told], 3) if told else None
    found["node_processor_microseconds_per_command"] = median([each.node_processor_seconds * 1e6 for each in samples])
    clients = [each.client_processor_seconds * 1e6 for each in samples if each.client_processor_seconds is not None]
    found["client_processor_microseconds_per_command"] = median(clients) if clients else None
    return found
