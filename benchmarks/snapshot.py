#!/usr/bin/env python3
"""A snapshot of a machine with a million keys while commands flow, beside an encoding of the whole state at once.

Commands are sent at a steady rate, whether or not earlier ones have been answered. What is noted for each is the time
from when it was due to its answer: one that was due while something held everything up counts its whole wait. Three
situations take turns: nothing else happens, a snapshot is being written, or the whole state is encoded in one call and
written to a file, as a program without buckets would do it.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from _common import Options, document, median, percentile, progress, run, scratch, show_head, table

import rsm

# Snapshots are asked for, not set off by the log's growth.
SNAPSHOT_LOG_BYTES = 1 << 40
FILL_KEYS = 1000
KEYS_SPREAD = 0x9E3779B1  # neighbouring commands touch distant keys


class Item(rsm.Struct):
    """What a key holds."""

    owner: int
    amount: int
    label: str


class Registry(rsm.StateMachine, name="benchmark_registry", version=1):
    """Many keys in one map."""

    items: rsm.Map[int, Item]

    @rsm.command(version=1)
    def fill(self, ctx: rsm.Context, first: int, count: int) -> None:
        """Set many keys."""
        for key in range(first, first + count):
            self.items[key] = Item(key % 1000, key, "filled")

    @rsm.command(version=1)
    def add(self, ctx: rsm.Context, key: int, amount: int) -> int:
        """Change one key."""
        item = self.items[key]
        self.items[key] = Item(item.owner, item.amount + amount, item.label)
        return item.amount + amount

    @rsm.query
    def encode_everything(self) -> bytes:
        """The whole state in one piece."""
        return msgspec.msgpack.encode(dict(dict.items(self.items)))


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.keys = 1_000_000
        self.rounds = 3 if quick else 15
        self.quiet_seconds = 2.0
        self.commands_per_second = 500


class Caller:
    """Sends commands at a steady rate, never waiting for answers; a second thread notes when each answer comes."""

    def __init__(self, machine: Any, scale: Scale) -> None:
        self._machine = machine
        self._scale = scale
        self._sent = 0

    def during(self, work: Callable[[], object]) -> list[float]:
        """Seconds that each command took while the work was being done."""
        found: list[float] = []
        is_over = threading.Event()
        sent: queue.SimpleQueue[tuple[float, Any] | None] = queue.SimpleQueue()
        threads = [
            threading.Thread(target=self._send, args=(sent, is_over)),
            threading.Thread(target=self._collect, args=(sent, found)),
        ]
        for thread in threads:
            thread.start()
        try:
            work()
        finally:
            is_over.set()
            for thread in threads:
                thread.join()
        return found

    def _send(self, sent: queue.SimpleQueue[tuple[float, Any] | None], is_over: threading.Event) -> None:
        due = time.perf_counter()
        while True:
            due += 1 / self._scale.commands_per_second
            wait = due - time.perf_counter()
            if wait > 0:
                time.sleep(wait)
            self._sent += 1
            sent.put((due, self._machine.add.send(self._sent * KEYS_SPREAD % self._scale.keys, 1)))
            if is_over.is_set():
                break
        sent.put(None)

    def _collect(self, sent: queue.SimpleQueue[tuple[float, Any] | None], found: list[float]) -> None:
        while (one := sent.get()) is not None:
            due, pending = one
            pending.result()
            found.append(time.perf_counter() - due)


def encode_and_write(machine: Any, path: Path) -> None:
    """What a program does that has nothing better."""
    with path.open("wb") as file:
        file.write(machine.encode_everything())
        file.flush()
        os.fsync(file.fileno())


def fill(machine: Any, keys: int) -> None:
    """Put the keys in."""
    pending = [machine.fill.send(first, min(FILL_KEYS, keys - first)) for first in range(0, keys, FILL_KEYS)]
    for answer in pending:
        answer.result()


def measure(options: Options, scale: Scale | None = None) -> dict[str, Any]:
    """The whole benchmark."""
    scale = scale or Scale(options.quick)
    with scratch(options) as directory:
        found = document("snapshot", options, directory, "fsync")
        with rsm.open(Registry, directory / "registry", snapshot_log_bytes=SNAPSHOT_LOG_BYTES) as machine:
            progress(f"filling {scale.keys:,} keys")
            fill(machine, scale.keys)
            works: dict[str, Callable[[], object]] = {
                "quiet": lambda: time.sleep(scale.quiet_seconds),
                "snapshot": machine.snapshot,
                "whole_state_encode": lambda: encode_and_write(machine, directory / "everything"),
            }
            caller = Caller(machine, scale)
            latencies: dict[str, list[list[float]]] = {name: [] for name in works}
            seconds: dict[str, list[float]] = {name: [] for name in works}
            for number in range(scale.rounds):
                for name, work in works.items():
                    began = time.perf_counter()
                    latencies[name].append(caller.during(work))
                    seconds[name].append(time.perf_counter() - began)
                slowest = ", ".join(f"{name} {max(latencies[name][-1]) * 1e3:.1f}" for name in works)
                progress(f"round {number + 1}: the slowest command took, in ms: {slowest}")
    quiet = [max(taken) for taken in latencies["quiet"]]
    found |= {"keys": scale.keys, "rounds": scale.rounds, "commands_per_second": scale.commands_per_second}
    for name in latencies:
        found[name] = summary(latencies[name], seconds[name])
    for name in ("snapshot", "whole_state_encode"):
        longer = [max(taken) - least for taken, least in zip(latencies[name], quiet, strict=True)]
        found[name]["slowest_command_longer_than_quiet_milliseconds"] = median([each * 1e3 for each in longer], 3)
    return found


def summary(rounds: list[list[float]], seconds: list[float]) -> dict[str, float]:
    """What is said of one situation; the slowest command is the median of its rounds' slowest."""
    every = [taken for each in rounds for taken in each]
    return {
        "commands": len(every),
        "round_seconds": median(seconds),
        "p50_milliseconds": round(percentile(every, 0.5) * 1e3, 3),
        "p99_milliseconds": round(percentile(every, 0.99) * 1e3, 3),
        "p99_9_milliseconds": round(percentile(every, 0.999) * 1e3, 3),
        "slowest_command_milliseconds": median([max(each) * 1e3 for each in rounds], 3),
        "slowest_command_of_all_milliseconds": round(max(every) * 1e3, 3),
    }


def show(found: dict[str, Any]) -> None:
    """Print the document as tables."""
    show_head(found)
    print(f"{found['keys']:,} keys, {found['commands_per_second']} commands a second, {found['rounds']} rounds")
    for name in ("quiet", "snapshot", "whole_state_encode"):
        table(name.replace("_", " "), [(key.replace("_", " "), value) for key, value in found[name].items()])


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], measure, show)
