"""`rsm.observe`: what an observer tells, over loopback from servers with a real replica behind them."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path

import pytest

import rsm
from rsm.limits import HASH_INTERVAL_ENTRIES
from tests.client_service import Nodes
from tests.observed_bank import Bank, Other, Paid, Warned, until, until_index
from tests.raw_client import until as wait_until


def test_every_entry_comes_once_in_order_and_the_machine_follows(nodes: Nodes, bank: Bank) -> None:
    """From the first entry on: indexes without a gap, events with their identity, the state after each."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        bank.deposit("ann", 2)
        before = until(observer, lambda update: update.events)
        assert observer.machine.balance("ann") == 2
        bank.deposit("ann", 3)
        (update,) = until_index(observer, observer.index + 1)
        assert [one.index for one in [*before, update]] == list(range(1, observer.index + 1))
        assert [event.value for event in update.events] == [Paid("ann", 3), Warned("3 is odd")]
        assert [event.identity for event in update.events] == [(update.index, 0, 0, 0), (update.index, 0, 0, 1)]
        assert update.log_time == nodes.log.replica.system.clock
        assert observer.machine.balance("ann") == 5
        status = observer.status
        assert (status.index, status.address, status.snapshots) == (observer.index, nodes.addresses[0], 0)
        assert status.bytes_in > status.bytes_out > 0
        assert status.round_trips == 2


def test_the_machine_stands_still_between_updates(nodes: Nodes, bank: Bank) -> None:
    """What was received is applied when it is asked for, one entry at a time."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        until(observer, lambda update: update.index == nodes.log.replica.index)
        for _ in range(3):
            bank.deposit("ann", 2)
        time.sleep(0.3)
        assert observer.machine.balance("ann") == 0
        assert [observer.machine.balance("ann") for _ in range(3) if observer.next(5)] == [2, 4, 6]
        with pytest.raises(TypeError, match="deposit is a command"):
            observer.machine.deposit("ann", 1)


def test_roots_are_compared(nodes: Nodes, bank: Bank) -> None:
    """At each hash point the observer's root is that of the node."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        for _ in range(2 * HASH_INTERVAL_ENTRIES):
            bank.deposit("ann", 1)
        updates = until_index(observer, 2 * HASH_INTERVAL_ENTRIES)
        roots = {update.index: update.root for update in updates if update.root is not None}
        assert roots == {index: nodes.log.replica.roots[index] for index in roots}
        assert len(roots) == observer.status.roots_checked == 2


def test_a_snapshot_comes_first_where_the_log_does_not_reach_back(nodes: Nodes, bank: Bank) -> None:
    """The state of now in one update that says so, then entry by entry."""
    for _ in range(HASH_INTERVAL_ENTRIES):
        bank.deposit("ann", 1)
    feed = nodes.services[0].feed_node
    nodes.do(lambda: feed.compact_to(feed.take()))
    with rsm.observe(Bank, nodes.addresses) as observer:
        first = observer.next(10)
        assert first is not None
        assert first.snapshot
        assert first.events == ()
        assert observer.machine.balance("ann") == bank.balance("ann")
        assert first.root == nodes.log.replica.root()
        bank.deposit("ann", 5)
        second = observer.next(10)
        assert second is not None
        assert not second.snapshot
        assert second.index == first.index + 1
        assert observer.status.snapshots == 1
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        first = observer.next(10)
        assert first is not None
        assert first.snapshot
        assert observer.status.skipped == 1


def test_a_time_out_is_none(nodes: Nodes) -> None:
    """`next` waits no longer than it was told."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        until_index(observer, nodes.log.replica.index)
        started = time.monotonic()
        assert observer.next(0.1) is None
        assert 0.1 <= time.monotonic() - started < 2
        assert observer.next(0) is None


def test_closing_ends_an_iteration(nodes: Nodes) -> None:
    """From another thread, while it waits; afterwards the observer says so."""
    observer = rsm.observe(Bank, nodes.addresses, from_index=0)
    threading.Timer(0.2, observer.close).start()
    assert [update.index for update in observer] == [1]
    with pytest.raises(rsm.Closed):
        observer.next(0)
    observer.close()
    names = {thread.name for thread in threading.enumerate()}
    assert "rsm-observer" not in names


def test_from_asyncio(nodes: Nodes, bank: Bank) -> None:
    """Waiting leaves the loop free; `async for` ends when it is closed."""

    async def follow() -> list[int]:
        async with await rsm.observe_async(Bank, nodes.addresses, from_index=0) as observer:
            assert await observer.next_async(5) is not None
            while await observer.next_async(0.2) is not None:
                pass
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.01)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            asyncio.get_running_loop().call_later(0.2, lambda: bank.deposit.send("ann", 2))
            seen = []
            async for _ in observer:
                seen.append(observer.machine.balance("ann"))
                break
            ticking.cancel()
            assert ticks > 5
            await asyncio.to_thread(observer.close)
            assert [update async for update in observer] == []
            return seen

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == [2]


def test_events_only_with_topics(nodes: Nodes, bank: Bank) -> None:
    """Only what was asked for comes, from now on; there is no machine."""
    bank.deposit("ann", 1)
    with rsm.observe(Bank, nodes.addresses, events_only=True, topics=["paid/b", "paid/bob/"]) as nothing:
        with rsm.observe(Bank, nodes.addresses, events_only=True, topics=["paid/bob", "warned"]) as observer:
            for who, amount in [("ann", 2), ("bob", 4), ("ann", 5), ("bob", 7)]:
                bank.deposit(who, amount)
            updates = until(observer, lambda update: update.index == nodes.log.replica.index)
            values = [event.value for update in updates for event in update.events]
            assert values == [Paid("bob", 4), Warned("5 is odd"), Paid("bob", 7), Warned("7 is odd")]
            assert len(updates[-1].events) == 2
            assert not any(update.snapshot for update in updates)
            assert observer.event_number == nodes.log.replica.ring.newest
            with pytest.raises(rsm.CallerError, match="no machine"):
                _ = observer.machine
        assert nothing.next(0.1) is None


def test_a_prefix_of_topics(nodes: Nodes, bank: Bank) -> None:
    """A topic that ends in a stroke stands for all that begin so."""
    with rsm.observe(Bank, nodes.addresses, events_only=True, topics="paid/") as observer:
        for who, amount in [("ann", 1), ("bob", 3)]:
            bank.deposit(who, amount)
        updates = until(observer, lambda update: update.index == nodes.log.replica.index)
        assert [event.value for update in updates for event in update.events] == [Paid("ann", 1), Paid("bob", 3)]


def test_events_go_on_where_an_earlier_observer_stopped(nodes: Nodes, bank: Bank) -> None:
    """By the number of the last event that it has handed out."""
    with rsm.observe(Bank, nodes.addresses, events_only=True, from_index=0) as observer:
        for amount in range(3):
            bank.deposit("ann", 2 * amount)
        assert observer.next(5) is not None
        number = observer.event_number
        assert number == 1
    with rsm.observe(Bank, nodes.addresses, events_only=True, from_index=number) as observer:
        updates = until(observer, lambda update: update.index == nodes.log.replica.index)
        assert [event.value for update in updates for event in update.events] == [Paid("ann", 2), Paid("ann", 4)]


def test_another_machine_is_refused(nodes: Nodes) -> None:
    """At once, with both names."""
    with pytest.raises(rsm.WrongMachine, match="runs 'bank', not 'other'"):
        rsm.observe(Other, nodes.addresses)
    assert not [thread for thread in threading.enumerate() if thread.name == "rsm-observer"]


def test_nobody_there() -> None:
    """The error says what was found at each address."""
    with pytest.raises(rsm.Unreachable, match=r"127.0.0.1:9: cannot be reached.*; 127.0.0.1:10: cannot be reached"):
        rsm.observe(Bank, ["127.0.0.1:9", "127.0.0.1:10"], timeout_seconds=0.5)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"topics": ["a"]}, "topics are for events_only"),
        ({"events_only": True, "trace": True}, "nothing to record or to trace"),
        ({"events_only": True, "record": "x"}, "nothing to record or to trace"),
        ({"from_index": 7}, "needs a record"),
        ({"from_index": -1}, "from_index is an index"),
        ({"timeout_seconds": 0}, "timeout_seconds must be above 0"),
        ({"events_only": True, "topics": [""]}, "topics are at most"),
        ({"principal": "x" * 5000}, "principal is text"),
    ],
)
def test_arguments_that_do_not_fit(options: dict[str, object], says: str) -> None:
    """Before anything is connected."""
    with pytest.raises(rsm.CallerError, match=says):
        rsm.observe(Bank, "127.0.0.1:9", **options)  # type: ignore[arg-type]


def test_a_node_goes_away_and_another_one_takes_over(nodes: Nodes, bank: Bank) -> None:
    """The observer goes on at its index, without a gap or a repeat."""
    with rsm.observe(Bank, nodes.addresses, from_index=0) as observer:
        bank.deposit("ann", 2)
        indexes = [update.index for update in until_index(observer, nodes.log.replica.index)]
        address = observer.status.address
        nodes.stop(nodes.addresses.index(address))
        nodes.lead(1 - nodes.addresses.index(address))
        bank.deposit("ann", 2)
        indexes += [update.index for update in until_index(observer, nodes.log.replica.index)]
        assert indexes == list(range(1, nodes.log.replica.index + 1))
        assert observer.status.address != address
        assert observer.status.reconnects >= 1
        nodes.start(nodes.addresses.index(address))


def test_members_that_are_gone_are_not_asked_for_ever(nodes: Nodes, bank: Bank) -> None:
    """A cluster whose members move leaves an observer with those of today, and the address that it was given."""
    given = nodes.addresses[0]
    with rsm.observe(Bank, given, from_index=0) as observer:
        for number in range(1, 5):
            moved = f"127.0.0.1:{number}"
            for service in nodes.services:
                service.members = [(1, given), (2, moved)]
                nodes.do(service.cut)
            wait_until(lambda moved=moved: moved in observer._receiver.addresses)  # type: ignore[misc]
            assert len(observer._receiver.addresses) <= 3
        bank.deposit("ann", 2)
        until_index(observer, nodes.log.replica.index)


def test_an_observer_of_a_record_goes_on_at_its_index(nodes: Nodes, bank: Bank, tmp_path: Path) -> None:
    """By itself where the record ends, or where it is told, with what the record holds behind that."""
    path = tmp_path / "record"
    for amount in range(5):
        bank.deposit("ann", amount)
    with rsm.observe(Bank, nodes.addresses, from_index=0, record=path) as observer:
        until_index(observer, nodes.log.replica.index)
        index = observer.index
        with pytest.raises(rsm.DirectoryInUse):
            rsm.observe(Bank, nodes.addresses, record=path)
    bank.deposit("ann", 10)
    with rsm.observe(Bank, nodes.addresses, record=path) as observer:
        assert observer.index == index
        assert observer.machine.balance("ann") == 10
        assert [update.index for update in until_index(observer, index + 1)] == [index + 1]
        assert observer.machine.balance("ann") == 20
    with rsm.observe(Bank, nodes.addresses, record=path, from_index=index - 2) as observer:
        assert [update.index for update in until_index(observer, index + 1)] == [index - 1, index, index + 1]
        assert observer.status.snapshots == 0
    with pytest.raises(rsm.CallerError, match=f"ends at index {index + 1}, not at {index + 9}"):
        rsm.observe(Bank, nodes.addresses, record=path, from_index=index + 9)
    with pytest.raises(rsm.WrongMachine):
        rsm.observe(Other, nodes.addresses, record=path)


def test_a_record_is_skipped_forward_too(nodes: Nodes, bank: Bank, tmp_path: Path) -> None:
    """Where no node has the entries any more that follow, the record begins anew behind a snapshot."""
    path = tmp_path / "record"
    with rsm.observe(Bank, nodes.addresses, from_index=0, record=path) as observer:
        until_index(observer, nodes.log.replica.index)
    for amount in range(HASH_INTERVAL_ENTRIES):
        bank.deposit("ann", amount)
    for service in nodes.services:
        nodes.do(lambda feed=service.feed_node: feed.compact_to(feed.take()))  # type: ignore[misc]
    with rsm.observe(Bank, nodes.addresses, record=path) as observer:
        first = observer.next(10)
        assert first is not None
        assert first.snapshot
        bank.deposit("bob", 4)
        until_index(observer, nodes.log.replica.index)
        index = observer.index
    with rsm.observe(Bank, nodes.addresses, record=path) as observer:
        assert observer.index == index
        assert observer.machine.balance("bob") == 4
    with pytest.raises(rsm.CallerError, match="holds no state at index 2"):
        rsm.observe(Bank, nodes.addresses, record=path, from_index=2)
