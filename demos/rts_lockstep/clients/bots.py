"""Scripted players: they look at the world of their own client and give orders, about one a second.

A bot is a pure function of its seed and of what it sees, but it is no part of the machine: it lives in a client, as a
person does, and only its orders travel. Two styles: `WAR` gathers, trains and attacks until one town centre is left;
`DRILL` marches its troops about and skirmishes with a few, so that a world stays as full as it began (for measuring).
"""

from __future__ import annotations

from typing import Any, Final

import numpy

import rsm
from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.orders import ATTACK, GATHER, MOVE, TRAIN
from demos.rts_lockstep.records import Say
from demos.rts_lockstep.runs import to_runs
from demos.rts_lockstep.units import (
    ARCHER,
    BERRIES,
    CAVALRY,
    DEER_BASE,
    IDLE,
    INFANTRY,
    SUB,
    TOWN_CENTRE,
    TRAITS,
    TREE,
    VILLAGER,
)

Integers = numpy.ndarray[Any, numpy.dtype[Any]]

WAR: Final = "war"
DRILL: Final = "drill"
# An order a second, at 200 ms a turn; each bot at turns of its own.
TURNS_PER_ORDER: Final = 5
VILLAGERS_WANTED: Final = 14
# With so many soldiers a bot attacks; with more each time it was beaten off.
ARMY_MIN: Final = 8
ARMY_MORE: Final = 3
# But it never waits for more than this part of all that it may have.
ARMY_POPULATION_PERCENT: Final = 50
# With so little food, and more wood, a village takes some of those who fell trees to the hunt.
FOOD_MIN: Final = 80
CALLED_TO_HUNT: Final = 4
# A group on the march, and one that looks for a fight.
MARCH_UNITS_MAX: Final = 45
SKIRMISH_UNITS: Final = 3
# A village goes hunting, felling and picking within so many tiles of its town centre.
RESOURCE_TILES_MAX: Final = 30
PREY_TILES_MAX: Final = 14
SOLDIERS: Final = (INFANTRY, ARCHER, CAVALRY)


class Bot:
    """One scripted player; `player` is the seat, see the module for `style`."""

    def __init__(self, seed: int, player: int, style: str = WAR) -> None:
        self._random = rsm.Random.named("bot", seed, player)
        self._player = player
        self._style = style
        self._attacks = 0
        self._turn = 0  # of the last order

    def orders(self, game: Game) -> list[Say]:
        """What it orders in this turn: nothing, most of the time."""
        turn = game.world.turn
        if turn < self._turn + TURNS_PER_ORDER or (not self._turn and turn < 2 + self._player % TURNS_PER_ORDER):
            return []
        if not game.players.get("alive", self._player):
            return []
        self._turn = turn
        said = self._drill(game) if self._style == DRILL else self._war(game)
        return [] if said is None else [said]

    def scare(self, game: Game, row: int) -> list[Say]:
        """Send one villager right to where this animal stands: hunters throw from afar."""
        villagers = self._own(game, VILLAGER)[:1].tolist()
        place = game.deer.get("x", row), game.deer.get("y", row)
        return [Say(MOVE, to_runs(villagers), *place)] if villagers else []

    def _own(self, game: Game, *kinds: int) -> Integers:
        units = game.units
        mine = (units.read("owner") == self._player) & (units.read("hp") > 0)
        return numpy.flatnonzero(mine & numpy.isin(units.read("kind"), kinds))

    # --- war ----------------------------------------------------------------------------------------------------------

    def _war(self, game: Game) -> Say | None:
        army = self._own(game, *SOLDIERS)
        most = game.world.population_max * ARMY_POPULATION_PERCENT // 100
        if len(army) >= min(ARMY_MIN + ARMY_MORE * self._attacks, most) and self._random.below(4) == 0:
            said = self._attack(game, army)
            if said is not None:
                return said
        villagers = self._own(game, VILLAGER)
        idle = villagers[game.units.read("state")[villagers] == IDLE]
        if not len(idle):
            idle = self._called_to_hunt(game, villagers)
        if len(idle):
            said = self._gather(game, idle)
            if said is not None:
                return said
        return self._train(game, len(villagers))

    def _called_to_hunt(self, game: Game, villagers: Integers) -> Integers:
        food, wood = game.players.get("food", self._player), game.players.get("wood", self._player)
        if food >= FOOD_MIN or wood <= food or self._prey(game) is None:
            return villagers[:0]
        job = game.units.read("job")[villagers]
        called: Integers = villagers[(job >= 0) & (game.ground.read("tile")[job] == TREE)][:CALLED_TO_HUNT]
        return called

    def _prey(self, game: Game) -> int | None:
        """The animal that is nearest to the village, if one is near."""
        deer, (x, y) = game.deer, self._home(game)
        rows = numpy.flatnonzero(deer.read("food") > 0)
        distance = _distance(deer.read("x")[rows], deer.read("y")[rows], x, y)
        if not len(rows) or int(distance.min()) >= PREY_TILES_MAX * SUB:
            return None
        return int(rows[int(distance.argmin())])

    def _train(self, game: Game, villagers: int) -> Say | None:
        food, wood = game.players.get("food", self._player), game.players.get("wood", self._player)
        queue = game.world.queue(self._player)
        if len(queue) >= 2:
            return None
        wanted = VILLAGER if villagers + queue.count(VILLAGER) < VILLAGERS_WANTED else self._random.choice(SOLDIERS)
        trait = TRAITS[wanted]
        return Say(TRAIN, target=wanted) if food >= trait.food and wood >= trait.wood else None

    def _gather(self, game: Game, idle: Integers) -> Say | None:
        """Send those who stand about to what the village has less of."""
        runs = to_runs(idle[:8].tolist())
        x, y = self._home(game)
        food, wood = game.players.get("food", self._player), game.players.get("wood", self._player)
        wants_food = food <= wood + 40
        if wants_food:
            prey = self._prey(game)
            if prey is not None:
                return Say(GATHER, runs, target=DEER_BASE + prey)
        for wanted in (BERRIES, TREE) if wants_food else (TREE, BERRIES):
            place = _nearest_tile(game, wanted, x, y)
            if place is not None:
                return Say(GATHER, runs, *place)
        return None

    def _attack(self, game: Game, army: Integers) -> Say | None:
        """Everybody at the town centre that is nearest to the army."""
        units = game.units
        theirs = (units.read("owner") != self._player) & (units.read("hp") > 0) & (units.read("kind") == TOWN_CENTRE)
        centres = numpy.flatnonzero(theirs)
        if not len(centres):
            return None
        x, y = int(units.read("x")[army].mean()), int(units.read("y")[army].mean())
        nearest = centres[int(_distance(units.read("x")[centres], units.read("y")[centres], x, y).argmin())]
        self._attacks += 1
        place = int(units.read("x")[nearest]), int(units.read("y")[nearest])
        return Say(ATTACK, to_runs(army.tolist()), *place)

    # --- drill --------------------------------------------------------------------------------------------------------

    def _drill(self, game: Game) -> Say | None:
        army = self._own(game, *SOLDIERS)
        if not len(army):
            return self._train(game, VILLAGERS_WANTED)
        draw = self._random
        first = draw.below(len(army))
        half = game.world.size * SUB // 2
        if draw.below(12) == 0:
            some = army[first : first + SKIRMISH_UNITS].tolist()
            return Say(ATTACK, to_runs(some), half + draw.below(4 * SUB), half + draw.below(4 * SUB))
        some = army[first : first + MARCH_UNITS_MAX].tolist()
        home_x, home_y = self._home(game)
        # Somewhere on the own side of the map: between home and the middle, give or take.
        part = 2 + draw.below(5)
        x = home_x + (half - home_x) * part // 8 + draw.below(8 * SUB) - 4 * SUB
        y = home_y + (half - home_y) * part // 8 + draw.below(8 * SUB) - 4 * SUB
        top = game.world.size * SUB - 1
        return Say(MOVE, to_runs(some), min(max(x, 0), top), min(max(y, 0), top))

    def _home(self, game: Game) -> tuple[int, int]:
        centre = game.players.get("centre", self._player)
        return game.units.get("x", centre), game.units.get("y", centre)


def _distance(x: Integers, y: Integers, to_x: int, to_y: int) -> Integers:
    """The longer side of the way, in sub-tile units."""
    ways: Integers = numpy.maximum(abs(x.astype(numpy.int64) - to_x), abs(y.astype(numpy.int64) - to_y))
    return ways


def _nearest_tile(game: Game, tile: int, x: int, y: int) -> tuple[int, int] | None:
    """The middle of the tile of this kind that is nearest to a place, if one is near."""
    size = game.world.size
    places = numpy.flatnonzero((game.ground.read("tile") == tile) & (game.ground.read("stock") > 0))
    if not len(places):
        return None
    tile_x, tile_y = places % size, places // size
    distance = _distance(tile_x, tile_y, x // SUB, y // SUB)
    nearest = int(distance.argmin())
    if int(distance[nearest]) > RESOURCE_TILES_MAX:
        return None
    return int(tile_x[nearest]) * SUB + SUB // 2, int(tile_y[nearest]) * SUB + SUB // 2
