"""How much is run again to find the first command that two versions of the code run differently.

The difference is planted: the other version is a copy of the order book that takes one order, known by its id, for one
piece more. Both replay one log in processes of their own, as `rsm desync replay --against` has them. The intervals
have 64 entries, from one hash point to the next, with more or less commands in an entry; and the whole log, from one
snapshot to the next, with a hash point every 64 entries in it.
"""

from __future__ import annotations

import contextlib
import math
import os
import shutil
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import ROOT, progress
from _peers_rsm import ORDER_BOOK
from _traffic import DISK, Traffic, write_log

from rsm.codec.record import Entry
from rsm.desync.gate import replay_against
from rsm.desync.recording import Recording
from rsm.limits import HASH_INTERVAL_ENTRIES, REPLAY_STEP_COMMANDS, REPLAY_STEP_ENTRIES

HASH_POINTS, SNAPSHOTS = "hash points", "snapshots"
RIGHT = "return self.book.place(ctx.emit, order_id, instrument, side, quantity, "
WRONG = "return self.book.place(ctx.emit, order_id, instrument, side, quantity + (order_id == {order_id}), "
RESTING = 500


class Log:
    """One log, and where its orders are placed."""

    def __init__(self, path: Path, commands: int, commands_per_entry: int) -> None:
        self.path = path
        self.commands_per_entry = commands_per_entry
        self.opened = 0  # the last index before the flow begins
        self.last = 0
        self.orders: list[tuple[int, int]] = []  # index and order id of each order that is placed
        write_log(path, "orderbook", self._entries(commands))

    def _entries(self, commands: int) -> Iterator[Entry]:
        traffic = Traffic(RESTING)
        for made in traffic.opening():
            self.opened = made.entry.index
            yield made.entry
        for made in traffic.entries(commands, self.commands_per_entry):
            self.last = made.entry.index
            self.orders += ((self.last, each.values[0]) for each in made.commands if each.name == "place")
            yield made.entry

    def order_behind(self, index: int) -> int:
        """The id of the first order behind an index."""
        return next(order_id for at, order_id in self.orders if at > index)


def measure_bisecting(directory: Path, scale: Any) -> dict[str, Any]:
    """Several places in intervals of several lengths."""
    rows = []
    with _project_on_the_path():
        for number, commands_per_entry in enumerate(scale.hash_interval_commands_per_entry):
            entries = 3 * HASH_INTERVAL_ENTRIES
            log = Log(directory / f"hash{number}", entries * commands_per_entry, commands_per_entry)
            first = log.opened - log.opened % HASH_INTERVAL_ENTRIES + HASH_INTERVAL_ENTRIES
            rows.append(_interval(directory, scale, HASH_POINTS, log, first, first + HASH_INTERVAL_ENTRIES))
        for number, commands in enumerate(scale.snapshot_interval_commands):
            log = Log(directory / f"snapshots{number}", commands, scale.snapshot_interval_commands_per_entry)
            rows.append(_interval(directory, scale, SNAPSHOTS, log, log.opened, log.last))
    return {
        "what": "replay_against of one log under the order book and under a copy with one wrong order, two processes; "
        "both sides take a root behind every step, and run the step that ends with other roots once more, so at most "
        "a step and the rest of its last entry are run again by each side, however long the interval",
        "step_commands": REPLAY_STEP_COMMANDS,
        "step_entries": REPLAY_STEP_ENTRIES,
        "intervals": rows,
        "growth": [growth(kind, rows) for kind in (HASH_POINTS, SNAPSHOTS)],
    }


def _interval(directory: Path, scale: Any, kind: str, log: Log, first: int, last: int) -> dict[str, Any]:
    """Plant a difference at several places between two indexes, and have it found each time."""
    commands = (last - first) * log.commands_per_entry
    progress(f"{commands:,} commands between {kind}, {log.commands_per_entry:,} an entry")
    reexecuted, seconds, rates = [], [], []
    for place in scale.places:
        order_id = log.order_behind(first + int(place * (last - first)))
        other = _plant(directory, order_id)
        began = time.perf_counter()
        found = replay_against(Recording(DISK, str(log.path)), ORDER_BOOK, str(other))
        seconds.append(time.perf_counter() - began)
        rates.append(found.replayed_commands / seconds[-1])
        shutil.rmtree(other)
        if found.verdict != "desync" or found.command is None or found.command["values"].get("order_id") != order_id:
            raise RuntimeError(f"order {order_id} is wrong, and this was found: {found}")
        reexecuted.append(found.reexecuted)
    shutil.rmtree(log.path)
    most = max(reexecuted)
    progress(f"run again: {', '.join(f'{each:,}' for each in reexecuted)}")
    return {
        "between": kind,
        "commands_per_entry": log.commands_per_entry,
        "interval_entries": last - first,
        "interval_commands": commands,
        "place_ratio": list(scale.places),
        "reexecuted_commands": reexecuted,
        "reexecuted_commands_max": most,
        "reexecuted_of_interval_ratio": round(most / commands, 4),
        "reexecuted_to_logarithm_ratio": round(most / math.log2(commands), 2),
        "found_after_seconds": [round(each, 2) for each in seconds],
        "replayed_commands_per_second": [round(each) for each in rates],
    }


def _plant(directory: Path, order_id: int) -> Path:
    """A copy of the order book that is wrong about one order."""
    other = directory / f"wrong-{order_id}"
    shutil.copytree(ROOT / "demos", other / "demos", ignore=shutil.ignore_patterns("__pycache__", "recordings"))
    module = other / "demos" / "orderbook" / "machine.py"
    text = module.read_text(encoding="utf-8")
    if text.count(RIGHT) != 1:
        raise RuntimeError(f"{module}: the line to change is not there once")
    module.write_text(text.replace(RIGHT, WRONG.format(order_id=order_id)), encoding="utf-8")
    return other


@contextlib.contextmanager
def _project_on_the_path() -> Iterator[None]:
    """For the processes of the two sides, wherever this was started."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), before)))
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def growth(kind: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How what is run again grows with the interval. A shorter interval than a step can be run again whole.

    `exponent`: 1 would be linear, 0 constant; what grows like a logarithm is between them and near 0. Of the intervals
    that are longer than a step. `commands_per_doubling`: of all intervals.
    """
    every = [(row["interval_commands"], row["reexecuted_commands_max"]) for row in rows if row["between"] == kind]
    longer = [pair for pair in every if pair[0] > REPLAY_STEP_COMMANDS]
    return {
        "between": kind,
        "exponent": _slope([(math.log(length), math.log(most)) for length, most in longer]),
        "commands_per_doubling": _slope([(math.log2(length), most) for length, most in every]),
    }


def _slope(points: list[tuple[float, float]]) -> float | None:
    if len({x for x, _ in points}) < 2:
        return None
    return round(statistics.linear_regression(*zip(*points, strict=True)).slope, 3)
