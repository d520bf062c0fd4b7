"""Fighting: who takes on whom, blows, arrows, and who falls.

Soldiers who stand about, or roam, look around every few turns and take on the nearest stranger, soldiers before others;
what they were told to do waits until he is down. A blow lands at once. An arrow flies to where its target will be if it
goes on as it does, and hits if the target is near that place then: those who turn may get away. All harm of a turn is
added up before anybody falls, so that no row of the table strikes first.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from demos.rts_lockstep.simulation.columns import Crowd, Herd, Volley, place_of
from demos.rts_lockstep.simulation.integers import Ints, length_above
from demos.rts_lockstep.simulation.sight import Watch
from demos.rts_lockstep.units import (
    ARCHER,
    CAVALRY,
    DAMAGE_PERCENT,
    DEER,
    DEER_BASE,
    FIGHTING,
    GATHERING,
    HILL,
    IDLE,
    INFANTRY,
    NOBODY,
    PROJECTILES_MAX,
    RADIUS,
    RELOAD,
    SIGHT,
    STRENGTH,
    SUB,
    TOWN_CENTRE,
    VILLAGER,
    WALKING,
)

# One looks around every so many turns; a quarter of all in each.
LOOK_TURNS: Final = 4
# Tiles after which a roaming soldier lets somebody go.
LOSE_TILES: Final = 10
ARROW_SPEED: Final = 320
# How near an arrow must come down, beyond the target's radius.
ARROW_NEAR: Final = 110
# From a hill one hits harder those who are not on one: five quarters.
HILL_NUMERATOR: Final = 5
HILL_DENOMINATOR: Final = 4

Flags = np.ndarray[Any, np.dtype[np.bool_]]


def soldiers(crowd: Crowd) -> Flags:
    """Those who fight for a living (towns not among them)."""
    return (crowd.hp > 0) & (crowd.kind >= INFANTRY) & (crowd.kind <= CAVALRY)


def forget_the_gone(crowd: Crowd, herd: Herd) -> None:
    """Nobody goes after what is no longer there, or too far off for one who only roams."""
    unit = (crowd.target >= 0) & (crowd.target < DEER_BASE)
    gone = unit & (crowd.hp[np.where(unit, crowd.target, 0)] == 0)
    if len(herd.x):
        animal = crowd.target >= DEER_BASE
        gone |= animal & (herd.food[np.where(animal, crowd.target - DEER_BASE, 0)] == 0)
    x, y = place_of(crowd.target, crowd, herd)
    far = np.maximum(np.abs(x - crowd.x), np.abs(y - crowd.y)) > LOSE_TILES * SUB
    gone |= (crowd.target >= 0) & (crowd.state == FIGHTING) & (crowd.roam == 1) & far
    crowd.target[gone] = NOBODY
    _return_to_orders(crowd, np.flatnonzero((crowd.state == FIGHTING) & (crowd.target < 0)))


def _return_to_orders(crowd: Crowd, rows: Ints) -> None:
    """Who fought on his way goes on; who was sent to fight stays."""
    roaming = crowd.roam[rows] == 1
    on, stays = rows[roaming], rows[~roaming]
    crowd.state[on] = WALKING
    crowd.stuck[on] = 0
    crowd.state[stays] = IDLE
    crowd.roam[stays] = 1
    crowd.to_x[stays], crowd.to_y[stays] = crowd.x[stays], crowd.y[stays]
    crowd.goal[stays] = crowd.tiles()[stays]


def look_around(crowd: Crowd, turn: int, in_reach: Flags) -> None:
    """Take on the nearest stranger in sight."""
    armed = soldiers(crowd)
    ready = (crowd.roam == 1) & ((crowd.state == IDLE) | (crowd.state == WALKING))
    # In a melee one turns to whoever is nearer than the one that one cannot reach.
    ready |= (crowd.roam == 1) & (crowd.state == FIGHTING) & ~in_reach
    row = np.arange(len(crowd.x), dtype=np.int64)
    towns = (crowd.hp > 0) & (crowd.kind == TOWN_CENTRE)
    ready = (ready & armed & ((row + turn) % LOOK_TURNS == 0)) | (towns & ~in_reach)
    seekers = np.flatnonzero(ready)
    if not len(seekers):
        return
    tiles = crowd.tiles()
    found = np.full(len(seekers), NOBODY, dtype=np.int64)
    for sought in (np.flatnonzero(armed), np.flatnonzero((crowd.hp > 0) & ~armed)):
        still = np.flatnonzero(found < 0)
        who = seekers[still]
        watch = Watch(sought, crowd.owner[sought], tiles[sought], crowd.size)
        found[still] = watch.nearest(who, crowd.owner[who], tiles[who], SIGHT[crowd.kind[who]])
    takes = found >= 0
    crowd.target[seekers[takes]] = found[takes]
    lost = ~takes & towns[seekers]
    crowd.target[seekers[lost]] = NOBODY
    fighters = seekers[takes & ~towns[seekers]]
    crowd.state[fighters] = FIGHTING


def strike(crowd: Crowd, herd: Herd, volley: Volley, ground: Ints, in_reach: Flags) -> tuple[Ints, Ints]:
    """Blows fall and arrows leave: what each unit and each animal suffers at once. `in_reach`: of their targets."""
    harm, deer_harm = np.zeros(len(crowd.x), dtype=np.int64), np.zeros(len(herd.x), dtype=np.int64)
    fights = (crowd.state == FIGHTING) | (crowd.kind == TOWN_CENTRE) | ((crowd.state == GATHERING) & (crowd.job < 0))
    able = fights & in_reach & (crowd.hp > 0) & (crowd.target >= 0) & (crowd.wait == 0)
    rows = np.flatnonzero(able)
    animal = crowd.target[rows] >= DEER_BASE
    if len(herd.x):  # what is down already is food
        down = herd.hp[np.where(animal, crowd.target[rows] - DEER_BASE, 0)] == 0
        rows, animal = rows[~(animal & down)], animal[~(animal & down)]
    if not len(rows):
        return harm, deer_harm
    target = crowd.target[rows]
    victim = np.where(animal, 0, target)
    tiles = crowd.tiles()
    damage = STRENGTH[crowd.kind[rows]] * DAMAGE_PERCENT[crowd.kind[rows], np.where(animal, DEER, crowd.kind[victim])]
    above = ~animal & (ground[tiles[rows]] == HILL) & (ground[tiles[victim]] != HILL)
    damage = np.maximum(np.where(above, damage * HILL_NUMERATOR // HILL_DENOMINATOR, damage) // 100, 1)
    kind = crowd.kind[rows]
    shoots = (kind == ARCHER) | (kind == TOWN_CENTRE) | ((kind == VILLAGER) & animal)
    room = PROJECTILES_MAX - len(volley)
    shoots &= np.cumsum(shoots) <= room
    strikes = ~(shoots | (kind == ARCHER) | (kind == TOWN_CENTRE) | animal)
    np.add.at(harm, target[strikes], damage[strikes])
    acts = shoots | strikes
    crowd.wait[rows[acts]] = RELOAD[kind[acts]]
    _shoot(crowd, herd, volley, rows[shoots], damage[shoots])
    return harm, deer_harm


def _shoot(crowd: Crowd, herd: Herd, volley: Volley, rows: Ints, damage: Ints) -> None:
    target = crowd.target[rows]
    x, y = place_of(target, crowd, herd)
    unit = np.where(target < DEER_BASE, target, 0)
    ticks = length_above(x - crowd.x[rows], y - crowd.y[rows]) // ARROW_SPEED + 1
    x = x + np.where(target < DEER_BASE, crowd.moved_x[unit] * ticks, 0)
    y = y + np.where(target < DEER_BASE, crowd.moved_y[unit] * ticks, 0)
    volley.add(
        x=crowd.x[rows],
        y=crowd.y[rows],
        vx=(x - crowd.x[rows]) // ticks,
        vy=(y - crowd.y[rows]) // ticks,
        ticks=ticks,
        target=target,
        damage=damage,
        owner=crowd.owner[rows],
    )


def fly(crowd: Crowd, herd: Herd, volley: Volley, harm: Ints, deer_harm: Ints) -> None:
    """What is in the air goes on; what comes down near its target adds to the harm."""
    if not len(volley):
        return
    volley.x, volley.y = volley.x + volley.vx, volley.y + volley.vy
    volley.ticks = volley.ticks - 1
    lands = (volley.ticks == 0) & (volley.target >= 0)
    x, y = place_of(volley.target, crowd, herd)
    animal = volley.target >= DEER_BASE
    victim = np.where(animal, 0, np.maximum(volley.target, 0))
    near = ARROW_NEAR + np.where(animal, RADIUS[DEER], RADIUS[crowd.kind[victim]])
    dx, dy = x - volley.x, y - volley.y
    hits = lands & (dx * dx + dy * dy <= near * near)
    np.add.at(harm, volley.target[hits & ~animal], volley.damage[hits & ~animal])
    np.add.at(deer_harm, volley.target[hits & animal] - DEER_BASE, volley.damage[hits & animal])
    volley.keep(volley.ticks > 0)


def suffer(crowd: Crowd, herd: Herd, harm: Ints, deer_harm: Ints) -> None:
    """Take the turn's harm. The towns of those who are out fall with it."""
    crowd.hp = np.maximum(crowd.hp - harm, 0)
    herd.hp = np.maximum(herd.hp - deer_harm, 0)


def bury(crowd: Crowd, volley: Volley, dead: Ints, turn: int) -> None:
    """Free the rows of the dead, and let nobody aim at them: the next one in that row is somebody else."""
    if not len(dead):
        return
    gone = np.zeros(len(crowd.x), dtype=np.bool_)
    gone[dead] = True
    aimed = (crowd.target >= 0) & (crowd.target < DEER_BASE)
    crowd.target[aimed & gone[np.where(aimed, crowd.target, 0)]] = NOBODY
    shot = (volley.target >= 0) & (volley.target < DEER_BASE)
    volley.target[shot & gone[np.where(shot, volley.target, 0)]] = NOBODY
    for name in ("x", "y", "hp", "kind", "owner", "state", "to_x", "to_y", "goal", "roam", "load", "carry", "wait"):
        getattr(crowd, name)[dead] = 0
    crowd.stuck[dead] = 0
    crowd.target[dead] = NOBODY
    crowd.job[dead] = NOBODY
    crowd.freed[dead] = turn
