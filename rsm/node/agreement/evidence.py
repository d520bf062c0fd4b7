"""Evidence: what a node that differs keeps of it before it heals, for `rsm desync replay` and for a test.

It is a bundle (`rsm.node.storage.bundles`) in the node's own directory: a snapshot from before the difference, the
entries since, the state as it is. Where the node comes to the wrong root again when it runs its log, the traces of that
run are added: what its commands did where the run left the majority.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Final

from rsm.codec.record import RecordKind
from rsm.errors import BadBytes, StorageError
from rsm.limits import EVIDENCE_KEPT, TRACE_BYTES_MAX
from rsm.machine.machine import StateMachine
from rsm.node.agreement.reexecution import Reexecution
from rsm.node.log import describe, logger
from rsm.node.storage.bundles import (
    HEAD,
    TRACE,
    BundleHead,
    add_trace,
    created_by,
    environment,
    read_head,
    write_bundle,
)
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.disk import Disk
from rsm.node.storage.journal import Journal
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts
from rsm.replica.trace import CommandTrace, TracingReplica, pack
from rsm.state.leaf import encode

__all__ = ["Evidence", "between"]

EVIDENCE: Final = "evidence"


class Evidence:
    """The evidence of one node. `path` is where the latest lies, "" while there is none."""

    def __init__(
        self,
        machine: type[StateMachine],
        node_id: int,
        code: str,
        directory: MachineDirectory,
        disk: Disk,
        journal: Journal,
        files: SnapshotFiles,
        term_at: Callable[[int], int | None],
    ) -> None:
        """`code` is the digest of the machine's code, `term_at` the term of an entry."""
        self.path = ""
        self._machine = machine
        self._reference = f"{machine.__module__}:{machine.__qualname__}"
        self._node_id = node_id
        self._code = code
        self._directory = directory
        self._disk = disk
        self._journal = journal
        self._files = files
        self._term_at = term_at

    def write(
        self, replica: Replica, index: int, root: bytes, points: list[int], verdict: dict[str, Any]
    ) -> Generator[None, None, int | None]:
        """Write it, in slices: the majority has another `root` at `index`; `points` are where the log can be run from.

        Returns where the run begins whose trace is still missing in it; None if there is no evidence, or no trace is
        missing.
        """
        good = _good_index(replica, index)
        own = replica.roots.get(index, b"")
        above = os.path.join(self._directory.path, EVIDENCE)
        path = os.path.join(above, f"{index}-{own.hex()[:8]}")
        kept = self._disk.listdir(above) if self._disk.exists(above) else []
        # Not those that a crash left unfinished.
        kept = [name for name in kept if self._disk.exists(os.path.join(above, name, HEAD))]
        if self._disk.exists(os.path.join(path, HEAD)):
            self.path = path  # of an earlier time; the first evidence is the best
            return None if self._disk.exists(os.path.join(path, TRACE)) else read_head(self._disk, path).from_index
        if not points or len(kept) >= EVIDENCE_KEPT:
            reason = "there is no snapshot to begin from" if not points else f"{above} holds {EVIDENCE_KEPT} already"
            logger.error("no evidence is written", reason=reason)
            return None
        # Of a later snapshot nobody knows whether it is the majority's. The oldest is kept for having been so.
        for first in [point for point in points if point <= good] or points[-1:]:
            try:
                yield from self._write_from(first, path, replica, max(good, first), {index: root.hex()}, verdict)
            except (BadBytes, StorageError) as error:
                logger.error("the evidence could not be written", from_index=first, error=describe(error))
                continue
            self.path = path
            logger.warning("evidence", path=path, look=f"rsm desync replay {path} --machine {self._reference}")
            return first
        return None

    def _write_from(
        self, first: int, path: str, replica: Replica, good: int, expected: dict[int, str], verdict: dict[str, Any]
    ) -> Iterator[None]:
        """The bundle that begins at a snapshot. `BadBytes` or `StorageError` if that cannot be read."""
        definition = self._machine.definition
        head = BundleHead(
            machine=definition.name,
            version=definition.version,
            reference=self._reference,
            from_index=first,
            to_index=replica.index,
            good_index=good,
            state_index=replica.index,
            expected=expected,
            found={at: one.hex() for at, one in sorted(replica.roots.items()) if at > good},
            node=self._node_id,
            code_digest=self._code,
            environment=environment(),
            verdict=verdict,
            created_by=created_by(),
        )
        yield from write_bundle(
            self._disk,
            path,
            head,
            snapshot=self._files.read(first) if first else None,
            entries=self._journal.read(first + 1, replica.index) if replica.index > first else (),
            state=_state(replica, self._journal.chain_at(replica.index)),
            cluster_id=self._directory.identity.cluster_id,
            previous=(self._term_at(first) or 0, self._journal.chain_at(first)),
        )

    def trace(self, point: int, good: int, bad: int) -> Iterator[None]:
        """Run the log once more, and add what its commands did where that run left the majority (`between`)."""
        traces = _Traces(good, bad)
        run = Reexecution(self._machine, self._files, self._journal, point, traces.replica)
        while run.advance(bad):
            yield
        yield from add_trace(self._disk, self.path, traces.whole_to, traces.found)


def _state(replica: Replica, chain: bytes) -> Iterable[tuple[RecordKind, bytes]]:
    """A snapshot of a replica that stands still, wherever it stands."""
    roots = dict(replica.roots)
    replica.roots.setdefault(replica.index, replica.root())
    try:
        return parts(replica, chain)
    finally:
        replica.roots = roots


def _good_index(replica: Replica, index: int) -> int:
    """The last index before this one at which its roots were the majority's, as far as they were compared; else 0.

    They may have been so again further on: whatever lies behind the first difference says nothing.
    """
    found = replica.difference
    if found is not None and found.index <= index:
        return found.good_index
    return replica.compared_index if replica.compared_index < index else 0


def between(run: Reexecution, index: int) -> tuple[int, int]:
    """The last index at which a run up to `index` had the majority's root, and the first at which it had not.

    It may leave the majority before the node itself did: its code need not be what it was at that time.
    """
    found = run.replica.difference
    bad, good = (index, run.replica.compared_index) if found is None else (found.index, found.good_index)
    return max(run.from_index, good), bad


class _Traces:
    """What the commands after the last good index did, as far as there is room."""

    def __init__(self, good_index: int, bad_index: int) -> None:
        self.found: list[CommandTrace] = []
        self.whole_to = bad_index  # up to which index all of them are there
        self._range = range(good_index + 1, bad_index + 1)
        self._bytes_left = TRACE_BYTES_MAX

    def replica(self, machine: type[StateMachine]) -> Replica:
        """A replica whose commands are noted here."""
        return TracingReplica(machine, self._take)

    def _take(self, trace: CommandTrace) -> None:
        if trace.index not in self._range or self._bytes_left < 0:
            return
        self._bytes_left -= len(encode(pack(trace)))
        if self._bytes_left < 0:
            self.whole_to = trace.index - 1
        else:
            self.found.append(trace)
