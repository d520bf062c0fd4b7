"""What must hold whatever happens to a group: the five properties of Raft, and what ours adds to them.

The judge sees everything that every member does, and knows what no member can know. It asks no member whether it is
right: committed entries are what a leader of some term said was committed, and stay that for ever.
"""

from __future__ import annotations

from typing import NamedTuple

from rsm.codec.record import Entry

__all__ = ["Broken", "Judge"]


class Broken(AssertionError):
    """A property does not hold."""


class Committed(NamedTuple):
    """An entry, and the term of the leader that first committed it."""

    entry: Entry
    term: int


class Judge:
    """One for a group."""

    def __init__(self, base_index: int) -> None:
        self.base_index = base_index
        self.committed: list[Committed] = []
        self.leaders: dict[int, int] = {}
        self._written: dict[tuple[int, int], tuple[Entry, int]] = {}  # (index, term) -> entry, term before it

    @property
    def last_index(self) -> int:
        """Everything up to here is committed."""
        return self.base_index + len(self.committed)

    def entry(self, index: int) -> Entry:
        """The committed entry of an index."""
        return self.committed[index - self.base_index - 1].entry

    def wrote(self, node: int, entry: Entry, term_before: int) -> None:
        """Log matching: index and term determine the entry, and the term of the one before it."""
        if self._written.setdefault((entry.index, entry.term), (entry, term_before)) != (entry, term_before):
            raise Broken(f"log matching: node {node} wrote another entry {entry.index} of term {entry.term}")

    def leads(self, node: int, term: int, log: dict[int, Entry], first_index: int) -> None:
        """Election safety and leader completeness."""
        if self.leaders.setdefault(term, node) != node:
            raise Broken(f"election safety: nodes {self.leaders[term]} and {node} lead in term {term}")
        for entry, committed_in in self.committed:
            if committed_in < term and entry.index >= first_index and log.get(entry.index) != entry:
                raise Broken(f"leader completeness: node {node} of term {term} lacks entry {entry.index}")

    def commits(self, node: int, term: int, log: dict[int, Entry], commit_index: int) -> None:
        """A leader holds everything up to here for committed."""
        for index in range(self.last_index + 1, commit_index + 1):
            if index not in log:
                raise Broken(f"commit: node {node} commits entry {index}, which it lacks")
            self.committed.append(Committed(log[index], term))

    def applies(self, node: int, entry: Entry) -> None:
        """State machine safety: only what is committed is applied, and the same everywhere."""
        if entry.index > self.last_index:
            raise Broken(f"state machine safety: node {node} applies entry {entry.index}, which nobody committed")
        if self.entry(entry.index) != entry:
            raise Broken(f"state machine safety: node {node} applies another entry {entry.index}")
