"""The markets on the screen: ladders side by side, depth, and the last trades."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.styled import Styled
from rich.text import Text

from demos.orderbook.drawing import Glyphs, depth, ladder, size, trade
from demos.orderbook.flowgen import INSTRUMENTS
from demos.orderbook.records import BUY, SELL, Traded
from demos.orderbook.survey import MarketView
from demos.orderbook.terminal import Board, beside

# A ladder with its gap, when bars are still to be told apart.
LADDER_CELLS_MIN: Final = 20
LEVELS_MIN: Final = 2
# Rather more levels than a depth curve beside fewer.
LEVELS_WITH_DEPTH_MIN: Final = 5
LEVELS_MAX: Final = 8
DEPTH_LINES_MIN: Final = 5
DEPTH_LINES_MAX: Final = 9
# Prices remembered for sparklines.
COURSE_MAX: Final = 64


class Markets:
    """How the books stand, and how they came there."""

    def __init__(self, glyphs: Glyphs) -> None:
        self.views: list[MarketView] = []
        self.trades: deque[Traded] = deque(maxlen=DEPTH_LINES_MAX)
        self._glyphs = glyphs
        self._courses: list[deque[int]] = [deque(maxlen=COURSE_MAX) for _ in INSTRUMENTS]

    def look(self, markets: list[MarketView]) -> None:
        """Take in how the books stand now."""
        for instrument, course, before, view in zip(
            INSTRUMENTS, self._courses, [*self.views, *[None] * len(markets)], markets, strict=False
        ):
            tape = view.tape
            if tape is None or not tape.last:
                continue
            if before is None or before.tape is None or before.tape.trades != tape.trades:
                side = SELL if course and tape.last < course[-1] else BUY
                self.trades.append(Traded(instrument.number, tape.last, tape.last_quantity, 0, 0, side))
            course.append(tape.last)
        self.views = markets

    def ladders_and_depth(self, width: int, room: int) -> Iterator[RenderableType]:
        """Ladders first: they take 2 lines besides their levels. Depth needs an empty line and enough height."""
        levels = max(LEVELS_MIN, min(LEVELS_MAX, (room - 2) // 2))
        if room >= 2 * LEVELS_WITH_DEPTH_MIN + DEPTH_LINES_MIN + 3:
            levels = max(LEVELS_WITH_DEPTH_MIN, min(levels, (room - DEPTH_LINES_MIN - 3) // 2))
        yield self.ladders(width, levels)
        lines = min(room - 3 - 2 * levels, DEPTH_LINES_MAX)
        if lines >= DEPTH_LINES_MIN:
            yield Text("")
            yield self._depths(width, lines)

    def ladders(self, width: int, levels: int) -> Text:
        """The ladders that have room beside one another, with so many levels a side."""
        gap = 2 if width < 100 else 4
        shown = min(len(INSTRUMENTS), width // LADDER_CELLS_MIN)
        cells = (width - 2 - gap * (shown - 1)) // shown
        books = list(zip(INSTRUMENTS, self.views, self._courses, strict=True))[:shown]
        return beside([ladder(*book, cells, levels, self._glyphs) for book in books], gap)

    def _depths(self, width: int, lines: int) -> Text:
        """Depth of the busiest markets, as many as have room, and the last trades."""
        taken = 25
        charts = 1 if width < 120 else 2
        cells = (width - 2 - taken) // charts - 3
        columns = [
            [Text(f"{instrument.symbol} depth", "dim"), *depth(instrument, view, cells, lines - 1, self._glyphs)]
            for instrument, view in list(zip(INSTRUMENTS, self.views, strict=True))[:charts]
        ]
        by_number = {instrument.number: instrument for instrument in INSTRUMENTS}
        tape = [trade(by_number[made.instrument], made, self._glyphs) for made in reversed(self.trades)]
        columns.append([Text("last trades", "dim"), *tape, *[Text("")] * lines][:lines])
        return beside(columns, 3)


class ExchangeBoard(Board):
    """The board of a machine in one process: its figures, and its markets."""

    def __init__(self, console: Console, heading: str, note: str, titles: Sequence[str]) -> None:
        super().__init__(console, heading, note, titles)
        self.markets = Markets(self.glyphs)
        self.index = 0
        self.root = ""
        self.log_bytes = 0

    def body(self, width: int, room: int) -> Iterator[RenderableType]:
        """Figures in a line, then the markets."""
        if not self.markets.views:
            return
        yield Text(self.glyphs.line * width, "dim")
        yield self._figures(width)
        yield Text("")
        # Books of a process that is no more are drawn dimly, as long as another one may come.
        style = "" if self.is_alive or not self.is_running else "dim"
        yield Styled(Group(*self.markets.ladders_and_depth(width, room - 4)), style)

    def _figures(self, width: int) -> Text:
        figures = {
            "acknowledged": f"{self.acknowledged:,}",
            "in flight": f"{self.sent - self.acknowledged:,}",
            "commands/s": f"{self.rate():,}" if self.is_alive else self.glyphs.line,
            "log index": f"{self.index:,}",
            "log": size(self.log_bytes),
            "state root": f"{self.root[:12]}{self.glyphs.dots}" if self.root else self.glyphs.line,
        }
        style = "bold" if self.is_alive else "dim"
        columns = [[Text(name, "dim"), Text(value, style)] for name, value in figures.items()]
        # On a narrow screen the last ones give way.
        while (taken := sum(max(map(len, column)) for column in columns)) + 2 * len(columns) > width:
            columns.pop()
        return beside(columns, max(2, (width - 2 - taken) // (len(columns) - 1)))
