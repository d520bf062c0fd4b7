"""Odd things that processes do: forking with a machine open, timers that never let it rest, streams over a failure."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import rsm
from rsm.limits import QUERY_SLICE_ITEMS, TICK_SECONDS_MIN


class Restless(rsm.StateMachine, name="restless", version=1):
    """Schedules itself at once, for ever; can fail fatally half-way through a batch."""

    beats: int
    numbers: rsm.Map[int, int]

    @rsm.command()
    def beat(self, ctx: rsm.Context) -> None:
        self.beats += 1
        ctx.schedule(ctx.now, Restless.beat)

    @rsm.command()
    def fill(self, ctx: rsm.Context, value: int, count: int, fatal: bool = False) -> None:
        for number in range(count):
            self.numbers[number] = value
        if fatal:
            raise MemoryError

    @rsm.query
    def count(self) -> int:
        return self.beats

    @rsm.query
    def stream(self) -> Iterator[int]:
        for number in range(4 * QUERY_SLICE_ITEMS):
            yield self.numbers[number]


def test_a_timer_that_never_rests_fills_no_disk(tmp_path: Path) -> None:
    """An idle machine writes entries for timers at a bounded rate, and still answers at once."""
    with rsm.open(Restless, tmp_path / "m") as machine:
        machine.beat()
        before = machine.status().index
        time.sleep(0.5)
        written = machine.status().index - before
        assert 2 <= written <= 0.5 / TICK_SECONDS_MIN * 2
        assert machine.count() > 1


def test_a_forked_child_does_not_keep_the_directory(tmp_path: Path) -> None:
    """The lock goes when the parent closes, though the child has inherited the file."""
    machine = rsm.open(Restless, tmp_path / "m", durability="os")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(write)
        os.read(read, 1)  # until the parent is done
        os._exit(0)
    try:
        machine.close()
        rsm.open(Restless, tmp_path / "m").close()
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)


def test_a_stream_shows_nothing_of_a_batch_that_died(tmp_path: Path) -> None:
    """A fatal error half-way through a batch leaves the state half changed: the open stream ends with the failure."""
    machine = rsm.open(Restless, tmp_path / "m")
    count = 4 * QUERY_SLICE_ITEMS
    machine.fill(1, count)
    stream = machine.stream()
    seen = [next(stream)]
    with pytest.raises(rsm.Closed, match="MemoryError"):
        machine.fill(666, count, True)
    with pytest.raises(rsm.Closed):
        seen.extend(stream)
    assert set(seen) == {1}
