"""The log as consensus sees it: what the journal holds, and in front of it the entries that just came.

The newest entries stay in memory, up to a bound, so that sending and applying them reads no file. Whatever was decided
here (appended, cut) reaches the journal when the shell takes it with `take`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from rsm.codec.record import Entry
from rsm.limits import RECENT_ENTRIES_BYTES

__all__ = ["RaftLog", "Stored"]


class Stored(Protocol):
    """What is on the disk; `rsm.node.storage.journal.Journal` is one."""

    @property
    def first_index(self) -> int: ...
    @property
    def last_index(self) -> int: ...
    @property
    def last_term(self) -> int: ...
    def term_at(self, index: int) -> int: ...
    def read(self, first: int, last: int | None = None, *, bytes_max: int | None = None) -> Iterator[Entry]: ...


class RaftLog:
    """One log. Its end may be ahead of the journal's, never the other way round once `take` was carried out."""

    def __init__(self, stored: Stored, *, recent_bytes_max: int = RECENT_ENTRIES_BYTES) -> None:
        self._stored = stored
        self.last_index = stored.last_index
        self.last_term = stored.last_term
        self.durable_index = stored.last_index
        self._recent: list[Entry] = []
        self._recent_first = self.last_index + 1
        self._recent_bytes = 0
        self._recent_bytes_max = recent_bytes_max
        self._handed = self.last_index  # taken by the shell up to here
        self._cut = 0

    @property
    def first_index(self) -> int:
        """The first index held."""
        return self._stored.first_index

    def term_at(self, index: int) -> int | None:
        """The term of an entry, also of the one before the first; None for one that is not here."""
        if index >= self._recent_first:
            position = index - self._recent_first
            return self._recent[position].term if position < len(self._recent) else None
        if index == 0 and self._stored.first_index == 1:
            return 0
        if index < self._stored.first_index - 1:
            return None
        return self._stored.term_at(index)

    def append(self, entries: list[Entry]) -> None:
        """Add entries behind the last one."""
        self._recent.extend(entries)
        self._recent_bytes += sum(len(entry.payload) for entry in entries)
        self.last_index, self.last_term = entries[-1].index, entries[-1].term

    def cut_from(self, index: int) -> None:
        """Remove the entry at `index` and all behind it."""
        self._drop(index)
        if index <= self._handed:
            self._cut = min(self._cut or index, index)
            self._handed = index - 1
        self.durable_index = min(self.durable_index, index - 1)

    def synced(self, index: int) -> bool:
        """The journal is synced up to here; whether that is news. It speaks of what it was given: where the log was cut
        since, or goes on with entries not taken yet, its index is that of others.
        """
        index = min(index, self._handed)
        is_news = index > self.durable_index
        self.durable_index = max(self.durable_index, index)
        return is_news

    def refuse(self, index: int) -> None:
        """The journal took no entry from `index` on: they were never in the log."""
        self._drop(index)
        self._handed = min(self._handed, index - 1)

    def _drop(self, index: int) -> None:
        term = self.term_at(index - 1)
        if index < self._recent_first:
            self._recent, self._recent_first = [], index
        else:
            del self._recent[index - self._recent_first :]
        self._recent_bytes = sum(len(entry.payload) for entry in self._recent)
        self.last_index, self.last_term = index - 1, term or 0

    def restart_after(self, index: int, term: int) -> None:
        """The journal was reset to an empty log behind this entry: a snapshot was installed."""
        self._recent, self._recent_first, self._recent_bytes = [], index + 1, 0
        self.last_index, self.last_term = index, term
        self.durable_index = self._handed = index
        self._cut = 0

    def take(self) -> tuple[int, list[Entry]]:
        """What the journal has to do: cut from an index (0 for not), then append these."""
        cut, self._cut = self._cut, 0
        entries = self._recent[self._handed + 1 - self._recent_first :] if self._handed < self.last_index else []
        self._handed = self.last_index
        return cut, entries

    def read(self, first: int, last: int, bytes_max: int) -> list[Entry]:
        """Entries from `first` to `last` at most, of `bytes_max` payload bytes, but at least one; they are here."""
        if first < self._recent_first:
            return list(self._stored.read(first, min(last, self._recent_first - 1), bytes_max=bytes_max))
        found: list[Entry] = []
        size = 0
        for position in range(first - self._recent_first, min(last, self.last_index) + 1 - self._recent_first):
            entry = self._recent[position]
            size += len(entry.payload)
            if found and size > bytes_max:
                break
            found.append(entry)
        return found

    def forget(self, applied_index: int) -> None:
        """Let go of the oldest entries in memory, beyond the bound and applied."""
        if self._recent_bytes <= self._recent_bytes_max:
            return
        count = 0
        limit = min(applied_index, self.durable_index, self._handed) + 1 - self._recent_first
        # Down to half of the bound, so that the list is not moved for every entry.
        while count < limit and self._recent_bytes > self._recent_bytes_max // 2:
            self._recent_bytes -= len(self._recent[count].payload)
            count += 1
        del self._recent[:count]
        self._recent_first += count
