"""A journal in memory, and what a disk may do to it: lose what was not synced, be cut off, be full.

It has the part of `rsm.node.storage.journal.Journal` that consensus sees, and its promise about syncs: one that runs
while the log is cut ends before the cut.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from rsm.codec.record import Entry, RecordKind
from rsm.raft.configuration import Configuration, decode_configuration

__all__ = ["FakeJournal", "FullDisk"]


class FullDisk(Exception):
    """No entry from here on was taken."""


class FakeJournal:
    """Entries behind a base (where a snapshot ends), of which those up to `durable_index` survive a power cut."""

    def __init__(self, base_index: int = 0, base_term: int = 0, configuration: Configuration | None = None) -> None:
        self.base_index, self.base_term = base_index, base_term
        self.base_configuration = configuration
        self.entries: list[Entry] = []
        self.durable_index = base_index
        self.is_full = False
        self._syncing_to: int | None = None

    @property
    def first_index(self) -> int:
        return self.base_index + 1

    @property
    def last_index(self) -> int:
        return self.base_index + len(self.entries)

    @property
    def last_term(self) -> int:
        return self.entries[-1].term if self.entries else self.base_term

    def term_at(self, index: int) -> int:
        if index == self.base_index:
            return self.base_term
        if not self.base_index < index <= self.last_index:
            raise AssertionError(f"index {index} is not in the log of {self.first_index} to {self.last_index}")
        return self.entries[index - self.base_index - 1].term

    def read(self, first: int, last: int | None = None, *, bytes_max: int | None = None) -> Iterator[Entry]:
        size = 0
        for index in range(first, (self.last_index if last is None else last) + 1):
            if not self.base_index < index <= self.last_index:
                raise AssertionError(f"index {index} is not in the log of {self.first_index} to {self.last_index}")
            entry = self.entries[index - self.base_index - 1]
            size += len(entry.payload)
            if bytes_max is not None and index > first and size > bytes_max:
                return
            yield entry

    # --- writing ------------------------------------------------------------------------------------------------------

    def append(self, entries: Sequence[Entry], chance: random.Random | None = None) -> None:
        """Take the entries; a full disk takes some of them, when there is chance, and raises `FullDisk`."""
        for position, entry in enumerate(entries):
            if entry.index != self.last_index + 1 or entry.term < self.last_term:
                raise AssertionError(f"entry {entry.index} of term {entry.term} cannot follow {self.last_index}")
            if self.is_full and (chance is None or position == len(entries) - 1 or chance.random() < 0.5):
                raise FullDisk
            self.entries.append(entry)

    def truncate_from(self, index: int) -> None:
        if not self.base_index < index <= self.last_index + 1:
            raise AssertionError(f"cannot cut {index} from the log of {self.first_index} to {self.last_index}")
        self.end_sync()
        del self.entries[index - self.base_index - 1 :]
        self.durable_index = self.last_index

    def reset(self, index: int, term: int, configuration: Configuration) -> None:
        self.end_sync()
        self.entries = []
        self.base_index, self.base_term, self.base_configuration = index, term, configuration
        self.durable_index = index

    def compact_to(self, index: int) -> None:
        """Everything up to here is in a snapshot, which is durable."""
        known = self.configurations(up_to=index)
        term = self.term_at(index)
        del self.entries[: index - self.base_index]
        self.base_index, self.base_term = index, term
        self.base_configuration = known[-1][1] if known else None
        self.durable_index = max(self.durable_index, index)

    # --- syncing ------------------------------------------------------------------------------------------------------

    def begin_sync(self) -> None:
        self._syncing_to = self.last_index

    def end_sync(self) -> None:
        if self._syncing_to is not None:
            self.durable_index, self._syncing_to = max(self.durable_index, self._syncing_to), None

    def sync(self) -> int:
        """One sync, without anything in between."""
        self.begin_sync()
        self.end_sync()
        return self.durable_index

    # --- what a new process finds -------------------------------------------------------------------------------------

    def reopen(self) -> None:
        """The process died; what it wrote is there, and opening syncs it."""
        self._syncing_to = None
        self.durable_index = self.last_index

    def lose_after(self, index: int) -> None:
        """The entries behind this one are gone."""
        self._syncing_to = None
        del self.entries[max(0, index - self.base_index) :]
        self.durable_index = self.last_index

    def configurations(self, up_to: int | None = None) -> list[tuple[int, Configuration]]:
        """The configurations that the journal and its snapshot hold, with their indexes."""
        found = [] if self.base_configuration is None else [(self.base_index, self.base_configuration)]
        return found + [
            (entry.index, decode_configuration(entry.payload))
            for entry in self.entries
            if entry.kind == RecordKind.CONFIGURATION and (up_to is None or entry.index <= up_to)
        ]
