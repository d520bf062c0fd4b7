"""What observers cost: a slow one its buffer, a lost one a snapshot, too many of them an answer; and no gap untold."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest

from rsm.codec.cbor import encode
from rsm.node.feed.frames import FeedHead
from rsm.node.network import protocol
from rsm.node.network.protocol import AnswerStatus
from rsm.node.network.wire import FrameKind
from tests.client_service import Nodes
from tests.feed_client import Observing, next_frame, restored
from tests.machines import Everything, contents
from tests.raw_client import Connect, Raw, until

CHANCE = random.Random(5)


def write(nodes: Nodes, count: int, size: int = 60_000) -> int:
    """Entries that lz4 makes nothing of; the last index."""
    return nodes.commands("put", ((CHANCE.randbytes(size // 2).hex(), number) for number in range(count)))


def live(nodes: Nodes) -> int:
    return int(nodes.do(lambda: len(nodes.server.feed._log.live)))


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_a_snapshot_first_then_what_follows(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file comes whole, though in parts, and the state in it with the entries behind it is the node's."""
    monkeypatch.setattr("rsm.node.feed.snapshots.FEED_SNAPSHOT_PART_BYTES", 1000)
    write(nodes, 20, 1000)
    index = nodes.do(nodes.services[0].feed_node.take)
    one = Observing(connect(), snapshot=True)
    last = write(nodes, 5, 1000)
    one.until(last)
    ((at, file),) = one.snapshots
    assert at == index
    replica = restored(Everything, at, file)
    for entry in one.entries:
        replica.apply(entry)
    assert contents(replica) == contents(nodes.log.replica)
    assert replica.root() == nodes.log.replica.root()
    assert not one.skips


def test_one_that_is_too_old_is_not_sent(nodes: Nodes, connect: Connect) -> None:
    """Applying has taken long since the last snapshot: a new one is taken, once for all who ask."""
    service = nodes.services[0]
    old = nodes.do(service.feed_node.take)
    last = write(nodes, 5)
    nodes.do(lambda: nodes.server.feed._supply.applied(last, is_hash_point=True, seconds=0.6))
    observers = [Observing(connect(), snapshot=True) for _ in range(5)]
    for one in observers:
        one.until(last)
        assert [index for index, _ in one.snapshots] == [last] != [old]
    assert service.feed_node.asked == 1


def test_a_cheap_tail_needs_no_new_one(nodes: Nodes, connect: Connect) -> None:
    """What was applied since is done soon: the snapshot that is there is sent."""
    service = nodes.services[0]
    old = nodes.do(service.feed_node.take)
    last = write(nodes, 5)
    nodes.do(lambda: nodes.server.feed._supply.applied(last, is_hash_point=False, seconds=0.4))
    one = Observing(connect(), snapshot=True).until(last)
    assert [index for index, _ in one.snapshots] == [old]
    assert len(one.entries) == last - old
    assert not service.feed_node.asked


def test_not_older_than_what_the_observer_has(nodes: Nodes, connect: Connect) -> None:
    """Who wants to compare a state gets a snapshot of that index or a later one."""
    service = nodes.services[0]
    nodes.do(service.feed_node.take)
    last = write(nodes, 5)
    one = Observing(connect(), last, snapshot=True)
    one.index = 0
    one.until(last)
    assert [index for index, _ in one.snapshots] == [last]


def test_where_no_snapshot_comes(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one is better than none, the whole log as good, and who needs a new one is sent to the leader."""
    monkeypatch.setattr("rsm.node.feed.entries.FEED_SNAPSHOT_WAIT_SECONDS", 0.2)
    service = nodes.services[0]
    service.feed_node.waits = True
    last = write(nodes, 5)
    nodes.do(lambda: nodes.server.feed._supply.applied(last, is_hash_point=False, seconds=9.0))
    one = Observing(connect(), snapshot=True).until(last)
    assert (len(one.entries), one.snapshots) == (last, [])
    other = Observing(connect(), last, snapshot=True)
    while other.failure is None:
        other.step()
    assert other.failure[0] == AnswerStatus.BUSY
    nodes.do(lambda: setattr(service, "leader", (9, "127.0.0.1:9")))
    other = Observing(connect(), last, snapshot=True)
    while other.failure is None:
        other.step()
    assert other.failure == (AnswerStatus.REDIRECT, ["127.0.0.1:9"])
    old = nodes.do(service.feed_node.take)
    last = write(nodes, 5)
    nodes.do(lambda: nodes.server.feed._supply.applied(last, is_hash_point=False, seconds=9.0))
    one = Observing(connect(), snapshot=True).until(last)
    assert [index for index, _ in one.snapshots] == [old]


def test_a_log_that_does_not_reach_back(nodes: Nodes, connect: Connect) -> None:
    """Whoever asks for entries that are gone is told so, and begins again with a snapshot."""
    service = nodes.services[0]
    write(nodes, 10, 1000)
    chain = service.feed_node.chain_at(3)
    index = nodes.do(service.feed_node.take)
    last = write(nodes, 10, 1000)
    nodes.do(lambda: service.feed_node.compact_to(index - 1))
    for one in (Observing(connect()), Observing(connect(), 3, chain)):
        one.until(last)
        assert len(one.skips) == 1
        assert f"begins at index {index}" in one.skips[0]
        assert [at for at, _ in one.snapshots] == [index]
        assert one.entries == nodes.log.entries[index:]


# --- the slow ---------------------------------------------------------------------------------------------------------


def narrow(connection: Raw) -> Raw:
    """Its kernel takes little on its behalf."""
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    return connection


def test_one_that_stops_costs_its_buffer_and_no_other_a_gap(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets nothing more while its buffer is full; the others get all; when it reads again it has no gap either."""
    monkeypatch.setattr("rsm.node.feed.entries.FEED_RING_BYTES_MAX", 2_000_000)
    slow, quick = Observing(narrow(connect())), Observing(connect())
    slow.until(1)
    quick.until(1)
    until(lambda: live(nodes) == 2)
    buffers = []
    for _ in range(15):
        quick.until(write(nodes, 20))
        buffers.append(nodes.do(lambda: max(one.connection.send_buffer_bytes for one in nodes.server.feed.observers)))
    assert live(nodes) == 1
    assert 1_000_000 < max(buffers) < 1_500_000
    ring = nodes.do(lambda: sum(len(frame) for _, frame in nodes.server.feed._log._ring.frames.values()))
    assert ring < 2_000_000
    slow.until(quick.index)
    assert slow.entries == quick.entries == nodes.log.entries
    assert not slow.skips
    until(lambda: live(nodes) == 2)


def test_one_that_is_too_far_behind_is_skipped(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told so, gets a newer snapshot, and goes on from there; who takes his time at first is not hurried."""
    monkeypatch.setattr("rsm.node.feed.entries.FEED_RING_BYTES_MAX", 1_000_000)
    monkeypatch.setattr("rsm.node.feed.entries.FEED_LAG_BYTES_MAX", 3_000_000)
    slow = Observing(narrow(connect())).until(1)
    until(lambda: live(nodes) == 1)
    write(nodes, 300)
    nodes.do(nodes.services[0].feed_node.take)
    last = write(nodes, 3)
    late = Observing(connect()).until(last)
    assert late.entries == nodes.log.entries
    slow.until(last)
    assert len(slow.skips) == 1
    assert "bytes of log behind" in slow.skips[0]
    ((index, file),) = slow.snapshots
    replica = restored(Everything, index, file)
    for entry in slow.entries:
        if entry.index > index:
            replica.apply(entry)
    assert replica.root() == nodes.log.replica.root()
    assert nodes.do(lambda: nodes.server.feed.skips_total) == 1


def test_one_that_takes_nothing_at_all_is_cut_off(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while without any progress; one that reads slowly stays."""
    monkeypatch.setattr("rsm.node.feed.feed.FEED_STALL_SECONDS_MAX", 0.5)
    slow, stopped = Observing(narrow(connect())).until(1), Observing(narrow(connect())).until(1)
    last = write(nodes, 200)
    stopped_one = next(
        one for one in nodes.server.feed.observers if one.connection.remote.endswith(f":{port(stopped.raw)}")
    )
    for _ in range(3000):
        slow.step()
        if nodes.do(lambda: stopped_one not in nodes.server.feed.observers):
            break
    else:
        pytest.fail("it was not cut off")
    slow.until(last)
    assert slow.entries == nodes.log.entries


def port(connection: Raw) -> int:
    return int(connection.socket.getsockname()[1])


def test_many_entries_at_once_are_not_held_in_memory(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was applied while the loop could not turn is read from the log: nothing is kept beyond the bound."""
    monkeypatch.setattr("rsm.node.feed.entries.FEED_RING_BYTES_MAX", 500_000)
    one = Observing(connect()).until(1)
    until(lambda: live(nodes) == 1)
    held = []

    def burst() -> int:
        log = nodes.log
        session = log.open("", 60)
        for number in range(30):
            log.run(session, "put", CHANCE.randbytes(30_000).hex(), number)
            held.append(nodes.server.feed._log._gathered_bytes)
        return log.replica.index

    one.until(nodes.do(burst))
    assert one.entries == nodes.log.entries
    assert max(held) <= 500_000 + 61_000


def test_so_many_observers_and_no_more(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is told to come again, and may when another one has gone."""
    monkeypatch.setattr("rsm.node.feed.feed.OBSERVERS_MAX", 2)
    first, raw = connect(), connect()
    Observing(first).until(1)
    Observing(connect()).until(1)
    raw.request(protocol.Observe(0, b"", 0, [], False))
    refused = next_frame(raw)
    assert isinstance(refused, tuple)
    assert refused[0] == AnswerStatus.BUSY
    first.socket.close()
    until(lambda: nodes.do(lambda: len(nodes.server.feed.observers)) == 1)
    raw.request(protocol.Observe(0, b"", 0, [], False))
    assert isinstance(next_frame(raw), FeedHead)


@pytest.mark.parametrize(
    "fields",
    [
        [17, 1, 0, b"", 2, [], False],
        [17, 1, -1, b"", 0, [], False],
        [17, 1, 0, bytes(17), 0, [], False],
        [17, 1, 0, b"", 1, ["x"] * 65, False],
        [17, 1, 0, b"", 1, [""], False],
        [18, 1, "word", [], b"", 0],
        [18, 1, "word", [], bytes(16), 31_000],
    ],
)
def test_what_no_client_of_ours_sends(nodes: Nodes, connect: Connect, fields: list[Any]) -> None:
    """Each is answered with what is wrong."""
    raw = connect()
    raw.send(FrameKind.REQUEST, encode(fields))
    refused = next_frame(raw)
    assert isinstance(refused, tuple)
    assert (refused[0], refused[1][0]) == (AnswerStatus.ERROR, "BadBytes")
