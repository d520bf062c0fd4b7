"""A node for tests of clients and their server: a real replica that applies at once, and fails as it is told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, TypeVar

import rsm
from rsm.codec.record import Entry
from rsm.errors import Busy, CallerError, NotLeader
from rsm.machine.definition import Definition
from rsm.node.network.connections import ConnectionLimiter
from rsm.node.requests import Read, Request
from rsm.node.service import Reply
from rsm.node.serving.server import ClientServer
from rsm.replica.answer import Status, decode
from rsm.replica.batch import CLOSE_SESSION, OPEN_SESSION, encode_call, join_item
from rsm.replica.replica import Applied, Replica
from tests.feed_service import MemoryFeed
from tests.machines import Everything, Log

T = TypeVar("T")


class FakeService:
    """One node. `leads`, `slow_seconds`, `drop_answers` and the others may be changed at any time."""

    def __init__(self, log: Log, node_id: int = 1) -> None:
        self.log = log
        self.node_id = node_id
        self.cluster_id = b"c" * 16
        self.leads = True
        self.leader: tuple[int, str] | None = None
        self.members: list[tuple[int, str]] = []
        self.slow_seconds = 0.0
        self.holds = False  # requests are neither applied nor answered
        self.drop_answers = 0  # so many requests are applied, and then the connections are cut instead of an answer
        self.busy = 0  # so many requests are answered with Busy
        self.error: Exception | None = None
        self.requests = 0
        self.confirmed = 0  # requests that wanted to be confirmed
        self.in_doubt = ""
        self.server: ClientServer | None = None
        self.feed_node = MemoryFeed(self, lambda: self.log.entries)
        self._notifies: list[Callable[[], None]] = []

    @property
    def definition(self) -> Definition:
        return self.log.machine.definition

    @property
    def replica(self) -> Replica:
        return self.log.replica

    def _check(self) -> None:
        self.requests += 1
        if self.error is not None:
            raise self.error
        if not self.leads:
            raise NotLeader("not here", *(self.leader or (None, "")))
        if self.busy:
            self.busy -= 1
            raise Busy("too much to do", retry_seconds=0.02)

    @property
    def doubt(self) -> str:
        return self.in_doubt

    def principal_of(self, session: int) -> str | None:
        if not self.leads:
            raise NotLeader("not here", *(self.leader or (None, "")))
        found = self.replica.sessions.get(session)
        return None if found is None else found.principal

    def _later(self, act: Callable[[], None]) -> None:
        if self.slow_seconds:
            asyncio.get_running_loop().call_later(self.slow_seconds, act)
        else:
            act()

    def submit(self, request: Request) -> None:
        self._check()
        if not self.holds:
            self._later(lambda: self._apply(request))

    def _apply(self, request: Request) -> None:
        # Any session's items travel joined; a batch of the log takes them one by one.
        self.log.now += 1
        applied = self.log.entry([_item(item) for item in request.decoded])
        self.notify()
        if self.drop_answers:
            self.drop_answers -= 1
            self.cut()
        else:
            self.confirmed += request.wants_confirmation
            request.complete(applied.index, applied.answers)

    def notify(self) -> None:
        notifies, self._notifies = self._notifies, []
        for notify in notifies:
            notify()

    def cut(self) -> None:
        """Cut every connection."""
        assert self.server is not None
        for connection in [*self.server.limiter._established, *self.server.limiter._shaking]:
            connection.close("cut by the test", at_once=True)

    def read(self, read: Read) -> None:
        self.requests += 1
        if self.error is not None:
            raise self.error
        if read.consistency == "linearizable" and not self.leads:
            raise NotLeader("not here", *(self.leader or (None, "")))
        if self.in_doubt:
            read.fail(NotLeader(self.in_doubt))
            return
        if read.consistency == "at_least" and read.index > self.replica.index:
            raise Busy("not yet", retry_seconds=0.02)
        if not self.holds:
            self._later(lambda: read.run(self.replica))

    def _lead(self, reply: Reply, name: str, *values: Any) -> None:
        self._check()
        applied = self.log.entry([join_item(0, 0, 0, encode_call(name, 1, list(values)))])
        answer = applied.answers[0]
        if answer.status != Status.OK:
            reply.fail(rsm.Rejected(decode(answer.body)[0]))
        elif name == OPEN_SESSION:
            reply.complete(applied.index, decode(answer.body))
        else:
            reply.complete(applied.index)

    def open_session(self, principal: str, ttl_nanoseconds: int, reply: Reply) -> None:
        self._lead(reply, OPEN_SESSION, principal, ttl_nanoseconds)

    def close_session(self, number: int, reply: Reply) -> None:
        self._lead(reply, CLOSE_SESSION, number)

    def change(self, action: str, node_id: int, peer_address: str, client_address: str, reply: Reply) -> None:
        self._check()
        reply.complete(self.replica.index)

    def transfer(self, node_id: int, reply: Reply) -> None:
        self._check()
        reply.complete(node_id)

    def upgrade(self, version: int, reply: Reply) -> None:
        self._check()
        reply.complete(version)

    def snapshot(self, reply: Reply) -> None:
        self._check()
        reply.complete(self.replica.index)

    def status(self) -> dict[str, Any]:
        return {
            "node_id": self.node_id,
            "machine": self.definition.name,
            "version": self.definition.version,
            "applied_index": self.replica.index,
            "log_time": self.replica.system.clock,
            "root_index": 0,
            "root": "",
            "sessions": len(self.replica.sessions),
            "log_bytes": 0,
            "snapshot_index": 0,
            "schema": self.replica.schema or {},
        }

    def when_events(self, notify: Callable[[], None]) -> None:
        self._notifies.append(notify)

    def export(self, first: int, last: int) -> Iterator[tuple[dict[str, Any] | None, list[list[Any]]]]:
        entries = self.log.entries[first - 1 : last or None]
        if not entries:
            raise CallerError(f"no entry {first}")
        head: dict[str, Any] | None = {"machine": self.definition.name}
        for entry in entries:
            yield head, [[entry.index, entry.term, int(entry.kind), entry.payload, b"x" * 16]]
            head = None

    def roots(self, first: int, last: int) -> Iterator[list[tuple[int, bytes]]]:
        yield [one for one in sorted(self.log.replica.roots.items()) if first <= one[0] <= last]


def _item(item: list[Any]) -> bytes:
    session, sequence, lowest, name, version, values = item[:6]
    return join_item(session, sequence, lowest, encode_call(name, version, values), *item[6:])


class Nodes:
    """Client servers on loopback ports, each with a service of its own on one shared log, in a thread with a loop."""

    def __init__(self, count: int = 1, machine: type[rsm.StateMachine] = Everything, **server: Any) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.log = Log(machine)
        self.log.on_apply = self._applied
        self.services = [FakeService(self.log, number) for number in range(1, count + 1)]
        self._server_arguments = server
        self.addresses = [self.run(self._start(service)) for service in self.services]
        self.lead(0)

    def _applied(self, entry: Entry, applied: Applied) -> None:
        if threading.get_ident() != self._thread.ident:
            self.loop.call_soon_threadsafe(self._applied, entry, applied)
            return
        for service in self.services:
            if service.server is not None:
                service.server.applied(entry, applied.root, 0.0)

    async def _start(self, service: FakeService, port: int = 0) -> str:
        service.server = ClientServer(service, limiter=ConnectionLimiter("client"), **self._server_arguments)
        return f"127.0.0.1:{await service.server.start('127.0.0.1', port)}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run something on the servers' loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(10)

    def do(self, work: Callable[[], T]) -> T:
        """The same for a function."""

        async def call() -> T:
            return work()

        return self.run(call())

    @property
    def server(self) -> Any:
        """The first one's, which runs. Tests look into it."""
        server = self.services[0].server
        assert server is not None
        return server

    def commands(self, name: str, rows: Iterable[tuple[Any, ...]]) -> int:
        """One entry a row, in a session of their own; the last index."""

        def work() -> int:
            session = self.log.open("", 60)
            for row in rows:
                self.log.run(session, name, *row)
            return self.log.replica.index

        return self.do(work)

    def lead(self, leader: int | None) -> None:
        """Make one of them the leader, or none."""

        def change() -> None:
            members = list(enumerate(self.addresses, 1))
            for position, service in enumerate(self.services):
                service.leads = position == leader
                service.leader = None if leader is None else (leader + 1, self.addresses[leader])
                service.members = members

        self.do(change)

    def stop(self, position: int) -> None:
        """Stop one server: its port is closed."""
        server = self.services[position].server
        assert server is not None
        self.run(server.close())

    def start(self, position: int) -> None:
        """Start one again, on its port."""
        self.run(self._start(self.services[position], int(self.addresses[position].rpartition(":")[2])))

    def close(self) -> None:
        """Stop all."""
        for position in range(len(self.services)):
            self.stop(position)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()
