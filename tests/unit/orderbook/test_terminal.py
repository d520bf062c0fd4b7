"""The show's board fits the room that it is given, on any terminal, and says the same without colours or blocks."""

from __future__ import annotations

import io

import pytest
from rich.cells import cell_len
from rich.console import Console

from demos.orderbook.cluster import NodeLine
from demos.orderbook.cluster_board import ClusterBoard, milliseconds, percentile
from demos.orderbook.drawing import ASCII, UNICODE, bar, decimal, depth, ladder, sparkline
from demos.orderbook.flowgen import INSTRUMENTS, Flow
from demos.orderbook.market_board import ExchangeBoard
from demos.orderbook.records import Market, Tape
from demos.orderbook.survey import MarketView, view
from demos.orderbook.terminal import verdicts

TITLES = ("write", "trade", "kill", "recover in a new process", "go on", "open")


@pytest.fixture(scope="module")
def markets() -> list[MarketView]:
    """How the books stand after a morning."""
    flow = Flow(4)
    for _ in flow.steps(6_000):
        pass
    return [view(flow.desk, instrument.number, 24) for instrument in INSTRUMENTS]


def console(
    width: int, height: int, encoding: str = "utf-8", *, is_terminal: bool = False
) -> tuple[Console, io.BytesIO]:
    """A console of some size, and what it writes to."""
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, write_through=True)
    return Console(file=file, width=width, height=height, color_system=None, force_terminal=is_terminal), raw


def fill(made: ExchangeBoard | ClusterBoard, markets: list[MarketView]) -> None:
    """Put a board into the middle of its second stage."""
    made.stages[0].state = "held"
    made.stages[1].state, made.stages[1].done, made.stages[1].total = "running", 300, 1_000
    made.is_alive = True
    made.markets.look(markets)
    made.pace(12_345, 12_857)


def board(
    markets: list[MarketView], width: int, height: int, encoding: str = "utf-8"
) -> tuple[ExchangeBoard, io.BytesIO]:
    """A board in the middle of its second stage, and what its console writes to."""
    on, raw = console(width, height, encoding)
    made = ExchangeBoard(on, "order book", "a note", TITLES)
    fill(made, markets)
    return made, raw


NODES = [
    NodeLine("a:1", node_id=1, role="leader", term=1_234, commit_index=98_765, applied_index=98_765, root="ab" * 16),
    NodeLine("a:2", error="cannot be reached: Connection refused"),
    NodeLine("a:3", node_id=3, role="recovering", term=1_234, commit_index=98_700, applied_index=98_004),
]


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (80, 30), (100, 35), (140, 45), (200, 60)])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_cluster_fits(markets: list[MarketView], width: int, height: int, encoding: str) -> None:
    """Nodes, rate, latency and the last that happened are on any terminal; the rest has what room there is."""
    on, raw = console(width, height, encoding, is_terminal=True)
    made = ClusterBoard(on, "order book, three nodes", "a note", [*TITLES, "compare"])
    fill(made, markets)
    made.nodes = NODES
    made.latencies.extend(range(1_000, 101_000, 1_000))
    for number in range(12):
        made.tell(f"thing {number} has happened to a node, and it takes a few words to say what that was")
    raw.truncate(0)
    made.console.print(made)
    lines = raw.getvalue().decode(encoding).strip("\0").splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= height - 1
    text = "\n".join(lines)
    for words in ("leader", "98,765", "down", "recovering", "761", "51.0 ms", "that was"):
        assert words in text
    assert ("in flight   512" in text) == (width > 60)
    assert ("abababab @ 0" in text) == (width > 60)
    assert "\x1b" not in text


def test_percentiles() -> None:
    """A percentile is a value that was there; a latency is written in the unit that people expect."""
    assert [percentile(range(1, 101), percent) for percent in (0, 50, 99)] == [1, 51, 100]
    assert percentile([], 50) == 0
    assert [milliseconds(value) for value in (1_234, 123_456, 1_234_567)] == ["1.2 ms", "123 ms", "1.23 s"]


@pytest.mark.parametrize(("width", "height"), [(60, 20), (80, 24), (80, 30), (100, 35), (140, 45), (200, 60)])
def test_it_fits(markets: list[MarketView], width: int, height: int) -> None:
    """No line is wider than the terminal, and the frame leaves it at least one line."""
    made, raw = board(markets, width, height)
    made.console.print(made)
    lines = raw.getvalue().decode().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert len(lines) <= height - 1
    assert len(lines) >= min(height - 3, 30)
    text = "\n".join(lines)
    assert all(instrument.symbol in text for instrument in INSTRUMENTS[: width // 20])
    assert "12,345" in text
    assert "300 of 1,000" in text


def test_plain_characters_do(markets: list[MarketView]) -> None:
    """Where the output cannot show blocks nothing but ASCII is written."""
    made, raw = board(markets, 80, 40, "ascii")
    made.console.print(made)
    made.console.print(made.final())
    made.console.print(verdicts([(True, "one", "held"), (False, "two", "did not")], made.glyphs, 80))
    text = raw.getvalue().decode("ascii")
    assert "NO two" in text
    assert "#" in text


def test_a_ladder_shows_the_book(markets: list[MarketView]) -> None:
    """The best levels stand next to the last trade, asks above it, bids below it, worst at the edges."""
    for instrument, market in zip(INSTRUMENTS, markets, strict=True):
        lines = [line.plain for line in ladder(instrument, market, [1, 2, 3], 30, 3, UNICODE)]
        assert {len(line) for line in lines} == {30}
        prices = [line.split()[0] for line in lines[1:]]
        asks = [decimal(instrument, price) for price, _, _ in market.asks[:3]]
        bids = [decimal(instrument, price) for price, _, _ in market.bids[:3]]
        assert market.tape is not None
        assert prices == [*reversed(asks), decimal(instrument, market.tape.last), *bids]


def test_an_empty_market_can_be_drawn() -> None:
    """A market before its first order has a ladder and a depth curve of the usual size."""
    empty = MarketView(Market("ACME", 0, False, 1, 2, 0), Tape(), [], [])
    assert {len(line) for line in ladder(INSTRUMENTS[0], empty, [], 20, 3, UNICODE)} == {20}
    assert {len(line) for line in depth(INSTRUMENTS[0], empty, 40, 6, UNICODE)} == {40}


def test_bars_and_lines() -> None:
    """Bars grow by eighths, anything above nothing is seen, and a sparkline spans its range."""
    assert [bar(part, 16, 2, UNICODE) for part in (0, 1, 8, 9, 16)] == ["  ", "▏ ", "█ ", "█▏", "██"]
    assert bar(1, 10_000, 4, UNICODE) == "▏   "
    assert bar(1, 2, 4, ASCII) == "##  "
    assert sparkline([1, 2, 3], 4, UNICODE) == " ▁▄█"
    assert sparkline([6, 6, 3], 3, UNICODE, from_zero=True) == "██▄"
    assert sparkline([7], 3, UNICODE) == "   "
    assert decimal(INSTRUMENTS[2], 1_487 * 5) == "0.7435"
