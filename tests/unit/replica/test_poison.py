"""No entry may stop every replica for ever, and none may mean something else under another library or release."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

import rsm
from rsm.errors import BadBytes, UnknownFormat
from rsm.limits import CHUNK_LEAVES_MAX, CURSORS_MAX
from rsm.replica import executor, system_commands
from rsm.replica.answer import Status, decode
from rsm.replica.batch import CURSOR, FLAG_HASH_POINT, PIPELINE, decode_batch, join_batch
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts, restore
from tests.machines import SECOND, Log


class Tag(msgspec.Struct):
    """A parameter whose own check quotes what it was given."""

    text: str

    def __post_init__(self) -> None:
        if self.text.startswith("x"):
            raise ValueError(f"bad tag {self.text}")


class Shouting(rsm.StateMachine, name="shouting", version=1):
    """Takes structs, and emits and returns as much as it is told."""

    lines: rsm.Table[str, rsm.Queue[int]]

    @rsm.command()
    def mark(self, ctx: rsm.Context, tag: Tag, either: dict[str, int] | None = None) -> str:
        return tag.text

    @rsm.command()
    def shout(self, ctx: rsm.Context, times: int, size: int) -> None:
        for _ in range(times):
            ctx.emit("!" * size)

    @rsm.command()
    def speak(self, ctx: rsm.Context, size: int) -> str:
        return "." * size

    @rsm.command()
    def queue(self, ctx: rsm.Context, name: str, count: int) -> int:
        for number in range(count):
            self.lines[name].push(number)
        return len(self.lines[name])


@pytest.mark.parametrize("values", [[{"text": "x - at `$[99]`"}, None], [{"text": "a"}, {"k": "v"}], ["text", 5]])
def test_a_wording_never_stops_a_replica(values: list[Any]) -> None:
    """Values that fail their schema are INVALID with a constant body, whatever the library says about them."""
    log = Log(Shouting)
    session = log.open()
    for answer in (log.send(session, "mark", *values), log.send(session, PIPELINE, ["mark", 1, values])):
        assert answer.status == Status.INVALID
        assert decode(answer.body)[0] == "values"
    assert log.run(session, "mark", {"text": "fine"}, None) == "fine"


def test_a_later_releases_command_stops_the_replica() -> None:
    """It is not skipped or answered: an older release would then differ from a newer one."""
    log = Log(Shouting)
    session = log.open()
    with pytest.raises(UnknownFormat, match=r"'rsm\.later' is not known"):
        log.send(session, "rsm.later", 1)
    log = Log(Shouting)
    with pytest.raises(UnknownFormat, match="later one wrote"):
        log.lead("rsm.latest", 1)


@pytest.mark.parametrize(("version", "stamp"), [(1, 2**63), (2**31, 1)])
def test_heads_out_of_range_are_refused(version: int, stamp: int) -> None:
    """A stamp that no container can hold must not get as far as the clock."""
    with pytest.raises(BadBytes, match="out of range"):
        decode_batch(join_batch(version, stamp, 0, []))


def test_events_and_results_of_a_batch_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command that goes beyond fails and is rolled back; the next batch starts anew."""
    monkeypatch.setattr(executor, "EVENT_BYTES_KEPT", 1000)
    monkeypatch.setattr(executor, "RESULT_BYTES_PER_BATCH_MAX", 1000)
    log = Log(Shouting)
    session = log.open()
    assert log.send(session, "shout", 9, 100).status == Status.OK
    assert log.send(session, "shout", 10, 100).status == Status.FAILED
    assert log.send(session, "shout", 9, 100).status == Status.OK
    assert log.send(session, "speak", 990).status == Status.OK
    assert log.send(session, "speak", 1001).status == Status.FAILED
    assert len(log.events()) == 18


def test_cursors_and_principals_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can fill the state with names."""
    monkeypatch.setattr(system_commands, "CURSORS_MAX", 2)
    assert CURSORS_MAX > 2
    log = Log(Shouting)
    session = log.open()
    log.run(session, "shout", 1, 1)
    statuses = [log.send(session, CURSOR, name, 1).status for name in ("a", "b", "c", "a")]
    assert statuses == [Status.OK, Status.OK, Status.REJECTED, Status.OK]
    assert log.lead("rsm.open_session", "p" * 256, 0).status == Status.INVALID


def test_a_long_queue_is_written_in_pieces() -> None:
    """All items of a queue lie in one bucket; its snapshot still has no large record, and restores to the same root."""
    log = Log(Shouting)
    session = log.open()
    count = 3 * CHUNK_LEAVES_MAX + 5
    assert log.run(session, "queue", "jobs", count) == count
    log.entry([], FLAG_HASH_POINT)
    records = list(parts(log.replica, bytes(16)))
    assert max(len(payload) for _, payload in records) < 400_000
    restored = Replica(Shouting)
    restore(restored, records)
    assert restored.root() == log.replica.root()
    assert len(restored.machine.lines["jobs"]) == count  # type: ignore[attr-defined]  # the machine is a Shouting


def test_one_principal_cannot_take_all_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sessions are bounded on their own, and are counted as they end, and in a restored replica, too."""
    monkeypatch.setattr(system_commands, "SESSIONS_PER_PRINCIPAL_MAX", 2)
    log = Log(Shouting)
    first, second = log.open("ann"), log.open("ann", ttl_seconds=60)
    full = log.lead("rsm.open_session", "ann", 0)
    assert full.status == Status.REJECTED
    assert "of this principal" in decode(full.body)[0]
    log.open("bob")
    for _ in range(4):
        log.open("")  # who has no name is no principal
    log.entry([], FLAG_HASH_POINT)
    restored = Replica(Shouting)
    restore(restored, list(parts(log.replica, bytes(16))))
    assert [restored.sessions.of_principal(name) for name in ("ann", "bob", "", "eve")] == [2, 1, 4, 0]
    assert log.lead("rsm.close_session", first).status == Status.OK
    assert log.open("ann")
    log.now += 100 * SECOND
    log.entry([])
    assert second not in log.replica.sessions
    assert log.open("ann")
    assert log.lead("rsm.open_session", "ann", 0).status == Status.REJECTED
