"""Rules change, recorded matches do not: a log of version 1 plays to its roots under a release of version 2."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rsm
from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.releases.v2 import GameV2, WorldV2
from demos.rts_lockstep.world import World
from rsm.replica.batch import ACTIVATE, FLAG_HASH_POINT, FLAG_UPGRADE, encode_call, join_item
from tests.documents import ROOT
from tests.golden.make_lockstep_log import SOLDIERS, battle
from tests.unit.rts.game_stage import Match

LOG = ROOT / "tests" / "golden" / "lockstep" / "v1.log"


@pytest.mark.parametrize("release", [Game, GameV2])
def test_the_recorded_match_plays_to_its_roots(release: type[Game]) -> None:
    playback = rsm.replay(release, str(LOG))
    played = list(playback)
    assert playback.machine.last_turn > 200
    assert type(playback.machine.world) is World  # by the rules that were in force
    roots = [one for one in played if one.root is not None]
    assert len(roots) > 200
    assert all(one.is_checked for one in roots)


def test_other_rules_would_have_come_to_another_battle() -> None:
    old = rsm.replay(Game, str(LOG))
    old.seek(1 << 30)
    new = Match(2, machine=GameV2, units_max=200, soldiers=SOLDIERS, seed=11)
    battle(new)
    assert old.machine.last_turn == new.standing.turn
    hp = [game.units.read("hp") for game in (old.machine, new.game)]
    assert hp[0].tobytes() != hp[1].tobytes()
    assert all(int((one > 0).sum()) < 2 * (1 + 6 + SOLDIERS) for one in hp)  # in both there was a battle


def test_a_release_that_lies_about_its_version_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    # Version 1 with the rules of version 2, as an edited file would be.
    monkeypatch.setattr(Game, "make_world", GameV2.make_world)
    with pytest.raises(rsm.DivergenceError, match=re.escape(f"{LOG}: index ")):
        list(rsm.replay(Game, str(LOG)))


def test_new_rules_come_into_force_at_one_index_in_the_middle_of_a_battle() -> None:
    match = Match(2, units_max=200, soldiers=SOLDIERS, seed=11)
    match.replica = type(match.replica)(GameV2)  # a release that ships both
    for entry in match.entries:
        match.replica.apply(entry)
    battle(match, turns=60)
    before = match.standing.turn
    assert type(match.game.world) is World
    call = encode_call(ACTIVATE, 1, ["lockstep", 2, GameV2.definition.schema(), b""])
    match.entry([join_item(0, 0, 0, call)], FLAG_UPGRADE | FLAG_HASH_POINT)
    match.machine = GameV2
    assert type(match.game.world) is WorldV2
    assert match.standing.turn == before
    match.turns(20)
    assert match.standing.turn == before + 20
    assert match.replayed().root() == match.replica.root()


def test_the_golden_log_is_small(tmp_path: Path) -> None:
    assert LOG.stat().st_size < 40_000
