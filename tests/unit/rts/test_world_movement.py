"""Units keep to the map, dry land and their speed, find their way, and end in formation where they were sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from demos.rts_lockstep.orders import ATTACK, GATHER, MOVE, STOP, TRAIN, Order
from demos.rts_lockstep.simulation.paths import Paths
from demos.rts_lockstep.simulation.wildlife import RUN_SPEED
from demos.rts_lockstep.units import (
    ARCHER,
    CAVALRY,
    IDLE,
    INFANTRY,
    SPEED,
    SUB,
    TOWN_CENTRE,
    VILLAGER,
    WALKING,
    WATER,
)
from demos.rts_lockstep.world import World
from rsm.node.agreement.places import place_above
from tests.unit.rts.skirmish import commands, digest, home, living, play, restored, started, where

SOLDIERS = (INFANTRY, ARCHER, CAVALRY)


def dry(world: World, name: str) -> bool:
    """Nobody of these stands in water or off the map."""
    array = getattr(world, name)
    there = array.read("hp") > 0
    x, y = array.read("x")[there], array.read("y")[there]
    inside = (x >= 0) & (y >= 0) & (x < world.size * SUB) & (y < world.size * SUB)
    return bool(inside.all()) and not np.any(world.ground.read("tile")[y // SUB * world.size + x // SUB] == WATER)


@pytest.mark.parametrize("seed", [2, 3])
def test_a_battle_keeps_to_land_and_speed(seed: int) -> None:
    """Over a whole battle nobody enters water or leaves the map, and no step is longer than a unit's speed."""
    world = started(seed, players=8, units_max=700, soldiers=40)
    for _ in range(200):
        units, deer = world.units, world.deer
        before = [units.read(name).copy() for name in ("x", "y", "hp", "kind")]
        deer_before = deer.read("x").copy(), deer.read("y").copy()
        world.step(commands(world))
        stays = (before[2] > 0) & (units.read("hp") > 0)
        dx, dy = (units.read(name).astype(np.int64) - old for name, old in zip(("x", "y"), before, strict=False))
        assert np.all((dx * dx + dy * dy <= SPEED[before[3]] ** 2)[stays])
        dx, dy = (deer.read(name).astype(np.int64) - old for name, old in zip(("x", "y"), deer_before, strict=True))
        assert np.all(dx * dx + dy * dy <= RUN_SPEED**2)
        assert dry(world, "units")
        assert dry(world, "deer")


def test_a_group_of_two_hundred_arrives_in_formation() -> None:
    """A large group crosses the map, and stands around its goal with room between any two, archers behind spears."""
    world = started(4, players=2, units_max=600, soldiers=200)
    group = living(world, 0, *SOLDIERS)
    assert len(group) == 200
    x, y = home(world, 0)
    goal_x, goal_y = 48 * SUB, 40 * SUB
    world.step([Order(MOVE, 0, group, goal_x, goal_y)])
    for _ in range(700):
        world.step()
        if not np.any(world.units.read("state")[list(group)] == WALKING):
            break
    state = world.units.read("state")[list(group)]
    assert np.all(state == IDLE)
    at_x, at_y = (world.units.read(name)[list(group)].astype(np.int64) for name in ("x", "y"))
    assert np.all((at_x - goal_x) ** 2 + (at_y - goal_y) ** 2 < (8 * SUB) ** 2)
    apart = (at_x[:, None] - at_x) ** 2 + (at_y[:, None] - at_y) ** 2
    np.fill_diagonal(apart, 1 << 40)
    assert np.mean(apart.min(axis=1) >= 100**2) > 0.9
    kind = world.units.read("kind")[list(group)]
    ahead = (at_x - x) * (goal_x - x) + (at_y - y) * (goal_y - y)
    assert ahead[kind == CAVALRY].mean() > ahead[kind == INFANTRY].mean() > ahead[kind == ARCHER].mean()


def test_a_goal_in_the_lake_is_its_shore() -> None:
    """Sent into water, units go to the nearest shore and stop."""
    world = started(1, players=2, units_max=200)
    size, tile = world.size, world.ground.read("tile")
    lake = int(np.flatnonzero(tile == WATER)[0])
    people = living(world, 0, VILLAGER)
    world.step([Order(MOVE, 0, people, lake % size * SUB, lake // size * SUB)])
    goal = world.units.get("goal", people[0])
    assert tile[goal] != WATER
    for _ in range(900):
        world.step()
        if all(world.units.get("state", row) == IDLE for row in people):
            break
    assert all(world.units.get("state", row) == IDLE for row in people)
    assert dry(world, "units")


def test_two_crowds_pass_each_other() -> None:
    """Two groups that are sent through each other both arrive."""
    world = started(6, players=2, units_max=300, soldiers=80)
    group = living(world, 0, *SOLDIERS)
    left, right = group[::2], group[1::2]
    x, y = home(world, 0)
    ends = (x + 6 * SUB, y), (x, y - 5 * SUB)
    for _ in range(2):
        world.step([Order(MOVE, 0, left, *ends[0]), Order(MOVE, 0, right, *ends[1])])
        for _ in range(200):
            world.step()
        for part, (goal_x, goal_y) in zip((left, right), ends, strict=True):
            far = [max(abs(where(world, row)[0] - goal_x), abs(where(world, row)[1] - goal_y)) for row in part]
            assert max(far) < 6 * SUB
        ends = ends[1], ends[0]


def test_stop_stops() -> None:
    """STOP ends a walk where one is."""
    world = started(6, players=2, units_max=300)
    people = living(world, 0, VILLAGER)
    world.step([Order(MOVE, 0, people, 48 * SUB, 48 * SUB)])
    play_turns = 20
    for _ in range(play_turns):
        world.step()
    world.step([Order(STOP, 0, people)])
    before = [where(world, row) for row in people]
    for _ in range(30):
        world.step()
    after = [where(world, row) for row in people]
    assert all(abs(a - c) + abs(b - d) < SUB for (a, b), (c, d) in zip(before, after, strict=True))


ABSURD = 10**30


@pytest.mark.parametrize("kind", [-1, MOVE, ATTACK, GATHER, STOP, 77, ABSURD])
def test_absurd_orders_are_harmless(kind: int) -> None:
    """Units of strangers, of the dead and of nobody, coordinates and targets beyond all bounds: no error, no effect."""
    world = started(2, players=3, units_max=200, soldiers=3)
    play(world, 5)
    untouched = restored(world)
    stranger = living(world, 1, VILLAGER, *SOLDIERS)
    centre = (world.players.get("centre", 0),)
    nobody = (-1, len(world.units) - 1, len(world.units), 100_000, ABSURD, -ABSURD)
    orders = [
        Order(kind, player, units, x, y, target)
        for player, units in ((0, stranger), (0, centre), (0, nobody), (0, ()), (8, stranger), (-1, stranger))
        for x, y in ((0, 0), (-ABSURD, ABSURD), (2**31, -(2**31)))
        for target in (-1, 0, 5, 10**6, ABSURD, -ABSURD)
    ]
    world.step(orders)
    untouched.step()
    assert digest(world) == digest(untouched)


def test_a_trace_finds_the_steps_of_animals_where_animals_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns are put back by helpers that hide themselves: the line is one of `wildlife.roam`."""
    world = started(7, players=2, units_max=200)
    places: list[tuple[str, int]] = []
    write = world.deer.write

    def noted(name: str) -> Any:
        __tracebackhide__ = True
        places.append(place_above(1))
        return write(name)

    monkeypatch.setattr(world.deer, "write", noted)
    for _ in range(20):
        world.step()
    assert {Path(file).name for file, _ in places} == {"wildlife.py"}


def test_absurd_places_are_the_nearest_ones_on_the_map() -> None:
    """One's own units go as far as they can towards a place that is off the map."""
    world = started(2, players=2, units_max=200)
    row = living(world, 0, VILLAGER)[0]
    world.step([Order(MOVE, 0, (row, row), ABSURD, -ABSURD)])
    play(world, 5)
    assert world.units.get("state", row) == WALKING
    assert world.units.get("to_x", row) > (world.size - 12) * SUB
    assert world.units.get("to_y", row) < 12 * SUB
    for target in (-5, 4, TOWN_CENTRE, 6, ABSURD):
        world.step([Order(TRAIN, 0, (), 0, 0, target)])
    assert world.queue(0) == ()


def test_fields_lead_around_water_by_short_ways() -> None:
    """Following a field from anywhere dry reaches the goal over dry tiles, by about the shortest way."""
    size = 48
    tile = np.zeros(size * size, dtype=np.uint8)
    tile.reshape(size, size)[10, 5:48] = WATER
    tile.reshape(size, size)[20, 0:40] = WATER
    fields = Paths(tile, size)
    goal = 2 * size + 40
    here, steps = 30 * size + 2, 0
    while here != goal:
        nearer = int(fields.headings(np.array([goal]), np.array([here]))[0])
        steps += max(abs(nearer % size - here % size), abs(nearer // size - here // size))
        assert nearer != here
        assert tile[nearer] != WATER
        here = nearer
    # Around the ends of both walls: 38 + 37 + 36 columns or so.
    assert 108 <= steps <= 125
