"""Evidence: a directory with all that is needed to run into a difference again, somewhere else and later.

::

    bundle.json   BundleHead, written last: a directory without it is not a bundle
    snapshot      the state at `from_index`; there is none if that is 0
    batches       the entries from_index + 1 to to_index, one segment file as `rsm log export` writes it
    state         the state that its writer had at `state_index`, like a snapshot; optional
    trace         what each of its commands did, from good_index + 1 up to the index in its records; optional

A node writes one while it goes on voting, so the writing comes in small steps: between two of them heartbeats go out.
What a crash leaves has no `bundle.json`, and is written anew.
"""

from __future__ import annotations

import contextlib
import locale
import os
import platform
import sys
from collections.abc import Generator, Iterable, Iterator
from importlib import metadata
from typing import Any, Final

import msgspec

from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry, RecordKind
from rsm.codec.shapes import make_known
from rsm.errors import BadBytes, CallerError, CorruptFile, UnknownFormat
from rsm.limits import BUNDLE_HEAD_BYTES_MAX, BUNDLE_STEP_BYTES, TRACE_RECORD_BYTES
from rsm.node.storage.disk import Disk
from rsm.node.storage.files import new_file
from rsm.node.storage.segment import SegmentHead, encode_entry, encode_head
from rsm.node.storage.snapshots import SnapshotWriter
from rsm.replica.snapshot import decode_manifest
from rsm.replica.trace import CommandTrace, pack
from rsm.state.leaf import encode

__all__ = [
    "BATCHES",
    "BUNDLE_FORMAT",
    "HEAD",
    "SNAPSHOT",
    "STATE",
    "TRACE",
    "BundleHead",
    "add_trace",
    "created_by",
    "environment",
    "read_head",
    "write_bundle",
]

BUNDLE_FORMAT: Final = 1
HEAD: Final = "bundle.json"
SNAPSHOT: Final = "snapshot"
BATCHES: Final = "batches"
STATE: Final = "state"
TRACE: Final = "trace"
LIBRARIES: Final = ("rsm-toolkit", "msgspec", "xxhash", "cbor2", "lz4", "pysyncobj", "numpy")
NO_CLUSTER: Final = bytes(16)


class BundleHead(msgspec.Struct, frozen=True, kw_only=True):
    """What a bundle says of itself.

    `expected` are the roots, in hex by index, that the majority or the recorded log has, and `found` what the source
    had instead; `good_index` is the last index at which they agreed. `reference` names the class as MODULE:CLASS, where
    it was known. `verdict` is whatever its writer had found out, as plain values.
    """

    format: int = BUNDLE_FORMAT
    machine: str
    version: int
    reference: str = ""
    from_index: int
    to_index: int
    good_index: int = 0
    state_index: int = 0
    expected: dict[int, str] = {}
    found: dict[int, str] = {}
    node: int = 0
    code_digest: str = ""
    environment: dict[str, str] = {}
    verdict: dict[str, Any] = {}
    created_by: str = ""


make_known(BundleHead)


def environment() -> dict[str, str]:
    """What may make one process compute otherwise than another: interpreter, platform, settings, library versions."""
    found = {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "platform": platform.platform(),
        "byteorder": sys.byteorder,
        "PYTHONHASHSEED": os.environ.get("PYTHONHASHSEED", "random"),
        "TZ": os.environ.get("TZ", ""),
        "locale": ".".join(part for part in locale.getlocale() if part),
        "optimize": str(sys.flags.optimize),
        "utf8": str(sys.flags.utf8_mode),
    }
    for library in LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[library] = metadata.version(library)
    return found


def created_by() -> str:
    """Which rsm this is, as `BundleHead.created_by` has it."""
    try:
        return f"rsm {metadata.version('rsm-toolkit')}"
    except metadata.PackageNotFoundError:
        return "rsm"


def write_bundle(
    disk: Disk,
    path: str,
    head: BundleHead,
    *,
    snapshot: Iterable[tuple[RecordKind, bytes]] | None,
    entries: Iterable[Entry],
    state: Iterable[tuple[RecordKind, bytes]] | None = None,
    trace: Iterable[CommandTrace] = (),
    cluster_id: bytes = NO_CLUSTER,
    previous: tuple[int, bytes] = (0, ZERO_CHAIN),
) -> Iterator[None]:
    """Write a bundle into the directory `path`, which is made with its parents; durable when the iterator has ended.

    Each step writes about `BUNDLE_STEP_BYTES`. Closing the iterator early leaves a directory that is no bundle.
    `previous` are term and chain of the log before `entries`; with a snapshot they are read from its manifest.
    `CallerError` if there is a bundle already, `StorageError`, `BadBytes` for a snapshot that does not begin with its
    manifest.
    """
    _make_room(disk, path)
    yield
    if snapshot is not None:
        previous = yield from _write_snapshot(disk, os.path.join(path, SNAPSHOT), snapshot)
    yield from _write_entries(disk, os.path.join(path, BATCHES), head.from_index + 1, cluster_id, previous, entries)
    if state is not None:
        yield from _write_snapshot(disk, os.path.join(path, STATE), state)
    yield from _write_trace(disk, os.path.join(path, TRACE), head.to_index, trace)
    with new_file(disk, os.path.join(path, HEAD)) as file:
        file.pwrite(msgspec.json.format(msgspec.json.encode(head), indent=2) + b"\n", 0)
    yield


def read_head(disk: Disk, path: str) -> BundleHead:
    """What the bundle in the directory `path` says of itself. `CorruptFile`, `StorageError`, `UnknownFormat` for that
    of a newer release.
    """
    name = os.path.join(path, HEAD)
    file = disk.open(name, writable=False)
    try:
        data = file.pread(BUNDLE_HEAD_BYTES_MAX + 1, 0)
    finally:
        file.close()
    if len(data) > BUNDLE_HEAD_BYTES_MAX:
        raise CorruptFile(name, 0, f"it is larger than {BUNDLE_HEAD_BYTES_MAX} bytes")
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
        if type(fields.get("format")) is int and fields["format"] > BUNDLE_FORMAT:
            raise UnknownFormat(f"{name}: a newer release wrote this (bundle format {fields['format']})")
        head = msgspec.json.decode(data, type=BundleHead)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CorruptFile(name, 0, f"not the head of a bundle: {error}") from error
    if head.format != BUNDLE_FORMAT or not 0 <= head.from_index <= head.to_index:
        raise CorruptFile(name, 0, "not the head of a bundle: format or indexes are not possible")
    return head


def add_trace(disk: Disk, path: str, whole_to: int, trace: Iterable[CommandTrace]) -> Iterator[None]:
    """Write the `trace` of a bundle that is there already, in steps like `write_bundle`. It holds all that there is
    up to the index `whole_to`.
    """
    yield from _write_trace(disk, os.path.join(path, TRACE), whole_to, trace)


def _make_room(disk: Disk, path: str) -> None:
    """The directory, its parents, and nothing in it that an unfinished bundle left."""
    made, missing = path, []
    while made and not disk.exists(made):
        missing.append(made)
        made = os.path.dirname(made)
    for directory in reversed(missing):
        disk.mkdir(directory)
        disk.fsync_directory(os.path.dirname(directory) or ".")
    names = set(disk.listdir(path))
    if HEAD in names:
        raise CallerError(f"{path}: holds a bundle already: choose another directory")
    own = {name + suffix for name in (HEAD, SNAPSHOT, BATCHES, STATE, TRACE) for suffix in ("", ".tmp")}
    if names - own:
        raise CallerError(f"{path}: holds other files ({min(names - own)}): choose an empty or a new directory")
    for name in sorted(names):
        disk.unlink(os.path.join(path, name))


def _write_snapshot(
    disk: Disk, path: str, records: Iterable[tuple[RecordKind, bytes]]
) -> Generator[None, None, tuple[int, bytes]]:
    """The file; returns term and chain at its index."""
    stream = iter(records)
    first = next(stream, None)
    if first is None or first[0] != RecordKind.MANIFEST:
        raise BadBytes("a snapshot must begin with its manifest")
    manifest = decode_manifest(first[1])
    with SnapshotWriter(disk, path, manifest.index, manifest.term, 0) as writer:
        writer.add(*first)
        size = len(first[1])
        for kind, payload in stream:
            writer.add(kind, payload)
            size += len(payload)
            if size >= BUNDLE_STEP_BYTES:
                size = 0
                yield
        writer.commit()
    yield
    return manifest.term, manifest.chain


def _write_entries(
    disk: Disk, path: str, first: int, cluster_id: bytes, previous: tuple[int, bytes], entries: Iterable[Entry]
) -> Iterator[None]:
    term, chain = previous
    with new_file(disk, path) as file:
        data = encode_head(SegmentHead(cluster_id, 0, first, term, chain, True))
        file.pwrite(data, 0)
        offset = synced = len(data)
        for index, entry in enumerate(entries, first):
            if entry.index != index:
                raise CallerError(f"a bundle of entries from {first} on was given entry {entry.index} as {index}")
            chain = next_chain(chain, entry.index, entry.term, entry.kind, entry.payload)
            data = encode_entry(entry, chain, 0, compress=True)
            file.pwrite(data, offset)
            offset += len(data)
            if offset - synced >= BUNDLE_STEP_BYTES:
                file.fdatasync()
                synced = offset
                yield
    yield


def _write_trace(disk: Disk, path: str, index: int, trace: Iterable[CommandTrace]) -> Iterator[None]:
    """Records of a snapshot file: their frames have what a trace needs, checksums, order and an end."""
    stream = iter(trace)
    first = next(stream, None)
    if first is None:
        return
    with SnapshotWriter(disk, path, index, 0, 0) as writer:
        packed, size, step = [encode(pack(first))], 0, 0
        for one in stream:
            packed.append(encode(pack(one)))
            size += len(packed[-1])
            if size >= TRACE_RECORD_BYTES:
                writer.add(RecordKind.CHUNK, encode([msgspec.Raw(data) for data in packed]))
                step += size
                packed, size = [], 0
                if step >= BUNDLE_STEP_BYTES:
                    step = 0
                    yield
        writer.add(RecordKind.CHUNK, encode([msgspec.Raw(data) for data in packed]))
        writer.commit()
    yield
