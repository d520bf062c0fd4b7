"""A replica that remembers which line of the user's code wrote what, since the last root that agreed."""

from __future__ import annotations

import linecache
from collections import deque
from typing import Any, NamedTuple

from rsm.client.observing.observed import DesyncLine
from rsm.limits import OBSERVER_PLACES_MAX, PATHS_SHOWN_MAX
from rsm.machine.machine import StateMachine
from rsm.node.agreement.places import LocatingUndo
from rsm.replica.answer import Answer
from rsm.replica.batch import PIPELINE, Batch
from rsm.replica.executor import Executor
from rsm.replica.replica import Replica
from rsm.replica.trace import BEGIN, CommandTrace, TracingReplica
from rsm.state.leaf import ABSENT, encode, hash64

__all__ = ["LocatingReplica", "Ran", "lines_of"]

SYSTEM = "rsm."


class Ran(NamedTuple):
    """A command that has run. `position` is below 0 for a timer."""

    index: int  # type: ignore[assignment]  # hides the method of tuples, which nobody calls
    position: int
    name: str


class _Written(NamedTuple):
    ran: Ran
    container: str
    leaf_key: Any
    place: tuple[str, int]
    mark: int  # of the value that it gave the leaf


class LocatingReplica(TracingReplica):
    """Applies as any replica does, somewhat slower. `ran` are the commands since `forget`, or the last of them."""

    def __init__(self, machine_class: type[StateMachine]) -> None:
        self.ran: deque[Ran] = deque(maxlen=OBSERVER_PLACES_MAX)
        self.written: deque[_Written] = deque(maxlen=OBSERVER_PLACES_MAX)
        self._located = LocatingUndo()
        self._undo_seen = 0
        super().__init__(machine_class, self._take)

    def _make_executor(self) -> Executor:
        self.store.undo = self._located = LocatingUndo()
        return super()._make_executor()

    def _apply_batch(self, index: int, batch: Batch) -> list[Answer]:
        self._undo_seen = 0
        return super()._apply_batch(index, batch)

    def _take(self, trace: CommandTrace) -> None:
        undo, start = self._located, self._undo_seen
        self._undo_seen = len(undo)
        if trace.name == BEGIN or (trace.name.startswith(SYSTEM) and trace.name != PIPELINE):
            return
        ran = Ran(trace.index, trace.position, trace.name)
        self.ran.append(ran)
        found = []
        after: dict[tuple[str, Any], Any] = {}  # what the next write of the leaf found is what the one before gave it
        for at in range(self._undo_seen - 3, start - 3, -3):
            container, leaf_key, old = undo[at : at + 3]
            leaf = container._ledger.name, leaf_key
            value = after[leaf] if leaf in after else container._leaf(leaf_key, ABSENT)
            after[leaf] = old
            if not leaf[0].startswith(SYSTEM):
                found.append(_Written(ran, *leaf, undo.places[at // 3], _mark(value)))
        self.written.extend(reversed(found))

    @property
    def is_whole(self) -> bool:
        """Whether all that has run since is here: else the first to blame may be among what is not."""
        return len(self.ran) < OBSERVER_PLACES_MAX and len(self.written) < OBSERVER_PLACES_MAX

    def forget(self, to_index: int) -> None:
        """What has run up to there did as it should."""
        while self.ran and self.ran[0].index <= to_index:
            self.ran.popleft()
        while self.written and self.written[0].ran.index <= to_index:
            self.written.popleft()


def lines_of(own: LocatingReplica, other: Replica, to_index: int) -> tuple[list[DesyncLine], Ran | None]:
    """The lines that wrote leaves which differ between the two, in order, and what ran the first of them.

    What ran behind `to_index` does not count, nor does a write before one that left its leaf as the other side has it.
    """
    right: dict[tuple[str, Any], int] = {}
    written = [one for one in own.written if one.ran.index <= to_index]
    good_until: dict[tuple[str, Any], int] = {}
    for number, one in enumerate(written):
        leaf = one.container, one.leaf_key
        if leaf not in right:
            right[leaf] = _mark(_value(other, *leaf))
        if one.mark == right[leaf]:
            good_until[leaf] = number
    found: dict[tuple[str, int, str], DesyncLine] = {}
    first: Ran | None = None
    for number, one in enumerate(written):
        leaf, (file, line) = (one.container, one.leaf_key), one.place
        if right[leaf] == _mark(_value(own, *leaf)) or number <= good_until.get(leaf, -1):
            continue
        first = first or one.ran
        what = f"{one.container}/{one.leaf_key!r}"
        if (file, line, what) not in found and len(found) < PATHS_SHOWN_MAX:
            text = linecache.getline(file, line).strip() if line else ""
            found[file, line, what] = DesyncLine(file, line, text, what, one.ran.index)
    return list(found.values()), first


def _value(replica: Replica, container: str, leaf_key: Any) -> Any:
    ledger = replica.store.ledgers.get(container)
    return ABSENT if ledger is None else ledger.leaf(leaf_key, ABSENT)


def _mark(value: Any) -> int:
    """Equal for equal values; 0 for none."""
    if value is ABSENT:
        return 0
    try:
        return hash64(encode(value))
    except (TypeError, ValueError, OverflowError):  # something that no tracked write would have let in
        return -1
