"""Readers of recorded markets: find out what a file is, then stream it.

`detect` looks at the content, never only at the name; gzip is transparent. Each format is one module with a generator
`read(source)` over a `Source`, which has the position for errors and the bytes read for a progress bar.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Final

from demos.orderbook.formats import flow, itch, kraken, lobster
from demos.orderbook.formats.source import FormatError, Source, TornTail, UnknownFormat, Unreadable, quoted

__all__ = ["Format", "FormatError", "Source", "TornTail", "UnknownFormat", "Unreadable", "detect", "read"]

# Content looked at to find the format: two connection lines or one message decide it.
HEAD_BYTES: Final = 16 * 1024


class Format(Enum):
    """The kinds of file that we read; the value is the name shown to people."""

    KRAKEN = "Kraken book feed"
    FLOW = "order flow"
    FLOW_CASES = "order flow cases"
    ITCH = "ITCH 5.0"
    LOBSTER = "LOBSTER messages"


_KNOWN: Final[dict[Format, tuple[Callable[[bytes], bool], Callable[[Source], Iterator[Any]]]]] = {
    Format.KRAKEN: (kraken.looks_like, kraken.read),
    Format.FLOW: (flow.looks_like, flow.read),
    Format.FLOW_CASES: (flow.looks_like_cases, flow.read_cases),
    Format.ITCH: (itch.looks_like, itch.read),
    Format.LOBSTER: (lobster.looks_like, lobster.read),
}


def detect(path: str | os.PathLike[str]) -> Format:
    """The format of a file, by its content.

    Raises `Unreadable` if it cannot be opened, `UnknownFormat` if nothing fits or it is empty, `FormatError` if it is
    a damaged gzip file.
    """
    with Source(path) as source:
        head = _head(source)
        for kind, (looks_like, _) in _KNOWN.items():
            if looks_like(head):
                return kind
        if not head:
            raise UnknownFormat(source.path, 0, "is empty", "byte")
        known = ", ".join(kind.value for kind in Format)
        what = f"begins with {quoted(head)}: none of the formats known here ({known})"
        raise UnknownFormat(source.path, 0, what, "byte")


def read(source: Source, kind: Format) -> Iterator[Any]:
    """The records of an open source of the given format: what the `read` of that format's module yields."""
    return _KNOWN[kind][1](source)


def _head(source: Source) -> bytes:
    head = b""
    try:
        for chunk in source.chunks():
            head += chunk
            if len(head) >= HEAD_BYTES:
                break
    except FormatError:
        # Damage after a good beginning is for the reader to report, with everything before it.
        if not head:
            raise
    return head[:HEAD_BYTES]
