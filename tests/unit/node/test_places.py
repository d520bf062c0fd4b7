"""Which line of the user's code a write is put down to."""

from __future__ import annotations

import pytest

from rsm.node.agreement import places
from rsm.node.agreement.places import NO_PLACE, place_above


def plain(is_hidden: bool = False) -> tuple[str, int]:
    __tracebackhide__ = is_hidden
    return place_above(1)


def hidden_twice() -> tuple[str, int]:
    __tracebackhide__ = True
    return plain(is_hidden=True)


def caller_of_hidden() -> tuple[str, int]:
    return hidden_twice()


def line(function: object, offset: int) -> tuple[str, int]:
    code = function.__code__  # type: ignore[attr-defined]
    return code.co_filename, code.co_firstlineno + offset


def test_the_innermost_frame_is_named_unless_it_hides_itself() -> None:
    """A function that says False hides as little as one that says nothing."""
    assert plain() == line(plain, 2)
    assert caller_of_hidden() == line(caller_of_hidden, 1)


def test_where_all_frames_hide_the_innermost_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hidden frames right above rsm's own, or above nothing, are still better than no line."""
    own = places._is_own
    monkeypatch.setattr(places, "_is_own", lambda frame: own(frame) or frame.f_code is caller_of_hidden.__code__)
    assert caller_of_hidden() == line(plain, 2)
    monkeypatch.setattr(places, "_is_own", lambda frame: True)
    assert caller_of_hidden() == NO_PLACE
