"""A progress bar on standard error, where that is a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from demos.orderbook.formats import Source

# Between two updates: ten a second look smooth, more would cost commands.
UPDATE_SECONDS: Final = 0.1


@contextmanager
def progress_bar(source: Source) -> Iterator[Callable[[int], None]]:
    """Show how much of a source has been read; the function is told how many messages have been applied."""
    # Not rich's idea of a terminal, which an environment variable can force.
    if not sys.stderr.isatty():
        yield lambda applied: None
        return
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
        task = progress.add_task("", total=max(source.bytes_total, 1))
        due = 0.0

        def advance(applied: int) -> None:
            nonlocal due
            # The clock of a progress bar; nothing here reaches a machine.
            now = time.monotonic()
            if now >= due:
                due = now + UPDATE_SECONDS
                progress.update(task, completed=source.bytes_read, description=f"{applied:,} messages", refresh=True)

        yield advance
