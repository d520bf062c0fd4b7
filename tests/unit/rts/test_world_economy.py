"""Food and wood come from the ground and the animals, pass through villagers' hands, and are neither made nor lost."""

from __future__ import annotations

import numpy as np

from demos.rts_lockstep.orders import GATHER, STOP, TRAIN, Order
from demos.rts_lockstep.simulation.economy import CARRY_MAX, QUEUE_MAX
from demos.rts_lockstep.simulation.terrain import STOCK
from demos.rts_lockstep.simulation.wildlife import BREED_TURNS, DEER_FOOD
from demos.rts_lockstep.units import (
    ARCHER,
    BERRIES,
    CARRYING,
    CAVALRY,
    DEER,
    DEER_BASE,
    FOOD,
    GATHERING,
    GRASS,
    HP,
    IDLE,
    INFANTRY,
    STUMPS,
    SUB,
    TOWN_CENTRE,
    TRAINING,
    TRAITS,
    TREE,
    VILLAGER,
    WOOD,
)
from demos.rts_lockstep.world import World
from tests.unit.rts.skirmish import home, living, restored, started


def nearest(world: World, player: int, kind: int) -> tuple[int, int]:
    """The tile of a kind that is nearest to a player's town centre."""
    x, y = home(world, player)
    tiles = np.flatnonzero(world.ground.read("tile") == kind)
    squares = (tiles % world.size - x // SUB) ** 2 + (tiles // world.size - y // SUB) ** 2
    tile = int(tiles[np.argmin(squares)])
    return tile % world.size * SUB + 100, tile // world.size * SUB + 100


def amounts(world: World) -> tuple[int, int]:
    """All food and all wood: in the ground, on the hoof, in hands and in stores."""
    tile, stock = world.ground.read("tile"), world.ground.read("stock").astype(np.int64)
    load, carry = world.units.read("load"), world.units.read("carry").astype(np.int64)
    food = stock[tile == BERRIES].sum() + carry[load == FOOD].sum() + world.players.read("food").sum()
    wood = stock[tile == TREE].sum() + carry[load == WOOD].sum() + world.players.read("wood").sum()
    return int(food + world.deer.read("food").sum()), int(wood)


def test_nothing_is_made_or_lost() -> None:
    """Through a long time of gathering the sums stay as they are, turn by turn, and the stores grow."""
    world = started(2, players=2, units_max=200, villagers=12)
    people = living(world, 0, VILLAGER)
    everything = amounts(world)
    world.step(
        [
            Order(GATHER, 0, people[:4], *nearest(world, 0, TREE)),
            Order(GATHER, 0, people[4:8], *nearest(world, 0, BERRIES)),
            Order(GATHER, 0, people[8:], target=DEER_BASE),
        ]
    )
    for _ in range(600):
        world.step()
        assert amounts(world) == everything
    assert world.players.get("food", 0) > 600
    assert world.players.get("wood", 0) > 400
    assert set(world.units.read("state")[list(people)].tolist()) <= {GATHERING, CARRYING}
    assert np.any(world.deer.read("hp")[:8] == 0)


def test_training_costs_what_it_says() -> None:
    """What is trained is paid for when it is ordered, to the last piece; somebody comes out after its time."""
    world = started(2, players=2, units_max=200)
    food, wood = world.players.get("food", 0), world.players.get("wood", 0)
    world.step([Order(TRAIN, 0, target=INFANTRY), Order(TRAIN, 0, target=ARCHER)])
    assert world.players.get("food", 0) == food - TRAITS[INFANTRY].food - TRAITS[ARCHER].food
    assert world.players.get("wood", 0) == wood - TRAITS[INFANTRY].wood - TRAITS[ARCHER].wood
    assert world.queue(0) == (INFANTRY, ARCHER)
    assert world.units.get("state", world.players.get("centre", 0)) == TRAINING
    for _ in range(TRAITS[INFANTRY].train - 1):
        assert not living(world, 0, INFANTRY)
        world.step()
    assert len(living(world, 0, INFANTRY)) == 1
    assert world.queue(0) == (ARCHER,)
    for _ in range(TRAITS[ARCHER].train):
        world.step()
    assert len(living(world, 0, ARCHER)) == 1
    world.step()
    assert world.units.get("state", world.players.get("centre", 0)) == IDLE


def test_the_poor_train_nobody_and_queues_are_bounded() -> None:
    """Without the means nothing happens; a queue holds so many, and a people has no more than its share of the rows."""
    world = started(2, players=2, units_max=60)
    world.players.set("food", 0, TRAITS[CAVALRY].food - 1)
    world.step([Order(TRAIN, 0, target=CAVALRY)])
    assert world.queue(0) == ()
    world.players.set("food", 0, 100_000)
    world.players.set("wood", 0, 100_000)
    world.step([Order(TRAIN, 0, target=VILLAGER)] * (QUEUE_MAX + 5))
    assert world.queue(0) == (VILLAGER,) * QUEUE_MAX
    turns_left = world.population_max * TRAITS[VILLAGER].train
    while turns_left:
        world.step([Order(TRAIN, 0, target=VILLAGER)])
        assert world.population(0) + len(world.queue(0)) <= world.population_max
        if world.population(0) == world.population_max:  # and then for as long as one more would take
            turns_left = min(turns_left, TRAITS[VILLAGER].train)
        turns_left -= 1
    assert world.population(0) == world.population_max
    assert world.population(1) == 7


def test_new_villagers_find_work() -> None:
    """Who is trained as a villager gathers what there is less of, without being told."""
    world = started(2, players=2, units_max=200)
    world.step([Order(TRAIN, 1, target=VILLAGER)])
    for _ in range(TRAITS[VILLAGER].train):
        world.step()
    newest = living(world, 1, VILLAGER)[-1]
    assert world.units.get("state", newest) == GATHERING
    before = world.players.get("wood", 1)
    for _ in range(200):
        world.step()
    assert world.players.get("wood", 1) > before


def test_used_up_ground_changes_and_work_goes_on() -> None:
    """A felled tree leaves stumps, picked berries grass; the villagers go on with the next of the same kind."""
    world = started(2, players=2, units_max=200)
    size, people = world.size, living(world, 0, VILLAGER)
    for kind, left, workers in ((TREE, STUMPS, people[:3]), (BERRIES, GRASS, people[3:])):
        x, y = nearest(world, 0, kind)
        tile = y // SUB * size + x // SUB
        world.ground.write("stock")[tile] = 7  # several take the last ones in one turn
        world.step([Order(GATHER, 0, workers, x, y)])
        for row in workers:
            world.units.set("job", row, tile)
        for _ in range(300):
            world.step()
            assert world.ground.read("stock").max() <= STOCK.max()
        assert world.ground.get("tile", tile) == left
        assert world.ground.get("stock", tile) == 0
        jobs = {world.units.get("job", row) for row in workers}
        assert tile not in jobs
        assert all(world.ground.get("tile", job) == kind for job in jobs)
    assert world.units.read("carry").max() <= CARRY_MAX


def test_when_all_is_used_up_they_bring_home_the_rest() -> None:
    """With nothing left to gather anywhere near, villagers bring home what they have, and then stand about."""
    world = started(2, players=2, units_max=200)
    people = living(world, 0, VILLAGER)
    x, y = nearest(world, 0, TREE)
    stock = world.ground.write("stock")
    stock[:] = 0
    stock[y // SUB * world.size + x // SUB] = 5
    world.step([Order(GATHER, 0, people, x, y)])
    before = world.players.get("wood", 0)
    for _ in range(300):
        world.step()
    assert world.players.get("wood", 0) == before + 5
    assert all(world.units.get("state", row) == IDLE for row in people)


def test_animals_flee_and_wander() -> None:
    """Left alone, the animals drift about near where they were; hunted, they run, and end as food."""
    world = started(2, players=2, units_max=200)
    x, y = world.deer.read("x").copy(), world.deer.read("y").copy()
    for _ in range(100):
        world.step()
    moved = np.abs(world.deer.read("x") - x) + np.abs(world.deer.read("y") - y)
    assert np.count_nonzero(moved) > 8
    assert moved.max() < 12 * SUB
    people = living(world, 0, VILLAGER)
    world.step([Order(GATHER, 0, people, target=DEER_BASE + 3)])
    fled = False
    for _ in range(400):
        world.step()
        fled |= bool(np.any(world.deer.read("fear")))
    assert fled
    assert world.deer.get("hp", 3) == 0
    assert world.deer.get("food", 3) < 100
    assert world.players.get("food", 0) > 400


def test_stopped_gatherers_keep_what_they_carry() -> None:
    """STOP ends work; a new order takes up what is in their hands."""
    world = started(2, players=2, units_max=200)
    people = living(world, 0, VILLAGER)
    place = nearest(world, 0, TREE)
    world.step([Order(GATHER, 0, people, *place)])
    for _ in range(1000):
        world.step()
        if world.units.get("carry", people[0]) >= 3:
            break
    world.step([Order(STOP, 0, people)])
    carried = world.units.get("carry", people[0])
    assert carried >= 3
    for _ in range(50):
        world.step()
    assert world.units.get("carry", people[0]) == carried
    assert world.units.get("state", people[0]) == IDLE
    world.step([Order(GATHER, 0, people, *place)])
    assert world.units.get("load", people[0]) == WOOD


def test_town_centres_are_not_trained() -> None:
    """Only people can be trained."""
    world = started(2, players=2, units_max=200)
    world.step([Order(TRAIN, 0, target=TOWN_CENTRE)])
    assert world.queue(0) == ()


def test_food_never_ends() -> None:
    """Where animals were eaten up others come, each at turns of its own, also for a world made anew meanwhile."""
    world = started(2, players=2, units_max=200)
    rows = list(range(len(world.deer)))
    for row in rows[1:]:
        world.deer.set("hp", row, 0)
        world.deer.set("food", row, 0)
    came: dict[int, int] = {}
    for turn in range(1, BREED_TURNS + 1):
        if turn % 400 == 0:
            world = restored(world)
        world.step()
        for row in rows[1:]:
            if world.deer.get("hp", row) and row not in came:
                came[row] = turn
                assert (world.deer.get("hp", row), world.deer.get("food", row)) == (HP[DEER], DEER_FOOD)
        if len(came) == len(rows) - 1:
            break
    assert sorted(came) == rows[1:]
    assert len(set(came.values())) == len(came)
