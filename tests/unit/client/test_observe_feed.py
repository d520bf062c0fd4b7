"""What an observer does with a feed that does not go as it should: each frame here is made by hand."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rsm
from rsm.client.observing import feed_connection
from rsm.codec.chain import ZERO_CHAIN
from rsm.node.feed.frames import Alive, FeedSnapshot, Skip, encode_events, encode_feed
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.replica.snapshot import parts
from tests.observed_bank import Bank, Paid, until_index
from tests.scripted_feed import ScriptedFeed, Subscription, all_of_it, parts_of

MakeFeed = Callable[[Callable[[Subscription], None]], ScriptedFeed]


@pytest.fixture
def make() -> Iterator[MakeFeed]:
    """Makes feeds of a bank with six entries."""
    made: list[ScriptedFeed] = []

    def make_feed(script: Callable[[Subscription], None]) -> ScriptedFeed:
        feed = ScriptedFeed(Bank, script)
        made.append(feed)
        for amount in range(4):
            feed.do("deposit", "ann", 2 * amount)
        return feed

    yield make_feed
    for feed in made:
        feed.close()


def test_a_lost_frame_is_asked_for_again(make: MakeFeed) -> None:
    """The observer subscribes anew at the entry before the gap; nothing is applied twice, nothing left out."""

    def lossy(subscription: Subscription) -> None:
        feed = subscription.feed
        if subscription.asked.after:
            all_of_it(subscription)
        else:
            subscription.send(feed.head(), feed.entries(1, 2), feed.entries(4, 6))  # 3 is lost on the way
            subscription.wait()

    feed = make(lossy)
    with rsm.observe(Bank, feed.address, from_index=0) as observer:
        assert [update.index for update in until_index(observer, 6)] == [1, 2, 3, 4, 5, 6]
        assert observer.machine.balance("ann") == feed.log.replica.machine.balance("ann")  # type: ignore[attr-defined]
        assert [(asked.after, asked.chain) for asked in feed.asked] == [(0, ZERO_CHAIN), (2, feed.chain(2))]
        assert observer.status.reconnects == 1


def test_a_node_that_leaves_gaps_again_and_again_is_left(make: MakeFeed) -> None:
    """Another one has the entries."""

    def broken(subscription: Subscription) -> None:
        feed = subscription.feed
        subscription.send(feed.head(), feed.entries(4, 6))
        subscription.wait()

    one, two = make(broken), make(all_of_it)
    with rsm.observe(Bank, [one.address, two.address], from_index=0) as observer:
        assert [update.index for update in until_index(observer, 6)] == [1, 2, 3, 4, 5, 6]
        assert observer.status.address == two.address
    assert len(one.asked) == 3


def test_entries_that_were_changed_on_the_way_are_not_applied(make: MakeFeed) -> None:
    """The chain behind a frame is not that of its entries: the frame is not used."""

    def forged(subscription: Subscription) -> None:
        feed = subscription.feed
        if len(feed.asked) == 1:
            subscription.send(feed.head(), feed.entries(1, 6, chain=bytes(16)))
            subscription.wait()
        else:
            all_of_it(subscription)

    feed = make(forged)
    with rsm.observe(Bank, feed.address, from_index=0) as observer:
        assert [update.index for update in until_index(observer, 6)] == [1, 2, 3, 4, 5, 6]
        assert [asked.after for asked in feed.asked] == [0, 0]


def test_what_comes_twice_is_applied_once(make: MakeFeed) -> None:
    """Frames that overlap."""

    def twice(subscription: Subscription) -> None:
        feed = subscription.feed
        subscription.send(feed.head(), feed.entries(1, 4), feed.entries(1, 3), feed.entries(2, 6))
        subscription.wait()

    feed = make(twice)
    with rsm.observe(Bank, feed.address, from_index=0) as observer:
        assert [update.index for update in until_index(observer, 6)] == [1, 2, 3, 4, 5, 6]
        assert len(feed.asked) == 1


def test_a_node_that_falls_silent_is_left(make: MakeFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to say at least that it is alive."""
    monkeypatch.setattr(feed_connection, "FEED_SILENCE_SECONDS_MAX", 0.3)

    def silent(subscription: Subscription) -> None:
        feed = subscription.feed
        subscription.send(feed.head(), feed.entries(1, 3), encode_feed(Alive(3)))
        subscription.wait()

    def lively(subscription: Subscription) -> None:
        feed = subscription.feed
        subscription.send(feed.head(), feed.entries(subscription.asked.after + 1, 6))
        for _ in range(20):
            time.sleep(0.1)
            subscription.send(encode_feed(Alive(6)))

    one, two = make(silent), make(lively)
    with rsm.observe(Bank, [one.address, two.address], from_index=0) as observer:
        assert [update.index for update in until_index(observer, 6)] == [1, 2, 3, 4, 5, 6]
        assert observer.status.applied_index == 6
        assert observer.next(0.8) is None
        assert observer.status.address == two.address
        assert observer.status.reconnects == 1


def test_a_node_that_does_not_catch_up_is_left(make: MakeFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lives, and stands where the observer has been for some time."""
    monkeypatch.setattr("rsm.client.observing.receiving.FEED_SILENCE_SECONDS_MAX", 0.3)

    def stuck(subscription: Subscription) -> None:
        subscription.send(subscription.feed.head())
        for _ in range(50):
            time.sleep(0.1)
            subscription.send(encode_feed(Alive(2)))

    feed, other = (
        make(lambda subscription: subscription.send(subscription.feed.head(), feed.entries(1, 4))),
        make(stuck),
    )
    with rsm.observe(Bank, [feed.address, other.address], from_index=0) as observer:
        until_index(observer, 4)
        feed.script = all_of_it
        until_index(observer, 6)
        assert observer.status.address == feed.address
        assert [asked.after for asked in other.asked] == [4]


def snapshot_of(feed: ScriptedFeed, path: Path) -> tuple[int, bytes]:
    """The file of a snapshot of the log's end."""
    replica = feed.log.replica
    replica.roots.setdefault(replica.index, replica.root())
    files = SnapshotFiles(OsDisk(), str(path))
    with files.begin(replica.index, replica.term) as writer:
        for kind, payload in parts(replica, feed.chain(replica.index)):
            writer.add(kind, payload)
        writer.commit()
    return replica.index, Path(files.path_of(replica.index)).read_bytes()


def test_a_snapshot_in_parts_and_a_skip_forward(make: MakeFeed, tmp_path: Path) -> None:
    """A node that skips says so; its snapshot takes the place of the entries between, and they go on behind it."""

    def skipping(subscription: Subscription) -> None:
        feed = subscription.feed
        subscription.send(feed.head(), feed.entries(1, 2), encode_feed(Skip("too slow")))
        for offset, data in parts_of(file, 500):
            subscription.send(encode_feed(FeedSnapshot(index, len(file), offset, data)))
        feed.do("deposit", "ann", 100)
        subscription.send(encode_feed(Alive(7)), feed.entries(index + 1, index + 1))
        subscription.wait()

    feed = make(skipping)
    index, file = snapshot_of(feed, tmp_path / "snapshots")
    assert len(file) > 1000
    with rsm.observe(Bank, feed.address, from_index=0) as observer:
        updates = until_index(observer, index + 1)
        assert [(update.index, update.snapshot) for update in updates] == [
            (1, False), (2, False), (index, True), (index + 1, False),
        ]  # fmt: skip
        assert updates[-1].event_number == feed.log.replica.ring.newest
        assert observer.machine.balance("ann") == 112
        status = observer.status
        assert (status.skipped, status.snapshots, status.reconnects) == (1, 1, 0)
        spool = observer._receiver.spool
        assert os.listdir(spool) == []
    assert not os.path.exists(spool)


@pytest.mark.parametrize("fault", ["order", "damage", "damage behind the manifest"])
def test_a_snapshot_that_is_damaged_is_asked_for_again(make: MakeFeed, tmp_path: Path, fault: str) -> None:
    """Parts out of order, or bytes that are not those of the file."""

    def faulty(subscription: Subscription) -> None:
        feed = subscription.feed
        subscription.send(feed.head())
        pieces = list(parts_of(file, 500))
        if len(feed.asked) == 1 and fault == "order":
            pieces[1:3] = pieces[2:0:-1]
        elif len(feed.asked) == 1:
            at = 0 if fault == "damage" else len(pieces) - 1
            pieces[at] = (pieces[at][0], bytes(len(pieces[at][1])))
        for offset, data in pieces:
            subscription.send(encode_feed(FeedSnapshot(index, len(file), offset, data)))
        subscription.wait()

    feed = make(faulty)
    index, file = snapshot_of(feed, tmp_path / "snapshots")
    with rsm.observe(Bank, feed.address) as observer:
        assert [(update.index, update.snapshot) for update in until_index(observer, index)] == [(index, True)]
        assert [asked.snapshot for asked in feed.asked] == [True, True]
        assert os.listdir(observer._receiver.spool) == []


def test_another_cluster_at_a_known_address(make: MakeFeed) -> None:
    """A node that comes back as part of another cluster is none of ours."""
    feed = make(lambda subscription: subscription.send(subscription.feed.head(), subscription.feed.entries(1, 3)))
    other = make(all_of_it)
    with rsm.observe(Bank, [feed.address, other.address], from_index=0) as observer:
        other.cluster_id = b"o" * 16
        until_index(observer, 3)
        feed.script = all_of_it
        assert [update.index for update in until_index(observer, 6)] == [4, 5, 6]
        assert observer.status.address == feed.address


def test_a_log_that_parts_from_the_observers_ends_it(make: MakeFeed) -> None:
    """The node says that it has another log: nothing heals that."""

    def parted(subscription: Subscription) -> None:
        feed = subscription.feed
        if subscription.asked.after:
            subscription.error(rsm.DivergenceError("entry 3 is another one here"))
        else:
            subscription.send(feed.head(), feed.entries(1, 3))

    feed = make(parted)
    with rsm.observe(Bank, feed.address, from_index=0) as observer:
        until_index(observer, 3)
        with pytest.raises(rsm.DivergenceError, match="entry 3 is another one here"):
            observer.next(10)


def test_a_node_in_doubt_sends_the_observer_on(make: MakeFeed) -> None:
    """To the address that it names, though nobody told the observer of it."""
    good = make(all_of_it)
    doubting = make(lambda subscription: subscription.error(rsm.NotLeader(address=good.address)))
    with rsm.observe(Bank, doubting.address, from_index=0) as observer:
        until_index(observer, 6)
        assert observer.status.address == good.address


def test_one_that_is_refused_everywhere_is_told(make: MakeFeed) -> None:
    """An error of the caller's making does not go away by asking."""
    feed = make(lambda subscription: subscription.error(rsm.CallerError("certificates of this role observe nothing")))
    with pytest.raises(rsm.CallerError, match="observe nothing"):
        rsm.observe(Bank, feed.address, timeout_seconds=5)


def test_what_is_no_feed_is_not_taken_for_one(make: MakeFeed) -> None:
    """Frames of nonsense end the subscription, and the errors say where."""
    feed = make(lambda subscription: subscription.send(b"\x01"))
    with pytest.raises(rsm.Unreachable, match="a frame of the feed must be"):
        rsm.observe(Bank, feed.address, timeout_seconds=0.3)


def events(feed: ScriptedFeed, first: int, last: int, *numbers: int) -> bytes:
    """A frame of events of these numbers."""
    ring = dict(feed.log.replica.ring.after(0, 1000))
    return encode_events(first, last, ring[last].index, [(number, ring[number]) for number in numbers])


def test_events_are_gapless_too(make: MakeFeed) -> None:
    """Numbers in between may be left out of a list, but not between frames: then they are asked for again."""

    def lossy(subscription: Subscription) -> None:
        feed = subscription.feed
        subscription.send(feed.head())
        if subscription.asked.after == 0:
            subscription.send(events(feed, 1, 2, 2), events(feed, 4, 4, 4))
        else:
            subscription.send(events(feed, 3, 4, 3, 4))
        subscription.wait()

    feed = make(lossy)
    with rsm.observe(Bank, feed.address, from_index=0, events_only=True) as observer:
        updates = until_index(observer, feed.log.replica.index)
        values = [event.value for update in updates for event in update.events]
        assert values == [Paid("ann", 2), Paid("ann", 4), Paid("ann", 6)]
        assert not any(update.snapshot for update in updates)
        assert [(asked.after, asked.mode) for asked in feed.asked] == [(0, 1), (2, 1)]
        assert observer.event_number == updates[-1].event_number == 4


def test_events_that_are_gone_are_told_of(make: MakeFeed) -> None:
    """A skip, and the next update says that something is missing before it."""

    def skipping(subscription: Subscription) -> None:
        feed = subscription.feed
        subscription.send(feed.head(), events(feed, 1, 1, 1), encode_feed(Skip("gone")), events(feed, 4, 4, 4))
        subscription.wait()

    feed = make(skipping)
    with rsm.observe(Bank, feed.address, from_index=0, events_only=True) as observer:
        first, second = until_index(observer, feed.log.replica.index)
        assert (first.snapshot, second.snapshot) == (False, True)
        assert observer.status.skipped == 1


def test_a_release_that_is_not_shipped_here_stops_the_observer(make: MakeFeed) -> None:
    """Nothing is guessed: the error says which version the log goes on under."""

    class Later(rsm.StateMachine, name="bank", version=2):
        balances: rsm.Map[str, int]

    feed = make(all_of_it)
    with rsm.observe(Later, feed.address, from_index=0) as observer:
        for _ in range(2):
            with pytest.raises(rsm.ReleaseMissing, match="under version 1 of 'bank'"):
                observer.next(10)


def test_one_who_does_not_look_holds_up_his_connection_alone(make: MakeFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is received and not used is bounded; the rest waits at the node."""
    monkeypatch.setattr("rsm.client.observing.receiving.OBSERVER_QUEUE_BYTES_MAX", 10_000)
    sent = 0

    def flood(subscription: Subscription) -> None:
        nonlocal sent
        feed = subscription.feed
        subscription.send(feed.head())
        for index in range(1, len(feed.log.entries) + 1):
            subscription.send(feed.entries(index, index))
            sent = index

    feed = make(flood)
    feed.log.now += 1
    for _ in range(300):
        feed.do("deposit", "x" * 60_000, 2)
    last = len(feed.log.entries)
    with rsm.observe(Bank, feed.address, from_index=0) as observer:
        time.sleep(1)
        waiting = sum(size for _, size in observer._receiver.inbox._items)
        assert waiting < 10_000 + 61_000
        assert len(until_index(observer, last, 30)) == last
