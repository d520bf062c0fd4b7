"""Snapshots of a replica: complete, checked in every part, and nothing of a bad one is believed."""

from __future__ import annotations

from typing import Any

import pytest

import rsm
from rsm.codec import cbor
from rsm.codec.record import RecordKind
from rsm.errors import BadBytes, UnknownFormat, WrongMachine
from rsm.replica.batch import FLAG_HASH_POINT
from rsm.replica.replica import Replica
from rsm.replica.snapshot import EVENTS, decode_manifest, parts, restore
from tests.machines import SECOND, Bank, Everything, Log, contents

Records = list[tuple[RecordKind, bytes]]


def full_log() -> Log:
    """A log with something of everything."""
    log = Log()
    session, other = log.open("ann"), log.open("bob", ttl_seconds=60)
    for number in range(40):
        log.send(session, "put", f"k{number}", number, key=f"key{number}" if number % 3 == 0 else None)
        log.send(other, "plot", number, f"p{number}")
        log.send(session, "push", number % 5, f"text {number}")
        log.now += SECOND
    log.run(session, "tell", "x", 5)
    log.run(session, "later", 10**12, "far")
    log.send(session, "drop", "nothing")
    log.run(session, "rsm.cursor", "consumer", 3)
    log.entry([], FLAG_HASH_POINT)
    return log


def records_of(log: Log) -> Records:
    """A snapshot as the shell stores it."""
    return list(parts(log.replica, b"c" * 16))


def test_a_restored_replica_is_the_same_in_every_respect() -> None:
    """Root, contents, answers to retries, events, cursors, timers, schema and the roots kept."""
    log = full_log()
    restored = Replica(Everything)
    manifest = restore(restored, records_of(log))
    assert restored.root() == log.replica.root() == manifest.root
    assert contents(restored) == contents(log.replica)
    assert restored.roots == log.replica.roots
    assert restored.schema == log.replica.schema
    assert list(restored.ring) == list(log.replica.ring)
    assert (restored.index, restored.term) == (log.replica.index, 1)
    assert dict(restored.system.cursors.items()) == {("ann", "consumer"): 3}
    restored.store.verify()
    for session in (1, 2):
        assert restored.sessions[session].record() == log.replica.sessions[session].record()
        assert restored.sessions[session].answer_bytes == log.replica.sessions[session].answer_bytes
    # A replica that held something else before forgets it.
    other = Log()
    other.run(other.open(), "put", "old", 1)
    restore(other.replica, records_of(log))
    assert other.replica.root() == log.replica.root()


def test_the_cut_is_closed_however_reading_ends() -> None:
    """A snapshot that is read to its end, dropped half-way or never begun leaves no observer behind."""
    log = full_log()

    def observers() -> int:
        return sum(len(ledger.overlays) for ledger in log.replica.store.ledgers.values())

    records_of(log)
    assert observers() == 0
    stream = parts(log.replica, bytes(16))
    next(stream)
    assert observers() > 0
    stream.close()
    assert observers() == 0


def test_only_a_hash_point_can_be_a_snapshot() -> None:
    """Elsewhere there is no root that another replica could confirm."""
    log = Log()
    with pytest.raises(ValueError, match="not a hash point"):
        parts(log.replica, bytes(16))


def changed_manifest(records: Records, **changes: Any) -> Records:
    """The same snapshot with another manifest."""
    fields = cbor.decode(records[0][1], bytes_max=1 << 24)
    fields.update(changes)
    fields = {name: value for name, value in fields.items() if value is not ...}
    return [(RecordKind.MANIFEST, cbor.encode(fields)), *records[1:]]


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 0},
        {"index": "5"},
        {"index": True},
        {"term": None},
        {"chain": "x"},
        {"root": 5},
        {"roots": [[1]]},
        {"roots": [["1", b""]]},
        {"roots": 5},
        {"state": []},
        {"state": {"words": 5}},
        {"state": {"words": ["map", "x"]}},
        {"events_newest": -1},
        {"events_newest": 10**6},
        {"events_newest": "x"},
        {"machine": ...},
        {"more": 1},
        {"root": bytes(16)},
    ],
)
def test_a_manifest_that_is_not_right_is_refused(changes: dict[str, Any]) -> None:
    """Missing, additional or mistyped fields, and values that the contents do not confirm: refused in one line."""
    records = changed_manifest(records_of(full_log()), **changes)
    with pytest.raises((BadBytes, WrongMachine)) as caught:
        restore(Replica(Everything), records)
    assert "\n" not in str(caught.value)


def test_a_manifest_of_a_newer_release_is_no_damage() -> None:
    """It is not read, and said to be newer."""
    records = changed_manifest(records_of(full_log()), format=2, novelty=[1])
    with pytest.raises(UnknownFormat, match="a newer release wrote this"):
        restore(Replica(Everything), records)


def test_a_manifest_must_be_a_map() -> None:
    """Anything else that is canonical CBOR is refused."""
    for payload in (b"", b"\x80", cbor.encode([1]), cbor.encode("x"), cbor.encode({"format": 1})):
        with pytest.raises(BadBytes):
            decode_manifest(payload)


def test_records_missing_doubled_or_foreign_are_refused() -> None:
    """Every bucket is hashed again: one chunk less, one twice, one changed, one of a container that is not declared."""
    log = full_log()
    records = records_of(log)
    chunks = [number for number, (kind, _) in enumerate(records) if kind is RecordKind.CHUNK]
    variants: list[Records] = []
    for number in chunks:
        variants.append(records[:number] + records[number + 1 :])
        variants.append([*records, records[number]])
        name, buckets = cbor.decode(records[number][1], bytes_max=1 << 24)
        if name == EVENTS:
            continue  # not hashed into the root: the file's own chain covers them
        last = buckets[-1]
        changed = [*buckets[:-1], [last[0], last[1][:-1] + bytes([last[1][-1] ^ 1])]]
        variants.append([*records[:number], (RecordKind.CHUNK, cbor.encode([name, changed])), *records[number + 1 :]])
    stranger = (RecordKind.CHUNK, cbor.encode(["stranger", [[0, b"\x90"]]]))
    variants += [[*records, stranger], [records[0], records[0]], records[1:], []]
    for junk in (
        [],
        [1, 2],
        ["words"],
        ["words", 5],
        ["words", [[0]]],
        ["words", [[0, "text"]]],
        ["words", [[0, b"junk"]]],
    ):
        variants.append([*records, (RecordKind.CHUNK, cbor.encode(junk))])
    refused = 0
    for variant in variants:
        replica = Replica(Everything)
        try:
            restore(replica, variant)
        except (BadBytes, WrongMachine):
            refused += 1
        else:
            # Sessions that come twice are the same sessions; events are no state, and counted by the file they are in.
            assert replica.root() == log.replica.root()
    assert refused >= len(variants) - 3


def test_another_machine_another_version_another_state_are_told_apart() -> None:
    """The message says what differs; nothing is loaded."""

    class Renamed(rsm.StateMachine, name="renamed", version=1):
        balances: rsm.Map[str, int]

    class Newer(rsm.StateMachine, name="bank", version=2):
        balances: rsm.Map[str, int]

    class Different(rsm.StateMachine, name="bank", version=1):
        balances: rsm.Map[str, str]

    log = Log(Bank)
    log.run(log.open(), "deposit", "ann", 5)
    log.entry([], FLAG_HASH_POINT)
    records = records_of(log)
    for machine, message in ((Renamed, "belongs to machine"), (Newer, "version"), (Different, "balances")):
        with pytest.raises(WrongMachine, match=message):
            restore(Replica(machine), records)
