"""Log time: never backwards, never thrown far ahead by a clock that was set wrong."""

from __future__ import annotations

import logging
import time

import pytest

from rsm.limits import CLOCK_JUMP_SECONDS_MAX, CLOCK_SKEW_SECONDS_MAX
from rsm.node.clock import LeaderClock, LogClock

SECOND = 10**9


def test_log_time_starts_at_the_later_of_log_and_wall_clock() -> None:
    """A wall clock that was set back does not set the log back."""
    wall = time.time_ns()
    assert LogClock(0).now() >= wall
    assert LogClock(wall - 3600 * SECOND).now() >= wall
    assert LogClock(wall + 3600 * SECOND).now() >= wall + 3600 * SECOND


def test_an_implausible_wall_clock_is_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """One start with the clock set to 2099 must not expire every session and key; it is reported."""
    last = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: last + (CLOCK_JUMP_SECONDS_MAX + 1) * SECOND)
    with caplog.at_level(logging.ERROR, "rsm"):
        assert LogClock(last).now() < last + 60 * SECOND
    assert "implausibly far ahead" in caplog.text
    assert LogClock(0).now() > last + CLOCK_JUMP_SECONDS_MAX * SECOND  # a new log has nothing to compare with


NOW = 1_700_000_000 * SECOND
FAR = 300 * 24 * 3600 * SECOND
NEAR = int(CLOCK_SKEW_SECONDS_MAX * SECOND) // 2


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        (NOW, [], NOW),
        (NOW, [NOW + NEAR, NOW - NEAR], NOW),
        (NOW + NEAR, [NOW], NOW + NEAR),
        (NOW + FAR, [NOW, NOW + NEAR], NOW + NEAR),
        (NOW + FAR, [NOW], NOW),
        (NOW - FAR, [NOW, NOW + NEAR], NOW),
        (NOW, [NOW + FAR], NOW),
        (NOW + FAR, [NOW, NOW + NEAR, NOW + FAR], NOW + NEAR),
        (NOW + 400 * FAR // 300, [], NOW),
    ],
)
def test_a_leader_begins_with_a_time_that_its_quorum_has(own: int, others: list[int], expected: int) -> None:
    """Its own clock if that is near the median, else the median; of two that differ much, the earlier one."""
    clock = LeaderClock(NOW - SECOND if expected >= NOW else expected, own, others, 50.0)
    assert abs(clock.at(50.0) - expected) <= SECOND
    assert clock.at(50.0) >= NOW - SECOND


def test_a_leaders_stamps_rise_with_its_monotonic_clock() -> None:
    """From the election on only that counts; and never behind what the log has."""
    clock = LeaderClock(NOW, NOW - FAR, [], 50.0)
    assert clock.at(50.0) == NOW
    assert clock.at(52.5) == NOW + 5 * SECOND // 2
    clock.advance_to(NOW + 60 * SECOND, 53.0)
    assert clock.at(53.0) == NOW + 60 * SECOND
    clock.advance_to(NOW, 54.0)
    assert clock.at(54.0) == NOW + 61 * SECOND
