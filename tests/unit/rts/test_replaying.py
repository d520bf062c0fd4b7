"""A recorded match on the scrubber: back and forth is as straight through; and what cannot be checked is no pass."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest

from demos.rts_lockstep.commands.replaying import Recorded, main
from rsm.node.storage.root_book import ROOTS_SUFFIX
from tests.documents import ROOT

LOG = ROOT / "tests" / "golden" / "lockstep" / "v1.log"
MATCH = ("units", "deer", "projectiles", "players", "match", "ground")


def picture(recorded: Recorded) -> tuple[object, ...]:
    """All that a page could show of the match, and what the rules go on from."""
    game = recorded.playback.machine
    columns = [getattr(game, name).read(column).tobytes() for name in MATCH for column in getattr(game, name).columns]
    return (game.phase, game.last_turn, game.turn_ms, *columns)


def test_scrubbing_back_and_forth_is_playing_straight_through() -> None:
    straight, scrubbed = Recorded(str(LOG)), Recorded(str(LOG))
    played = {}
    for turn in range(straight.first, straight.last + 1):
        one = straight.seek(turn)
        played[turn] = (None if one is None else one.root, picture(straight))
    draw = random.Random(5)
    turns = [draw.randrange(scrubbed.first, scrubbed.last + 1) for _ in range(8)]
    for turn in (scrubbed.last, scrubbed.first, *turns):
        one = scrubbed.seek(turn)
        root, shown = played[turn]
        assert picture(scrubbed) == shown
        if one is not None:
            assert one.root == root
    for turn, place in ((-5, scrubbed.first), (10**9, scrubbed.last)):
        scrubbed.seek(turn)
        assert scrubbed.playback.machine.last_turn == place


def copied(path: Path, data: bytes, *, roots: bool = True) -> Path:
    path.write_bytes(data)
    if roots:
        shutil.copy(f"{LOG}{ROOTS_SUFFIX}", f"{path}{ROOTS_SUFFIX}")
    return path


def test_a_log_that_is_cut_or_has_no_roots_is_no_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = LOG.read_bytes()
    cut = copied(tmp_path / "cut.log", data[: len(data) // 3])
    assert main([str(cut), "--check"]) == 3
    said, complaint = capsys.readouterr()
    assert "all as recorded" in said
    assert "unchecked" in complaint
    assert "torn tail" in complaint
    bare = copied(tmp_path / "bare.log", data, roots=False)
    assert main([str(bare), "--check", "--json"]) == 3
    said, complaint = capsys.readouterr()
    assert json.loads(said)["unchecked"] == [f"{bare}: no roots were recorded with this log"]
    assert main([str(LOG), "--check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["unchecked"] == []


def test_a_log_that_is_damaged_or_of_another_machine_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = bytearray(LOG.read_bytes())
    data[len(data) // 4] ^= 1
    flipped = copied(tmp_path / "flipped.log", bytes(data))
    other = ROOT / "tests" / "golden" / "releases" / "v1.log"
    for path, code, wanted in (
        (flipped, 1, "checksum"),
        (other, 2, "belongs to machine 'exchange'"),
        (tmp_path, 2, "no log here"),
    ):
        assert main([str(path), "--check"]) == code
        said, complaint = capsys.readouterr()
        assert said == ""
        assert wanted in complaint
        assert complaint.count("\n") == 1
