"""The undo log of a store whose machine has Arrays: it tells them when a mark is taken.

The other containers note every write, and need not know of marks. An Array hands out whole columns to be written to as
numpy likes, so it keeps what a column held once for all these writes: that copy is good up to the next mark, to which a
rollback may return. When a command has run, no rollback goes back behind it: of all the copies of a column that the
commands of a batch made, the first one stays, for the books, and so a batch may be as long as it likes.
"""

from __future__ import annotations

from typing import Any, Protocol

from rsm.limits import ARRAY_UNDO_BYTES_MAX
from rsm.state.leaf import ABSENT


class Scoped(Protocol):
    """What has parts that are open for writing until the next mark."""

    def _end_scope(self) -> None:
        """Close them."""


class MarkedUndo(list[Any]):
    """Three items a write, as in any store's undo log. Its length is a mark, so asking for it is taking one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Scoped] = []  # with something open for writing since the last mark
        self.held_bytes = 0  # of copies; what a rollback of this command took away counts, for it was held meanwhile
        self._copies: list[tuple[int, Scoped, Any]] = []  # of this command: where, whose, what
        self._firsts: set[tuple[Any, Any]] = set()  # container and leaf key of those that stay until the batch ends
        self._firsts_bytes = 0
        self.is_exact = False  # whether every request to write is noted, not only the first since a mark
        self.traced_bytes = 0  # copied for that alone

    def __len__(self) -> int:
        if self.open:
            self.end_scope()
        return super().__len__()

    def end_scope(self) -> None:
        """What follows may be taken back without what came before."""
        for scoped in self.open:
            scoped._end_scope()
        self.open.clear()

    def note(self, scoped: Scoped, copied: Any) -> None:
        """The record that is added next has this copy (or `ABSENT`) of what is in `scoped`."""
        at = super().__len__()
        while self._copies and self._copies[-1][0] >= at:  # a rollback took it away
            self._copies.pop()
        self._copies.append((at, scoped, copied))

    def begin_command(self) -> None:
        """What follows may be taken back, what came before may not: let go of the copies that only rollback needed."""
        self.end_scope()
        length = super().__len__()
        for at, scoped, copied in self._copies:
            if at >= length or self[at] is not scoped:
                continue  # a rollback took it away, and what lies there now is no copy
            leaf = scoped, self[at + 1]
            if leaf in self._firsts:
                self[at + 2] = ABSENT
            else:
                self._firsts.add(leaf)
                self._firsts_bytes += 0 if copied is ABSENT else len(copied)
        self._copies.clear()
        self.held_bytes = self._firsts_bytes

    def traces(self, size_bytes: int) -> bool:
        """Whether one more request to write is to be noted, for a copy of so many bytes."""
        if not self.is_exact or self.traced_bytes + size_bytes > ARRAY_UNDO_BYTES_MAX:
            return False
        self.traced_bytes += size_bytes
        return True

    def clear(self) -> None:
        """Forget everything: nothing of it can be taken back any more."""
        self.end_scope()
        self._copies.clear()
        self._firsts.clear()
        self.held_bytes = self._firsts_bytes = self.traced_bytes = 0
        super().clear()
