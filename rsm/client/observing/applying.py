"""What an observer does with what it has received: an update for each entry that it applies.

The replica is applied, compared with the roots of the cluster, and healed where it differs
(`rsm.client.observing.healing`); of events only there is no replica. Nothing here waits: where there is nothing to do,
there is no update.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby

import msgspec

from rsm.client.events import decoded_event
from rsm.client.observing.healing import Fetch, Healing, RecentEntries, completed
from rsm.client.observing.observed import Desync, Update
from rsm.client.observing.received import ReceivedEntries, ReceivedEvents, ReceivedSnapshot
from rsm.client.observing.receiving import Receiver
from rsm.client.observing.record import Record
from rsm.client.observing.tracing import LocatingReplica
from rsm.client.tool import Access
from rsm.codec.record import Entry
from rsm.errors import BadBytes, CallerError, DivergenceError, ReleaseMissing, UnknownFormat
from rsm.limits import OBSERVER_HEALS_MAX
from rsm.machine.definition import Definition
from rsm.machine.machine import StateMachine
from rsm.machine.outcome import Event
from rsm.node.log import describe
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.snapshots import read_snapshot
from rsm.replica.events import RawEvent
from rsm.replica.replica import Replica
from rsm.replica.snapshot import restore

__all__ = ["Following", "make_replica"]

CONFIRMED = "rsm.confirmed"


def make_replica(machine: type[StateMachine], *, trace: bool) -> Replica:
    """An empty replica that notes differences and goes on."""
    replica = LocatingReplica(machine) if trace else Replica(machine)
    replica.is_lone = False
    return replica


class Following:
    """The state of one observer. `replica` is None for events only. Belongs to the thread that calls `advance`."""

    def __init__(
        self,
        definition: Definition,
        access: Access,
        receiver: Receiver,
        make: Callable[[], Replica],
        replica: Replica | None,
        record: Record | None,
    ) -> None:
        self._definition = definition
        self._access = access
        self._receiver = receiver
        self._inbox = receiver.inbox
        self._make = make
        self.replica = replica
        self._record = record
        self._recorded: Iterator[Entry] = iter(())
        if record is not None and replica is not None:
            self._recorded = record.entries(replica.index)
        self._entries: deque[Entry] = deque()
        self._roots: dict[int, bytes] = {}  # of the node at `_source`, for the entries that wait
        self._source = ("", 0)
        self._distrusted = 0  # roots of subscriptions up to this one do not count
        # Of events: with each the number of its last event, and the index that is done with it.
        self._updates: deque[tuple[Update | None, int, int]] = deque()
        self._event_index = self._event_number = 0
        self._recent = RecentEntries()
        # Its state was right where it began, and as far as it is known at the index after that.
        self._begun_index = self._good_index = 0 if replica is None else replica.index
        self._healing: Healing | None = None
        self._heals = self._heals_in_a_row = 0
        self.roots_checked = self.snapshots = 0

    @property
    def index(self) -> int:
        """Up to which entry everything has been applied, or handed out."""
        return self._event_index if self.replica is None else self.replica.index

    @property
    def event_number(self) -> int:
        """The number of the newest event up to there."""
        return self._event_number if self.replica is None else self.replica.ring.newest

    def close(self) -> None:
        """End what is under way, and the record. May be called twice."""
        healing = self._healing
        if healing is not None:
            healing.fetch.close()
        if self._record is not None:
            self._record.close()

    def advance(self) -> Update | None:
        """The next update, as far as it can be told now. Whatever it raises, it is over."""
        healing = self._healing
        while True:
            if healing is not None:
                manifest = healing.fetch.manifest
                if manifest is None:
                    failure = healing.fetch.failure or self._receiver.failure
                    if failure is not None:
                        raise failure
                    return None
                if self.index >= manifest.index or healing.is_broken:
                    return self._heal(healing)
            if self._updates:
                update = self._next_events()
                if update is not None:
                    return update
                continue
            if self._entries:
                return self._apply(self._entries[0])
            entry = next(self._recorded, None)
            if entry is not None:
                self._entries.append(entry)
                continue
            received = self._inbox.take()
            if received is None:
                if self._receiver.failure is not None:
                    raise self._receiver.failure
                return None
            if isinstance(received, ReceivedEntries):
                self._take(received)
            elif isinstance(received, ReceivedSnapshot):
                update = self._install(received)
                if update is not None:
                    return update
            else:
                self._take_events(received)

    def _take(self, received: ReceivedEntries) -> None:
        if self._record is not None:
            self._record.append(received.entries)
        self._entries.extend(entry for entry in received.entries if entry.index > self.index)
        self._roots, self._source = received.roots, (received.address, received.subscription)

    @property
    def _state(self) -> Replica:
        if self.replica is None:
            raise CallerError("an observer of events only has no machine")
        return self.replica

    # --- entries ------------------------------------------------------------------------------------------------------

    def _apply(self, entry: Entry) -> Update:
        replica = self._state
        events_before, compared_before = replica.ring.newest, replica.compared_index
        try:
            applied = replica.apply(entry)
        except (ReleaseMissing, BadBytes, UnknownFormat):
            raise
        except Exception as error:
            self._recent.add(entry)
            self._entries.popleft()
            desync = self._differs(entry.index, b"", b"", "", f"entry cannot be applied: {describe(error)}")
            return self._update(replica, entry.index, desync=self._begin_healing(desync, is_broken=True))
        self._recent.add(entry)
        self._entries.popleft()
        events = self._events(replica, events_before)
        if applied.root is not None and self._record is not None:
            self._record.note(entry.index, applied.root)
        told = self._check(replica, entry.index, applied.root, compared_before)
        return self._update(replica, entry.index, events, applied.root, desync=told)

    def _update(
        self,
        replica: Replica,
        index: int,
        events: tuple[Event, ...] = (),
        root: bytes | None = None,
        *,
        snapshot: bool = False,
        desync: Desync | None = None,
    ) -> Update:
        return Update(index, replica.system.clock, events, root, snapshot, desync, replica.ring.newest)

    def _events(self, replica: Replica, before: int) -> tuple[Event, ...]:
        ring = replica.ring
        if ring.newest == before:
            return ()
        first = max(before, ring.oldest - 1)
        found = ring.after(first, ring.newest - first)
        return tuple(decoded_event(replica.definition, event) for _, event in found)

    def _check(self, replica: Replica, index: int, root: bytes | None, compared_before: int) -> Desync | None:
        """Compare what there is to compare; what differs, if it is news."""
        confirmed, replica.difference = replica.difference, None
        theirs = self._roots.get(index) if self._source[1] > self._distrusted else None
        if replica.compared_index != compared_before:
            self.roots_checked += 1
        if self._healing is not None:
            return None
        if confirmed is not None:
            self.roots_checked += 1
            if confirmed.index <= self._good_index:  # the node agreed there, and is wrong as well
                self._good_index = max(self._begun_index, confirmed.good_index)
            reason = "the root that a quorum has confirmed is another one"
            found = self._differs(confirmed.index, confirmed.root, confirmed.confirmed, CONFIRMED, reason)
        elif root is not None and theirs is not None and root != theirs:
            self.roots_checked += 1
            found = self._differs(index, root, theirs, self._source[0], "the node has another root")
        elif replica.fault:
            found = self._differs(index, b"", b"", "", replica.fault)
        else:
            if root is not None and theirs is not None:
                self.roots_checked += 1
                self._agrees(replica, index)
            elif replica.compared_index > self._good_index:  # of old entries a node has no roots, but the log has
                self._agrees(replica, replica.compared_index)
            return None
        return self._begin_healing(found, is_broken=False)

    def _agrees(self, replica: Replica, index: int) -> None:
        self._good_index = index
        self._heals_in_a_row = 0
        self._recent.clear(index)
        if isinstance(replica, LocatingReplica):
            replica.forget(index)
        if self._record is not None and index == replica.index:
            self._record.at_good_root(replica)

    # --- differences --------------------------------------------------------------------------------------------------

    def _differs(self, index: int, root: bytes, expected: bytes, source: str, reason: str) -> Desync:
        command = self._recent.only_command(self._state, index)
        return Desync(
            index=index,
            root=root,
            expected=expected,
            source=source,
            reason=f"index {index}: {reason}",
            good_index=min(self._good_index, index - 1),
            command=command,
        )

    def _begin_healing(self, desync: Desync, *, is_broken: bool) -> Desync:
        self._heals += 1
        self._heals_in_a_row += 1
        if self._heals_in_a_row > OBSERVER_HEALS_MAX:
            raise DivergenceError(f"{desync.reason}, again after a healing: this process does not do what the log says")
        path = os.path.join(self._receiver.spool, f"heal-{self._heals}.snapshot")
        at = max(desync.index, self.index)
        name = self._definition.name
        fetch = Fetch(self._access, self._receiver.addresses, name, at, path, self._inbox.wake)
        self._healing = Healing(desync, fetch, is_broken, self._source[1])
        return desync

    def _heal(self, healing: Healing) -> Update:
        """A confirmed snapshot of this index is here, or one behind what is broken."""
        healing.fetch.close()
        own, healed = self._state, self._make()
        path = healing.fetch.path
        index = self._restore(healed, path)
        self._healing = None
        desync = healing.desync
        if not healing.is_broken and own.index == index and own.root() == healed.root() and not own.fault:
            os.unlink(path)
            self._distrusted = healing.subscription
            self._receiver.leave(desync.source)
            self._agrees(own, index)
            told = msgspec.structs.replace(desync, verdict="node", healed_index=index)
            return self._update(own, index, desync=told)
        if healing.is_broken or own.index != index:
            told = msgspec.structs.replace(desync, verdict="observer", healed_index=index)
        else:
            told = completed(desync, own, healed, self._recent)
            if self._record is not None:
                told = msgspec.structs.replace(told, evidence=self._record.write_evidence(told, own))
        return self._replace(healed, path, told)

    def _install(self, received: ReceivedSnapshot) -> Update | None:
        """What the node sent instead of entries."""
        if received.manifest.index <= self.index and self.replica is not None and self.replica.index:
            os.unlink(received.path)
            return None
        healed = self._make()
        self._restore(healed, received.path)
        told: Desync | None = None
        healing, self._healing = self._healing, None
        if healing is not None:
            healing.fetch.close()
            with contextlib.suppress(FileNotFoundError):
                os.unlink(healing.fetch.path)
            told = msgspec.structs.replace(healing.desync, verdict="observer", healed_index=healed.index)
        return self._replace(healed, received.path, told)

    def _restore(self, replica: Replica, path: str) -> int:
        try:
            manifest = restore(replica, read_snapshot(OsDisk(), path))
        except BadBytes as error:
            raise DivergenceError(f"a snapshot of the cluster is another state here: {error}") from error
        return manifest.index

    def _replace(self, replica: Replica, path: str, desync: Desync | None) -> Update:
        self.replica = replica
        self.snapshots += 1
        self._begun_index = self._good_index = replica.index
        self._recent.clear(replica.index)
        while self._entries and self._entries[0].index <= replica.index:
            self._entries.popleft()
        if self._record is not None:
            self._record.add_snapshot(path, replica.index)
        os.unlink(path)
        root = replica.roots.get(replica.index)
        return self._update(replica, replica.index, (), root, snapshot=True, desync=desync)

    # --- events only --------------------------------------------------------------------------------------------------

    def _take_events(self, received: ReceivedEvents) -> None:
        is_behind_gap = received.is_behind_gap
        for index, group in groupby(received.events, key=lambda event: event.index):
            found = list(group)
            raw = (RawEvent(one.index, one.position, one.step, one.n, one.packed) for one in found)
            events = tuple(decoded_event(self._definition, one) for one in raw)
            number = found[-1].number
            update = Update(index, 0, events, snapshot=is_behind_gap, event_number=number)
            self._updates.append((update, number, index))
            is_behind_gap = False
        gap = Update(received.applied, 0, (), None, True, None, received.last) if is_behind_gap else None
        self._updates.append((gap, received.last, received.applied))

    def _next_events(self) -> Update | None:
        update, self._event_number, index = self._updates.popleft()
        self._event_index = max(self._event_index, index)
        return update
