"""The log of one machine on disk: segment files, one writer, one sync for many entries.

`append` writes, `sync` makes durable; an entry may be acknowledged once `durable_index` has reached it. Both may run at
the same time in two threads; everything else belongs to the thread that appends. Opening reads and verifies the whole
log, cuts a torn tail (and reports it in `recovery`), and refuses anything corrupt with file and offset; see
`rsm.node.storage.segment` for the difference. Memory holds four bytes per entry, never the entries.

Order on disk is what makes every crash recoverable: a segment is trimmed and synced before its successor is made; a
successor is written under a temporary name, synced, renamed, and its directory synced; compaction removes the oldest
first and a truncation the newest first, one directory sync each, so that what is left is always one unbroken run. A
write that fails is cut off again and leaves the journal as it was. A sync that fails ends the journal: the kernel may
have dropped what it could not write, so only a fresh look at the disk tells what is there.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from rsm.codec.chain import CHAIN_BYTES, ZERO_CHAIN, next_chain
from rsm.codec.record import Entry
from rsm.errors import CallerError, Closed, CorruptFile, LimitExceeded, StorageError, WrongMachine
from rsm.limits import APPEND_BYTES_MAX, READ_BYTES, SEGMENT_BYTES
from rsm.node.storage.disk import Disk
from rsm.node.storage.log_index import LogIndex, Segment
from rsm.node.storage.log_tail import LogTail
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
    segment_name,
)

__all__ = ["Journal", "Recovery"]

TEMPORARY_SUFFIX: Final = ".tmp"


class Recovery(msgspec.Struct, frozen=True):
    """What opening found: how many entries, and the torn tails it cut (at most one)."""

    entries: int
    torn: tuple[TornTail, ...]


class Journal:
    """The log of one machine. Open it with `Journal.open`; it is a context manager."""

    def __init__(self, disk: Disk, path: str, group_id: int, cluster_id: bytes, segment_bytes: int) -> None:
        self.path = path
        self.group_id = group_id
        self.cluster_id = cluster_id
        self.recovery = Recovery(0, ())
        self._disk = disk
        self._segment_bytes = segment_bytes
        self._index = LogIndex(path)
        self._durable_index = 0
        self._tail = LogTail(disk, path)
        # Guards the tail against being closed or exchanged during a sync in another thread.
        self._sync_lock = threading.Lock()
        self._closed = False
        self._truncations = 0

    # --- opening ----------------------------------------------------------------------------------------------------

    @classmethod
    def open(
        cls,
        disk: Disk,
        path: str,
        *,
        group_id: int = 0,
        cluster_id: bytes = bytes(16),
        segment_bytes: int = SEGMENT_BYTES,
        create: bool = True,
        observe: Callable[[Entry], None] | None = None,
        before_cut: Callable[[TornTail], None] | None = None,
    ) -> Self:
        """Open the log in directory `path`, verifying all of it; with `create`, start one where there is none.

        `observe` sees each entry as it is verified; `before_cut` is called before a torn tail is cut.
        Raises `CorruptFile`, `WrongMachine` (another cluster or group), `StorageError`.
        """
        journal = cls(disk, path, group_id, cluster_id, segment_bytes)
        try:
            journal._recover(create, observe, before_cut)
        except BaseException:
            journal._tail.close()
            raise
        return journal

    def _recover(
        self,
        create: bool,
        observe: Callable[[Entry], None] | None,
        before_cut: Callable[[TornTail], None] | None,
    ) -> None:
        disk = self._disk
        if create and not disk.exists(self.path):
            disk.mkdir(self.path)
        # Here and below: names that an earlier process of ours made or removed may not be on the disk yet.
        disk.fsync_directory(os.path.dirname(self.path) or ".")
        names = disk.listdir(self.path)
        for name in names:
            if name.endswith(TEMPORARY_SUFFIX):
                disk.unlink(os.path.join(self.path, name))
        disk.fsync_directory(self.path)
        paths = [os.path.join(self.path, name) for name in names if is_segment_name(name)]
        if not paths:
            if not create:
                raise CorruptFile(self.path, 0, "the log has no segment: it was removed or never made")
            self._start_segment(SegmentHead(self.cluster_id, self.group_id, 1, 0, ZERO_CHAIN, True))
            return
        heads = read_heads(disk, paths)
        for path, head in zip(paths, heads, strict=True):
            if head.cluster_id != self.cluster_id or head.group_id != self.group_id:
                raise WrongMachine(
                    f"{path}: belongs to group {head.group_id} of cluster {head.cluster_id.hex()},"
                    f" not to group {self.group_id} of cluster {self.cluster_id.hex()}"
                )
        start = last_reset(heads)
        for path in paths[:start]:
            self._unlink(path)
        torn = None
        for path in paths[start:]:
            torn = self._load(path, observe, last=path == paths[-1])
        if torn is not None:
            if before_cut is not None:
                before_cut(torn)
            self._tail.cut(torn.offset)
        else:
            # What we read may be in the page cache only, if just the process had died.
            self._tail.sync()
        self._durable_index = self.last_index
        self.recovery = Recovery(self.last_index - self.first_index + 1, (torn,) if torn else ())

    def _load(self, path: str, observe: Callable[[Entry], None] | None, *, last: bool) -> TornTail | None:
        file = self._tail.open(path) if last else self._disk.open(path, writable=False)
        try:
            reader = SegmentReader(file, last=last)
            if self._index.segments:
                check_succession(path, reader.head, self.last_index, self.last_term, self.last_chain)
            self._index.add_segment(Segment(path, reader.head, reader.end))
            for frame in reader:
                self._index.add_entry(frame.entry.index, frame.entry.term, frame.chain, frame.end)
                if observe is not None:
                    observe(frame.entry)
            return reader.torn
        finally:
            if not last:
                file.close()

    # --- state ------------------------------------------------------------------------------------------------------

    @property
    def first_index(self) -> int:
        """The first index held, or the next one to come when the log is empty."""
        return self._index.first_index

    @property
    def last_index(self) -> int:
        """The last index held, `first_index - 1` when the log is empty."""
        return self._index.last_index

    @property
    def last_term(self) -> int:
        """The term of the entry at `last_index`."""
        return self._index.last_term

    @property
    def last_chain(self) -> bytes:
        """The hash chain after the entry at `last_index`."""
        return self._index.last_chain

    @property
    def durable_index(self) -> int:
        """The last index that survives a power cut."""
        return self._durable_index

    @property
    def stored_bytes(self) -> int:
        """Bytes of all segments in use, without space written ahead."""
        return sum(segment.end for segment in self._index.segments)

    def bytes_after(self, index: int) -> int:
        """Bytes of the entries after an index."""
        total = 0
        for segment in self._index.segments:
            skip = index + 1 - segment.first_index
            if skip <= 0:
                total += segment.end
            elif skip < len(segment.offsets):
                total += segment.end - segment.offsets[skip]
        return total

    @property
    def is_usable(self) -> bool:
        """Whether it takes entries: it is open, and nothing happened that only reopening can judge."""
        return not self._closed and self._tail.failure is None

    def term_at(self, index: int) -> int:
        """The term of an entry, also of the one just before `first_index`. `CallerError` outside the log."""
        return self._index.term_at(index)

    def chain_at(self, index: int) -> bytes:
        """The hash chain after an entry, also of the one just before `first_index`. `CallerError` outside the log."""
        self._check_usable()
        return self._index.chain_at(self._disk, index)

    def _check_usable(self) -> None:
        if self._closed:
            raise Closed(f"{self.path}: the journal is closed")
        if self._tail.failure is not None:
            raise StorageError(f"{self.path}: the journal stopped after a failure: {self._tail.failure}")

    # --- writing ----------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry], *, compress: bool = False) -> int:
        """Write entries behind the last one, in one write, and return the new `last_index`. They are not durable yet.

        Indexes must continue the log and terms must not fall (`CallerError`). With `compress`, large payloads are
        stored as lz4 frames. `LimitExceeded`: an entry above `ENTRY_BYTES_MAX` or an append above `APPEND_BYTES_MAX`.
        `StorageError`: the disk said no, for example because it is full; none of the entries count, and a later append
        may succeed.
        """
        self._check_usable()
        if not entries:
            return self.last_index
        index, term, chain = self.last_index, self.last_term, self.last_chain
        records: list[bytes] = []
        chains: list[bytes] = []
        for entry in entries:
            if entry.index != index + 1 or entry.term < term:
                raise CallerError(
                    f"{self.path}: index {entry.index} of term {entry.term} cannot follow index {index} of term {term}"
                )
            index, term = entry.index, entry.term
            chain = next_chain(chain, index, term, entry.kind, entry.payload)
            chains.append(chain)
            records.append(encode_entry(entry, chain, self.group_id, compress=compress))
        total = sum(map(len, records))
        if total > APPEND_BYTES_MAX:
            raise LimitExceeded(f"an append of {total} bytes exceeds the bound of {APPEND_BYTES_MAX}")
        segment = self._index.segments[-1]
        if segment.offsets and segment.end + total > self._segment_bytes:
            self._roll()
            segment = self._index.segments[-1]
        start = end = segment.end
        try:
            self._tail.write(b"".join(records), start)
            for entry, chain, record in zip(entries, chains, records, strict=True):
                end += len(record)
                self._index.add_entry(entry.index, entry.term, chain, end)
        except BaseException as error:
            if not isinstance(error, StorageError):
                # An interrupt from outside: what memory holds may be half of it.
                self._tail.fail(error)
            with self._sync_lock:
                # The cut also gives back the space written ahead, which is just what a full disk needs.
                self._tail.cut(start)
            raise
        self._tail.write_ahead(end, self._segment_bytes)
        return index

    def sync(self) -> int:
        """Make everything appended so far durable with one fdatasync; return the new `durable_index`.

        May run in another thread than `append`: it covers what was appended before it began. If it fails
        (`StorageError`) the journal refuses everything from then on; it has to be opened anew.
        """
        with self._sync_lock:
            self._check_usable()
            index = self.last_index
            if index > self._durable_index:
                self._tail.sync()
                self._durable_index = index
            return self._durable_index

    def _roll(self) -> None:
        """Seal the active segment and go on in a new one."""
        with self._sync_lock:
            self._seal()
            head = SegmentHead(
                self.cluster_id, self.group_id, self.last_index + 1, self.last_term, self.last_chain, False
            )
            self._start_segment(head)

    def _seal(self) -> None:
        self._tail.cut(self._index.segments[-1].end)
        self._durable_index = self.last_index

    def _start_segment(self, head: SegmentHead) -> None:
        """Make the next segment and its name durable, then make it the active one."""
        path = os.path.join(self.path, segment_name(head.first_index))
        temporary = path + TEMPORARY_SUFFIX
        data = encode_head(head)
        if self._disk.exists(temporary):
            self._disk.unlink(temporary)
        file = self._disk.open(temporary, create=True)
        try:
            file.pwrite(data, 0)
        except BaseException:
            # A full disk: the old segment stays the active one, and a later append tries again.
            file.close()
            with contextlib.suppress(StorageError):
                self._disk.unlink(temporary)
            raise
        try:
            with self._tail.fatal():
                file.fdatasync()
                self._disk.rename(temporary, path)
                self._disk.fsync_directory(self.path)
        finally:
            file.close()
        with self._tail.fatal():
            self._tail.open(path)
            self._index.add_segment(Segment(path, head, len(data)))

    # --- removing ---------------------------------------------------------------------------------------------------

    def _unlink(self, path: str) -> None:
        # One directory sync for each name: were several pending, a crash could keep one removal and lose another.
        with self._tail.fatal():
            self._disk.unlink(path)
            self._disk.fsync_directory(self.path)

    def _drop_newest(self) -> None:
        self._tail.close()
        self._unlink(self._index.segments[-1].path)
        self._index.segments.pop()

    def truncate_from(self, index: int) -> None:
        """Remove the entry at `index` and all after it (a Raft conflict); durable on return.

        A no-op at `last_index + 1`; `CallerError` anywhere else outside the log. After a crash inside it the log ends
        somewhere between. `StorageError` ends the journal.
        """
        self._check_usable()
        if index == self.last_index + 1:
            return
        target = self._index.segment_of(index)
        term, chain = self.term_at(index - 1), self.chain_at(index - 1)
        with self._sync_lock, self._tail.fatal():
            self._truncations += 1
            while self._index.segments[-1] is not target:
                self._drop_newest()
            if not self._tail.is_open:
                self._tail.open(target.path)
            self._index.cut_entries(index, term, chain)
            self._tail.cut(target.end)
            self._durable_index = self.last_index

    def compact_to(self, index: int) -> int:
        """Remove whole segments without an entry after `index`, never the active one; return the new `first_index`."""
        self._check_usable()
        segments = self._index.segments
        while len(segments) > 1 and segments[1].first_index <= index + 1:
            self._unlink(segments[0].path)
            self._index.drop_oldest()
        return self.first_index

    def reset(self, index: int, term: int, chain: bytes) -> None:
        """Drop everything and start empty after `index` (a snapshot was installed); durable on return.

        `CallerError` if `index` is before the log. After a crash inside it the log is a beginning of the old one, or
        the new, empty one. `StorageError` ends the journal.
        """
        self._check_usable()
        if index + 1 < self.first_index or len(chain) != CHAIN_BYTES:
            raise CallerError(f"{self.path}: cannot start after index {index}: the log starts at {self.first_index}")
        with self._sync_lock, self._tail.fatal():
            self._truncations += 1
            # Segments behind the new one would be taken for its successors.
            while self._index.segments[-1].first_index > index + 1:
                self._drop_newest()
            old = [segment.path for segment in self._index.segments]
            self._index.clear()
            self._start_segment(SegmentHead(self.cluster_id, self.group_id, index + 1, term, chain, True))
            for path in old:
                if path != self._index.segments[0].path:
                    self._unlink(path)
            self._durable_index = index

    def clear(self) -> None:
        """Drop everything and start as an empty log at index 1: its node fetches all from another one."""
        self._check_usable()
        with self._sync_lock, self._tail.fatal():
            self._truncations += 1
            while self._index.segments:
                self._drop_newest()
            self._index.clear()
            self._start_segment(SegmentHead(self.cluster_id, self.group_id, 1, 0, ZERO_CHAIN, True))
            self._durable_index = 0

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(self, first: int, last: int | None = None, *, bytes_max: int | None = None) -> Iterator[Entry]:
        """Stream the entries from `first` to `last` (default: the last one now), verified again as they are read.

        Stops before the payloads together exceed `bytes_max`, but yields at least one entry. Entries that are not
        durable yet are included. `CallerError` if the range is not in the log; also later, if it is removed while being
        read.
        """
        self._check_usable()
        final = self.last_index if last is None else last
        if first > final:
            return iter(())
        self._index.segment_of(first)
        self._index.segment_of(final)
        return self._read(first, final, bytes_max)

    def _read(self, first: int, last: int, bytes_max: int | None) -> Iterator[Entry]:
        truncations = self._truncations
        total = 0
        index = first
        while index <= last:
            self._check_usable()
            if truncations != self._truncations:
                raise CallerError(f"{self.path}: the log was truncated while it was being read")
            run_bytes = READ_BYTES if bytes_max is None else min(READ_BYTES, bytes_max - total)
            for entry in self._index.read_run(self._disk, index, last, run_bytes):
                total += len(entry.payload)
                if bytes_max is not None and total > bytes_max and index > first:
                    return
                yield entry
                index += 1

    # --- closing ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Sync and trim the active segment and close it. After a failure nothing more is made durable."""
        with self._sync_lock:
            if self._closed:
                return
            self._closed = True
            try:
                if self._tail.failure is None:
                    self._seal()
            finally:
                if self._tail.sync_failed:
                    self._tail.forget_unsynced(self._durable_end())
                self._tail.close()

    def _durable_end(self) -> int:
        """The offset behind the last durable entry in the active segment."""
        segment = self._index.segments[-1]
        kept = self._durable_index + 1 - segment.first_index
        return segment.offsets[kept] if 0 <= kept < len(segment.offsets) else segment.end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
