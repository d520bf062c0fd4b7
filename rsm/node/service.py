"""What a client server needs of the node behind it. Commands and reads it hands over as `rsm.node.requests` has them.

The node's runner implements `Service`. All calls happen on the node's one event-loop thread; answers come whenever they
are there, on the same thread. None of them may raise anything but `RsmError`, and what is handed over takes its answer
once: the first of `complete` and `fail` counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

from rsm.codec import cbor
from rsm.errors import Busy, NotLeader, RsmError
from rsm.machine.definition import Definition
from rsm.node.feed.node import FeedNode
from rsm.node.requests import Read, Request
from rsm.replica.replica import Replica
from rsm.state.leaf import digest128

__all__ = ["Reply", "Service", "elsewhere", "schema_digest"]

# A leader whose state is in doubt hands over at once; one that has just started knows more with the next root.
DOUBT_RETRY_SECONDS: Final = 0.1


def schema_digest(definition: Definition) -> bytes:
    """16 bytes that tell one schema from another, for handshakes."""
    return digest128(cbor.encode(definition.schema()))


class Reply(Protocol):
    """Whoever waits for one answer."""

    def complete(self, *fields: Any) -> None:
        """The answer: the fields that `rsm.node.network.protocol` gives for the request."""

    def fail(self, error: Exception) -> None:
        """There is none."""


class Service(Protocol):
    """A node, as its client server sees it."""

    @property
    def node_id(self) -> int:
        """Its number."""

    @property
    def cluster_id(self) -> bytes:
        """The cluster that it belongs to."""

    @property
    def definition(self) -> Definition:
        """The machine that it runs."""

    @property
    def replica(self) -> Replica:
        """Its copy of the state."""

    @property
    def leader(self) -> tuple[int, str] | None:
        """The leader's number and client address, if they are known."""

    @property
    def members(self) -> list[tuple[int, str]]:
        """Number and client address of every member."""

    @property
    def doubt(self) -> str:
        """Why its state must not be shown now, or an empty text: it may differ from the others'."""

    @property
    def feed_node(self) -> FeedNode:
        """What its feed needs of it."""

    def principal_of(self, session: int) -> str | None:
        """Whose session it is; None if there is no such session.

        `NotLeader`; `Busy` while this leader has not applied what was committed before its term: a session that it does
        not know may exist.
        """

    def submit(self, request: Request) -> None:
        """Put commands into the log."""

    def read(self, read: Read) -> None:
        """Have the state looked at."""

    def open_session(self, principal: str, ttl_nanoseconds: int, reply: Reply) -> None:
        """-> index, number"""

    def close_session(self, number: int, reply: Reply) -> None:
        """-> index"""

    def change(self, action: str, node_id: int, peer_address: str, client_address: str, reply: Reply) -> None:
        """ "add", "add_learner" or "remove" a member -> index"""

    def transfer(self, node_id: int, reply: Reply) -> None:
        """Hand leadership to a node, 0 for any -> its number"""

    def upgrade(self, version: int, reply: Reply) -> None:
        """Move the machine to a version that every voter ships -> index"""

    def snapshot(self, reply: Reply) -> None:
        """Write a snapshot -> index"""

    def status(self) -> dict[str, Any]:
        """What `rsm status` shows: text, integers and bytes, nested in lists and maps."""

    def when_events(self, notify: Callable[[], None]) -> None:
        """Call `notify` once when there are new events."""

    def export(self, first: int, last: int) -> Iterator[tuple[dict[str, Any] | None, list[list[Any]]]]:
        """Entries of the log from `first` to `last` (0: all) in parts of about a megabyte: (what the log's head says in
        the first part, [[index, term, kind, payload, chain], ...]). `CallerError` if they are no longer kept.
        """

    def roots(self, first: int, last: int) -> Iterator[list[tuple[int, bytes]]]:
        """The roots that it noted for the indexes from `first` to `last`, in the order of the notes and in parts."""


def elsewhere(service: Service, reason: str) -> RsmError:
    """What to tell a client that cannot be served here: where the leader is, or when to come again."""
    leader = service.leader
    if leader is not None and leader[0] != service.node_id:
        return NotLeader(reason, *leader)
    return Busy(reason, retry_seconds=DOUBT_RETRY_SECONDS)
