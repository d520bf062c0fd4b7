"""A network of TCP connections under a virtual clock: ordered, delayed, cut, blocked, slow; all from one seed.

Theory of operation. Everything that happens in a simulation is an event in one queue, ordered by time and then by the
order in which it was planned; nothing else moves the clock. Between two nodes there is one connection. What is sent on
it arrives in order, after a delay, or not at all: when a connection breaks, what is on its way is lost, both ends hear
of it (not at the same time), and they try to connect again until they can.

A blocked direction does not lose bytes, it holds them, as TCP does: if the block ends in time they arrive late and in
order. If it lasts, the connection breaks. A connection needs both directions to come up.

A paused node is a stopped process: what arrives for it waits and is handed over in order when it goes on. A node that
is down has no process: its connections break.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Callable, Iterable
from heapq import heappop, heappush
from typing import Any, Final, Protocol

import msgspec

__all__ = ["CLIENTS_FROM", "EventQueue", "Listener", "Network", "NetworkProfile", "Trace"]

TRACE_LINES_KEPT: Final = 400
# Numbers from here on are clients', who have nothing to say to each other.
CLIENTS_FROM: Final = 1000


class EventQueue:
    """A virtual clock in seconds and what is going to happen."""

    def __init__(self) -> None:
        self.now = 0.0
        self.count = 0
        self._sequence = 0
        self._heap: list[tuple[float, int, Callable[[], None]]] = []

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Plan an action; the past is now."""
        self._sequence += 1
        heappush(self._heap, (max(time, self.now), self._sequence, action))

    def after(self, delay_seconds: float, action: Callable[[], None]) -> None:
        """Plan an action from now."""
        self.at(self.now + delay_seconds, action)

    def step(self, until: float) -> bool:
        """Run the next event that is due by `until`; False, with the clock there, if there is none."""
        if not self._heap or self._heap[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now, _, action = heappop(self._heap)
        self.count += 1
        action()
        return True


class Trace:
    """What happened, as a running hash, and the last lines of it in clear.

    Two runs of one seed have the same hash at their end, in any process: note only numbers, texts, bytes and tuples of
    them, in an order that follows from the seed.
    """

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=16)
        self._last: deque[tuple[float, tuple[Any, ...]]] = deque(maxlen=TRACE_LINES_KEPT)

    def note(self, now: float, *what: Any) -> None:
        """Add one line."""
        self._hash.update(repr((now, what)).encode())
        self._last.append((now, what))

    def digest(self) -> str:
        """The hash of all so far."""
        return self._hash.hexdigest()

    def lines(self) -> list[str]:
        """The last lines, oldest first."""
        return [f"{now:10.6f}  {' '.join(str(part) for part in what)}" for now, what in self._last]


class NetworkProfile(msgspec.Struct, frozen=True):
    """How good a network is. Delays are one way and exponential behind a minimum, with a tail of slow ones."""

    delay_seconds_min: float = 0.0002
    delay_seconds_mean: float = 0.001
    tail_chance: float = 0.01
    tail_seconds: float = 0.03
    stall_seconds_min: float = 0.8
    stall_seconds_max: float = 4.0

    @classmethod
    def drawn(cls, chance: random.Random) -> NetworkProfile:
        """One of many kinds of network, from a rack to a continent."""
        minimum = chance.choice((0.0001, 0.0005, 0.002, 0.01))
        return cls(
            delay_seconds_min=minimum,
            delay_seconds_mean=minimum * chance.choice((1, 2, 5)),
            tail_chance=chance.choice((0.0, 0.01, 0.05)),
            tail_seconds=chance.choice((0.01, 0.05, 0.2)),
        )


class Listener(Protocol):
    """Who is told what arrives. Never called for a node that is down or paused."""

    def arrived(self, sender: int, receiver: int, message: Any) -> None: ...

    def connected(self, node: int, peer: int) -> None: ...

    def disconnected(self, node: int, peer: int) -> None: ...


class _Connection:
    """What is between two nodes. `epoch` counts the connections there have been: bytes of an earlier one are lost."""

    __slots__ = ("arrival", "epoch", "is_up", "nodes", "stalled", "told")

    def __init__(self, nodes: tuple[int, int]) -> None:
        self.nodes = nodes
        self.epoch = 0
        self.is_up = False
        self.arrival = dict.fromkeys(nodes, 0.0)  # by receiver: nothing may arrive before what was sent earlier
        self.stalled: dict[int, list[Any]] = {node: [] for node in nodes}  # by receiver
        self.told = dict.fromkeys(nodes, False)  # whether an end believes that the connection is there


class Network:
    """All connections between some nodes. Nodes are integers; they are joined with all others as they are added."""

    def __init__(self, queue: EventQueue, chance: random.Random, listener: Listener, profile: NetworkProfile) -> None:
        self.queue = queue
        self.chance = chance
        self.listener = listener
        self.profile = profile
        self.sent = 0
        self.lost = 0
        self._up: dict[int, bool] = {}
        self._paused: dict[int, list[Callable[[], None]]] = {}
        self._blocked: dict[tuple[int, int], int] = {}
        self._slow: dict[tuple[int, int], float] = {}
        self._connections: dict[tuple[int, int], _Connection] = {}

    # --- nodes --------------------------------------------------------------------------------------------------------

    def start(self, node: int) -> None:
        """A node's process begins: it is connected with the others as soon as can be, but clients with nodes only."""
        self._up[node] = True
        for peer in sorted(self._up):
            if peer == node or min(node, peer) >= CLIENTS_FROM:
                continue
            pair = (min(node, peer), max(node, peer))
            if pair not in self._connections:
                self._connections[pair] = _Connection(pair)
            connection = self._connections[pair]
            if connection.is_up:
                self._break(connection)
            self._try_later(connection, self.chance.uniform(0.001, 0.05))

    def stop(self, node: int, *, notice_seconds: float = 0.05) -> None:
        """A node's process is gone; its peers hear of it within `notice_seconds`, it itself never."""
        self._up[node] = False
        self._paused.pop(node, None)
        for connection in self._of(node):
            connection.told[node] = False
            if connection.is_up:
                self._break(connection, notice_seconds)

    def pause(self, node: int) -> None:
        """A node's process stops running; its connections stay."""
        self._paused.setdefault(node, [])

    def resume(self, node: int) -> None:
        """It goes on: what has waited arrives now, in order."""
        for action in self._paused.pop(node, []):
            self.hand(node, action)

    def is_paused(self, node: int) -> bool:
        """Whether the process stands still."""
        return node in self._paused

    def is_connected(self, node: int, peer: int) -> bool:
        """Whether this node believes that it is connected with its peer."""
        connection = self._connections.get((min(node, peer), max(node, peer)))
        return connection is not None and connection.told[node]

    # --- faults -------------------------------------------------------------------------------------------------------

    def cut(self, first: int, second: int) -> None:
        """Break the connection between two nodes; they may connect again at once."""
        connection = self._connections.get((min(first, second), max(first, second)))
        if connection is not None and connection.is_up:
            self._break(connection)

    def block(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Let nothing pass from sender to receiver, for each pair; blocks add up."""
        for pair in pairs:
            self._blocked[pair] = self._blocked.get(pair, 0) + 1
            connection = self._connections.get((min(pair), max(pair)))
            if connection is not None and connection.is_up:
                patience = self.chance.uniform(self.profile.stall_seconds_min, self.profile.stall_seconds_max)
                self.queue.after(patience, self._give_up(connection, connection.epoch, pair))

    def unblock(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Take one block from each pair; what was held arrives late."""
        for pair in pairs:
            count = self._blocked.pop(pair, 0)
            if count > 1:
                self._blocked[pair] = count - 1
                continue
            connection = self._connections.get((min(pair), max(pair)))
            if connection is None or not connection.stalled[pair[1]]:
                continue
            # It takes TCP a while to send again; what comes meanwhile stands behind what is held.
            self.queue.after(self.chance.uniform(0.0, 0.3), self._release(connection, connection.epoch, pair))

    def _release(self, connection: _Connection, epoch: int, pair: tuple[int, int]) -> Callable[[], None]:
        def release() -> None:
            if connection.epoch != epoch or pair in self._blocked:
                return
            sender, receiver = pair
            held, connection.stalled[receiver] = connection.stalled[receiver], []
            for message in held:
                self.hand(receiver, self._delivery(connection, sender, receiver, message))

        return release

    def slow(self, pairs: Iterable[tuple[int, int]], extra_seconds: float) -> None:
        """Add to the delay from sender to receiver, for each pair; 0 ends it."""
        for pair in pairs:
            if extra_seconds:
                self._slow[pair] = extra_seconds
            else:
                self._slow.pop(pair, None)

    # --- messages -----------------------------------------------------------------------------------------------------

    def send(self, sender: int, receiver: int, message: Any) -> bool:
        """Send on the connection; False, and nothing sent, where the sender knows of none."""
        connection = self._connections.get((min(sender, receiver), max(sender, receiver)))
        if connection is None or not connection.told[sender]:
            return False
        self.sent += 1
        if not connection.is_up:
            self.lost += 1  # the sender has not heard yet that it broke
            return True
        self._plan(connection, sender, receiver, message, self._delay(sender, receiver))
        return True

    def _delay(self, sender: int, receiver: int) -> float:
        profile, chance = self.profile, self.chance
        delay = profile.delay_seconds_min + chance.expovariate(1.0) * profile.delay_seconds_mean
        if profile.tail_chance and chance.random() < profile.tail_chance:
            delay += chance.random() * profile.tail_seconds
        return delay + self._slow.get((sender, receiver), 0.0)

    def _plan(self, connection: _Connection, sender: int, receiver: int, message: Any, delay: float) -> None:
        arrival = connection.arrival[receiver] = max(self.queue.now + delay, connection.arrival[receiver])
        epoch = connection.epoch

        def arrive() -> None:
            if connection.epoch != epoch:
                self.lost += 1
            elif (sender, receiver) in self._blocked or connection.stalled[receiver]:
                connection.stalled[receiver].append(message)
            else:
                self.hand(receiver, self._delivery(connection, sender, receiver, message))

        self.queue.at(arrival, arrive)

    def _delivery(self, connection: _Connection, sender: int, receiver: int, message: Any) -> Callable[[], None]:
        def deliver() -> None:
            # What waited for a paused process lay in its socket: it is read even if the connection broke since.
            if connection.told[receiver]:
                self.listener.arrived(sender, receiver, message)

        return deliver

    def hand(self, node: int, action: Callable[[], None]) -> None:
        """Let a process do something now; when it goes on if it is paused, never if it is down."""
        waiting = self._paused.get(node)
        if waiting is not None:
            waiting.append(action)
        elif self._up.get(node):
            action()

    # --- connections --------------------------------------------------------------------------------------------------

    def _of(self, node: int) -> list[_Connection]:
        return [self._connections[pair] for pair in sorted(self._connections) if node in pair]

    def _give_up(self, connection: _Connection, epoch: int, pair: tuple[int, int]) -> Callable[[], None]:
        def give_up() -> None:
            if connection.is_up and connection.epoch == epoch and pair in self._blocked:
                self._break(connection)

        return give_up

    def _break(self, connection: _Connection, notice_seconds: float = 0.05) -> None:
        connection.is_up = False
        connection.epoch += 1
        epoch = connection.epoch
        latest = 0.0
        for node in connection.nodes:
            self.lost += len(connection.stalled[node])
            connection.stalled[node] = []
            delay = self.chance.random() * notice_seconds
            latest = max(latest, delay)
            self.queue.after(delay, self._notice(connection, node, epoch))
        self._try_later(connection, latest + self.chance.uniform(0.001, 0.2))

    def _notice(self, connection: _Connection, node: int, epoch: int) -> Callable[[], None]:
        first, second = connection.nodes
        peer = second if node == first else first

        def tell() -> None:
            if connection.told[node]:
                connection.told[node] = False
                self.listener.disconnected(node, peer)

        def notice() -> None:
            if connection.epoch == epoch and not connection.is_up and self._up.get(node):
                self.hand(node, tell)

        return notice

    def _try_later(self, connection: _Connection, delay: float) -> None:
        epoch = connection.epoch

        def attempt() -> None:
            first, second = connection.nodes
            if connection.is_up or connection.epoch != epoch:
                return
            if not (self._up.get(first) and self._up.get(second)):
                return  # `start` tries again
            is_blocked = (first, second) in self._blocked or (second, first) in self._blocked
            if is_blocked or first in self._paused or second in self._paused or any(connection.told.values()):
                self._try_later(connection, self.chance.uniform(0.05, 0.25))
                return
            connection.is_up = True
            connection.told = dict.fromkeys(connection.nodes, True)
            connection.arrival = dict.fromkeys(connection.nodes, self.queue.now)
            for node, peer in ((first, second), (second, first)):
                if connection.told[node]:
                    self.listener.connected(node, peer)

        self.queue.after(delay, attempt)
