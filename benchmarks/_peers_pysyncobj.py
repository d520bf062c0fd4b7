"""Bare PySyncObj as its README uses it: three processes, a subclass with replicated methods, its own ticking thread.

It has no port for clients: an application calls the object in its own process. So the commands are made in the leader's
process, which spares it the way that the others' commands take over TCP. Each callback sends the next command.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

from _cluster import Contender, Share
from _load import Recorder, now, serve
from _orders import Call, Orders
from _processes import Child, free_ports, until
from pysyncobj import SyncObj, SyncObjConf, replicated

from demos.orderbook.desk import Desk

ELECTION_SECONDS_MAX = 20.0
DRAIN_SECONDS_MAX = 20.0


class Counter(SyncObj):
    """The counter of its README."""

    def __init__(self, address: str, partners: list[str], configuration: SyncObjConf) -> None:
        super().__init__(address, partners, configuration)
        self._count = 0

    @replicated
    def increment(self) -> int:
        self._count += 1
        return self._count


class Exchange(SyncObj):
    """The demo's order book on plain containers; its reports are made, and thrown away."""

    def __init__(self, address: str, partners: list[str], configuration: SyncObjConf) -> None:
        super().__init__(address, partners, configuration)
        self._desk = Desk()

    @replicated
    def run(self, principal: str, name: str, values: tuple[Any, ...]) -> Any:
        self._desk.reports.clear()
        return self._desk.run(principal, name, values)


class Driver:
    """Keeps a number of commands in flight from within the leader's process."""

    def __init__(self, send: Callable[[Any], None]) -> None:
        self._send = send
        self._lock = threading.Lock()

    def run(self, in_flight: int, begins: float, ends: float, latencies: str) -> dict[str, Any]:
        """Send so many; each callback sends the next, until the time is over."""
        recorder = Recorder(begins, ends)
        drained = threading.Event()
        waiting = in_flight

        def send() -> None:
            sent_at = now()
            self._send(lambda result, error: answered(sent_at, error))

        def answered(sent_at: float, error: int) -> None:
            nonlocal waiting
            answered_at = now()
            if error:
                recorder.failed += 1
            else:
                recorder.done(sent_at, answered_at)
            if answered_at < ends:
                send()
                return
            with self._lock:
                waiting -= 1
                if waiting == 0:
                    drained.set()

        for _ in range(in_flight):
            send()
        if not drained.wait(ends - now() + DRAIN_SECONDS_MAX):
            recorder.failed += waiting
        return recorder.report(latencies)


def node(kind: str, journal: str, clients: int, day_commands: int, address: str, partners: list[str]) -> None:
    """The child: one node."""
    configuration = SyncObjConf(journalFile=journal) if journal else SyncObjConf()
    machine = (Counter if kind == "counter" else Exchange)(address, partners, configuration)
    lock = threading.Lock()
    calls: Any = iter(())

    def send(callback: Callable[[Any, int], None]) -> None:
        if kind == "counter":
            machine.increment(callback=callback)
            return
        with lock:  # a generator serves one thread at a time, and commands enter in its order
            principal, (name, values) = next(calls)
            machine.run(principal, name, values, callback=callback)

    def status() -> dict[str, Any]:
        leader = machine.getStatus()["leader"]
        return {"is_ready": machine.isReady(), "leader": leader and leader.id, "address": address}

    def prepare() -> dict[str, Any]:
        nonlocal calls
        if kind == "counter":
            return {}
        orders = [Orders(client, clients, day_commands) for client in range(clients)]
        done = threading.Semaphore(0)
        opening = [(each.principal, call) for each in orders for call in each.opening]
        for principal, (name, values) in opening:
            machine.run(principal, name, values, callback=lambda result, error: done.release())
        for _ in opening:
            if not done.acquire(timeout=DRAIN_SECONDS_MAX):
                raise TimeoutError("the markets did not open")
        calls = chain.from_iterable(zip(*(map(_named(each), each.days()) for each in orders), strict=False))
        return {}

    serve(status=status, prepare=prepare, run=Driver(send).run)


def _named(orders: Orders) -> Callable[[Call], tuple[str, Call]]:
    return lambda call: (orders.principal, call)


class PySyncObj(Contender):
    """Three nodes of it; `kind` is "book" or "counter"."""

    is_durable = False

    def __init__(self, kind: str, directory: Path, *, journal: bool, clients: int, day_commands: int) -> None:
        super().__init__(
            "pysyncobj_counter" if kind == "counter" else f"pysyncobj_{'journal' if journal else 'memory'}"
        )
        where = "with its journal, which never syncs" if journal else "in memory"
        what = "the README's counter" if kind == "counter" else "the plain order book"
        self.what = f"bare PySyncObj 0.3.17, {what}, {where}; commands made in the leader's process"
        directory = directory / self.name
        directory.mkdir()
        addresses = [f"127.0.0.1:{port}" for port in free_ports(3)]
        for number, address in enumerate(addresses):
            self.nodes.append(
                Child(
                    f"node{number}",
                    [
                        *(sys.executable, __file__, kind, str(directory / f"journal{number}") if journal else ""),
                        *(str(clients), str(day_commands), address),
                        *(other for other in addresses if other != address),
                    ],
                    directory,
                    talks=True,
                )
            )

    def prepare(self) -> None:
        """Wait for the leader, and open the markets."""
        self._leader = until(self._find_leader, f"a leader of {self.name}", ELECTION_SECONDS_MAX)
        self._leader.ask("prepare")

    def _find_leader(self) -> Child | None:
        found = [child.ask("status") for child in self.nodes]
        leaders = {each["leader"] for each in found}
        if len(leaders) != 1 or not all(each["is_ready"] for each in found):
            return None
        return next((child for child, each in zip(self.nodes, found, strict=True) if each["address"] in leaders), None)

    def shares(self, in_flight: int) -> list[Share]:
        """The leader's process makes all commands."""
        return [Share(self._leader, in_flight)]


if __name__ == "__main__":
    node(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5], sys.argv[6:])
