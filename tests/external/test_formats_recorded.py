"""The recorded markets are read whole: checksums, counts and the torn tail are those that their makers state."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from demos.orderbook.formats import Format, FormatError, Source, TornTail, detect, flow, itch, kraken
from demos.orderbook.formats.book_calls import apply
from demos.orderbook.formats.itch_tape import Tape
from demos.orderbook.formats.kraken import Snapshot, integers, level_checksum, order_checksum
from demos.orderbook.levels import LevelBook
from demos.orderbook.plain import new_reference_book
from tests.unit.orderbook.twins import PlainSortedMap

FLOWS = ("normal_s23", "normal_s7", "static_s23", "static_s7", "swing-25_s23", "swing-25_s7", "flash-crash_s23")


@pytest.fixture
def feed(shared: Path) -> Path:
    return shared / "data/kraken_book_2021-04-17/KRAKEN.ws.50.0"


@pytest.fixture
def flows(shared: Path) -> Path:
    return shared / "data/matching_flows"


def flow_name(short: str) -> str:
    return f"{short}_n{2000 if short.endswith('s23') else 10000}"


def replay(path: Path) -> Iterator[tuple[int, bool]]:
    """(line, whether the checksum is equal) of every update."""
    book = LevelBook(PlainSortedMap(), {}, {})
    with Source(path) as source:
        for record in kraken.read(source):
            asks, bids = integers(record.asks), integers(record.bids)
            if isinstance(record, Snapshot):
                book.snapshot(record.pair, record.depth, record.price_decimals, record.quantity_decimals, asks, bids)
            else:
                yield record.line, book.update(record.pair, asks, bids) == record.checksum


def test_every_checksum_of_the_recorded_feed_is_reproduced(feed: Path) -> None:
    """10 snapshots, 4,269 updates: the book kept in integers computes each of the exchange's checksums."""
    assert detect(feed) is Format.KRAKEN
    verdicts = [equal for _, equal in replay(feed)]
    assert (len(verdicts), sum(verdicts)) == (4269, 4269)


def test_one_altered_level_is_found_at_its_message(feed: Path, tmp_path: Path) -> None:
    """A quantity changed by one unit in one update makes the checksum of that very line differ, none before."""
    lines = feed.read_bytes().split(b"\n")
    number = 2001
    good = lines[number - 1]
    assert b'"c":' in good
    price, quantity = next(
        (level[0].encode(), level[1].encode())
        for part in json.loads(good.split(b": ", 1)[1])[1:-2]
        for levels in part.values()
        if isinstance(levels, list)
        for level in levels
    )
    altered = quantity[:-1] + (b"1" if quantity[-1:] != b"1" else b"2")
    lines[number - 1] = good.replace(b'"%s","%s"' % (price, quantity), b'"%s","%s"' % (price, altered))
    assert lines[number - 1] != good
    path = tmp_path / "altered"
    path.write_bytes(b"\n".join(lines))
    assert next(line for line, equal in replay(path) if not equal) == number


def test_the_published_level_checksums_are_reproduced(shared: Path) -> None:
    """The four level vectors, from strings and from a book of integers."""
    vectors = json.loads((shared / "data/kraken_checksum_vectors/kraken_l2_vectors.json").read_text())
    assert len(vectors) == 4
    for vector in vectors:
        asks, bids = ([(price, quantity) for price, quantity in vector[side]] for side in ("asks", "bids"))
        assert level_checksum(asks, bids) == vector["crc32"]
        book = LevelBook(PlainSortedMap(), {}, {})
        assert book.snapshot("P", 1000, 9, 8, integers(asks), integers(bids)) == vector["crc32"]


def test_the_published_order_checksum_is_reproduced(shared: Path) -> None:
    """The level3 vector: 14 ask and 21 bid orders in queue order."""
    vector = json.loads((shared / "data/kraken_checksum_vectors/kraken_l3_vector.json").read_text())
    asks, bids = ([(price, quantity) for price, quantity in vector[side]] for side in ("asks", "bids"))
    assert (len(asks), len(bids)) == (14, 21)
    assert order_checksum(asks, bids) == vector["crc32"] == 1063832831


def test_the_real_itch_file_is_torn_where_it_was_cut(shared: Path) -> None:
    """101 whole messages of a real day, byte-exact through our encoder, then 13 of 39 bytes at byte 4081."""
    path = shared / "data/itch50_real_head/head_4096bytes_truncated.itch50"
    assert detect(path) is Format.ITCH
    content = path.read_bytes()
    seen: list[tuple[int, bytes]] = []
    with Source(path) as source, pytest.raises(TornTail) as caught:
        seen.extend((source.position, itch.encode(message)) for message in itch.read(source))
    assert all(content[offset + 2 :].startswith(encoded) for offset, encoded in seen)
    assert Counter(encoded[:1] for _, encoded in seen) == {b"S": 1, b"R": 98, b"H": 1, b"Y": 1}
    assert (caught.value.position, caught.value.unit) == (4081, "byte")
    assert str(caught.value).endswith("byte 4081: the file ends after 13 of 39 bytes of a message")


def test_flows_and_reports_have_the_counts_of_the_manifest(flows: Path) -> None:
    """Every flow is detected and read whole, orders and reports."""
    with Source(flows / "MANIFEST.csv") as source:
        manifest = list(flow.read_manifest(source))
    assert [row.name for row in manifest] == [flow_name(short) for short in FLOWS]
    for row in manifest:
        orders = flows / f"{row.name}.orders.csv.gz"
        assert detect(orders) is Format.FLOW
        with Source(orders) as source:
            assert sum(1 for _ in flow.read(source)) == row.messages
            assert source.bytes_read == source.bytes_total
        with Source(flows / f"{row.name}.reports.txt.gz") as source:
            assert sum(1 for _ in flow.read_reports(source)) == row.reports


def test_edge_cases_are_read(flows: Path) -> None:
    """23 hand-made cases, each with rows and expected reports."""
    path = flows / "edge_cases.json"
    assert detect(path) is Format.FLOW_CASES
    with Source(path) as source:
        cases = list(flow.read_cases(source))
    assert len(cases) == 23
    assert all(case.rows and case.reports for case in cases)


@pytest.mark.parametrize("short", FLOWS)
def test_a_recorded_flow_written_as_itch_gives_its_book_back(flows: Path, tmp_path: Path, short: str) -> None:
    """The book after ITCH is written and read equals the one that follows from the reports themselves."""
    # What rests, from first principles: what was acknowledged or modified, less its trades, unless it was cancelled.
    resting: dict[int, list[int]] = {}
    with Source(flows / f"{flow_name(short)}.reports.txt.gz") as source:
        reports = list(flow.read_reports(source))
    # A report stream names a modification after its trades; the order had its new quantity before them.
    for report in sorted(reports, key=lambda report: (report[1], report[0] != 3)):
        if report[0] in (0, 3):
            _, _, side, order_id, price, quantity = report
            resting[order_id] = [side, price, quantity]
        elif report[0] == 1:
            _, _, _, quantity, maker, taker = report
            for order_id in (maker, taker):
                resting[order_id][2] -= quantity
                if not resting[order_id][2]:
                    del resting[order_id]
        elif report[0] == 2:
            del resting[report[3]]
    tape = Tape()
    sink = io.BytesIO()
    itch.write(tape.day(reports), sink.write)
    path = tmp_path / "flow.itch50"
    path.write_bytes(sink.getvalue())
    book = new_reference_book()
    with Source(path) as source:
        for message in itch.read(source):
            apply(book, message)
    found = {
        order_id: [book.orders[ref].side, book.orders[ref].price, book.orders[ref].shares]
        for order_id, ref in tape.references.items()
    }
    assert len(book.orders) == len(found)
    assert found == resting


@pytest.mark.parametrize("back", [2000, 2037, 2111, 2345])
def test_a_cut_feed_is_checked_up_to_its_cut(feed: Path, tmp_path: Path, back: int) -> None:
    """A feed cut inside a line is refused at that line, after every message before it was found equal."""
    content = feed.read_bytes()[:-back]
    assert not content.endswith((b"]", b"\n"))
    path = tmp_path / "cut"
    path.write_bytes(content)
    verdicts: list[tuple[int, bool]] = []
    with pytest.raises(FormatError, match=r"not JSON|not 'epoch") as caught:
        verdicts.extend(replay(path))
    assert caught.value.position == content.count(b"\n") + 1
    assert len(verdicts) > 4200
    assert all(equal for _, equal in verdicts)
