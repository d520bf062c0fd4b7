"""What each command of a log does, command by command: its answer, its events and the leaves it changes.

A `TracingReplica` applies entries exactly as a `Replica` does and tells a sink, after every command, what it did. It
reads this off the undo log that rollback needs anyway, so the ordinary path knows nothing of it. What happens in a
batch before its commands is told as well: the clock and expired keys as `BEGIN`, then ended sessions and timers, at
positions below 0.

Two replicas whose traces differ part at that command. A write that leaves a leaf as it was is left out, since it makes
no difference; sessions are not told of: their table follows from the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from rsm.codec.shapes import make_known
from rsm.machine.definition import CommandSpec
from rsm.machine.machine import StateMachine
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import Batch
from rsm.replica.executor import NO_STEP, Executor
from rsm.replica.replica import POSITION_BEFORE, Replica
from rsm.state.leaf import ABSENT, encode

__all__ = ["BEGIN", "SESSION_END", "CommandTrace", "PackedTrace", "TracingReplica", "Write", "pack", "pack_leaf"]

BEGIN: Final = "(begin)"
SESSION_END: Final = "on_session_end"
MALFORMED: Final = "(malformed)"
NO_ANSWER: Final = Answer(Status.OK, b"")


class Write(NamedTuple):
    """One leaf as a command left it; `value` is `ABSENT` if it was removed."""

    container: str
    leaf_key: Any
    value: Any


class CommandTrace(NamedTuple):
    """What one command did. `writes` are in the order in which the leaves were first written, one each.

    `status` and `body` are its answer, `events` the MessagePack of what it emitted. `position` is below 0 for what
    happens before the batch's commands.
    """

    index: int  # type: ignore[assignment]  # hides the method of tuples, which nobody calls
    position: int
    name: str
    status: int
    body: bytes
    writes: tuple[Write, ...]
    events: tuple[bytes, ...] = ()


class PackedTrace(msgspec.Struct, frozen=True, array_like=True):
    """A `CommandTrace` as it lies in files and travels: equal traces are equal bytes.

    A write is (container, MessagePack of `[leaf key, value]`), or of `[leaf key]` where the leaf is gone.
    """

    index: int
    position: int
    name: str
    status: int
    body: bytes
    writes: tuple[tuple[str, bytes], ...]
    events: tuple[bytes, ...]


make_known(PackedTrace)


def pack_leaf(leaf_key: Any, value: Any) -> bytes:
    """MessagePack of one leaf as `PackedTrace` has it."""
    return encode((leaf_key,) if value is ABSENT else (leaf_key, value))


def pack(trace: CommandTrace) -> PackedTrace:
    """The trace without the machine's types."""
    writes = tuple((write.container, pack_leaf(write.leaf_key, write.value)) for write in trace.writes)
    return PackedTrace(trace.index, trace.position, trace.name, trace.status, trace.body, writes, trace.events)


class TracingReplica(Replica):
    """A replica that hands `sink` a trace of every command, right after it has run. The sink must not change state."""

    def __init__(self, machine_class: type[StateMachine], sink: Callable[[CommandTrace], None]) -> None:
        super().__init__(machine_class)
        self.sink = sink
        self._undo_told = 0  # length of the undo log when the last trace was told
        self._events_told = 0

    def tell(self, position: int, name: str, answer: Answer) -> None:
        """Hand on everything since the last trace, as what `name` did."""
        undo, events = self.store.undo, self.executor.events
        first_old: dict[tuple[str, Any], tuple[Any, Any]] = {}
        for at in range(self._undo_told, len(undo), 3):
            container, leaf_key, old = undo[at : at + 3]
            first_old.setdefault((container._ledger.name, leaf_key), (container, old))
        writes = []
        for (name_of_container, leaf_key), (container, old) in first_old.items():
            value = container._leaf(leaf_key, ABSENT)
            if value is not old and (value is ABSENT or old is ABSENT or encode(value) != encode(old)):
                writes.append(Write(name_of_container, leaf_key, value))
        emitted = tuple(event.packed for event in events[self._events_told :])
        self._undo_told, self._events_told = len(undo), len(events)
        index = self.executor.context.index
        self.sink(CommandTrace(index, position, name, int(answer.status), answer.body, tuple(writes), emitted))

    def _make_executor(self) -> Executor:
        return _TracingExecutor(self)

    def _apply_batch(self, index: int, batch: Batch) -> list[Answer]:
        self._undo_told = self._events_told = 0
        return super()._apply_batch(index, batch)

    def _end_expired_sessions(self) -> None:
        self.tell(POSITION_BEFORE, BEGIN, NO_ANSWER)
        super()._end_expired_sessions()

    def end_session(self, number: int) -> None:
        """End a session; one that is closed by a command is part of that command."""
        super().end_session(number)
        position = self.executor.context.position
        if position < 0:
            self.tell(position, SESSION_END, NO_ANSWER)

    def _item(self, position: int, item: Any) -> Answer:
        answer = super()._item(position, item)
        is_named = type(item) is list and len(item) >= 4 and type(item[3]) is str
        self.tell(position, item[3] if is_named else MALFORMED, answer)
        return answer


class _TracingExecutor(Executor):
    """Tells of timers, which have no item of their own."""

    def __init__(self, replica: TracingReplica) -> None:
        super().__init__(replica.machine, replica.system, replica.store)
        self._replica = replica

    def run(self, spec: CommandSpec, version: int, packed: bytes, step: int = NO_STEP) -> Answer:
        answer = super().run(spec, version, packed, step)
        if self.context.position < 0:
            self._replica.tell(self.context.position, spec.name, answer)
        return answer
