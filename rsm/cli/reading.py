"""Reading a log and its names, with a progress bar where somebody watches."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rsm.cli.errors import Unreadable
from rsm.cli.output import progress
from rsm.cli.target import DISK, file_bytes, machine_directory, require_log, snapshot_paths
from rsm.codec.record import RecordKind
from rsm.errors import MediumError
from rsm.node.storage.files import located
from rsm.node.storage.scan import LogScan, Scanned, scan
from rsm.node.storage.snapshots import read_snapshot
from rsm.replica.batch import decode_batch
from rsm.replica.naming import Item, Names
from rsm.replica.naming import items_of as items_of_entry
from rsm.replica.snapshot import Manifest, read_manifest

__all__ = [
    "check_batch",
    "check_range",
    "entries_of",
    "items_of",
    "manifest_of",
    "open_log",
    "open_named",
    "records_of",
]


def open_log(path: str, *, first: int | None = None) -> LogScan:
    """The log at a path, from the segment that holds `first` on."""
    require_log(path)
    return scan(DISK, path, first=first)


def entries_of(log: LogScan, label: str = "reading", *, quiet: bool = False) -> Iterator[Scanned]:
    """Iterate over a log under a progress bar."""
    bytes_before, bytes_done, path = 0, 0, ""
    with progress(label, file_bytes(log.paths), quiet=quiet) as advance:
        for scanned in log:
            if scanned.path != path:
                bytes_before, path = bytes_done, scanned.path
            bytes_done = bytes_before + scanned.end
            advance(bytes_done)
            yield scanned


def check_batch(scanned: Scanned) -> None:
    """`CorruptFile` if an entry should be a batch and is not."""
    if scanned.entry.kind is RecordKind.BATCH:
        with located(scanned.path, scanned.offset, f"entry {scanned.entry.index}: "):
            decode_batch(scanned.entry.payload)


def items_of(scanned: Scanned, names: Names) -> Iterator[Item]:
    """The items of an entry by name; `CorruptFile` if a batch is not one."""
    with located(scanned.path, scanned.offset, f"entry {scanned.entry.index}: "):
        yield from items_of_entry(scanned.entry, names)


def records_of(path: str, label: str) -> Iterator[tuple[RecordKind, bytes]]:
    """The records of a snapshot file, read under a progress bar."""
    bytes_total, bytes_done = file_bytes([path]), 0
    with progress(label, bytes_total) as advance:
        for kind, payload in read_snapshot(DISK, path):
            yield kind, payload
            bytes_done += len(payload)
            advance(min(bytes_done, bytes_total))


def manifest_of(path: str) -> Manifest:
    """The manifest of a snapshot file; the rest of it is not read. `CorruptFile` if it is damaged."""
    with located(path, 0):
        return read_manifest(next(read_snapshot(DISK, path), None))


def check_range(log: LogScan, first: int | None, last: int | None) -> None:
    """After the log was read, or read up to `last`: `Unreadable` if it does not hold where the range begins."""
    if first is not None and not log.first_index <= first <= log.last_index + 1:
        raise Unreadable(f"{log.path}: the log holds {log.first_index} to {log.last_index}, not {first}")
    if first is None and last is not None and last < log.first_index:
        raise Unreadable(f"{log.path}: the log begins at {log.first_index}, after {last}")


def manifests_of(path: str) -> list[Manifest]:
    """The readable manifests of the machine that a path belongs to, by index; a damaged one is `verify`'s to report."""
    directory = machine_directory(path)
    manifests = []
    for snapshot in [] if directory is None else snapshot_paths(directory):
        with contextlib.suppress(MediumError):
            manifests.append(manifest_of(snapshot))
    return manifests


def open_named(path: str, first: int | None = None) -> tuple[LogScan, Names]:
    """The log, and the names that hold where it begins.

    It begins before `first` where entries before it may declare names: behind the last snapshot before `first`, or at
    the beginning of the log.
    """
    names = Names()
    start = None
    for manifest in manifests_of(path):
        names.declare(manifest.machine, manifest.version, manifest.schema)
        if first is not None and manifest.index < first:
            start = manifest.index + 1
    return open_log(path, first=start), names
