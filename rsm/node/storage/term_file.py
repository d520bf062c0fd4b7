"""Term and vote: the few bytes that must never go backwards, or a machine could vote twice in one term.

The file has two slots, each a TERM record with a generation number, 4096 bytes apart. `save` writes and syncs the
first, then the second. So at any moment at least one slot is whole, and since every saved pair lies in both, one slot
may rot without taking the newest pair with it. Reading takes the valid slot of the highest generation; if neither is
valid the file is corrupt and the node must not vote.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from rsm.codec.cbor import decode_canonical, encode
from rsm.codec.record import RecordKind, decode_record, encode_record
from rsm.errors import BadBytes, CallerError, Closed, CorruptFile, StorageError
from rsm.limits import CONTROL_BYTES_MAX
from rsm.node.storage.disk import Disk, File
from rsm.node.storage.files import located

__all__ = ["TermFile", "read_term"]

# Far enough apart that no disk rewrites both slots when one is written (4096 is the largest common physical sector).
SLOT_BYTES: Final = 4096
SLOTS: Final = 2


class TermFile:
    """`term` (int, from 0) and `vote` (the name of the node voted for in that term, or None), as last saved."""

    def __init__(self, path: str, file: File, group_id: int, generation: int, term: int, vote: str | None) -> None:
        self.path = path
        self.term = term
        self.vote = vote
        self._file: File | None = file
        self._group_id = group_id
        self._generation = generation
        self._failure: str | None = None

    @classmethod
    def open(cls, disk: Disk, path: str, *, group_id: int = 0, create: bool = True) -> Self:
        """Read the file at `path`; with `create`, make one with term 0 where there is none.

        Raises `CorruptFile` if neither slot is whole, `StorageError`.
        """
        if create and not disk.exists(path):
            cls._create(disk, path, group_id)
        # Also for a file that an earlier process of ours made: its name may not be on the disk yet.
        disk.fsync_directory(os.path.dirname(path) or ".")
        file = disk.open(path)
        try:
            slots = [_read_slot(file, slot, group_id) for slot in range(SLOTS)]
            newest = _newest(path, slots)
            opened = cls(path, file, group_id, newest.generation, newest.term, newest.vote)
            if not all(slot == newest for slot in slots):
                # A crash or rot left one slot behind: from here on the pair must again lie in both.
                opened._write(newest.term, newest.vote)
        except BaseException:
            file.close()
            raise
        return opened

    @classmethod
    def _create(cls, disk: Disk, path: str, group_id: int) -> None:
        temporary = path + ".tmp"
        if disk.exists(temporary):
            disk.unlink(temporary)
        file = disk.open(temporary, create=True)
        try:
            cls(path, file, group_id, 0, 0, None)._write(0, None)
        finally:
            file.close()
        disk.rename(temporary, path)

    def save(self, term: int, vote: str | None) -> None:
        """Make the pair durable; only after the return may a vote be given or a message of that term be sent.

        The term must not fall, and a vote must not change within its term (`CallerError`). After a `StorageError`
        nothing can be saved any more: the file has to be opened anew.
        """
        if self._file is None:
            raise Closed(f"{self.path}: closed")
        if self._failure is not None:
            raise StorageError(f"{self.path}: cannot save after a failure: {self._failure}")
        if term < self.term or (term == self.term and self.vote is not None and vote != self.vote):
            raise CallerError(
                f"{self.path}: term {term} with vote {vote} cannot follow term {self.term} with vote {self.vote}"
            )
        if (term, vote) != (self.term, self.vote):
            self._write(term, vote)

    def _write(self, term: int, vote: str | None) -> None:
        if self._file is None:
            raise Closed(f"{self.path}: closed")
        generation = self._generation + 1
        record = encode_record(
            RecordKind.TERM,
            encode({"vote": vote}),
            index=generation,
            term=term,
            group_id=self._group_id,
            bytes_max=SLOT_BYTES - 128,
        )
        data = record.ljust(SLOT_BYTES, b"\0")
        try:
            for slot in range(SLOTS):
                self._file.pwrite(data, slot * SLOT_BYTES)
                self._file.fdatasync()
        except BaseException as error:
            self._failure = str(error) or type(error).__name__
            raise
        self._generation, self.term, self.vote = generation, term, vote

    def close(self) -> None:
        """Close the file; everything saved is durable already."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Slot(NamedTuple):
    generation: int
    term: int
    vote: str | None


def _read_slot(file: File, slot: int, group_id: int | None) -> _Slot | BadBytes:
    data = file.pread(SLOT_BYTES, slot * SLOT_BYTES)
    # A slot of a newer release may hold the newest pair, so the other one would not do.
    with located(file.path, slot * SLOT_BYTES):
        try:
            record, end = decode_record(data, bytes_max=SLOT_BYTES)
            fields: Any = decode_canonical(record.payload, bytes_max=CONTROL_BYTES_MAX)
            if (
                record.kind is not RecordKind.TERM
                or group_id not in (None, record.group_id)
                or type(fields) is not dict
                or fields.keys() != {"vote"}
                or not isinstance(fields["vote"], str | None)
                or data[end:].strip(b"\0")
            ):
                raise BadBytes(f"slot {slot} does not hold term and vote of group {group_id}")
        except BadBytes as error:
            return error
    return _Slot(record.index, record.term, fields["vote"])


def _newest(path: str, slots: list[_Slot | BadBytes]) -> _Slot:
    whole = [slot for slot in slots if isinstance(slot, _Slot)]
    if not whole:
        raise CorruptFile(path, 0, f"no slot holds term and vote: {slots[0]}")
    return max(whole, key=lambda slot: slot.generation)


def read_term(disk: Disk, path: str, *, group_id: int | None = None) -> tuple[int, str | None]:
    """Term and vote, read without changing anything; `CorruptFile` if they are gone or neither slot is whole."""
    if not disk.exists(path):
        raise CorruptFile(path, 0, "term and vote are gone")
    file = disk.open(path, writable=False)
    try:
        newest = _newest(path, [_read_slot(file, slot, group_id) for slot in range(SLOTS)])
    finally:
        file.close()
    return newest.term, newest.vote
