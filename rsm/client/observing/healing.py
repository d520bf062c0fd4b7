"""What an observer does about a difference: it fetches a confirmed state, and says where its own is another.

The observer stands still while the snapshot is on its way, on a connection of its own; what its node sends meanwhile
waits. With the snapshot here it applies up to the snapshot's index, right or wrong, so that two states of one index can
be compared.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from rsm.client.observing.feed_connection import FeedConnection, IncomingSnapshot
from rsm.client.observing.observed import Desync, DesyncCommand, DesyncLine, DesyncPath
from rsm.client.observing.tracing import LocatingReplica, Ran, lines_of
from rsm.client.tool import Access
from rsm.codec.record import Entry
from rsm.errors import BadBytes, Closed, NotLeader, RsmError, StorageError
from rsm.limits import (
    BUCKETS,
    DIFFERENT_LEAVES_MAX,
    DIFFERENT_PATHS_MAX,
    OBSERVER_KEPT_BYTES_MAX,
    RECONNECT_SECONDS_MAX,
    RECONNECT_SECONDS_MIN,
)
from rsm.node.feed.frames import FeedEntries, FeedSnapshot, Skip
from rsm.node.log import describe, logger
from rsm.node.network.protocol import Observe
from rsm.node.storage.disk import OsDisk
from rsm.replica.naming import Item, Names, items_of
from rsm.replica.replica import Replica
from rsm.replica.snapshot import Manifest
from rsm.state.diff import differences
from rsm.state.leaf import ABSENT

__all__ = ["Fetch", "Healing", "RecentEntries", "completed"]

SYSTEM = "rsm."


class Fetch:
    """Fetches a confirmed snapshot that is not older than an index, in a thread of its own, for as long as it takes.
    Only a disk that cannot take it ends it before.
    """

    def __init__(
        self, access: Access, addresses: Sequence[str], machine: str, index: int, path: str, notify: Callable[[], None]
    ) -> None:
        """`path`: where the file goes. `notify` is called in the thread when it is there."""
        self.manifest: Manifest | None = None
        self.failure: RsmError | None = None  # why it has given up
        self.path = path
        self._access = access
        self._addresses = list(addresses)
        self._machine = machine
        self._index = index
        self._notify = notify
        self._connection: FeedConnection | None = None
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rsm-observer-heal", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        pause_seconds, turn, sent_to = RECONNECT_SECONDS_MIN, 0, ""
        while not self._is_closed.is_set():
            address, sent_to = sent_to or self._addresses[turn % len(self._addresses)], ""
            try:
                self.manifest = self._fetch(address)
                break
            except NotLeader as error:
                sent_to = "" if error.address == address else error.address
                turn += not sent_to
            except StorageError as error:  # our disk's: no other node will do better
                self.failure = error
                break
            except RsmError as error:
                turn += 1
                if not self._is_closed.is_set():
                    logger.warning("no snapshot to heal with", error=str(error))
            except Exception as error:  # ours: the observer must not wait for ever
                self.failure = Closed(f"the observer has stopped: no snapshot to heal with: {describe(error)}")
                self.failure.__cause__ = error
                break
            self._is_closed.wait(pause_seconds)
            pause_seconds = min(2 * pause_seconds, RECONNECT_SECONDS_MAX)
        self._notify()

    def _fetch(self, address: str) -> Manifest:
        disk = OsDisk()
        if disk.exists(self.path):
            disk.unlink(self.path)
        with FeedConnection(address, self._access) as connection, IncomingSnapshot(disk, self.path) as incoming:
            self._connection = connection
            if self._is_closed.is_set():
                raise Closed("not wanted any more")
            connection.observe(Observe(self._index, b"", 0, [], True), self._machine)
            manifest: Manifest | None = None
            while manifest is None:  # closing ends the connection
                frame = connection.frame()
                if isinstance(frame, FeedSnapshot):
                    manifest = incoming.add(frame)
                elif isinstance(frame, (FeedEntries, Skip)):
                    raise BadBytes(f"{address}: sent no snapshot")
        if manifest.index < self._index:
            raise BadBytes(f"{address}: sent the snapshot of index {manifest.index}, before index {self._index}")
        return manifest

    def close(self) -> None:
        """Give up; the thread is over."""
        self._is_closed.set()
        connection = self._connection
        if connection is not None:
            connection.abort()
        self._thread.join()


class Healing(NamedTuple):
    """A difference that is being looked into. `is_broken`: the observer's state is no state at all."""

    desync: Desync
    fetch: Fetch
    is_broken: bool
    subscription: int


class RecentEntries:
    """The entries since the last root that agreed, as far as there is room: among them is the bad command."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._gone_to = 0  # for want of room, since that root

    def add(self, entry: Entry) -> None:
        """An entry that was, or will be, applied."""
        self._entries.append(entry)
        self._bytes += len(entry.payload)
        while self._bytes > OBSERVER_KEPT_BYTES_MAX:
            self._gone_to = self._drop()

    def _drop(self) -> int:
        entry = self._entries.popleft()
        self._bytes -= len(entry.payload)
        return entry.index

    def clear(self, to_index: int) -> None:
        """A root agreed there."""
        while self._entries and self._entries[0].index <= to_index:
            self._drop()
        if self._gone_to <= to_index:
            self._gone_to = 0

    def only_command(self, replica: Replica, to_index: int) -> DesyncCommand | None:
        """The one command of a client in them, up to an index; None if there are others, or may be."""
        found = [item for entry in self._entries if entry.index <= to_index for item in _items(entry, replica)]
        return _command(found[0]) if len(found) == 1 and not self._gone_to else None

    def command(self, replica: Replica, ran: Ran) -> DesyncCommand:
        """What is known of a command that has run."""
        for entry in self._entries:
            if entry.index == ran.index:
                for item in _items(entry, replica):
                    if item.position == ran.position:
                        return _command(item)
        return DesyncCommand(ran.name, 0, {}, ran.position)


def _items(entry: Entry, replica: Replica) -> list[Item]:
    names = Names()
    definition = replica.definition
    names.declare(definition.name, definition.version, replica.schema or definition.schema())
    try:
        return [item for item in items_of(entry, names) if not item.is_system]
    except BadBytes:
        return []


def _command(item: Item) -> DesyncCommand:
    call, position = item.call, item.position
    if call is None or position is None:
        raise ValueError("an entry without commands")
    values = call.values if item.steps is None else {"steps": [[one.name, one.values] for one in item.steps]}
    return DesyncCommand(call.name, call.version, values, position)


def completed(desync: Desync, own: Replica, healed: Replica, recent: RecentEntries) -> Desync:
    """The difference with all that two states of one index tell about it; then `own` is no good for anything else."""
    if own.fault:  # something else than a command did it, and the sums do not know
        for ledger in own.store.ledgers.values():
            ledger.settle()
            for bucket in range(BUCKETS):
                ledger.sums[bucket] = ledger.recompute(bucket)
    paths = []
    for path, mine, theirs in differences(own.store, healed.store, limit=DIFFERENT_LEAVES_MAX):
        sides = (None if value is ABSENT else value for value in (mine, theirs))
        paths.append(DesyncPath(path, *sides))
    paths.sort(key=lambda found: found.path.startswith(SYSTEM))
    command = desync.command
    lines: list[DesyncLine] = []
    if isinstance(own, LocatingReplica):
        lines, ran = lines_of(own, healed, desync.index)
        before = [one for one in own.ran if one.index <= desync.index]
        if ran is None and len(before) == 1:
            ran = before[0]
        if ran is not None and own.is_whole:
            command = recent.command(own, ran)
    return msgspec.structs.replace(
        desync,
        verdict="observer",
        healed_index=healed.index,
        command=command,
        paths=tuple(paths[:DIFFERENT_PATHS_MAX]),
        lines=tuple(lines),
    )
