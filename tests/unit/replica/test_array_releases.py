"""Releases that change the columns of an Array: a migration fills the new ones, or leaves everything as it was."""

from __future__ import annotations

from typing import Annotated, Any

import rsm
from rsm.codec.chain import ZERO_CHAIN
from rsm.codec.record import Entry, RecordKind
from rsm.replica import snapshot
from rsm.replica.batch import ACTIVATE, FLAG_HASH_POINT, FLAG_UPGRADE, encode_call, join_batch, join_item
from rsm.replica.replica import Applied, Replica


class FieldV1(rsm.StateMachine, name="field", version=1):
    """Wide cells."""

    grain: Annotated[rsm.Array, rsm.Columns(weight="int64", age="int8")]
    rows: Annotated[rsm.Array, rsm.Columns(kind="int8")]

    @rsm.command()
    def sow(self, ctx: rsm.Context, weight: int) -> None:
        self.grain.resize(3)
        self.grain.assign("weight", [weight, 2, 3])
        self.rows.resize(2)


class FieldV2(rsm.StateMachine, name="field", version=2, previous=FieldV1):
    """One column is narrower, one is gone, one is new; another array is as it was, and written to on the way."""

    grain: Annotated[rsm.Array, rsm.Columns(weight="int16", wet="uint8")]
    rows: Annotated[rsm.Array, rsm.Columns(kind="int8")]

    @rsm.command()
    def sow(self, ctx: rsm.Context, weight: int) -> None:
        self.grain.set("weight", 0, weight)

    def migrate_state(self, old: FieldV1) -> None:
        self.rows.write("kind")[:] = 5
        self.grain.resize(len(old.grain))
        self.grain.assign("weight", old.grain.read("weight"))
        self.grain.write("wet")[:] = 9


def run(replica: Replica, call: bytes, sequence: int, flags: int = 0) -> Applied:
    """One entry with a command, a hash point; `sequence` 0 is the leader's."""
    item = join_item(int(sequence > 0), sequence, max(sequence, 0), call)
    version = replica.system.machine_version or 1
    payload = join_batch(version, 1_000 + replica.index, FLAG_HASH_POINT | flags, [item])
    return replica.apply(Entry(replica.index + 1, 1, RecordKind.BATCH, payload))


def activation(machine: type[rsm.StateMachine]) -> bytes:
    """The call that puts a release in force."""
    definition = machine.definition
    return encode_call(ACTIVATE, 1, [definition.name, definition.version, definition.schema(), bytes(16)])


def cells(replica: Replica) -> list[list[int]]:
    """The first array's columns, and the second's."""
    machine: Any = replica.machine
    return [array.read(column).tolist() for array in (machine.grain, machine.rows) for column in array.columns]


def test_columns_change_with_a_release() -> None:
    """What does not fit the new columns leaves the old release in force and its cells as they were; then it fits."""
    replica = Replica(FieldV2)
    run(replica, activation(FieldV1), 0)
    run(replica, encode_call("rsm.open_session", 1, ["ann", 0]), 0)
    for sequence, weight in ((1, 70_000), (2, 7)):
        run(replica, encode_call("sow", 1, [weight]), sequence)
        before = replica.root()
        trial = replica.try_migration(FieldV2.definition)
        assert replica.root() == before
        applied = run(replica, activation(FieldV2), 0, FLAG_UPGRADE)
        replica.store.verify()
        assert bool(trial) == bool(applied.failures) == (weight == 70_000)
        if trial:
            assert "OverflowError: grain/weight: 2 to 70000 does not fit int16" in trial
            assert cells(replica) == [[70_000, 2, 3], [0, 0, 0], [0, 0]]
    assert replica.definition is FieldV2.definition
    assert cells(replica) == [[7, 2, 3], [9, 9, 9], [5, 5]]
    copy = Replica(FieldV2)
    snapshot.restore(copy, list(snapshot.parts(replica, ZERO_CHAIN)))
    assert (copy.root(), cells(copy)) == (replica.root(), cells(replica))
