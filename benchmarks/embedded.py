#!/usr/bin/env python3
"""The order book through rsm, durable, with sessions and roots, beside the same book on plain dicts.

Both books get the same seeded flow (see `_flow`) at several numbers of resting orders. At each, rounds of equal
commands run in turns: the bare book, then the durable one through `rsm.open`, where eight traders pipeline their
commands with a bounded number in flight. Then the machine is closed, recovered (timed), and its pieces run under a
clock (see `_stages`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _common import (
    Options,
    Taken,
    document,
    median,
    percentile,
    progress,
    run,
    scratch,
    show_head,
    table,
    taken,
)
from _flow import INSTRUMENTS, TRADERS, Command, Flow
from _memory import bytes_per_order
from _stages import Bench, bare_calls, principal

import rsm
from demos.orderbook.machine import OrderBook
from demos.orderbook.plain import new_book

SEED = 2021
IN_FLIGHT_MAX = 4096
# A snapshot in the middle of a round would be measured by chance; benchmarks/snapshot.py measures one on purpose.
SNAPSHOT_LOG_BYTES = 1 << 40


class Scale:
    """How much is measured: (resting orders, whether the stages are measured there), and the size of rounds."""

    def __init__(self, quick: bool) -> None:
        self.populations = [(10_000, True), (100_000, True), (1_000_000, not quick)]
        self.rounds = 5 if quick else 15
        self.commands_per_round = 10_000 if quick else 30_000
        self.stage_commands = 10_000 if quick else 50_000
        self.lone_commands = 200 if quick else 2_000
        self.memory_orders = 50_000 if quick else 1_000_000
        # The largest population is left out when the smaller ones show that it would not fit.
        self.wall_seconds_max = 50.0 if quick else 3600.0


class Pair:
    """The two books, and the flow that both get."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.book = new_book()
        self.flow = Flow(SEED, self.book)
        self.commands_logged = 0
        self._open()
        for instrument in range(INSTRUMENTS):
            self._machine.list_instrument(instrument, f"SYM{instrument}")
            self.book.list_instrument(_drop, instrument, f"SYM{instrument}")
        for trader in range(TRADERS):  # the machine numbers its owners as they first appear
            self._traders[trader].cancel(0)

    def _open(self) -> None:
        self._machine: Any = rsm.open(OrderBook, self._directory, snapshot_log_bytes=SNAPSHOT_LOG_BYTES)
        self._traders = [self._machine.session(principal=principal(trader)) for trader in range(TRADERS)]

    def close(self) -> None:
        """Close the machine."""
        self._machine.close()

    def run_bare(self, commands: Sequence[Command]) -> Taken:
        """What the plain book takes."""
        calls = bare_calls(commands, self.book)
        reports: list[Any] = []
        sink = reports.append

        def work() -> None:
            for method, values in calls:
                method(sink, *values)

        return taken(work)

    def run_durable(self, commands: Sequence[Command]) -> Taken:
        """What the machine takes until the last of the commands is durable, applied and answered."""
        calls = [(getattr(self._traders[c.trader], c.name).send, c.values) for c in commands]
        pending: deque[Any] = deque()

        def work() -> None:
            for send, values in calls:
                if len(pending) == IN_FLIGHT_MAX:
                    pending.popleft().result()
                pending.append(send(*values))
            for command in pending:
                command.result()

        self.commands_logged += len(calls)
        return taken(work)

    def grow(self, resting: int) -> None:
        """Fill both books up to so many orders."""
        count = resting - len(self.book.orders)
        progress(f"filling both books to {resting:,} orders")
        place = self.book.place
        for command in self.flow.grow(count):
            *terms, flags = command.values
            place(_drop, *terms, command.trader + 1, flags)
        sends = [trader.place.send for trader in self._traders]
        pending: deque[Any] = deque()
        for command in self.flow.grow(count):
            if len(pending) == IN_FLIGHT_MAX:
                pending.popleft().result()
            pending.append(sends[command.trader](*command.values))
        for answer in pending:
            answer.result()
        self.commands_logged += count
        self.flow.grown(count)

    def check(self) -> None:
        """Raise unless both books hold the same."""
        expected = (len(self.book.orders), len(self.book.levels))
        if self._machine.counts() != expected:
            raise RuntimeError(f"the books differ: {self._machine.counts()} durable, {expected} plain")
        for instrument in range(INSTRUMENTS):
            if self._machine.best(instrument) != self.book.best(instrument):
                raise RuntimeError(f"the books differ at the touch of instrument {instrument}")

    def lone_seconds(self, count: int) -> list[float]:
        """How long each of some commands takes that are sent one after another, each when the last is answered."""
        found = []
        for _ in range(count):
            began = time.perf_counter()
            self._traders[0].cancel(0)
            found.append(time.perf_counter() - began)
        self.commands_logged += count
        return found

    def stages(self, resting: int, count: int) -> dict[str, Any]:
        """Close the machine, recover it on the bench, measure its pieces there, and open it again."""
        self.close()
        progress("recovering, and measuring stages")
        bench = Bench(self._directory, [principal(trader) for trader in range(TRADERS)])
        found: dict[str, Any] = {
            "recovered_commands": self.commands_logged,
            "recovered_commands_per_second": round(self.commands_logged / bench.recovery_seconds),
        }
        commands = self.flow.commands(count, resting)
        found["stages"] = bench.measure(commands, self.book)
        self.commands_logged += count
        bench.close()
        self._open()
        self.check()
        return found


def _drop(_: object) -> None:
    """A sink for reports that nobody needs."""


def measure_population(pair: Pair, resting: int, scale: Scale, with_stages: bool) -> dict[str, Any]:
    """Everything that is measured at one depth of the book."""
    pair.grow(resting)
    found: dict[str, Any] = {"resting_orders": resting}
    count = scale.commands_per_round
    rounds: list[tuple[Taken, Taken]] = []
    for _ in range(scale.rounds + 1):
        commands = pair.flow.commands(count, resting)
        rounds.append((pair.run_bare(commands), pair.run_durable(commands)))
    del rounds[0]  # it warmed up
    bare, durable = ([each[side].wall_seconds / count * 1e6 for each in rounds] for side in (0, 1))
    bare_work, durable_work = ([each[side].processor_seconds / count * 1e6 for each in rounds] for side in (0, 1))
    ratios = [theirs / ours for ours, theirs in zip(bare, durable, strict=True)]
    work_ratios = [theirs / ours for ours, theirs in zip(bare_work, durable_work, strict=True)]
    pair.check()
    progress(f"{resting:,} orders: bare {median(bare)}, durable {median(durable)} us a command, {median(ratios)} times")
    lone = pair.lone_seconds(scale.lone_commands)
    found |= {
        "resting_orders_at_end": len(pair.book.orders),
        "levels": len(pair.book.levels),
        "rounds": scale.rounds,
        "commands_per_round": count,
        "bare_commands_per_second": round(1e6 / median(bare, 6)),
        "durable_commands_per_second": round(1e6 / median(durable, 6)),
        "bare_microseconds_per_command": median(bare),
        "durable_microseconds_per_command": median(durable),
        "cost_ratio": median(ratios),
        "cost_ratio_min": round(min(ratios), 2),
        "cost_ratio_max": round(max(ratios), 2),
        "bare_processor_microseconds_per_command": median(bare_work),
        "durable_processor_microseconds_per_command": median(durable_work),
        "processor_cost_ratio": median(work_ratios),
        "lone_command_p50_milliseconds": round(percentile(lone, 0.5) * 1e3, 3),
        "lone_command_p99_milliseconds": round(percentile(lone, 0.99) * 1e3, 3),
    }
    if with_stages:
        found |= pair.stages(resting, scale.stage_commands)
    return found


def measure(options: Options, scale: Scale | None = None) -> dict[str, Any]:
    """The whole benchmark."""
    scale = scale or Scale(options.quick)
    began = time.monotonic()
    with scratch(options) as directory:
        found = document("embedded", options, directory, "fsync")
        found |= {"commands_in_flight_max": IN_FLIGHT_MAX, "sessions": TRADERS, "populations": [], "skipped": []}
        progress("measuring memory")
        for kind in ("plain", "tracked"):
            found[f"{kind}_memory_bytes_per_order"] = bytes_per_order(kind, scale.memory_orders)
        pair = Pair(directory / "book")
        try:
            for resting, with_stages in scale.populations:
                if time.monotonic() - began + _estimated_seconds(found, resting, scale) > scale.wall_seconds_max:
                    found["skipped"].append({"resting_orders": resting, "reason": "it would take too long"})
                    continue
                found["populations"].append(measure_population(pair, resting, scale, with_stages))
        finally:
            pair.close()
    return found


def _estimated_seconds(found: dict[str, Any], resting: int, scale: Scale) -> float:
    """What a population will take, from what a command took at the last one."""
    if not found["populations"]:
        return 0.0
    last = found["populations"][-1]
    cost = last["durable_microseconds_per_command"] + last["bare_microseconds_per_command"] + 8.0
    return (resting + scale.rounds * scale.commands_per_round) * cost * 1.2 / 1e6


def show(found: dict[str, Any]) -> None:
    """Print the document as tables."""
    show_head(found)
    sizes = found["plain_memory_bytes_per_order"], found["tracked_memory_bytes_per_order"]
    print(f"a resting order takes {sizes[0]} bytes on plain containers, {sizes[1]} on tracked ones")
    for population in found["populations"]:
        stages = population.get("stages", {})
        rows = [(name.replace("_", " "), value) for name, value in population.items() if name != "stages"]
        table(f"{population['resting_orders']:,} resting orders", rows)
        if stages:
            rows = [(name.removesuffix("_microseconds").replace("_", " "), value) for name, value in stages.items()]
            table("  of it, microseconds a command", rows)
    for skipped in found["skipped"]:
        print(f"\n{skipped['resting_orders']:,} resting orders: skipped, {skipped['reason']}")


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], measure, show)
