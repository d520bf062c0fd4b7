"""Log time: never backwards, never thrown far ahead by a clock that was set wrong."""

from __future__ import annotations

import logging
import time

import pytest

from rsm.limits import CLOCK_JUMP_SECONDS_MAX
from rsm.node.clock import LogClock

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
