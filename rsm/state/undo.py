"""The undo log of a store whose machine has Arrays: it tells them when a mark is taken.

The other containers note every write, and need not know of marks. An Array hands out whole columns to be written to as
numpy likes, so it keeps what a column held once for all these writes: that copy is good up to the next mark, to which a
rollback may return.
"""

from __future__ import annotations

from typing import Any, Protocol

from rsm.limits import ARRAY_UNDO_BYTES_MAX


class Scoped(Protocol):
    """What has parts that are open for writing until the next mark."""

    def _end_scope(self) -> None:
        """Close them."""


class MarkedUndo(list[Any]):
    """Three items a write, as in any store's undo log. Its length is a mark, so asking for it is taking one."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[Scoped] = []  # with something open for writing since the last mark
        self.copied_bytes = 0  # since it was last cleared: what rollback took away counts, for it was held meanwhile
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

    def traces(self, size_bytes: int) -> bool:
        """Whether one more request to write is to be noted, for a copy of so many bytes."""
        if not self.is_exact or self.traced_bytes + size_bytes > ARRAY_UNDO_BYTES_MAX:
            return False
        self.traced_bytes += size_bytes
        return True

    def clear(self) -> None:
        """Forget everything: nothing of it can be taken back any more."""
        self.end_scope()
        self.copied_bytes = self.traced_bytes = 0
        super().clear()
