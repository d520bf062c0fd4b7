"""The other side of the cost of live checking: replicas that check nothing. The product has no switch for it.

What is off: roots at hash points, scrubbing, and the first old value of each changed leaf that the bucket sums are
brought up to date from. In a node, with the roots: the book of roots, reporting them to the leader, and the leader's
`rsm.confirmed` commands. Such a replica can take no snapshot, since a snapshot holds the bucket sums.
"""

from __future__ import annotations

from typing import Any

import _common  # noqa: F401  puts the project on the path

from rsm.machine.machine import StateMachine
from rsm.replica.replica import Replica
from rsm.state.containers import refuse_write
from rsm.state.store import Store

OFF = "roots at hash points, bucket sums, scrubbing, rsm.confirmed commands"
OFF_IN_NODES = f"{OFF}, the book of roots, reports of roots to the leader"


def no_root(replica: Replica) -> Any:
    """In place of `Replica._take_root`: a hash point is an entry like any other."""


def no_books(store: Store) -> None:
    """In place of `Store.end`: containers refuse writes again, and nothing is kept of what changed."""
    store.is_open = False
    for container in store.containers.values():
        container._record = refuse_write
    store.undo.clear()


class UncheckedStore(Store):
    """A store without books."""

    end = no_books


class UnscrubbedStore(Store):
    """A store whose hash points scrub nothing."""

    def scrub(self, leaves_min: int = 0) -> None:
        """Nothing."""


class UncheckedReplica(Replica):
    """A replica that takes no roots."""

    _take_root = no_root

    def __init__(self, machine_class: type[StateMachine]) -> None:
        super().__init__(machine_class)
        self.store.__class__ = UncheckedStore  # others have hold of this very store


class UnscrubbedReplica(Replica):
    """A replica that takes roots, and does not scrub."""

    def __init__(self, machine_class: type[StateMachine]) -> None:
        super().__init__(machine_class)
        self.store.__class__ = UnscrubbedStore
