"""Bots play whole matches, without a network, to a natural end; a world made anew on the way ends alike."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from demos.rts_lockstep.clients.bots import Bot
from demos.rts_lockstep.orders import Order
from demos.rts_lockstep.runs import from_runs
from demos.rts_lockstep.units import DEER_BASE, HP, NOBODY, SUB, TOWN_CENTRE, WATER
from demos.rts_lockstep.world import WALLS_LOSE, WALLS_TURNS, World
from tests.unit.rts.skirmish import digest, restored, started

TURNS_MAX = WALLS_TURNS + int(HP[TOWN_CENTRE]) // WALLS_LOSE
# From an order to the turn that runs it, as in the game.
ORDER_TURNS = 2


def check(world: World) -> None:
    """What holds after every turn."""
    units, size = world.units, world.size
    living, x, y, target = units.read("hp") > 0, units.read("x"), units.read("y"), units.read("target")
    assert min(x.min(), y.min()) >= 0
    assert max(x.max(), y.max()) < size * SUB
    assert not np.any(world.ground.read("tile")[(y // SUB * size + x // SUB)[living]] == WATER)
    aims = living & (target >= 0) & (target < DEER_BASE)
    assert np.all(units.read("hp")[target[aims]] > 0)
    assert np.all(units.read("owner")[target[aims]] != units.read("owner")[aims])
    for player in range(len(world.players)):
        centre = world.players.get("centre", player)
        if world.players.get("alive", player):
            found = [units.get(column, centre) for column in ("kind", "owner")]
            assert found == [TOWN_CENTRE, player]
            assert world.population(player) + len(world.queue(player)) <= world.population_max
        else:
            assert world.population(player) == 0


@pytest.mark.soak
@pytest.mark.parametrize(("seed", "players", "units_max", "size"), [(1, 2, 200, 48), (3, 3, 300, 64), (4, 8, 600, 48)])
def test_bots_play_to_the_end(seed: int, players: int, units_max: int, size: int) -> None:
    """However equal they are. Now and then another world goes on from the columns, beside the first one."""
    world = started(seed, players=players, units_max=units_max, size=size)
    names = ("units", "players", "deer", "ground")
    game: Any = SimpleNamespace(world=world, **{name: getattr(world, name) for name in names})
    bots = [Bot(seed, player) for player in range(players)]
    waiting: dict[int, list[Order]] = {}
    chance, copy, copied_at = random.Random(seed), restored(world), 0
    while world.winner == NOBODY and world.turn < TURNS_MAX + 1:
        turn = world.turn
        for player, bot in enumerate(bots):
            waiting.setdefault(turn + ORDER_TURNS, []).extend(
                Order(said.kind, player, from_runs(said.units, units_max), said.x, said.y, said.target)
                for said in bot.orders(game)
            )
        orders = waiting.pop(turn + 1, [])
        world.step(orders)
        if turn < copied_at + 20:
            copy.step(orders)
            assert digest(copy) == digest(world)
        elif chance.randrange(200) == 0:
            copy, copied_at = restored(world), turn + 1
        if turn % 20 == 0:
            check(world)
    assert world.winner != NOBODY
    check(world)
