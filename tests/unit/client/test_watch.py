"""`client.watch(Machine.query, ...)`: the result at once, and again when it changed; the same for an `rsm.open`."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rsm
from tests.client_service import Nodes
from tests.machines import Bank


class Busy(Bank, name="busy", version=1):
    """A query that takes long, and always brings news."""

    looks = 0

    @rsm.query
    def slow(self) -> int:
        time.sleep(0.03)
        Busy.looks += 1
        return Busy.looks


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    made = Nodes(2, Bank)
    yield made
    made.close()


@pytest.fixture(params=["cluster", "directory"])
def bank(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bank]:
    if request.param == "directory":
        with rsm.open(Bank, tmp_path / "bank") as client:
            yield client
        return
    made = Nodes(1, Bank)
    try:
        with rsm.connect(Bank, made.addresses) as client:
            yield client
    finally:
        made.close()


def test_each_change_comes_once(bank: Bank) -> None:
    """The result of now first; what does not change the result brings nothing."""
    watch = bank.watch(Bank.balance, "ann")
    assert next(watch) == 0
    for amount in (1, 2, 3):
        timer = threading.Timer(0.05, lambda amount=amount: (bank.deposit("bob", 5), bank.deposit("ann", amount)))
        timer.start()
        assert next(watch) == amount * (amount + 1) // 2
        timer.join()


def test_what_changed_before_it_is_asked_for_comes_at_once(bank: Bank) -> None:
    """And only as it is now."""
    watch = bank.watch(Bank.balance, who="ann")
    assert next(watch) == 0
    bank.deposit("ann", 1)
    bank.deposit("ann", 1)
    assert next(watch) == 2


def test_it_waits_where_nothing_changes(bank: Bank) -> None:
    """Asking costs next to nothing meanwhile; a close ends it with an error."""
    watch = bank.watch(Bank.balance, "ann")
    assert next(watch) == 0
    found: list[Any] = []

    def run() -> None:
        try:
            found.append(next(watch))
        except rsm.RsmError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    for _ in range(5):
        bank.deposit("bob", 1)
    time.sleep(0.3)
    assert found == []
    assert bank.stats.round_trips < 20
    bank.close()
    thread.join(10)
    assert isinstance(found[0], rsm.Closed)


def test_from_asyncio(bank: Bank) -> None:
    """`async for` over the same."""

    async def follow() -> list[int]:
        seen = []
        async for balance in bank.watch(Bank.balance, "ann"):
            seen.append(balance)
            if balance == 3:
                break
            await bank.deposit.send("ann", 1)
        return seen

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == [0, 1, 2, 3]


def test_a_slow_query_of_a_machine_in_this_process_leaves_commands_their_time(tmp_path: Path) -> None:
    """While it is read no command is applied: however often it brings news, it is not read most of the time."""

    async def follow(watch: Any) -> None:
        for _ in range(8):
            await anext(watch)

    with rsm.open(Busy, tmp_path / "busy") as bank:
        began = time.monotonic()
        watch = bank.watch(Busy.slow)
        assert [next(watch) for _ in range(8)] == list(range(1, 9))
        asyncio.run(follow(bank.watch(Busy.slow)))
        # Sixteen looks, and a rest after each but the last of either.
        assert time.monotonic() - began > 16 * 0.03 + 14 * 0.06


def test_what_cannot_be_watched(bank: Bank) -> None:
    """A generator, a query of another machine, something else."""

    class Other(rsm.StateMachine, name="other", version=1):
        @rsm.query
        def balance(self, who: str) -> int:
            return 0

    with pytest.raises(rsm.CallerError, match="all_balances is a generator"):
        bank.watch(Bank.all_balances)
    for wrong in (Other.balance, "balance", bank.balance):
        with pytest.raises(rsm.CallerError, match="bank has no query"):
            bank.watch(wrong, "ann")  # type: ignore[arg-type]
    with pytest.raises(rsm.InvalidCommand, match="who"):
        bank.watch(Bank.balance)  # type: ignore[call-arg]


def test_it_goes_on_at_another_leader_and_never_back(nodes: Nodes) -> None:
    """The leader goes away while it waits; the one that follows it is asked, and a result it has seen does not come."""
    with rsm.connect(Bank, nodes.addresses) as bank:
        bank.deposit("ann", 1)
        watch = bank.watch(Bank.balance, "ann")
        assert next(watch) == 1

        def change() -> None:
            nodes.lead(1)
            nodes.stop(0)
            bank.deposit("ann", 4)

        timer = threading.Timer(0.2, change)
        timer.start()
        assert next(watch) == 5
        timer.join()
        nodes.start(0)
