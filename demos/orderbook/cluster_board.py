"""The cluster on the screen: its nodes in a table, rate and latency, what happened when, and the markets below."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, RenderableType
from rich.styled import Styled
from rich.text import Text

from demos.orderbook.cluster import NodeLine
from demos.orderbook.drawing import size, sparkline
from demos.orderbook.market_board import Markets
from demos.orderbook.terminal import Board, beside, hanging

# The rate's course: a sample every so often, as many as fit.
SAMPLE_SECONDS: Final = 0.5
SAMPLES_MAX: Final = 60
# Latencies over which the percentiles are taken: a second or so.
LATENCIES_MAX: Final = 4_096
# The markets are drawn where this much is left for them.
MARKET_LINES_MIN: Final = 6
ROLE_STYLES: Final = {"leader": "bold green", "follower": "", "down": "bold red"}


class ClusterBoard(Board):
    """The board of a cluster. `nodes` is set by who asks them; a node that does not answer is down."""

    def __init__(self, console: Console, heading: str, note: str, titles: Sequence[str]) -> None:
        super().__init__(console, heading, note, titles)
        self.nodes: list[NodeLine] = []
        self.markets = Markets(self.glyphs)
        self.moments: list[tuple[float, str]] = []
        self.latencies: deque[int] = deque(maxlen=LATENCIES_MAX)
        self._began = time.monotonic()
        self._samples: deque[int] = deque(maxlen=SAMPLES_MAX)
        self._sampled = 0.0

    def start_clock(self) -> None:
        """From here the time of moments counts."""
        self._began = time.monotonic()

    def tell(self, text: str, at: float = 0.0) -> None:
        """Something happened, now or at a time of the monotonic clock."""
        self.moments.append(((at or time.monotonic()) - self._began, text))
        if not self.is_live:
            self.console.print(self._moments(self.moments[-1:], self.width))

    def pace(self, acknowledged: int, sent: int) -> None:
        """Take in how far the flows have come."""
        super().pace(acknowledged, sent)
        now = time.monotonic()
        if now - self._sampled > SAMPLE_SECONDS:
            self._sampled = now
            self._samples.append(self.rate())

    # --- the picture --------------------------------------------------------------------------------------------------

    def body(self, width: int, room: int) -> Iterator[RenderableType]:
        """Nodes and pulse; then as many of the last moments, and of the markets, as there is room for."""
        if not self.nodes:
            return
        yield Text(self.glyphs.line * width, "dim")
        yield self._table(width)
        yield self._pulse(width)
        room -= 3 + len(self.nodes)
        if self.is_live and self.is_running and self.moments:
            moments = self._moments(self.moments, width).split("\n")
            shown = moments[-max(1, room - 1) :]
            yield Text("")
            yield Text("\n").join(shown)
            room -= 1 + len(shown)
        if self.markets.views and room > MARKET_LINES_MIN:
            yield Text("")
            style = "" if self.is_alive or not self.is_running else "dim"
            for part in self.markets.ladders_and_depth(width, room - 1):
                yield Styled(part, style)

    def columns(self, node: NodeLine) -> Iterator[tuple[str, int, str]]:
        """Heading, cells and value of each column of the nodes' table; wide enough for what may come, so that nothing
        jumps.
        """
        newest = max(node.commit_index for node in self.nodes)
        yield "term", 4, str(node.term)
        yield "applied", 8, f"{node.applied_index:,}"
        yield "behind", 7, f"{max(0, newest - node.applied_index):,}"
        yield "state root", 20, f"{node.root[:8]} @ {node.root_index:,}" if node.root else ""
        yield "log", 8, size(node.log_bytes)

    def _table(self, width: int) -> Text:
        heads = [("node", 4), ("role", 10), *((name, cells) for name, cells, _ in self.columns(self.nodes[0]))]
        columns = [[Text(name, "dim")] for name, _ in heads]
        for number, node in enumerate(self.nodes, 1):
            values = [str(number), node.role, *("" if node.error else value for _, _, value in self.columns(node))]
            style = "bold red" if node.desync or node.failure else ROLE_STYLES.get(node.role, "yellow")
            for column, value in zip(columns, values, strict=True):
                column.append(Text(value, style))
        # On a narrow screen the last columns give way.
        wanted = [cells for _, cells in heads]
        while sum(wanted[: len(columns)]) + 2 * len(columns) > width:
            columns.pop()
        for column, cells in zip(columns, wanted, strict=False):
            column[0].pad_right(cells - len(column[0]))
        return beside(columns, max(2, min(5, (width - 2 - sum(wanted[: len(columns)])) // (len(columns) - 1))))

    def _pulse(self, width: int) -> Text:
        """Rate, its course, and latency."""
        low, high = percentile(self.latencies, 50), percentile(self.latencies, 99)
        line = Text(" commands/s ", "dim")
        line.append(f"{self.rate():,}".rjust(6) if self.is_alive else self.glyphs.line.rjust(6), "bold")
        rest = Text()
        flying = self.sent - self.acknowledged
        for name, value in (
            ("p50", milliseconds(low).rjust(8)),
            ("p99", milliseconds(high).rjust(8)),
            ("in flight", f"{flying:,}".rjust(5)),
        ):
            if len(line) + len(rest) + len(name) + len(value) + 4 <= width:
                rest.append(f"   {name} ", "dim")
                rest.append(value, "bold")
        cells = min(SAMPLES_MAX, width - len(line) - len(rest) - 2)
        if cells >= 4:
            line.append(" " + sparkline(list(self._samples), cells, self.glyphs, from_zero=True), "cyan")
        return line.append_text(rest)

    def _moments(self, moments: Sequence[tuple[float, str]], width: int) -> Text:
        return Text("\n").join(
            hanging(Text(f"{seconds:8.2f} s  ", "dim"), text, width, "") for seconds, text in moments
        )


def percentile(values: Sequence[int] | deque[int], percent: int) -> int:
    """The value that so many per cent do not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, len(ranked) * percent // 100)] if ranked else 0


def milliseconds(microseconds: int) -> str:
    """A latency, as people write it."""
    if microseconds >= 1_000_000:
        return f"{microseconds / 1e6:.2f} s"
    return f"{microseconds / 1e3:.1f} ms" if microseconds < 100_000 else f"{microseconds / 1e3:.0f} ms"
