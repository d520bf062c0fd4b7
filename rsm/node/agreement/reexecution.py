"""Running the log again: a fresh replica, from a snapshot or from nothing, beside the one in service.

It is how a node that differs finds its way back, and how one finds out whether it would do again what it did. It runs
in slices, between which the node looks after its messages.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rsm.errors import DivergenceError
from rsm.limits import REEXECUTION_SLICE_BYTES
from rsm.machine.machine import StateMachine
from rsm.node.log import describe
from rsm.node.storage.journal import Journal
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.replica.replica import Replica
from rsm.replica.snapshot import Restoring, read_manifest

__all__ = ["Reexecution", "starting_points"]


def starting_points(files: SnapshotFiles, journal: Journal, below: int) -> list[int]:
    """Where the log can be run again from to reach `below`: snapshots, newest first; 0 is the beginning."""
    points = [index for index in files.indexes() if index < below and index + 1 >= journal.first_index]
    points.reverse()
    return [*points, 0] if journal.first_index == 1 else points


class Reexecution:
    """One run from a starting point. `replica` is where it has got; nothing that it says is meant for anyone else."""

    def __init__(
        self,
        machine: type[StateMachine],
        files: SnapshotFiles,
        journal: Journal,
        from_index: int,
        make: Callable[[type[StateMachine]], Replica] = Replica,
    ) -> None:
        self.from_index = from_index
        self.replica = make(machine)
        self.replica.is_lone = False
        self._journal = journal
        self._loading = self._load(files) if from_index else None

    def _load(self, files: SnapshotFiles) -> Iterator[None]:
        records = iter(files.read(self.from_index))
        restoring = Restoring(self.replica, read_manifest(next(records, None)))
        for kind, payload in records:
            restoring.add(kind, payload)
            yield
        restoring.finish()

    def advance(self, to_index: int) -> bool:
        """Run a slice; whether there is more to do until `to_index`.

        `BadBytes`, `WrongMachine` and `StorageError` for a snapshot or log that cannot be read; `DivergenceError` for
        an entry that cannot be applied.
        """
        if self._loading is not None:
            if next(self._loading, self) is self:
                self._loading = None
            return True
        if self.replica.index >= to_index:
            return False
        for entry in self._journal.read(self.replica.index + 1, to_index, bytes_max=REEXECUTION_SLICE_BYTES):
            try:
                self.replica.apply(entry)
            except DivergenceError:
                raise
            except Exception as error:
                raise DivergenceError(f"entry {entry.index} cannot be applied: {describe(error)}") from error
        return self.replica.index < to_index
