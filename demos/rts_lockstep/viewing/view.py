"""What the player's process tells its page and what the page asks for: frozen records, no I/O.

All positions are fixed point, `Hello.sub` units per tile; speeds are in those units per *turn*. Lists are tuples. The
records that a page sends are decoded with every length bounded, so that nothing a page says can harm the game.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

import msgspec
import numpy
from msgspec import Meta

from demos.rts_lockstep.units import PLAYERS_MAX

# More ids than there are units in a game cannot be selected.
UNITS_ORDERED_MAX = 2_000
# An id, a click or a turn is a small number; JSON would carry any.
Small = Annotated[int, Meta(ge=-(2**31), lt=2**31)]
Integers: TypeAlias = numpy.ndarray[tuple[int, ...], numpy.dtype[Any]]


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of unit. `speed`, `radius` and `reach` in sub-tile units (speed: per turn); `hp` at full health."""

    name: str
    hp: int
    speed: int
    radius: int = 96
    reach: int = 0
    food: int = 0
    wood: int = 0
    trains: tuple[int, ...] = ()
    gathers: bool = False


class Seat(msgspec.Struct, frozen=True, kw_only=True):
    """One player's name and colour ("#rrggbb"; empty: the page's own, by number)."""

    name: str
    colour: str = ""


class Hello(msgspec.Struct, frozen=True, kw_only=True):
    """What does not change from turn to turn. `tiles` holds size * size codes, row by row; `tile_names` names them."""

    you: int | None
    size: int
    tiles: bytes
    tile_names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    players: tuple[Seat, ...]
    sub: int = 256
    replay: bool = False
    title: str = ""


class PlayerLine(msgspec.Struct, frozen=True, kw_only=True):
    """One player in one turn. `queue`: the kinds in training; `rtt_ms` and `frame_ms`: as last reported by them."""

    food: int = 0
    wood: int = 0
    units: int = 0
    alive: bool = True
    rtt_ms: int = 0
    frame_ms: int = 0
    connected: bool = True
    population_max: int = 0
    queue: tuple[int, ...] = ()
    defeated_turn: int | None = None


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """This process's own measurements: milliseconds, and bytes since the start."""

    turn_ms: float = 0.0
    latency_ms: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    step_ms: float = 0.0


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """How the match ended: the winner (None: nobody) and the state root at its end."""

    winner: int | None
    turn: int
    index: int
    root: str


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replay stands: the turns it has, and how fast it plays."""

    first: int
    last: int
    playing: bool
    speed: float


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn as applied at log index `index`.

    `turn_ms` is its length. `root` is empty where no root was due; `agreed` is None while nothing was compared;
    `roots` holds (player, root) as others reported them. `cut`: this turn does not follow from the one before it
    (snapshot, seek, rejoin), so nothing moves into it.
    """

    turn: int
    turn_ms: int
    index: int
    root: str = ""
    agreed: bool | None = None
    roots: tuple[tuple[int, str], ...] = ()
    players: tuple[PlayerLine, ...] = ()
    paused: bool = False
    result: Result | None = None
    stats: Stats = Stats()
    replay: Replay | None = None
    cut: bool = False


class Votes(msgspec.Struct, frozen=True, kw_only=True):
    """A vote to go on without `player`: who voted, and how many are needed."""

    player: int
    voters: tuple[int, ...] = ()
    needed: int = 0


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What holds the game between turns: a pause, players it waits for, votes; `note` is shown as it is."""

    paused: bool = False
    paused_by: int | None = None
    waiting: tuple[int, ...] = ()
    votes: tuple[Votes, ...] = ()
    note: str = ""


class Desync(msgspec.Struct, frozen=True, kw_only=True):
    """This process's copy differs: the field, both values, both positions of the unit, and the line that wrote it.

    `path` is empty while nobody knows where; `unit` is -1 if it is not a unit that differs, and there are no positions.
    """

    index: int
    path: str
    mine: int
    theirs: int
    unit: int
    x: int
    y: int
    true_x: int
    true_y: int
    line: str
    turn: int = 0


class UnitColumns(msgspec.Struct, frozen=True, kw_only=True):
    """Living units, and carcasses (`hp` 0): integer arrays of one length each, or one integer for all rows."""

    id: Integers
    kind: Integers | int
    owner: Integers | int
    x: Integers
    y: Integers
    hp: Integers | int
    state: Integers | int = 0
    target: Integers | int = -1


class ProjectileColumns(msgspec.Struct, frozen=True, kw_only=True):
    """What flies: positions, velocities per turn, and turns until it lands."""

    x: Integers
    y: Integers
    vx: Integers
    vy: Integers
    ticks_left: Integers


class Order(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="order"):
    """The player's will. `click` is the page's own number for it; `kind` says what to train."""

    click: Small
    order: Annotated[str, Meta(pattern="^(move|attack|gather|train|stop)$")]
    units: Annotated[tuple[Small, ...], Meta(max_length=UNITS_ORDERED_MAX)]
    x: Small = 0
    y: Small = 0
    target: Small | None = None
    kind: Small | None = None


class Pause(msgspec.Struct, frozen=True, tag_field="type", tag="pause"):
    """Pause the game, or go on."""


class Resign(msgspec.Struct, frozen=True, tag_field="type", tag="resign"):
    """Give up."""


class Vote(msgspec.Struct, frozen=True, tag_field="type", tag="vote"):
    """Go on without `player`."""

    player: Annotated[int, Meta(ge=0, lt=PLAYERS_MAX)]


class Seek(msgspec.Struct, frozen=True, tag_field="type", tag="seek"):
    """Replay: show this turn next."""

    turn: Small


class Speed(msgspec.Struct, frozen=True, tag_field="type", tag="speed"):
    """Replay: play `x` times as fast as the game was; 0 stands still."""

    x: Annotated[float, Meta(ge=0, le=64)]


class Frame(msgspec.Struct, frozen=True, tag_field="type", tag="frame"):
    """The page's slow frames (90th percentile of the last 60), for the speed control."""

    frame_ms: Annotated[int, Meta(ge=0, le=10_000)]


Ask: TypeAlias = Order | Pause | Resign | Vote | Seek | Speed | Frame
