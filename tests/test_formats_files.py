"""docs/formats.md is true, second part: a reader made from the page alone reads what rsm writes.

The reader (`tests.formats_reader`) takes byte positions from the page's tables and knows no code of rsm. Damaged logs
are judged by it as the page says, and by the code.
"""

from __future__ import annotations

import random
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import cbor2
import msgspec
import pytest
from xxhash import xxh3_64_intdigest

import rsm
from rsm import limits
from rsm.codec.cbor import decode_canonical, encode
from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry, RecordKind
from rsm.errors import CorruptFile
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.journal import Journal
from rsm.node.storage.scan import export
from rsm.node.storage.segment import SegmentHead, SegmentReader, encode_entry, encode_head
from rsm.replica.snapshot import Manifest
from rsm.state.leaf import encode as pack
from rsm.testing.disk import FaultDisk
from tests.formats_reader import (
    HEADER_BYTES,
    SLOT_BYTES,
    NotGood,
    Record,
    Segment,
    judge,
    names,
    read_record,
    read_segment,
    read_snapshot,
    rows,
    snapshot_records,
)
from tests.machines import Everything

CHAIN = bytes(range(16))


class World:
    """A directory with a history: every kind of container, of command and of answer, a snapshot, and life after it."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "everything"
        for life in range(2):
            with rsm.open(Everything, self.path) as client:
                self.live(client, life)
                self.snapshot_index = client.snapshot()
                client.tell("after the snapshot", 2)
                shutil.copytree(self.path, directory / "open", dirs_exist_ok=True)
        self.open_segment = self.only(directory / "open" / "log", "*.log")
        self.segment = self.only(self.path / "log", "*.log")
        self.snapshot = self.path / "snapshots" / f"{self.snapshot_index:020}.snapshot"

    def live(self, client: Everything, life: int) -> None:
        for number in range(40):
            client.put(f"key {number}", number * 1_000 * (life + 1))
            client.plot(number % 7, "é" * (number % 3))
            client.push(number % 3, "x" * 300)
        client.once(f"key {life}").put("keyed", 1)
        client.outcome(f"key {life + 10}")
        client.later(10**18, "never")
        client.later(0, "soon")
        client.draw()
        for call in (lambda: client.drop("none"), lambda: client.break_off("raise")):
            with pytest.raises(rsm.Rejected):
                call()
        with client.pipeline() as pipeline:
            pipeline.put("first", 7)
            pipeline.tell("in a pipeline", 3)
        assert len(list(client.events(cursor="reader"))) > 2
        client.session(principal="ann", ttl_seconds=3600).push(1, "hers")

    @staticmethod
    def only(directory: Path, pattern: str) -> Path:
        (found,) = directory.glob(pattern)
        return found


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("formats"))


def items_of(segment: Segment) -> list[tuple[int, list[Any]]]:
    """(index, item) of every command in a segment, the tables of batches and items in hand."""
    found = []
    for record in segment.entries:
        form, version, stamp, flags, items = record.fields
        assert (form, version) == (1, 1)
        assert flags in (0, 1)
        assert stamp > 1_600_000_000 * 10**9
        found += [(record.header["index"], item) for item in items]
    return found


def test_the_log_of_a_machine_is_read_by_the_page(world: World) -> None:
    """Head, marks, chain, batches and items; a closed log has nothing behind its last mark."""
    data = world.segment.read_bytes()
    segment = read_segment(data)
    assert (segment.verdict, segment.offset) == ("end", len(data))
    assert world.segment.name == f"{1:020}.log"
    items = items_of(segment)
    assert all(len(item) in (6, 7) for _, item in items)
    assert {item[6] for _, item in items if len(item) == 7} == {"key 0", "key 1"}
    sent = {item[3] for _, item in items}
    assert sent >= {"rsm.activate", "rsm.open_session", "rsm.close_session", "rsm.confirmed"}
    assert sent >= {"rsm.pipeline", "rsm.outcome", "rsm.cursor", "put", "plot"}
    sequences: dict[int, int] = {}
    for _, (session, sequence, lowest, *_) in items:
        assert sequence == (sequences.get(session, 0) + 1 if session else 0)
        assert 0 <= lowest <= sequence
        sequences[session] = sequence
    name, version, schema, seed = next(item[5] for _, item in items if item[3] == "rsm.activate")
    assert (name, version, len(seed)) == ("everything", 1, 16)
    assert schema == Everything.definition.schema()


def test_a_log_in_use_ends_with_zeros(world: World) -> None:
    """Zeros up to a multiple of the preallocation step, and a log that ends cleanly before them."""
    data = world.open_segment.read_bytes()
    segment = read_segment(data)
    assert segment.verdict == "end"
    assert segment.offset < len(data)
    assert not any(data[segment.offset :])
    assert len(data) % limits.PREALLOCATION_BYTES == 0


def test_a_snapshot_is_read_by_the_page_and_gives_its_root(world: World) -> None:
    """Recomputed from the leaves alone, the root is that of the manifest and the one confirmed in the log."""
    snapshot = read_snapshot(world.snapshot.read_bytes())
    manifest = snapshot.manifest
    assert set(names("## A snapshot")) == set(manifest)
    assert set(manifest) == {"format", *Manifest._fields}
    for name, (kind, schema, sums) in manifest["state"].items():
        assert snapshot.sums(name, kind, schema) == sums, name
    assert snapshot.root() == manifest["root"]
    assert [manifest["index"], manifest["root"]] in manifest["roots"]
    log = read_segment(world.segment.read_bytes())
    confirmed = [item[5] for _, item in items_of(log) if item[3] == "rsm.confirmed"]
    assert [world.snapshot_index, manifest["root"]] in confirmed
    (covered,) = (entry for entry in log.entries if entry.header["index"] == world.snapshot_index)
    assert manifest["chain"] == covered.header["chain"]
    assert manifest["term"] == covered.header["term"]


def test_a_large_bucket_comes_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of a table lies in one bucket; in pieces, one after another, it gives the same root."""
    monkeypatch.setattr("rsm.state.store.CHUNK_LEAVES_MAX", 10)
    with rsm.open(Everything, tmp_path / "machine") as client:
        for number in range(35):
            client.push(1, str(number))
        index = client.snapshot()
    data = (tmp_path / "machine" / "snapshots" / f"{index:020}.snapshot").read_bytes()
    chunks = [record.fields for record in snapshot_records(data) if record.header["kind"] == "CHUNK"]
    (pieces,) = (buckets for name, buckets in chunks if name == "levels")
    assert len({bucket for bucket, _ in pieces}) == 1
    assert [len(msgspec.msgpack.decode(leaves)) for _, leaves in pieces] == [10, 10, 10, 5]
    snapshot = read_snapshot(data)
    assert snapshot.root() == snapshot.manifest["root"]


def test_the_system_state_lies_where_the_page_says(world: World) -> None:
    """Scalars, sessions, keys, timers, cursors and events of a snapshot have the parts that the tables list."""
    snapshot = read_snapshot(world.snapshot.read_bytes())
    kinds = dict(rows("### The system's state", r"^\| `(rsm\.\w+)` \| `(\w+)` \|"))
    assert kinds == {name: kind for name, (kind, *_) in snapshot.manifest["state"].items() if name.startswith("rsm.")}
    assert {"set", "table", "queue", "map", "sorted_map", "scalars", "sessions"} == {
        kind for kind, *_ in snapshot.manifest["state"].values()
    }
    scalars = snapshot.values("rsm.scalars")
    assert set(scalars) == {name for name in names("### The system's state") if not name.startswith("rsm.")}
    assert set(snapshot.values("scalars")) == {"count", "last"}
    for principal, ttl, active, following, lowest, answers in snapshot.values("rsm.sessions").values():
        assert principal in ("", "ann")
        assert ttl in (0, 3600 * 10**9)
        assert 0 < active <= scalars["clock"]
        assert [answer[0] for answer in answers] == list(range(lowest, following))
    keys = snapshot.values("rsm.keys")
    assert set(keys) == {("", f"key {number}") for number in (0, 1, 10, 11)}
    created, halved, status, body = keys["", "key 0"]
    put = xxh3_64_intdigest(pack(["keyed", 1]), xxh3_64_intdigest(b"put/1"))
    assert (halved, status, body) == (put // 2, 0, pack(None))
    assert keys["", "key 10"][2] == -1
    assert scalars["key_bytes"] == sum(256 + len(p) + len(k) + len(r[3]) for (p, k), r in keys.items())
    assert sorted(map(tuple, snapshot.values("rsm.key_order").values())) == sorted(keys)
    assert created <= scalars["clock"]
    timers = snapshot.values("rsm.timers")
    assert list(timers.values()) == [["ring", 1, pack(["never"])]] * 2
    assert snapshot.values("rsm.timer_due") == {timer: due for due, timer in timers}
    (read,) = snapshot.values("rsm.cursors").items()
    assert read[0] == ("", "reader")
    assert 0 < read[1] <= scalars["event_count"]
    events = snapshot.leaves["rsm.events"][0]
    assert all(len(event) == 5 for event in events)
    assert ["in a pipeline", 2] in [msgspec.msgpack.decode(event[4]) for event in events]
    assert snapshot.manifest["events_newest"] == scalars["event_count"] == len(events)


def test_identity_and_term_are_read_by_the_page(world: World) -> None:
    """One record and no more; two equal slots padded with zeros."""
    data = (world.path / "identity").read_bytes()
    record = read_record(data)
    assert (record.header["kind"], record.end) == ("IDENTITY", len(data))
    assert list(record.fields) == sorted(names("## Identity"), key=lambda name: encode(name))
    assert read_segment(world.segment.read_bytes()).head["cluster_id"] == record.fields["cluster_id"]
    data = (world.path / "term").read_bytes()
    assert len(data) == 2 * SLOT_BYTES
    assert data[:SLOT_BYTES] == data[SLOT_BYTES:]
    record = read_record(data)
    assert not any(data[record.end : SLOT_BYTES])
    assert (record.header["kind"], record.fields) == ("TERM", {"vote": None})
    assert (record.header["index"], record.header["term"]) == (3, 2)  # made, opened, opened
    assert int((world.path / "lock").read_text()) > 1


def test_control_structures_are_canonical(world: World) -> None:
    """What the page calls control structures equals its own re-encoding, in this encoder and in another."""
    payloads = [
        read_record((world.path / "identity").read_bytes()).payload,
        read_record((world.path / "term").read_bytes()).payload,
        read_record(world.segment.read_bytes()).payload,
        read_record(world.snapshot.read_bytes()).payload,
    ]
    for payload in payloads:
        assert encode(decode_canonical(payload, bytes_max=1 << 20)) == payload
        assert cbor2.dumps(cbor2.loads(payload), canonical=True) == payload


def test_segments_continue_each_other_until_a_reset(tmp_path: Path) -> None:
    """Sealed segments end at their mark; heads name what came before; a reset and an export begin anew."""
    disk, path = OsDisk(), str(tmp_path / "log")
    with Journal.open(disk, path, group_id=5, cluster_id=CHAIN, segment_bytes=2_000) as journal:
        for index in range(1, 41):
            journal.append([Entry(index, 1 + index // 9, RecordKind.NOOP, b"\x00" * (index * 7))], compress=True)
    previous: Record | None = None
    for number, name in enumerate(sorted(Path(path).iterdir())):
        segment = read_segment(name.read_bytes(), last=False)
        assert (segment.verdict, segment.offset) == ("end", name.stat().st_size)
        head = segment.head
        assert list(head) == sorted(names("## A segment of the log"), key=lambda key: encode(key))
        assert (head["reset"], head["cluster_id"], head["group_id"]) == (number == 0, CHAIN, 5)
        assert name.name == f"{head['first_index']:020}.log"
        if previous is not None:
            before = previous.header
            assert head["first_index"] == before["index"] + 1
            assert (head["previous_term"], head["previous_chain"]) == (before["term"], before["chain"])
        previous = segment.entries[-1]
    assert number > 2
    export(disk, path, str(tmp_path / "piece"), 9, 11)
    piece = read_segment((tmp_path / "piece").read_bytes())
    assert (piece.head["reset"], piece.head["first_index"], len(piece.entries)) == (True, 9, 3)
    with Journal.open(disk, path, group_id=5, cluster_id=CHAIN) as journal:
        journal.reset(70, 9, CHAIN)
    (name,) = Path(path).iterdir()
    head = read_segment(name.read_bytes()).head
    assert (head["reset"], head["first_index"], head["previous_term"], head["previous_chain"]) == (True, 71, 9, CHAIN)


# --- torn and corrupt -------------------------------------------------------------------------------------------------


def small_segment() -> tuple[bytes, list[int]]:
    """A segment, and the offsets at which records begin; the last one is its end.

    The second record ends at a multiple of a sector and has no zeros; the last two end with zeros.
    """
    parts = [encode_head(SegmentHead(CHAIN, 0, 1, 0, ZERO_CHAIN, True))]
    chain = ZERO_CHAIN
    room = 1536 - len(parts[0]) - (HEADER_BYTES + 20 + 1) - (HEADER_BYTES + 1)
    for index, payload in enumerate((b"x" * 20, b"x" * room, b"", b"x" * 30 + bytes(1470), b"x" + bytes(39)), 1):
        chain = next_chain(chain, index, 1, RecordKind.BATCH, payload)
        parts.append(encode_entry(Entry(index, 1, RecordKind.BATCH, payload), chain, 0, compress=False))
    starts = [sum(map(len, parts[:number])) for number in range(1, len(parts) + 1)]
    if starts[2] != 1536:
        raise ValueError(f"the second record ends at {starts[2]}")
    return b"".join(parts), starts


def verdict(data: bytes, last: bool) -> tuple[str, int]:
    """What the code says of a segment."""
    disk = FaultDisk()
    disk.put("segment", data)
    try:
        reader = SegmentReader(disk.open("segment", writable=False), last=last)
        for _ in reader:
            pass
    except CorruptFile as error:
        return "corrupt", error.offset
    return "end" if reader.torn is None else "torn", reader.end


def damaged() -> list[bytes]:
    """The segment cut at every length, zeroed from there on, and with bits flipped, alone and before zeros."""
    data, starts = small_segment()
    chance = random.Random(7)
    found = [data, data + bytes(700), data + b"\x01", data + bytes(600) + b"\x01"]
    for length in range(len(data)):
        found += [data[:length], data[:length].ljust(len(data) + 200, b"\0"), data[:length] + bytes(30)]
    for start, end in pairwise(starts):
        for bit in [*range(start * 8, (start + HEADER_BYTES) * 8), end * 8 - 9]:
            found += [flipped(data, bit), flipped(data[:end], bit) + bytes(2000)]
    for _ in range(1_000):
        bit = chance.randrange(len(data) * 8)
        found.append(flipped(data, bit)[: chance.randrange(len(data))].ljust(chance.randrange(4096), b"\0"))
    return found


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("last", [True, False])
def test_the_rule_of_torn_and_corrupt_is_that_of_the_code(last: bool) -> None:
    """The table of the page and the code give one verdict, and one offset, for thousands of damaged segments."""
    seen = set()
    for data in damaged():
        by_page = read_segment(data, last=last)
        assert (by_page.verdict, by_page.offset) == verdict(data, last)
        seen.add(by_page.verdict)
    assert seen == ({"end", "torn", "corrupt"} if last else {"end", "corrupt"})


def test_without_the_mark_a_complete_record_could_look_torn() -> None:
    """The page's reason for the mark: a damaged header before a payload of zeros, with and without the mark."""
    data, starts = small_segment()
    start, end = starts[3], starts[4]
    broken = flipped(data[:end], start * 8 + 100)
    assert read_segment(broken).verdict == "corrupt"
    assert judge(broken[:-1], start, start + HEADER_BYTES, True) == "corrupt"
    lost = broken[: start + 3] + bytes(len(broken) - start - 3)
    assert judge(lost[:-1], start, end - 1, True) == "torn"
    with pytest.raises(NotGood):
        read_record(lost, start)
