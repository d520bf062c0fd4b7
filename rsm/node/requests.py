"""What waits inside a node: commands for their commit, reads for their index, and changes for their end.

Whoever asks derives from these classes, or hands in functions; each is told exactly once how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from rsm.replica.answer import Answer
from rsm.replica.batch import encode_call, join_item
from rsm.replica.replica import Replica

__all__ = ["Consistency", "Read", "Request", "SystemRequest"]

Consistency = Literal["linearizable", "at_least", "stale"]


class Request:
    """Commands of one session, to be logged together. `items`: encoded, one behind the other, as their client made
    them; `decoded`: what they decode to, so that the leader decodes once; `wants_confirmation`: they are complete only
    when a quorum has confirmed a state behind them (see `rsm.node.agreement.confirming`).
    """

    __slots__ = ("decoded", "items", "principal", "wants_confirmation")

    def __init__(
        self, items: bytes, decoded: list[Any], principal: str = "", *, wants_confirmation: bool = False
    ) -> None:
        self.items = items
        self.decoded = decoded
        self.principal = principal
        self.wants_confirmation = wants_confirmation

    def complete(self, index: int, answers: list[Answer]) -> None:
        """Durable on a quorum, and applied at `index`; confirmed, if that was wanted."""

    def fail(self, error: Exception) -> None:
        """No answer from here; whether the commands take effect may be unknown."""


class SystemRequest(Request):
    """One of the node's own commands (session 0), such as opening a session."""

    __slots__ = ("_done", "_fail")

    def __init__(
        self,
        name: str,
        values: list[Any],
        done: Callable[[int, Answer], None] | None = None,
        fail: Callable[[Exception], None] | None = None,
    ) -> None:
        super().__init__(join_item(0, 0, 0, encode_call(name, 1, values)), [[0, 0, 0, name, 1, values]])
        self._done = done
        self._fail = fail

    def complete(self, index: int, answers: list[Answer]) -> None:
        if self._done is not None:
            self._done(index, answers[0])

    def fail(self, error: Exception) -> None:
        if self._fail is not None:
            self._fail(error)


class Read:
    """A read of the state: `linearizable` sees every command that was answered before it, `at_least` every entry up to
    `index`, `stale` whatever is applied here.
    """

    __slots__ = ("consistency", "index")

    def __init__(self, consistency: Consistency = "linearizable", index: int = 0) -> None:
        self.consistency = consistency
        self.index = index

    def run(self, replica: Replica) -> None:
        """The state may be read now."""
        raise NotImplementedError

    def fail(self, error: Exception) -> None:
        """It cannot be read here."""
        raise NotImplementedError
