"""Playing a recorded log back: the machine as it was behind any entry, each recorded root checked on the way there.

A playback runs the log under a class, as a replay of the detector does, but for whoever wants to look at the machine in
between: an entry at a time, forwards, or at once to any index. On its way it keeps snapshots in memory, so that going
back is loading the one before and running what lies between. What was recorded is compared whenever it is passed; the
first root that is not the recorded one ends the playback.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Generic, TypeVar, cast

import lz4.frame
import msgspec

from rsm.codec.record import RecordKind
from rsm.desync.blame import plain_replica
from rsm.desync.recording import Recording
from rsm.errors import CallerError, DivergenceError
from rsm.limits import HASH_INTERVAL_ENTRIES, PLAYBACK_BYTES_MAX, PLAYBACK_SNAPSHOTS_MAX
from rsm.machine.machine import StateMachine
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.files import located
from rsm.node.storage.scan import Scanned
from rsm.node.storage.snapshots import read_snapshot
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts, restore

__all__ = ["Playback", "Played", "replay"]

M = TypeVar("M", bound=StateMachine)
# Records of a snapshot, compressed each.
Kept = list[tuple[RecordKind, bytes]]


class Played(msgspec.Struct, frozen=True):
    """An entry that was applied: its index, the log's time in nanoseconds, the state root if it is a hash point, and
    whether that root was recorded, too (and so is equal).
    """

    index: int
    log_time: int
    root: bytes | None = None
    is_checked: bool = False


class Playback(Generic[M]):
    """Made by `rsm.replay`. Iterating goes forwards from where it stands to the end of the log."""

    def __init__(self, machine: type[M], recording: Recording) -> None:
        """`CallerError` if the recording has nothing to begin from."""
        self._machine_class = machine
        self._recording = recording
        starts = recording.starts()
        if not starts:
            raise CallerError(f"{recording.path}: there is no snapshot behind which its log begins")
        self._start = starts[0]
        self._saved: dict[int, Kept] = {}
        self._saved_bytes = 0
        self._spacing = HASH_INTERVAL_ENTRIES  # entries between two snapshots kept, at least
        self._checked_to = self._start
        self.roots_checked = 0
        self._replica = self._fresh()
        self._entries = recording.entries(self._start)
        self._chain = bytes(16)

    @property
    def machine(self) -> M:
        """The machine behind the last entry; after `seek` perhaps another object."""
        return cast(M, self._replica.machine)

    @property
    def index(self) -> int:
        """The last entry that was applied."""
        return self._replica.index

    @property
    def first_index(self) -> int:
        """Where it can begin: 0, or the index of the snapshot that the log continues."""
        return self._start

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Why not all that was recorded has been compared: roots that cannot be read and, once the end of the log has
        been reached, a torn tail.
        """
        torn = self._recording.log.torn
        tail = () if torn is None else (f"{torn.path}: offset {torn.offset}: torn tail of {torn.bytes} bytes",)
        return (*self._recording.unchecked, *tail)

    def next(self) -> Played | None:
        """Apply the next entry; None at the end of the log.

        `DivergenceError` if its root is not the recorded one, `ReleaseMissing` if it is of a version that the class
        does not ship, `CorruptFile` for damage.
        """
        scanned = next(self._entries, None)
        return None if scanned is None else self._apply(scanned)

    def seek(self, index: int) -> Played | None:
        """Go to an index, forwards or back; it stays at the end of the log if that comes first.

        Returns what the last entry came to; None if none was applied.
        """
        at = max((kept for kept in self._saved if kept <= index), default=self._start)
        if index < self.index or at > self.index:
            self._replica = self._fresh() if at == self._start else self._load(at)
            self._entries = self._recording.entries(at)
        played = None
        while self.index < index and (one := self.next()) is not None:
            played = one
        return played

    def _apply(self, scanned: Scanned) -> Played:
        replica, index = self._replica, scanned.entry.index
        applied = replica.apply(scanned.entry)
        self._chain = scanned.chain
        is_checked = self._check(index, applied.root)
        if applied.root is not None and index >= max(self._saved, default=self._start) + self._spacing:
            self._save(index)
        return Played(index, replica.system.clock, applied.root, is_checked)

    def _check(self, index: int, root: bytes | None) -> bool:
        difference = self._replica.difference
        if difference is not None:
            raise DivergenceError(
                f"{self._recording.path}: index {difference.index}: the root is {difference.root.hex()}, and a quorum "
                f"has confirmed {difference.confirmed.hex()}"
            )
        recorded = [] if root is None else self._recording.expected.get(index, [])
        if not recorded:
            return False
        # A book has both roots of whoever was healed there.
        if all(one.root != root for one in recorded):
            raise DivergenceError(
                f"{self._recording.path}: index {index}: the root is {(root or b'').hex()}, and "
                f"{recorded[0].where} has {recorded[0].root.hex()}"
            )
        if index > self._checked_to:
            self._checked_to = index
            self.roots_checked += 1
        return True

    # --- snapshots in memory ------------------------------------------------------------------------------------------

    def _save(self, index: int) -> None:
        kept = [(kind, lz4.frame.compress(payload)) for kind, payload in parts(self._replica, self._chain)]
        self._saved[index] = kept
        self._saved_bytes += _size(kept)
        while len(self._saved) > PLAYBACK_SNAPSHOTS_MAX or self._saved_bytes > PLAYBACK_BYTES_MAX:
            # Twice as far apart: every second one goes.
            for old in sorted(self._saved)[::2]:
                self._saved_bytes -= _size(self._saved.pop(old))
            self._spacing *= 2

    def _load(self, index: int) -> Replica:
        replica = plain_replica(self._machine_class)
        restore(replica, ((kind, lz4.frame.decompress(payload)) for kind, payload in self._saved[index]))
        return replica

    def _fresh(self) -> Replica:
        replica = plain_replica(self._machine_class)
        if self._start:
            path = self._recording.snapshots[self._start]
            with located(path, 0):
                restore(replica, read_snapshot(self._recording.disk, path))
        return replica

    # --- as an iterator -----------------------------------------------------------------------------------------------

    def __iter__(self) -> Iterator[Played]:
        return self

    def __next__(self) -> Played:
        played = self.next()
        if played is None:
            raise StopIteration
        return played

    def __enter__(self) -> Playback[M]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._saved.clear()


def replay(machine: type[M], path: str) -> Playback[M]:
    """Play a log back under a class: the directory of a machine, of a node or of an observer's `record`, the file that
    `rsm log export` wrote, or a bundle of evidence. It is read, not locked or changed.

        playback = rsm.replay(Bank, "bank-data")
        for played in playback:
            print(played.index, playback.machine.balance("ann"))

    Every root that was recorded with the log is compared; a difference is a `DivergenceError`, whose reason `rsm desync
    replay` finds. It begins with the first entry, or with the snapshot behind which the log begins. Versions of the
    machine come into force where they did then. `StorageError` if there is no log, `CorruptFile` for damage,
    `CallerError` if there is nothing to begin from.
    """
    return Playback(machine, Recording(OsDisk(), path))


def _size(kept: Kept) -> int:
    return sum(len(payload) for _, payload in kept)
