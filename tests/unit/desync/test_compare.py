"""`compare`: which logs are copies of each other, and where they are not; every kind of difference, and none."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec
import pytest

import rsm
from rsm.codec import cbor
from rsm.codec.record import Entry, RecordKind
from rsm.desync.compare import Comparison
from rsm.desync.compare import compare as compare_logs
from rsm.desync.recording import Recording
from rsm.desync.single import replay
from rsm.errors import CallerError, StorageError
from rsm.node.storage.root_book import ROOTS_SUFFIX, copy_roots
from rsm.node.storage.scan import export, scan
from rsm.replica.batch import CONFIRMED, decode_batch, join_batch, join_item
from rsm.replica.snapshot import Manifest
from rsm.state.leaf import bucket_of, container_seed, hash64
from rsm.state.leaf import encode as pack
from tests.machines import Bank
from tests.unit.desync.logs import (
    DISK,
    Shop,
    book,
    copy,
    entries,
    make,
    release,
    replaced,
    rewrite,
    rewrite_snapshot,
    snapshots,
    with_root,
    write_book,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A machine that ran: some 150 entries, four hash points, one snapshot."""
    return make(tmp_path_factory.mktemp("made") / "n1")


@pytest.fixture
def n1(made: Path, tmp_path: Path) -> Path:
    """A copy of it for one test."""
    return Path(shutil.copytree(made, tmp_path / "n1"))


def compare(*paths: Path) -> Comparison:
    """Compare by path."""
    return compare_logs(DISK, [str(path) for path in paths])


def names(*paths: Path) -> tuple[str, ...]:
    """The sources that these paths are."""
    return tuple(map(str, paths))


def items_changed(payload: bytes, position: int, change: dict[int, object]) -> bytes:
    """A batch with some elements of one item exchanged."""
    batch = decode_batch(payload)
    items = [list(item) for item in batch.items]
    for element, value in change.items():
        items[position][element] = value
    return join_batch(batch.machine_version, batch.stamp, batch.flags, [cbor.encode(item) for item in items])


def confirmed_at(path: Path, index: int) -> int:
    """The entry that confirms the root of an index."""
    for entry in entries(path):
        if entry.kind is RecordKind.BATCH:
            for item in decode_batch(entry.payload).items:
                if item[3] == CONFIRMED and item[5][0] == index:
                    return entry.index
    raise LookupError(index)


# --- agreement --------------------------------------------------------------------------------------------------------


def test_copies_agree(n1: Path) -> None:
    """Two and three copies, by machine and by log directory: nothing is found, and everything was compared."""
    n2, n3 = copy(n1, "n2"), copy(n1, "n3")
    for paths in ((n1, n2), (n1, n2, n3), (n1 / "log", n2), (n1, n1)):
        found = compare(*paths)
        last = entries(n1)[-1].index
        assert (found.finding.verdict, found.finding.kind, found.finding.unchecked) == ("agree", None, ())
        assert found.finding.checked_to_index == last
        assert found.roots_compared_to == max(book(n1))
        assert not found.is_damaged


def test_a_machine_in_use_agrees_with_its_copy(tmp_path: Path) -> None:
    """A log that is written while it is read, with space written ahead, is compared as far as it goes."""
    with rsm.open(Shop, tmp_path / "n1") as shop:
        for number in range(150):
            shop.order(number, 1, 1)
        shutil.copytree(tmp_path / "n1", tmp_path / "n2")
        for number in range(50):
            shop.order(number, 2, 1)
        found = compare(tmp_path / "n1", tmp_path / "n2")
    assert (found.finding.verdict, found.finding.unchecked) == ("agree", ())
    assert found.sides[0].in_use
    assert 150 <= found.finding.checked_to_index < found.sides[0].last_index


def test_a_torn_tail_is_no_error_while_the_log_is_in_use(n1: Path) -> None:
    """Half a record at the end: left out without a word if somebody has the log, told if nobody has."""
    n2 = copy(n1, "n2")
    segment = next((n2 / "log").iterdir())
    segment.write_bytes(segment.read_bytes()[:-9])
    found = compare(n1, n2)
    assert found.finding.verdict == "unchecked"
    assert "torn tail" in found.finding.unchecked[0]
    assert not found.is_damaged
    (n2 / "lock").write_text("1\n")
    assert compare(n1, n2).finding.verdict == "agree"


def test_logs_that_overlap_in_part(n1: Path, tmp_path: Path) -> None:
    """Compacted and exported pieces: chains stand for what is gone; pieces without a common index are unchecked."""
    last = entries(n1)[-1].index
    for name, first, end in (("a", 1, 90), ("b", 60, last), ("c", 91, last), ("d", 100, last), ("e", 70, 80)):
        export(DISK, str(n1), str(tmp_path / name), first, end)
        copy_roots(DISK, str(n1 / "roots"), str(tmp_path / name) + ROOTS_SUFFIX, first, end)
    a, b, c, d, e = (tmp_path / name for name in "abcde")
    for paths, checked in (((n1, b), last), ((a, b), 90), ((b, e), 80), ((a, c), 90), ((a, d, b), 90), ((n1, e), 80)):
        found = compare(*paths)
        assert (found.finding.verdict, found.finding.checked_to_index) == ("agree", checked), paths
    for paths in ((a, d), (d, e), (a, e, d)):
        found = compare(*paths)
        assert (found.finding.verdict, found.finding.checked_to_index) == ("unchecked", 0), paths
        assert "no index in common" in found.finding.unchecked[0]


def test_an_exported_piece_has_its_roots_beside_it(n1: Path, tmp_path: Path) -> None:
    """Roots that differ are found between two exported files."""
    roots = sorted(book(n1).items())
    n2 = copy(n1, "n2")
    write_book(n2, [(index, bytes(16) if index > 64 else root) for index, root in roots])
    for source in (n1, n2):
        export(DISK, str(source), str(tmp_path / f"{source.name}.log"))
        copy_roots(DISK, str(source / "roots"), str(tmp_path / f"{source.name}.log{ROOTS_SUFFIX}"), 1, 10**6)
    found = compare(tmp_path / "n1.log", tmp_path / "n2.log")
    assert (found.finding.verdict, found.finding.kind) == ("desync", "apply")
    assert found.finding.minority == (str(tmp_path / "n2.log"),)


def test_without_a_root_applying_is_unchecked(n1: Path, tmp_path: Path) -> None:
    """Logs that agree and hold no root say nothing of the states."""
    for name in "ab":
        export(DISK, str(n1), str(tmp_path / name), 1, 20)
    found = compare(tmp_path / "a", tmp_path / "b")
    assert (found.finding.verdict, found.finding.checked_to_index) == ("unchecked", 20)
    assert "no root" in found.finding.unchecked[0]


# --- kind: log --------------------------------------------------------------------------------------------------------


def test_another_command(n1: Path) -> None:
    """The first index, the position in the batch, and the command of each side by name and field."""
    n2 = rewrite(n1, "n2", replaced(77, lambda payload: items_changed(payload, 0, {5: [3, 999, 1]})))
    n3 = copy(n1, "n3")
    found = compare(n1, n2, n3)
    finding = found.finding
    assert (finding.verdict, finding.kind) == ("desync", "log")
    assert (finding.first_bad_index, finding.first_bad_command, finding.checked_to_index) == (77, 0, 76)
    assert finding.minority == names(n2)
    assert finding.command is not None
    assert finding.command["name"] == "order"
    sides = finding.command["by_source"]
    assert sides[str(n2)]["values"] == {"number": 3, "price": 999, "quantity": 1}
    assert sides[str(n1)]["values"]["price"] != 999
    # Two of them have no majority; and the order of the arguments changes nothing else.
    for paths in ((n1, n2), (n2, n1)):
        found = compare(*paths)
        assert (found.finding.first_bad_index, found.finding.minority) == (77, names(*paths))
        assert not found.has_majority


def test_every_first_bad_index_is_found(n1: Path) -> None:
    """Also the first and the last one, and where one side has more commands, fewer, or other flags or terms."""
    last = entries(n1)[-1].index

    def more(payload: bytes) -> bytes:
        batch = decode_batch(payload)
        items = [cbor.encode(item) for item in batch.items]
        extra = join_item(1, 1, 1, cbor.encode(["order", 1, [1, 2, 3]])[1:])
        return join_batch(batch.machine_version, batch.stamp, batch.flags, [*items, extra])

    def later(payload: bytes) -> bytes:
        batch = decode_batch(payload)
        items = [cbor.encode(item) for item in batch.items]
        return join_batch(batch.machine_version, batch.stamp + 1, batch.flags, items)

    for index in (1, 2, 65, last):
        n2 = rewrite(n1, f"n2-{index}", replaced(index, more), keep_rest=False)
        finding = compare(n1, n2).finding
        assert (finding.kind, finding.first_bad_index, finding.checked_to_index) == ("log", index, index - 1)
        assert finding.first_bad_command == len(decode_batch(entries(n1)[index - 1].payload).items)
    finding = compare(n1, rewrite(n1, "later", replaced(9, later))).finding
    assert (finding.kind, finding.first_bad_index, finding.first_bad_command) == ("log", 9, None)

    def term(entry: Entry) -> Iterable[Entry]:
        yield msgspec.structs.replace(entry, term=entry.term + (entry.index >= 30))

    finding = compare(n1, rewrite(n1, "term", term)).finding
    assert (finding.kind, finding.first_bad_index, finding.command) == ("log", 30, None)


def test_logs_that_part_before_one_of_them_begins(n1: Path, tmp_path: Path) -> None:
    """The entry is not in both: they differ, and where is said to be unknown."""
    n2 = rewrite(n1, "n2", replaced(20, lambda payload: items_changed(payload, 0, {5: [3, 999, 1]})))
    export(DISK, str(n2), str(tmp_path / "tail"), 50)
    found = compare(n1, tmp_path / "tail")
    assert (found.finding.verdict, found.finding.kind, found.finding.first_bad_index) == ("desync", "log", 49)
    assert "before" in found.finding.unchecked[0]


def test_several_partings(n1: Path) -> None:
    """Of five, two part at other places: both are the minority."""
    n2 = rewrite(n1, "n2", replaced(50, lambda payload: items_changed(payload, 0, {5: [3, 999, 1]})))
    n3 = rewrite(n1, "n3", replaced(90, lambda payload: items_changed(payload, 0, {5: [3, 999, 1]})))
    found = compare(n1, n2, copy(n1, "n4"), n3, copy(n1, "n5"))
    assert found.finding.first_bad_index == 50
    assert found.finding.minority == names(n2, n3)
    assert any("index 90" in what for what in found.further)


# --- kind: codec ------------------------------------------------------------------------------------------------------


def test_the_same_commands_in_other_bytes(n1: Path) -> None:
    """A number in a longer form than needed: equal commands, other chains."""

    def longer(payload: bytes) -> bytes:
        name = b"\x65order\x01"
        at = payload.index(name) + len(name)
        assert payload[at] == 0x83
        assert payload[at + 1] < 24
        return payload[: at + 1] + b"\x18" + payload[at + 1 :]

    index = next(entry.index for entry in entries(n1) if b"\x65order\x01" in entry.payload)
    n2 = rewrite(n1, "n2", replaced(index, longer))
    finding = compare(n1, n2).finding
    assert (finding.verdict, finding.kind, finding.first_bad_index) == ("desync", "codec", index)
    assert finding.first_bad_command is not None
    assert finding.command is not None
    assert finding.command["name"] == "order"


# --- kind: apply ------------------------------------------------------------------------------------------------------


def test_other_roots_over_one_log(n1: Path) -> None:
    """The first index whose root differs, the roots by source, and who differs from what was confirmed."""
    roots = sorted(book(n1).items())
    n2 = copy(n1, "n2")
    write_book(n2, [(index, root if index == 64 else bytes(16)) for index, root in roots])
    for file in snapshots(n2):
        file.unlink()
    found = compare(n1, n2)
    bad, good = roots[1], roots[0]
    assert (found.finding.verdict, found.finding.kind) == ("desync", "apply")
    assert (found.finding.first_bad_index, found.finding.good_index) == (bad[0], good[0])
    assert found.finding.minority == names(n2)
    assert found.finding.checked_to_index == bad[0] - 1
    assert found.roots[str(n2)] == (bytes(16).hex(),)
    assert found.roots[str(n1)] == (bad[1].hex(),)
    assert found.confirmed == bad[1].hex()


def test_a_majority_decides_where_nothing_was_confirmed(n1: Path) -> None:
    """The last root is not confirmed in a log that was cut before it; three books say who differs, two do not."""
    last = max(book(n1))

    def cut(entry: Entry) -> Iterable[Entry]:
        if entry.index <= last:
            yield entry

    paths = [rewrite(n1, name, cut) for name in ("a", "b", "c")]
    write_book(paths[1], [(index, bytes(16) if index == last else root) for index, root in book(n1).items()])
    found = compare(*paths)
    assert (found.finding.kind, found.finding.first_bad_index) == ("apply", last)
    assert found.finding.minority == names(paths[1])
    found = compare(*paths[:2])
    assert (found.finding.kind, found.finding.minority) == ("apply", names(*paths[:2]))
    assert not found.has_majority


def test_two_roots_of_one_replica_are_a_finding(n1: Path) -> None:
    """A replica that replayed to another root than the first time wrote both down."""
    n2 = copy(n1, "n2")
    roots = sorted(book(n1).items())
    write_book(n2, [*roots, (roots[0][0], bytes(16))])
    found = compare(n1, n2)
    assert (found.finding.kind, found.finding.minority) == ("apply", names(n2))
    assert found.roots[str(n2)] == (roots[0][1].hex(), bytes(16).hex())


def test_other_roots_confirmed_for_one_index(n1: Path) -> None:
    """Logs whose first difference is which root was confirmed have been applied otherwise."""
    index = confirmed_at(n1, 64)
    n2 = rewrite(n1, "n2", replaced(index, lambda payload: items_changed(payload, 0, {5: [64, bytes(16)]})))
    finding = compare(n1, n2).finding
    assert (finding.verdict, finding.kind, finding.first_bad_index) == ("desync", "apply", 64)


def astray(manifest: Manifest, chunks: list[bytes], *, quantity: int = 7) -> Manifest:
    """The snapshot of a state in which one order has another quantity: sums and root fit it."""
    kind, schema, sums = manifest.state["orders"]
    seed, changed = container_seed("orders", kind, schema), bytearray(sums)
    for at, payload in enumerate(chunks):
        name, buckets = cbor.decode(payload, bytes_max=1 << 24)
        for pair in buckets if name == "orders" else []:
            leaves = msgspec.msgpack.decode(pair[1])
            for leaf in leaves:
                if leaf[0] == 17:
                    old = hash64(pack(leaf), seed)
                    leaf[1][1] = quantity
                    place = 8 * bucket_of(17)
                    total = int.from_bytes(changed[place : place + 8], "little") - old + hash64(pack(leaf), seed)
                    changed[place : place + 8] = (total % 2**64).to_bytes(8, "little")
            pair[1] = pack(leaves)
        chunks[at] = cbor.encode([name, buckets])
    return with_root(manifest._replace(state=manifest.state | {"orders": (kind, schema, bytes(changed))}))


def test_snapshots_of_two_states_give_the_paths(n1: Path) -> None:
    """Both sides took a snapshot at one index: the buckets that differ, and the path with both values."""
    n2 = copy(n1, "n2")
    (file,) = snapshots(n2)
    manifest = rewrite_snapshot(file, astray)
    roots = sorted(book(n1).items())
    write_book(n2, [(index, manifest.root if index >= manifest.index else root) for index, root in roots])
    found = compare(n1, n2)
    assert (found.finding.kind, found.finding.first_bad_index) == ("apply", manifest.index)
    assert found.buckets == {"orders": [bucket_of(17)]}
    (path,) = found.finding.paths
    assert (path.path, path.values) == ("orders/17/quantity", {str(n1): 1, str(n2): 7})


# --- kind: snapshot ---------------------------------------------------------------------------------------------------


def test_a_snapshot_of_another_state_than_its_log(n1: Path) -> None:
    """The book has the right root: it is the snapshot that does not belong to it."""
    n2 = copy(n1, "n2")
    manifest = rewrite_snapshot(snapshots(n2)[0], astray)
    found = compare(n1, n2)
    assert (found.finding.kind, found.finding.first_bad_index) == ("snapshot", manifest.index)
    assert found.finding.minority == names(n2)
    assert [path.path for path in found.finding.paths] == ["orders/17/quantity"]
    (n2 / "roots").unlink()
    assert compare(n1, n2).finding.kind == "snapshot"


@pytest.mark.parametrize("what", ["chain", "contents", "root"])
def test_a_snapshot_that_does_not_fit(n1: Path, what: str) -> None:
    """Another chain than the log's, contents or a root that are not those of its manifest."""

    def change(manifest: Manifest, chunks: list[bytes]) -> Manifest:
        if what == "contents":
            astray(manifest, chunks)
            return manifest
        return manifest._replace(**{what: bytes(16)})

    n2 = copy(n1, "n2")
    manifest = rewrite_snapshot(snapshots(n2)[0], change)
    found = compare(n1, n2)
    assert (found.finding.verdict, found.finding.kind) == ("desync", "snapshot")
    assert (found.finding.first_bad_index, found.finding.minority) == (manifest.index, names(n2))


# --- bad input --------------------------------------------------------------------------------------------------------


def test_a_log_of_another_machine(n1: Path, tmp_path: Path) -> None:
    """Another machine, and another run of the same machine, are not copies: nothing is compared."""
    with rsm.open(Bank, tmp_path / "bank") as bank:
        bank.deposit("ann", 1)
    found = compare(n1, release(tmp_path / "bank"))
    assert found.finding.verdict == "unchecked"
    assert "bank" in found.finding.unchecked[0]
    assert "shop" in found.finding.unchecked[0]
    found = compare(n1, make(tmp_path / "other", 10, snapshot_at=None))
    assert found.finding.verdict == "unchecked"
    assert "not copies of one log" in found.finding.unchecked[0]


def test_damage_is_told_and_the_rest_is_compared(n1: Path) -> None:
    """A flipped bit in a record: compared up to it; a head that is damaged: nothing of this log."""
    n2 = copy(n1, "n2")
    segment = next((n2 / "log").iterdir())
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    segment.write_bytes(data)
    found = compare(n1, n2)
    assert found.is_damaged
    assert found.finding.verdict == "unchecked"
    assert str(segment) in found.finding.unchecked[0]
    assert 0 < found.finding.checked_to_index < entries(n1)[-1].index
    data[70] ^= 1
    segment.write_bytes(data)
    found = compare(n1, n2)
    assert (found.finding.verdict, found.finding.checked_to_index, found.is_damaged) == ("unchecked", 0, True)


def test_what_is_no_log_is_refused(n1: Path, tmp_path: Path) -> None:
    """No directory, an empty one, and one log alone are mistakes of the caller."""
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "empty", tmp_path / "absent"):
        with pytest.raises(StorageError):
            compare(n1, path)
    with pytest.raises(CallerError):
        compare(n1)


def test_an_empty_log_is_unchecked(n1: Path) -> None:
    """A log without entries has nothing that could agree."""
    found = compare(n1, rewrite(n1, "n2", lambda _: (), keep_rest=False))
    assert found.finding.verdict == "unchecked"
    assert "no entries" in found.finding.unchecked[0]


def test_reading_changes_nothing(n1: Path) -> None:
    """No file of a source is written, not even where it is torn or damaged."""
    n2 = copy(n1, "n2")
    segment = next((n2 / "log").iterdir())
    segment.write_bytes(segment.read_bytes()[:-3])
    before = {path: path.read_bytes() for path in sorted(n1.parent.rglob("*")) if path.is_file()}
    compare(n1, n2)
    assert {path: path.read_bytes() for path in sorted(n1.parent.rglob("*")) if path.is_file()} == before


def test_a_tail_of_an_earlier_term_is_no_alarm(n1: Path) -> None:
    """A member that led once may hold entries that were never committed; if it applied them, they do differ."""

    def older(entry: Entry) -> Iterable[Entry]:
        if entry.index <= 122:
            changed = items_changed(entry.payload, 0, {5: [3, 999, 1]}) if entry.index > 120 else entry.payload
            yield msgspec.structs.replace(entry, payload=changed)

    def newer(entry: Entry) -> Iterable[Entry]:
        yield msgspec.structs.replace(entry, term=entry.term + (entry.index > 120))

    n2, n3 = rewrite(n1, "n2", older), rewrite(n1, "n3", newer)
    write_book(n2, [(index, root) for index, root in book(n1).items() if index < 120])
    found = compare(n2, n3)
    assert (found.finding.verdict, found.finding.kind, found.finding.checked_to_index) == ("unchecked", None, 120)
    assert "entries from 121 on" in found.finding.unchecked[0]
    write_book(n2, [*book(n1).items(), (122, bytes(16))])
    found = compare(n2, n3)
    assert (found.finding.kind, found.finding.first_bad_index) == ("log", 121)


def test_a_log_that_lost_entries_whose_roots_were_noted(tmp_path: Path) -> None:
    """Cut at the end of a record, which is a shorter log: its own book knows better, for compare and for replay."""
    n1 = make(tmp_path / "n1", snapshot_at=None)
    log = next((n1 / "log").iterdir())
    ends = [scanned.offset for scanned in scan(DISK, str(n1))]
    n2 = copy(n1, "n2")
    (n2 / "log" / log.name).write_bytes(log.read_bytes()[: ends[110]])
    found = compare(n1, n2)
    assert (found.finding.verdict, found.finding.checked_to_index) == ("unchecked", 110)
    assert "n2: the log ends at index 110, and a root of index" in found.finding.unchecked[0]
    alone = replay(Recording(DISK, str(n2)), Shop)
    assert (alone.verdict, alone.is_damaged) == ("unchecked", False)
    assert "the log ends at index 110" in alone.unchecked[0]
    write_book(n2, [(index, root) for index, root in book(n1).items() if index <= 110])
    assert compare(n1, n2).finding.verdict == "agree"
    assert replay(Recording(DISK, str(n2)), Shop).verdict == "agree"
