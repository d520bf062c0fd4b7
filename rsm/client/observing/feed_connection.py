"""One subscription: a blocking connection to one node, the frames of its feed, and the snapshot files in it."""

from __future__ import annotations

import contextlib
import socket
from types import TracebackType
from typing import Self

from rsm.client.tool import NotANode, ToolConnection
from rsm.errors import BadBytes, WrongMachine
from rsm.limits import FEED_SILENCE_SECONDS_MAX
from rsm.node.feed.frames import FeedFrame, FeedHead, FeedSnapshot, decode_feed
from rsm.node.network import protocol
from rsm.node.network.wire import FrameKind
from rsm.node.storage.disk import Disk, File
from rsm.node.storage.snapshots import read_snapshot
from rsm.replica.snapshot import Manifest, read_manifest

__all__ = ["FeedConnection", "IncomingSnapshot"]


class FeedConnection(ToolConnection):
    """Send one `Observe`, then take frames until the connection ends. A context manager."""

    def observe(self, request: protocol.Observe, machine: str) -> FeedHead:
        """Subscribe; the HEAD. `WrongMachine` for a node of another one, else whatever the node's answer stands for."""
        if self.hello.machine != machine:
            raise WrongMachine(f"{self.address} runs {self.hello.machine!r}, not {machine!r}")
        self._begin(lambda number: protocol.encode_request(number, request))
        self._socket.settimeout(FEED_SILENCE_SECONDS_MAX)
        head = self.frame()
        if not isinstance(head, FeedHead):
            raise BadBytes(f"{self.address}: a feed must begin with its head")
        return head

    def frame(self) -> FeedFrame:
        """The next frame. `Unreachable` when the node has said nothing for `FEED_SILENCE_SECONDS_MAX`."""
        kind, payload = self._receive()
        if kind is FrameKind.FEED:
            return decode_feed(payload)
        if kind is FrameKind.ANSWER:
            _, status, fields = protocol.decode_answer(payload)
            raise protocol.error_of(status, fields)
        raise NotANode(f"{self.address}: a frame of kind {kind.name} in a feed")

    def abort(self) -> None:
        """From any thread: whoever reads here finds the connection closed."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)


class IncomingSnapshot:
    """A snapshot file that comes in parts. As a context manager it closes the file, finished or not."""

    def __init__(self, disk: Disk, path: str) -> None:
        self._disk = disk
        self._path = path
        self._index = self._total = -1
        self._offset = 0
        self._file: File | None = disk.open(path, create=True)

    def add(self, part: FeedSnapshot) -> Manifest | None:
        """Take in the next part; the manifest when it was the last one. `BadBytes` if it does not follow, or what came
        is not whole.
        """
        if self._index < 0:
            self._index, self._total = part.index, part.total_bytes
        end = part.offset + len(part.data)
        if (part.index, part.total_bytes, part.offset) != (self._index, self._total, self._offset) or end > self._total:
            raise BadBytes(f"the snapshot of index {part.index} did not come in order")
        if self._file is None or not part.data:
            raise BadBytes(f"the snapshot of index {part.index} goes on behind its end, or has no bytes")
        self._file.pwrite(part.data, part.offset)
        self._offset = end
        if end < self._total:
            return None
        self.close()
        records = read_snapshot(self._disk, self._path, index=self._index)
        manifest = read_manifest(next(records, None))
        for _ in records:  # one that is damaged is to be noticed here, where another node can be asked
            pass
        if manifest.index != self._index:
            raise BadBytes(f"the snapshot of index {self._index} has a manifest of index {manifest.index}")
        return manifest

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
