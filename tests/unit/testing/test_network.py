"""The simulated network behaves like TCP: in order or not at all, late when held up, and the same for every run."""

from __future__ import annotations

import random
from typing import Any

import pytest

from rsm.testing.network import CLIENTS_FROM, EventQueue, Network, NetworkProfile, Trace


class World:
    """A network of nodes 1 to 3 and what its nodes were told."""

    def __init__(self, seed: int = 0, profile: NetworkProfile | None = None) -> None:
        self.queue = EventQueue()
        self.got: dict[tuple[int, int], list[Any]] = {}
        self.told: list[tuple[str, int, int]] = []
        self.network = Network(self.queue, random.Random(seed), self, profile or NetworkProfile())
        for node in (1, 2, 3):
            self.network.start(node)
        self.run(1.0)

    def arrived(self, sender: int, receiver: int, message: Any) -> None:
        self.got.setdefault((sender, receiver), []).append((message, self.queue.now))

    def connected(self, node: int, peer: int) -> None:
        self.told.append(("up", node, peer))

    def disconnected(self, node: int, peer: int) -> None:
        self.told.append(("down", node, peer))

    def run(self, seconds: float) -> None:
        until = self.queue.now + seconds
        while self.queue.step(until):
            pass

    def messages(self, sender: int, receiver: int) -> list[Any]:
        return [message for message, _ in self.got.get((sender, receiver), [])]


def test_events_run_in_order_of_time_and_then_of_planning() -> None:
    """The queue is stable, and never runs what is later than it was asked for."""
    queue, seen = EventQueue(), []
    for name, time in (("c", 2.0), ("a", 1.0), ("b", 1.0), ("d", 3.0)):
        queue.at(time, lambda name=name: seen.append(name))  # type: ignore[misc]
    while queue.step(2.5):
        pass
    assert (seen, queue.now) == (["a", "b", "c"], 2.5)


def test_everybody_is_connected_and_messages_arrive_in_order() -> None:
    """What is sent on a connection arrives completely, in order, and not at once."""
    world = World(profile=NetworkProfile(delay_seconds_min=0.01, tail_chance=0.3, tail_seconds=0.5))
    assert {(what, node, peer) for what, node, peer in world.told} == {
        ("up", node, peer) for node in (1, 2, 3) for peer in (1, 2, 3) if node != peer
    }
    start = world.queue.now
    for number in range(200):
        assert world.network.send(1, 2, number)
        world.run(0.001)
    world.run(2.0)
    assert world.messages(1, 2) == list(range(200))
    assert all(time >= start + 0.01 for _, time in world.got[1, 2])


@pytest.mark.parametrize("seed", range(10))
def test_a_cut_loses_a_suffix_of_what_was_on_its_way(seed: int) -> None:
    """After a cut what had arrived stays, the rest is lost; both ends hear of it and then connect again."""
    world = World(seed, NetworkProfile(delay_seconds_min=0.05, delay_seconds_mean=0.05))
    for number in range(50):
        world.network.send(1, 2, number)
        world.run(0.002)
    world.network.cut(1, 2)
    assert world.network.send(1, 2, "into the void")  # nobody has noticed yet
    world.run(2.0)
    arrived = world.messages(1, 2)
    assert arrived == list(range(len(arrived)))
    assert len(arrived) < 50
    assert world.told[-4:].count(("down", 1, 2)) == world.told[-4:].count(("down", 2, 1)) == 1
    assert world.network.send(1, 2, "again")
    world.run(1.0)
    assert world.messages(1, 2)[-1] == "again"
    assert world.network.lost > 0


@pytest.mark.parametrize("seed", range(10))
def test_a_short_block_delays_and_keeps_the_order(seed: int) -> None:
    """A direction that is blocked for a moment holds its bytes; the other direction goes on."""
    world = World(seed, NetworkProfile(stall_seconds_min=5.0, stall_seconds_max=6.0))
    world.network.block([(1, 2)])
    for number in range(20):
        world.network.send(1, 2, number)
        world.network.send(2, 1, number)
        world.run(0.01)
    assert world.messages(1, 2) == []
    assert world.messages(2, 1) == list(range(20))
    world.network.unblock([(1, 2)])
    for number in range(20, 40):
        world.network.send(1, 2, number)
        world.run(0.01)
    world.run(1.0)
    assert world.messages(1, 2) == list(range(40))
    assert ("down", 1, 2) not in world.told


def test_a_long_block_breaks_the_connection_until_both_directions_are_free() -> None:
    """TCP gives up after a while, and a connection needs both directions to come up."""
    world = World()
    world.network.block([(1, 2)])
    world.network.send(1, 2, "held")
    world.run(6.0)
    assert ("down", 1, 2) in world.told
    assert ("down", 2, 1) in world.told
    assert not world.network.send(2, 1, "no connection")
    world.network.unblock([(1, 2)])
    world.run(1.0)
    assert world.network.is_connected(1, 2)
    assert world.messages(1, 2) == []


def test_blocks_add_up() -> None:
    """Of two partitions that overlap, the end of one does not end the other."""
    world = World(profile=NetworkProfile(stall_seconds_min=50.0, stall_seconds_max=60.0))
    world.network.block([(1, 2)])
    world.network.block([(1, 2)])
    world.network.send(1, 2, "held")
    world.network.unblock([(1, 2)])
    world.run(1.0)
    assert world.messages(1, 2) == []
    world.network.unblock([(1, 2)])
    world.run(1.0)
    assert world.messages(1, 2) == ["held"]


def test_a_paused_node_gets_everything_later_and_in_order() -> None:
    """A stopped process keeps its connections; what arrived meanwhile is handed over when it goes on."""
    world = World()
    world.network.pause(2)
    for number in range(10):
        world.network.send(1, 2, number)
    world.run(1.0)
    assert world.messages(1, 2) == []
    world.network.resume(2)
    assert world.messages(1, 2) == list(range(10))
    assert ("down", 1, 2) not in world.told


def test_a_node_that_is_down_hears_nothing_and_is_missed() -> None:
    """Peers hear of the end of a process; it itself starts afresh and is connected again."""
    world = World()
    world.network.send(1, 2, "on its way")
    world.network.stop(2)
    world.run(1.0)
    assert world.messages(1, 2) == []
    assert ("down", 1, 2) in world.told
    assert ("down", 2, 1) not in world.told
    world.network.start(2)
    world.run(1.0)
    assert world.network.is_connected(1, 2)
    assert world.network.is_connected(2, 1)


@pytest.mark.parametrize("seed", range(30))
def test_a_late_notice_does_not_end_a_new_connection(seed: int) -> None:
    """A node that restarts before its peers have heard of its death is connected in both directions afterwards."""
    world = World(seed)
    world.network.stop(2, notice_seconds=1.0)
    world.network.start(2)
    world.run(3.0)
    for peer in (1, 3):
        assert world.network.is_connected(2, peer)
        assert world.network.is_connected(peer, 2)


def test_clients_are_connected_with_nodes_only() -> None:
    """Numbers of clients begin at a bound; they have nothing to say to each other."""
    world = World()
    for client in (CLIENTS_FROM, CLIENTS_FROM + 1):
        world.network.start(client)
    world.run(1.0)
    assert world.network.is_connected(CLIENTS_FROM, 1)
    assert not world.network.is_connected(CLIENTS_FROM, CLIENTS_FROM + 1)


def test_the_trace_tells_runs_apart() -> None:
    """Equal lines give equal hashes; one other number, or another order, gives another."""
    digests = []
    for lines in ([(1.0, "a", 1), (2.0, b"b", 2)], [(1.0, "a", 1), (2.0, b"b", 2)], [(2.0, b"b", 2), (1.0, "a", 1)]):
        trace = Trace()
        for line in lines:
            trace.note(*line)
        digests.append(trace.digest())
    assert digests[0] == digests[1] != digests[2]
    assert len(trace.lines()) == 2
