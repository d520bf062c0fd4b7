"""Taking a replica back to where it was a few entries ago, without a copy of its state and without running the log.

A *checkpoint* listens to the ledgers, as a snapshot's cut does, and keeps the first old value of each leaf that changes
behind it. To go back, these are put in place again. It costs what the entries behind it change, so a replay can have
one at every hash point, and a difference is never further away than that.

What a machine keeps outside of its declared state cannot be taken back; whoever goes on from here has to compare with
what came out the first time.
"""

from __future__ import annotations

from typing import Any

from rsm.errors import RsmError
from rsm.replica.replica import Replica
from rsm.replica.sessions import SessionLedger
from rsm.state.leaf import ABSENT

__all__ = ["Checkpoint"]


class _Notes:
    """Old values of one container, by leaf key."""

    __slots__ = ("old",)

    def __init__(self) -> None:
        self.old: dict[Any, Any] = {}

    @property
    def is_broken(self) -> bool:
        """Never: a checkpoint is closed by who made it."""
        return False

    def note(self, bucket: int, leaf_key: Any, old: Any) -> None:
        """Keep the first old value of a leaf."""
        self.old.setdefault(leaf_key, old)


class Checkpoint:
    """Where a replica is now. `rewind` brings it back here, once; `close` gives it up."""

    def __init__(self, replica: Replica) -> None:
        self.index = replica.index
        self.root = replica.root()
        self._replica = replica
        # Of the release in force now: the entries behind may go over to another.
        self._machine, self._store = replica.machine, replica.store
        self._kept = (
            replica.term,
            replica.schema,
            dict(replica.roots),
            replica.confirmed_index,
            replica.compared_index,
            replica.difference,
            replica.fault,
        )
        self._event_number = replica.ring.newest
        self._notes = {name: _Notes() for name in self._store.ledgers}
        for name, notes in self._notes.items():
            self._store.ledgers[name].overlays.append(notes)

    def close(self) -> None:
        """Keep nothing more."""
        for name, notes in self._notes.items():
            overlays = self._store.ledgers[name].overlays
            if notes in overlays:
                overlays.remove(notes)

    def rewind(self) -> bool:
        """Back to `index`; whether the state has its root of then. If not, the replica is of no more use."""
        replica = self._replica
        self.close()
        try:
            if replica.store.is_open:  # an entry could not be applied to its end
                replica.store.rollback(0)
                replica.store.end()
            store = self._store
            if replica.store is not store:
                replica.adopt(self._machine, store)
            replica.executor.events.clear()
            replica.executor.failures.clear()
            for name, notes in self._notes.items():
                ledger = store.ledgers[name]
                changed = {leaf_key: ledger.leaf(leaf_key, ABSENT) for leaf_key in notes.old}
                for leaf_key, old in notes.old.items():
                    if isinstance(ledger, SessionLedger):
                        ledger.touch(leaf_key)
                    ledger.container._restore(leaf_key, old)
                if not isinstance(ledger, SessionLedger):
                    ledger.flush(changed)
            replica.ring.restore(self._event_number, [])
            replica.index = self.index
            (
                replica.term,
                replica.schema,
                roots,
                replica.confirmed_index,
                replica.compared_index,
                replica.difference,
                replica.fault,
            ) = self._kept
            replica.roots = dict(roots)
            return replica.root() == self.root
        except (RsmError, LookupError, TypeError, ValueError):  # a state that was changed behind the containers' back
            return False
