"""What there is to compare of one replica: its log, the roots it noted, its snapshots. Read, never locked or changed.

A source is the directory of a machine, its log directory, or a file that `rsm log export` wrote, with the book of roots
beside it. It may be in use: the book is read before the log and the log before the snapshots, so what is missing from
one of them is not older than the other. Files stay open, since compaction removes names. What the end of a log in use
looks like is no finding.

Damage does not end a comparison: what lies before it is compared, the rest is a reason in `unchecked`.
"""

from __future__ import annotations

import contextlib
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from rsm.codec.record import Entry
from rsm.desync.runs import Note, Place, Run, Runs, entry_in, read_run, run_of
from rsm.errors import BadBytes, CorruptFile, StorageError, UnknownFormat
from rsm.limits import SCAN_LISTINGS_MAX, SCAN_LOOK_AGAIN_SECONDS, SCAN_LOOKS_MAX
from rsm.node.storage.directory import read_identity
from rsm.node.storage.disk import Disk, File
from rsm.node.storage.root_book import book_path, read_roots
from rsm.node.storage.scan import LogScan, scan
from rsm.node.storage.segment import SegmentReader, check_succession
from rsm.node.storage.snapshots import read_snapshot, snapshot_position
from rsm.replica.batch import ACTIVATE, CONFIRMED
from rsm.replica.contents import ContentsCheck
from rsm.replica.naming import Names
from rsm.replica.snapshot import Manifest

__all__ = ["Snapshot", "Source", "bytes_at", "read_source"]

_SUFFIX: Final = ".snapshot"


class Span(NamedTuple):
    """A run, and where one source has it."""

    run: Run
    file: File
    offset: int


class Snapshot(NamedTuple):
    """A snapshot file that can be read; `fault` says what in it does not fit together, if anything."""

    path: str
    manifest: Manifest
    fault: str | None


class Source:
    """One replica's side. Between `before` and `behind` the chain is known at every index.

    `noted` are the roots of its book, by index, oldest first. `unchecked` are reasons why not all of it was read, and
    `is_damaged` says that one of them is damage. `is_in_use`: somebody has the directory open.
    """

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = path
        self.cluster_id = b""
        self.group_id = 0
        self.machines: set[str] = set()
        self.before = self.behind = Place(0, 0, b"")
        self.noted: dict[int, list[bytes]] = {}
        self.snapshots: list[Snapshot] = []
        self.unchecked: list[str] = []
        self.is_damaged = False
        self.is_in_use = False
        self._spans: list[Span] = []

    @property
    def first_index(self) -> int:
        """The first entry that the log holds, if it holds any."""
        return self.before.index + 1

    @property
    def last_index(self) -> int:
        """The last entry that could be read."""
        return self.behind.index

    def holds(self, index: int) -> bool:
        """Whether the chain behind this index is known."""
        return self.before.index <= index <= self.behind.index and index > 0

    def notes(self) -> Iterator[Note]:
        """Confirmed roots and activations of the log, in order."""
        for span in self._spans:
            yield from span.run.notes

    def add(self, span: Span) -> None:
        """The next run of the log."""
        self._spans.append(span)
        self.behind = span.run.behind

    def chain_at(self, index: int) -> bytes:
        """The chain behind an index that the source `holds`."""
        if index == self.before.index:
            return self.before.chain
        span = self._span(index)
        return span.run.behind.chain if index == span.run.behind.index else self._read(span, index)[1]

    def entry_at(self, index: int) -> Entry:
        """An entry of the log, from `first_index` to `last_index`."""
        return self._read(self._span(index), index)[0]

    def _span(self, index: int) -> Span:
        return self._spans[bisect_left(self._spans, index, key=lambda span: span.run.behind.index)]

    def _read(self, span: Span, index: int) -> tuple[Entry, bytes]:
        return entry_in(span.file, span.offset, span.run, index)

    @property
    def applied_index(self) -> int:
        """What is known to be committed here: up to the last root or snapshot, or the last root that was confirmed."""
        known = [0, *self.noted, *(snapshot.manifest.index for snapshot in self.snapshots)]
        known += [note.values[0] for note in self.notes() if note.name == CONFIRMED]
        return max(known)

    def end_at(self, index: int) -> None:
        """Leave out what the log holds behind an index, from `first_index` on."""
        self.behind = Place(index, self.entry_at(index).term, self.chain_at(index))

    def names(self, index: int) -> Names:
        """The names of commands and fields that hold at an index, as log and snapshots declare them."""
        names = Names()
        for snapshot in self.snapshots:
            if snapshot.manifest.index < index:
                names.declare(snapshot.manifest.machine, snapshot.manifest.version, snapshot.manifest.schema)
        for note in self.notes():
            if note.index > index:
                break
            if note.name == ACTIVATE:
                names.activate(note.values)
        return names

    @contextlib.contextmanager
    def noting(self, what: str = "") -> Iterator[None]:
        """Turn damage, and what a newer release wrote, into a reason."""
        try:
            yield
        except UnknownFormat as error:
            self.leave(f"{what}{error}")
        except BadBytes as error:
            self.leave(f"{what}{error}")
            self.is_damaged = True

    def leave(self, reason: str) -> None:
        """Something of it is not compared."""
        self.unchecked.append(f"{self.name}: {reason}" if not reason.startswith(self.path) else reason)


def _machine_directory(disk: Disk, path: str) -> str | None:
    """The directory of the machine whose log a directory is or holds; None for a file and for a bare log."""
    if not disk.is_directory(path):
        return None
    if disk.is_directory(os.path.join(path, "log")):
        return path
    parent = os.path.dirname(os.path.abspath(path))
    is_log = os.path.basename(os.path.abspath(path)) == "log"
    return parent if is_log and disk.exists(os.path.join(parent, "identity")) else None


def _snapshot_paths(disk: Disk, directory: str) -> list[str]:
    inner = os.path.join(directory, "snapshots")
    names = disk.listdir(inner) if disk.is_directory(inner) else []
    return [os.path.join(inner, name) for name in names if name.endswith(_SUFFIX) and name[: -len(_SUFFIX)].isdigit()]


def bytes_at(disk: Disk, path: str) -> int:
    """About how many bytes `read_source` will read, for a progress bar."""
    total = 0
    directory = _machine_directory(disk, path)
    with contextlib.suppress(StorageError, BadBytes, UnknownFormat):
        paths = scan(disk, path).paths + ([] if directory is None else _snapshot_paths(disk, directory))
        for one in paths:
            file = disk.open(one, writable=False)
            total += file.size()
            file.close()
    return total


def read_source(
    disk: Disk,
    path: str,
    name: str,
    runs: Runs,
    files: contextlib.ExitStack,
    *,
    files_max: int,
    advance: Callable[[int], None],
) -> Source:
    """Read and verify one side; its files stay open until `files` is closed. `StorageError` if there is no log.

    `advance` is told the bytes read, piece by piece.
    """
    source = Source(name, path)
    directory = _machine_directory(disk, path)
    _read_book(disk, source, book_path(disk, path))
    if directory is not None:
        source.is_in_use = disk.is_locked(os.path.join(directory, "lock"))
        with source.noting():
            source.machines.add(read_identity(disk, directory).machine)
    log: LogScan | None = None
    with source.noting():
        log, opened = _open(disk, path, files, files_max)
    if log is not None:
        with source.noting():
            _read_log(disk, source, log, opened, runs, files, advance)
        noted = max(source.noted, default=0)
        # The book was read first, and holds roots of entries that had been on the disk.
        if noted > source.last_index and not source.unchecked and not source.is_in_use:
            source.leave(
                f"the log ends at index {source.last_index}, and a root of index {noted} was noted: it was cut"
            )
    source.machines.update(note.values[0] for note in source.notes() if note.name == ACTIVATE)
    for snapshot_path in [] if directory is None else _snapshot_paths(disk, directory):
        try:
            _read_snapshot(disk, source, snapshot_path, advance)
        except StorageError:
            if disk.exists(snapshot_path):
                raise  # else its owner removed it meanwhile
    return source


def _read_book(disk: Disk, source: Source, path: str) -> None:
    if not disk.exists(path):
        return
    with source.noting():
        records, damaged = read_roots(disk, path)
        for record in records:
            roots = source.noted.setdefault(record.index, [])
            if record.root not in roots:
                roots.append(record.root)
        for offset in damaged:
            raise CorruptFile(path, offset, "the record of a root is damaged")


def _open(disk: Disk, path: str, files: contextlib.ExitStack, files_max: int) -> tuple[LogScan, list[File]]:
    """List the log and open its first segments; again, if some vanished in between."""
    for listing in range(1, SCAN_LISTINGS_MAX + 1):
        log = scan(disk, path)
        try:
            return log, [_open_file(disk, one, files) for one in log.paths[:files_max]]
        except StorageError:
            if listing == SCAN_LISTINGS_MAX or all(map(disk.exists, log.paths)):
                raise
    raise StorageError(f"{path}: there is no log here")  # the loop above ends otherwise


def _open_file(disk: Disk, path: str, files: contextlib.ExitStack) -> File:
    file = disk.open(path, writable=False)
    files.callback(file.close)
    return file


def _read_log(
    disk: Disk,
    source: Source,
    log: LogScan,
    opened: list[File],
    runs: Runs,
    files: contextlib.ExitStack,
    advance: Callable[[int], None],
) -> None:
    head = log.head
    source.cluster_id, source.group_id = head.cluster_id, head.group_id
    source.before = source.behind = Place(head.first_index - 1, head.previous_term, head.previous_chain)
    for position, path in enumerate(log.paths):
        file = opened[position] if position < len(opened) else _open_file(disk, path, files)
        reader = SegmentReader(file, last=position == len(log.paths) - 1)
        place = source.behind
        check_succession(path, reader.head, place.index, place.term, place.chain)
        if (reader.head.cluster_id, reader.head.group_id) != (source.cluster_id, source.group_id):
            raise CorruptFile(path, 0, "belongs to another cluster or group than the segment before it")
        _read_segment(disk, source, file, reader, runs, advance)


def _read_segment(
    disk: Disk, source: Source, file: File, reader: SegmentReader, runs: Runs, advance: Callable[[int], None]
) -> None:
    lock = os.path.normpath(os.path.join(os.path.dirname(reader.path), "..", "lock"))
    looks = 0
    while True:
        offset = reader.end
        while (run := read_run(file, offset, source.behind, source.group_id, runs)) is not None:
            source.add(Span(run, file, offset))
            offset += run.size
            advance(run.size)
        reader.resume(offset, *source.behind)
        # Nothing, unless the record was written in this moment.
        frame = next(iter(reader), None)
        if frame is not None:
            source.add(Span(run_of(file, frame, source.behind), file, frame.offset))
            continue
        is_in_use = disk.is_locked(lock)
        looks += 1
        if reader.torn is None or not is_in_use or looks == SCAN_LOOKS_MAX:
            break
        time.sleep(SCAN_LOOK_AGAIN_SECONDS)
    if reader.torn is not None and not is_in_use:
        torn = reader.torn
        reason = f"torn tail of {torn.bytes} bytes after index {source.last_index}"
        source.leave(f"{torn.path}: offset {torn.offset}: {reason}")


def _read_snapshot(disk: Disk, source: Source, path: str, advance: Callable[[int], None]) -> None:
    with source.noting():
        index, term, _ = snapshot_position(disk, path)
        if int(os.path.basename(path)[: -len(_SUFFIX)]) != index:
            raise CorruptFile(path, 0, f"holds the snapshot of index {index}")
        check = ContentsCheck(index, term)
        fault: str | None = None
        # All of it is read, whatever its contents say: damage further on is another finding.
        for kind, payload in read_snapshot(disk, path):
            advance(len(payload))
            if fault is None:
                fault = _fault(lambda kind=kind, payload=payload: check.add(kind, payload))  # type: ignore[misc]
        if fault is None:
            fault = _fault(check.finish)
        with contextlib.suppress(BadBytes):
            source.snapshots.append(Snapshot(path, check.manifest, fault))
            source.machines.add(check.manifest.machine)
            return
        raise CorruptFile(path, 0, fault or "the snapshot has no manifest")


def _fault(step: Callable[[], None]) -> str | None:
    try:
        step()
    except BadBytes as error:
        return str(error)
    return None
