"""The page's book, run under node: its checksums are Python's, Kraken's published ones, and those of a recorded day."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from demos.orderbook.face.ladders import Channel, checksum_of
from demos.orderbook.face.resting import RestingBook, Shown
from demos.orderbook.formats.kraken import level_checksum
from demos.orderbook.records import BUY, SELL

SECONDS_MAX = 60.0


@pytest.fixture(scope="module")
def node() -> str:
    """The program, or a skip."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs node (Debian's package nodejs) to run the page's modules")
    return found


def checksums(node: str, messages: Iterable[str]) -> list[tuple[int, int]]:
    """(the page's, the message's) checksum of every update."""
    script = Path(__file__).with_name("book_messages.mjs")
    done = subprocess.run(
        [node, str(script)],
        input="\n".join(messages),
        text=True,
        capture_output=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [(int(mine), int(theirs)) for mine, theirs in (line.split() for line in done.stdout.splitlines())]


@pytest.mark.parametrize("depth", [10, 25])
def test_both_agree_on_fifty_thousand_updates_at_each_depth(node: str, depth: int) -> None:
    """Levels come, change, go, are pushed out of sight and come back: all of 100,000 checksums are equal."""
    dice = random.Random(depth)
    book = RestingBook()
    channel = Channel(1, "ACME/USD", 1, 2, depth, book)
    messages = [channel.snapshot(0)]
    live: list[int] = []
    order_id, middle = 0, 18_000
    while len(messages) <= 50_000:
        for _ in range(dice.choice((1, 1, 2))):
            if len(live) > 60 or (live and dice.random() < 0.4):
                book.settle([(live.pop(dice.randrange(len(live))), None)])
            else:
                order_id += 1
                side = dice.choice((BUY, SELL))
                away = 1 + min(dice.randrange(40), dice.randrange(40))
                price = middle + (away if side == SELL else -away)
                book.settle([(order_id, Shown(1, side, price, dice.randrange(1, 5_000), 0, 0))])
                live.append(order_id)
        middle += dice.choice((-1, 0, 0, 0, 0, 1))
        message = channel.update(order_id * 10**7)
        if message is not None:
            messages.append(message)
    assert any('"r"]' in message for message in messages)
    found = checksums(node, messages)
    assert len(found) == 50_000
    assert [pair for pair in found if pair[0] != pair[1]] == []
    assert len({mine for mine, _ in found}) > 20_000


def test_every_checksum_of_the_recorded_feed_is_reproduced_by_the_page(node: str, shared: Path) -> None:
    """The exchange's own 4,269 checksums of ten pairs, by the book that the page keeps."""
    lines = (shared / "data/kraken_book_2021-04-17/KRAKEN.ws.50.0").read_text().splitlines()
    texts = [line.partition(": ")[2] for line in lines if line[:1].isdigit()]
    found = checksums(node, (text for text in texts if text.startswith("[")))
    assert (len(found), sum(mine == theirs for mine, theirs in found)) == (4269, 4269)


def test_the_published_checksums_are_reproduced_by_the_page_and_the_face(node: str, shared: Path) -> None:
    """Kraken's vectors as snapshots with an update that changes nothing: the documented 974947235 among them."""
    vectors = json.loads((shared / "data/kraken_checksum_vectors/kraken_l2_vectors.json").read_text())
    messages, expected = [], []
    for vector in vectors:
        asks, bids = ([[price, quantity, "0"] for price, quantity, *_ in vector[side]] for side in ("asks", "bids"))
        expected.append(level_checksum(*([tuple(row[:2]) for row in rows] for rows in (asks, bids))))
        messages.append(json.dumps([1, {"as": asks, "bs": bids}, "book-10", "X/Y"]))
        messages.append(json.dumps([1, {"a": [asks[0]], "c": str(expected[-1])}, "book-10", "X/Y"]))
        scaled = [[tuple(int(text.replace(".", "")) for text in row[:2]) for row in rows] for rows in (asks, bids)]
        assert checksum_of(scaled[0][:10], scaled[1][:10]) == expected[-1]  # type: ignore[arg-type]
    assert checksums(node, messages) == [(one, one) for one in expected]
    assert 974947235 in expected


def test_a_message_that_was_altered_is_noticed(node: str) -> None:
    """One unit in one level: the checksum of that very update differs, and only from there on."""
    book = RestingBook()
    channel = Channel(1, "ACME/USD", 1, 2, 10, book)
    messages = [channel.snapshot(0)]
    for number in range(1, 21):
        book.settle([(number, Shown(1, number % 2, 100 + 50 * (number % 2) + number, 10 * number, 0, 0))])
        messages.append(channel.update(number) or "")
    messages[12] = messages[12].replace('"120"', '"121"')
    assert next(place for place, (mine, theirs) in enumerate(checksums(node, messages), 1) if mine != theirs) == 12
