"""Reading a log without owning it: for the command line and the detector.

A scan takes no lock, changes nothing and verifies everything, in bounded memory. It reads the directory of a machine,
its `log` directory, or one segment file, which is also what `export` writes.

The log may be in use. What its owner removes meanwhile is read all the same, since a scan opens every segment before it
reads the first; if one is gone before that, the log begins later now and is listed anew. What looks torn is looked at
again while somebody has the log open: it may be a write under way.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import msgspec

from rsm.codec.record import Entry
from rsm.errors import CallerError, StorageError
from rsm.limits import SCAN_FILES_MAX, SCAN_LISTINGS_MAX, SCAN_LOOK_AGAIN_SECONDS, SCAN_LOOKS_MAX
from rsm.node.storage.disk import Disk, File
from rsm.node.storage.files import new_file
from rsm.node.storage.segment import (
    SegmentHead,
    SegmentReader,
    TornTail,
    check_succession,
    encode_entry,
    encode_head,
    is_segment_name,
    last_reset,
    read_heads,
)

__all__ = ["LogScan", "Scanned", "export", "scan"]


class Scanned(msgspec.Struct, frozen=True, gc=False):
    """One verified entry, the hash chain after it, and where it was read: file, offset, and the offset behind it."""

    entry: Entry
    chain: bytes
    path: str
    offset: int
    end: int


class LogScan:
    """A log to iterate over, once or again: yields `Scanned` in index order, raises `CorruptFile` at the place of
    damage.

    `paths` are the segments to read, `heads` what they say of themselves, `head` the first of these (cluster, group,
    first index, and term and chain before it); an iteration begins by listing them anew. After it has ended, `torn` is
    the torn tail if the log has one, and `last_index`, `last_term` and `last_chain` say where the log ends.
    """

    def __init__(self, disk: Disk, path: str, first: int | None) -> None:
        self.path = path
        self._disk = disk
        self._first = first
        self._listed: list[str] = []
        with contextlib.ExitStack() as files:
            self._open(files)

    @property
    def first_index(self) -> int:
        """The first index read."""
        return self.head.first_index

    def _open(self, files: contextlib.ExitStack) -> list[File]:
        """List the log and open its segments, until `files` is closed; those beyond `SCAN_FILES_MAX` are left."""
        for _ in range(SCAN_LISTINGS_MAX - 1):
            try:
                return self._try_to_open(files)
            except StorageError:
                if all(map(self._disk.exists, self._listed)):
                    raise
        return self._try_to_open(files)

    def _try_to_open(self, files: contextlib.ExitStack) -> list[File]:
        self._list()
        return [self._open_segment(path, files) for path in self.paths[:SCAN_FILES_MAX]]

    def _open_segment(self, path: str, files: contextlib.ExitStack) -> File:
        file = self._disk.open(path, writable=False)
        files.callback(file.close)
        return file

    def _list(self) -> None:
        if self._disk.is_directory(self.path):
            directory = os.path.join(self.path, "log")
            if not self._disk.is_directory(directory):
                directory = self.path
            names = filter(is_segment_name, self._disk.listdir(directory))
            self._listed = [os.path.join(directory, name) for name in names]
            if not self._listed:
                raise StorageError(f"{self.path}: there is no log here: name a machine's directory or a log file")
            heads = read_heads(self._disk, self._listed)
        else:
            self._listed = [self.path]
            heads = [self._read_head()]
        start = last_reset(heads)
        while self._first is not None and start + 1 < len(heads) and heads[start + 1].first_index <= self._first:
            start += 1
        self.paths, self.heads = self._listed[start:], heads[start:]
        self.head: SegmentHead = self.heads[0]
        self.torn: TornTail | None = None
        self.last_index = self.head.first_index - 1
        self.last_term = self.head.previous_term
        self.last_chain = self.head.previous_chain

    def _read_head(self) -> SegmentHead:
        """The head of one segment file, whatever its name."""
        with contextlib.ExitStack() as files:
            return SegmentReader(self._open_segment(self.path, files), last=True).head

    def __iter__(self) -> Iterator[Scanned]:
        with contextlib.ExitStack() as files:
            opened = self._open(files)
            for position, path in enumerate(self.paths):
                file = opened[position] if position < len(opened) else self._open_segment(path, files)
                reader = SegmentReader(file, last=position == len(self.paths) - 1)
                check_succession(path, reader.head, self.last_index, self.last_term, self.last_chain)
                yield from self._read(reader)
                file.close()

    def _read(self, reader: SegmentReader) -> Iterator[Scanned]:
        lock = os.path.normpath(os.path.join(os.path.dirname(reader.path), "..", "lock"))
        for looks in range(1, SCAN_LOOKS_MAX + 1):
            for frame in reader:
                entry = frame.entry
                self.last_index, self.last_term, self.last_chain = entry.index, entry.term, frame.chain
                yield Scanned(entry, frame.chain, reader.path, frame.offset, frame.end)
            self.torn = reader.torn
            if self.torn is None or looks == SCAN_LOOKS_MAX or not self._disk.is_locked(lock):
                return
            time.sleep(SCAN_LOOK_AGAIN_SECONDS)


def scan(disk: Disk, path: str, *, first: int | None = None) -> LogScan:
    """Scan the log at `path`: a machine's directory, its log directory, or one segment file.

    With `first`, whole segments before that index are skipped; entries before it in its own segment are still yielded,
    since they are read to verify the chain. Raises `StorageError` if there is no log, `CorruptFile` for a damaged head.
    """
    return LogScan(disk, path, first)


def export(disk: Disk, source: str, target: str, first: int | None = None, last: int | None = None) -> int:
    """Write the entries from `first` to `last` into one segment file at `target`, durable; return how many.

    The target must not exist. `CallerError` if the log does not hold the range, `CorruptFile` if it is damaged before
    its end.
    """
    log = scan(disk, source, first=first)
    count = 0
    before: tuple[int, bytes] | None = None
    with new_file(disk, target) as file:
        offset = 0
        for scanned in log:
            entry = scanned.entry
            if last is not None and entry.index > last:
                break
            if first is None or entry.index >= first:
                if not count:
                    term, chain = before or (log.head.previous_term, log.head.previous_chain)
                    head = SegmentHead(log.head.cluster_id, log.head.group_id, entry.index, term, chain, True)
                    file.pwrite(encode_head(head), 0)
                    offset = len(encode_head(head))
                record = encode_entry(entry, scanned.chain, log.head.group_id, compress=True)
                file.pwrite(record, offset)
                offset += len(record)
                count += 1
            before = entry.term, scanned.chain
            if entry.index == last:
                break  # what lies behind may be damaged: that is no reason not to have this
        start = log.first_index if first is None else first
        if not count or start < log.first_index or (last is not None and log.last_index < last):
            raise CallerError(
                f"{source}: the log holds {log.first_index} to {log.last_index}, not {start} to {last or 'its end'}"
            )
    return count
