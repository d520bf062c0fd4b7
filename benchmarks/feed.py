#!/usr/bin/env python3
"""Two hundred observers of one node of the order book: what commands take with them and without, and who misses what.

Three node processes at a steady rate of commands. All observers follow the log of one follower; three of them stop
reading as soon as they have subscribed. Windows with observers and without follow each other in turns, and what is
compared are latencies at the clients, from when a command was due.
"""

from __future__ import annotations

import argparse
import sys
import time
from array import array
from typing import Any

from _common import Options, document, median, progress, run, scratch, show_head, table
from _peers_rsm import Rsm, percentiles, report
from _processes import Child, ending_by_signal, processor_seconds

from rsm.node.config import LimitsSection

WAIT_SECONDS_MAX = 90.0
LOOK_SECONDS = 0.05
AIM_P99_RATIO = 1.3


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool, commands_per_second: int) -> None:
        self.observers = 200
        self.stopped = 3
        self.commands_per_second = commands_per_second
        self.clients = 2
        self.day_commands = 20_000
        self.settle_seconds = 1.0 if quick else 2.0
        self.window_seconds = 4.0 if quick else 15.0
        self.rounds = 3 if quick else 6


class Window:
    """One stretch of time under load."""

    def __init__(self, latencies: array[float], seconds: float, processor: list[float]) -> None:
        self.latencies = latencies
        self.seconds = seconds
        self.processor = processor

    def facts(self) -> dict[str, Any]:
        """What it found."""
        return {
            "commands_per_second": round(len(self.latencies) / self.seconds),
            **percentiles(self.latencies),
            "node_processor_ratio": [round(seconds / self.seconds, 3) for seconds in self.processor],
        }


def window(contender: Rsm, scale: Scale, directory: Any) -> Window:
    """Let the load settle, then measure."""
    time.sleep(scale.settle_seconds)
    report(contender.clients, directory)
    pids = [child.pid for child in contender.nodes]
    began, before = time.monotonic(), [processor_seconds([pid]) for pid in pids]
    time.sleep(scale.window_seconds)
    latencies = report(contender.clients, directory)
    seconds = time.monotonic() - began
    after = [processor_seconds([pid]) for pid in pids]
    return Window(latencies, seconds, [one - other for one, other in zip(after, before, strict=True)])


def until_at(child: Child, index: int) -> dict[str, Any]:
    """Wait until all observers that read have got an index; how they do."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while (facts := child.ask("report"))["lowest_index"] < index:
        if time.monotonic() > deadline or facts["failures"]:
            raise RuntimeError(f"observers are behind index {index}: {facts}")
        time.sleep(LOOK_SECONDS)
    return facts


def observed(contender: Rsm, child: Child, place: int, scale: Scale, directory: Any) -> tuple[Window, dict[str, Any]]:
    """A window with all observers on the node at `place`; how they did, once they have what was committed in it."""
    cluster = contender.cluster
    began = time.monotonic()
    child.ask("attach", address=cluster.addresses[place], count=scale.observers, stopped=scale.stopped)
    before = until_at(child, cluster.page(place)["applied_index"])
    joined = time.monotonic() - began
    found = window(contender, scale, directory)
    facts = until_at(child, cluster.page(place)["applied_index"])
    if facts["gapless"] != facts["live"]:
        raise RuntimeError(f"observers missed entries: {facts}")
    child.ask("detach")
    for name in ("bytes", "frames"):
        facts[name] -= before[name]
    return found, facts | {"joined_seconds": joined, "joining_bytes": before["bytes"]}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark alone can be told."""
    parser.add_argument(
        "--commands-per-second", type=int, default=5_000, metavar="N", help="the steady load (default: %(default)s)"
    )


def measure(options: Options) -> dict[str, Any]:
    """All rounds."""
    scale = Scale(options.quick, options.commands_per_second)
    rounds = []
    with scratch(options) as directory, ending_by_signal():
        found = document("feed", options, directory, "fsync")
        contender = Rsm(directory, LimitsSection(), clients=scale.clients, day_commands=scale.day_commands)
        child = Child("observers", [sys.executable, "-m", "_observers"], directory, talks=True)
        try:
            contender.prepare()
            child.ask("ready")
            for client in contender.clients:
                client.ask("pace", commands_per_second=scale.commands_per_second / scale.clients)
            roles = [contender.cluster.page(place)["role"] for place, _ in enumerate(contender.nodes)]
            place = roles.index("follower")
            window(contender, scale, directory)  # it warms up
            for number in range(scale.rounds):
                without = window(contender, scale, directory)
                those, facts = observed(contender, child, place, scale, directory)
                rounds.append((without, those, facts))
                quiet, busy = (one.facts()["p99_milliseconds"] for one in (without, those))
                progress(f"round {number + 1} of {scale.rounds}: p99 {quiet} ms without, {busy} ms with")
            for client in contender.clients:
                client.ask("stop", seconds_max=120.0)
            contender.check()
        finally:
            child.stop()
            contender.stop()
    return found | summary(scale, rounds, place)


def summary(scale: Scale, rounds: list[tuple[Window, Window, dict[str, Any]]], place: int) -> dict[str, Any]:
    """Medians of the rounds."""
    without, those = ([one[side].facts() for one in rounds] for side in (0, 1))
    facts = [one[2] for one in rounds]
    ratios = [busy["p99_milliseconds"] / quiet["p99_milliseconds"] for quiet, busy in zip(without, those, strict=True)]
    seconds = sum(one[1].seconds + scale.settle_seconds for one in rounds)
    live = facts[0]["live"]
    delivered = sum(one["bytes"] for one in facts)
    observed_node = [median([one["node_processor_ratio"][place] for one in side], 3) for side in (without, those)]
    return {
        "observers": scale.observers,
        "observers_stopped": scale.stopped,
        "observers_live": live,
        "observers_gapless": min(one["gapless"] for one in facts),
        "observers_skipped": sum(one["skips"] for one in facts),
        "entries_per_observer": round(sum(one["entries"] for one in facts) / live),
        "joining_bytes_per_observer": round(median([one["joining_bytes"] for one in facts]) / live),
        "all_joined_after_seconds": median([one["joined_seconds"] for one in facts]),
        "bytes_per_observer": round(delivered / live),
        "bytes_per_observer_per_second": round(delivered / live / seconds),
        "frames_per_observer_per_second": round(sum(one["frames"] for one in facts) / live / seconds, 1),
        "offered_commands_per_second": scale.commands_per_second,
        "rounds": len(rounds),
        "window_seconds": scale.window_seconds,
        "aim_p99_ratio": AIM_P99_RATIO,
        "p99_ratio": median(ratios),
        "p99_ratio_min": round(min(ratios), 2),
        "p99_ratio_max": round(max(ratios), 2),
        **{
            f"{when}_observers_{name}": median([one[name] for one in side], digits)
            for when, side in (("without", without), ("with", those))
            for name, digits in (("commands_per_second", 0), ("p50_milliseconds", 3), ("p99_milliseconds", 3))
        },
        "without_observers_observed_node_processor_ratio": observed_node[0],
        "with_observers_observed_node_processor_ratio": observed_node[1],
        "windows": [{"without": quiet, "with": busy} for quiet, busy in zip(without, those, strict=True)],
    }


def show(found: dict[str, Any]) -> None:
    """Print the document as a table."""
    show_head(found)
    rows = [
        (name.replace("_", " "), value)
        for name, value in found.items()
        if name not in ("benchmark", "quick", "durability", "environment", "windows", "wall_seconds")
    ]
    table(f"{found['observers']} observers of one follower", rows)


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], measure, show, add_arguments)
