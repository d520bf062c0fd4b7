"""Fights end, the dead free their rows in the same order everywhere, and each kind has what it is good at."""

from __future__ import annotations

import numpy as np
import pytest

from demos.rts_lockstep.orders import ATTACK, MOVE, TRAIN, Order
from demos.rts_lockstep.simulation import combat
from demos.rts_lockstep.simulation.economy import REST_TURNS
from demos.rts_lockstep.simulation.sight import RING_SQUARES, Watch
from demos.rts_lockstep.units import (
    ARCHER,
    CAVALRY,
    DAMAGE_PERCENT,
    FIGHTING,
    HP,
    IDLE,
    INFANTRY,
    NOBODY,
    PROJECTILES_MAX,
    REACH,
    SUB,
    TRAITS,
    VILLAGER,
    WALKING,
)
from demos.rts_lockstep.world import World
from tests.unit.rts.skirmish import living, play, restored, started, where

SOLDIERS = (INFANTRY, ARCHER, CAVALRY)


def arena(*armies: dict[int, int], seed: int = 7) -> World:
    """Armies (of kinds and how many) in lines in the open middle of a map, six tiles apart."""
    world = started(seed, players=2, units_max=400)
    free = iter(np.flatnonzero(world.units.read("hp") == 0).tolist())
    for player, army in enumerate(armies):
        kinds = [kind for kind, count in army.items() for _ in range(count)]
        for number, kind in enumerate(kinds):
            row = next(free)
            x = 48 * SUB + (3 * SUB + number // 12 * 150) * (2 * player - 1)
            y = 46 * SUB + number % 12 * 150
            for name, value in (
                ("x", x),
                ("y", y),
                ("to_x", x),
                ("to_y", y),
                ("goal", y // SUB * world.size + x // SUB),
                ("kind", kind),
                ("owner", player),
                ("hp", int(HP[kind])),
                ("target", NOBODY),
                ("job", NOBODY),
                ("roam", 1),
                ("state", IDLE),
            ):
                world.units.set(name, row, value)
    return world


def fight(world: World, turns: int = 400) -> tuple[int, int]:
    """Let both armies attack; how many are left of each."""
    orders = [Order(ATTACK, player, living(world, player, *SOLDIERS), 48 * SUB, 48 * SUB) for player in (0, 1)]
    for turn in range(turns):
        world.step(orders if turn == 0 else ())
        if not (living(world, 0, *SOLDIERS) and living(world, 1, *SOLDIERS)):
            break
    return len(living(world, 0, *SOLDIERS)), len(living(world, 1, *SOLDIERS))


def worth(kind: int) -> int:
    """What one costs."""
    return TRAITS[kind].food + TRAITS[kind].wood


@pytest.mark.parametrize(("winner", "loser"), [(INFANTRY, CAVALRY), (CAVALRY, ARCHER), (ARCHER, INFANTRY)])
def test_each_kind_has_its_prey(winner: int, loser: int) -> None:
    """For the same price spears beat horses, horses beat archers, archers beat spears, whichever side they are on."""
    budget = 24 * worth(CAVALRY)
    first, second = {winner: budget // worth(winner)}, {loser: budget // worth(loser)}
    left = fight(arena(first, second))
    assert left[0] > 0 == left[1]
    left = fight(arena(second, first))
    assert left[1] > 0 == left[0]


def test_equal_armies_have_equal_chances() -> None:
    """Over several fights of equal armies neither the first nor the second player wins them all by a wide margin."""
    army = {INFANTRY: 10, ARCHER: 10, CAVALRY: 10}
    differences = []
    for seed in range(7, 13):
        first, second = fight(arena(army, army, seed=seed))
        differences.append(first - second)
    assert abs(sum(differences)) < 12 * len(differences)


def test_the_dead_are_forgotten_by_all() -> None:
    """Who falls leaves an empty row that nobody aims at; it is used again after a while, the longest dead one first."""
    world = arena({INFANTRY: 20, ARCHER: 10}, {INFANTRY: 20, ARCHER: 10})
    fell: list[tuple[int, int]] = []
    before = world.units.read("hp") > 0
    orders = [Order(ATTACK, player, living(world, player, *SOLDIERS), 48 * SUB, 48 * SUB) for player in (0, 1)]
    for turn in range(150):
        world.step(orders if turn == 0 else ())
        after = world.units.read("hp") > 0
        dead = np.flatnonzero(before & ~after)
        fell += [(world.turn, row) for row in dead.tolist()]
        for row in dead.tolist():
            assert world.units.get("freed", row) == world.turn
            assert all(world.units.get(name, row) == 0 for name in ("x", "y", "kind", "owner", "state", "carry"))
        for array in (world.units, world.projectiles):
            aimed = array.read("target")
            assert np.all(world.units.read("hp")[aimed[(aimed >= 0) & (aimed < len(after))]] > 0)
        before = after
    assert len(fell) > 20
    # Fill every row that was never used, then the next ones must be the dead in the order of their deaths.
    world.units.write("hp")[(world.units.read("hp") == 0) & (world.units.read("freed") < 0)] = 1
    world.units.write("owner")[world.units.read("freed") < 0] = 1
    world.players.set("food", 0, 10_000)
    world.players.set("wood", 0, 10_000)
    used = []
    for _ in range(4):
        alive = world.units.read("hp") > 0
        world.step([Order(TRAIN, 0, target=INFANTRY)])
        for _ in range(TRAITS[INFANTRY].train):
            world.step()
        used += np.flatnonzero((world.units.read("hp") > 0) & ~alive & (world.units.read("kind") == INFANTRY)).tolist()
    longest = [row for _, row in sorted(fell)]
    assert used[:2] == longest[:2]


def test_rows_of_the_dead_rest() -> None:
    """A row that has just become free is not used before its time, even if it is the only one."""
    world = started(7, players=2, units_max=400)
    units = world.units
    units.write("freed")[units.read("hp") == 0] = 1 << 30
    row = int(np.flatnonzero(units.read("hp") == 0)[5])
    units.set("freed", row, world.turn + TRAITS[VILLAGER].train)
    world.step([Order(TRAIN, 0, target=VILLAGER)])
    for _ in range(TRAITS[VILLAGER].train + REST_TURNS - 1):
        assert units.get("hp", row) == 0
        world.step()
    assert units.get("hp", row) > 0


def test_archers_keep_their_distance() -> None:
    """Archers stand as far off as they can shoot, and step back from who comes close."""
    world = arena({ARCHER: 12}, {INFANTRY: 4})
    nearest = []
    orders = [Order(ATTACK, 0, living(world, 0, ARCHER), 48 * SUB, 48 * SUB)]
    for turn in range(60):
        world.step(orders if turn == 0 else ())
        foes = living(world, 1, INFANTRY)
        if foes:
            places = [where(world, row) for row in living(world, 0, ARCHER)]
            nearest.append(
                min(max(abs(x - a), abs(y - b)) for x, y in places for a, b in (where(world, row) for row in foes))
            )
    assert not living(world, 1, INFANTRY)
    assert len(living(world, 0, ARCHER)) >= 11
    assert min(nearest) > REACH[INFANTRY]


def test_soldiers_defend_themselves_and_walkers_do_not_stop() -> None:
    """Idle soldiers take on whom they see; those who were told to MOVE walk on; those who ATTACK on their way fight."""
    world = arena({INFANTRY: 6}, {INFANTRY: 6})
    mine = living(world, 0, INFANTRY)
    world.step([Order(MOVE, 0, mine, 40 * SUB, 60 * SUB)])
    for _ in range(8):
        world.step()
    assert all(world.units.get("state", row) == WALKING for row in mine)
    assert any(world.units.get("state", row) == FIGHTING for row in living(world, 1, INFANTRY))
    world.step([Order(ATTACK, 0, mine, 48 * SUB, 48 * SUB)])
    for _ in range(8):
        world.step()
    assert any(world.units.get("state", row) == FIGHTING for row in mine)


def test_who_was_sent_after_one_goes_for_that_one() -> None:
    """ATTACK with a target goes past others for it; one's own people are no target."""
    world = arena({CAVALRY: 8}, {INFANTRY: 6, ARCHER: 6})
    riders, archer = living(world, 0, CAVALRY), living(world, 1, ARCHER)[0]
    world.step([Order(ATTACK, 0, riders, target=archer)])
    assert all(world.units.get("target", row) == archer for row in riders)
    for _ in range(120):
        world.step()
        if world.units.get("hp", archer) == 0:
            break
        assert all(world.units.get("target", row) == archer for row in living(world, 0, CAVALRY))
    assert world.units.get("hp", archer) == 0
    own = living(world, 0, CAVALRY, VILLAGER)
    world.step([Order(ATTACK, 0, own[:1], target=own[1])])
    assert world.units.get("target", own[0]) != own[1]


def test_arrows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """There are never more arrows in the air than the bound; who cannot shoot waits."""
    assert PROJECTILES_MAX >= 1500
    monkeypatch.setattr(combat, "PROJECTILES_MAX", 7)
    world = arena({ARCHER: 40}, {ARCHER: 40})
    orders = [Order(ATTACK, player, living(world, player, ARCHER), 48 * SUB, 48 * SUB) for player in (0, 1)]
    most = 0
    for turn in range(60):
        world.step(orders if turn == 0 else ())
        most = max(most, len(world.projectiles))
    assert most == 7


def test_a_hill_is_worth_holding() -> None:
    """The same two archers do more harm from a hill."""
    harm = []
    for on_hill in (False, True):
        world = arena({ARCHER: 4}, {INFANTRY: 1})
        victim = living(world, 1, INFANTRY)[0]
        if on_hill:
            for row in living(world, 0, ARCHER):
                x, y = where(world, row)
                world.ground.set("tile", y // SUB * world.size + x // SUB, 4)
        for _ in range(10):
            world.step()
        harm.append(int(HP[INFANTRY]) - world.units.get("hp", victim))
    assert harm[1] > harm[0] > 0


def test_the_watch_finds_the_nearest() -> None:
    """Against a search through all pairs: the found stranger's tile is as near as any, and none is missed."""
    size, count = 40, 300
    numbers = np.arange(count, dtype=np.int64)
    tile = (numbers * 7919) % (size * size)
    owner = numbers * numbers % 5
    sight = 3 + numbers % 5
    found = Watch(numbers, owner, tile, size).nearest(numbers, owner, tile, sight)
    for row in range(count):
        dx, dy = tile % size - tile[row] % size, tile // size - tile[row] // size
        squares = np.where(owner != owner[row], dx * dx + dy * dy, 1 << 40)
        least = int(squares.min())
        if least <= sight[row] ** 2 and least <= RING_SQUARES[-1]:
            assert squares[found[row]] == least
        else:
            assert found[row] == NOBODY


def test_strength_is_one_table() -> None:
    """Nobody harms more than a quarter of a strong unit at once, and everybody who fights harms something."""
    for kind in SOLDIERS:
        for other in SOLDIERS:
            blow = TRAITS[kind].attack * int(DAMAGE_PERCENT[kind, other]) // 100
            assert 1 <= blow <= TRAITS[other].hp // 2


def test_a_fight_replays_from_its_middle() -> None:
    """Arrows in the air are state like everything else: a copy made while they fly ends the fight alike."""
    world = arena({ARCHER: 20, CAVALRY: 5}, {ARCHER: 20, CAVALRY: 5})
    play(world, 12)
    assert len(world.projectiles)
    copy = restored(world)
    assert fight(world) == fight(copy)
