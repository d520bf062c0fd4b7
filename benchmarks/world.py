#!/usr/bin/env python3
"""The world of the lockstep game: what a turn costs at 500 and 1,500 units, standing, marching and in battle.

Processor time on one core, of two worlds that are told the same and stay equal: one on plain columns, and one on the
tracked columns of the replicated machine, inside a rollback scope, with the digests of a state root after every turn.
In a battle units fall, so it is measured from the turn on in which the armies meet, and not for long.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from _common import Options, document, median, percentile, progress, run, scratch, show_head, table

from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.orders import ATTACK, MOVE, Order
from demos.rts_lockstep.plain import new_world
from demos.rts_lockstep.units import SUB, VILLAGER
from demos.rts_lockstep.world import World
from rsm.machine.machine import containers_of
from rsm.state.store import Store

PLAYERS = 8
SIZE = 96
# Turns before anything is measured: standing settles a crowd; armies need so long to meet in the middle.
WARM_TURNS = {"idle": 20, "moving": 5, "battle": 100}


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.units = [500, 1500]
        self.rounds = 1 if quick else 5
        self.turns = 60 if quick else 120
        self.seed = 7


class Tracked:
    """The world of a `Game`: what is done to it can be undone, and has a root."""

    def __init__(self) -> None:
        game = Game()
        self.world = game.world
        self._store = Store(containers_of(game))

    def change(self, change: Any) -> list[tuple[str, str, str, bytes]]:
        """One command's worth of change; the digests of all containers."""
        self._store.begin()
        self._store.mark()
        change()
        self._store.end()
        return self._store.digests()


def set_up(world: World, units: int, seed: int) -> None:
    """As many soldiers as there is room for."""
    room = (units - PLAYERS * 8) // PLAYERS
    world.setup(seed, PLAYERS, units, size=SIZE, villagers=6, soldiers=room - 7)


def army(world: World, player: int) -> tuple[int, ...]:
    """A player's soldiers."""
    units = world.units
    mine = (units.read("hp") > 0) & (units.read("owner") == player) & (units.read("kind") != VILLAGER)
    return tuple(np.flatnonzero(mine).tolist())


def orders_of(situation: str, world: World) -> list[Order]:
    """What everybody is told at the beginning."""
    middle = SIZE * SUB // 2
    if situation == "idle":
        return []
    kind = MOVE if situation == "moving" else ATTACK
    return [Order(kind, player, army(world, player), middle, middle) for player in range(PLAYERS)]


def are_equal(one: World, other: World) -> bool:
    """Whether two worlds hold the same units."""
    return all(np.array_equal(one.units.read(name), other.units.read(name)) for name in ("x", "y", "hp", "target"))


def measure_situation(situation: str, units: int, scale: Scale) -> dict[str, Any]:
    """Milliseconds of processor time of each turn, over all rounds."""
    plain_ms: list[float] = []
    tracked_ms: list[float] = []
    fighting = alive = 0
    for number in range(scale.rounds):
        plain, tracked = new_world(), Tracked()
        set_up(plain, units, scale.seed + number)
        tracked.change(lambda tracked=tracked, number=number: set_up(tracked.world, units, scale.seed + number))

        def turn(orders: Sequence[Order] = (), plain: World = plain, tracked: Tracked = tracked) -> tuple[float, float]:
            began = time.process_time()
            plain.step(orders)
            stepped = time.process_time()
            tracked.change(lambda: tracked.world.step(orders))
            return (stepped - began) * 1000, (time.process_time() - stepped) * 1000

        turn(orders_of(situation, plain))
        for _ in range(WARM_TURNS[situation]):
            turn()
        alive += int(np.count_nonzero(plain.units.read("hp"))) + len(plain.deer)
        for _ in range(scale.turns):
            plain_taken, tracked_taken = turn()
            plain_ms.append(plain_taken)
            tracked_ms.append(tracked_taken)
        fighting += int(np.count_nonzero(plain.units.read("target") >= 0))
        if not are_equal(plain, tracked.world):
            raise RuntimeError(f"{units} units, {situation}: the two worlds are not equal")
    return {
        "units_alive": alive // scale.rounds,
        "units_with_target_at_end": fighting // scale.rounds,
        "turns": len(plain_ms),
        "plain_ms_median": median(plain_ms),
        "plain_ms_p99": round(percentile(plain_ms, 0.99), 2),
        "with_root_ms_median": median(tracked_ms),
        "with_root_ms_p99": round(percentile(tracked_ms, 0.99), 2),
        "with_root_ms_max": round(max(tracked_ms), 2),
    }


def measure(options: Options) -> dict[str, Any]:
    """Every situation at every size."""
    scale = Scale(options.quick)
    with scratch(options) as directory:
        result = document("world", options, directory, "none")
    for units in scale.units:
        for situation in WARM_TURNS:
            progress(f"{units} units, {situation}")
            result[f"{situation}_{units}_units"] = measure_situation(situation, units, scale)
    return result


def show(result: dict[str, Any]) -> None:
    """Print the document for people."""
    show_head(result)
    for name, numbers in result.items():
        if isinstance(numbers, dict) and "turns" in numbers:
            table(name.replace("_", " "), list(numbers.items()))


if __name__ == "__main__":
    run("What a turn of the world costs.", measure, show)
