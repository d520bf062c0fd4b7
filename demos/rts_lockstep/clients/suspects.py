"""A desync in the words of the game: which unit, which field, where both clients have it, and the line that did it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import rsm
from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.units import DEER_BASE
from demos.rts_lockstep.viewing import view

# The arrays whose rows have a place on the map.
PLACED: Final = ("deer", "units")


class Difference(NamedTuple):
    """One path of the state, with the value that this client had and the one that all others have."""

    path: str
    mine: Any
    theirs: Any


def first_difference(desync: rsm.Desync) -> Difference:
    """The one to show: of an animal or a unit, its place if that differs; whatever there is otherwise."""

    def rank(difference: Difference) -> tuple[int, int]:
        parts = difference.path.split("/")
        is_placed = parts[0] in PLACED and len(parts) == 3
        return (PLACED.index(parts[0]) if is_placed else len(PLACED), 0 if parts[-1] in ("x", "y") else 1)

    found = (Difference(path.path, path.mine, path.theirs) for path in desync.paths)
    return min(found, key=rank, default=Difference("", 0, 0))


def first_line(desync: rsm.Desync) -> str:
    """`file:line` of the first write that differs, or nothing if the client did not trace."""
    return f"{Path(desync.lines[0].file).name}:{desync.lines[0].line}" if desync.lines else ""


def seen_by_page(desync: rsm.Desync, game: Game) -> view.Desync:
    """What the page draws; `game` is healed, so it has the true places."""
    path = first_difference(desync)
    unit, mine, true = -1, (0, 0), (0, 0)
    name, _, rest = path.path.partition("/")
    row, _, _ = rest.partition("/")
    if name in PLACED and row.isdecimal() and int(row) < len(getattr(game, name)):
        array = getattr(game, name)
        differing = {one.path: one.mine for one in desync.paths}
        true = array.get("x", int(row)), array.get("y", int(row))
        own = [differing.get(f"{name}/{row}/{axis}") for axis in ("x", "y")]
        mine = (
            true[0] if not isinstance(own[0], int) else own[0],
            true[1] if not isinstance(own[1], int) else own[1],
        )
        unit = int(row) + (DEER_BASE if name == "deer" else 0)
    return view.Desync(
        index=desync.index,
        path=path.path,
        mine=path.mine if isinstance(path.mine, int) else 0,
        theirs=path.theirs if isinstance(path.theirs, int) else 0,
        unit=unit,
        x=mine[0],
        y=mine[1],
        true_x=true[0],
        true_y=true[1],
        line=first_line(desync),
        turn=game.world.turn,
    )
