"""Reading a log that its machine may be writing at this moment.

A scan takes no lock, so the end of a log in use can look unfinished, or even damaged, while a write is under way. What
looks wrong in the last segment is therefore looked at again before it is believed; if by then it is the next record,
whole and chained, the reading ends before it, as of a moment ago.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

from rsm.cli.contents import read_manifest
from rsm.cli.decode import Names
from rsm.cli.errors import Unreadable
from rsm.cli.target import DISK, file_bytes, machine_directory, require_log, snapshot_paths
from rsm.codec.chain import next_chain
from rsm.codec.record import HEADER_BYTES, decode_header, decode_payload
from rsm.errors import BadBytes, CorruptFile, MediumError
from rsm.node.scan import Scanned, scan
from rsm.node.segment import END_MARK, SegmentHead, TornTail
from rsm.node.snapshots import read_snapshot
from rsm.replica.snapshot import Manifest

__all__ = ["LogReader", "open_named"]

LOOKS_MAX: Final = 5
LOOK_AGAIN_SECONDS: Final = 0.05


class LogReader:
    """The log at a path, from the segment that holds `first` on. Iterate once; afterwards `torn` is the torn tail.

    `bytes_total` is what there is to read, `bytes_done` what has been read, `last_index` that of the last entry seen.
    """

    def __init__(self, path: str, *, first: int | None = None) -> None:
        require_log(path)
        self.path = path
        self._scan = scan(DISK, path, first=first)
        self.paths = self._scan.paths
        self.head: SegmentHead = self._scan.head
        self.torn: TornTail | None = None
        self.last_index = self.head.first_index - 1
        self.last_term = self.head.previous_term
        self.last_chain = self.head.previous_chain
        self.bytes_total = file_bytes(self.paths)
        self.bytes_done = 0
        self._bytes_before = 0
        self._file = self.paths[0]

    def __iter__(self) -> Iterator[Scanned]:
        try:
            for scanned in self._scan:
                if scanned.path != self._file:
                    self._bytes_before += file_bytes([self._file])
                    self._file = scanned.path
                self.bytes_done = self._bytes_before + scanned.offset
                entry = scanned.entry
                self.last_index, self.last_term, self.last_chain = entry.index, entry.term, scanned.chain
                yield scanned
        except CorruptFile as error:
            if error.path != self.paths[-1] or not self._is_under_way(error.path, error.offset):
                raise
        torn = self._scan.torn
        if torn is not None and not self._is_under_way(torn.path, torn.offset):
            self.torn = torn

    def _is_under_way(self, path: str, offset: int) -> bool:
        """Whether what looked wrong there was a write under way: by now a whole record that continues what was read."""
        for _ in range(LOOKS_MAX):
            if self._continues(path, offset):
                return True
            if not is_in_use(self.path):
                return False
            time.sleep(LOOK_AGAIN_SECONDS)
        return False

    def _continues(self, path: str, offset: int) -> bool:
        file = DISK.open(path, writable=False)
        try:
            header = decode_header(file.pread(HEADER_BYTES, offset))
            data = file.pread(header.stored_bytes + len(END_MARK), offset + HEADER_BYTES)
            payload = decode_payload(header, data[: header.stored_bytes])
        except BadBytes:
            return False
        finally:
            file.close()
        chain = next_chain(self.last_chain, self.last_index + 1, header.term, header.kind, payload)
        return data.endswith(END_MARK) and header.index == self.last_index + 1 and header.chain == chain

    def check_range(self, first: int | None, last: int | None) -> None:
        """After the log was read, or read up to `last`: `Unreadable` if it does not hold where the range begins."""
        begin = self.head.first_index
        if first is not None and not begin <= first <= self.last_index + 1:
            raise Unreadable(f"{self.path}: the log holds {begin} to {self.last_index}, not {first}")
        if first is None and last is not None and last < begin:
            raise Unreadable(f"{self.path}: the log begins at {begin}, after {last}")


def is_in_use(path: str) -> bool:
    """Whether a living process names itself in the lock file of the machine. Right but for a process id used again."""
    directory = machine_directory(path)
    if directory is None:
        return False
    try:
        with open(os.path.join(directory, "lock"), "rb") as file:
            holder = int(file.read(32))
        with contextlib.suppress(PermissionError):
            os.kill(holder, 0)
    except (OSError, ValueError):
        return False
    return holder > 0


def manifests_of(path: str) -> list[Manifest]:
    """The readable manifests of the machine that a path belongs to, by index; a damaged one is `verify`'s to report."""
    directory = machine_directory(path)
    manifests = []
    for snapshot in [] if directory is None else snapshot_paths(directory):
        with contextlib.suppress(MediumError, StopIteration):
            manifests.append(read_manifest(*next(read_snapshot(DISK, snapshot))))
    return manifests


def open_named(path: str, first: int | None = None) -> tuple[LogReader, Names]:
    """A reader of the log, and the names that hold where it begins.

    It begins before `first` where entries before it may declare names: behind the last snapshot before `first`, or at
    the beginning of the log.
    """
    names = Names()
    start = None
    for manifest in manifests_of(path):
        names.declare(manifest.machine, manifest.version, manifest.schema)
        if first is not None and manifest.index < first:
            start = manifest.index + 1
    return LogReader(path, first=start), names
