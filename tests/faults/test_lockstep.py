"""The game on real sockets, in real processes: leader and client die, a deer is out of line, nobody else minds."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

import rsm
from demos.rts_lockstep.clients import planted
from demos.rts_lockstep.clients.player import Player
from demos.rts_lockstep.commands.replaying import Recorded
from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.records import Phase, Told
from demos.rts_lockstep.staging.match import NAMES, Match
from demos.rts_lockstep.units import VILLAGER
from tests.documents import ROOT

# Processes enough for the whole machine: not beside another cluster.
pytestmark = pytest.mark.xdist_group("cluster")

# Machines that test are busy: what takes a second elsewhere may take many there.
PATIENCE_SECONDS = 40.0
STALL_SECONDS_MAX = 10.0


def leader_of(addresses: list[str]) -> int:
    done = subprocess.run(
        [sys.executable, "-m", "rsm", "status", *addresses, "--json"], cwd=ROOT, capture_output=True, check=False
    )
    return int(next(node["node_id"] for node in json.loads(done.stdout)["nodes"] if node.get("role") == "leader"))


def test_leader_and_client_die_in_the_middle_and_all_roots_stay_equal(tmp_path: Path) -> None:
    with Match(tmp_path, 2, nodes=3, soldiers=10, units_max=200, record=True) as match:
        tally = match.tally
        match.until(lambda: tally.turn >= 8, "the match to begin", PATIENCE_SECONDS)

        turn, killed = tally.turn, time.monotonic()
        match.nodes.kill(leader_of(match.nodes.addresses))
        match.until(lambda: tally.turn >= turn + 10, "play to go on", PATIENCE_SECONDS)
        gaps = [b.at - a.at for ran in tally.ran.values() for a, b in pairwise(ran) if b.at > killed]
        assert max(gaps) < STALL_SECONDS_MAX

        gone = NAMES[1]
        before = tally.joined[gone]
        left = time.monotonic()
        match.bots.pop(gone).kill()
        match.start_bot(1, tmp_path / "again")
        match.until(lambda: tally.joined[gone] is not before, "the client to come back", PATIENCE_SECONDS)
        assert tally.joined[gone].player == before.player
        turn = tally.last[NAMES[0]].turn
        match.until(lambda: tally.last[gone].turn >= turn + 8 <= tally.turn, "play to go on", PATIENCE_SECONDS)
        # From a snapshot, and not from the first entry; how old it may be is the node's affair.
        assert next(ran for ran in tally.ran[gone] if ran.at > left + 0.5).is_snapshot
        assert tally.unequal == []
        assert tally.differs == []
        assert tally.refused == []
        assert tally.equal_turns >= 20
        # Beside players anybody may look on, and one who has no token can do no more than that.
        with Player(match.nodes.addresses) as spectator:
            while spectator.machine.last_turn < turn:
                assert spectator.next(PATIENCE_SECONDS) is not None
            refused: list[str] = []
            spectator.order(settled=lambda turn, reason: refused.append(reason))
            assert refused == ["spectators give no orders"]
            with pytest.raises(rsm.Rejected, match="not the token"):
                Player(match.nodes.addresses, "Eve", "guess")
    recorded = Recorded(str(tmp_path / f"client-{NAMES[0].lower()}"))
    assert recorded.last >= turn + 8
    assert recorded.playback.roots_checked >= recorded.last - recorded.first
    # The scrubber: back, and forth again.
    end = recorded.playback.machine.units.read("x").tobytes()
    recorded.seek(5)
    assert recorded.playback.machine.last_turn == 5
    recorded.seek(recorded.last)
    assert recorded.playback.machine.units.read("x").tobytes() == end


def test_the_deer_is_named_and_healed_while_nobody_waits(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "demos.rts_lockstep", "desync", "--bots", "3", "--dir", str(tmp_path / "d"), "--json"],
        cwd=ROOT,
        capture_output=True,
        timeout=150,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    found = json.loads(done.stdout)
    path = f"deer/{planted.DEER_ROW}/x"
    assert found["path"] == path
    assert found["mine"] != found["theirs"]
    assert found["line"].startswith("wildlife.py:"), found
    assert found["command"] == "turn"
    assert found["turns_equal_again"] >= 20
    assert found["checks"]["compared"], found["compare"]
    assert found["compare"]["first_bad_index"] == found["index"]
    assert found["checks"]["named"]


@pytest.mark.soak
def test_a_client_that_hangs_stops_the_match_until_it_is_back(tmp_path: Path) -> None:
    with Match(tmp_path, 2, units_max=150) as match:
        tally, names = match.tally, list(match.bots)
        match.until(lambda: tally.turn >= 3, "the match to begin", PATIENCE_SECONDS)
        match.bots[names[1]].freeze(is_frozen=True)
        missing = match.until(lambda: match.host.standing().missing, "the others to miss it", PATIENCE_SECONDS)
        assert missing == (1,)
        stood = match.host.standing().turn
        time.sleep(1.0)
        assert match.host.standing().turn == stood
        match.bots[names[1]].freeze(is_frozen=False)
        match.until(lambda: tally.turn > stood + 3, "play to go on", PATIENCE_SECONDS)
        told = [event.value.told for event in match.host.events()]
        assert told.count(Told.MISSING) == told.count(Told.RETURNED) == 1
        assert match.host.standing().phase == Phase.RUNNING
        assert tally.unequal == []


def play_on_page(url: str) -> None:
    """Two clicks: one that trains a villager, one that is no order; and turns that come."""
    with connect(f"ws{url.removeprefix('http')}ws", origin=Origin(url.rstrip("/"))) as page:
        said: list[dict[str, Any]] = []
        while not any(one["type"] == "hello" and one["you"] is not None for one in said):
            message = page.recv(PATIENCE_SECONDS / 2)
            said += [json.loads(message)] if isinstance(message, str) else []
        page.send(json.dumps({"type": "order", "click": 7, "order": "train", "units": [], "kind": VILLAGER}))
        page.send(json.dumps({"type": "order", "click": 8, "order": "move", "units": []}))
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not {one["type"] for one in said} >= {"hello", "status", "turn", "ack", "refused"}:
            assert time.monotonic() < deadline, [one for one in said if one["type"] != "turn"]
            message = page.recv(PATIENCE_SECONDS / 2)
            if isinstance(message, str):
                said.append(json.loads(message))
    seats = [one["you"] for one in said if one["type"] == "hello"]
    assert seats[0] is None  # the host sits down when his page is open
    assert seats[-1] in (0, 1)
    turn = next(one for one in said if one["type"] == "turn")["turn"]
    ack = next(one for one in said if one["type"] == "ack")
    assert ack["click"] == 7
    assert ack["turn"] >= turn + 1
    assert next(one for one in said if one["type"] == "refused")["click"] == 8


def test_host_prints_how_to_join_and_leaves_nothing_behind(tmp_path: Path) -> None:
    host = subprocess.Popen(
        [sys.executable, "-m", "demos.rts_lockstep", "host", "--bots", "1", "--port", "0", "--units", "150"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert host.stdout is not None
        assert host.stdout.readline().startswith("map ")
        join = host.stdout.readline()
        assert join.startswith("join it: python -m demos.rts_lockstep join 127.0.0.1:")
        assert "--token " in join
        page = host.stdout.readline()
        assert page.startswith("your page: http://127.0.0.1:")
        assert host.stdout.readline().startswith("you sit down when your page is open, in 60 s at the latest")
        address = join.split()[6]
        with Player(address) as spectator:
            while not spectator.machine.seats:
                assert spectator.next(PATIENCE_SECONDS) is not None
            assert spectator.machine.phase == Phase.LOBBY
            assert {seat.name for seat in spectator.machine.seats.values()} == {NAMES[0]}
            play_on_page(page.split()[2])
            while spectator.machine.phase != Phase.RUNNING:
                assert spectator.next(PATIENCE_SECONDS) is not None
            assert {seat.name for seat in spectator.machine.seats.values()} == {"Host", NAMES[0]}
    finally:
        host.send_signal(signal.SIGTERM)
        _, complaint = host.communicate(timeout=PATIENCE_SECONDS)
    assert host.returncode == 130
    assert "nothing is left running" in complaint
    with pytest.raises(rsm.Unreachable):
        rsm.connect(Game, address, timeout_seconds=0.5)
