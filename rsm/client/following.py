"""The committed entries of a running cluster, read as `rsm log export` reads them, again and again from the last index.

Any member will do: what is committed is the same everywhere, and the hash chain says so. When one goes away the next is
asked; a member that is behind is waited for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rsm.client.tool import Access, NotANode, ToolConnection
from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry
from rsm.errors import BadBytes, CallerError, RsmError, Unreachable
from rsm.node.network.protocol import Export
from rsm.node.status import NodeStatus
from rsm.node.storage.exporting import ExportHead, read_part

__all__ = ["LogFollower", "LogIsGone"]


class LogIsGone(CallerError):
    """No member has the entries any more that come next."""


class LogFollower:
    """Reads the entries behind `index`, which rises as they are read. `close` ends the connection."""

    def __init__(self, access: Access, index: int = 0, chain: bytes = ZERO_CHAIN) -> None:
        """`chain`: the log's hash chain at `index`, from a snapshot."""
        self._access = access
        self._connection: ToolConnection | None = None
        self._turn = 0
        self.index = index
        self.cluster_id = b""
        self._term = 0
        self._chain = chain

    def status(self) -> NodeStatus:
        """What the member says that is being read. `Unreachable`, `NotANode` if none can be asked."""
        return self._ask().status()

    def read(self, last: int = 0) -> Iterator[list[Entry]]:
        """The committed entries that come next, up to index `last` (0: all there are now), part by part.

        `Unreachable`, `NotANode` where the member is gone: ask again, the next one is tried. `LogIsGone`. `BadBytes` if
        they are not those of the same log.
        """
        connection, is_whole = self._ask(), False
        try:
            for part in connection.stream(Export(self.index + 1, last)):
                found = self._take(part)
                if found:
                    yield found
            is_whole = True
        except (Unreachable, NotANode):
            self._turn += 1
            raise
        except CallerError:
            status = connection.status()
            if status.first_index > self.index + 1:
                self._turn += 1
                raise LogIsGone(
                    f"{connection.address}: its log begins at index {status.first_index}, and index {self.index + 1} "
                    f"is wanted"
                ) from None
            is_whole = True  # it is behind
        finally:
            if not is_whole:
                self.close()

    def _take(self, part: Any) -> list[Entry]:
        head, rows = read_part(part)
        if head is not None:
            self._check(head)
        found = []
        for row in rows:
            chain = next_chain(self._chain, row.index, row.term, row.kind, row.payload)
            if row.index != self.index + 1 or row.term < self._term or row.chain != chain:
                raise BadBytes(f"entry {row.index} does not follow entry {self.index}")
            found.append(Entry(row.index, row.term, row.kind, row.payload))
            self.index, self._term, self._chain = row.index, row.term, chain
        return found

    def _check(self, head: ExportHead) -> None:
        self.cluster_id = self.cluster_id or head.cluster_id
        if head.cluster_id != self.cluster_id:
            raise BadBytes("the members are of different clusters")
        if head.previous_chain != self._chain:
            raise BadBytes(
                f"what the log holds up to index {self.index} is not what the snapshot, or the log so far, is of"
            )

    def _ask(self) -> ToolConnection:
        if self._connection is None:
            addresses = self._access.addresses
            errors = []
            for _ in addresses:
                try:
                    self._connection = ToolConnection(addresses[self._turn % len(addresses)], self._access)
                    break
                except RsmError as error:
                    errors.append(str(error))
                    self._turn += 1
            else:
                raise Unreachable("; ".join(errors) or "no address to ask")
        return self._connection

    def close(self) -> None:
        """Let go of the connection; the next question makes a new one."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
