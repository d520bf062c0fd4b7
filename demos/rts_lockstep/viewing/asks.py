"""What the page asks for, as orders of the game."""

from __future__ import annotations

from typing import Final

from demos.rts_lockstep.orders import ATTACK, GATHER, MOVE, STOP, TRAIN
from demos.rts_lockstep.records import Say
from demos.rts_lockstep.runs import to_runs
from demos.rts_lockstep.units import DEER_BASE, MAP_SIZE_MAX, NOBODY, SUB, TRAINABLE
from demos.rts_lockstep.viewing.view import Order

NUMBERS: Final = {"move": MOVE, "attack": ATTACK, "gather": GATHER, "stop": STOP, "train": TRAIN}
TOP: Final = MAP_SIZE_MAX * SUB - 1


class Unclear(Exception):
    """An ask that is no order, and why."""


def said_by(ask: Order, units_max: int) -> Say:
    """The order that a click means; `Unclear` if it means none."""
    if ask.order == "train":
        if ask.kind not in TRAINABLE:
            raise Unclear("nobody can train that")
        return Say(TRAIN, target=ask.kind)
    # Animals cannot be commanded, and may be caught in a selection.
    units = [unit for unit in ask.units if 0 <= unit < units_max]
    if not units:
        raise Unclear("no units are selected")
    target = NOBODY if ask.target is None else ask.target
    if not NOBODY <= target < 2 * DEER_BASE:
        raise Unclear("there is no such target")
    x, y = (min(max(place, 0), TOP) for place in (ask.x, ask.y))
    return Say(NUMBERS[ask.order], to_runs(units), x, y, target)
