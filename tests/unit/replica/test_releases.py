"""Releases of a machine: the log selects the class, the flip happens at one index, and old roots reproduce."""

from __future__ import annotations

from typing import Any

import pytest

import rsm
from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes, DefinitionError, ReleaseMissing, WrongMachine
from rsm.replica.answer import decode
from rsm.replica.batch import ACTIVATE, FLAG_HASH_POINT, FLAG_UPGRADE, encode_call, join_batch, join_item
from rsm.replica.replica import Applied, Replica
from rsm.replica.snapshot import parts, restore
from tests.machines import SECOND, START, Log


class Note(rsm.Struct, frozen=True):
    """A record of the first two releases."""

    text: str


class TillV1(rsm.StateMachine, name="till", version=1):
    """Whole euros."""

    balances: rsm.Map[str, int]
    notes: rsm.Queue[Note]
    total: int

    @rsm.command(version=1)
    def pay(self, ctx: rsm.Context, who: str, euros: int) -> int:
        self.balances[who] = self.balances.get(who, 0) + euros
        self.total += euros
        self.notes.push(Note(who))
        return self.balances[who]

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context, who: str, euros: int) -> int:
        return ctx.schedule(ctx.now + SECOND, TillV1.pay, who, euros)


class TillV2(rsm.StateMachine, name="till", version=2, previous=TillV1):
    """Another rule: nobody owes anything."""

    balances: rsm.Map[str, int]
    notes: rsm.Queue[Note]
    total: int

    @rsm.command(version=1)
    def pay(self, ctx: rsm.Context, who: str, euros: int) -> int:
        self.balances[who] = max(0, self.balances.get(who, 0) + euros)
        return self.balances[who]

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context, who: str, euros: int) -> int:
        return ctx.schedule(ctx.now + SECOND, TillV2.pay, who, euros)


class TillV3(rsm.StateMachine, name="till", version=3, previous=TillV2):
    """Cents, in another container; `pay` has a second version."""

    cents: rsm.Map[str, int]
    notes: rsm.Queue[Note]
    total: int

    def migrate_state(self, old: TillV2) -> None:
        if "poison" in old.balances:
            raise ValueError("poison")
        for who, euros in old.balances.items():
            self.cents[who] = 100 * euros

    @rsm.command(version=2)
    def pay(self, ctx: rsm.Context, who: str, cents: int) -> int:
        self.cents[who] = self.cents.get(who, 0) + cents
        return self.cents[who]

    @rsm.upcast("pay", from_version=1)
    def _pay_v1(who: str, euros: int) -> tuple[str, int]:  # type: ignore[misc]  # no method
        return who, 100 * euros

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context, who: str, euros: int) -> int:
        return ctx.schedule(ctx.now + SECOND, TillV3.pay, who, 100 * euros)


class History(Log):
    """A log that begins under the first release and moves on."""

    def __init__(self, machine: type[rsm.StateMachine] = TillV3) -> None:
        super().__init__(machine, activate=False)
        self.machine = TillV1
        self.lead(ACTIVATE, "till", 1, TillV1.definition.schema(), b"seed of the test")

    def upgrade(self, target: type[rsm.StateMachine], *, shipped: bool = True) -> Applied:
        definition = target.definition
        call = encode_call(ACTIVATE, 1, ["till", definition.version, definition.schema(), b""])
        applied = self.entry([join_item(0, 0, 0, call)], FLAG_UPGRADE | FLAG_HASH_POINT)
        if self.replica.definition is definition:
            self.machine = target
        return applied

    def replayed(self, machine: type[rsm.StateMachine]) -> Replica:
        replica = Replica(machine)
        for entry in self.entries:
            replica.apply(entry)
        return replica


def grown() -> tuple[History, int]:
    """A log with entries of all three releases."""
    log = History()
    ann = log.open("ann", 3600)
    assert log.run(ann, "pay", "ann", -5) == -5
    assert log.replica.definition is TillV1.definition
    log.upgrade(TillV2)
    assert log.run(ann, "pay", "ann", -5) == 0
    assert log.run(ann, "pay", "ann", 7) == 7
    log.upgrade(TillV3)
    return log, ann


def test_the_log_selects_the_class_and_state_comes_along() -> None:
    log, ann = grown()
    assert log.replica.system.machine_version == 3
    assert log.replica.definition is TillV3.definition
    machine: Any = log.replica.machine
    assert dict(machine.cents.items()) == {"ann": 700}
    assert machine.total == -5
    assert [note.text for note in machine.notes.values()] == ["ann"]
    assert log.run(ann, "pay", "ann", 1, version=2) == 701
    assert log.run(ann, "pay", "ann", 1) == 801  # an old client's command, upcast


def test_a_replay_gives_the_same_roots_whatever_it_ships_beyond() -> None:
    """Up to the flip, a replica that knows no more than the release in force has the same roots."""
    log, ann = grown()
    log.run(ann, "pay", "ann", 1, version=2)
    log.entry([], FLAG_HASH_POINT)
    again = log.replayed(TillV3)
    assert again.roots == log.replica.roots
    assert len(again.roots) >= 3
    short = Replica(TillV2)
    for entry in log.entries[:6]:
        short.apply(entry)
    with pytest.raises(ReleaseMissing, match="entry 7 moves the machine on under version 3 of 'till'") as missing:
        short.apply(log.entries[6])
    assert missing.value.version == 3
    assert "this release has 1 to 2: upgrade this node" in str(missing.value)
    assert short.index == 6
    assert short.roots.items() <= again.roots.items()


def test_nothing_of_an_entry_is_applied_without_its_release() -> None:
    log, _ = grown()
    short = Replica(TillV2)
    for entry in log.entries[:6]:
        short.apply(entry)
    before = short.root()
    for _ in range(2):
        with pytest.raises(ReleaseMissing):
            short.apply(log.entries[6])
    assert short.root() == before
    assert short.index == 6


def test_a_log_below_the_floor_is_refused() -> None:
    class Alone(rsm.StateMachine, name="till", version=3):
        cents: rsm.Map[str, int]

    log, _ = grown()
    with pytest.raises(ReleaseMissing, match="the log begins at entry 1 under version 1 of 'till', this release has 3"):
        Replica(Alone).apply(log.entries[0])


@pytest.mark.parametrize("at", [3, 4, 5, 7])
def test_a_snapshot_of_any_shipped_version_loads(at: int) -> None:
    log, _ = grown()
    replica = Replica(TillV3)
    for entry in log.entries[:at]:
        replica.apply(entry)
    replica.roots[at] = replica.root()
    records = list(parts(replica, bytes(16)))
    loaded = Replica(TillV3)
    manifest = restore(loaded, records)
    assert manifest.version == replica.definition.version
    assert loaded.definition is replica.definition
    for entry in log.entries[at:]:
        replica.apply(entry)
        loaded.apply(entry)
    assert loaded.root() == replica.root()
    if manifest.version == 3:
        with pytest.raises(
            WrongMachine, match="snapshot of index 7 is under version 3 of 'till', this release has 1 to 2"
        ):
            restore(Replica(TillV2), records)


def test_a_migration_that_raises_leaves_the_old_release_in_force() -> None:
    log = History()
    ann = log.open("ann", 3600)
    log.run(ann, "pay", "poison", 1)
    log.upgrade(TillV2)
    before = {name: ledger.sum_bytes() for name, ledger in log.replica.store.ledgers.items() if name[0] != "r"}
    applied = log.upgrade(TillV3)
    assert [failure.name for failure in applied.failures] == ["migrate_state"]
    assert "ValueError: poison" in applied.failures[0].traceback
    assert log.replica.definition is TillV2.definition
    assert log.replica.system.machine_version == 2
    log.replica.store.digests()
    after = {name: ledger.sum_bytes() for name, ledger in log.replica.store.ledgers.items() if name[0] != "r"}
    assert after == before
    assert log.run(ann, "pay", "ann", 3) == 3
    again = log.replayed(TillV3)
    assert again.root() == log.replica.root()


def test_there_is_no_way_back() -> None:
    log, _ = grown()
    applied = log.upgrade(TillV2)
    assert applied.answers[0].status != 0
    assert log.replica.definition is TillV3.definition


def test_a_timer_of_an_old_release_fires_under_the_new_one() -> None:
    log = History()
    ann = log.open("ann", 3600)
    log.run(ann, "later", "bob", 2)
    log.upgrade(TillV2)
    log.upgrade(TillV3)
    log.tick(2)
    machine: Any = log.replica.machine
    assert dict(machine.cents.items()) == {"bob": 200}


def test_releases_are_taken_one_at_a_time() -> None:
    """A migration knows the release before it, and no other."""
    log = History()
    applied = log.upgrade(TillV3)
    assert applied.answers[0].status != 0
    assert "version 1 is in force, and 3 does not follow it" in str(decode(applied.answers[0].body))
    assert log.replica.definition is TillV1.definition


def test_an_edited_release_is_refused_before_anything_happens() -> None:
    log = History()
    definition = TillV2.definition
    schema = definition.schema() | {"state": {}}
    payload = join_batch(
        1, START, FLAG_UPGRADE, [join_item(0, 0, 0, encode_call(ACTIVATE, 1, ["till", 2, schema, b""]))]
    )
    before = log.replica.root()
    with pytest.raises(WrongMachine, match="changed without a new machine version"):
        log.replica.apply(Entry(2, 1, RecordKind.BATCH, payload))
    assert log.replica.root() == before


def test_an_upgrade_without_a_version_is_damage() -> None:
    log = History()
    with pytest.raises(BadBytes, match="is an upgrade and names no version"):
        log.replica.apply(Entry(2, 1, RecordKind.BATCH, join_batch(1, START, FLAG_UPGRADE, [])))


def test_what_cannot_work_is_told_when_the_class_is_created() -> None:
    with pytest.raises(DefinitionError, match="its previous release is machine 'till', not 'other'"):
        type("X", (rsm.StateMachine,), {}, name="other", version=2, previous=TillV1)
    with pytest.raises(DefinitionError, match="version 1 must be above that of its previous release, 1"):
        type("X", (rsm.StateMachine,), {}, name="till", version=1, previous=TillV1)
    with pytest.raises(DefinitionError, match=r"the state of version 1 is not that of version 2 .*migrate_state"):
        type("X", (rsm.StateMachine,), {"__annotations__": {"total": str}}, name="till", version=2, previous=TillV1)
    with pytest.raises(DefinitionError, match="is no machine"):
        type("X", (rsm.StateMachine,), {}, name="till", version=2, previous=rsm.StateMachine)


def test_types_declared_anew_alike_are_copied() -> None:
    """Frozen old files have record types of their own."""
    own = type("Note", (rsm.Struct,), {"__annotations__": {"text": str}}, frozen=True)

    class Fresh(rsm.StateMachine, name="till", version=2, previous=TillV1):
        balances: rsm.Map[str, int]
        notes: rsm.Queue[own]  # type: ignore[valid-type]
        total: int

    log = History(Fresh)
    ann = log.open("ann", 3600)
    log.run(ann, "pay", "ann", 1)
    log.upgrade(Fresh)
    machine: Any = log.replica.machine
    (note,) = machine.notes.values()
    assert type(note) is own
    assert note.text == "ann"
    log.replica.store.verify()
