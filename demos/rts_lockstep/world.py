"""The world: a real-time strategy match as a function of its columns and the orders of a turn.

Integers only, vectorised; no clock, no chance that is not in the seed, nothing that depends on how numbers are kept.
All state is in columns that the caller gives: tracked ones (`rsm.Array`) or plain ones (`new_world` in `plain.py`).
Beside them a world keeps path fields, which are a function of the map; a world that was made a moment ago from the same
columns does the same next.

A turn: orders, training, looking around, steps (units, then animals), work, blows and arrows, the fallen, the defeated.
A player is out when his town centre falls; his units vanish with it. The last one standing wins. Equals would never be
done with each other, so from the thirtieth minute on all walls crumble: whose have suffered most fall first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from demos.rts_lockstep.orders import Order
from demos.rts_lockstep.simulation import combat, economy, movement, terrain, wildlife
from demos.rts_lockstep.simulation.columns import Columns, Crowd, Ground, Herd, Seats, Volley
from demos.rts_lockstep.simulation.commanding import carry_out
from demos.rts_lockstep.simulation.integers import Ints
from demos.rts_lockstep.simulation.paths import Paths
from demos.rts_lockstep.units import (
    ARCHER,
    CAVALRY,
    DEER,
    DRAW,
    HP,
    INFANTRY,
    MAP_SIZE_DEFAULT,
    MAP_SIZE_MAX,
    MAP_SIZE_MIN,
    NOBODY,
    PLAYERS_MAX,
    SUB,
    TOWN_CENTRE,
    UNITS_MAX,
    VILLAGER,
)

FOOD_AT_START: Final = 400
WOOD_AT_START: Final = 250
DEER_PER_PLAYER: Final = 8
# How long a match leaves town centres alone, and what all of them lose in each turn after that: none stands longer than
# 11,500 turns.
WALLS_TURNS: Final = 9000
WALLS_LOSE: Final = 2
# Units stand in rings around their town centre at the start, so far apart.
CAMP_SPACING: Final = 150


class World:
    """One match. The columns are those of `units.py`; keyword arguments carry their names."""

    def __init__(
        self,
        *,
        match: Columns,
        players: Columns,
        units: Columns,
        deer: Columns,
        projectiles: Columns,
        ground: Columns,
    ) -> None:
        self.match = match
        self.players = players
        self.units = units
        self.deer = deer
        self.projectiles = projectiles
        self.ground = ground
        self._paths: Paths | None = None
        self._water = b""  # what `_paths` was made from

    def setup(
        self,
        seed: int,
        players: int,
        units_max: int = UNITS_MAX,
        size: int = MAP_SIZE_DEFAULT,
        villagers: int = 6,
        soldiers: int = 0,
    ) -> None:
        """Begin a match. `units_max` counts animals, too; `villagers` and `soldiers` are what each player begins with.

        `ValueError` for numbers that make no match.
        """
        herd = DEER_PER_PLAYER * players
        rows = units_max - herd
        if not (2 <= players <= PLAYERS_MAX and MAP_SIZE_MIN <= size <= MAP_SIZE_MAX and 0 <= seed < 2**63):
            raise ValueError(f"no match of {players} players on {size} x {size} tiles with seed {seed}")
        if units_max > UNITS_MAX or villagers < 1 or soldiers < 0 or rows // players < 1 + villagers + soldiers:
            raise ValueError(f"{units_max} units have no room for {villagers} and {soldiers} of each player")
        land = terrain.make(seed, size, players)
        for columns, count in (
            (self.match, 1),
            (self.players, players),
            (self.units, rows),
            (self.deer, herd),
            (self.projectiles, 0),
            (self.ground, size * size),
        ):
            columns.resize(0)
            columns.resize(count)
        self.ground.write("tile")[:] = land.tile.reshape(-1)
        self.ground.write("stock")[:] = land.stock.reshape(-1)
        for name, value in (("seed", seed), ("size", size), ("winner", NOBODY)):
            self.match.set(name, 0, value)
        self._seat(land, players, villagers, soldiers)
        self._graze(land)

    def _seat(self, land: terrain.Land, players: int, villagers: int, soldiers: int) -> None:
        crowd, seats = Crowd(self.units, self.size), Seats(self.players)
        paths = self._the_paths()
        crowd.target[:] = crowd.job[:] = NOBODY
        crowd.freed[:] = -economy.REST_TURNS
        seats.food[:], seats.wood[:] = FOOD_AT_START, WOOD_AT_START
        seats.alive[:], seats.out[:] = 1, NOBODY
        people = [VILLAGER] * villagers + [(INFANTRY, ARCHER, CAVALRY)[i % 3] for i in range(soldiers)]
        people[villagers:] = sorted(people[villagers:])
        row = 0
        for player, (tile_x, tile_y) in enumerate(land.starts):
            x, y = tile_x * SUB + SUB // 2, tile_y * SUB + SUB // 2
            seats.centre[player] = row
            economy.place(crowd, row, TOWN_CENTRE, player, x, y)
            row += 1
            for kind, (at_x, at_y) in zip(people, _camp(paths, x, y, len(people)), strict=True):
                economy.place(crowd, row, kind, player, at_x, at_y)
                row += 1
        crowd.put(self.units)
        seats.put(self.players)

    def _graze(self, land: terrain.Land) -> None:
        herd, dry = Herd(self.deer), self._the_paths().dry

        def is_pasture(x: int, y: int) -> bool:  # on a small map a herd's place may lie beside it
            return 0 <= x < self.size and 0 <= y < self.size and bool(dry[y * self.size + x])

        for player, (tile_x, tile_y) in enumerate(land.herds):
            for number in range(DEER_PER_PLAYER):
                row = player * DEER_PER_PLAYER + number
                x, y = tile_x + number % 3 - 1, tile_y + number // 3 - 1
                if not is_pasture(x, y):
                    x, y = tile_x, tile_y
                if not is_pasture(x, y):
                    x, y = land.starts[player]
                herd.x[row], herd.y[row] = x * SUB + SUB // 2, y * SUB + SUB // 2
        herd.hp[:], herd.food[:] = HP[DEER], wildlife.DEER_FOOD
        herd.put(self.deer)

    @property
    def turn(self) -> int:
        """Turns that have run."""
        return self.match.get("turn", 0)

    @property
    def size(self) -> int:
        """Tiles on a side."""
        return self.match.get("size", 0)

    @property
    def winner(self) -> int:
        """The player who has won, DRAW, or NOBODY while the match goes on."""
        return self.match.get("winner", 0)

    @property
    def population_max(self) -> int:
        """Units that a player may have, with his town centre and those in training."""
        return len(self.units) // max(len(self.players), 1)

    def population(self, player: int) -> int:
        """Units that a player has, with his town centre."""
        return int(np.count_nonzero((self.units.read("hp") > 0) & (self.units.read("owner") == player)))

    def queue(self, player: int) -> tuple[int, ...]:
        """The kinds that a player's town centre trains, the first one first."""
        return economy.queued(self.players.get("queue", player))

    def step(self, orders: Sequence[Order] = ()) -> None:
        """One turn. Orders count in the order given. When the match is decided, only the turns go on."""
        turn = self.turn + 1
        self.match.set("turn", 0, turn)
        if self.winner != NOBODY:
            return
        paths = self._the_paths()
        crowd, herd, seats = Crowd(self.units, self.size), Herd(self.deer), Seats(self.players)
        ground, volley = Ground(self.ground), Volley(self.projectiles)
        for order in orders:
            carry_out(order, crowd, herd, seats, ground, paths, self.population_max)
        economy.train(crowd, seats, ground, paths, turn)
        self._move(crowd, herd, seats, ground, paths, turn)
        self._act(crowd, herd, seats, ground, volley, turn)
        crowd.put(self.units)
        herd.put(self.deer)
        seats.put(self.players)
        ground.put(self.ground)
        volley.put(self.projectiles)

    def _destinations(self, crowd: Crowd, herd: Herd, seats: Seats) -> tuple[Ints, Ints, Ints]:
        """Where each wants to be, and how near is near enough; other rules may say otherwise."""
        return movement.destinations(crowd, herd, seats.centre)

    def _move(self, crowd: Crowd, herd: Herd, seats: Seats, ground: Ground, paths: Paths, turn: int) -> None:
        combat.forget_the_gone(crowd, herd)
        x, y, near = self._destinations(crowd, herd, seats)
        combat.look_around(crowd, turn, movement.within(crowd, x, y, near) & (crowd.target >= 0))
        x, y, near = self._destinations(crowd, herd, seats)
        movement.walk(crowd, paths, ground.tile, x, y, near)
        wildlife.breed(herd, turn)
        wildlife.roam(crowd, herd, self.deer, paths, self.match.get("seed", 0), turn)

    def _act(self, crowd: Crowd, herd: Herd, seats: Seats, ground: Ground, volley: Volley, turn: int) -> None:
        x, y, near = self._destinations(crowd, herd, seats)
        in_reach = movement.within(crowd, x, y, near)
        crowd.wait = np.maximum(crowd.wait - 1, 0)
        economy.gather(crowd, herd, ground, in_reach)
        economy.hand_in(crowd, seats, in_reach)
        economy.look_for_work(crowd, herd, ground)
        lived = crowd.hp > 0
        harm, deer_harm = combat.strike(crowd, herd, volley, ground.tile, in_reach)
        combat.fly(crowd, herd, volley, harm, deer_harm)
        combat.suffer(crowd, herd, harm, deer_harm)
        if turn > WALLS_TURNS:
            walls = seats.centre[seats.alive == 1]
            crowd.hp[walls] = np.maximum(crowd.hp[walls] - WALLS_LOSE, 0)
        self._judge(crowd, seats, turn)
        combat.bury(crowd, volley, np.flatnonzero(lived & (crowd.hp == 0)), turn)

    def _judge(self, crowd: Crowd, seats: Seats, turn: int) -> None:
        """Those whose town centre has fallen are out; with one left, or none, the match is decided."""
        fallen = np.flatnonzero((seats.alive == 1) & (crowd.hp[seats.centre] == 0))
        if not len(fallen):
            return
        seats.alive[fallen] = seats.queue[fallen] = seats.progress[fallen] = 0
        seats.out[fallen] = turn
        crowd.hp[np.isin(crowd.owner, fallen)] = 0
        left = np.flatnonzero(seats.alive == 1)
        if len(left) <= 1:
            self.match.set("winner", 0, int(left[0]) if len(left) else DRAW)

    def _the_paths(self) -> Paths:
        """The path fields of this map. They do not change with what is felled; another map has others."""
        tile = terrain.uncut(self.ground.read("tile"))
        water = tile.tobytes()
        if self._paths is None or self._water != water or self._paths.size != self.size:
            self._paths = Paths(tile, self.size)  # rsm: allow[RSM305] a function of the map, made again at will
            self._water = water  # rsm: allow[RSM305] which map that is
        return self._paths


def _camp(paths: Paths, x: int, y: int, count: int) -> list[tuple[int, int]]:
    """Places around a town centre, the nearest ones first, none inside it."""
    span = range(-40, 41)
    around = sorted((dx * dx + dy * dy, dy, dx) for dy in span for dx in span if dx * dx + dy * dy > 6)
    places = ((x + dx * CAMP_SPACING, y + dy * CAMP_SPACING) for _, dy, dx in around)
    most = paths.size * SUB
    dry = (
        (px, py)
        for px, py in places
        if 0 <= px < most and 0 <= py < most and paths.dry[py // SUB * paths.size + px // SUB]
    )
    return [place for place, _ in zip(dry, range(count), strict=False)]
