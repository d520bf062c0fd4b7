"""The show's screen: the stages of the run, and below them whatever a kind of show has to show.

A `Board` holds what is known and draws itself whenever it is asked, as large as the room allows. On a terminal it is
redrawn in place while things happen; elsewhere each stage leaves its line when it is over, and the rest is drawn once,
at the end, without a control code. A board knows nothing of processes or logs: who runs the show tells it.
"""

from __future__ import annotations

import textwrap
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from demos.orderbook.drawing import ASCII, UNICODE, Glyphs

WIDTH_MIN: Final = 60
WIDTH_MAX: Final = 140
# Lines of a board that is left behind, which may scroll.
FINAL_LINES: Final = 33
# Frames a second: each costs a few milliseconds of the second core.
FRAMES_PER_SECOND: Final = 8
# Seconds over which the rate is taken.
RATE_SECONDS: Final = 1.5

State = Literal["waiting", "running", "held", "failed"]
STATE_STYLES: Final = {"waiting": "dim", "running": "bold cyan", "held": "green", "failed": "bold red"}


class Stage:
    """One step of the show: what it is, how it stands, and what came of it."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.state: State = "waiting"
        self.detail = ""
        self.done = 0
        self.total = 0
        self.seconds = 0.0
        self.began = 0.0


class Board:
    """Heading, stages and pace; kinds of boards add a body to it."""

    def __init__(self, console: Console, heading: str, note: str, titles: Sequence[str]) -> None:
        self.console = console
        self.is_live = console.is_terminal and not console.is_dumb_terminal
        self.glyphs = UNICODE if console.encoding.lower().startswith("utf") else ASCII
        self.heading = heading
        self.note = note
        self.stages = [Stage(title) for title in titles]
        self.is_alive = False
        self.acknowledged = 0
        self.sent = 0
        self._pace: deque[tuple[float, int]] = deque()

    def body(self, width: int, room: int) -> Iterator[RenderableType]:
        """What stands below the stages, in at most `room` lines of `width` cells."""
        yield from ()

    # --- what happens -------------------------------------------------------------------------------------------------

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw while the block runs, if there is a terminal to draw on; the stages stay behind."""
        if not self.is_live:
            self.console.print(self._header(self.width))
            yield
            return
        live = Live(
            self,
            console=self.console,
            refresh_per_second=FRAMES_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        try:
            with live:
                yield
        finally:
            self.console.print(self._header(self.width))
            self.console.print(self._stages(self.stages, self.width))

    @contextmanager
    def stage(self, number: int, total: int = 0) -> Iterator[Stage]:
        """Run a stage: it is held when the block ends, failed when the block raises."""
        stage = self.stages[number]
        stage.state, stage.total, stage.began = "running", total, time.monotonic()
        try:
            yield stage
        except BaseException:
            stage.state = "failed"
            raise
        else:
            stage.state = "held"
        finally:
            stage.seconds = time.monotonic() - stage.began
            stage.total = 0
            if not self.is_live:
                self.console.print(self._stages([stage], self.width))

    def pace(self, acknowledged: int, sent: int) -> None:
        """Take in how far the flow has come."""
        self.acknowledged, self.sent = acknowledged, sent
        now = time.monotonic()
        self._pace.append((now, acknowledged))
        while now - self._pace[0][0] > RATE_SECONDS:
            self._pace.popleft()

    def rate(self) -> int:
        """Commands acknowledged a second, lately."""
        if not self.is_alive or len(self._pace) < 2:
            return 0
        (first, before), (last, after) = self._pace[0], self._pace[-1]
        return int((after - before) / max(last - first, 1e-3))

    @property
    def is_running(self) -> bool:
        """Whether the show goes on."""
        return any(stage.state == "running" for stage in self.stages)

    # --- the picture --------------------------------------------------------------------------------------------------

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = self.width
        # One line less than the terminal has, so that nothing scrolls.
        room = console.height - 1
        yield self._header(width)
        yield self._stages(self.stages, width)
        yield from self.body(width, room - 2 - len(self.stages))

    def final(self) -> Group:
        """The board as it is left behind: without stages, as tall as it likes."""
        return Group(*self.body(self.width, FINAL_LINES))

    @property
    def width(self) -> int:
        """Cells a line has."""
        return max(WIDTH_MIN, min(self.console.width, WIDTH_MAX))

    def _header(self, width: int) -> RenderableType:
        line = Text()
        line.append(f" {self.heading}", "bold")
        line.append(self.note.rjust(max(0, width - len(line) - 1)), "dim")
        line.truncate(width)
        return Group(line, Text(self.glyphs.line * width, "dim"))

    def _stages(self, stages: Sequence[Stage], width: int) -> Text:
        titles = max(len(stage.title) for stage in self.stages)
        cells = width - titles - 13
        lines = []
        for stage in stages:
            running = stage.state == "running"
            seconds = time.monotonic() - stage.began if running else stage.seconds
            line = Text()
            line.append(self._mark(stage).rjust(2) + " ", STATE_STYLES[stage.state])
            line.append(stage.title.ljust(titles + 1), {"waiting": "dim", "running": "bold"}.get(stage.state, ""))
            detail = self._progress(stage, cells) if stage.total else Text(stage.detail, "dim")
            detail.truncate(cells, pad=True)
            line.append_text(detail)
            line.append(f"{seconds:.1f} s".rjust(8) if stage.began else "", "dim")
            lines.append(line)
        return Text("\n").join(lines)

    def _mark(self, stage: Stage) -> str:
        glyphs = self.glyphs
        if stage.state == "running":
            return glyphs.running[int(time.monotonic() * FRAMES_PER_SECOND) % len(glyphs.running)]
        return {"held": glyphs.held, "failed": glyphs.failed}.get(stage.state, glyphs.waiting)

    def _progress(self, stage: Stage, cells: int) -> Text:
        count = f" {stage.done:,} of {stage.total:,}"
        cells -= len(count)
        full = min(cells, stage.done * cells // stage.total)
        line = Text()
        line.append(self.glyphs.done * full, "cyan")
        line.append(self.glyphs.line * (cells - full), "dim")
        line.append(count)
        return line


def beside(columns: Sequence[Sequence[Text]], gap: int) -> Text:
    """Columns of equally many lines, side by side, one cell from the left edge."""
    widths = [max(len(line) for line in column) for column in columns]
    lines = []
    for row in zip(*columns, strict=True):
        line = Text(" ")
        for cell, width in zip(row, widths, strict=True):
            line.append_text(cell)
            line.append(" " * (width - len(cell) + gap))
        line.rstrip()
        lines.append(line)
    return Text("\n").join(lines)


def verdicts(rows: Sequence[tuple[bool, str, str]], glyphs: Glyphs, width: int) -> Text:
    """Checks with their marks: (held, name, what was found)."""
    titles = max((len(name) for _, name, _ in rows), default=0)
    lines = []
    for held, name, found in rows:
        head = Text()
        head.append((glyphs.held if held else glyphs.failed).rjust(2) + " ", "bold green" if held else "bold red")
        head.append(name.ljust(titles + 2), "bold")
        lines.append(hanging(head, found, width, "" if held else "red"))
    return Text("\n").join(lines)


def figures(rows: Sequence[tuple[str, str]], width: int) -> Text:
    """Names and values, under one another."""
    titles = max((len(name) for name, _ in rows), default=0)
    return Text("\n").join(
        hanging(Text.assemble(("   " + name.ljust(titles + 2), "dim")), value, width, "") for name, value in rows
    )


def hanging(head: Text, text: str, width: int, style: str) -> Text:
    """A text behind its head, and as many lines below as it needs."""
    indent = len(head)
    for number, line in enumerate(textwrap.wrap(text, max(20, width - indent - 1)) or [""]):
        head.append(("\n" + " " * indent if number else "") + line, style)
    return head
