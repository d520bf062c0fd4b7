"""A world is a function of its columns and the orders: the same everywhere, restored or not, whatever is cached."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from demos.rts_lockstep.orders import RESIGN, TRAIN, Order
from demos.rts_lockstep.plain import new_world
from demos.rts_lockstep.simulation import paths
from demos.rts_lockstep.units import DEER_BASE, DRAW, HP, NOBODY, SUB, TOWN_CENTRE, TRAITS, VILLAGER, WATER
from demos.rts_lockstep.world import WALLS_LOSE, WALLS_TURNS, World
from tests.documents import ROOT
from tests.unit.rts.skirmish import DECLARED, digest, home, living, play, restored, started, state_bytes

BATTLE_TURNS = 230
GOLDEN = ("7d970cfde1a9e82c209143f04a913b2d", "24bea0e89fb1676a7e3a699dd1b978c4")
SCRIPT = f"""
from tests.unit.rts.skirmish import digest, play, started
world = started(7, players=8, units_max=600, soldiers=30)
play(world, {BATTLE_TURNS})
print(digest(world))
"""


@pytest.fixture(scope="module")
def battle() -> World:
    """Eight commanders, in the middle of it."""
    world = started(7, players=8, units_max=600, soldiers=30)
    play(world, BATTLE_TURNS)
    return world


def test_a_battle_of_eight_is_the_same_everywhere(battle: World) -> None:
    """A seeded battle gives the numbers that were recorded, and it is one: many have fallen, arrows fly."""
    assert len(battle.projectiles) > 10
    fallen = np.count_nonzero(battle.units.read("freed") > 0)
    assert fallen > 30
    assert (digest(started(7, players=8, units_max=600, soldiers=30)), digest(battle)) == GOLDEN


@pytest.mark.parametrize("hash_seed", ["1", "4711"])
def test_hash_seeds_do_not_matter(battle: World, hash_seed: str) -> None:
    """Another process with another hash seed plays the same battle."""
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == digest(battle)


def test_a_restored_world_goes_on_alike(battle: World) -> None:
    """A world made from another one's columns does the same next, turn by turn."""
    ran_on, copy = restored(battle), restored(battle)
    for _ in range(40):
        play(ran_on, 1)
        copy = restored(copy)  # never a cache that is older than a turn
        play(copy, 1)
        assert digest(copy) == digest(ran_on)


def test_a_world_follows_columns_that_are_exchanged(battle: World) -> None:
    """The columns behind a world may be replaced at any time, also by those of another map."""
    world, expected = restored(started(8, players=8, units_max=600, soldiers=30)), restored(battle)
    play(world, 30)
    for name, columns in DECLARED.items():
        array, other = getattr(world, name), getattr(battle, name)
        array.resize(len(other))
        for column in columns:
            array.write(column)[:] = other.read(column)
    play(world, 30)
    play(expected, 30)
    assert digest(world) == digest(expected)


def test_what_is_kept_of_path_fields_does_not_matter(battle: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With room for two path fields only, everything comes out the same."""
    expected, world = restored(battle), restored(battle)
    play(expected, 60)
    monkeypatch.setattr(paths, "FIELDS_MAX", 2)
    play(world, 60)
    assert digest(world) == digest(expected)


def test_a_whole_match_is_small() -> None:
    """A state of 1,500 units is well below 150 kB."""
    world = started(1, players=8, units_max=1500, soldiers=160)
    assert len(world.units) + len(world.deer) == 1500
    assert state_bytes(world) < 90_000


@pytest.mark.parametrize("seed", range(12))
def test_maps_are_fair(seed: int) -> None:
    """A map is its own image in all eight ways, every start can walk to every other, and all start with the same."""
    world = started(seed, players=8, units_max=600)
    size = world.size
    tile = world.ground.read("tile").reshape(size, size)
    stock = world.ground.read("stock").reshape(size, size)
    for grid in (tile, stock):
        assert np.array_equal(grid, grid.T)
        assert np.array_equal(grid, grid[::-1])
    fields = paths.Paths(world.ground.read("tile"), size)
    starts = [x // SUB + y // SUB * size for x, y in (home(world, player) for player in range(8))]
    for goal in starts:
        for here in starts:
            tile_number, steps = here, 0
            while tile_number != goal and steps < size * size:
                tile_number = int(fields.headings(np.array([goal]), np.array([tile_number]))[0])
                steps += 1
            assert tile_number == goal
    assert all(world.population(player) == 7 for player in range(8))


@pytest.mark.parametrize("players", range(2, 9))
def test_any_number_of_players_can_begin(players: int) -> None:
    """Two to eight players begin on dry land with a town centre, villagers and animals."""
    world = started(3, players=players, units_max=300, size=64)
    tile = world.ground.read("tile")
    for array in (world.units, world.deer):
        there = array.read("hp") > 0
        assert not np.any(tile[array.read("y")[there] // SUB * 64 + array.read("x")[there] // SUB] == WATER)
    for player in range(players):
        centre = world.players.get("centre", player)
        assert world.units.get("hp", centre) == HP[TOWN_CENTRE]
        assert world.units.get("owner", centre) == player
    assert len(world.deer) == 8 * players


@pytest.mark.parametrize("seed", [8, 23])
def test_herds_of_a_small_map_graze_on_it(seed: int) -> None:
    """Where a herd's place lies beside the map, the animals stand at the start instead."""
    world = started(seed, players=8, units_max=400, size=48)
    for axis in "xy":
        assert 0 <= int(world.deer.read(axis).min()) <= int(world.deer.read(axis).max()) < 48 * SUB


@pytest.mark.parametrize(
    "numbers",
    [
        {"players": 1},
        {"players": 9},
        {"size": 20},
        {"size": 127},
        {"seed": -1},
        {"units_max": 1501},
        {"units_max": 20},
        {"villagers": 0},
        {"soldiers": 400},
    ],
)
def test_what_makes_no_match_is_refused(numbers: dict[str, int]) -> None:
    """Numbers that make no match are a ValueError, and nothing is set up."""
    world = new_world()
    with pytest.raises(ValueError, match=r"no match|no room"):
        world.setup(**{"seed": 1, "players": 2, "units_max": 400, **numbers})
    assert len(world.units) == 0


def test_the_last_town_centre_wins() -> None:
    """A strong army ends a match; the loser's people vanish with his town centre, and then nothing happens any more."""
    world = started(5, players=2, units_max=300, size=64, soldiers=60)
    for row in living(world, 1, 1, 2, 3):
        world.units.set("hp", row, 0)
    for _ in range(1500):
        play(world, 1)
        if world.winner != NOBODY:
            break
    assert world.winner == 0
    assert world.players.get("alive", 1) == 0
    assert world.players.get("out", 1) == world.turn
    assert world.population(1) == 0
    before = {name: digest(world) for name in ("x",)}
    turn = world.turn
    world.step([Order(RESIGN, 0)])
    assert world.turn == turn + 1
    world.match.set("turn", 0, turn)
    assert digest(world) == before["x"]


def test_giving_up_and_a_draw() -> None:
    """Who resigns is out at once; if the last ones resign in one turn, nobody wins."""
    world = started(5, players=3, units_max=300, size=64)
    world.step([Order(RESIGN, 1)])
    assert world.players.read("alive").tolist() == [1, 0, 1]
    assert world.winner == NOBODY
    world.step([Order(RESIGN, 0), Order(RESIGN, 2)])
    assert world.winner == DRAW


def test_every_match_ends() -> None:
    """Of players who do nothing, too: walls that have suffered fall first, and those that fall together are a draw."""
    world = started(5, players=3, units_max=300, size=48)
    centres = world.players.read("centre").tolist()
    world.match.set("turn", 0, WALLS_TURNS - 1)
    for row, hp in zip(centres, (20, 30, 20), strict=True):
        world.units.set("hp", row, hp)
    drawn = restored(world)
    drawn.units.set("hp", centres[1], 20)
    world.step()
    assert [world.units.get("hp", row) for row in centres] == [20, 30, 20]
    for turn in range(1, 11):
        assert world.winner == NOBODY
        world.step()
        assert world.population(1) == 7
        assert world.units.get("hp", centres[0]) == max(20 - WALLS_LOSE * turn, 0)
    assert (world.winner, world.turn) == (1, WALLS_TURNS + 10)
    for _ in range(11):
        drawn.step()
    assert drawn.winner == DRAW


def test_giving_up_when_somebody_is_trained() -> None:
    """The row of a town that was given up this turn is not yet free, or its player would live on as a stranger."""
    world = started(1, players=3, units_max=200, size=48)
    world.step([Order(TRAIN, player, target=VILLAGER) for player in range(3)])
    while world.players.get("progress", 1) < TRAITS[VILLAGER].train - 1:
        world.step()
    world.step([Order(RESIGN, 0)])
    assert world.players.read("alive").tolist() == [0, 1, 1]
    assert [world.population(player) for player in range(3)] == [0, 8, 8]
    assert world.units.get("hp", world.players.get("centre", 0)) == 0


def test_animals_and_units_have_numbers_of_their_own() -> None:
    """No unit can have an animal's number."""
    assert started(1, players=8, units_max=1500).units.read("hp").size < DEER_BASE
