"""Nodes to talk to: the real client port over a service made for tests, on a loop of its own in a thread.

A node here has a replica and no Raft: what it is sent it applies at once. Tests say which one leads, what a status
says, and when one stops answering.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

import rsm
from rsm.codec.record import Entry, RecordKind
from rsm.errors import NotLeader, RsmError
from rsm.machine.definition import Definition
from rsm.node.requests import Read, Request
from rsm.node.service import Reply
from rsm.node.serving.server import ClientServer
from rsm.node.status import MemberStatus, NodeStatus, PeerStatus
from rsm.replica import batch
from rsm.replica.answer import decode
from rsm.replica.replica import Replica
from tests.feed_service import MemoryFeed
from tests.unit.cli.samples import STAMP


class Stall(rsm.StateMachine, name="stall", version=2):
    """A machine with everything that the command line has to spell."""

    stock: rsm.Map[str, int]
    marks: rsm.Map[str, bytes]

    @rsm.command(version=2)
    def order(self, ctx: rsm.Context, item: str, quantity: int, mark: bytes) -> tuple[int, bytes]:
        """Book an order."""
        if quantity == 13:
            ctx.reject("not that many")
        self.stock[item] = self.stock.get(item, 0) + quantity
        self.marks[item] = mark
        return self.stock[item], mark

    @rsm.upcast("order", from_version=1)
    def order_1(item: str, quantity: int) -> tuple[str, int, bytes]:
        """Orders had no mark."""
        return item, quantity, b""

    @rsm.query
    def left(self, item: str) -> int:
        """How many."""
        return self.stock.get(item, 0)

    @rsm.query
    def items(self) -> Iterator[str]:
        """Every name."""
        yield from self.stock


class Node:
    """A service that answers at once. `leader_number` None: nobody leads."""

    def __init__(self, cluster: Nodes, number: int) -> None:
        self.cluster = cluster
        self.node_id = number
        self.cluster_id = cluster.cluster_id
        self.changes: list[tuple[Any, ...]] = []
        self.failures: list[RsmError] = []  # to raise from `submit`, one after the other
        self.fields: dict[str, Any] = {}  # of the status, other than they would be
        self.exported: list[Any] = []
        self.confirmed = 0  # commands that were to be answered when they are confirmed
        self.feed_node = MemoryFeed(self, list)

    @property
    def definition(self) -> Definition:
        return Stall.definition

    @property
    def replica(self) -> Replica:
        return self.cluster.replica

    @property
    def leader(self) -> tuple[int, str] | None:
        number = self.cluster.leader_number
        return None if number is None else (number, self.cluster.addresses[number - 1])

    @property
    def members(self) -> list[tuple[int, str]]:
        return list(enumerate(self.cluster.addresses, 1))

    def _check_leader(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        if self.cluster.leader_number != self.node_id:
            leader = self.leader
            raise NotLeader(address="" if leader is None else leader[1])

    @property
    def doubt(self) -> str:
        return ""

    def principal_of(self, session: int) -> str | None:
        self._check_leader()
        found = self.replica.sessions.get(session)
        return None if found is None else found.principal

    def submit(self, request: Request) -> None:
        self.confirmed += request.wants_confirmation
        payload = batch.join_runs(2, STAMP, 0, len(request.decoded), [request.items])
        index, answers = self.cluster.apply(payload)
        request.complete(index, answers)

    def read(self, read: Read) -> None:
        if read.consistency == "linearizable":
            self._check_leader()
        read.run(self.replica)

    def open_session(self, principal: str, ttl_nanoseconds: int, reply: Reply) -> None:
        self._check_leader()
        call = batch.encode_call(batch.OPEN_SESSION, 1, [principal, ttl_nanoseconds])
        index, (answer,) = self.cluster.apply(batch.join_batch(2, STAMP, 0, [batch.join_item(0, 0, 0, call)]))
        reply.complete(index, decode(answer.body))

    def close_session(self, number: int, reply: Reply) -> None:
        call = batch.encode_call(batch.CLOSE_SESSION, 1, [number])
        index, _ = self.cluster.apply(batch.join_batch(2, STAMP, 0, [batch.join_item(0, 0, 0, call)]))
        reply.complete(index)

    def change(self, action: str, node_id: int, peer_address: str, client_address: str, reply: Reply) -> None:
        self._check_leader()
        self.changes.append((action, node_id, peer_address, client_address))
        reply.complete(77)

    def transfer(self, node_id: int, reply: Reply) -> None:
        self._check_leader()
        self.cluster.leader_number = node_id or 2
        reply.complete(self.cluster.leader_number)

    def upgrade(self, version: int, reply: Reply) -> None:
        self._check_leader()
        self.cluster.version = version
        reply.complete(78)

    def snapshot(self, reply: Reply) -> None:
        reply.complete(1)

    def when_events(self, notify: Callable[[], None]) -> None:
        """There are none."""

    def export(self, first: int, last: int) -> Iterator[Any]:
        self.exported.append((first, last))
        yield from self.cluster.exports

    def roots(self, first: int, last: int) -> Iterator[Any]:
        """Whatever the range."""
        yield from self.cluster.roots

    def status(self) -> dict[str, Any]:
        cluster = self.cluster
        leads = cluster.leader_number == self.node_id
        leader = self.leader
        status = NodeStatus(
            node_id=self.node_id,
            cluster_id=self.cluster_id.hex(),
            role="leader" if leads else "follower",
            term=4,
            leader_id=cluster.leader_number,
            leader_address="" if leader is None else leader[1],
            commit_index=self.replica.index,
            applied_index=self.replica.index,
            last_index=self.replica.index,
            durable_index=self.replica.index,
            root_index=64,
            root="ab" * 16,
            machine="stall",
            version=2,
            members=tuple(
                MemberStatus(number, f"10.0.0.{number}:1", address)
                for number, address in enumerate(cluster.addresses, 1)
            ),
            peers=tuple(PeerStatus(number, True) for number, _ in self.members if number != self.node_id),
            schema=self.replica.schema or {},
            streaming_queries=("items",),
        )
        fields: dict[str, Any] = msgspec.to_builtins(msgspec.structs.replace(status, **self.fields))
        return fields


class Nodes:
    """Some nodes; a context manager. Node 1 leads at first."""

    def __init__(self, number: int = 3, *, tls: Callable[[int], Any] | None = None) -> None:
        self.cluster_id = bytes(range(16))
        self.leader_number: int | None = 1
        self.version = 2  # what an upgrade asked for last
        self.replica = Replica(Stall)
        self.exports: list[Any] = []
        self.roots: list[Any] = []
        self.addresses: list[str] = []
        self.applied = 0
        definition = Stall.definition
        call = batch.encode_call(
            batch.ACTIVATE, 1, [definition.name, definition.version, definition.schema(), bytes(16)]
        )
        self.apply(batch.join_batch(2, STAMP, 0, [batch.join_item(0, 0, 0, call)]))
        self.nodes = [Node(self, place + 1) for place in range(number)]
        self._tls = tls
        self._servers: list[ClientServer] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def apply(self, payload: bytes) -> tuple[int, list[Any]]:
        """The next entry."""
        index = self.replica.index + 1
        self.applied += 1
        return index, self.replica.apply(Entry(index, 1, RecordKind.BATCH, payload)).answers

    def _run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _start(self) -> None:
        for node in self.nodes:
            tls = None if self._tls is None else self._tls(node.node_id)
            server = ClientServer(node, tls=tls)
            self._servers.append(server)
            self.addresses.append(f"127.0.0.1:{await server.start('127.0.0.1', 0)}")

    def stop(self, number: int) -> None:
        """Nobody listens there any more."""
        self._run(self._servers[number - 1].close())

    def __enter__(self) -> Nodes:
        self._thread.start()
        self._run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        for number in range(len(self.nodes)):
            with contextlib.suppress(RsmError):
                self.stop(number + 1)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()


@contextlib.contextmanager
def strangers(answer: bytes) -> Iterator[str]:
    """The address of a server that says something else; with nothing to say, it is silent."""
    import socket

    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    stopped = threading.Event()
    accepted: list[socket.socket] = []

    def serve() -> None:
        while not stopped.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listener.accept()
                accepted.append(connection)
                if answer:
                    connection.sendall(answer)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        stopped.set()
        thread.join(5)
        for one in [listener, *accepted]:
            one.close()
