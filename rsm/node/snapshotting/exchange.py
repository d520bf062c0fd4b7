"""Snapshots between nodes, as one node has them: those that it sends while it leads, and the one that it receives.

`rsm.node.snapshotting.installing` knows how one of them travels; here is when it begins, for whom, and what its end
means. Only a confirmed snapshot is offered. The one that is on its way keeps the log behind it, which its node will
need next.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import Future

from rsm.errors import BadBytes, CorruptFile, RsmError, StorageError, WrongMachine
from rsm.limits import SNAPSHOT_RETRY_SECONDS, SNAPSHOT_STALL_SECONDS_MAX
from rsm.machine.machine import StateMachine
from rsm.node.log import describe, logger
from rsm.node.snapshotting.installing import SnapshotReceiver, SnapshotSender
from rsm.node.snapshotting.snapshotter import Snapshots
from rsm.node.storage.journal import Journal
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.raft.cluster import ClusterEngine
from rsm.raft.messages import Message, SnapshotAck, SnapshotChunk, SnapshotOffer, SnapshotResult, SnapshotWant
from rsm.replica.replica import Replica

__all__ = ["SnapshotExchange"]


class SnapshotExchange:
    """Both sides. `say` sends a message; `install` is called with a replica that is to take over."""

    def __init__(
        self,
        machine: type[StateMachine],
        engine: ClusterEngine,
        journal: Journal,
        files: SnapshotFiles,
        snapshots: Snapshots,
        replica: Callable[[], Replica],
        install: Callable[[SnapshotReceiver], None],
        say: Callable[[int, Message], None],
    ) -> None:
        self._machine = machine
        self._engine = engine
        self._journal = journal
        self._files = files
        self._snapshots = snapshots
        self._replica = replica
        self._install = install
        self._say = say
        self._senders: dict[int, SnapshotSender] = {}
        self._offer_from: dict[int, float] = {}  # not before this, to a member that could not take the last one
        self._wanted: Future[int] | None = None  # there is none to offer yet
        self._receiver: SnapshotReceiver | None = None
        self._heard_at = 0.0  # when the leader last sent a part

    @property
    def is_receiving(self) -> bool:
        """Whether a snapshot is on its way in."""
        return self._receiver is not None

    def next_wake(self, now: float) -> float | None:
        """Seconds until the bound on speed lets a part go; None if nothing waits for that."""
        waits = [at - now for sender in self._senders.values() if (at := sender.next_at()) is not None]
        return max(0.0, min(waits)) if waits else None

    def disconnected(self, peer: int) -> None:
        """The connection to a node broke: what was on its way is lost."""
        self._senders.pop(peer, None)

    def stop_leading(self) -> None:
        """Another node leads, and will see to the others."""
        self._senders.clear()

    def close(self) -> None:
        """Give up."""
        self._senders.clear()
        self._drop_receiver()

    def advance(self, now: float) -> bool:
        """Send what may be sent, go on with what came; whether there is more to do at once."""
        for peer, sender in sorted(self._senders.items()):
            self._send(peer, sender, now)
        self._snapshots.keep_from = min((sender.index for sender in self._senders.values()), default=0)
        receiver = self._receiver
        if receiver is None:
            return False
        if self._engine.leader not in (None, receiver.leader) or now - self._heard_at > SNAPSHOT_STALL_SECONDS_MAX:
            self._drop_receiver()  # the next leader begins anew, if a snapshot is needed at all
            return False
        return self._receive_on(receiver)

    # --- the leader's side --------------------------------------------------------------------------------------------

    def offer(self, peer: int, now: float) -> None:
        """A member needs what the log no longer holds."""
        if peer in self._senders or now < self._offer_from.get(peer, 0.0):
            return
        confirmed = self._replica().compared_index
        indexes = [index for index in self._files.indexes() if index + 1 >= self._journal.first_index]
        if not indexes and (self._wanted is None or self._wanted.done()):
            self._wanted = self._snapshots.ask()
        index = max((index for index in indexes if index <= confirmed), default=0)
        term = self._engine.replication.log.term_at(index)
        if not index or term is None:
            return  # there is one that is not confirmed yet: that takes a second at most
        try:
            self._senders[peer] = SnapshotSender(self._files, index, self._engine.term, term, now)
        except (CorruptFile, StorageError) as error:
            self._set_aside(index, error)

    def serve(self, peer: int, message: SnapshotWant | SnapshotAck | SnapshotResult, now: float) -> None:
        """What a member says about the snapshot that it was offered."""
        sender = self._senders.get(peer)
        if sender is None or sender.index != message.index:
            return
        if isinstance(message, SnapshotWant):
            sender.want(message, now)
        elif isinstance(message, SnapshotAck):
            sender.acknowledged(message, now)
        else:
            if not message.installed:
                logger.error("a node did not install a snapshot", node=peer, index=message.index, reason=message.reason)
                self._offer_from[peer] = now + SNAPSHOT_RETRY_SECONDS
            del self._senders[peer]
            self._engine.snapshot_ended(peer, message.index if message.installed else 0)

    def _send(self, peer: int, sender: SnapshotSender, now: float) -> None:
        try:
            while (message := sender.advance(now)) is not None:
                self._say(peer, message)
        except (CorruptFile, StorageError) as error:
            del self._senders[peer]
            self._set_aside(sender.index, error)
            return
        if sender.is_stalled(now):
            del self._senders[peer]

    def _set_aside(self, index: int, error: RsmError) -> None:
        logger.error("a snapshot cannot be sent", index=index, error=str(error))
        with contextlib.suppress(StorageError):  # it may be gone by now: there is a newer one
            self._files.set_aside(index)

    # --- the member's side --------------------------------------------------------------------------------------------

    def receive(self, leader: int, message: SnapshotOffer | SnapshotChunk, now: float) -> None:
        """What the leader says about a snapshot."""
        self._heard_at = now
        receiver = self._receiver
        try:
            if isinstance(message, SnapshotChunk):
                if receiver is not None and receiver.leader == leader:
                    receiver.add(message)
                    self._say(leader, receiver.acknowledgement(self._engine.term))
                return
            if self._is_held(message.index, message.index_term):
                self._report(leader, message.index, "")
                return
            if receiver is None or not receiver.is_for(leader, message):
                self._drop_receiver()
                logger.info("receiving a snapshot", index=message.index, leader=leader)
                receiver = SnapshotReceiver(self._machine, self._replica(), self._files, leader, message)
                self._receiver = receiver
            self._say(leader, receiver.want(self._engine.term))
        except (BadBytes, WrongMachine, StorageError) as error:
            self._give_up(leader, message.index, error)

    def _receive_on(self, receiver: SnapshotReceiver) -> bool:
        try:
            has_more = receiver.advance()
            if receiver.is_complete:
                receiver.finish()
                self._receiver = None
                manifest = receiver.manifest
                if not self._is_held(manifest.index, manifest.term):
                    self._install(receiver)
                    logger.info("installed a snapshot", index=manifest.index)
                self._report(receiver.leader, manifest.index, "")
        except (BadBytes, WrongMachine, StorageError) as error:
            if not self._journal.is_usable:
                raise
            self._give_up(receiver.leader, receiver.offer.index, error)
            return False
        return has_more

    def _is_held(self, index: int, term: int) -> bool:
        """Whether a snapshot of this index brings nothing; the log may even go on behind it, and must be kept."""
        return index <= self._replica().index or self._engine.holds(index, term)

    def _give_up(self, leader: int, index: int, error: RsmError) -> None:
        logger.error("the snapshot cannot be installed", index=index, error=describe(error))
        self._drop_receiver()
        self._report(leader, index, str(error)[:500] or type(error).__name__)

    def _drop_receiver(self) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.abort()

    def _report(self, leader: int, index: int, reason: str) -> None:
        self._say(leader, SnapshotResult(self._engine.term, index, not reason, reason))
