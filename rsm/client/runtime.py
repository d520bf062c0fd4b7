"""What a proxy needs of the machine behind it, whether that is in this process or at the other end of a wire.

`rsm.node.embedded.Embedded` and `rsm.client.remote.remote.RemoteRuntime` satisfy it. Whatever may have to wait for a
network has a form that is told its result (`reply`), from any thread, so that event loops need not block.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol, TypeVar

from rsm.machine.outcome import ClientStats, Reading, Status
from rsm.node.submissions import Submission
from rsm.replica.events import RawEvent

__all__ = ["Reply", "Runtime"]

T_contra = TypeVar("T_contra", contravariant=True)


class Reply(Protocol[T_contra]):
    """Who waits for a value."""

    def finish(self, value: T_contra) -> None:
        """Here it is."""

    def fail(self, error: BaseException) -> None:
        """There will be none."""


class Runtime(Protocol):
    """A machine that commands can be sent to and that can be read. Thread-safe."""

    @property
    def timeout_seconds(self) -> float | None:
        """How long a synchronous call waits for its answer; None: as long as it takes."""

    @property
    def is_open(self) -> bool:
        """Whether commands are taken."""

    @property
    def schema(self) -> dict[str, Any]:
        """The machine's schema, as its log declares it; of a cluster, as it was last told. Empty: not known."""

    def look_again(self) -> None:
        """Have the schema asked for again, soon: it is older than what the caller has."""

    def submit(self, submission: Submission) -> None:
        """Queue a command. When the queue is full, a thread waits, and an event loop gets `Busy`."""

    def open_session(self, principal: str, ttl: int) -> int:
        """Begin a session; `ttl` in nanoseconds, 0 for as long as this process lives, or for the default."""

    def close_session(self, number: int) -> None:
        """End it."""

    def query(self, name: str, values: list[Any], reading: Reading) -> tuple[int, bytes]:
        """Index of the state that was read, and MessagePack of the result."""

    def query_later(self, name: str, values: list[Any], reading: Reading, reply: Reply[tuple[int, bytes]]) -> None:
        """`query`, for who cannot wait here."""

    def stream(self, name: str, values: list[Any], reading: Reading) -> Iterator[list[bytes]]:
        """Slices of the items of a generator query, all from one index."""

    def events_later(self, after: int, limit: int, reply: Reply[list[tuple[int, RawEvent]]], *, wait: bool) -> None:
        """Up to `limit` events after a number. With `wait`, not before there are some, or reason to look again (then
        none).
        """

    def watch_later(
        self, name: str, values: list[Any], seen: bytes, reply: Reply[tuple[int, bytes | None]], *, wait: bool
    ) -> None:
        """Index and MessagePack of a query's result, if the digest of that is not `seen` (16 bytes); else the index
        alone, with `wait` not before there is reason to look again.
        """

    def cursor_later(self, session: int, name: str | None, skip_gap: bool, reply: Reply[int]) -> None:
        """The number of the last event that a cursor of the session's principal has handled; for no name, the last one
        that is gone.
        """

    def snapshot(self) -> int:
        """Write a snapshot; its index."""

    def log_time(self) -> int:
        """A time that the log has reached, in nanoseconds."""

    def status(self) -> Status:
        """Where the machine stands."""

    def stats(self) -> ClientStats:
        """What was sent so far."""

    def close(self, session: int = 0) -> None:
        """End the session and everything else. May be called twice."""
