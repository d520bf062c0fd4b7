"""Reading a bundle, the evidence that `rsm.node.storage.bundles` writes, and running it under a class again.

    def test_the_bug_is_gone() -> None:
        assert rsm.testing.load_bundle("desync-128").replay(Book).verdict == "agree"

What is in a bundle is data: names, values and roots. The class that replays it is the caller's.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Self

import msgspec

from rsm.codec.record import RecordKind
from rsm.errors import BadBytes, CorruptFile, StorageError
from rsm.node.storage.bundles import HEAD, STATE, TRACE, BundleHead, read_head
from rsm.node.storage.disk import Disk
from rsm.node.storage.files import located
from rsm.node.storage.snapshots import read_snapshot, snapshot_position
from rsm.replica.trace import PackedTrace

__all__ = ["Bundle", "is_bundle"]

_decode_traces = msgspec.msgpack.Decoder(list[PackedTrace]).decode
ROOT_BYTES = 16


def is_bundle(disk: Disk, path: str) -> bool:
    """Whether a path is the directory of a bundle."""
    return disk.is_directory(path) and disk.exists(os.path.join(path, HEAD))


class Bundle:
    """A bundle on the disk: its `head`, and the roots that it expects and found, by index."""

    def __init__(self, disk: Disk, path: str, head: BundleHead) -> None:
        self.path = path
        self.head = head
        self.expected = _roots(path, head.expected)
        self.found = _roots(path, head.found)
        self._disk = disk

    @classmethod
    def read(cls, disk: Disk, path: str) -> Self:
        """`StorageError` if there is none, `CorruptFile`, `UnknownFormat` for that of a newer release."""
        name = os.path.join(path, HEAD)
        if not is_bundle(disk, path):
            raise StorageError(f"{path}: there is no bundle here: a bundle is a directory with {HEAD} in it")
        head = read_head(disk, path)
        if not all(head.from_index <= index <= head.to_index for index in head.expected):
            raise CorruptFile(name, 0, "not the head of a bundle: it expects roots that lie outside of it")
        return cls(disk, path, head)

    @property
    def traced_to(self) -> int:
        """Up to which index all that its source did is among the traces; 0 if there are none. `CorruptFile`."""
        path = os.path.join(self.path, TRACE)
        return snapshot_position(self._disk, path)[0] if self._disk.exists(path) else 0

    def traces(self) -> Iterator[PackedTrace]:
        """What each command did on the source of the bundle, if it holds that. `CorruptFile`."""
        path = os.path.join(self.path, TRACE)
        if not self._disk.exists(path):
            return
        for kind, payload in read_snapshot(self._disk, path):
            with located(path, 0):
                if kind is not RecordKind.CHUNK:
                    raise BadBytes(f"a {kind.name} record has no place in a trace")
                try:
                    traces = _decode_traces(payload)
                except msgspec.MsgspecError as error:
                    raise BadBytes(f"not the record of a trace: {error}") from error
            yield from traces

    @property
    def has_state(self) -> bool:
        """Whether the state that its source had is there."""
        return self._disk.exists(os.path.join(self.path, STATE))

    def state(self) -> Iterator[tuple[RecordKind, bytes]]:
        """The records of that state, as of a snapshot. `CorruptFile`."""
        return read_snapshot(self._disk, os.path.join(self.path, STATE))


def _roots(path: str, texts: dict[int, str]) -> dict[int, bytes]:
    roots = {}
    for index, text in texts.items():
        try:
            roots[index] = bytes.fromhex(text)
        except ValueError:
            roots[index] = b""
        if len(roots[index]) != ROOT_BYTES:
            raise CorruptFile(os.path.join(path, HEAD), 0, f"the root at index {index} is none")
    return roots
