"""One node of a simulated cluster: a real `Member` on a disk that fails, with a clock that lies, and a life that ends.

What the runner does in production is done here under the virtual clock: time passes by `tick`, what `outbox` holds goes
to the network as bytes, and a sync of the log takes as long as the disk wants. A pause stops all of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final, Protocol

from rsm.machine.machine import StateMachine
from rsm.node.member import Member, MemberOptions
from rsm.node.opening.bootstrap import is_prepared, prepare
from rsm.raft.configuration import Configuration
from rsm.raft.messages import decode_message, encode_message
from rsm.testing.disk import FaultDisk, PowerCut, Survival
from rsm.testing.network import EventQueue, Network

__all__ = ["Host", "Process"]

PATH: Final = "/node"
EPOCH_NANOSECONDS: Final = 1_700_000_000 * 10**9
WAKE_SECONDS_MIN: Final = 0.0001
WAKE_SECONDS_MAX: Final = 0.05  # half of a heartbeat: what `Member.tick` asks for


class Host(Protocol):
    """Who runs the processes."""

    @property
    def queue(self) -> EventQueue: ...
    @property
    def network(self) -> Network: ...
    @property
    def machine(self) -> type[StateMachine]: ...
    @property
    def cluster_id(self) -> bytes: ...

    def options(self, node: int) -> MemberOptions:
        """How a node runs."""

    def observe(self, process: Process) -> None:
        """Something happened to a node."""

    def crashed(self, process: Process, error: Exception) -> None:
        """A node stopped by itself."""

    def lost_power(self, process: Process) -> None:
        """The power went in the middle of an operation of its disk."""


class Process:
    """A node, running or not. `starts` counts its processes; `member` is None while there is none."""

    def __init__(self, node: int, host: Host, chance: random.Random) -> None:
        self.node = node
        self.disk = FaultDisk()
        self.member: Member | None = None
        self.starts = 0
        self.machine: type[StateMachine] | None = None  # other code than the others'
        self.release: type[StateMachine] | None = None  # another release of the machine than the newest
        self.is_wanted = True  # whether it is to be started again when it is down
        self.clock_offset_seconds = 0.0
        self.clock_rate = 1.0
        self.sync_seconds = chance.choice((0.0003, 0.001, 0.01))
        self._host = host
        self._chance = chance
        self._is_syncing = False
        self._wake_at: float | None = None

    # --- starting and stopping ----------------------------------------------------------------------------------------

    def start(self, configuration: Configuration) -> None:
        """Start a process; a directory that there is not yet is prepared with `configuration`."""
        if self.member is not None:
            return
        host, machine = self._host, self.machine or self.release or self._host.machine
        self.starts += 1
        self._is_syncing = False
        self._wake_at = None
        try:
            if not is_prepared(self.disk, PATH):
                prepare(self.disk, PATH, machine, configuration, host.cluster_id)
            self.member = Member.open(
                machine,
                host.options(self.node),
                self.disk,
                now=host.queue.now,
                wall_clock=self.wall_clock,
                chance=random.Random(self._chance.random()),
            )
        except PowerCut:
            host.lost_power(self)
            return
        except Exception as error:
            host.crashed(self, error)
            return
        member = self.member
        member.dispatch = lambda: self._dispatch(member)
        host.network.start(self.node)
        self.call(lambda member: member.tick(host.queue.now))

    def kill(self, *, notice_seconds: float = 0.05) -> None:
        """The process is gone, in the middle of whatever it did; its disk stays as it is."""
        self.member = None
        self._host.network.stop(self.node, notice_seconds=notice_seconds)
        self.disk.process_died()
        # What was planned to happen to the process happens to no other.
        self.disk.cut_at_write = self.disk.cut_at_sync = self.disk.fail_sync_at = None

    def cut_power(self, survival: Survival, seed: int) -> None:
        """The machine loses power: of what was not synced, its disk keeps what `survival` says."""
        self.kill(notice_seconds=1.0)
        space = self.disk.space_bytes
        self.disk = self.disk.restart(survival, seed)
        self.disk.space_bytes = space

    def wipe(self) -> None:
        """Its directory is removed, or its disk exchanged."""
        if self.member is not None:
            self.kill()
        self.disk = FaultDisk()

    def wall_clock(self) -> int:
        """Nanoseconds since 1970, as this machine has them."""
        seconds = self._host.queue.now * self.clock_rate + self.clock_offset_seconds
        return EPOCH_NANOSECONDS + int(seconds * 10**9)

    # --- running ------------------------------------------------------------------------------------------------------

    def call(self, action: Callable[[Member], None]) -> None:
        """Have the member do something, and do what follows from it."""
        member = self.member
        if member is None:
            return
        try:
            action(member)
            member.flush(self._host.queue.now)
        except PowerCut:
            self._host.lost_power(self)
            return
        except Exception as error:
            # As its runner would: close what can be closed, and end.
            self.member = None
            self._close(member)
            self._host.crashed(self, error)
            return
        if self.member is member:
            self._settle(member)

    def _close(self, member: Member) -> None:
        try:
            member.close()
        except (Exception, PowerCut):
            return  # it had failed already

    def _settle(self, member: Member) -> None:
        host = self._host
        self._dispatch(member)
        host.observe(self)
        wait = min(WAKE_SECONDS_MAX, max(WAKE_SECONDS_MIN, member.next_wake(host.queue.now)))
        self._wake(host.queue.now + wait)

    def _dispatch(self, member: Member) -> None:
        host = self._host
        outbox, member.outbox = member.outbox, []
        for peer, message in outbox:
            host.network.send(self.node, peer, encode_message(message))
        if member.needs_sync and not self._is_syncing:
            self._is_syncing = True
            delay = self.sync_seconds * (0.5 + self._chance.expovariate(1.0))
            if self._chance.random() < 0.01:
                delay += self._chance.uniform(0.05, 0.3)
            host.queue.after(delay, lambda: host.network.hand(self.node, lambda: self._synced(member)))

    def _synced(self, member: Member) -> None:
        if self.member is not member:
            return
        self._is_syncing = False

        def sync(member: Member) -> None:
            member.journal.sync()
            member.synced(self._host.queue.now)

        self.call(sync)

    def _wake(self, at: float) -> None:
        if self._wake_at is not None and self._wake_at <= at:
            return
        self._wake_at = at
        host, start = self._host, self.starts

        def tick() -> None:
            if self.starts == start:
                self.call(lambda member: member.tick(host.queue.now))

        def wake() -> None:
            if self._wake_at == at and self.starts == start:
                self._wake_at = None
                host.network.hand(self.node, tick)

        host.queue.at(at, wake)

    # --- the network --------------------------------------------------------------------------------------------------

    def received(self, sender: int, data: Any) -> None:
        """Bytes of another node."""
        message = decode_message(data)
        self.call(lambda member: member.receive(sender, message, self._host.queue.now))

    def connected(self, peer: int) -> None:
        """A connection came up."""
        self.call(lambda member: member.connected(peer, self._host.queue.now))

    def disconnected(self, peer: int) -> None:
        """A connection broke."""
        self.call(lambda member: member.disconnected(peer, self._host.queue.now))
