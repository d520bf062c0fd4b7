#!/usr/bin/env python3
"""Writes the golden log of the lockstep game's first rules: tests/golden/lockstep/v1.log, with the roots beside it.

    python tests/golden/make_lockstep_log.py

It is written once, when these rules are released, and never again: what it says is what that release did. So a file
that exists is left alone; delete it first if rules that nobody has played yet are still to change.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from demos.rts_lockstep.orders import ATTACK, GATHER, MOVE, TRAIN  # noqa: E402
from demos.rts_lockstep.records import Say  # noqa: E402
from demos.rts_lockstep.units import ARCHER, TOWN_CENTRE, VILLAGER  # noqa: E402
from rsm.node.storage.disk import OsDisk  # noqa: E402
from rsm.node.storage.root_book import BOOK_NAME, ROOTS_SUFFIX, RootBook  # noqa: E402
from tests.replay_stage import write_segment  # noqa: E402
from tests.unit.rts.game_stage import Match  # noqa: E402

PATH = ROOT / "tests" / "golden" / "lockstep" / "v1.log"
TURNS = 200
SOLDIERS = 18


def battle(match: Match, turns: int = TURNS) -> None:
    """Two armies meet in the middle, and a village works."""
    centre = match.game.world.size * 256 // 2
    match.turns(3)
    for name in ("ann", "bob"):
        player = match.number(name)
        units = match.game.units
        own = [row for row in range(len(units)) if units.get("hp", row) and units.get("owner", row) == player]
        army = [row for row in own if units.get("kind", row) not in (VILLAGER, TOWN_CENTRE)]
        village = [row for row in own if units.get("kind", row) == VILLAGER]
        home = units.get("x", own[0]), units.get("y", own[0])
        match.say(name, 3, Say(ATTACK, (army[0], len(army)), centre, centre, group=1), round_trip_ms=60, frame_ms=9)
        match.say(name, 3, Say(GATHER, (village[0], len(village)), *home), Say(TRAIN, target=ARCHER))
    match.turns(turns)
    match.say("ann", match.standing.turn, Say(MOVE, (), centre + 900, centre - 700, group=1))
    match.turns(10)


def main() -> int:
    """Write it."""
    if PATH.exists():
        print(f"{PATH.relative_to(ROOT)} exists", file=sys.stderr)
        return 1
    PATH.parent.mkdir(exist_ok=True)
    match = Match(2, units_max=200, soldiers=SOLDIERS, seed=11)
    battle(match)
    write_segment(PATH, match.entries)
    book = RootBook(OsDisk(), str(PATH.parent))
    for applied in match.applied:
        if applied.root is not None:
            book.note(applied.index, applied.root)
    book.close()
    (PATH.parent / BOOK_NAME).rename(f"{PATH}{ROOTS_SUFFIX}")
    roots = sum(applied.root is not None for applied in match.applied)
    print(f"{PATH.relative_to(ROOT)}: {len(match.entries)} entries, {roots} roots, {PATH.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
