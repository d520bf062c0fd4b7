"""A stream of bytes, cut into frames: no I/O, and no more memory than one frame takes."""

from __future__ import annotations

from typing import Final

from rsm.errors import BadBytes
from rsm.node.network.wire import HEAD_BYTES, MAGIC, FrameHead, FrameKind, decode_head, payload_of

__all__ = ["FrameParser"]

MAGIC_BYTES: Final = MAGIC.to_bytes(2, "little")


class FrameParser:
    """A stream of bytes, cut into frames. Holds at most one unfinished frame of `bytes_max` and what was fed last."""

    def __init__(self, bytes_max: int, group_id: int | None = None, *, may_be_compressed: bool = True) -> None:
        # Both may change between two frames: a frame is asked for one at a time.
        self.bytes_max = bytes_max
        self.group_id = group_id
        self._may_be_compressed = may_be_compressed
        self._data: bytes | bytearray = b""
        self._offset = 0
        self._head: FrameHead | None = None

    def feed(self, data: bytes) -> None:
        """Take in what the socket gave."""
        if self._offset == len(self._data):
            self._data, self._offset = data, 0
            return
        if not isinstance(self._data, bytearray):
            self._data, self._offset = bytearray(memoryview(self._data)[self._offset :]), 0
        self._data += data

    def next_frame(self) -> tuple[FrameKind, bytes] | None:
        """The next whole frame, checked, or None until more is fed. `BadBytes`, `UnknownFormat`: the stream is lost.

        A frame above the bound is refused by its head, before its bytes have come.
        """
        data, start, head = self._data, self._offset, self._head
        if head is None:
            if len(data) - start < HEAD_BYTES:
                if len(data) > start:
                    self._keep_rest()
                    self._check_start()
                return None
            head = decode_head(
                bytes(data[start : start + HEAD_BYTES]),
                bytes_max=self.bytes_max,
                may_be_compressed=self._may_be_compressed,
            )
            if self.group_id is not None and head.group_id != self.group_id:
                raise BadBytes(f"a frame of group {head.group_id}; this is group {self.group_id}")
            start = self._offset = start + HEAD_BYTES
            self._head = head
        end = start + head.stored_bytes
        if len(data) < end:
            self._keep_rest()
            return None
        if type(data) is bytes:
            payload = payload_of(head, data[start:end])
        else:
            with memoryview(data) as view:
                payload = payload_of(head, view[start:end])
        self._offset = end
        self._head = None
        return head.kind, payload

    def _check_start(self) -> None:
        # Somebody who speaks something else may have said all that he has to say in less than a head.
        start = bytes(self._data[:2])
        if start != MAGIC_BYTES[: len(start)]:
            raise BadBytes(f"not an rsm frame (it begins with {start.hex()})")

    def _keep_rest(self) -> None:
        # Keep the unfinished end only, and not the read of which it was a part.
        if self._offset:
            rest = bytearray(memoryview(self._data)[self._offset :])
            self._data, self._offset = rest, 0
