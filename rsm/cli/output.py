"""What the commands print: JSON for programs, lines and tables for people, a progress bar where somebody watches.

Values come from logs, so text is shown with its control characters escaped, and JSON is always valid: bytes become hex,
keys of maps text, a number that JSON does not know its name.
"""

from __future__ import annotations

import contextlib
import functools
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import click

from rsm.cli.options import Session
from rsm.codec.cbor import Reference

__all__ = ["count", "iso_time", "plain", "print_json", "print_json_line", "print_line", "progress", "shown", "table"]

SECOND: Final = 10**9
# A progress bar is redrawn after this many bytes: often enough to move, seldom enough to cost nothing.
PROGRESS_BYTES: Final = 256 * 1024
# What one value takes of a line for people; --json shows all of it.
SHOWN_CHARACTERS_MAX: Final = 200


def plain(value: Any) -> Any:
    """A decoded value as JSON can hold it."""
    if type(value) is int or type(value) is str:
        return value
    if type(value) is bytes:
        return value.hex()
    if isinstance(value, Reference):
        return {"result_of_step": value.step, "path": list(value.path)}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def shown(value: Any) -> str:
    """A value in a line for people: JSON, shortened, safe to print on a terminal."""
    value = plain(value)
    text = json.dumps(value, ensure_ascii=False)
    if not text.isprintable():
        text = json.dumps(value)
    if len(text) > SHOWN_CHARACTERS_MAX:
        return f"{text[:SHOWN_CHARACTERS_MAX]}... ({len(text)} characters)"
    return text


# The commands of one batch share their time.
@functools.lru_cache(maxsize=16)
def iso_time(nanoseconds: int) -> str:
    """Log time as ISO 8601 in UTC, with nanoseconds."""
    seconds, rest = divmod(nanoseconds, SECOND)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (OverflowError, ValueError, OSError):
        return f"{nanoseconds} ns"


def count(number: int, noun: str) -> str:
    """A number with its noun: `1 entry`, `2,000 entries`."""
    plural = noun[:-1] + "ies" if noun.endswith("y") else noun + "s"
    return f"{number:,} {noun if number == 1 else plural}"


# Made once: a line of `log cat` costs half of what it would with a new encoder each.
_encode_line: Final = json.JSONEncoder(allow_nan=False).encode


def print_json(document: Any) -> None:
    """One JSON document. An error after it is none of its own."""
    context = click.get_current_context(silent=True)
    if context is not None and isinstance(session := context.find_root().obj, Session):
        session.failed = None
    print_line(json.dumps(document, indent=2, allow_nan=False))


def print_json_line(document: Any) -> None:
    """One line of JSON Lines."""
    print_line(_encode_line(document))


def print_line(text: str) -> None:
    """One line on standard output."""
    sys.stdout.write(text + "\n")


def table(rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print_line((indent + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip())


@contextlib.contextmanager
def progress(label: str, bytes_total: int, *, quiet: bool = False) -> Iterator[Callable[[int], None]]:
    """A bar on standard error if that is a terminal; call what it gives with the bytes done so far."""
    if quiet or not sys.stderr.isatty() or bytes_total < PROGRESS_BYTES:
        yield lambda _: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=bytes_total)
        last = 0

        def advance(bytes_done: int) -> None:
            nonlocal last
            if bytes_done - last >= PROGRESS_BYTES:
                last = bytes_done
                bar.update(task, completed=bytes_done)

        yield advance
