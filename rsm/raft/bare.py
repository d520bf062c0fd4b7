"""PySyncObj as it is, for the simulator to drive: this is how we know that the simulator bites.

Nothing of the library is changed. Its clock, its random numbers, its transport and its journal are put in their places
by the seams that it has (`transportClass`, `autoTick=False`) or by the names that its module looks up. The journal is
its `FileJournal` without the file: entries and term are there after a process died, the commit index as of the last
whole second. Nothing of it is ever synced, so a power cut takes back what the kernel has not written by itself.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol

import pysyncobj.syncobj
from pysyncobj import FAIL_REASON, SyncObj, SyncObjConf, replicated
from pysyncobj.node import Node
from pysyncobj.pickle import loads
from pysyncobj.transport import Transport

__all__ = ["BareFiles", "BareNode", "Chance", "Watcher", "driven"]

# The first byte of a command of ours in the library's journal.
REGULAR: Final = b"\x00"


class Chance(Protocol):
    """What the library takes random numbers from."""

    def random(self) -> float: ...


class Watcher(Protocol):
    """Who is told what a node does."""

    def send(self, sender: int, receiver: int, message: Any) -> bool:
        """Hand a message to the network; False if there is no connection."""

    def applied(self, node: int, index: int, number: int) -> None:
        """A node has applied command `number` at `index`."""

    def removed(self, node: int, index: int) -> None:
        """A node has removed its entries from `index` on."""


class BareFiles:
    """What lies on one node's disk: the journal and its file of term, vote and commit index."""

    def __init__(self) -> None:
        self.entries: list[tuple[bytes, int, int]] = []  # command, index, term
        self.meta: dict[str, Any] = {}
        self.saved_meta: dict[str, Any] = {}
        self._written: list[tuple[bytes, int, int]] = []

    def write_back(self) -> None:
        """The kernel writes what it has in hand, as it does now and then."""
        self._written = list(self.entries)

    def process_died(self) -> None:
        """What the next process finds."""
        self.meta = dict(self.saved_meta)

    def power_cut(self) -> None:
        """What the next process finds after a power cut. The small file was renamed, which file systems write soon."""
        self.process_died()
        self.entries = list(self._written)


class _Journal:
    """`pysyncobj.journal.FileJournal`, on `BareFiles`."""

    def __init__(self, files: BareFiles, removed: Callable[[int], None]) -> None:
        self._files = files
        self._removed = removed

    def add(self, command: bytes, idx: int, term: int) -> None:
        self._files.entries.append((command, idx, term))

    def clear(self) -> None:
        self._files.entries.clear()

    def deleteEntriesFrom(self, entryFrom: int) -> None:  # the library's name
        removed = self._files.entries[entryFrom:]
        del self._files.entries[entryFrom:]
        if removed:
            self._removed(removed[0][1])

    def deleteEntriesTo(self, entryTo: int) -> None:
        del self._files.entries[:entryTo]

    def __getitem__(self, item: Any) -> Any:
        return self._files.entries[item]

    def __len__(self) -> int:
        return len(self._files.entries)

    def _destroy(self) -> None:
        pass

    def setRaftCommitIndex(self, raftCommitIndex: int) -> None:
        self._files.meta["raftCommitIndex"] = raftCommitIndex

    def getRaftCommitIndex(self) -> int:
        return int(self._files.meta.get("raftCommitIndex", 1))

    def setCurrentTerm(self, term: int, votedForNodeId: int | None) -> None:
        self._files.meta["currentTerm"] = term
        self._files.meta["votedForNodeId"] = votedForNodeId
        self._files.saved_meta = dict(self._files.meta)

    def getCurrentTerm(self) -> int:
        return int(self._files.meta.get("currentTerm", 0))

    def getVotedForNodeId(self) -> int | None:
        return self._files.meta.get("votedForNodeId")

    def onOneSecondTimer(self) -> None:
        self._files.saved_meta = dict(self._files.meta)


class _Machine(SyncObj):  # type: ignore[misc]  # the library has no types
    """What is replicated: numbers, in the order in which they were agreed on."""

    watcher: Watcher

    @replicated  # type: ignore[untyped-decorator]  # the library has no types
    def put(self, number: int) -> int:
        self.watcher.applied(self.selfNode.id, self.raftLastApplied + 1, number)
        return number


@contextlib.contextmanager
def driven(clock: Callable[[], float], chance: Chance) -> Iterator[None]:
    """Inside, the library's clock and random numbers are these, and it does not log. One simulation at a time."""
    module = pysyncobj.syncobj
    before = module.monotonicTime, module.random, module.createJournal
    logger = logging.getLogger(module.__name__)
    was_disabled, logger.disabled = logger.disabled, True
    module.monotonicTime, module.random = clock, chance
    try:
        yield
    finally:
        module.monotonicTime, module.random, module.createJournal = before
        logger.disabled = was_disabled


class BareNode:
    """One process of the library. Its id and its peers' are integers, which makes its iteration orders reproducible."""

    def __init__(
        self, node_id: int, peers: list[int], files: BareFiles, watcher: Watcher, message_bytes_max: int = 2**16
    ) -> None:
        self.node_id = node_id
        self.files = files
        self._nodes = {peer: Node(peer) for peer in peers}
        transports: list[Transport] = []

        class Sim(Transport):  # type: ignore[misc]  # the library has no types
            """Hands messages to the network."""

            def __init__(self, *arguments: Any) -> None:
                super().__init__(*arguments)
                transports.append(self)

            def send(self, node: Any, message: Any) -> bool:
                # A copy, as pickling makes one. What lies in it are bytes, numbers and tuples.
                return watcher.send(node_id, node.id, dict(message))

        configuration = SyncObjConf(
            autoTick=False,
            appendEntriesBatchSizeBytes=message_bytes_max,
            logCompactionMinEntries=10**9,
            logCompactionMinTime=10**9,
            useFork=False,
        )
        module = pysyncobj.syncobj
        module.createJournal = lambda _: _Journal(files, lambda index: watcher.removed(node_id, index))
        machine = _Machine(Node(node_id), list(self._nodes.values()), configuration, transportClass=Sim)
        machine.watcher = watcher
        self._machine = machine
        (self._transport,) = transports

    def tick(self) -> None:
        """One tick, without waiting."""
        self._machine.doTick(0.0)

    def received(self, sender: int, message: Any) -> None:
        """A message arrived."""
        self._transport._onMessageReceived(self._nodes[sender], message)

    def connected(self, peer: int) -> None:
        """A connection came up."""
        self._transport._onNodeConnected(self._nodes[peer])

    def disconnected(self, peer: int) -> None:
        """A connection broke."""
        self._transport._onNodeDisconnected(self._nodes[peer])

    def submit(self, number: int, acknowledged: Callable[[], None]) -> None:
        """Have a number agreed on; `acknowledged` is called if the library says that it was."""

        def done(_: Any, error: Any) -> None:
            if error == FAIL_REASON.SUCCESS:
                acknowledged()

        self._machine.put(number, callback=done)

    @staticmethod
    def number_of(command: bytes) -> int | None:
        """The number in a journal's command, or None for the library's own. Its format is pickle, and we wrote it."""
        if command[:1] != REGULAR:
            return None
        return int(loads(command[1:])[1][0])

    @property
    def is_leader(self) -> bool:
        """Whether it says that it leads."""
        return bool(self._machine._isLeader())

    @property
    def term(self) -> int:
        """Its term."""
        return int(self._machine.raftCurrentTerm)

    @property
    def applied_index(self) -> int:
        """The last index that it has applied."""
        return int(self._machine.raftLastApplied)

    @property
    def commit_index(self) -> int:
        """The last index that it holds for committed."""
        return int(self._machine.raftCommitIndex)
