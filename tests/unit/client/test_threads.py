"""Many threads and event loops on one client: order, time-outs, closing in the middle; nobody waits for ever."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.limits import COMMANDS_IN_FLIGHT_MAX
from tests.machines import Bank


class Slow(rsm.StateMachine, name="slow", version=1):
    """A machine that waits when it is told to: real time, which no machine should look at."""

    order: rsm.Queue[tuple[int, int]]

    @rsm.command()
    def note(self, ctx: rsm.Context, who: int, number: int) -> int:
        return self.order.push((who, number))

    @rsm.command()
    def block(self, ctx: rsm.Context, gate: int) -> int:
        GATES[gate].wait(20)
        return gate

    @rsm.query
    def all(self) -> list[tuple[int, int]]:
        return list(self.order)

    @rsm.query
    def stream(self) -> Iterator[tuple[int, int]]:
        yield from self.order


GATES: dict[int, threading.Event] = {}


@pytest.fixture
def slow(tmp_path: Path) -> Iterator[Any]:
    """A client of the slow machine; the gates open in the end."""
    GATES[0] = threading.Event()
    GATES[1] = threading.Event()
    client: Any = rsm.open(Slow, tmp_path / "slow")
    yield client
    for gate in GATES.values():
        gate.set()
    client.close()


def test_threads_and_loops_share_one_client(slow: Any) -> None:
    """Each sender's commands take effect in the order in which it sent them, whoever else sends."""
    errors: list[BaseException] = []

    def send(who: int) -> None:
        try:
            session = slow if who % 2 else slow.session()
            pending = [session.note.send(who, number) for number in range(200)]
            for one in reversed(pending):
                one.result(20)
            assert len(list(session.stream())) >= 200
        except BaseException as error:
            errors.append(error)

    def send_async(who: int) -> None:
        async def run() -> None:
            pending = [slow.note.send(who, number) for number in range(200)]
            await asyncio.gather(*[_await(one) for one in pending])
            async with slow.pipeline() as steps:
                steps.note(who, 200)

        try:
            asyncio.run(run())
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=send, args=(who,)) for who in range(6)]
    threads += [threading.Thread(target=send_async, args=(who,)) for who in range(6, 9)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(interval)
    assert errors == []
    seen = slow.all()
    assert len(seen) == 9 * 200 + 3
    for who in range(9):
        numbers = [number for sender, number in seen if sender == who]
        assert numbers == sorted(numbers)


async def _await(pending: rsm.Pending[Any]) -> Any:
    return await pending


def test_a_time_out_leaves_the_command_on_its_way(slow: Any) -> None:
    """TimeoutError says so; the answer can be waited for again, by many, and comes; odd time-outs are no errors."""
    blocked = slow.block.send(0)
    behind = slow.note.send(1, 1)
    for timeout in (0, 0.01, -1, -0.5):
        with pytest.raises(TimeoutError, match="may still take effect"):
            behind.result(timeout)
    assert not behind.done()
    results: list[int] = []
    threads = [threading.Thread(target=lambda: results.append(behind.result(1e10))) for _ in range(8)]
    for thread in threads:
        thread.start()
    GATES[0].set()
    for thread in threads:
        thread.join(10)
    assert results == [0] * 8
    assert blocked.result(float("inf")) == 0
    assert behind.done()
    assert behind.result(0) == 0


def test_two_first_waiters_are_both_woken(slow: Any) -> None:
    """Threads that begin to wait for one answer at the same moment must all get it."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for round_number in range(200):
            pending = slow.note.send(0, round_number)
            barrier = threading.Barrier(3)

            def wait(pending: Any = pending, barrier: threading.Barrier = barrier) -> None:
                barrier.wait()
                pending.result(10)

            threads = [threading.Thread(target=wait) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(10)
                assert not thread.is_alive()
    finally:
        sys.setswitchinterval(interval)


def test_an_event_loop_that_is_gone_disturbs_nobody(slow: Any) -> None:
    """A task that was cancelled, in a loop that was closed, before its answer came: the machine goes on."""

    async def give_up() -> None:
        slow.block.send(0)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(_await(slow.note.send(1, 1)), 0.01)
        task = asyncio.ensure_future(_await(slow.note.send(1, 2)))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(give_up())
    GATES[0].set()
    slow.note(1, 3)
    assert slow.all() == [(1, 1), (1, 2), (1, 3)]


def test_a_full_queue_makes_threads_wait_and_loops_busy(slow: Any) -> None:
    """COMMANDS_IN_FLIGHT_MAX holds: an event loop is told at once, a thread waits until there is room."""
    slow.block.send(0)
    time.sleep(0.05)
    waiting = [slow.note.send(0, number) for number in range(COMMANDS_IN_FLIGHT_MAX)]

    async def send() -> None:
        with pytest.raises(rsm.Busy) as caught:
            slow.note.send(1, 1)
        assert caught.value.retry_seconds > 0

    asyncio.run(send())
    sent: list[int] = []
    thread = threading.Thread(target=lambda: sent.append(slow.note(2, 2)))
    thread.start()
    thread.join(0.15)
    assert thread.is_alive()
    GATES[0].set()
    thread.join(20)
    assert sent == [COMMANDS_IN_FLIGHT_MAX]
    assert waiting[-1].result(20) == COMMANDS_IN_FLIGHT_MAX - 1


def test_a_queue_of_large_commands_is_bounded_in_bytes(tmp_path: Path) -> None:
    """BYTES_IN_FLIGHT_MAX holds too: a few large commands fill the queue, and it empties again."""
    gate = threading.Event()

    class Large(rsm.StateMachine, name="large", version=1):
        @rsm.command()
        def block(self, ctx: rsm.Context) -> None:
            gate.wait(20)

        @rsm.command()
        def take(self, ctx: rsm.Context, blob: bytes) -> int:
            return len(blob)

    async def send() -> list[Any]:
        pending: list[Any] = []
        with contextlib.suppress(rsm.Busy):
            while len(pending) < COMMANDS_IN_FLIGHT_MAX:
                pending.append(client.take.send(bytes(1_000_000)))
        return pending

    client: Any = rsm.open(Large, tmp_path / "m", durability="os")
    client.block.send()
    time.sleep(0.05)
    pending = asyncio.run(send())
    assert 60 <= len(pending) <= 67
    gate.set()
    assert [one.result(20) for one in pending] == [1_000_000] * len(pending)
    assert client.take(bytes(10)) == 10
    client.close()


def test_an_interrupt_while_opening_leaves_the_directory_free(tmp_path: Path) -> None:
    """Ctrl-C during a long replay: KeyboardInterrupt at once, nothing locked, nothing lost."""

    class Lazy(rsm.StateMachine, name="lazy", version=1):
        count: int

        @rsm.command()
        def nap(self, ctx: rsm.Context) -> int:
            time.sleep(0.02)
            self.count += 1
            return self.count

    with rsm.open(Lazy, tmp_path / "m") as lazy:
        for _ in range(30):
            lazy.nap()
    timer = threading.Timer(0.1, lambda: signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT))
    timer.start()
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        rsm.open(Lazy, tmp_path / "m")
    assert time.monotonic() - started < 0.5
    timer.join()
    with rsm.open(Lazy, tmp_path / "m") as lazy:
        assert lazy.nap() == 31


def test_closing_in_the_middle_ends_every_pending(tmp_path: Path) -> None:
    """Commands sent before are answered; later ones get an error; close() comes back although senders never stop."""
    client: Any = rsm.open(Bank, tmp_path / "m")
    pending: list[Any] = []
    stops: list[BaseException] = []

    def send(who: str) -> None:
        try:
            while True:
                pending.append(client.deposit.send(who, 1))
        except BaseException as error:
            stops.append(error)

    threads = [threading.Thread(target=send, args=(f"t{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(0.1)
    closers = [threading.Thread(target=client.close) for _ in range(3)]
    for closer in closers:
        closer.start()
    for closer in closers:
        closer.join(30)
        assert not closer.is_alive()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    assert [type(stop) for stop in stops] == [rsm.Closed] * 3
    answered = 0
    for one in pending:
        assert one.done()
        try:
            one.result(0)
            answered += 1
        except rsm.Closed:
            pass
    with rsm.open(Bank, tmp_path / "m") as bank:
        assert sum(value for _, value in bank.all_balances()) == answered > 0


def test_after_closing_everything_says_so(tmp_path: Path) -> None:
    """Commands, queries, events, sessions, snapshots: Closed, at once; closing again is no error."""
    client: Any = rsm.open(Bank, tmp_path / "m")
    other = client.session()
    stream = client.all_balances()
    client.close()
    client.close()
    other.close()
    for call in (
        lambda: client.deposit("a", 1),
        lambda: client.deposit.send("a", 1),
        lambda: other.deposit("a", 1),
        lambda: client.balance("a"),
        lambda: client.all_balances(),
        lambda: list(client.events()),
        client.snapshot,
        client.session,
        lambda: client.outcome("k"),
    ):
        with pytest.raises(rsm.Closed):
            call()
    assert list(stream) == []
    with client:
        pass


def test_a_failure_inside_the_block_is_the_one_that_is_told(tmp_path: Path) -> None:
    """Leaving the block closes, whatever was raised in it; the exception stays what it was."""
    with pytest.raises(KeyError), rsm.open(Bank, tmp_path / "m") as bank:
        raise KeyError
    with pytest.raises(rsm.Closed):
        bank.deposit("a", 1)
    with rsm.open(Bank, tmp_path / "m") as bank:
        bank.deposit("a", 1)


def test_asyncio_from_opening_to_closing(tmp_path: Path) -> None:
    """`open_async`, `async with`, awaited commands, events as they come."""

    async def run() -> None:
        async with await rsm.open_async(Bank, tmp_path / "m", principal="ann") as bank:
            assert await bank.deposit.send("a", 1) == 1
            pending = bank.deposit.send("a", 1)
            assert [await pending, await pending] == [2, 2]
            with pytest.raises(rsm.InvalidCommand):
                bank.deposit.send("a", "1")  # type: ignore[arg-type]
        with pytest.raises(rsm.Closed):
            bank.deposit.send("a", 1)

    asyncio.run(run())


def test_opening_that_nobody_waits_for_leaves_nothing_open(tmp_path: Path) -> None:
    """A task cancelled while it opens a machine must not leave the directory locked."""

    async def run(delay: float) -> None:
        task = asyncio.ensure_future(rsm.open_async(Bank, tmp_path / "m"))
        await asyncio.sleep(delay)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    for delay in (0, 0.001, 0.002, 0.004):
        asyncio.run(run(delay))
        deadline = time.monotonic() + 5
        while True:
            try:
                rsm.open(Bank, tmp_path / "m").close()
                break
            except rsm.DirectoryInUse:
                assert time.monotonic() < deadline
                time.sleep(0.01)


def test_recovery_does_not_depend_on_the_callers_thread(tmp_path: Path) -> None:
    """A deep stack or a decimal context of the caller's would make a replay differ from the first run."""
    import decimal

    class Third(rsm.StateMachine, name="third", version=1):
        digits: str
        depth: int

        @rsm.command()
        def divide(self, ctx: rsm.Context) -> str:
            self.digits = str(decimal.Decimal(1) / decimal.Decimal(3))
            self.depth = descend(700)
            return self.digits

    def descend(levels: int) -> int:
        return 0 if levels == 0 else 1 + descend(levels - 1)

    with rsm.open(Third, tmp_path / "m") as third:
        third.divide()

    def reopen(levels: int) -> None:
        if levels:
            reopen(levels - 1)
            return
        with decimal.localcontext() as context:
            context.prec = 5
            with rsm.open(Third, tmp_path / "m") as third:
                assert third.divide() == str(decimal.DefaultContext.divide(decimal.Decimal(1), decimal.Decimal(3)))

    reopen(500)
