"""What is still in use is read off logs, snapshots and sessions; nothing is dead that may still come."""

from __future__ import annotations

from typing import Any

import pytest

import rsm
from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes
from rsm.machine.definition import Definition
from rsm.replica.batch import ACTIVATE, FLAG_HASH_POINT, FLAG_UPGRADE, PIPELINE, encode_call, join_item
from rsm.replica.snapshot import parts
from rsm.schemas.usage import SourceUse, rows_of
from rsm.schemas.verdicts import of_classes, of_upcasters, unsure
from tests.machines import SECOND, Log


class TillV1(rsm.StateMachine, name="till", version=1):
    """Euros."""

    total: int

    @rsm.command(version=1)
    def pay(self, ctx: rsm.Context, euros: int) -> int:
        self.total += euros
        return self.total

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context, euros: int) -> int:
        return ctx.schedule(ctx.now + 3600 * SECOND, TillV1.pay, euros)


class TillV2(rsm.StateMachine, name="till", version=2, previous=TillV1):
    """Cents; `both` is gone."""

    total: int

    @rsm.command(version=2)
    def pay(self, ctx: rsm.Context, cents: int) -> int:
        self.total += cents
        return self.total

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context, euros: int) -> int:
        return ctx.schedule(ctx.now + SECOND, TillV2.pay, euros)

    @rsm.upcast("pay", from_version=1)
    def pay_1(euros: int) -> tuple[int]:  # type: ignore[misc]  # no method
        return (100 * euros,)

    @rsm.upcast("both", from_version=1, into={"pay": 1})
    def both_1(one: int, other: int) -> rsm.Split:  # type: ignore[misc]  # no method
        return rsm.split(("pay", one), ("pay", other), answers=0)


class History(Log):
    """A log that begins under the first release."""

    def __init__(self) -> None:
        super().__init__(TillV2, activate=False)
        self.machine = TillV1
        self.lead(ACTIVATE, "till", 1, TillV1.definition.schema(), b"seed of the test")

    def upgrade(self) -> None:
        """Move to the second release."""
        call = encode_call(ACTIVATE, 1, ["till", 2, TillV2.definition.schema(), b""])
        self.entry([join_item(0, 0, 0, call)], FLAG_UPGRADE | FLAG_HASH_POINT)
        assert self.replica.definition is TillV2.definition
        self.machine = TillV2

    def records(self) -> list[tuple[RecordKind, bytes]]:
        """A snapshot as of now."""
        self.entry([], FLAG_HASH_POINT)
        return list(parts(self.replica, bytes(16)))


def used(
    entries: list[Entry],
    *snapshots: list[tuple[RecordKind, bytes]],
    serves: bool = True,
    is_open: bool = False,
) -> SourceUse:
    """What is found in these entries, and in these snapshots, the newest first."""
    use = SourceUse("till-data", serves=serves)
    for number, records in enumerate(snapshots):
        use.add_snapshot(f"snapshot {number}", records, is_newest=not number)
    for entry in entries:
        use.add_entry(entry)
    use.finish(is_open=is_open)
    return use


def words(*sources: SourceUse, definition: Definition = TillV2.definition) -> dict[str, str]:
    """The verdict on each upcaster and each old class."""
    reasons = unsure(sources)
    found = {f"{one.command} v{one.from_version}": one.word for one in of_upcasters(definition, sources, reasons)}
    return found | {f"class {one.machine_version}": one.word for one in of_classes(definition, sources, reasons)}


def test_every_occurrence_is_counted_where_it_is() -> None:
    """By version and machine version, with indexes and the last time; the steps of a pipeline too."""
    log = History()
    ann = log.open("ann", 3600)
    log.run(ann, "pay", 1)
    log.run(ann, "pay", 2)
    log.upgrade()
    log.run(ann, "pay", 300, version=2)
    log.run(ann, PIPELINE, ["pay", 1, [1]], ["pay", 2, [1]])
    use = used(log.entries)
    assert {key: (one.count, one.first_index, one.last_index) for key, one in use.used.items()} == {
        ("pay", 1, 1): (2, 3, 4),
        ("pay", 2, 2): (2, 6, 7),
        ("pay", 1, 2): (1, 7, 7),
    }
    assert use.machine_versions.keys() == {1, 2}
    assert (use.machine, use.in_force, use.own["pay"]) == ("till", 2, 2)
    assert use.live == [{("pay", 1), ("pay", 2)}]


def test_while_the_old_release_is_in_force_its_upcasters_are_needed() -> None:
    """Whoever runs it sends the old version; the class is what the log runs under."""
    log = History()
    assert words(used(log.entries)) == {"pay v1": "needed", "both v1": "dead", "class 1": "needed"}


def test_old_entries_need_their_class_and_no_upcaster() -> None:
    """They run under it; what a client sends after the flip is the upcaster's."""
    log = History()
    ann = log.open("ann", 3600)
    log.run(ann, "pay", 1)
    log.close(ann)
    log.upgrade()
    # Timers of the time before the flip may wait: only a snapshot tells.
    assert words(used(log.entries)) == {"pay v1": "unchecked", "both v1": "unchecked", "class 1": "needed"}
    snapshot = log.records()
    assert words(used(log.entries, snapshot)) == {"pay v1": "dead", "both v1": "dead", "class 1": "needed"}
    assert words(used(log.entries[-1:], snapshot))["class 1"] == "dead"


def test_an_old_client_needs_the_upcaster() -> None:
    """As long as its session lives; a session that sent nothing may be anybody's."""
    log = History()
    ann = log.open("ann", 3600)
    log.run(ann, "pay", 1)
    log.upgrade()
    snapshot = log.records()
    assert words(used(log.entries, snapshot))["pay v1"] == "needed"
    # Its commands are compacted away: nobody knows what it sends.
    use = used(log.entries[-1:], snapshot)
    assert use.silent == 1
    assert unsure([use]) == ["till-data: 1 live session sent nothing that was looked at, so which versions is unknown"]
    assert words(use)["pay v1"] == "unchecked"
    log.tick(3601)
    assert words(used(log.entries[-1:], log.records()))["pay v1"] == "dead"


def test_a_split_leads_through_the_upcaster_of_its_parts() -> None:
    """An old command that becomes `pay` v1 needs the way from there as well."""
    log = History()
    log.upgrade()
    ann = log.open("ann", 1)
    log.run(ann, "both", 1, 2)
    use = used(log.entries, log.records())
    assert words(use) == {"pay v1": "needed", "both v1": "needed", "class 1": "needed"}


def test_a_timer_needs_the_upcaster() -> None:
    """One that was made under the old release waits in the snapshot; archived entries say nothing of timers."""
    log = History()
    ann = log.open("ann", 1)
    log.run(ann, "later", 5)
    log.upgrade()
    log.tick(10)
    snapshot = log.records()
    use = used(log.entries[-1:], snapshot)
    assert use.timers == {("pay", 1): 1}
    assert words(use) == {"pay v1": "needed", "both v1": "dead", "class 1": "dead"}
    log.tick(3600)
    assert words(used(log.entries[-1:], log.records()))["pay v1"] == "dead"
    assert words(used(log.entries, serves=False)) == {"pay v1": "dead", "both v1": "dead", "class 1": "needed"}


def test_below_the_floor_every_upcaster_of_the_class_is_needed() -> None:
    """Without the old class, what was written under it is run by whatever class there is."""

    class Alone(rsm.StateMachine, name="till", version=2):
        total: int

        @rsm.command(version=2)
        def pay(self, ctx: rsm.Context, cents: int) -> int:
            return cents

        @rsm.upcast("pay", from_version=1)
        def pay_1(euros: int) -> tuple[int]:  # type: ignore[misc]  # no method
            return (100 * euros,)

    log = History()
    ann = log.open("ann", 1)
    log.run(ann, "pay", 1)
    assert words(used(log.entries, serves=False), definition=Alone.definition) == {"pay v1": "needed"}


def test_snapshots_need_the_class_that_they_are_of() -> None:
    """Also an older one that is kept beside the newest."""
    log = History()
    old = log.records()
    log.upgrade()
    new = log.records()
    assert words(used(log.entries[-1:], new, old))["class 1"] == "needed"
    assert words(used(log.entries[-1:], new))["class 1"] == "dead"


@pytest.mark.parametrize("begins", [3, 5])
def test_a_gap_is_a_reason(begins: int) -> None:
    """A log that begins behind the snapshot, or without one in the middle, does not say what waits."""
    log = History()
    snapshot = log.records()
    for _ in range(6):
        log.tick(1)
    use = used(log.entries[begins:], snapshot)
    wanted = [f"till-data: timers and sessions of entries 3 to {begins} are in no snapshot here"]
    assert use.unchecked == wanted
    assert words(use)["both v1"] == "unchecked"
    assert used(log.entries[begins:]).unchecked
    assert used(log.entries[begins:], serves=False).unchecked == []


def test_a_node_tells_of_its_timers_and_sessions() -> None:
    """None waits: then none has an old version. Some wait, and the log begins late: they are unknown."""
    log = History()
    ann = log.open("ann", 1)
    log.run(ann, "pay", 1)
    log.close(ann)
    log.upgrade()

    def asked(first: int, timers: int, sessions: int) -> SourceUse:
        use = SourceUse("node", serves=True)
        for entry in log.entries[first:]:
            use.add_entry(entry)
        use.add_status(timers, sessions)
        use.finish(is_open=True, tells_status=True)
        return use

    assert words(asked(0, 0, 0))["pay v1"] == "dead"
    assert words(asked(0, 1, 0))["pay v1"] == "unchecked"
    assert asked(4, 2, 1).unchecked == [
        "node: 2 timers wait there, some perhaps from before index 5: name the node's directory too, whose snapshots "
        "hold them",
        "node: of 1 live session nothing is in the log from index 5 on",
    ]


@pytest.mark.parametrize("part", [None, [], [None], [None, [[1]]], [None, [[1, 1, 77, b"", b""]]], [None, "x"]])
def test_what_is_no_log_is_refused(part: Any) -> None:
    """A part of an export that is none, by whoever sent it."""
    with pytest.raises(BadBytes, match="a part of a log cannot be read"):
        list(rows_of([part]))


def test_a_log_of_nonsense_is_counted_in_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound it says that not all was counted, and nothing is dead."""
    monkeypatch.setattr("rsm.schemas.usage.USAGE_VERSIONS_MAX", 3)
    log = History()
    log.entry([join_item(7, 1, 1, encode_call("pay", number, [1])) for number in range(1, 9)])
    use = used(log.entries)
    assert len(use.used) == 3
    assert use.unchecked == ["till-data: more than 3 different command versions: not all were counted"]
    assert "dead" not in words(use).values()
