"""Observers and watchers that behave badly, or want too much: what they cost is bounded, and it is theirs."""

from __future__ import annotations

import itertools
import random
import socket
import time
from typing import Any

import pytest

import rsm
from rsm.node.feed.frames import FeedHead
from rsm.node.feed.observer import Observer
from rsm.node.network import protocol
from rsm.node.network.framing import FrameProtocol
from rsm.node.network.protocol import AnswerStatus
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.node.storage.disk import File
from rsm.replica.answer import decode
from rsm.replica.replica import Replica
from rsm.state.leaf import digest128
from tests.client_service import Nodes
from tests.feed_client import Following, Observing, next_frame
from tests.machines import Everything
from tests.raw_client import Connect, Raw, until

CHANCE = random.Random(7)
OK, ERROR, BUSY = AnswerStatus.OK, AnswerStatus.ERROR, AnswerStatus.BUSY


class Heavy(Everything, name="heavy", version=1):
    """Its queries take long, or give much; each event is of a topic of its own text."""

    spent_seconds = 0.0
    asked_of_topics = 0

    @rsm.query
    def slow(self) -> int:
        began = time.perf_counter()
        time.sleep(0.06)
        Heavy.spent_seconds += time.perf_counter() - began
        return int(self.count)

    @rsm.query
    def big(self, number: int, count: int) -> bytes:
        return number.to_bytes(8, "big") + bytes(count)

    @staticmethod
    def topic_of(event: Any) -> str:
        Heavy.asked_of_topics += 1
        return str(event[0])


MACHINE = Heavy


@pytest.fixture(autouse=True)
def some_entries(nodes: Nodes) -> None:
    """There is something in the log."""
    put(nodes, 10)


def put(nodes: Nodes, count: int, size: int = 10) -> int:
    """Entries with keys of so many characters (0: 60,000, of which lz4 makes nothing); the last index."""
    keys = (f"{number:0{size}}" if size else CHANCE.randbytes(30_000).hex() for number in range(count))
    return nodes.commands("put", ((key, number) for number, key in enumerate(keys)))


def tell(nodes: Nodes, *texts: str) -> int:
    """Events; the number of the last one."""
    nodes.commands("tell", ((text, 1) for text in texts))
    return nodes.log.replica.ring.newest


def watch(raw: Raw, name: str, seen: bytes, *values: Any, milliseconds: int = 3000) -> int:
    return raw.request(protocol.Watch(name, list(values), seen, milliseconds))


# --- subscriptions ----------------------------------------------------------------------------------------------------


def test_subscribing_for_ever_without_reading(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each subscription has a first frame: whoever takes none of them is cut off, as with any other answer."""
    monkeypatch.setattr("rsm.node.feed.feed.FEED_BUFFER_BYTES_MAX", 20_000)
    monkeypatch.setattr("rsm.node.serving.server.SEND_BUFFER_BYTES_MAX", 100_000)
    raw, most = connect(), 0
    connection = next(iter(nodes.server.limiter._established))
    requests = (protocol.Observe(2**60, bytes(16), 0, [], False), protocol.Cancel())
    pairs = b"".join(encode_frame(FrameKind.REQUEST, protocol.encode_request(1, one)) for one in requests) * 500
    for _ in range(200):
        try:
            raw.socket.sendall(pairs)
        except OSError:
            break
        most = max(most, nodes.do(lambda: connection.send_buffer_bytes))
    assert most < 300_000
    until(lambda: nodes.do(lambda: not nodes.server.feed.observers))
    assert not nodes.do(lambda: connection.is_open)


def test_a_snapshot_that_cannot_be_had_is_not_asked_for(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an index that this node has not come to, there is none to be taken yet."""
    monkeypatch.setattr("rsm.node.feed.entries.FEED_SNAPSHOT_WAIT_SECONDS", 0.1)
    nodes.services[0].feed_node.waits = True
    one = Observing(connect(), 2**63 - 1, snapshot=True)
    while one.failure is None:
        one.step()
    assert one.failure[0] == BUSY
    assert nodes.services[0].feed_node.asked == 0


def test_a_snapshot_that_goes_as_it_is_chosen(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one has taken its place, which is sent: nobody is turned away for it."""
    node = nodes.services[0].feed_node
    monkeypatch.setattr("rsm.node.feed.snapshots.FEED_INTERVAL_SECONDS", 3600.0)
    old = nodes.do(node.take)
    assert Observing(connect(), snapshot=True).until(old).snapshots[0][0] == old
    put(nodes, 3)

    def replace() -> int:
        newer = node.take()
        node.files.remove([old])
        return newer

    newer = nodes.do(replace)
    one = Observing(connect(), snapshot=True).until(newer)
    assert [index for index, _ in one.snapshots] == [newer]


def test_a_snapshot_that_cannot_be_opened_is_another_nodes_matter(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that is listed cannot be opened, however often it is looked at."""
    from rsm.errors import StorageError

    node = nodes.services[0].feed_node
    nodes.do(node.take)

    def refuse(index: int) -> File:
        raise StorageError(f"{index}: no such file")

    monkeypatch.setattr(node, "open_snapshot", refuse)
    one = Observing(connect(), snapshot=True)
    while one.failure is None:
        one.step()
    assert one.failure[0] == BUSY


def test_one_that_was_skipped_is_not_skipped_for_the_same_again(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind its snapshot there may be more log than anybody may lag behind: it gets it in its own time."""
    monkeypatch.setattr("rsm.node.feed.entries.FEED_RING_BYTES_MAX", 20_000)
    monkeypatch.setattr("rsm.node.feed.entries.FEED_LAG_BYTES_MAX", 100_000)
    feed = nodes.server.feed
    one = Observing(connect()).until(1)
    until(lambda: nodes.do(lambda: len(feed._log.live)) == 1)
    with monkeypatch.context() as full:
        full.setattr(Observer, "is_full", True)
        full.setattr(Observer, "stalled_seconds", lambda _self, _now, _bytes_min: 0.0)
        put(nodes, 200, 1000)
        nodes.do(nodes.services[0].feed_node.take)
        last = put(nodes, 200, 1000)
    one.until(last)
    assert len(one.skips) == 1
    assert len(one.snapshots) == 1


def test_those_who_stop_in_their_snapshot_keep_it_from_nobody(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many are sent at once: who takes nothing of his is cut off soon where others wait, and they get theirs."""
    monkeypatch.setattr("rsm.node.feed.entries.FEED_SNAPSHOTS_MAX", 2)
    monkeypatch.setattr("rsm.node.feed.feed.FEED_CROWDED_SECONDS_MAX", 0.3)
    monkeypatch.setattr("rsm.node.feed.observer.FEED_BUFFER_BYTES_MAX", 100_000)
    last = put(nodes, 250, 0)
    nodes.do(nodes.services[0].feed_node.take)
    feed = nodes.server.feed
    for _ in range(2):
        stopped = connect()
        stopped.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        Observing(stopped, snapshot=True).step()
    until(lambda: nodes.do(lambda: feed._log.is_crowded and all(one.is_full for one in feed.observers)))
    began = time.monotonic()
    one = Observing(connect(), snapshot=True).until(last)
    assert one.snapshots
    assert nodes.do(lambda: len(feed.observers)) == 1
    assert time.monotonic() - began < 20


def test_those_who_take_a_few_bytes_of_their_snapshot_keep_it_from_nobody(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some progress is not enough to keep the place that others wait for."""
    monkeypatch.setattr("rsm.node.feed.entries.FEED_SNAPSHOTS_MAX", 2)
    monkeypatch.setattr("rsm.node.feed.feed.FEED_CROWDED_SECONDS_MAX", 0.3)
    monkeypatch.setattr("rsm.node.feed.observer.FEED_BUFFER_BYTES_MAX", 100_000)
    waiting, taken = FrameProtocol.send_buffer_bytes.fget, itertools.count()  # type: ignore[attr-defined]

    def trickle(connection: FrameProtocol) -> int:
        """At every look a byte less waits."""
        found: int = waiting(connection)
        return found - next(taken) if found > 100_000 else found

    last = put(nodes, 250, 0)
    nodes.do(nodes.services[0].feed_node.take)
    feed = nodes.server.feed
    for _ in range(2):
        trickling = connect()
        trickling.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        Observing(trickling, snapshot=True).step()
    until(lambda: nodes.do(lambda: feed._log.is_crowded and all(one.is_full for one in feed.observers)))
    monkeypatch.setattr(FrameProtocol, "send_buffer_bytes", property(trickle))
    began = time.monotonic()
    assert Observing(connect(), snapshot=True).until(last).snapshots
    assert time.monotonic() - began < 20


def test_how_long_an_observer_has_taken_too_little() -> None:
    """What counts is what has gone out since it last was enough, and not what has come to it meanwhile."""

    class Connection:
        send_buffer_bytes = 1_000_000

    connection: Any = Connection()
    observer = Observer(connection, 1, 0, 0.0)
    seconds = []
    for now, change in enumerate((0, -4, -4, +4, -6, -1, -9, 0)):
        connection.send_buffer_bytes += change
        seconds.append(observer.stalled_seconds(now, 10))
    assert seconds == [0, 1, 2, 3, 0, 1, 0, 1]
    observer.drained()
    assert observer.stalled_seconds(9.0, 10) == 0


def test_a_failure_of_the_feed_leaves_one_of_each_timer(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Observers begin anew, and their feed is looked after once, and not twice as often from then on."""
    feed = nodes.server.feed
    one = Observing(connect(), 2**60, bytes(16))  # behind for ever
    one.step()
    flush = feed._log.flush

    def fail(until: float) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(feed._log, "flush", fail)
    monkeypatch.setattr(feed._log, "index", 1)
    put(nodes, 1)
    while one.failure is None:
        one.step()
    assert one.failure[0] == BUSY
    monkeypatch.setattr(feed._log, "flush", flush)
    other = Observing(one.raw, 2**60, bytes(16))
    other.step()
    looks: list[float] = []
    step = feed._log.step

    def looked(*what: Any) -> Any:
        looks.append(time.monotonic())
        return step(*what)

    monkeypatch.setattr(feed._log, "step", looked)
    time.sleep(0.5)
    assert 0 < len(looks) <= 0.5 / 0.02 + 3


def test_sending_to_many_leaves_commands_their_time(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a frame takes long to be sent, fewer and longer ones are."""
    feed = nodes.server.feed
    one = Observing(connect()).until(1)
    until(lambda: nodes.do(lambda: len(feed._log.live)) == 1)
    flush, spent = feed._log.flush, [0.0]

    def slow(until: float) -> Any:
        began = time.perf_counter()
        time.sleep(0.05)
        found = flush(until + 0.05)
        spent[0] += time.perf_counter() - began
        return found

    monkeypatch.setattr(feed._log, "flush", slow)
    began = time.perf_counter()
    last = 0
    while time.perf_counter() - began < 1.5:
        last = put(nodes, 1)
    elapsed = time.perf_counter() - began
    assert 0.1 < spent[0] < 0.55 * elapsed
    one.until(last)


@pytest.mark.parametrize("is_log", [True, False])
def test_no_turn_of_the_loop_is_for_observers_alone(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch, is_log: bool
) -> None:
    """However many there are, and however long each takes: some get a frame later, and nobody loses one."""
    raws = [connect() for _ in range(40)]
    logs = [Observing(raw) for raw in raws if is_log]
    events = [Following(raw) for raw in raws if not is_log]
    feed = nodes.server.feed
    until(lambda: nodes.do(lambda: len(feed.observers) == 40 and not feed._behind))
    send, longest = Observer.send, [0.0]

    def slow(observer: Observer, frame: bytes) -> None:
        time.sleep(0.005)
        send(observer, frame)

    flush = feed._flush

    def timed() -> None:
        began = time.perf_counter()
        flush()
        longest[0] = max(longest[0], time.perf_counter() - began)

    monkeypatch.setattr(Observer, "send", slow)
    monkeypatch.setattr(feed, "_flush", timed)
    for number in range(3):
        index, told = put(nodes, 3), tell(nodes, f"text {number}")
        index = nodes.log.replica.index
        for log in logs:
            log.until(index)
        for following in events:
            following.until(told)
    assert 0 < longest[0] < 0.15


# --- many topics ------------------------------------------------------------------------------------------------------


def test_many_topics_are_no_more_work_for_an_event(nodes: Nodes, connect: Connect) -> None:
    """An event is looked up under its topic: who asked for another one costs nothing, however many they are."""
    quiet = [Following(connect(), 0, f"topic {number}", "else/") for number in range(150)]
    told = Following(connect(), 0, "mine"), Following(connect(), 0, "a/b/", "mine"), Following(connect())
    last = tell(nodes, "mine")
    for one in (*quiet, *told):
        one.until(last)
    events = nodes.server.feed._events
    looked: list[str] = []
    for channel in nodes.do(lambda: list(events._channels.values())):
        wants = channel.wants

        def counted(topic: str, wants: Any = wants) -> bool:
            looked.append(topic)
            return bool(wants(topic))

        channel.wants = counted
    last = tell(nodes, "mine", "a/b/c", "a/b", "x", "mine")
    for one in told:
        one.until(last)
    assert [[decode(packed)[0] for _, packed in one.events[1:]] for one in told] == [
        ["mine", "mine"],
        ["mine", "a/b/c", "mine"],
        ["mine", "a/b/c", "a/b", "x", "mine"],
    ]
    assert len(looked) <= 3 * 5


def test_a_long_topic_is_not_taken_apart_for_ever(nodes: Nodes, connect: Connect) -> None:
    """What an event is about may come from a client: only as much of it is looked at as can be asked for."""
    branch, all_of_it = Following(connect(), 0, "/"), Following(connect(), 0, "/" * 255, "x" * 255)
    began = time.perf_counter()
    last = tell(nodes, "/" * 200_000, "x" * 255, "x" * 256)
    assert len(branch.until(last).events) == 1
    assert len(all_of_it.until(last).events) == 2
    assert time.perf_counter() - began < 3


# --- watches ----------------------------------------------------------------------------------------------------------


def test_another_state_at_the_same_index_is_read_anew(nodes: Nodes, connect: Connect) -> None:
    """A node that has healed has another state where it stood before, and no entry may come for long."""
    raw, service = connect(), nodes.services[0]
    watch(raw, "slow", bytes(16))
    _, status, [index, packed] = raw.answer()
    assert (status, decode(packed)) == (OK, 10)
    watch(raw, "slow", digest128(packed))
    until(lambda: nodes.do(lambda: bool(nodes.server.watching._watched)))

    def heal() -> None:
        replica = Replica(Heavy)
        for entry in nodes.log.entries:
            replica.apply(entry)
        replica.store.begin()
        replica.machine.count = 7
        replica.store.end()
        nodes.log.replica = replica
        service.server.swapped()  # type: ignore[union-attr]

    nodes.do(heal)
    _, status, [again, packed] = raw.answer()
    assert (status, again, decode(packed)) == (OK, index, 7)
    watch(raw, "slow", bytes(16))
    assert decode(raw.answer()[2][1]) == 7


def test_an_expensive_query_leaves_commands_their_time(nodes: Nodes, connect: Connect) -> None:
    """However much changes, reading what is watched takes a part of the loop's time, and not all of it."""
    raw = connect()
    Heavy.spent_seconds = 0.0
    began = time.perf_counter()
    watch(raw, "slow", bytes(16))
    told = 0
    while time.perf_counter() - began < 2.0:
        _, status, [_, packed] = raw.answer()
        assert status == OK
        told += packed is not None
        watch(raw, "slow", digest128(packed))
        put(nodes, 1)
    elapsed = time.perf_counter() - began
    assert told > 3
    assert Heavy.spent_seconds < 0.5 * elapsed


def test_what_is_kept_of_results_is_bounded(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand long results are not kept in case somebody asks again; each is told all the same."""
    monkeypatch.setattr("rsm.node.serving.watching.WATCH_BYTES_MAX", 1_000_000, raising=False)
    raws = [connect() for _ in range(3)]
    seen = {}
    for number in range(30):
        raw = raws[number % 3]
        watch(raw, "big", bytes(16), number, 100_000)
        seen[number] = digest128(raw.answer()[2][1])
    watching = nodes.server.watching
    for number in range(30):
        watch(raws[number % 3], "big", seen[number], number, 100_000)
    until(lambda: nodes.do(lambda: sum(len(one.polls) for one in watching._watched.values())) == 30)
    put(nodes, 2)
    time.sleep(0.3)
    assert nodes.do(lambda: sum(len(one.packed or b"") for one in watching._watched.values())) <= 1_100_000
    raw = connect()
    watch(raw, "big", bytes(16), 5, 100_000)
    assert digest128(raw.answer()[2][1]) == seen[5]


def test_long_arguments_count_too(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """What queries are watched with is kept as long as they are."""
    monkeypatch.setattr("rsm.node.serving.watching.WATCH_BYTES_MAX", 200_000, raising=False)
    raw = connect()
    statuses = []
    for number in range(5):
        watch(raw, "word", digest128(b"\xc0"), f"{number:070000}", milliseconds=30_000)
    for _ in range(3):
        statuses.append(raw.answer()[1])
    assert statuses == [BUSY] * 3


def test_a_query_that_raises_says_so_however_often_it_is_asked(nodes: Nodes, connect: Connect) -> None:
    """Also within the moment in which it is not read again."""
    raw = connect()
    for milliseconds in (0, 0, 50, 0):
        watch(raw, "spoil", bytes(16), "scalar", milliseconds=milliseconds)
        _, status, fields = raw.answer()
        assert (status, fields[0]) == (ERROR, "HandlerFailed")


def test_a_query_that_raised_is_read_again(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said before is not said again when the state is another one, however long its client would wait."""
    raw, replica = connect(), nodes.log.replica
    query = replica.query

    def refuse(name: str, values: list[Any]) -> bytes:
        raise RuntimeError(name)

    monkeypatch.setattr(replica, "query", refuse)
    watch(raw, "word", bytes(16), "a")
    assert raw.answer()[1] == ERROR
    monkeypatch.setattr(replica, "query", query)
    put(nodes, 1)
    time.sleep(0.1)
    watch(raw, "word", bytes(16), "a")
    assert raw.answer()[1] == OK


def test_a_node_in_doubt_tells_its_watchers_though_nothing_is_applied(
    nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that was quarantined applies nothing: whoever watches goes elsewhere, and not after half a minute."""
    monkeypatch.setattr("rsm.node.serving.watching.FEED_ALIVE_SECONDS", 0.1, raising=False)
    raw = connect()
    watch(raw, "word", digest128(b"\xc0"), "a", milliseconds=30_000)
    until(lambda: nodes.do(lambda: bool(nodes.server.watching._watched)))
    time.sleep(0.1)
    nodes.do(lambda: setattr(nodes.services[0], "in_doubt", "this node is suspect"))
    assert raw.answer()[1:] == (BUSY, ["this node is suspect", 100])


def test_ids_of_a_subscription_and_of_polls_are_told_apart(nodes: Nodes, connect: Connect) -> None:
    """One request id names one thing, so that a CANCEL ends one."""
    raw = connect()
    poll = watch(raw, "word", digest128(b"\xc0"), "a", milliseconds=30_000)
    raw.request(protocol.Observe(0, b"", 0, [], False), poll)
    refused = next_frame(raw)
    assert isinstance(refused, tuple)
    assert refused[1][0] == "BadBytes"
    other = raw.request(protocol.Observe(2**60, bytes(16), 0, [], False))
    assert isinstance(next_frame(raw), FeedHead)
    raw.request(protocol.Watch("word", ["b"], bytes(16), 0), other)
    refused = next_frame(raw)
    assert isinstance(refused, tuple)
    assert refused[1][0] == "BadBytes"
