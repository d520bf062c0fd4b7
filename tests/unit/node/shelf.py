"""A cluster of shelves: state of many buckets, of which snapshots are taken often and sent in many small parts."""

from __future__ import annotations

import random
from typing import Any

import pytest

import rsm
from rsm.raft.messages import SnapshotChunk
from tests.cluster_stage import Call, Session, Stage

PART_BYTES = 2048


class Shelf(rsm.StateMachine, name="shelf", version=1):
    """State of many buckets and of one large one, and a command that makes the log long and changes nothing."""

    words: rsm.Map[str, int]
    levels: rsm.Table[int, rsm.Queue[str]]

    @rsm.command()
    def put(self, ctx: rsm.Context, key: str, value: int) -> None:
        self.words[key] = value

    @rsm.command()
    def push(self, ctx: rsm.Context, level: int, text: str) -> int:
        return self.levels[level].push(text)

    @rsm.command()
    def noise(self, ctx: rsm.Context, text: str) -> int:
        return len(text)

    @rsm.command()
    def tell(self, ctx: rsm.Context, text: str, times: int) -> int:
        for number in range(times):
            ctx.emit((text, number))
        return ctx.schedule(ctx.now + 10**15, Shelf.noise, text)


def shelf_stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    """Three nodes that take snapshots often, and send them in many small parts."""
    monkeypatch.setattr("rsm.node.snapshotting.installing.SNAPSHOT_PART_BYTES", PART_BYTES)
    monkeypatch.setattr("rsm.node.snapshotting.installing.SNAPSHOT_PARTS_IN_FLIGHT_MAX", 2)
    monkeypatch.setattr("rsm.node.snapshotting.installing.SNAPSHOT_STALL_SECONDS_MAX", 1.0)
    stage = Stage(Shelf, snapshot_log_bytes=64 * 1024)
    stage.start()
    return stage


def word(number: int) -> str:
    return f"{number} {random.Random(number).randbytes(400).hex()}"


def fill(stage: Stage, session: Session, count: int) -> None:
    """State of about a kilobyte for each."""
    items = [session.item("put", word(number), number) for number in range(count)]
    for start in range(0, count, 50):
        stage.settled(lambda start=start: Call(*items[start : start + 50]))  # type: ignore[misc]  # a bound default


def grow_log(stage: Stage, session: Session, snapshots: int = 3) -> None:
    """Enough entries for so many snapshots; the log before them is dropped."""
    for _ in range(snapshots):
        stage.do(session, "noise", "z" * 70_000)
        wanted = stage.leader().snapshots.ask()
        stage.until(wanted.done)
        index = wanted.result()
        stage.until(lambda index=index: stage.leader().replica.confirmed_index >= index)  # type: ignore[misc]


def leave_behind(stage: Stage, session: Session, number: int) -> None:
    """Cut a node off until the log that it needs is gone; then let it back."""
    others = tuple(sorted({1, 2, 3} - {number}))
    stage.partition((number,), others)
    stage.until(lambda: stage.leads in others)
    grow_log(stage, session)
    stage.until(lambda: stage.leader().journal.first_index > stage.members[number].journal.last_index + 1)
    stage.bytes_sent.clear()
    stage.partition()


def chunk_bytes(stage: Stage, number: int) -> int:
    return stage.bytes_sent[SnapshotChunk, number]


def parts_of(stage: Stage) -> list[tuple[Any, bytes]]:
    node = stage.leader()
    files = node.snapshot_files
    return [record for record in files.read(files.indexes()[-1]) if record[0].name == "CHUNK"]
