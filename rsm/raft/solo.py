"""The solo engine: a group of one. It leads from the start, and what is durable here is committed."""

from __future__ import annotations

from rsm.codec.record import Entry, RecordKind
from rsm.raft.engine import Engine, Ready


class SoloEngine:
    """A quorum of one. `last_index` and `term` say where the journal stands; the term must be new to it."""

    is_leader = True

    def __init__(self, term: int, last_index: int) -> None:
        self.term = term
        self.last_index = last_index
        self._unstable: list[Entry] = []
        self._in_flight: list[Entry] = []
        self._committed: list[Entry] = []

    def propose(self, payload: bytes, kind: RecordKind = RecordKind.BATCH) -> Entry:
        """Add an entry to the log."""
        self.last_index += 1
        entry = Entry(index=self.last_index, term=self.term, kind=kind, payload=payload)
        self._unstable.append(entry)
        return entry

    def withdraw(self, entry: Entry) -> None:
        """Take back the last proposal, which the journal refused (a full disk): it was never in the log."""
        if not self._in_flight or self._in_flight[-1] is not entry:
            raise ValueError(f"entry {entry.index} is not the last one in flight")
        self._in_flight.pop()
        self.last_index -= 1

    def durable(self, index: int) -> None:
        """The journal is synced up to `index`: so far the log is committed."""
        while self._in_flight and self._in_flight[0].index <= index:
            self._committed.append(self._in_flight.pop(0))

    def ready(self) -> Ready:
        """Entries to persist, and entries to apply."""
        persist, self._unstable = self._unstable, []
        self._in_flight.extend(persist)
        committed, self._committed = self._committed, []
        return Ready(persist, committed)


_SEAM: type[Engine] = SoloEngine  # for type checkers to hold it to the seam
