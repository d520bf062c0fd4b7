"""A world with simple commanders, for tests: what they order is a function of the world's columns and nothing else."""

from __future__ import annotations

import numpy as np
import xxhash

from demos.rts_lockstep.orders import ATTACK, GATHER, TRAIN, Order
from demos.rts_lockstep.plain import PlainArray, new_world
from demos.rts_lockstep.units import (
    ARCHER,
    CAVALRY,
    DEER_COLUMNS,
    GROUND_COLUMNS,
    IDLE,
    INFANTRY,
    MATCH_COLUMNS,
    PLAYER_COLUMNS,
    PROJECTILE_COLUMNS,
    SUB,
    UNIT_COLUMNS,
    VILLAGER,
)
from demos.rts_lockstep.world import World

# A commander looks at his people every so many turns.
ORDER_TURNS = 20
TRAINED = (VILLAGER, INFANTRY, ARCHER, CAVALRY)
DECLARED = {
    "match": MATCH_COLUMNS,
    "players": PLAYER_COLUMNS,
    "units": UNIT_COLUMNS,
    "deer": DEER_COLUMNS,
    "projectiles": PROJECTILE_COLUMNS,
    "ground": GROUND_COLUMNS,
}


def started(
    seed: int = 1, players: int = 2, units_max: int = 400, size: int = 96, villagers: int = 6, soldiers: int = 0
) -> World:
    """A world that was set up."""
    world = new_world()
    world.setup(seed, players, units_max, size=size, villagers=villagers, soldiers=soldiers)
    return world


def living(world: World, player: int, *kinds: int) -> tuple[int, ...]:
    """A player's living units of these kinds."""
    units = world.units
    mine = (units.read("hp") > 0) & (units.read("owner") == player) & np.isin(units.read("kind"), kinds)
    return tuple(np.flatnonzero(mine).tolist())


def where(world: World, row: int) -> tuple[int, int]:
    """Where a unit is."""
    return world.units.get("x", row), world.units.get("y", row)


def home(world: World, player: int) -> tuple[int, int]:
    """Where a player's town centre is."""
    return where(world, world.players.get("centre", player))


def commands(world: World) -> list[Order]:
    """What the commanders order now."""
    orders: list[Order] = []
    players = len(world.players)
    for player in range(players):
        if not world.players.get("alive", player) or (world.turn + 7 * player) % ORDER_TURNS:
            continue
        x, y = home(world, player)
        orders.append(Order(TRAIN, player, target=TRAINED[world.turn // ORDER_TURNS % 4]))
        idle = [row for row in living(world, player, VILLAGER) if world.units.get("state", row) == IDLE]
        for number, row in enumerate(idle):
            orders.append(Order(GATHER, player, (row,), x + (number % 3 - 1) * 7 * SUB, y + number % 2 * 5 * SUB))
        foes = [(player + step) % players for step in range(1, players)]
        foe = next(foe for foe in foes if world.players.get("alive", foe))
        army = living(world, player, INFANTRY, ARCHER, CAVALRY)
        waiting = tuple(row for row in army if world.units.get("state", row) == IDLE)
        if waiting:
            orders.append(Order(ATTACK, player, waiting, *home(world, foe)))
    return orders


def play(world: World, turns: int) -> None:
    """So many turns, with commanders."""
    for _ in range(turns):
        world.step(commands(world) if world.winner < 0 else ())


def digest(world: World) -> str:
    """A hash of all columns, as little-endian bytes of their declared types."""
    total = xxhash.xxh3_128()
    for name, columns in DECLARED.items():
        array = getattr(world, name)
        for column, dtype in columns.items():
            values = array.read(column)
            assert values.dtype == np.dtype(dtype)
            total.update(f"{name}/{column}/{len(array)}:".encode())
            total.update(values.astype(values.dtype.newbyteorder("<")).tobytes())
    return total.hexdigest()


def restored(world: World) -> World:
    """Another world on copies of the columns."""
    arrays = {}
    for name, columns in DECLARED.items():
        array = arrays[name] = PlainArray(columns)
        old = getattr(world, name)
        array.resize(len(old))
        for column in columns:
            array.assign(column, old.read(column))
    return World(**arrays)


def state_bytes(world: World) -> int:
    """What the columns hold."""
    return sum(getattr(world, name).read(column).nbytes for name, columns in DECLARED.items() for column in columns)
