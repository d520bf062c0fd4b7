"""The engine seam: what a shell sees of consensus, narrow enough that any engine can stand behind it.

An engine decides, the shell does. The shell hands in what happened (a proposal, the disk's progress) and carries out
what `ready` names, in the order its fields are written in.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from rsm.codec.record import Entry, RecordKind


class Ready(NamedTuple):
    """What the shell must do now.

    `persist`: append to the journal, in order, then sync, then tell `durable`. `committed`: apply, in order; these are
    durable on a quorum, so their answers may be given.
    """

    persist: list[Entry]
    committed: list[Entry]


class Engine(Protocol):
    """One member of a group that agrees on a log."""

    @property
    def term(self) -> int:
        """The term this member is in."""

    @property
    def is_leader(self) -> bool:
        """Whether proposals are taken here."""

    def propose(self, payload: bytes, kind: RecordKind = RecordKind.BATCH) -> Entry:
        """Add an entry to the log; it is committed when it comes out of `ready`."""

    def durable(self, index: int) -> None:
        """This member's own journal is synced up to `index`."""

    def ready(self) -> Ready:
        """Take what is to be done; each entry is named once."""
