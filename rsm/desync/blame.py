"""A replica that can say, of each command, what it did and which line of the user's code did it.

While it records, the undo log notes for each write the first frame outside of rsm, and a profile function notes where a
handler returned. None of it is on the path of a replica that does not record.

A state that no command made, the one a machine begins with and the one that `migrate_state` leaves, is recorded as
something done too: else whichever command comes upon it first would be blamed.
"""

from __future__ import annotations

import linecache
import sys
from itertools import islice
from types import FrameType
from typing import Any, Final, NamedTuple

import msgspec

from rsm.codec.shapes import make_known
from rsm.desync.paths import answer_value, leaf_path, leaf_values, plain
from rsm.limits import BUCKETS
from rsm.machine.definition import Definition
from rsm.machine.machine import StateMachine
from rsm.node.agreement.places import NO_PLACE, OWN_DIRECTORY, LocatingUndo, place_above
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.batch import ACTIVATE, Batch
from rsm.replica.executor import Executor
from rsm.replica.replica import Replica
from rsm.replica.trace import CommandTrace, PackedTrace, TracingReplica, Write, _TracingExecutor, pack, pack_leaf
from rsm.state.arrays import ArrayLedger
from rsm.state.columns import differing_cells
from rsm.state.leaf import ABSENT, digest128, encode, hash64
from rsm.state.ledger import Ledger
from rsm.state.store import Store

__all__ = ["FIRST_STATE", "MIGRATION", "Detail", "Recorder", "Step"]

SYSTEM: Final = "rsm."
RUN_CODE: Final = Executor.run.__code__
# Cells that one line may change before its step is told as one of the column.
CELL_STEPS_MAX: Final = 4096
# Leaves of a state that no command made, each with its value; of a larger one only sums are kept.
STATE_LEAVES_MAX: Final = 4096
# Names of what is recorded and is no command.
FIRST_STATE: Final = "(first state)"
MIGRATION: Final = "migrate_state"


class Step(msgspec.Struct, frozen=True, array_like=True):
    """One thing that a command did, in order: `what` is a path, `event/<n>` or `result`. `mark`: equal if the same."""

    what: str
    value: Any
    file: str
    line: int
    text: str
    mark: bytes


class Detail(msgspec.Struct, frozen=True, array_like=True):
    """All about one command. `after` and `before`: leaf -> path -> plain value, of the leaves that it changed."""

    trace: PackedTrace
    answer: Any
    events: list[Any]
    after: dict[str, dict[str, Any]]
    before: dict[str, dict[str, Any]]
    steps: list[Step]


make_known(Detail)


class _Recorded(NamedTuple):
    """As little as possible: most of what is recorded is dropped again, unread."""

    trace: CommandTrace
    undo: list[Any]  # what the command added: container, leaf key, old value, and so on
    places: list[tuple[str, int]]  # one for each of these
    event_places: list[tuple[str, int]]
    result_place: tuple[str, int]
    state: tuple[tuple[Ledger, Any, Any], ...] = ()  # ledger, leaf key, value: where no command made them


class _Write(NamedTuple):
    path: str
    ledger: Ledger
    leaf_key: Any
    old: Any
    value: Any
    place: tuple[str, int]


class Recorder(TracingReplica):
    """A replica that records what each command does while `is_recording`, until `forget`.

    `takes_states`: also the states that no command made, which a release before protocol 2 did not record.
    """

    is_recording = False  # before `__init__`, which adopts a machine

    def __init__(self, machine_class: type[StateMachine]) -> None:
        super().__init__(machine_class, self._take)
        self.is_lone = False
        self.takes_states = False
        self._activation = 0  # position of the item that puts a release in force
        self.recorded: list[_Recorded] = []
        self.event_places: list[tuple[str, int]] = []
        self.result_place = NO_PLACE
        self._places: list[tuple[str, int]] = []
        self._undo_before = self._events_before = 0

    def _make_executor(self) -> Executor:
        return _RecordingExecutor(self)

    def adopt(self, machine: StateMachine, store: Store | None = None) -> None:
        """Go on with another release, and go on recording."""
        super().adopt(machine, store)
        if self.is_recording:
            self._note_places(True)

    def record(self, on: bool, *, states: bool = False) -> None:
        """Begin or end recording; between two entries. `states`: see `takes_states`."""
        self.is_recording, self.takes_states = on, on and states
        self._note_places(on)

    def _note_places(self, on: bool) -> None:
        undo: list[Any] = self.store.new_undo()
        if on:
            undo = located = LocatingUndo()
            self._places = located.places
        self.store.undo = self.executor._undo = undo

    def forget(self) -> None:
        """Drop what was recorded."""
        self.recorded.clear()

    def tell(self, position: int, name: str, answer: Answer) -> None:
        """Only while recording."""
        if self.is_recording:
            super().tell(position, name, answer)

    def _take(self, trace: CommandTrace) -> None:
        start, events_start = self._undo_before, self._events_before
        undo = self.store.undo
        recorded = _Recorded(
            trace, undo[start:], self._places[start // 3 :], self.event_places[events_start:], self.result_place
        )
        self.recorded.append(recorded)
        self._undo_before, self._events_before = len(undo), len(self.executor.events)
        self.result_place = NO_PLACE

    def _upgrade(self, index: int, target: Definition) -> None:
        super()._upgrade(index, target)
        if self.takes_states:
            self._take_state(index, MIGRATION)

    def _take_state(self, index: int, name: str) -> None:
        """Record the machine's state as something that was done."""
        self.store.digests()
        ledgers = [ledger for name, ledger in self.store.ledgers.items() if not name.startswith(SYSTEM)]
        sums = tuple(Write(ledger.name, "", digest128(ledger.sum_bytes())) for ledger in ledgers)
        trace = CommandTrace(index, self._activation, name, int(Status.OK), b"", sums)
        leaves = tuple(
            islice(
                (
                    (ledger, leaf_key, value)
                    for ledger in ledgers
                    for bucket in range(BUCKETS)
                    for leaf_key, value in ledger.leaves(bucket)
                ),
                STATE_LEAVES_MAX + 1,
            )
        )
        state = leaves if len(leaves) <= STATE_LEAVES_MAX else ()
        self.recorded.append(_Recorded(trace, [], [], [], _place_of_migration(self.machine), state))

    def _apply_batch(self, index: int, batch: Batch) -> list[Answer]:
        self._undo_before = self._events_before = 0
        if not self.is_recording:
            return super()._apply_batch(index, batch)
        if self.takes_states:
            names = [item[3] if type(item) is list and len(item) > 3 else "" for item in batch.items]
            self._activation = names.index(ACTIVATE) if ACTIVATE in names else 0
            if not self.system.machine_version:
                self._take_state(index, FIRST_STATE)
        self.result_place = NO_PLACE
        previous = sys.getprofile()
        sys.setprofile(self._profile)
        try:
            return super()._apply_batch(index, batch)
        finally:
            sys.setprofile(previous)

    def _profile(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_back is not None and frame.f_back.f_code is RUN_CODE:
            name = frame.f_code.co_filename
            if not name.startswith(OWN_DIRECTORY):
                self.result_place = name, frame.f_lineno

    def digests(self) -> bytes:
        """Eight bytes for each command recorded, in order: equal if it did the same."""
        return b"".join(hash64(encode(pack(one.trace))).to_bytes(8, "little") for one in self.recorded)

    def detail(self, number: int) -> Detail:
        """All about the command at this place among those recorded."""
        recorded = self.recorded[number]
        after: dict[str, dict[str, Any]] = {}
        before: dict[str, dict[str, Any]] = {}
        steps = []
        for ledger, leaf_key, value in recorded.state:
            path = leaf_path(ledger.name, leaf_key, nested=ledger.nested)
            after[path] = leaf_values(ledger, ledger.name, leaf_key, value)
            shown = digest128(value).hex() if isinstance(ledger, ArrayLedger) else plain(value)
            steps.append(_step(path, shown, recorded.result_place, pack_leaf(leaf_key, value)))
        for path, ledger, leaf_key, old, value, place in _writes(recorded):
            before.setdefault(path, leaf_values(ledger, ledger.name, leaf_key, old))
            after[path] = leaf_values(ledger, ledger.name, leaf_key, value)
            if isinstance(ledger, ArrayLedger):
                steps.extend(_cell_steps(ledger, leaf_key, old, value, place))
                continue
            shown = None if value is ABSENT else plain(value)
            steps.append(_step(path, shown, place, pack_leaf(leaf_key, value)))
        trace = recorded.trace
        for count, packed in enumerate(trace.events):
            place = recorded.event_places[count] if count < len(recorded.event_places) else NO_PLACE
            steps.append(_step(f"event/{count}", plain(decode(packed)), place, packed))
        answer = answer_value(trace.name, trace.status, trace.body)
        steps.append(_step("result", answer, recorded.result_place, encode((trace.status, trace.body))))
        return Detail(pack(trace), answer, [plain(decode(event)) for event in trace.events], after, before, steps)


def _place_of_migration(machine: StateMachine) -> tuple[str, int]:
    """Where a release's `migrate_state` begins; none if it is not the user's."""
    code = getattr(type(machine).migrate_state, "__code__", None)
    if code is None or code.co_filename.startswith(OWN_DIRECTORY):
        return NO_PLACE
    return code.co_filename, code.co_firstlineno


def _writes(recorded: _Recorded) -> list[_Write]:
    """Each write with the value that it gave, those that changed nothing left out."""
    undo, places = recorded.undo, recorded.places
    # A leaf that ended as it began is not in the trace.
    following: dict[tuple[str, Any], Any] = {}
    for container, leaf_key, old in zip(undo[::3], undo[1::3], undo[2::3], strict=True):
        following.setdefault((container._ledger.name, leaf_key), old)
    following |= {(write.container, write.leaf_key): write.value for write in recorded.trace.writes}
    writes = []
    for at in range(len(undo) - 3, -1, -3):
        container, leaf_key, old = undo[at : at + 3]
        ledger = container._ledger
        key = ledger.name, leaf_key
        value, following[key] = following[key], old
        if pack_leaf(leaf_key, value) != pack_leaf(leaf_key, old):
            place = places[at // 3] if at // 3 < len(places) else NO_PLACE
            path = leaf_path(ledger.name, leaf_key, nested=ledger.nested)
            writes.append(_Write(path, ledger, leaf_key, old, value, place))
    return writes[::-1]


def _cell_steps(ledger: ArrayLedger, column: str, old: Any, value: Any, place: tuple[str, int]) -> list[Step]:
    """What was done to a column, cell by cell where that can be told; a column with many is told by a digest."""
    one, other = ({} if data is ABSENT else {column: data} for data in (old, value))
    found = list(islice(differing_cells(ledger.name, ledger.cells, one, other), CELL_STEPS_MAX + 1))
    if len(found) > CELL_STEPS_MAX:
        digest = digest128(b"" if value is ABSENT else value)
        return [_step(f"{ledger.name}/{column}", digest.hex(), place, digest)]
    return [_step(path, number, place, encode(number)) for path, _, number in found]


def _step(what: str, value: Any, place: tuple[str, int], mark: bytes) -> Step:
    file, line = place
    return Step(what, value, file, line, linecache.getline(file, line).strip() if line else "", mark)


class _RecordingExecutor(_TracingExecutor):
    """Knows where events were emitted."""

    def __init__(self, replica: Recorder) -> None:
        super().__init__(replica)
        self._recorder = replica

    def emit(self, event: Any) -> None:
        super().emit(event)
        if self._recorder.is_recording:
            places = self._recorder.event_places
            del places[len(self.events) - 1 :]
            places.append(place_above(2))


def plain_replica(machine_class: type[StateMachine]) -> Replica:
    """A replica that goes on when a root is not the recorded one, as whoever looks for the reason wants."""
    replica = Replica(machine_class)
    replica.is_lone = False
    return replica
