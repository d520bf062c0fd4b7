"""The recorded feed is read with its wire strings, and the published checksum examples come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from demos.orderbook.formats import FormatError, Source, kraken
from demos.orderbook.formats.kraken import Snapshot, Update, WireLevel, integers, level_checksum, order_checksum
from demos.orderbook.levels import LevelBook
from tests.unit.orderbook.twins import PlainSortedMap

HEAD = b"""wss://ws.kraken.com <-> 1618678132.3858151
wss://ws.kraken.com <- 1618678132.8253062: {"event":"subscribe","pair":["XMR/USD"]}
1618678132.9: {"channelID":1664,"channelName":"book-1000","event":"subscriptionStatus","pair":"XMR/USD"}
1618678133: {"event":"heartbeat"}

"""
SNAPSHOT = (
    b'1618678134.1: [992,{"as":[["354.80","1.400","1618678133.0"],["354.84","6.882","1618678132.9"]],'
    b'"bs":[["354.12","5.000","1618678133.3"]]},"book-1000","XMR/USD"]\n'
)
UPDATE = (
    b'1618678134.2: [992,{"a":[["354.80","0.000","1618678133.4"]]},'
    b'{"b":[["354.15","2.500","1618678133.4","r"]],"c":"2583817756"},"book-1000","XMR/USD"]\n'
)

# The example of the exchange's documentation of v2 (facts: CRC 3310070434).
V2_ASKS = (
    "45285.2/0.00100000 45286.4/1.54571953 45286.6/1.54571109 45289.6/1.54560911 45290.2/0.15890660 "
    "45291.8/1.54553491 45294.7/0.04454749 45296.1/0.35380000 45297.5/0.09945542 45299.5/0.18772827"
)
V2_BIDS = (
    "45283.5/0.10000000 45283.4/1.54582015 45282.1/0.10000000 45281.0/0.10000000 45280.3/1.54592586 "
    "45279.0/0.07990000 45277.6/0.03310103 45277.5/0.30000000 45277.3/1.54602737 45276.6/0.15445238"
)


def levels(text: str) -> list[WireLevel]:
    pairs = [level.split("/") for level in text.split()]
    return [(price, quantity) for price, quantity in pairs]


def write(directory: Path, content: bytes) -> Path:
    path = directory / "feed"
    path.write_bytes(content)
    return path


def test_messages_keep_the_strings_of_the_wire(tmp_path: Path) -> None:
    """Snapshots and updates come out with line, pair, depth, decimals and checksum; all other lines are passed over."""
    with Source(write(tmp_path, HEAD + SNAPSHOT + UPDATE)) as source:
        records = list(kraken.read(source))
        assert source.position == 7
    asks = (("354.80", "1.400"), ("354.84", "6.882"))
    assert records == [
        Snapshot(6, "XMR/USD", 1000, 2, 3, asks, (("354.12", "5.000"),)),
        Update(7, "XMR/USD", (("354.80", "0.000"),), (("354.15", "2.500"),), 2583817756),
    ]
    assert integers(asks) == ((35480, 1400), (35484, 6882))


def test_an_update_without_checksum_says_so(tmp_path: Path) -> None:
    """What the exchange did not send cannot be compared: the checksum is None, not a number."""
    update = b'1.5: [992,{"b":[["354.15","2.500","1.0"]]},"book-1000","XMR/USD"]\n'
    with Source(write(tmp_path, SNAPSHOT + update)) as source:
        record = list(kraken.read(source))[1]
    assert isinstance(record, Update)
    assert record.checksum is None


def test_other_channels_are_passed_over(tmp_path: Path) -> None:
    """A ticker or trade message among the book messages is no error."""
    other = b'1.5: [340,{"c":["5525.40000","0.00398963"]},"ticker","XBT/USD"]\n'
    with Source(write(tmp_path, SNAPSHOT + other)) as source:
        assert len(list(kraken.read(source))) == 1


def replaced(old: bytes, new: bytes) -> bytes:
    line = UPDATE.replace(old, new)
    assert line != UPDATE
    return line


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"rubbish\n", "not 'epoch: json'"),
        (b"1.5 [1]\n", "not 'epoch: json'"),
        (b"1.5: [992,\n", "not JSON"),
        (b"1.5: " + b"[" * 100_000 + b"\n", "not JSON"),
        (b'1.5: "text"\n', r"not \[channel"),
        (b'1.5: {"no":"event"}\n', "without an event"),
        (b'1.5: [992,"book-1000","XMR/USD"]\n', r"not \[channel"),
        (UPDATE[:-20], "not JSON"),
        (replaced(b"XMR/USD", b"ZEC/EUR"), "before its snapshot"),
        (replaced(b"XMR/USD", b""), "names its pair"),
        (replaced(b"book-1000", b"book-0"), "depth"),
        (replaced(b'{"b"', b'{"a"'), "different keys"),
        (replaced(b'{"b"', b'{"as"'), "has the keys"),
        (replaced(b'"2583817756"', b"2583817756"), "32-bit"),
        (replaced(b"2583817756", b"4294967296"), "32-bit"),
        (replaced(b"2583817756", b"-1"), "32-bit"),
        (replaced(b'"354.15"', b"354.15"), "decimal number in a string"),
        (replaced(b'"354.15"', b'"3.5e2"'), "decimal number in a string"),
        (replaced(b'"354.15"', b'"-354.15"'), "decimal number in a string"),
        (replaced(b'"354.15"', b'"354.150"'), "2 price and 3 quantity decimals"),
        (replaced(b'"2.500"', b'"2.5"'), "2 price and 3 quantity decimals"),
        (replaced(b'"2.500"', b'"' + b"9" * 19 + b'.500"'), "at most 18 digits"),
        (replaced(b'["354.15","2.500","1618678133.4","r"]', b'["354.15"]'), "a level is"),
        (replaced(b'[["354.15","2.500","1618678133.4","r"]]', b'"x"'), "levels are a list"),
        (b'1.5: [992,{"as":[],"bs":[]},"book-1000","ZEC/EUR"]\n', "empty"),
    ],
)
def test_bad_lines_are_named_after_all_good_ones(tmp_path: Path, line: bytes, what: str) -> None:
    """Whatever is wrong with a line, the messages before it come first, then one line of error with its number."""
    path = write(tmp_path, HEAD + SNAPSHOT + UPDATE + line)
    seen = []
    with Source(path) as source, pytest.raises(FormatError, match=what) as caught:
        seen.extend(kraken.read(source))
    assert len(seen) == 2
    assert (caught.value.path, caught.value.position) == (str(path), 8)
    text = str(caught.value)
    assert text.startswith(f"{path}: line 8: ")
    assert "\n" not in text
    assert len(text) < len(str(path)) + 300


def test_the_documented_v2_checksum_and_its_wrong_orders() -> None:
    """Asks first, each side best first, give the documented value; the mistakes that one can make give others."""
    asks, bids = levels(V2_ASKS), levels(V2_BIDS)
    assert level_checksum(asks, bids) == 3310070434
    assert level_checksum(bids, asks) == 2704419326
    assert level_checksum(asks, bids[::-1]) == 1220702774
    floats = [[(repr(float(price)), repr(float(quantity))) for price, quantity in side] for side in (asks, bids)]
    assert level_checksum(*floats) == 1604409348


def test_the_documented_v1_checksum() -> None:
    """The example of the v1 documentation: ten levels a side, prices below one with leading zeros."""
    asks = [(f"0.0{price}", "0.00000500") for price in range(5005, 5055, 5)]
    prices = (5000, 4995, 4990, 4980, 4975, 4970, 4965, 4960, 4955, 4950)
    bids = [(f"0.0{price}", "0.00000500") for price in prices]
    assert level_checksum(asks, bids) == 974947235
    assert level_checksum([*asks, ("0.06000", "1.00000000")], [*bids, ("0.01000", "1.00000000")]) == 974947235


@pytest.mark.parametrize("decimals", [(1, 8), (9, 8)])
def test_a_book_of_integers_has_the_checksum_of_its_strings(decimals: tuple[int, int]) -> None:
    """The digits of the scaled integers are the digits that the exchange hashes."""
    asks, bids = levels(V2_ASKS), levels(V2_BIDS)
    if decimals[0] == 9:
        asks, bids = ([("0.0000" + p.replace(".", "")[:5], q) for p, q in side] for side in (asks, bids))
    book = LevelBook(PlainSortedMap(), {}, {})
    by_integers = book.snapshot("P", 1000, *decimals, integers(reversed(asks)), integers(reversed(bids)))
    best_first: list[Callable[[list[WireLevel]], list[WireLevel]]] = [sorted, lambda side: sorted(side, reverse=True)]
    unique = [list({price: (price, quantity) for price, quantity in reversed(side)}.values()) for side in (asks, bids)]
    assert by_integers == level_checksum(best_first[0](unique[0]), best_first[1](unique[1]))


def test_the_level3_checksum_covers_every_order_in_queue_order() -> None:
    """All orders of the ten best prices count, an eleventh price does not, and swapping two orders of a queue shows."""
    asks = [(str(100 + step // 2), f"{1 + step}.5") for step in range(20)]
    bids = [("99", "1.5")]
    before = order_checksum(asks, bids)
    assert order_checksum([*asks, ("110", "1.0")], bids) == before
    assert order_checksum([asks[1], asks[0], *asks[2:]], bids) != before
    assert order_checksum([*asks, ("109", "1.0")], bids) != before
