"""A face on a stage: real servers in a thread of their own, and a machine that only the test moves.

with FaceStage(seed=1) as stage:
    stage.trade(500)          # so many commands of the generated flow, in small entries
    stage.ports               # where the servers listen
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeVar

from demos.orderbook.desk import Desk
from demos.orderbook.face.exchange_face import ExchangeFace
from demos.orderbook.face.servers import FaceServers, Ports
from demos.orderbook.flowgen import Flow
from demos.orderbook.keys import base_of, price_of

T = TypeVar("T")
WAIT_SECONDS = 20.0
START_TIME = 1_700_000_000 * 10**9


class DeskMachine:
    """A desk with the queries that a face asks of its machine."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.book = desk.book
        self.market = self.book.market
        self.order = self.book.order
        self.depth = self.book.depth

    @property
    def markets(self) -> Any:
        return self.book.markets

    def resting(self, instrument: int, side: int) -> list[tuple[int, int, int]]:
        book = self.book
        return [
            (order_id, price_of(level), book.orders[order_id].quantity + book.orders[order_id].hidden)
            for level in book.prices.range(base_of(instrument, side), base_of(instrument, side + 1))
            for order_id in book.levels[level]
        ]


class FaceStage:
    """The stage; `entries` are of 1 to `commands_max` commands, `milliseconds` of log time apart."""

    def __init__(self, seed: int, commands_max: int = 8, milliseconds: int = 40) -> None:
        self.flow = Flow(seed)
        self.machine = DeskMachine(self.flow.desk)
        self.face = ExchangeFace()
        self.face.load(self.machine, 0, 0, START_TIME)
        self._steps = self.flow.steps(10**9)
        self._dice = random.Random(seed)
        self._commands_max = commands_max
        self._nanoseconds = milliseconds * 10**6
        self._index = self._told = 0
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._is_ready = threading.Event()
        self._failure: BaseException | None = None
        self.servers: Any = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def ports(self) -> Ports:
        ports: Ports = self.servers.ports
        return ports

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports.http}/"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
        finally:
            self._is_ready.set()
            self._loop.close()

    async def _serve(self) -> None:
        async with FaceServers(self.face) as self.servers:
            self._is_ready.set()
            await self._over.wait()

    def call(self, work: Callable[[], T]) -> T:
        """Do something in the loop's thread."""

        async def run() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(WAIT_SECONDS)

    def trade(self, commands: int) -> None:
        """Trade so many commands, and flush."""
        self.call(lambda: self._trade(commands))

    def _trade(self, commands: int) -> None:
        while commands > 0:
            count = min(commands, self._dice.randint(1, self._commands_max))
            commands -= count
            for _ in range(count):
                next(self._steps)
            self._settle()
        self.servers.hub.flush()

    def skip(self, commands: int) -> None:
        """Trade so many commands that the face is not told of: it gets the state after them, as from a snapshot."""

        def skip() -> None:
            for _ in range(commands):
                next(self._steps)
            self._index += 1
            self._told = len(self.flow.desk.reports)
            self.face.load(self.machine, self._told, self._index, START_TIME + self._index * self._nanoseconds)

        self.call(skip)

    def run(self, principal: str, name: str, *values: Any) -> Any:
        """One command of the test's own, as an entry."""

        def run() -> Any:
            answer = self.flow.desk.run(principal, name, values)
            self._settle()
            self.servers.hub.flush()
            return answer

        return self.call(run)

    def _settle(self) -> None:
        reports = self.flow.desk.reports
        self._index += 1
        time = START_TIME + self._index * self._nanoseconds
        self.face.apply(self.machine, reports[self._told :], len(reports), self._index, time)
        self._told = len(reports)

    def __enter__(self) -> FaceStage:
        self._thread.start()
        self._is_ready.wait(WAIT_SECONDS)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(WAIT_SECONDS)
        if self._failure is not None and error is None:
            raise self._failure
