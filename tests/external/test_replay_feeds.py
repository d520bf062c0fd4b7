"""ITCH and LOBSTER through a durable machine: the torn tail, and the book of a flow told as ITCH."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

import rsm
from demos.orderbook.feed_machine import OrderFeed
from demos.orderbook.formats import Source, flow, itch
from demos.orderbook.formats.itch_tape import Tape
from demos.orderbook.machine import OrderBook
from demos.orderbook.plain import new_book
from demos.orderbook.recordings.flows import INSTRUMENT
from demos.orderbook.records import BUY, SELL
from demos.orderbook.reports import apply_row
from tests.external.replaying import call, kill_half_way
from tests.external.test_replay_flows import NAMES


@pytest.fixture
def head(shared: Path) -> Path:
    return shared / "data/itch50_real_head/head_4096bytes_truncated.itch50"


def test_the_torn_tail_of_a_real_day_is_reported(head: Path, tmp_path: Path) -> None:
    """101 whole messages are applied; then one line with the offset, and exit code 1, every time."""
    for commands in (101, 0):
        told = call(head, "--dir", tmp_path / "d", "--json")
        assert told.code == 1
        expected = f"{head}: torn: 13 of 39 bytes at byte 4081 after 101 whole messages"
        assert told.err == f"orderbook replay: {expected}\n"
        found = told.document
        assert (found["failure"], found["ok"]) == (expected, False)
        assert found["checks"] == [{"name": "messages applied", "equal": 101, "of": 101}]
        assert (found["commands"], found["book"]) == (commands, {"orders": 0, "levels": 0, "stocks": 98})


def sizes_of_book(orders: Path) -> list[int]:
    """How many orders rest after each message of a flow."""
    book, sizes = new_book(), []
    book.list_instrument([].append, 1, "FLOW", requeue=True)
    with Source(orders) as source:
        for row in flow.read(source):
            apply_row(book, row, [], 1)
            sizes.append(len(book.orders))
    return sizes


@pytest.mark.parametrize(
    ("name", "is_whole"),
    [
        pytest.param(name, is_whole, marks=[] if is_whole == (name == NAMES[0]) else pytest.mark.soak)
        for name in NAMES
        for is_whole in (True, False)
    ],
)
def test_a_flow_written_as_itch_gives_the_book_of_its_machine(
    shared: Path, tmp_path: Path, name: str, is_whole: bool
) -> None:
    """The reports of the flow's machine as ITCH, read into a feed's machine: the same orders in the same queues.

    For the whole flow, at whose end few orders rest, and for its beginning, cut where most do: one of the two each, and
    both under `make soak`.
    """
    content = gzip.decompress((shared / f"data/matching_flows/{name}.orders.csv.gz").read_bytes()).splitlines(True)
    orders, path = tmp_path / "orders.csv", tmp_path / "day.itch50"
    sizes = sizes_of_book(shared / f"data/matching_flows/{name}.orders.csv.gz")
    end = len(content) if is_whole else sizes.index(max(sizes)) + 2
    orders.write_bytes(b"".join(content[:end]))
    assert call(orders, "--dir", tmp_path / "flow", "--reports", tmp_path / "reports").code == 0
    tape = Tape()
    with Source(tmp_path / "reports") as source, open(path, "wb") as day:
        itch.write(tape.day(flow.read_reports(source)), day.write)
    told = call(path, "--dir", tmp_path / "feed", "--json")
    assert (told.code, told.err) == (0, "")
    with rsm.open(OrderBook, tmp_path / "flow") as book, rsm.open(OrderFeed, tmp_path / "feed") as feed:
        expected = {side: list(book.resting(INSTRUMENT, side)) for side in (BUY, SELL)}
        count = len(expected[BUY]) + len(expected[SELL])
        assert count == len(tape.references) == feed.counts()[0] == book.counts()[0]
        assert is_whole or count == max(sizes) > 2
        for side, resting in expected.items():
            told_as = [(tape.references[order_id], price, quantity) for order_id, price, quantity in resting]
            assert list(feed.resting(tape.locate, side)) == told_as
            depth = [(price, quantity) for price, quantity, _ in book.depth(INSTRUMENT, side, 10_000)]
            assert feed.depth(tape.locate, side, 10_000) == depth
        assert (feed.stock("FLOW"), feed.state(1)) == (1, "T")


def test_a_message_that_the_book_does_not_allow_stops_the_replay(tmp_path: Path) -> None:
    """An execution of an unknown order: exit code 1 with offset, message and index; nothing behind it is applied."""
    path = tmp_path / "day.itch50"
    messages: list[itch.Message] = [
        itch.AddOrder(1, 0, 0, 5, "B", 100, "X", 10),
        itch.Executed(1, 0, 1, 6, 10, 1),
        itch.Delete(1, 0, 2, 5),
    ]
    with open(path, "wb") as day:
        itch.write(messages, day.write)
    told = call(path, "--dir", tmp_path / "d")
    assert told.code == 1
    assert f"{path}: byte 38: message 2: no order 6 (log index " in told.err
    assert "1 of 2 messages applied" in told.out
    with rsm.open(OrderFeed, tmp_path / "d") as feed:
        assert list(feed.resting(1, BUY)) == [(5, 10, 100)]


LOBSTER = b"""\
34200.017459617,5,0,1,2238200,-1
34200.189607670,1,11885113,21,2238100,1
34200.189607671,1,11885114,30,2238100,1
34200.189607672,1,11885115,7,2238900,-1
34200.372779672,2,11885113,1,2238100,1
34200.372779673,3,99,50,2238100,1
34200.372779674,4,98,5,2238100,1
34200.383971366,4,11885113,20,2238100,1
34200.383971367,7,0,0,-1,-1
"""


def test_lobster_messages_build_a_book(tmp_path: Path) -> None:
    """Orders from before the file are counted, not refused; hidden trades and halts change nothing."""
    path = tmp_path / "messages.csv"
    path.write_bytes(LOBSTER)
    found = call(path, "--json", "--dir", tmp_path / "d").document
    assert (found["format"], found["ok"]) == ("LOBSTER messages", True)
    assert found["checks"] == [{"name": "messages applied", "equal": 9, "of": 9}]
    assert found["book"] == {
        "orders": 2,
        "levels": 2,
        "about_orders_before_the_file": 2,
        "bid": [2238100, 30],
        "ask": [2238900, 7],
    }
    with rsm.open(OrderFeed, tmp_path / "d") as feed:
        assert feed.noted() == {"5": 1, "7": 1}


def test_a_killed_feed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """SIGKILL behind the fourth message; the book at the end is the same."""
    path = tmp_path / "messages.csv"
    path.write_bytes(LOBSTER)
    assert list(kill_half_way((path, tmp_path / "d", 4, 2))) == [9]
    found = call(path, "--json", "--dir", tmp_path / "d").document
    assert found["commands"] <= 5
    assert found["book"] == call(path, "--json").document["book"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("missing",), "missing: cannot be read: No such file or directory"),
        (("text",), "none of the formats known here"),
        (("messages", "--reports", "out"), "only order flows have a report stream"),
        (("messages", "--dir", "text"), "text"),
        (("flow", "--reports", "no/such/out"), "no/such/out.unfinished: No such file or directory"),
        (("messages", "--dirs", "d"), "unrecognized arguments: --dirs d"),
        ((), "required: FILE"),
    ],
)
def test_wrong_usage_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], what: str
) -> None:
    """Exit code 2, one line on stderr, nothing on stdout."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text").write_bytes(b"hello\n")
    (tmp_path / "messages").write_bytes(LOBSTER)
    (tmp_path / "flow").write_bytes(b"seq,type,side,ioc,qty,order_id,price_ticks\n")
    told = call(*arguments)
    assert (told.code, told.out) == (2, "")
    assert what in told.err
    assert told.err.count("\n") == 1


@pytest.mark.parametrize(
    ("rows", "what"),
    [
        (b"0,N,0,0,5,1,100\n1,N,0,0,5,1,100\n", "message 1: the report stream has no line for Refused"),
        (b"0,N,0,0,5,1,100\n0,N,0,0,5,2,100\n", "line 3: seq must rise"),
        (b"0,N,0,0,5,1,100\n1,N,0,0,", "line 3: a row has 7 fields"),
    ],
)
def test_a_flow_that_cannot_be_is_a_failure(tmp_path: Path, rows: bytes, what: str) -> None:
    """Exit code 1, the same on every run; the stream holds what came before."""
    path = tmp_path / "flow.csv"
    path.write_bytes(b"seq,type,side,ioc,qty,order_id,price_ticks\n" + rows)
    for _ in range(2):
        told = call(path, "--dir", tmp_path / "d", "--reports", tmp_path / "out")
        assert told.code == 1
        assert what in told.err
        assert (tmp_path / "out").read_bytes() == b"0,0,0,1,100,5"
