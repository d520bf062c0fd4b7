"""What becomes of an observer, and of what it holds, when its process or its surroundings do not behave."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import rsm
from rsm.client.observing.feed_connection import IncomingSnapshot
from rsm.client.observing.healing import Fetch
from rsm.client.observing.record import Record
from rsm.client.tool import Access
from rsm.limits import OBSERVER_HEALS_MAX, OBSERVER_REFUSALS_MAX
from rsm.node.feed.frames import FeedSnapshot, encode_feed
from tests.client_service import Nodes
from tests.observed_bank import Bank, hash_point, planted, until, until_index
from tests.scripted_feed import ScriptedFeed, Subscription, all_of_it


@pytest.fixture
def feed() -> Iterator[ScriptedFeed]:
    """A bank with four entries."""
    made = ScriptedFeed(Bank, all_of_it)
    for amount in range(2):
        made.do("deposit", "ann", 2 * amount)
    yield made
    made.close()


def then(first: Callable[[Subscription], None], times: int) -> Callable[[Subscription], None]:
    """Something so many times, and from then on all of it."""

    def script(subscription: Subscription) -> None:
        (first if len(subscription.feed.asked) <= times else all_of_it)(subscription)

    return script


# --- nodes ------------------------------------------------------------------------------------------------------------


def test_nodes_that_are_busy_for_long_are_waited_for(feed: ScriptedFeed) -> None:
    """A node that has just started may not show its state yet: that is no refusal, however often it says so."""
    times = OBSERVER_REFUSALS_MAX + 2
    feed.script = then(lambda subscription: subscription.error(rsm.Busy("not compared yet", 0.01)), times)
    with rsm.observe(Bank, feed.address, from_index=0) as observer:
        until_index(observer, len(feed.log.entries))
    assert len(feed.asked) == times + 1


def test_the_status_says_why_nothing_comes(feed: ScriptedFeed) -> None:
    """One that has begun waits for a cluster that refuses it, and says so."""
    with rsm.observe(Bank, feed.address, from_index=0) as observer:
        until_index(observer, len(feed.log.entries))
        assert observer.status.error == ""
        feed.script = then(lambda subscription: subscription.error(rsm.CallerError("no role")), 6)
        feed.cut()
        assert observer.next(0.3) is None
        assert observer.status.error == f"{feed.address}: no role"
        index = feed.do("deposit", "ann", 6)
        assert until_index(observer, index)[-1].index == index
        assert observer.status.error == ""


def test_a_node_that_sends_nobody_on_is_named(feed: ScriptedFeed) -> None:
    """Where no node may show its state, the error says of each which one it is."""
    feed.script = lambda subscription: subscription.error(rsm.NotLeader())
    with pytest.raises(rsm.Unreachable, match=f"^{feed.address}: may not show its state now"):
        rsm.observe(Bank, feed.address, timeout_seconds=0.3)


def test_nodes_that_are_wrong_do_not_stop_an_observer_that_is_right(
    nodes: Nodes, bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time the confirmed snapshot proves the observer right, so it has not differed in a row."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        good = hash_point(nodes)
        until_index(observer, good)
        taken = observer._receiver.inbox.take
        monkeypatch.setattr(observer._receiver.inbox, "take", lambda: _with_wrong_roots(taken()))
        before = 0
        for _ in range(OBSERVER_HEALS_MAX + 2):
            bank.deposit("ann", 2)
            bad = hash_point(nodes)
            told = until(observer, lambda update: update.desync and update.desync.verdict != "open")[-1].desync
            assert told is not None
            assert told.verdict == "node"
            assert told.healed_index >= bad
            assert told.good_index == max(before, good)
            before = told.healed_index
        assert observer.status.snapshots == 0


def _with_wrong_roots(received: Any) -> Any:
    if getattr(received, "roots", None):
        return msgspec.structs.replace(received, roots=dict.fromkeys(received.roots, bytes(16)))
    return received


def test_a_node_that_hears_of_no_leader_is_left(nodes: Nodes, bank: Bank) -> None:
    """It lives, and has nothing to say: its observer goes to another one, and back if that is no better."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        until_index(observer, nodes.log.replica.index)
        before = observer.status.address
        nodes.services[nodes.addresses.index(before)].feed_node.is_cut_off = True
        deadline = time.monotonic() + 10
        while observer.status.address == before and time.monotonic() < deadline:
            assert observer.next(0.1) is None
        assert observer.status.address != before
        for service in nodes.services:
            service.feed_node.is_cut_off = True
        assert observer.next(2.5) is None
        assert observer.status.reconnects > 1
        bank.deposit("ann", 2)
        until_index(observer, nodes.log.replica.index)


def test_nodes_that_send_a_healing_to_each_other(feed: ScriptedFeed, tmp_path: Path) -> None:
    """It goes where it is sent, with a rest between, and finds the one that has a snapshot when there is one."""
    other = ScriptedFeed(Bank, lambda subscription: subscription.error(rsm.NotLeader(address=feed.address)))
    feed.script = lambda subscription: subscription.error(rsm.NotLeader(address=other.address))
    fetch = Fetch(Access((feed.address,)), [feed.address], "bank", 4, str(tmp_path / "x"), lambda: None)
    try:
        time.sleep(0.7)
        assert 3 < len(feed.asked) + len(other.asked) < 10
        assert other.asked
    finally:
        fetch.close()
        other.close()


def test_a_release_that_is_missing_for_a_snapshot(nodes: Nodes, bank: Bank) -> None:
    """It cannot be taken in, and what comes behind it is not applied to something else instead."""

    class Later(rsm.StateMachine, name="bank", version=2):
        balances: rsm.Map[str, int]

    bank.deposit("ann", 2)
    for service in nodes.services:
        nodes.do(lambda feed=service.feed_node: feed.compact_to(feed.take()))  # type: ignore[misc]
    bank.deposit("ann", 2)
    with rsm.observe(Later, nodes.addresses) as observer:
        for _ in range(3):
            with pytest.raises(rsm.ReleaseMissing, match="version 1"):
                observer.next(5)
        assert observer.index == 0


# --- the process ------------------------------------------------------------------------------------------------------


def observer_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("rsm-observer")]


def test_one_that_is_forgotten_ends_and_is_told_of(nodes: Nodes, tmp_path: Path) -> None:
    """Its thread, its files, and the lock of its record go with it."""
    path = tmp_path / "record"
    observer = rsm.observe(Bank, nodes.addresses, from_index=0, record=path)
    until_index(observer, nodes.log.replica.index)
    spool = observer._receiver.spool
    alone = [observer]
    del observer
    with pytest.warns(ResourceWarning, match="an observer was not closed"):
        alone.clear()
    gc.collect()
    assert observer_threads() == []
    assert not os.path.exists(spool)
    with rsm.observe(Bank, nodes.addresses, record=path) as observer:
        assert observer.index == nodes.log.replica.index


def test_one_that_was_closed_is_forgotten_in_silence(nodes: Nodes) -> None:
    """Every warning is an error here."""
    observer = rsm.observe(Bank, nodes.addresses, from_index=0)
    observer.close()
    del observer
    gc.collect()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_has_a_closed_one(nodes: Nodes, bank: Bank, tmp_path: Path) -> None:
    """It gets `Closed`, and neither its close nor its end touches what its parent goes on with."""
    with rsm.observe(Bank, nodes.addresses, from_index=0, record=tmp_path / "record") as observer:
        until_index(observer, nodes.log.replica.index)
        child = os.fork()
        if not child:
            code = 1
            try:
                observer.next(5)
            except rsm.Closed:
                observer.close()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 0
        bank.deposit("ann", 2)
        until_index(observer, nodes.log.replica.index)
        assert observer.status.reconnects == 0
        assert os.path.exists(observer._receiver.spool)
        with pytest.raises(rsm.DirectoryInUse):
            rsm.observe(Bank, nodes.addresses, record=tmp_path / "record")


def test_an_interrupt_while_it_waits_harms_nothing(nodes: Nodes, bank: Bank) -> None:
    """Control-C inside `next`; the next one goes on."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        until_index(observer, nodes.log.replica.index)
        timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            observer.next(10)
        timer.join()
        bank.deposit("ann", 2)
        until_index(observer, nodes.log.replica.index)
        assert observer.machine.balance("ann") == 2


def test_waiting_for_ever_may_be_said_in_numbers(nodes: Nodes) -> None:
    """Infinity is no error."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        while observer.index < nodes.log.replica.index:
            assert observer.next(float("inf"))
        threading.Timer(0.2, observer.close).start()
        with pytest.raises(rsm.Closed):
            observer.next(float("inf"))


def test_an_interrupt_while_it_starts_leaves_nothing_open() -> None:
    """Nobody answers, and somebody loses patience."""
    timer = threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        rsm.observe(Bank, "127.0.0.1:9", timeout_seconds=20)
    timer.join()
    assert observer_threads() == []


def test_one_that_has_stopped_does_not_look_finished(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """An iteration ends quietly when the observer is closed, and not when an entry is applied by half."""

    def interrupted(entry: object) -> None:
        raise KeyboardInterrupt

    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        monkeypatch.setattr(observer._following.replica, "apply", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(observer)
        with pytest.raises(rsm.Closed, match="it has stopped: KeyboardInterrupt"):
            list(observer)


def test_closing_waits_for_the_step_of_another_thread(
    nodes: Nodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of a record are not closed under the hands of who writes to them."""
    did: list[str] = []
    writes, close = Record.append, Record.close
    is_writing = threading.Event()

    def slow(record: Record, entries: Any) -> None:
        is_writing.set()
        time.sleep(0.3)
        writes(record, entries)
        did.append("written")

    def closing(record: Record) -> None:
        did.append("closed")
        close(record)

    def close_then() -> None:
        is_writing.wait(10)
        observer.close()

    monkeypatch.setattr(Record, "append", slow)
    monkeypatch.setattr(Record, "close", closing)
    observer = rsm.observe(Bank, nodes.addresses, from_index=0, record=tmp_path / "record")
    thread = threading.Thread(target=close_then)
    thread.start()
    until_index(observer, 1)
    thread.join(10)
    assert did == ["written", "closed"]


# --- disks and records ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", ["__init__", "add"])
def test_a_full_disk_where_a_snapshot_is_to_go(feed: ScriptedFeed, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """No other node does better: whoever waits is told."""

    def full(*_: object) -> None:
        raise rsm.StorageError("/tmp/x: cannot write: the disk is full")

    def script(subscription: Subscription) -> None:
        subscription.send(subscription.feed.head(), encode_feed(FeedSnapshot(4, 100, 0, b"x" * 50)))
        subscription.wait()

    monkeypatch.setattr(IncomingSnapshot, at, full)
    feed.script = script
    with rsm.observe(Bank, feed.address) as observer, pytest.raises(rsm.StorageError, match="the disk is full"):
        observer.next(10)


def test_a_full_disk_where_a_healing_is_to_go(feed: ScriptedFeed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for the snapshot that is to heal a difference."""

    def full(incoming: IncomingSnapshot, part: FeedSnapshot) -> None:
        raise rsm.StorageError("/tmp/x: cannot write: the disk is full")

    def script(subscription: Subscription) -> None:
        if subscription.asked.snapshot:
            subscription.send(subscription.feed.head(), encode_feed(FeedSnapshot(index, 100, 0, b"x" * 50)))
            subscription.wait()
        else:
            all_of_it(subscription)

    monkeypatch.setattr(IncomingSnapshot, "add", full)
    index = feed.do("deposit", "bob", 2, is_hash_point=True)
    feed.script = script
    with planted(), rsm.observe(Bank, feed.address, from_index=0) as observer:
        assert until_index(observer, index)[-1].desync
        with pytest.raises(rsm.StorageError, match="the disk is full"):
            observer.next(10)


@pytest.mark.parametrize("is_healing", [False, True])
def test_a_fault_of_our_own_where_a_snapshot_comes_in(
    feed: ScriptedFeed, monkeypatch: pytest.MonkeyPatch, is_healing: bool
) -> None:
    """Whatever it is, whoever waits is told: no thread ends in silence."""

    def slip(*_: object) -> None:
        raise ZeroDivisionError("a slip")

    def script(subscription: Subscription) -> None:
        if subscription.asked.snapshot:
            subscription.send(subscription.feed.head(), encode_feed(FeedSnapshot(index, 100, 0, b"x" * 50)))
            subscription.wait()
        else:
            all_of_it(subscription)

    monkeypatch.setattr(IncomingSnapshot, "add", slip)
    index = feed.do("deposit", "bob", 2, is_hash_point=True)
    feed.script = script
    with planted(), rsm.observe(Bank, feed.address, from_index=0 if is_healing else None) as observer:
        if is_healing:
            assert until_index(observer, index)[-1].desync
        with pytest.raises(rsm.Closed, match=r"the observer has stopped: .*a slip"):
            observer.next(10)


def test_the_record_of_another_cluster(nodes: Nodes, feed: ScriptedFeed, tmp_path: Path) -> None:
    """Is not gone on with, and nobody waits long to learn it."""
    with rsm.observe(Bank, nodes.addresses, from_index=0, record=tmp_path / "record") as observer:
        until_index(observer, 1)
    feed.cluster_id = b"o" * 16
    with pytest.raises(rsm.CallerError, match=f"is of cluster {feed.cluster_id.hex()}, and not of"):
        rsm.observe(Bank, feed.address, record=tmp_path / "record", timeout_seconds=30)


def test_the_directory_of_a_machine_is_no_record(nodes: Nodes, tmp_path: Path) -> None:
    """Whoever mixes up the two must not have the log of a machine go on behind its back."""
    path = tmp_path / "bank"
    with rsm.open(Bank, path) as bank:
        bank.deposit("ann", 2)
    with pytest.raises(rsm.CallerError, match="is the directory of a machine, and not the record of an observer"):
        rsm.observe(Bank, nodes.addresses, record=path)
    with rsm.open(Bank, path) as bank:
        assert bank.balance("ann") == 2


def test_the_record_of_another_machine(nodes: Nodes, tmp_path: Path) -> None:
    """Or a directory with other files, or one that cannot be: nothing is left open."""

    class Other(rsm.StateMachine, name="other", version=1):
        count: int

    with rsm.open(Other, tmp_path / "other"):
        pass
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("x")
    with pytest.raises(rsm.WrongMachine, match="belongs to machine 'other'"):
        rsm.observe(Bank, nodes.addresses, record=tmp_path / "other")
    with pytest.raises(rsm.CallerError, match=r"holds other files \(letter.txt\)"):
        rsm.observe(Bank, nodes.addresses, record=tmp_path / "full")
    with pytest.raises(rsm.StorageError):
        rsm.observe(Bank, nodes.addresses, record=tmp_path / "full" / "letter.txt" / "record")
    assert observer_threads() == []


def test_a_record_that_is_torn_at_its_end(nodes: Nodes, bank: Bank, tmp_path: Path) -> None:
    """A power cut: what was torn off is cut, and received again."""
    path = tmp_path / "record"
    with rsm.observe(Bank, nodes.addresses, from_index=0, record=path) as observer:
        for amount in range(5):
            bank.deposit("ann", amount)
        until_index(observer, nodes.log.replica.index)
    (segment,) = (path / "log").iterdir()
    data = segment.read_bytes().rstrip(b"\0")
    segment.write_bytes(data[:-3])
    with rsm.observe(Bank, nodes.addresses, record=path) as observer:
        assert observer.index == nodes.log.replica.index - 1
        (update,) = until_index(observer, nodes.log.replica.index)
        assert not update.snapshot
        assert observer.machine.balance("ann") == 10


def test_a_record_that_the_cluster_has_left_behind(nodes: Nodes, bank: Bank, tmp_path: Path) -> None:
    """The log between is gone: a snapshot says so, and the record goes on behind it, also after a restart."""
    path = tmp_path / "record"
    with rsm.observe(Bank, nodes.addresses, from_index=0, record=path) as observer:
        bank.deposit("ann", 2)
        until_index(observer, nodes.log.replica.index)
    for _ in range(5):
        bank.deposit("ann", 2)
    feeds = [service.feed_node for service in nodes.services]
    for one in feeds:
        nodes.do(lambda one=one: one.compact_to(one.take()))  # type: ignore[misc]
    bank.deposit("ann", 2)
    with rsm.observe(Bank, nodes.addresses, record=path) as observer:
        first, second = until_index(observer, nodes.log.replica.index)
        assert (first.snapshot, second.snapshot) == (True, False)
        assert observer.status.skipped == 1
    with rsm.observe(Bank, nodes.addresses, record=path) as observer:
        assert observer.index == nodes.log.replica.index
        assert observer.machine.balance("ann") == 14
        with pytest.raises(rsm.CallerError):
            rsm.observe(Bank, nodes.addresses, record=path, from_index=1)
