"""Lines that others can cause do not fill the log, and none is lost without a count."""

from __future__ import annotations

from rsm.node.log import Seldom


def test_each_kind_is_logged_once_a_second_and_the_rest_is_counted() -> None:
    """The first line of a kind comes through at once; the next one after a second says how many were passed over."""
    seldom = Seldom()
    assert seldom.turn("a", 100.0) == 0
    assert [seldom.turn("a", 100.0 + number / 1000) for number in range(1, 900)] == [None] * 899
    assert seldom.turn("b", 100.95) == 899
    assert seldom.turn("b", 100.96) is None
    assert seldom.turn("a", 101.0) == 1
    assert seldom.turn("a", 150.0) == 0


def test_many_kinds_are_bounded_as_well() -> None:
    """Whoever can choose the kind cannot fill the log, nor the memory, with new ones."""
    seldom = Seldom(lines_max=3)
    assert [seldom.turn(f"kind {number}", 5.0) for number in range(1000)] == [0, 0, 0] + [None] * 997
    assert len(seldom._kinds) == 3
    assert seldom.turn("kind 999", 6.0) == 997
