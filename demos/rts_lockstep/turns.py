"""When things happen: turns, which turn an order runs in, and how long a turn is.

A turn is one step of the world. What is ordered while turn N is the last one that a player has seen runs in turn N + 2:
one turn to send it, one to receive it. An order that came too late for that runs in the next turn; none is lost.

The length of a turn follows the slowest player ("speed control", Bettner and Terrano 2001): it is never below what his
round trip and his computer need. It grows at once, since orders that come late are felt; and it shrinks slowly, since a
steady slow turn feels better than one that varies. Both are decided in the log, so all players agree on them.

Time is log time in nanoseconds, lengths of turns are integer milliseconds.
"""

from __future__ import annotations

from typing import Final, NamedTuple

NANOSECONDS_PER_MS: Final = 1_000_000
# An order runs so many turns after the one it was given in.
TURNS_AHEAD: Final = 2
# 200 ms: 250 ms between click and effect is not noticed by most, and this is the delay of half an order.
TURN_MS_DEFAULT: Final = 200
# Below it a turn costs more in packets than it gives; above it nobody calls it a game.
TURN_MS_MIN: Final = 100
TURN_MS_MAX: Final = 1000
# Lengths are multiples of this, so that noise does not change them all the time.
TURN_MS_STEP: Final = 10
# So many turns in a row must have been longer than anybody needs before they get shorter, by a third of what is left.
CALM_TURNS: Final = 10
CALM_PART: Final = 3
# A player must be done with a turn in so much of its time (percent): the rest is for drawing and for his system.
FRAME_PERCENT: Final = 80


class Pace(NamedTuple):
    """How long a turn is, and for how many turns in a row it could have been shorter."""

    turn_ms: int
    calm_turns: int


def due_turn(stamp: int, turn: int) -> int:
    """The turn that runs an order which was given in turn `stamp` and arrives when `turn` has run."""
    return max(stamp + TURNS_AHEAD, turn + 1)


def next_due(due: int, now: int, turn_ms: int) -> int:
    """When the turn after this one is due, which was due at `due` and runs at `now` (`now >= due`).

    One after the other on a fixed beat; but after a stall the beat begins anew, so that the turns that were missed do
    not come in one burst.
    """
    length = turn_ms * NANOSECONDS_PER_MS
    return due + length if due + length > now else now + length


def needed_ms(round_trip_ms: int, frame_ms: int) -> int:
    """The shortest turn that suits a player with this round trip, whose computer needs so long for a turn."""
    needed = max(round_trip_ms, frame_ms * 100 // FRAME_PERCENT)
    return min(max(-(-needed // TURN_MS_STEP) * TURN_MS_STEP, TURN_MS_MIN), TURN_MS_MAX)


def next_pace(pace: Pace, needed: int, floor_ms: int) -> Pace:
    """The length of the next turn. `needed`: of the slowest player, see `needed_ms`; it is never below `floor_ms`."""
    wanted = max(needed, floor_ms)
    if wanted >= pace.turn_ms:
        return Pace(wanted, 0)
    if pace.calm_turns + 1 < CALM_TURNS:
        return Pace(pace.turn_ms, pace.calm_turns + 1)
    less = max((pace.turn_ms - wanted) // CALM_PART // TURN_MS_STEP * TURN_MS_STEP, TURN_MS_STEP)
    return Pace(max(pace.turn_ms - less, wanted), 0)
