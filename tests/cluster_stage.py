"""A cluster on a stage: real members on disks in memory, a network that can be cut, and a clock that only tests move.

    stage = Stage()
    stage.start()                       # three fresh nodes, until one of them leads
    ann = stage.session("ann")
    stage.do(ann, "put", "a", 1)        # until it is answered, over changes of leader
    stage.crash(1, Survival.TORN)
    stage.start(1)
    stage.settle()                      # until all have applied the same, and their roots agree

A member that raises is noted in `failures` and is down. The simulator of `rsm.testing` is for random schedules; this is
for the one that a test writes down.
"""

from __future__ import annotations

import heapq
import os
import random
from collections import Counter
from collections.abc import Callable
from functools import partial
from itertools import combinations, count
from typing import Any

import rsm
from rsm.codec import cbor
from rsm.errors import NotLeader
from rsm.limits import CLIENT_FRAME_BYTES_MAX
from rsm.node.member import Member, MemberOptions
from rsm.node.opening.bootstrap import is_prepared, prepare
from rsm.node.requests import Consistency, Read, Request, SystemRequest
from rsm.raft.configuration import Configuration
from rsm.raft.configuration import Member as ClusterMember
from rsm.raft.messages import Message, decode_message, encode_message
from rsm.replica.answer import Answer, decode
from rsm.replica.batch import OPEN_SESSION, encode_call, join_item
from rsm.replica.replica import Replica
from rsm.testing.disk import FaultDisk, PowerCut, Survival
from tests.machines import SECOND, START, Everything

PATH = "data"
CLUSTER_ID = bytes(range(16))
STEP_SECONDS = 0.005
LATENCY_SECONDS = 0.001
TICK_SECONDS = 0.05


def member(number: int, **fields: Any) -> ClusterMember:
    """How a configuration of the stage names a node."""
    return ClusterMember(number, f"peer{number}:1", f"client{number}:1", **fields)


class Call(Request):
    """Commands on their way, and how they ended."""

    def __init__(self, *items: bytes) -> None:
        decoded = [cbor.decode(item, bytes_max=CLIENT_FRAME_BYTES_MAX) for item in items]
        super().__init__(b"".join(items), decoded)
        self.index = 0
        self.answers: list[Answer] = []
        self.error: Exception | None = None
        self.times_told = 0

    def complete(self, index: int, answers: list[Answer]) -> None:
        self.index, self.answers = index, answers
        self.times_told += 1

    def fail(self, error: Exception) -> None:
        self.error = error
        self.times_told += 1


class Look(Read):
    """A query, and what it saw."""

    def __init__(self, name: str, *values: Any, consistency: Consistency = "linearizable", index: int = 0) -> None:
        super().__init__(consistency, index)
        self.asked = (name, list(values))
        self.seen: Any = None
        self.at_index: int | None = None
        self.error: Exception | None = None

    def run(self, replica: Replica) -> None:
        self.seen, self.at_index = decode(replica.query(*self.asked)), replica.index

    def fail(self, error: Exception) -> None:
        self.error = error

    @property
    def is_over(self) -> bool:
        return self.at_index is not None or self.error is not None


class Session:
    """A client's session: it numbers its commands."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.sequence = 0

    def item(self, name: str, *values: Any, key: str | None = None) -> bytes:
        """The next command; no answer may be forgotten."""
        self.sequence += 1
        return join_item(self.number, self.sequence, 0, encode_call(name, 1, list(values)), key)


class Stage:
    """The cluster. `options` are those of `MemberOptions`."""

    def __init__(self, machine: type[rsm.StateMachine] = Everything, nodes: int = 3, **options: Any) -> None:
        self.machine = machine
        self.machine_of: dict[int, type[rsm.StateMachine]] = {}  # where a node has other code
        self.options = options
        self.now = 100.0
        self.founders = Configuration(tuple(member(number) for number in range(1, nodes + 1)))
        self.disks: dict[int, FaultDisk] = {number: FaultDisk() for number in self.founders.ids}
        self.members: dict[int, Member] = {}
        self.failures: dict[int, BaseException] = {}
        self.wall_offset_seconds: dict[int, float] = {}
        self.bytes_sent: Counter[tuple[type[Message], int]] = Counter()  # by kind and receiver
        self.lose: Callable[[int, int, Message], bool] = lambda _sender, _receiver, _message: False
        self._cut: set[frozenset[int]] = set()
        self._wire: list[tuple[float, int, int, int, bytes]] = []
        self._numbers = count()
        self._ticked_at: dict[int, float] = {}

    # --- nodes --------------------------------------------------------------------------------------------------------

    def start(self, *numbers: int, leader: bool = True) -> None:
        """Start these nodes (default: all that are down); a fresh disk is prepared as a founder's, or a joiner's."""
        for number in numbers or [number for number in self.disks if number not in self.members]:
            disk, machine = self.disks[number], self.machine_of.get(number, self.machine)
            if not is_prepared(disk, PATH):
                is_founder = number in self.founders.ids
                prepare(disk, PATH, machine, self.founders if is_founder else Configuration(), CLUSTER_ID)
            self.members[number] = Member.open(
                machine,
                MemberOptions(number, PATH, **self.options),
                disk,
                now=self.now,
                wall_clock=lambda number=number: self.wall_clock(number),  # type: ignore[misc]  # a bound default
                chance=random.Random(f"{number} {next(self._numbers)}"),
            )
            self.members[number].dispatch = partial(self._send, number)
            self.failures.pop(number, None)
            self._reconnect(number)
        if leader:
            self.leader()

    def wall_clock(self, number: int) -> int:
        """A node's wall clock, in nanoseconds."""
        return START + int((self.now + self.wall_offset_seconds.get(number, 0.0)) * SECOND)

    def kill(self, number: int) -> None:
        """The process dies; what it wrote stays with the operating system."""
        self.members.pop(number, None)
        self.disks[number].process_died()
        self._wire = [one for one in self._wire if number not in one[2:4]]
        self._reconnect(number)

    def crash(self, number: int, survival: Survival = Survival.NOTHING, seed: int = 0) -> None:
        """The machine loses its power, and of what was not synced what `survival` says."""
        self.kill(number)
        self.disks[number] = self.disks[number].restart(survival, seed)

    def wipe(self, number: int) -> None:
        """The node's disk is replaced by an empty one."""
        self.kill(number)
        self.disks[number] = FaultDisk()

    def damage(self, path: str, number: int, bit: int) -> None:
        """Flip one bit of a file of a node that is down; a negative bit counts from the end."""
        disk, full = self.disks[number], os.path.join(PATH, path)
        disk.flip_bit(full, bit % (8 * len(disk.contents(full))))

    def files(self, number: int, part: str) -> list[str]:
        """A node's files below its directory that have `part` in their names."""
        start = f"{PATH}/"
        return [
            path.removeprefix(start) for path in self.disks[number].paths() if path.startswith(start) and part in path
        ]

    # --- the network --------------------------------------------------------------------------------------------------

    def partition(self, *groups: tuple[int, ...]) -> None:
        """Nodes of different groups do not reach each other; without groups, all do."""
        before, self._cut = self._cut, set()
        for one, other in combinations(groups, 2):
            self._cut |= {frozenset((a, b)) for a in one for b in other}
        for a, b in map(sorted, before ^ self._cut):
            self._link(a, b)

    def _link(self, a: int, b: int) -> None:
        is_up = frozenset((a, b)) not in self._cut and a in self.members and b in self.members
        for one, other in ((a, b), (b, a)):
            if one in self.members:
                (self.members[one].connected if is_up else self.members[one].disconnected)(other, self.now)

    def _reconnect(self, number: int) -> None:
        for other in self.disks:
            if other != number:
                self._link(*sorted((number, other)))

    def _send(self, sender: int) -> None:
        outbox, self.members[sender].outbox = self.members[sender].outbox, []
        for receiver, message in outbox:
            if frozenset((sender, receiver)) in self._cut or self.lose(sender, receiver, message):
                continue
            data = encode_message(message)
            self.bytes_sent[type(message), receiver] += len(data)
            heapq.heappush(self._wire, (self.now + LATENCY_SECONDS, next(self._numbers), sender, receiver, data))

    # --- time ---------------------------------------------------------------------------------------------------------

    def step(self) -> None:
        """A few milliseconds pass."""
        self.now += STEP_SECONDS
        while self._wire and self._wire[0][0] <= self.now:
            _, _, sender, receiver, data = heapq.heappop(self._wire)
            if receiver in self.members and frozenset((sender, receiver)) not in self._cut:
                self._guarded(receiver, partial(self._deliver, sender, data))
        for number in sorted(self.members):
            self._guarded(number, self._turn)

    def _deliver(self, sender: int, data: bytes, node: Member) -> None:
        node.receive(sender, decode_message(data), self.now)

    def _turn(self, node: Member) -> None:
        if self.now - self._ticked_at.get(node.node_id, 0.0) >= min(TICK_SECONDS, node.next_wake(self.now)):
            self._ticked_at[node.node_id] = self.now
            node.tick(self.now)
        node.flush(self.now)
        self._send(node.node_id)
        if node.needs_sync:
            node.journal.sync()
            node.synced(self.now)
            node.flush(self.now)
            self._send(node.node_id)

    def _guarded(self, number: int, call: Callable[[Member], None]) -> None:
        node = self.members.get(number)
        if node is None:
            return
        try:
            call(node)
        except (Exception, PowerCut) as error:
            self.failures[number] = error
            self.kill(number)

    def run(self, seconds: float) -> None:
        """Let time pass."""
        end = self.now + seconds
        while self.now < end:
            self.step()

    def until(self, condition: Callable[[], Any], seconds: float = 20.0) -> None:
        """Let time pass until it is so."""
        end = self.now + seconds
        while not condition():
            if self.now > end:
                raise AssertionError(f"not within {seconds} s; members: {self}, failures: {self.failures}")
            self.step()

    def __repr__(self) -> str:
        return ", ".join(
            f"{number}: term {one.term} {'leads' if one.is_leader else 'follows ' + str(one.leader_id)}"
            f" log {one.journal.first_index}-{one.journal.last_index} commit {one.commit_index}"
            f" applied {one.applied_index}{' recovering' if one.is_recovering else ''}"
            for number, one in self.members.items()
        )

    # --- what clients do ----------------------------------------------------------------------------------------------

    @property
    def leads(self) -> int:
        """The number of the node that leads and takes commands; of several, the one of the highest term. 0 for none."""
        ready = [one for one in self.members.values() if one.is_leader and one.leading.is_ready]
        return max(ready, key=lambda one: one.term).node_id if ready else 0

    def leader(self, seconds: float = 20.0) -> Member:
        """The leader, when there is one that takes commands."""
        self.until(lambda: self.leads, seconds)
        return self.members[self.leads]

    def follower(self) -> int:
        """The number of a node that does not lead."""
        leader = self.leader().node_id
        return next(number for number in sorted(self.members) if number != leader)

    def session(self, principal: str = "", ttl_seconds: float = 3600.0) -> Session:
        """Open a session."""
        values = [principal, int(ttl_seconds * SECOND)]
        return Session(int(decode(self.settled(lambda: SystemCall(OPEN_SESSION, values)).answers[0].body)))

    def submit(self, call: Call | SystemCall, to: int = 0) -> Any:
        """Hand a request to a node, 0 for the leader."""
        (self.members[to] if to else self.leader()).submit(call)
        return call

    def settled(self, make: Callable[[], Any]) -> Any:
        """Send a request, again whenever it was told that another node leads; the one that was answered."""
        for _ in range(50):
            call = self.submit(make())
            self.until(lambda call=call: call.times_told or not self.leads)  # type: ignore[misc]  # a bound default
            if call.answers:
                return call
            if call.times_told and not isinstance(call.error, NotLeader):
                raise AssertionError(f"failed: {call.error!r}")
        raise AssertionError("nobody answers")

    def do(self, session: Session, name: str, *values: Any, key: str | None = None) -> Any:
        """The result of a command that must succeed."""
        item = session.item(name, *values, key=key)
        answer = self.settled(lambda: Call(item)).answers[0]
        assert answer.status == 0, answer
        return decode(answer.body)

    def look(self, name: str, *values: Any, to: int = 0, **options: Any) -> Look:
        """A read, over in time or not at all."""
        read = Look(name, *values, **options)
        (self.members[to] if to else self.leader()).read(read)
        return read

    def settle(self, *numbers: int, seconds: float = 30.0) -> None:
        """Until these nodes (default: all) have applied the same entries, and a root of that is equal and confirmed."""
        chosen = numbers or tuple(self.disks)

        def is_settled() -> bool:
            nodes = [self.members[number] for number in chosen if number in self.members]
            indexes = {one.applied_index for one in nodes} | {one.journal.last_index for one in nodes}
            confirmed = {one.replica.confirmed_index for one in nodes}
            return len(nodes) == len(chosen) and len(indexes) == 1 and len(confirmed) == 1 and 0 not in confirmed

        self.until(is_settled, seconds)
        assert len({self.members[number].replica.root() for number in chosen}) == 1


class SystemCall(SystemRequest):
    """A command of the node's own, and how it ended."""

    def __init__(self, name: str, values: list[Any]) -> None:
        self.answers: list[Answer] = []
        self.error: Exception | None = None
        super().__init__(name, values, lambda _, answer: self.answers.append(answer), self._failed)

    def _failed(self, error: Exception) -> None:
        self.error = error

    @property
    def times_told(self) -> int:
        """Whether it is over."""
        return len(self.answers) + (self.error is not None)
