"""The engine seam: what a shell sees of consensus, narrow enough that any engine can stand behind it.

An engine decides, the shell does. The shell hands in what happened (a proposal, a message, time, the disk's progress)
and carries out what `ready` names, in the order its fields are written in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from rsm.codec.record import Entry, RecordKind
from rsm.raft.messages import Message


class Ready(NamedTuple):
    """What the shell must do now, in this order.

    `hard_state`: term and vote to sync before anything below. `truncate_from`: cut the journal there, 0 for not.
    `persist`: append to the journal, in order, then sync at leisure, then tell `durable`. `messages`: send, once the
    two above are done; none of them waits for the sync of `persist`. `committed`: apply, in order; these are durable on
    a quorum and here, so their answers may be given. `reads`: run each read once that index is applied. `snapshots`:
    members whose next entry the log no longer holds. `has_recovered`: this member's votes count again from here on;
    make that durable.
    """

    persist: list[Entry]
    committed: list[Entry]
    hard_state: tuple[int, int | None] | None = None
    truncate_from: int = 0
    messages: Sequence[tuple[int, Message]] = ()
    reads: Sequence[tuple[Any, int]] = ()
    snapshots: Sequence[int] = ()
    has_recovered: bool = False


class Engine(Protocol):
    """One member of a group that agrees on a log. What only a group of several needs is `rsm.raft.cluster`'s own."""

    @property
    def term(self) -> int:
        """The term this member is in."""

    @property
    def is_leader(self) -> bool:
        """Whether proposals are taken here."""

    @property
    def last_index(self) -> int:
        """The last entry of its log, durable or not."""

    def propose(self, payload: bytes, kind: RecordKind = RecordKind.BATCH) -> Entry:
        """Add an entry to the log; it is committed when it comes out of `ready`."""

    def durable(self, index: int) -> None:
        """This member's own journal is synced up to `index`."""

    def ready(self) -> Ready:
        """Take what is to be done; each entry is named once."""
