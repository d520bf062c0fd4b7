"""Clients in the simulation: they send, follow redirections, retry, run out of patience and die, like real ones.

A client is a session core (`rsm.client.remote.retry`, the one that real clients use) on a connection to one node at a
time. What it asked and what it was told goes into a history. A call whose client gave up or died has an unknown outcome
for ever: it may still take effect later.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec

from rsm.client.remote.retry import SessionCore, Taken
from rsm.machine.definition import Definition
from rsm.node.submissions import Submission
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import encode_call
from rsm.testing.network import EventQueue, Network
from rsm.testing.values import Workload, draw_value

__all__ = ["Call", "Client", "History"]

FRAME_COMMANDS_MAX: Final = 8
SESSION_SECONDS: Final = 60


class Call(msgspec.Struct):
    """One call in a history. `index`: where it took effect (a command), or what state was read (a query)."""

    number: int
    client: int
    kind: str  # "command", or the consistency of a query
    name: str
    values: list[Any]
    called: float
    returned: float | None = None
    index: int = 0
    answer: Answer | None = None
    result: bytes = b""
    session: int = 0
    sequence: int = 0
    request: int = 0  # the one that was answered


class History:
    """All calls of a run, in the order in which they were made."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    def begin(self, client: int, kind: str, name: str, values: list[Any], now: float) -> Call:
        """A call is made."""
        call = Call(len(self.calls), client, kind, name, values, now)
        self.calls.append(call)
        return call


class Referee(Protocol):
    """Who judges what clients are told, as they are told."""

    def acknowledged(self, call: Call) -> None:
        """A command was answered."""

    def was_read(self, call: Call) -> None:
        """A query was answered."""

    def inconsistent(self, what: str) -> None:
        """A client saw something that its consistency rules out."""


class _Command(Submission):
    """A command that waits in a session core."""

    __slots__ = ("done",)

    def __init__(self, call: bytes, done: Callable[[Answer | None], None]) -> None:
        super().__init__(0, call)
        self.done = done

    def complete(self, answer: Answer) -> None:
        self.done(answer)

    def fail(self, error: BaseException) -> None:
        self.done(None)


class Client:
    """One client process. `place` is its number in the network; when it dies, another takes its place there."""

    def __init__(
        self,
        place: int,
        number: int,
        *,
        definition: Definition,
        workload: Workload,
        queue: EventQueue,
        network: Network,
        history: History,
        referee: Referee,
        servers: Callable[[], list[int]],
        chance: random.Random,
        has_keys_only: bool,
    ) -> None:
        self.place = place
        self.number = number
        self.is_alive = True
        self.core = SessionCore()
        self._definition = definition
        self._workload = workload
        self._queue = queue
        self._network = network
        self._history = history
        self._referee = referee
        self._servers = servers
        self._chance = chance
        self._patience_seconds = chance.uniform(4.0, 15.0)
        self._attempt_seconds = chance.uniform(0.3, 1.5)
        self._depth = chance.choice((1, 1, 1, 4, 4, 12))
        self._reads = chance.choice((0.0, 0.2, 0.5))
        self._rate_per_second = chance.choice((2.0, 10.0, 30.0))
        self._keys_only = has_keys_only
        self._target = chance.choice(servers())  # who gets the commands
        self._reader = self._target  # who is asked for linearizable reads
        # Of its own: what a node still has to say to the client that died in this place is no answer to this one.
        self._requests = number * 1_000_000
        self._open_request = 0
        self._frames: dict[int, Taken] = {}
        self._queries: dict[int, tuple[Call, int]] = {}
        self._index_seen = 0  # what a session read may not be older than
        self._order: list[Call] = []  # commands in the order of their sequence numbers
        self.is_stopping = False

    # --- asking -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to ask, until `stop`."""
        self._queue.after(self._chance.random() * 0.2, self._think)

    def stop(self) -> None:
        """Ask nothing new; go on with what is open."""
        self.is_stopping = True

    @property
    def is_idle(self) -> bool:
        """Whether nothing is open."""
        return not self.core.unanswered and not self._queries

    def _think(self) -> None:
        if not self.is_alive or self.is_stopping:
            return
        if self.core.unanswered + len(self._queries) < self._depth:
            if self._definition.queries and self._chance.random() < self._reads:
                self._ask()
            else:
                self._command(*self._workload(self._chance, len(self._history.calls)))
        self._queue.after(self._chance.expovariate(self._rate_per_second), self._think)

    def _command(self, name: str, values: list[Any]) -> None:
        spec = self._definition.commands[name]
        call = self._history.begin(self.number, "command", name, values, self._queue.now)
        self._order.append(call)
        call.sequence = len(self._order)

        def done(answer: Answer | None) -> None:
            if answer is None or answer.status == Status.SESSION_EXPIRED or not self.is_alive:
                return  # unknown for ever
            call.returned, call.answer, call.session = self._queue.now, answer, self.core.number
            self._referee.acknowledged(call)

        self.core.push(_Command(encode_call(name, spec.version, values), done))
        self._watch(call)
        self._pump()

    def _ask(self) -> None:
        consistency = self._chance.choices(("linearizable", "at_least", "stale"), (4, 2, 1))[0]
        name = self._chance.choice(sorted(self._definition.queries))
        spec = self._definition.queries[name]
        if spec.is_stream:
            return
        if self._keys_only:
            values: list[Any] = [self._workload(self._chance, 0)[1][0]]
        else:
            values = spec.signature.plain([draw_value(one.type, self._chance) for one in spec.signature.parameters])
        call = self._history.begin(self.number, consistency, name, values, self._queue.now)
        call.index = self._index_seen if consistency == "at_least" else 0
        self._watch(call)
        self._send_query(call)

    def _send_query(self, call: Call) -> None:
        # Now and then anybody is asked for a linearizable read: who was the leader a moment ago must not answer it.
        is_to_leader = call.kind == "linearizable" and self._chance.random() < 0.7
        target = self._reader if is_to_leader else self._chance.choice(self._servers())
        request = self._next_request()
        self._queries[request] = call, call.index
        self._network.send(self.place, target, ("query", request, call.name, call.values, call.kind, call.index))
        self._queue.after(self._attempt_seconds, lambda: self._retry_query(request))

    def _retry_query(self, request: int) -> None:
        pending = self._queries.pop(request, None)
        if pending is not None and self.is_alive:
            self._reader = self._chance.choice(self._servers())
            self._send_query(pending[0])

    def _watch(self, call: Call) -> None:
        def look() -> None:
            if call.returned is None and self.is_alive:
                self.die()

        self._queue.after(self._patience_seconds, look)

    def die(self) -> None:
        """The process ends; what is open stays unknown."""
        self.is_alive = False

    # --- talking to a node --------------------------------------------------------------------------------------------

    def _next_request(self) -> int:
        self._requests += 1
        return self._requests

    def _pump(self) -> None:
        if not self.is_alive:
            return
        if not self.core.number:
            if not self._open_request:
                self._open_request = self._next_request()
                self._network.send(self.place, self._target, ("open", self._open_request, f"client {self.number}"))
                self._expect(self._open_request)
            return
        while len(self._frames) < 4:
            taken = self.core.take(self._chance.randint(1, FRAME_COMMANDS_MAX))
            if taken is None:
                return
            request = self._next_request()
            self._frames[request] = taken
            self._network.send(self.place, self._target, ("commands", request, taken.count, taken.items))
            self._expect(request)

    def _expect(self, request: int) -> None:
        def look() -> None:
            if self.is_alive and (request in self._frames or request == self._open_request):
                self._move(None)

        self._queue.after(self._attempt_seconds, look)

    def _move(self, leader: int | None) -> None:
        """Talk to another node, and send again what has no answer."""
        servers = self._servers()
        if leader is not None and leader in servers:
            self._target = leader
        else:
            self._target = self._chance.choice(servers)
        self._frames.clear()
        self._open_request = 0
        self.core.rewind()
        # Not at once: a cluster without a leader is not helped by being asked without a pause.
        self._queue.after(self._chance.uniform(0.001, 0.1), self._pump)

    def disconnected(self, node: int) -> None:
        """The connection to a node broke."""
        if self.is_alive and node == self._target:
            self._move(None)

    # --- answers ------------------------------------------------------------------------------------------------------

    def arrived(self, sender: int, message: Any) -> None:
        """A node says something."""
        if not self.is_alive:
            return
        kind, request, *fields = message
        if request in self._queries:
            self._query_answered(kind, request, fields)
        elif request == self._open_request:
            self._opened(kind, fields)
        elif request in self._frames:
            self._frame_answered(kind, request, fields)

    def _opened(self, kind: str, fields: list[Any]) -> None:
        if kind == "opened":
            self._open_request = 0
            self.core.restart(fields[0])
            self._pump()
        else:
            self._move(fields[0] if kind == "not_leader" else None)

    def _frame_answered(self, kind: str, request: int, fields: list[Any]) -> None:
        if kind != "answers":
            self._move(fields[0] if kind == "not_leader" else None)
            return
        taken = self._frames.pop(request)
        index, answers = fields
        self._index_seen = max(self._index_seen, index)
        for sequence in range(taken.first_sequence, taken.first_sequence + taken.count):
            call = self._order[sequence - 1]
            if call.returned is None:
                call.index, call.request = index, request
        self.core.answered(taken, answers)
        if self.core.is_expired:
            self.die()
        self._pump()

    def _query_answered(self, kind: str, request: int, fields: list[Any]) -> None:
        call, index_asked = self._queries.pop(request)
        if kind != "value":
            if kind == "not_leader" and fields[0] is not None:
                self._reader = fields[0]
            self._queue.after(
                self._chance.uniform(0.01, 0.1), lambda: self._send_query(call) if self.is_alive else None
            )
            return
        call.index, call.result = fields
        call.request = request
        call.returned = self._queue.now
        if call.kind == "at_least":
            if call.index < index_asked:
                self._referee.inconsistent(
                    f"client {self.number} asked for a state of at least index {index_asked} and got {call.index}"
                )
            self._index_seen = max(self._index_seen, call.index)
        self._referee.was_read(call)
