"""Where in the user's code a write was made: an undo log that notes, for each record, the first frame outside of rsm.

It costs a walk up the stack for each write, so only a replica that looks for a difference has one.
"""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any, Final

from rsm import errors
from rsm.state.undo import MarkedUndo

__all__ = ["NO_PLACE", "OWN_DIRECTORY", "LocatingUndo", "place_above"]

# Frames of files below are ours and not the user's.
OWN_DIRECTORY: Final = os.path.dirname(os.path.abspath(errors.__file__)) + os.sep
NO_PLACE: Final = ("", 0)
HIDES: Final = "__tracebackhide__"


def place_above(depth: int) -> tuple[str, int]:
    """File and line of the first frame outside of rsm, from `depth` frames up.

    Frames that hide themselves (a true local `__tracebackhide__`, as in pytest) are passed over: a helper through which
    all writes go says nothing about any. If all of the user's hide, it is the innermost.
    """
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None and _is_own(frame):
        frame = frame.f_back
    innermost = frame
    while frame is not None and not _is_own(frame) and _hides(frame):
        frame = frame.f_back
    if frame is None or _is_own(frame):
        frame = innermost
    return NO_PLACE if frame is None else (frame.f_code.co_filename, frame.f_lineno)


def _is_own(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(OWN_DIRECTORY)


def _hides(frame: FrameType) -> bool:
    # The names first: asking a frame for its locals copies them all.
    return HIDES in frame.f_code.co_varnames and frame.f_locals.get(HIDES) is True


class LocatingUndo(MarkedUndo):
    """An undo log that knows the place of each of its records: of `self[3 * n]`, `places[n]`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_exact = True
        self.places: list[tuple[str, int]] = []

    def extend(self, record: Any) -> None:
        """Add one record; what a rollback took away is forgotten."""
        del self.places[list.__len__(self) // 3 :]  # not by `len`, which takes a mark
        self.places.append(place_above(2))
        super().extend(record)
