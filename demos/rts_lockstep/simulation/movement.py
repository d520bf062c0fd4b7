"""How units move: where each one wants to be, the way there, a step aside for neighbours, and never into water.

A step is what a unit wants plus what its neighbours push, cut to what its legs (and the ground) allow. Neighbours are
found in buckets as wide as two of the largest; those that are too close push each other apart, and a little to the
right, so that two who meet head on pass each other. A step into water loses the part that leads there.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from demos.rts_lockstep.simulation.columns import Crowd, Herd, place_of
from demos.rts_lockstep.simulation.integers import Ints, length_above, shortened
from demos.rts_lockstep.simulation.paths import Paths
from demos.rts_lockstep.units import (
    ARCHER,
    CARRYING,
    DEER,
    DEER_BASE,
    FIGHTING,
    GATHERING,
    IDLE,
    RADIUS,
    REACH,
    SPEED,
    SUB,
    TOWN_CENTRE,
    WALKING,
    table,
)

# Percent of a unit's speed on each kind of ground.
PACE: Final = table((100, 100, 60, 90, 75, 60, 75))
# Tiles over which one looks for a straight line, and places on it that are looked at.
DIRECT_TILES: Final = 12
# From how far villagers throw at animals, take from what is down, work on a tile, and hand in.
THROW_REACH: Final = 1000
TAKE_REACH: Final = 150
WORK_REACH: Final = 236
HAND_IN_REACH: Final = 440
# Archers step back from those who are nearer than this, and reach no further, until they are about to shoot again.
STEP_BACK_REACH: Final = 640
STEP_BACK_WAIT: Final = 4
# Near enough to one's place to stand still.
ARRIVED: Final = 12
# Turns without getting nearer after which one stands still: close to one's place, and anywhere.
STUCK_NEAR: Final = 8
STUCK_ANYWHERE: Final = 150
NEAR_TILES: Final = 4
# Buckets: the sum of the largest radii of two who walk.
BUCKET: Final = 136
# Directions for two in the very same place.
APART_X: Final = table((2, 1, 0, -1, -2, -1, 0, 1))
APART_Y: Final = table((0, 1, 2, 1, 0, -1, -2, -1))

Flags = np.ndarray[Any, np.dtype[np.bool_]]


def destinations(crowd: Crowd, herd: Herd, centres: Ints) -> tuple[Ints, Ints, Ints]:
    """Where each unit wants to be, and how near is near enough; -1 for those who want nothing.

    `centres`: the row of each owner's town centre.
    """
    x, y = crowd.to_x.copy(), crowd.to_y.copy()
    near = np.full(len(x), -1, dtype=np.int64)
    near[crowd.state == WALKING] = 0
    hunting = (crowd.state == GATHERING) & (crowd.job < 0)
    after = ((crowd.state == FIGHTING) | hunting) & (crowd.target >= 0)
    target_x, target_y = place_of(crowd.target, crowd, herd)
    x[after], y[after] = target_x[after], target_y[after]
    animal = crowd.target >= DEER_BASE
    victim = np.where(animal, DEER, crowd.kind[np.where(animal, 0, np.maximum(crowd.target, 0))])
    near[after] = (REACH[crowd.kind] + RADIUS[victim])[after]
    if len(herd.x):
        down = herd.hp[np.where(animal, crowd.target - DEER_BASE, 0)] == 0
        near[after & hunting] = np.where(down, TAKE_REACH, THROW_REACH)[after & hunting]
    working = (crowd.state == GATHERING) & (crowd.job >= 0)
    x[working] = crowd.job[working] % crowd.size * SUB + SUB // 2
    y[working] = crowd.job[working] // crowd.size * SUB + SUB // 2
    near[working] = WORK_REACH
    carrying = crowd.state == CARRYING
    home = centres[crowd.owner[carrying]]
    x[carrying], y[carrying] = crowd.x[home], crowd.y[home]
    near[carrying] = HAND_IN_REACH
    near[(crowd.hp == 0) | (crowd.kind == TOWN_CENTRE)] = -1
    return x, y, near


def within(crowd: Crowd, x: Ints, y: Ints, near: Ints) -> Flags:
    """Who is as near to a place as he wants to be."""
    dx, dy = x - crowd.x, y - crowd.y
    return (near >= 0) & (dx * dx + dy * dy <= near * near)


def walk(crowd: Crowd, paths: Paths, ground: Ints, x: Ints, y: Ints, near: Ints) -> None:
    """Move all units by one turn. `ground`: the tiles' kinds; the rest is from `destinations`."""
    speed = SPEED[crowd.kind] * PACE[ground[crowd.tiles()]] // 100
    going = np.flatnonzero((near >= 0) & ~within(crowd, x, y, near) & (speed > 0))
    want_x = np.zeros(len(crowd.x), dtype=np.int64)
    want_y = np.zeros(len(crowd.x), dtype=np.int64)
    if len(going):
        way_x, way_y = _waypoints(crowd, paths, going, x[going], y[going])
        want_x[going], want_y[going] = shortened(way_x - crowd.x[going], way_y - crowd.y[going], speed[going])
    _keep_away(crowd, speed, x, y, want_x, want_y)
    push_x, push_y = _pushes(crowd)
    busy = (want_x != 0) | (want_y != 0)
    step_x, step_y = shortened(want_x + push_x, want_y + push_y, np.where(busy, speed, speed // 2))
    crowd.x, crowd.y, crowd.moved_x, crowd.moved_y = stepped(crowd.x, crowd.y, step_x, step_y, paths)
    _arrive(crowd, want_x, want_y)


def stepped(x: Ints, y: Ints, step_x: Ints, step_y: Ints, paths: Paths) -> tuple[Ints, Ints, Ints, Ints]:
    """New places, and the steps that were taken: without the part that leads into water or off the map."""
    most = paths.size * SUB - 1
    next_x, next_y = np.clip(x + step_x, 0, most), np.clip(y + step_y, 0, most)
    dry, size = paths.dry, paths.size
    both = dry[next_y // SUB * size + next_x // SUB]
    along_x = ~both & dry[y // SUB * size + next_x // SUB]
    along_y = ~both & ~along_x & dry[next_y // SUB * size + x // SUB]
    next_x, next_y = np.where(both | along_x, next_x, x), np.where(both | along_y, next_y, y)
    return next_x, next_y, next_x - x, next_y - y


def _keep_away(crowd: Crowd, speed: Ints, x: Ints, y: Ints, want_x: Ints, want_y: Ints) -> None:
    """Archers who have shot step back from whom they shoot at, if he is close and must come to them."""
    rows = np.flatnonzero((crowd.kind == ARCHER) & (crowd.state == FIGHTING) & (crowd.wait >= STEP_BACK_WAIT))
    victim = crowd.target[rows]
    rows = rows[(victim >= 0) & (victim < DEER_BASE) & (REACH[crowd.kind[victim % len(crowd.x)]] < STEP_BACK_REACH)]
    dx, dy = crowd.x[rows] - x[rows], crowd.y[rows] - y[rows]
    near = dx * dx + dy * dy < STEP_BACK_REACH * STEP_BACK_REACH
    rows, length = rows[near], length_above(dx[near], dy[near])
    want_x[rows] = np.sign(dx[near]) * (np.abs(dx[near]) * speed[rows] // length)
    want_y[rows] = np.sign(dy[near]) * (np.abs(dy[near]) * speed[rows] // length)


def _waypoints(crowd: Crowd, paths: Paths, going: Ints, x: Ints, y: Ints) -> tuple[Ints, Ints]:
    """The next place to walk to, for those who go to (x, y): the place itself where nothing lies between."""
    size = paths.size
    here_x, here_y = crowd.x[going], crowd.y[going]
    dx, dy = x - here_x, y - here_y
    far = np.maximum(np.abs(dx), np.abs(dy)) > DIRECT_TILES * SUB
    free = np.zeros(len(going), dtype=np.bool_)
    close = np.flatnonzero(~far)
    part = np.arange(1, DIRECT_TILES + 1, dtype=np.int64)
    line_x = here_x[close, None] + dx[close, None] * part // DIRECT_TILES
    line_y = here_y[close, None] + dy[close, None] * part // DIRECT_TILES
    free[close] = paths.dry[line_y // SUB * size + line_x // SUB].all(axis=1)
    # Those who were held up try the field instead.
    free &= (crowd.stuck[going] < STUCK_NEAR) | (np.abs(dx) + np.abs(dy) < NEAR_TILES * SUB)
    led = np.flatnonzero(~free)
    if not len(led):
        return x, y
    there = y[led] // SUB * size + x[led] // SUB
    goal = np.where(crowd.state[going[led]] == WALKING, crowd.goal[going[led]], there)
    # Whom one follows over a long way is near a place that many others have, too.
    loose = far[led] & (crowd.state[going[led]] != WALKING)
    goal = np.where(loose, paths.meeting[goal], goal)
    tile = here_y[led] // SUB * size + here_x[led] // SUB
    heading = paths.headings(goal, tile)
    through = (heading != goal) & (heading != tile)
    way_x, way_y = x.copy(), y.copy()
    way_x[led] = np.where(through, heading % size * SUB + SUB // 2, x[led])
    way_y[led] = np.where(through, heading // size * SUB + SUB // 2, y[led])
    return way_x, way_y


def _pushes(crowd: Crowd) -> tuple[Ints, Ints]:
    """How neighbours push each other."""
    push_x = np.zeros(len(crowd.x), dtype=np.int64)
    push_y = np.zeros(len(crowd.x), dtype=np.int64)
    walkers = np.flatnonzero((crowd.hp > 0) & (crowd.kind != TOWN_CENTRE))
    _push_from_centres(crowd, walkers, push_x, push_y)
    if len(walkers) < 2:
        return push_x, push_y
    one, other = _neighbours(crowd, walkers)
    dx, dy = crowd.x[one] - crowd.x[other], crowd.y[one] - crowd.y[other]
    apart = RADIUS[crowd.kind[one]] + RADIUS[crowd.kind[other]]
    close = np.flatnonzero(dx * dx + dy * dy < apart * apart)
    one, other, dx, dy, apart = one[close], other[close], dx[close], dy[close], apart[close]
    same = np.flatnonzero((dx == 0) & (dy == 0))
    chance = (one[same] * 5 + other[same] * 3) & 7
    dx[same], dy[same] = APART_X[chance], APART_Y[chance]
    length = length_above(dx, dy)
    force = np.maximum(apart - length, 0) // 2 + 2
    passing = (crowd.state[one] != crowd.state[other]) | (crowd.owner[one] != crowd.owner[other])
    side = np.where(passing, 2, 0)
    force_x = (dx + dy * side // 4) * force // length
    force_y = (dy - dx * side // 4) * force // length
    np.add.at(push_x, one, force_x)
    np.add.at(push_y, one, force_y)
    np.subtract.at(push_x, other, force_x)
    np.subtract.at(push_y, other, force_y)
    return push_x, push_y


def _push_from_centres(crowd: Crowd, walkers: Ints, push_x: Ints, push_y: Ints) -> None:
    """Nobody rests inside a town centre."""
    idle = walkers[crowd.state[walkers] == IDLE]
    for centre in np.flatnonzero((crowd.hp > 0) & (crowd.kind == TOWN_CENTRE)).tolist():
        dx, dy = crowd.x[idle] - crowd.x[centre], crowd.y[idle] - crowd.y[centre]
        inside = dx * dx + dy * dy < int(RADIUS[TOWN_CENTRE]) ** 2
        length = length_above(dx[inside], dy[inside])
        push_x[idle[inside]] += (dx[inside] * 2 + 1) * SUB // length
        push_y[idle[inside]] += dy[inside] * SUB // length


def _neighbours(crowd: Crowd, walkers: Ints) -> tuple[Ints, Ints]:
    """All pairs of units in the same bucket or in ones side by side, each pair once."""
    width = crowd.size * SUB // BUCKET + 3
    bucket = (crowd.y[walkers] // BUCKET + 1) * width + crowd.x[walkers] // BUCKET + 1
    order = np.argsort(bucket, kind="stable")
    rows, bucket = walkers[order], bucket[order]
    number = np.arange(len(rows), dtype=np.int64)
    # The rest of one's own bucket and the one to the right lie side by side; so do the three below.
    first = np.concatenate((number + 1, np.searchsorted(bucket, bucket + width - 1, side="left")))
    behind = np.concatenate(
        (np.searchsorted(bucket, bucket + 1, side="right"), np.searchsorted(bucket, bucket + width + 1, side="right"))
    )
    count = behind - first
    one = np.repeat(np.concatenate((number, number)), count)
    start = np.repeat(first - (np.cumsum(count) - count), count)
    return rows[one], rows[start + np.arange(len(one), dtype=np.int64)]


def _arrive(crowd: Crowd, want_x: Ints, want_y: Ints) -> None:
    """Who walks and has come to his place, or cannot get there, stands still."""
    wanted = want_x * want_x + want_y * want_y
    got = want_x * crowd.moved_x + want_y * crowd.moved_y
    crowd.stuck = np.where(
        wanted == 0, 0, np.where(got * 2 < wanted, np.minimum(crowd.stuck + 1, 255), np.maximum(crowd.stuck - 2, 0))
    )
    dx, dy = crowd.to_x - crowd.x, crowd.to_y - crowd.y
    distance = np.maximum(np.abs(dx), np.abs(dy))
    done = (crowd.state == WALKING) & (
        (distance <= ARRIVED)
        | ((crowd.stuck >= STUCK_NEAR) & (distance <= NEAR_TILES * SUB))
        | (crowd.stuck >= STUCK_ANYWHERE)
    )
    crowd.state[done] = IDLE
    crowd.roam[done] = 1
