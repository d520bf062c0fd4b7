"""Where the entries of a log lie: the journal's memory, four bytes per entry and a few words per segment and term.

Nothing here writes. Reading an entry opens its segment anew, so that a reader never shares a file with the writer.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right

from rsm.codec.chain import ZERO_CHAIN
from rsm.codec.record import HEADER_BYTES, Entry, decode_header, decode_record
from rsm.errors import BadBytes, CallerError, CorruptFile
from rsm.node.storage.disk import Disk
from rsm.node.storage.files import located
from rsm.node.storage.segment import END_MARK, SegmentHead

__all__ = ["LogIndex", "Segment"]


class Segment:
    """One file: where its entries begin, and the offset behind the last of them."""

    __slots__ = ("end", "first_index", "head", "offsets", "path")

    def __init__(self, path: str, head: SegmentHead, end: int) -> None:
        self.path = path
        self.head = head
        self.first_index = head.first_index
        self.offsets = array("I")
        self.end = end


class LogIndex:
    """The segments of a log, oldest first, and the position (index, term, chain) of its last entry."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.segments: list[Segment] = []
        self.last_index = 0
        self.last_term = 0
        self.last_chain = ZERO_CHAIN
        # Run-length encoded terms: term `_terms[i]` begins at index `_term_starts[i]`.
        self._term_starts: list[int] = []
        self._terms: list[int] = []

    @property
    def first_index(self) -> int:
        return self.segments[0].first_index if self.segments else self.last_index + 1

    def add_segment(self, segment: Segment) -> None:
        """Go on in this segment; the first one says what came before the log."""
        if not self.segments:
            head = segment.head
            self.last_index, self.last_term = head.first_index - 1, head.previous_term
            self.last_chain = head.previous_chain
        self.segments.append(segment)

    def add_entry(self, index: int, term: int, chain: bytes, end: int) -> None:
        """Note an entry behind the last one; it ends at offset `end` of the last segment."""
        segment = self.segments[-1]
        segment.offsets.append(segment.end)
        segment.end = end
        if not self._terms or self._terms[-1] != term:
            self._term_starts.append(index)
            self._terms.append(term)
        self.last_term, self.last_chain = term, chain
        # Last, since a sync in another thread reads it.
        self.last_index = index

    def clear(self) -> None:
        """Forget every segment and entry."""
        self.segments.clear()
        self._term_starts.clear()
        self._terms.clear()

    def cut_entries(self, index: int, term: int, chain: bytes) -> None:
        """Forget the entries of the last segment from `index` on; `term` and `chain` belong to the one before."""
        segment = self.segments[-1]
        kept = index - segment.first_index
        segment.end = segment.offsets[kept]
        del segment.offsets[kept:]
        while self._term_starts and self._term_starts[-1] >= index:
            self._term_starts.pop()
            self._terms.pop()
        self.last_index, self.last_term, self.last_chain = index - 1, term, chain

    def drop_oldest(self) -> None:
        """Forget the oldest segment."""
        del self.segments[0]
        keep = bisect_right(self._term_starts, self.first_index) - 1
        if keep > 0:
            del self._term_starts[:keep]
            del self._terms[:keep]

    def segment_of(self, index: int) -> Segment:
        """The segment that holds an entry; `CallerError` if none does."""
        if not self.first_index <= index <= self.last_index:
            raise CallerError(
                f"{self.path}: index {index} is not in the log, which holds {self.first_index} to {self.last_index}"
            )
        return self.segments[bisect_right(self.segments, index, key=lambda segment: segment.first_index) - 1]

    def term_at(self, index: int) -> int:
        if index == self.last_index:
            return self.last_term
        if index == self.first_index - 1:
            return self.segments[0].head.previous_term
        self.segment_of(index)
        return self._terms[bisect_right(self._term_starts, index) - 1]

    def chain_at(self, disk: Disk, index: int) -> bytes:
        if index == self.last_index:
            return self.last_chain
        if index == self.first_index - 1:
            return self.segments[0].head.previous_chain
        segment = self.segment_of(index)
        offset = segment.offsets[index - segment.first_index]
        file = disk.open(segment.path, writable=False)
        try:
            with located(segment.path, offset):
                header = decode_header(file.pread(HEADER_BYTES, offset))
                if header.index != index:
                    raise BadBytes(f"not the record of index {index} that was written here")
        finally:
            file.close()
        return header.chain

    def read_run(self, disk: Disk, first: int, last: int, bytes_max: int) -> list[Entry]:
        """Read entries from `first`, in one read: those of its segment up to `last` that begin within `bytes_max`."""
        segment = self.segment_of(first)
        begin = first - segment.first_index
        start = segment.offsets[begin]
        stop = min(len(segment.offsets), last - segment.first_index + 1)
        until = max(begin + 1, bisect_right(segment.offsets, start + bytes_max, begin, stop))
        end = segment.offsets[until] if until < len(segment.offsets) else segment.end
        file = disk.open(segment.path, writable=False)
        try:
            data = memoryview(file.pread(end - start, start))
        finally:
            file.close()
        entries: list[Entry] = []
        offset = 0
        for index in range(first, segment.first_index + until):
            try:
                record, after = decode_record(data, offset)
                if record.index != index or bytes(data[after : after + 1]) != END_MARK:
                    raise BadBytes(f"not the record of index {index} that was written here")
            except BadBytes as error:
                raise CorruptFile(segment.path, start + offset, str(error)) from error
            entries.append(Entry(record.index, record.term, record.kind, record.payload))
            offset = after + len(END_MARK)
        return entries
