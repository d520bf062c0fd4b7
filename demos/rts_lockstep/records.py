"""The words of the game round the world: phases, seats, what a player sends, and what is told of a match.

Frozen records of integers, as state keeps them and logs carry them: their field order is part of the format.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated, Final, NamedTuple

import rsm
from demos.rts_lockstep.orders import RESIGN
from demos.rts_lockstep.units import DEER_BASE, MAP_SIZE_MAX, SUB, UNITS_MAX

# Orders that one command carries, and that one player may have waiting: a click makes one, a script a handful. All that
# wait for a turn run in it, on everybody's computer: 8 ms for one that sends hundreds of units off.
ORDERS_PER_COMMAND_MAX: Final = 16
ORDERS_WAITING_MAX: Final = 32
# Groups of units that a player may name, from 1 on.
GROUPS_MAX: Final = 9
NAME_LENGTH_MAX: Final = 24
SECRET_LENGTH_MAX: Final = 64
DIGEST_BYTES: Final = 32
# A player of whom nothing was heard for so long, of the time that turns have taken, is missing. Clients report every
# two seconds, so this is two reports lost and a slow third.
SILENT_MS_MAX: Final = 5000


class Phase(IntEnum):
    """How far a match is."""

    NEW = 0  # nobody has opened it
    LOBBY = 1  # the map lies there, seats are taken
    RUNNING = 2
    OVER = 3  # the result stands


class Seat(rsm.Struct):
    """A player's place. `session` 0: his client has left. `heard_ms`: the match's play time when he was heard last."""

    principal: str
    name: str
    session: int
    heard_ms: int
    round_trip_ms: int = 0
    frame_ms: int = 0
    is_missing: bool = False


Number = Annotated[int, rsm.Meta(ge=0, le=UNITS_MAX)]
Coordinate = Annotated[int, rsm.Meta(ge=0, lt=MAP_SIZE_MAX * SUB)]


class Say(rsm.Struct):
    """One order as a player sends it; see `demos.rts_lockstep.orders` for its terms.

    `units` are runs: (first, how many) pairs in a row. With a `group` they are remembered under that number; without
    units the order is for the group as it was named last, so a long list travels once and not with every order.
    """

    kind: Annotated[int, rsm.Meta(ge=0, le=RESIGN)]
    units: Annotated[tuple[Number, ...], rsm.Meta(max_length=2 * UNITS_MAX)] = ()
    x: Coordinate = 0
    y: Coordinate = 0
    target: Annotated[int, rsm.Meta(ge=-1, lt=2 * DEER_BASE)] = -1
    group: Annotated[int, rsm.Meta(ge=0, le=GROUPS_MAX)] = 0


class Told(IntEnum):
    """What an event tells."""

    JOINED = 1  # a player took a seat, or came back to it
    STARTED = 2
    MISSING = 3  # nothing is heard of a player: the match waits
    RETURNED = 4
    PAUSED = 5
    RESUMED = 6
    PACE = 7  # turns are `value` ms long from now on
    VOTED = 8  # against player `value`
    DROPPED = 9  # by vote
    OUT = 10  # a player's town centre is down
    OVER = 11  # `player` has won; nobody (-1) if it is a draw


class News(rsm.Struct):
    """One thing that happened, and the turn that had run by then."""

    told: Told
    turn: int
    player: int
    value: int = 0


class Standing(NamedTuple):
    """A match as players see it, but for the world."""

    phase: Phase
    turn: int
    turn_ms: int
    paused_by: int  # a player, or -1
    missing: tuple[int, ...]
    votes: tuple[tuple[int, int], ...]  # (against whom, by whom), in order
    votes_needed: int
    winner: int
