"""What there is to replay: a log, the snapshots beside it, and the roots that were recorded with it. Read, not locked.

A recording is the directory of a machine, its log directory, a file that `rsm log export` wrote, or a bundle. Recorded
roots come from the log itself (`rsm.confirmed`: a replica compares these as it applies them), from manifests of
snapshots, from the book of roots, and from a bundle's head.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from rsm.desync.bundle import Bundle, is_bundle
from rsm.errors import BadBytes, MediumError
from rsm.node.storage.bundles import BATCHES, SNAPSHOT
from rsm.node.storage.disk import Disk
from rsm.node.storage.files import located
from rsm.node.storage.root_book import BOOK_NAME, ROOTS_SUFFIX, read_roots
from rsm.node.storage.scan import LogScan, Scanned, scan
from rsm.node.storage.snapshots import read_snapshot, snapshot_name
from rsm.replica.snapshot import Manifest, read_manifest

__all__ = ["Expected", "Recording"]

BOOK: Final = "the book of roots"


class Expected(NamedTuple):
    """A root that was recorded for an index, and where. `is_snapshot`: it is the snapshot that is odd, not the code."""

    root: bytes
    where: str
    is_snapshot: bool = False


class Recording:
    """One log with what lies beside it.

    `unchecked` are reasons why part of it was not read; `is_damaged` says that one of them is damage.
    """

    def __init__(self, disk: Disk, path: str) -> None:
        """`StorageError` if there is no log, `CorruptFile` for a damaged head."""
        self.path = path
        self.disk = disk
        self.unchecked: list[str] = []
        self.is_damaged = False
        self.bundle: Bundle | None = None
        if is_bundle(disk, path):
            self.bundle = Bundle.read(disk, path)
            self.log_path = os.path.join(path, BATCHES)
            index = self.bundle.head.from_index
            files = {index: os.path.join(path, SNAPSHOT)} if index else {}
            directory = None
        else:
            self.log_path = path
            directory = _machine_directory(disk, path)
            files = {} if directory is None else _snapshots(disk, os.path.join(directory, "snapshots"))
        self.log: LogScan = scan(disk, self.log_path)
        self.first_index = self.log.first_index
        self.snapshots: dict[int, str] = {}
        self.manifests: dict[int, Manifest] = {}
        for index, file in files.items():
            self._read_manifest(index, file)
        book = f"{path}{ROOTS_SUFFIX}" if directory is None else os.path.join(directory, BOOK_NAME)
        self.expected = self._expected(book)

    def _read_manifest(self, index: int, file: str) -> None:
        try:
            with located(file, 0):
                manifest = read_manifest(next(read_snapshot(self.disk, file), None))
                if manifest.index != index:
                    raise BadBytes(f"its manifest is of index {manifest.index}")
        except MediumError as error:
            if self.disk.exists(file):
                self._note(error)
            return
        self.snapshots[index], self.manifests[index] = file, manifest

    def _note(self, error: MediumError) -> None:
        self.unchecked.append(str(error))
        self.is_damaged = self.is_damaged or isinstance(error, BadBytes)

    def _expected(self, book: str) -> dict[int, list[Expected]]:
        found: dict[int, list[Expected]] = {}
        if self.bundle is not None:
            for index, root in self.bundle.expected.items():
                found.setdefault(index, []).append(Expected(root, "the bundle"))
        for manifest in self.manifests.values():
            for index, root in [*manifest.roots, (manifest.index, manifest.root)]:
                found.setdefault(index, []).append(
                    Expected(root, f"the snapshot of index {manifest.index}", is_snapshot=True)
                )
        if self.bundle is None and self.disk.exists(book):
            try:
                records, damaged = read_roots(self.disk, book)
            except MediumError as error:
                self._note(error)
                return found
            for record in records:
                found.setdefault(record.index, []).append(Expected(record.root, BOOK))
            if damaged:
                self.is_damaged = True
                self.unchecked.append(f"{book}: offset {damaged[0]}: the record of a root is damaged")
        return found

    @property
    def noted_index(self) -> int:
        """The last index of which the book of roots has a root, 0 without one: the log had entries up to there."""
        books = (index for index, roots in self.expected.items() if any(root.where == BOOK for root in roots))
        return max(books, default=0)

    def starts(self) -> list[int]:
        """Where a replay may begin: 0 if the log begins at 1, and the index of each snapshot that the log continues."""
        behind = [index for index in sorted(self.snapshots) if index + 1 >= self.first_index]
        return [0, *behind] if self.first_index == 1 else behind

    def entries(self, after: int) -> Iterator[Scanned]:
        """The entries behind an index, verified. `CorruptFile` at damage."""
        self.log = scan(self.disk, self.log_path, first=after + 1)
        for scanned in self.log:
            if scanned.entry.index > after:
                yield scanned

    def chain_before(self, after: int) -> bytes | None:
        """The chain at an index, if it is where the log that `entries` reads begins."""
        return self.log.head.previous_chain if self.log.first_index == after + 1 else None


def _machine_directory(disk: Disk, path: str) -> str | None:
    """The directory that a log belongs to; None for a file."""
    if not disk.is_directory(path):
        return None
    if disk.is_directory(os.path.join(path, "log")):
        return path
    return os.path.dirname(os.path.abspath(path)) if os.path.basename(os.path.abspath(path)) == "log" else path


def _snapshots(disk: Disk, directory: str) -> dict[int, str]:
    if not disk.is_directory(directory):
        return {}
    found = {}
    for name in disk.listdir(directory):
        stem = name.partition(".")[0]
        if stem.isascii() and stem.isdigit() and name == snapshot_name(int(stem)):
            found[int(stem)] = os.path.join(directory, name)
    return found
