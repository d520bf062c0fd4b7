"""Running a recorded log under a class, step by step, and comparing the roots that come out with those recorded.

A step ends at a hash point; where two sides are compared, behind any entry, since roots can be taken anywhere. While it
runs, a checkpoint keeps where it began, so a difference that shows at its end can be looked at again from there
(`rewind`), this time recording what each command does (`rsm.desync.bisect`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from rsm.codec.record import RecordKind
from rsm.codec.shapes import make_known
from rsm.desync.blame import Recorder, plain_replica
from rsm.desync.paths import leaf_values
from rsm.desync.recording import Recording
from rsm.desync.rewinding import Checkpoint
from rsm.errors import BadBytes, CallerError, CorruptFile, DivergenceError, RsmError, WrongMachine
from rsm.limits import DIFFERENT_LEAVES_MAX, REPLAY_STEP_BYTES_MAX, REPLAY_STEP_COMMANDS, REPLAY_STEP_ENTRIES
from rsm.machine.machine import StateMachine
from rsm.node.log import describe
from rsm.node.storage.disk import Disk
from rsm.node.storage.files import located
from rsm.node.storage.scan import Scanned
from rsm.node.storage.snapshots import SnapshotWriter, read_snapshot
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts, restore

__all__ = ["NEWEST", "Progress", "Side", "Unreplayable"]

NEWEST: Final = "newest"
MARKS_KEPT: Final = 2


class Unreplayable(CallerError):
    """It cannot be replayed at all, which says nothing about whether it agrees. `is_damaged`: damage is a reason."""

    def __init__(self, message: str, *, is_damaged: bool = False) -> None:
        super().__init__(message)
        self.is_damaged = is_damaged


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """What one step came to.

    `roots`: (index, root) of its hash points, and of its last entry. `commands` in it, `stop`: (index,
    reason) of an entry that could not be applied. `difference`: (index, own root, confirmed root) that the log holds
    against us; `compared_index`: the last confirmed root that was ours. `fault`: what a scrub found; at the end of the
    log all is scrubbed. `is_damaged`: one of the reasons in `unchecked` is damage.
    """

    index: int
    roots: list[tuple[int, bytes]]
    commands: int
    is_end: bool
    stop: tuple[int, str] | None
    difference: tuple[int, bytes, bytes] | None
    compared_index: int
    fault: str
    unchecked: list[str]
    is_damaged: bool = False


make_known(Progress)


class _Mark:
    """A place to come back to, and the entries behind it."""

    __slots__ = ("behind", "bytes", "chain", "checkpoint")

    def __init__(self, checkpoint: Checkpoint, chain: bytes) -> None:
        self.checkpoint = checkpoint
        self.chain = chain
        self.behind: list[Scanned] = []
        self.bytes = 0


class Side:
    """One class running one recording. `records`: it can record, for which it pays a little on every command."""

    def __init__(
        self,
        recording: Recording,
        machine_class: type[StateMachine],
        *,
        start: int | str | None = None,
        records: bool = False,
        stops: tuple[int, ...] = (),
        saved: str | None = None,
        replica: Replica | None = None,
    ) -> None:
        """Begin at `start`: an index that has a snapshot (0: the beginning), `NEWEST`, or None for as early as can be.

        `saved`: a snapshot that lies elsewhere, to begin from instead, as a node that is started again does. `replica`:
        an empty one to use. A step ends behind each index in `stops`.
        `Unreplayable`, `WrongMachine`, `CorruptFile` for damage in what was asked for.
        """
        self._recording = recording
        self._machine_class = machine_class
        self._records = records
        self._given = replica
        self._stops = frozenset(stops)
        self.unchecked: list[str] = []
        self.is_damaged = recording.is_damaged
        self.replica, self.start, self.chain = self._begin(start) if saved is None else self._load(saved)
        self._entries: Iterator[Scanned] = self._read()
        self._has_ended = False
        self._ahead: list[Scanned] = []  # entries to be applied again, the next one last
        self._marks: list[_Mark] = []
        self.commands = 0

    def _make(self) -> Replica:
        given, self._given = self._given, None
        if given is not None:
            return given
        return Recorder(self._machine_class) if self._records else plain_replica(self._machine_class)

    def _begin(self, start: int | str | None) -> tuple[Replica, int, bytes]:
        recording = self._recording
        starts = recording.starts()
        if type(start) is int:
            if start not in starts:
                raise Unreplayable(f"{recording.path}: cannot begin at {start}: {_begins(recording)}")
            starts = [start]
        elif start == NEWEST:
            starts = starts[::-1]
        for index in starts:
            if index == 0:
                return self._make(), 0, recording.chain_before(0) or bytes(16)
            try:
                return self._load(recording.snapshots[index])
            except BadBytes as error:
                if type(start) is int:
                    raise
                self.is_damaged = True
                self.unchecked.append(str(error))
        reasons = "; ".join([_begins(recording), *self.unchecked, *recording.unchecked])
        raise Unreplayable(f"{recording.path}: nothing to begin from: {reasons}", is_damaged=self.is_damaged)

    def _load(self, path: str) -> tuple[Replica, int, bytes]:
        replica = self._make()
        with located(path, 0):
            manifest = restore(replica, read_snapshot(self._recording.disk, path))
        return replica, manifest.index, manifest.chain

    def _read(self) -> Iterator[Scanned]:
        """The entries to apply; the log's chain must be that of the snapshots passed."""
        recording, chain = self._recording, self.chain
        for scanned in recording.entries(self.start):
            if scanned.entry.index == self.start + 1:
                before = recording.chain_before(self.start)
                if before is not None and self.start and before != chain:
                    raise Unreplayable(f"{recording.snapshots[self.start]}: it continues another log")
            manifest = recording.manifests.get(scanned.entry.index)
            if manifest is not None and manifest.chain != scanned.chain:
                self.unchecked.append(f"{recording.snapshots[scanned.entry.index]}: it continues another log")
            yield scanned

    # --- going on -------------------------------------------------------------------------------------------------

    def step(
        self, beat: Callable[[int], None] = lambda _: None, *, record: bool = False, states: bool = False
    ) -> Progress:
        """Go on to a root some entries ahead, or to the end of the log. `beat` is told each index.

        The roots of the steps before are taken to agree: what was recorded is dropped.
        """
        is_repeat = bool(self._ahead)
        if not is_repeat:
            self._mark()
        replica = self.replica
        if isinstance(replica, Recorder):
            replica.forget()
            replica.record(record, states=states)
        roots: list[tuple[int, bytes]] = []
        applied_entries, commands, is_end, stop = 0, 0, False, None
        while True:
            scanned = self._next()
            if scanned is None:
                is_end = True
                if replica.index and (not roots or roots[-1][0] != replica.index):
                    roots.append((replica.index, replica.root()))
                if not replica.fault:
                    # No hash point comes any more at which the rest would be scrubbed.
                    try:
                        replica.store.verify()
                    except DivergenceError as error:
                        replica.fault = str(error)
                break
            entry = scanned.entry
            try:
                applied = replica.apply(entry)
            except BadBytes as error:
                raise CorruptFile(scanned.path, scanned.offset, f"entry {entry.index}: {error}") from error
            except DivergenceError as error:
                stop = entry.index, str(error)
                break
            except WrongMachine as error:  # also of a release that this code does not have
                raise WrongMachine(f"{scanned.path}: entry {entry.index}: {error}") from error
            except RsmError as error:
                raise type(error)(f"{scanned.path}: entry {entry.index}: {error}") from error
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                stop = entry.index, describe(error)
                break
            self.chain = scanned.chain
            commands += len(applied.answers)
            applied_entries += 1
            beat(entry.index)
            is_long = applied_entries >= REPLAY_STEP_ENTRIES or entry.index in self._stops
            if applied.root is not None:
                roots.append((entry.index, applied.root))
            elif self._records and (is_long or commands >= REPLAY_STEP_COMMANDS):
                is_long = True
                roots.append((entry.index, replica.root()))
            if is_long and roots and roots[-1][0] == entry.index and not is_repeat:
                break
            if is_repeat and not self._ahead and not self._has_ended:
                if not roots or roots[-1][0] != entry.index:
                    roots.append((entry.index, replica.root()))  # it began later than the first time: at a hash point
                break
        self.commands += commands
        difference = replica.difference
        return Progress(
            index=replica.index,
            roots=roots,
            commands=commands,
            is_end=is_end,
            stop=stop,
            difference=None if difference is None else (difference.index, difference.root, difference.confirmed),
            compared_index=replica.compared_index,
            fault=replica.fault,
            unchecked=self._reasons(is_end),
            is_damaged=self.is_damaged,
        )

    def _reasons(self, is_end: bool) -> list[str]:
        reasons = [*self._recording.unchecked, *self.unchecked]
        torn = self._recording.log.torn if is_end else None
        if torn is not None:
            what = f"torn tail of {torn.bytes} bytes after index {self.replica.index}"
            reasons.append(f"{torn.path}: offset {torn.offset}: {what}")
        noted = self._recording.noted_index
        if is_end and torn is None and self.replica.index < noted:
            reasons.append(
                f"{self._recording.path}: the log ends at index {self.replica.index}, and a root of index {noted} was "
                "noted: it was cut"
            )
        bundle = self._recording.bundle
        if is_end and bundle is not None and self.replica.index < bundle.head.to_index:
            reasons.append(
                f"{bundle.path}: its entries end at index {self.replica.index}, and {bundle.head.to_index} is the last"
            )
        if is_end and self.replica.index == self.start:
            reasons.append(f"{self._recording.path}: the log holds no entry after index {self.start}")
        return reasons

    def _next(self) -> Scanned | None:
        if self._ahead:
            return self._ahead.pop()
        scanned = next(self._entries, None)
        if scanned is None:
            self._has_ended = True
            return None
        for mark in self._marks:
            mark.behind.append(scanned)
            mark.bytes += len(scanned.entry.payload)
        if self._marks and self._marks[0].bytes > REPLAY_STEP_BYTES_MAX:
            self._drop_mark()
        return scanned

    def _mark(self) -> None:
        """Here the replay can come back to. A root may be confirmed one step later, so the place before is kept."""
        while len(self._marks) >= MARKS_KEPT:
            self._drop_mark()
        self._marks.append(_Mark(Checkpoint(self.replica), self.chain))

    def _drop_mark(self) -> None:
        self._marks.pop(0).checkpoint.close()

    def run_to(self, index: int) -> None:
        """Go on to an index that can be reached, and no further."""
        while self.replica.index < index and (scanned := self._next()) is not None:
            self.commands += len(self.replica.apply(scanned.entry).answers)
            self.chain = scanned.chain

    # --- going back -----------------------------------------------------------------------------------------------

    def rewind(self, to: int | None = None) -> bool:
        """Back to where the last step began, or to index `to`; False if that cannot be done."""
        marks, self._marks = self._marks, []
        for other in marks:
            other.checkpoint.close()
        marks = [mark for mark in marks if to is None or mark.checkpoint.index <= to]
        if not marks or not marks[-1].checkpoint.rewind():
            return False
        self.chain = marks[-1].chain
        self._ahead = marks[-1].behind[::-1]
        if isinstance(self.replica, Recorder):
            self.replica.record(False)
        while to is not None and self._ahead and self._ahead[-1].entry.index <= to:
            scanned = self._ahead.pop()
            self.commands += len(self.replica.apply(scanned.entry).answers)
            self.chain = scanned.chain
        return True

    # --- looking --------------------------------------------------------------------------------------------------

    @property
    def recorder(self) -> Recorder:
        """The replica of a side that records."""
        if not isinstance(self.replica, Recorder):
            raise CallerError("this side does not record")
        return self.replica

    def sums(self) -> dict[str, bytes]:
        """The bucket sums of every container: where these are equal, the leaves are."""
        self.replica.store.digests()
        return {name: ledger.sum_bytes() for name, ledger in self.replica.store.ledgers.items()}

    def leaves(self, buckets: dict[str, list[int]]) -> dict[str, Any]:
        """Path -> plain value of the leaves in these buckets, about `DIFFERENT_LEAVES_MAX` of them."""
        found: dict[str, Any] = {}
        for name, numbers in buckets.items():
            ledger = self.replica.store.ledgers.get(name)
            for number in numbers if ledger is not None else ():
                for leaf_key, value in ledger.leaves(number):  # type: ignore[union-attr]  # as above
                    found |= leaf_values(ledger, name, leaf_key, value)
                if len(found) >= DIFFERENT_LEAVES_MAX:
                    return found
        return found

    def save(self, disk: Disk, path: str) -> None:
        """Write a snapshot of the state as it is now."""
        replica = self.replica
        replica.roots.setdefault(replica.index, replica.root())
        with SnapshotWriter(disk, path, replica.index, replica.term, 0) as writer:
            for kind, payload in parts(replica, self.chain):
                writer.add(kind, payload)
            writer.commit()

    def snapshot(self) -> list[tuple[RecordKind, bytes]]:
        """The records of the same, in memory."""
        replica = self.replica
        replica.roots.setdefault(replica.index, replica.root())
        return list(parts(replica, self.chain))


def _begins(recording: Recording) -> str:
    indexes = sorted(recording.snapshots)
    there = f"there are snapshots at {', '.join(map(str, indexes))}" if indexes else "there is no snapshot"
    return f"the log begins at {recording.first_index}, and {there}"


def check_class(recording: Recording, machine_class: type[StateMachine]) -> None:
    """`WrongMachine` if the recording says that it is another machine's."""
    names = {manifest.machine for manifest in recording.manifests.values()}
    if recording.bundle is not None:
        names.add(recording.bundle.head.machine)
    for name in sorted(names):
        if name != machine_class.definition.name:
            raise WrongMachine(f"the log belongs to machine {name!r}, the class is {machine_class.definition.name!r}")
