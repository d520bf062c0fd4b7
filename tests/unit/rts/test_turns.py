"""Which turn runs an order, when a turn is due, and how long it is: decisions without a machine around them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from demos.rts_lockstep.runs import from_runs, to_runs
from demos.rts_lockstep.turns import (
    CALM_TURNS,
    TURN_MS_MAX,
    TURN_MS_MIN,
    Pace,
    due_turn,
    needed_ms,
    next_due,
    next_pace,
)

MS = 1_000_000


def test_an_order_runs_two_turns_later_or_in_the_next_one() -> None:
    assert due_turn(stamp=10, turn=10) == 12
    assert due_turn(stamp=10, turn=11) == 12  # arrived a turn later, and still in time
    assert due_turn(stamp=10, turn=12) == 13  # too late by a turn: it runs all the same
    assert due_turn(stamp=3, turn=50) == 51


def test_turns_keep_their_beat_however_late_each_one_is() -> None:
    due, dues = 1000 * MS, []
    for late_ms in (0, 30, 3, 90, 0):
        dues.append(due)
        due = next_due(due, due + late_ms * MS, 200)
    assert [after - before for before, after in pairwise(dues)] == [200 * MS] * 4


def test_a_stall_is_followed_by_no_burst() -> None:
    due, now = 1000 * MS, 4000 * MS  # three seconds late
    assert next_due(due, now, 200) == 4200 * MS


def test_a_turn_grows_at_once() -> None:
    assert next_pace(Pace(200, 7), needed_ms(round_trip_ms=431, frame_ms=20), 200) == Pace(440, 0)
    assert next_pace(Pace(200, 0), needed_ms(round_trip_ms=5, frame_ms=400), 200) == Pace(500, 0)


def test_a_turn_shrinks_slowly_and_ends_at_what_is_needed() -> None:
    pace, lengths = Pace(800, 0), [800]
    for _ in range(300):
        pace = next_pace(pace, 150, 200)
        lengths.append(pace.turn_ms)
    assert lengths[: CALM_TURNS + 1] == [800] * CALM_TURNS + [600]
    assert all(before - after <= before / 3 for before, after in pairwise(lengths))
    assert pace.turn_ms == 200
    assert lengths.index(200) > 5 * CALM_TURNS


def test_one_slow_report_ends_the_calm() -> None:
    pace = Pace(400, CALM_TURNS - 1)
    assert next_pace(pace, 400, 200) == Pace(400, 0)
    assert next_pace(pace, 300, 200).turn_ms < 400


def test_lengths_have_bounds() -> None:
    assert needed_ms(0, 0) == TURN_MS_MIN
    assert needed_ms(60_000, 0) == TURN_MS_MAX
    assert needed_ms(0, 60_000) == TURN_MS_MAX


def test_units_as_runs_and_back() -> None:
    assert to_runs([9, 3, 4, 3]) == (3, 2, 9, 1)
    assert from_runs((3, 2, 9, 1), 10) == (3, 4, 9)
    assert to_runs([]) == ()
    assert from_runs((), 10) == ()
    for units in ([5], range(100), range(0, 100, 2), [1, 2, 3, 50, 51, 99]):
        assert from_runs(to_runs(units), 100) == tuple(units)


@pytest.mark.parametrize("runs", [(3,), (9, 2), (-1, 1), (3, 0), (3, -2), (5, 1, 2, 1), (3, 2, 4, 1), (0, 1 << 62)])
def test_what_is_no_runs_is_refused_before_it_is_spread_out(runs: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="run"):
        from_runs(runs, 10)
