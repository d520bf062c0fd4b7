"""What goes wrong round a match: its host is killed, two play under one name, the cluster is gone for a while."""

from __future__ import annotations

import contextlib
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

import rsm
from demos.rts_lockstep.clients.desk import Desk
from demos.rts_lockstep.clients.player import ORDERS_UNANSWERED_MAX, Player
from demos.rts_lockstep.machine import Game, digest
from demos.rts_lockstep.records import Phase
from demos.rts_lockstep.staging.nodes import Nodes
from tests.documents import ROOT

# Processes enough for the whole machine: not beside another cluster.
pytestmark = pytest.mark.xdist_group("cluster")

PATIENCE_SECONDS = 40.0
TOKEN = "open sesame"


@contextlib.contextmanager
def cluster(directory: Path) -> Iterator[tuple[Nodes, Any]]:
    """One node with a match of two on it, and its host."""
    with Nodes(directory, 1) as nodes, nodes.wait(Game) as host:
        host.open_game(digest(TOKEN), 7, 2, 150, 0, size=48)
        yield nodes, host


def until(is_so: Callable[[], Any], *players: Player) -> Any:
    """Play on until that."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := is_so()):
        assert time.monotonic() < deadline
        for player in players:
            player.next(0.02)
        time.sleep(0.02)
    return found


def answers(address: str) -> bool:
    """Whether a node serves there."""
    try:
        rsm.connect(Game, address, timeout_seconds=0.5).close()
    except rsm.Unreachable:
        return False
    except TimeoutError:
        return True  # it does not serve any more, but it is there
    return True


@contextlib.contextmanager
def hosted(directory: Path) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The `host` command and the words of the first three lines that it prints."""
    arguments = ["--bots", "1", "--port", "0", "--units", "150", "--size", "48", "--dir", str(directory)]
    command = [sys.executable, "-m", "demos.rts_lockstep", "host", *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
        try:
            assert host.stdout is not None
            yield host, [host.stdout.readline() for _ in range(3)]
        finally:
            host.send_signal(signal.SIGTERM)
            host.communicate(timeout=PATIENCE_SECONDS)


@pytest.mark.soak
def test_a_host_that_was_killed_leaves_nothing_running_and_goes_on_in_its_directory(tmp_path: Path) -> None:
    """The same token, addresses, seats and world, after a SIGKILL; and meanwhile no node that nobody minds."""
    with hosted(tmp_path / "match") as (host, (_, join, page)):
        address, url = join.split()[6], page.split()[2]
        # The host sits down when his page is open, and at once where the match has begun.
        opened = connect(f"ws{url.removeprefix('http')}ws", origin=Origin(url.rstrip("/")))
        with Player(address) as spectator, opened:
            until(lambda: spectator.machine.last_turn >= 4, spectator)
            turn, seed = spectator.machine.last_turn, spectator.machine.match.get("seed", 0)
        host.kill()
        host.wait(PATIENCE_SECONDS)
        until(lambda: not answers(address))
    with hosted(tmp_path / "match") as (_, (first, again, _)):
        assert again == join
        assert "goes on after turn" in first
        with Player(address) as spectator:
            until(lambda: spectator.machine.last_turn >= turn + 4, spectator)
            assert spectator.machine.match.get("seed", 0) == seed
            assert len(spectator.machine.seats) == 2


@pytest.mark.soak
def test_of_two_clients_with_one_name_the_newer_one_plays(tmp_path: Path) -> None:
    """The older one hears it, and looks on: taking the seat back, and again, would end nothing."""
    with (
        cluster(tmp_path) as (nodes, host),
        Player(nodes.addresses, "Ann", TOKEN) as older,
        Player(nodes.addresses, "Bob", TOKEN) as bob,
    ):
        until(lambda: older.machine.last_turn >= 2, older, bob)
        with Player(nodes.addresses, "Ann", TOKEN) as newer:
            assert newer.number == older.number
            told: queue.Queue[str] = queue.Queue()
            older.order(settled=lambda turn, reason: told.put(reason))
            assert "taken from elsewhere" in told.get(timeout=PATIENCE_SECONDS)
            until(lambda: older.number is None, older, bob, newer)
            turn = host.standing().turn
            until(lambda: newer.machine.last_turn >= turn + 30, older, bob, newer)
            accepted: queue.Queue[int | None] = queue.Queue()
            newer.order(settled=lambda turn, reason: accepted.put(turn))
            assert accepted.get(timeout=PATIENCE_SECONDS)
            assert host.standing().missing == ()


def test_who_cannot_play_takes_no_seat_and_whose_match_is_away_is_not_held_up(tmp_path: Path) -> None:
    """A record of another match, and clicks that no node answers: each is said, and costs nobody anything."""
    with cluster(tmp_path / "one") as (nodes, _), Player(nodes.addresses, record=tmp_path / "record") as spectator:
        until(lambda: spectator.machine.phase == Phase.LOBBY, spectator)
    with cluster(tmp_path / "two") as (nodes, host):
        with pytest.raises(rsm.CallerError, match="is of cluster"):
            Player(nodes.addresses, "Ann", TOKEN, record=tmp_path / "record")
        assert [host.seat(number) for number in (0, 1)] == [None, None]
        with Player(nodes.addresses, "Ann", TOKEN) as ann:
            (process,) = (node.process for node in nodes.nodes)
            assert process is not None
            process.send_signal(signal.SIGSTOP)
            told: queue.Queue[str] = queue.Queue()
            try:
                for _ in range(3 * ORDERS_UNANSWERED_MAX):
                    ann.order(settled=lambda turn, reason: told.put(reason))
                assert "are not answered yet" in told.get(timeout=1)
                assert told.qsize() + 1 >= 2 * ORDERS_UNANSWERED_MAX
            finally:
                process.send_signal(signal.SIGCONT)


def test_a_page_says_that_the_match_cannot_be_reached_and_goes_on_with_it(tmp_path: Path) -> None:
    """The cluster is gone for a while: the page says so, the client waits, and plays on when it is back."""
    with (
        cluster(tmp_path) as (nodes, _),
        Player(nodes.addresses, "Ann", TOKEN) as ann,
        Player(nodes.addresses, "Bob", TOKEN) as bob,
    ):
        until(lambda: ann.machine.phase == Phase.RUNNING and ann.machine.last_turn >= 2, ann, bob)
        notes: list[str] = []
        is_over = threading.Event()
        with Desk(ann, title="") as desk:
            desk.viewer.publish_status = lambda status: notes.append(status.note)  # type: ignore[method-assign]
            playing = threading.Thread(target=desk.run, args=(is_over.is_set,))
            playing.start()
            try:
                turn = ann.machine.last_turn
                nodes.kill(1)
                until(lambda: any("cannot be reached" in note for note in notes), bob)
                until(lambda: ann.machine.last_turn >= turn + 4, bob)
                assert notes[-1] == ""
            finally:
                is_over.set()
                playing.join(PATIENCE_SECONDS)
