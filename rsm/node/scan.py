"""Reading a log without owning it: for the command line and the detector.

A scan takes no lock, changes nothing and verifies everything, in bounded memory. It reads the directory of a machine,
its `log` directory, or one segment file, which is also what `export` writes.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import msgspec

from rsm.codec.record import Entry
from rsm.errors import CallerError, StorageError
from rsm.node.disk import Disk
from rsm.node.segment import (
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
    """One verified entry, the hash chain after it, and the file and offset it was read from."""

    entry: Entry
    chain: bytes
    path: str
    offset: int


class LogScan:
    """A log to iterate over, once or again: yields `Scanned` in index order, raises `CorruptFile` at the place of
    damage.

    `head` describes the first segment read (cluster, group, first index, and term and chain before it). After an
    iteration has ended, `torn` is the torn tail if the log has one, and `last_index`, `last_term` and `last_chain` say
    where it ends.
    """

    def __init__(self, disk: Disk, path: str, first: int | None) -> None:
        self.path = path
        self._disk = disk
        self.paths = self._segment_paths(first)
        self.torn: TornTail | None = None
        self.head: SegmentHead = read_head(disk, self.paths[0])
        self.cluster_id = self.head.cluster_id
        self.group_id = self.head.group_id
        self.first_index = self.head.first_index
        self._rewind()

    def _rewind(self) -> None:
        self.torn = None
        self.last_index = self.head.first_index - 1
        self.last_term = self.head.previous_term
        self.last_chain = self.head.previous_chain

    def _segment_paths(self, first: int | None) -> list[str]:
        if not self._disk.is_directory(self.path):
            return [self.path]
        directory = os.path.join(self.path, "log")
        if not self._disk.is_directory(directory):
            directory = self.path
        paths = [os.path.join(directory, name) for name in self._disk.listdir(directory) if is_segment_name(name)]
        if not paths:
            raise StorageError(f"{self.path}: there is no log here: name a machine's directory or a log file")
        heads = read_heads(self._disk, paths)
        start = last_reset(heads)
        while first is not None and start + 1 < len(heads) and heads[start + 1].first_index <= first:
            start += 1
        return paths[start:]

    def __iter__(self) -> Iterator[Scanned]:
        self._rewind()
        for position, path in enumerate(self.paths):
            file = self._disk.open(path, writable=False)
            try:
                reader = SegmentReader(file, last=position == len(self.paths) - 1)
                check_succession(path, reader.head, self.last_index, self.last_term, self.last_chain)
                for frame in reader:
                    entry = frame.entry
                    self.last_index, self.last_term, self.last_chain = entry.index, entry.term, frame.chain
                    yield Scanned(entry, frame.chain, path, frame.offset)
                self.torn = reader.torn
            finally:
                file.close()


def read_head(disk: Disk, path: str) -> SegmentHead:
    """The verified head of one segment file, whatever its name."""
    file = disk.open(path, writable=False)
    try:
        return SegmentReader(file, last=True).head
    finally:
        file.close()


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
    start = log.first_index if first is None else first
    term, chain = log.head.previous_term, log.head.previous_chain
    if disk.exists(target):
        raise CallerError(f"{target}: it exists already: remove it or choose another path")
    temporary = target + ".tmp"
    if disk.exists(temporary):
        disk.unlink(temporary)
    count = 0
    file = disk.open(temporary, create=True)
    try:
        offset = 0
        for scanned in log:
            entry = scanned.entry
            if last is not None and entry.index > last:
                break
            if entry.index < start:
                term, chain = entry.term, scanned.chain
                continue
            if not count:
                head = encode_head(SegmentHead(log.cluster_id, log.group_id, start, term, chain, True))
                file.pwrite(head, 0)
                offset = len(head)
            record = encode_entry(entry, scanned.chain, log.group_id, compress=True)
            file.pwrite(record, offset)
            offset += len(record)
            count += 1
        if not count or start < log.first_index or (last is not None and log.last_index < last):
            raise CallerError(
                f"{source}: the log holds {log.first_index} to {log.last_index}, not {start} to {last or 'its end'}"
            )
        file.fdatasync()
        file.close()
        disk.rename(temporary, target)
        disk.fsync_directory(os.path.dirname(target) or ".")
    except BaseException:
        file.close()
        with contextlib.suppress(StorageError):
            disk.unlink(temporary)
        raise
    return count
