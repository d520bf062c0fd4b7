"""Clients that write and read while a cluster is harmed, and the judgement of what they were told.

Every client is a thread with a connection of its own, and makes one call at a time; each call goes into a history with
the times of its begin and its end. Appends carry an idempotency key, so a client that ran out of patience asks again,
if need be through another connection, and the value must still be there once. Other calls whose client gave up have an
unknown outcome for ever.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final, Self

import msgspec

import rsm
from rsm.errors import RsmError
from rsm.node.network.tls import TlsOptions
from rsm.testing.linearizability import Operation, check
from tests.faults.cluster_machine import Board, BoardModel
from tests.faults.cluster_processes import ClusterProcesses
from tests.profiles import is_soak

# Keys change with time, so that the part of the history that belongs to one stays small enough to be searched.
KEYS: Final = 3
GENERATION_SECONDS: Final = 1.5
# Between two calls of a client, on average: calls are in flight whenever something is harmed, and there is still some
# of the machine left for the other tests.
PAUSE_SECONDS: Final = 0.004 if is_soak() else 0.01
TIMEOUT_SECONDS: Final = 20.0
JOIN_SECONDS: Final = 60.0
CHECKER_SECONDS: Final = 60.0
NANOSECOND: Final = 1e-9
NAMES: Final = ("write", "add", "append", "register", "counter", "length")
WEIGHTS: Final = (3, 3, 5, 2, 2, 2)


class Call(msgspec.Struct):
    """One call. Times from `time.monotonic_ns`; `returned` None: the outcome is unknown."""

    client: int
    call: tuple[Any, ...]
    called: int
    returned: int | None = None
    result: Any = None

    @property
    def is_write(self) -> bool:
        return len(self.call) == 3


class Load:
    """Clients at work from `with` to its end, then `judge`."""

    def __init__(
        self,
        addresses: list[str],
        *,
        clients: int = 6,
        tls: TlsOptions | None = None,
        pause_seconds: float = PAUSE_SECONDS,
        seed: int = 1,
    ) -> None:
        self._addresses = addresses
        self._tls = tls
        self._pause_seconds = pause_seconds
        self._seed = seed
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._last_client = 0
        self._began = time.monotonic()
        self._errors: list[str] = []
        self.calls: list[Call] = []
        self.gave_up: Counter[str] = Counter()
        self._threads = [
            threading.Thread(target=self._guarded, args=(number,), name=f"load-{number}", daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._over.set()
        deadline = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if kind is None:
            stuck = [thread.name for thread in self._threads if thread.is_alive()]
            assert not stuck, f"these clients hang: {stuck}"
            assert not self._errors, self._errors[0]

    # --- while it runs -----------------------------------------------------------------------------------------------

    @property
    def acknowledged(self) -> int:
        """Writes that were answered so far."""
        return len(self.write_times())

    def write_times(self) -> list[int]:
        """When writes were answered, in order, as `time.monotonic_ns` tells it."""
        return sorted(call.returned for call in list(self.calls) if call.is_write and call.returned is not None)

    def wait_for_writes(self, count: int = 30, seconds: float = 40.0) -> None:
        """Wait until so many writes more are answered that were begun from now on."""
        now, deadline = time.monotonic_ns(), time.monotonic() + seconds
        while sum(one.is_write and one.returned is not None and one.called > now for one in list(self.calls)) < count:
            assert time.monotonic() < deadline, f"fewer than {count} writes in {seconds:g} s"
            assert not self._errors, self._errors[0]
            time.sleep(0.02)

    def resumed_after(self, since: int, to: int) -> float:
        """Seconds from `since` to the end of the longest time without an answered write between the two."""
        times = [since, *(one for one in self.write_times() if since <= one <= to)]
        gaps = [(after - before, after) for before, after in pairwise(times)]
        assert gaps, "nothing was written at all"
        return (max(gaps)[1] - since) * NANOSECOND

    # --- the clients -------------------------------------------------------------------------------------------------

    def _guarded(self, number: int) -> None:
        try:
            self._work(random.Random(f"{self._seed}-{number}"), number)
        except BaseException as error:
            self._errors.append(f"client {number}: {type(error).__name__}: {error}")

    def _work(self, chance: random.Random, number: int) -> None:
        count = 0
        while not self._over.is_set():
            with self._lock:
                self._last_client += 1
                client = self._last_client  # one that does not know what became of its last call is another one
            with self._connect() as board:
                while not self._over.is_set():
                    count += 1
                    if not self._call(board, self._draw(chance, number, count, client)):
                        break
                    self._over.wait(chance.random() * 2 * self._pause_seconds)

    def _connect(self) -> Any:
        deadline = time.monotonic() + JOIN_SECONDS
        while True:
            try:
                return rsm.connect(Board, self._addresses, tls=self._tls, timeout_seconds=TIMEOUT_SECONDS)
            except (RsmError, TimeoutError) as error:
                if time.monotonic() > deadline:
                    raise
                self.gave_up[f"connect: {type(error).__name__}"] += 1

    def _draw(self, chance: random.Random, number: int, count: int, client: int) -> Call:
        name = chance.choices(NAMES, WEIGHTS)[0]
        generation = int((time.monotonic() - self._began) / GENERATION_SECONDS)
        part = {"write": "r", "register": "r", "add": "c", "counter": "c", "append": "l", "length": "l"}[name]
        key = f"{part}{chance.randrange(KEYS)}-{generation}"
        value = {"write": number + 100 * count, "append": number + 100 * count, "add": chance.randint(1, 9)}
        return Call(client, (name, key, value[name]) if name in value else (name, key), time.monotonic_ns())

    def _call(self, board: Any, call: Call) -> bool:
        """Make a call; False if its outcome is unknown."""
        name, *values = call.call
        self.calls.append(call)
        make = getattr(board, name)
        if name == "append":
            make = getattr(board.once(f"append-{call.call[2]}"), name)
        try:
            call.result = make(*values)
        except (TimeoutError, rsm.SessionExpired) as error:
            self.gave_up[f"{name}: {type(error).__name__}"] += 1
            if name != "append":
                return False
            with self._connect() as another:
                # The same key: it takes effect now, or this is the answer of the time before.
                call.result = another.once(f"append-{call.call[2]}").append(*values)
        call.returned = time.monotonic_ns()
        return True

    # --- afterwards --------------------------------------------------------------------------------------------------

    def judge(self) -> dict[str, int]:
        """Compare what the clients were told with what is there, and search for an order of it; some numbers."""
        with self._connect() as board:
            keys = {call.call[1] for call in self.calls}
            lists: dict[str, list[int]] = {}
            for key, value in board.appended():
                if key in keys:  # not what somebody else has written meanwhile
                    lists.setdefault(key, []).append(value)
            sums = {key: value for key, value in board.sums() if key in keys}
            registers = {call.call[1] for call in self.calls if call.call[0] in ("write", "register")}
            finals = [self._final(board, "register", key) for key in sorted(registers)]
            finals += [self._final(board, "counter", key) for key in sorted(sums)]
            finals += [self._final(board, "length", key) for key in sorted(lists)]
        self._judge_appends(lists)
        self._judge_sums(sums)
        history = [*self.calls, *finals]
        operations = [
            Operation(one.client, one.call, one.called, one.returned, one.result)
            for one in history
            if one.is_write or one.returned is not None
        ]
        verdict = check(BoardModel(), operations, seconds_max=CHECKER_SECONDS)
        assert verdict.passed, f"{verdict.verdict.value}: {verdict.reason}, key {verdict.key}, {verdict.steps} steps"
        return {
            "calls": len(self.calls),
            "acknowledged": self.acknowledged,
            "unknown": sum(one.returned is None for one in self.calls),
            "steps": verdict.steps,
        }

    def _final(self, board: Any, name: str, key: str) -> Call:
        call = Call(0, (name, key), time.monotonic_ns())
        call.result = getattr(board, name)(key)
        call.returned = time.monotonic_ns()
        return call

    def _judge_appends(self, lists: dict[str, list[int]]) -> None:
        there = Counter(value for values in lists.values() for value in values)
        doubled = [value for value, times in there.items() if times > 1]
        assert not doubled, f"appended twice: {doubled[:10]}"
        tried = {one.call[2]: one for one in self.calls if one.call[0] == "append"}
        assert there.keys() <= tried.keys(), "values that nobody appended"
        for value, one in tried.items():
            if one.returned is None:
                continue
            values = lists.get(one.call[1], [])
            assert value in there, f"acknowledged and lost: {one}"
            assert values[one.result - 1] == value, f"not where it was said to be: {one}"

    def _judge_sums(self, sums: dict[str, int]) -> None:
        least: Counter[str] = Counter()
        most: Counter[str] = Counter()
        for one in self.calls:
            if one.call[0] == "add":
                most[one.call[1]] += one.call[2]
                least[one.call[1]] += one.call[2] if one.returned is not None else 0
        assert sums.keys() <= most.keys()
        for key in most:
            assert least[key] <= sums.get(key, 0) <= most[key], f"{key}: {least[key]}..{most[key]}, not {sums.get(key)}"


@contextlib.contextmanager
def harmed(cluster: ClusterProcesses, **options: Any) -> Iterator[Load]:
    """Load while the block runs; then the verdict."""
    cluster.leader()
    with Load(cluster.addresses, **options) as load:
        load.wait_for_writes()
        yield load
        load.wait_for_writes()
    found = load.judge()
    cluster.one_root()
    assert cluster.stop() == [0] * len(cluster.nodes)
    cluster.verify()
    print(f"{found}, gave up: {dict(load.gave_up)}")
