"""The game as the page draws it: one client's machine, put into the records of `demos.rts_lockstep.viewing.view`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy

from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.records import Phase
from demos.rts_lockstep.units import (
    DEER,
    DEER_BASE,
    GAIA,
    IDLE,
    NOBODY,
    SUB,
    TILE_NAMES,
    TOWN_CENTRE,
    TRAINABLE,
    TRAITS,
    VILLAGER,
    WALKING,
)
from demos.rts_lockstep.viewing.view import (
    Hello,
    Kind,
    PlayerLine,
    ProjectileColumns,
    Replay,
    Result,
    Seat,
    Stats,
    Status,
    Turn,
    UnitColumns,
    Votes,
)

KINDS: Final = tuple(
    Kind(
        name=trait.name,
        hp=trait.hp,
        speed=trait.speed,
        radius=trait.radius,
        reach=trait.reach,
        food=trait.food,
        wood=trait.wood,
        trains=TRAINABLE if number == TOWN_CENTRE else (),
        gathers=number == VILLAGER,
    )
    for number, trait in enumerate(TRAITS)
)


def seats_of(game: Game) -> tuple[Seat, ...]:
    """Who plays, by number."""
    seats = (game.seats.get(number) for number in range(game.seats_open))
    return tuple(Seat(name="free seat" if seat is None else seat.name) for seat in seats)


def hello_of(game: Game, you: int | None, *, title: str = "", is_replay: bool = False) -> Hello:
    """What a page is told first. The game must be open."""
    return Hello(
        you=you,
        size=game.world.size,
        sub=SUB,
        tiles=game.ground.read("tile").tobytes(),
        tile_names=TILE_NAMES,
        kinds=KINDS,
        players=seats_of(game),
        replay=is_replay,
        title=title,
    )


def lines_of(game: Game) -> tuple[PlayerLine, ...]:
    """How each player stands."""
    units = game.units
    counts = numpy.bincount(units.read("owner")[units.read("hp") > 0], minlength=GAIA + 1)
    lines = []
    for number in range(game.seats_open):
        seat, out = game.seats.get(number), game.players.get("out", number)
        lines.append(
            PlayerLine(
                food=game.players.get("food", number),
                wood=game.players.get("wood", number),
                units=int(counts[number]),
                alive=bool(game.players.get("alive", number)),
                rtt_ms=0 if seat is None else seat.round_trip_ms,
                frame_ms=0 if seat is None else seat.frame_ms,
                connected=seat is not None and seat.session != 0 and not seat.is_missing,
                population_max=game.world.population_max,
                queue=game.world.queue(number),
                defeated_turn=None if out == NOBODY else out,
            )
        )
    return tuple(lines)


def is_waiting(game: Game) -> bool:
    """Whether the world stands still though the match is not over."""
    return game.paused_by != NOBODY or any(seat.is_missing for seat in game.seats.values())


def turn_of(
    game: Game,
    index: int,
    root: bytes | None,
    *,
    agreed: bool | None = None,
    stats: Stats | None = None,
    replay: Replay | None = None,
    is_cut: bool = False,
) -> Turn:
    """One turn, as applied at this index of the log."""
    world, text = game.world, (root or b"").hex()
    result = None
    if game.phase == Phase.OVER:
        winner = world.winner
        result = Result(winner=winner if winner >= 0 else None, turn=world.turn, index=index, root=text)
    return Turn(
        turn=world.turn,
        turn_ms=game.turn_ms,
        index=index,
        root=text,
        agreed=agreed,
        players=lines_of(game),
        paused=is_waiting(game),
        result=result,
        stats=stats or Stats(),
        replay=replay,
        cut=is_cut,
    )


def units_of(game: Game) -> Sequence[UnitColumns]:
    """Who lives: units, and animals. What is left of an animal lies there until it is eaten, with no health."""
    units, deer = game.units, game.deer
    rows = numpy.flatnonzero(units.read("hp") > 0)
    lying = numpy.flatnonzero((deer.read("hp") > 0) | (deer.read("food") > 0))
    flees = (deer.read("hp")[lying] > 0) & (deer.read("fear")[lying] > 0)
    return (
        UnitColumns(
            id=rows,
            **{name: units.read(name)[rows] for name in ("kind", "owner", "x", "y", "hp", "state", "target")},
        ),
        UnitColumns(
            id=lying + DEER_BASE,
            kind=DEER,
            owner=GAIA,
            state=numpy.where(flees, WALKING, IDLE),
            **{name: deer.read(name)[lying] for name in ("x", "y", "hp")},
        ),
    )


def projectiles_of(game: Game) -> ProjectileColumns:
    """What flies."""
    read = game.projectiles.read
    return ProjectileColumns(x=read("x"), y=read("y"), vx=read("vx"), vy=read("vy"), ticks_left=read("ticks"))


def status_of(game: Game, note: str = "") -> Status:
    """What the match waits for."""
    missing = tuple(number for number, seat in game.seats.items() if seat.is_missing)
    votes = tuple(
        Votes(
            player=number,
            voters=tuple(game.voters(number)),
            needed=game.votes_needed(),
        )
        for number in missing
    )
    paused_by = None if game.paused_by == NOBODY else game.paused_by
    if not note and game.phase == Phase.LOBBY:
        note = f"{len(game.seats)} of {game.seats_open} seats are taken"
    return Status(
        paused=is_waiting(game) or game.phase == Phase.LOBBY,
        paused_by=paused_by,
        waiting=missing,
        votes=votes,
        note=note,
    )
