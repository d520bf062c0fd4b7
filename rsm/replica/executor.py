"""Running one handler in its rollback scope, and everything that a context lets it reach.

A handler either returns, and all it did stands, or it does not, and nothing stands: state, timers, ids and events are
put back to the mark taken before it. `Reject` carries its reason to the caller; any other exception becomes
"handler_failed" with the traceback in the local log only, since its text may differ between builds. `MemoryError`,
`RecursionError` and what is not an `Exception` depend on the machine they happen on: they pass through and stop the
node.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Final, NoReturn

import msgspec

from rsm.codec.cbor import Reference
from rsm.errors import InvalidCommand
from rsm.limits import (
    EVENT_BYTES_KEPT,
    EVENTS_PER_COMMAND_MAX,
    PIPELINE_STEPS_MAX,
    RESULT_BYTES_MAX,
    RESULT_BYTES_PER_BATCH_MAX,
    TIMERS_PER_ENTRY_MAX,
    UPCAST_PARTS_MAX,
)
from rsm.machine.context import Context, Reject
from rsm.machine.definition import CommandSpec, Definition
from rsm.machine.machine import StateMachine
from rsm.machine.upcasting import Drop, Parts
from rsm.replica.answer import Answer, Status
from rsm.replica.events import RawEvent
from rsm.replica.system import System, Timer
from rsm.state.leaf import encode
from rsm.state.store import Store

NO_STEP: Final = -1
# Plain integers: an enum member costs an attribute look-up, and these are on the path of every command.
OK: Final = int(Status.OK)
REJECTED: Final = int(Status.REJECTED)
FAILED: Final = int(Status.FAILED)
INVALID: Final = int(Status.INVALID)


class Failure(msgspec.Struct, frozen=True):
    """A handler that raised, for the local log: never part of the state."""

    index: int
    position: int
    name: str
    traceback: str


class Executor:
    """Runs handlers of one machine; the `Host` of its context. One per replica, used by one thread at a time."""

    def __init__(self, machine: StateMachine, system: System, store: Store) -> None:
        self.machine = machine
        self.definition: Definition = machine.definition
        self.system = system
        self.store = store
        self.context = Context(self)
        self.events: list[RawEvent] = []
        self.failures: list[Failure] = []
        self.result: Any = None  # of the last command that returned
        self._undo = store.undo
        self._decode_event = None if self.definition.event is None else self.definition.decode_event
        self._event_number = 0
        self._first_event_number = 0  # of the handler that runs: not 0 for a later part of a split
        self._parts = 0  # that the command has been split into so far
        self.event_bytes = 0  # of the batch so far, also of events that were taken back
        self.result_bytes = 0  # of the batch so far

    # --- one command ----------------------------------------------------------------------------------------------

    def run(self, spec: CommandSpec, version: int, packed: bytes, step: int = NO_STEP) -> Answer:
        """Upcast, validate, handle. `packed`: MessagePack of its plain values. The bare result stays in `result`."""
        undo, events = self._undo, self.events
        mark, events_mark = len(undo), len(events)
        self._event_number = self._first_event_number
        args: Any  # or, of an old version, what takes the place of a handler's arguments
        try:
            args = spec.decode(packed) if version == spec.version else spec.lead(version, packed, self._read)
        except (msgspec.ValidationError, InvalidCommand):
            # Which field it was would be read off a library's wording, and the answer is part of the root.
            self._note_failure(spec.name)
            return Answer(INVALID, encode(("values", step)))
        except (MemoryError, RecursionError):
            raise
        except Exception:  # a struct of the user's may run code of its own when it is made
            self._note_failure(spec.name)
            return Answer(FAILED, encode(("handler_failed", step)))
        if args.__class__ is not tuple:
            return self._end(spec.name, args, step)
        try:
            self.result = spec.handler(self.machine, self.context, *args)
            body = encode(self.result)
            if len(body) > RESULT_BYTES_MAX or self.result_bytes + len(body) > RESULT_BYTES_PER_BATCH_MAX:
                raise ValueError(f"a result of {len(body)} bytes exceeds the bound of one result or of its batch")
            self.result_bytes += len(body)
            return Answer(OK, body)
        except Reject as rejection:
            answer = Answer(REJECTED, encode((rejection.reason, step)))
        except (MemoryError, RecursionError):
            raise
        except Exception:
            self._note_failure(spec.name)
            answer = Answer(FAILED, encode(("handler_failed", step)))
        self.store.rollback(mark)
        del events[events_mark:]
        return answer

    def _read(self, step: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Run an upcaster that sees the state as it is now; it cannot write."""
        self.store.close_for_writing()
        try:
            return step(self.machine, *args)
        finally:
            self.store.open_for_writing()

    def _end(self, name: str, led: Parts | Drop, step: int) -> Answer:
        """What an old command leads to that is not one command: several, all or none, or nothing."""
        is_first = self._parts == 0
        mark, events_mark = self.store.mark(), len(self.events)
        try:
            answer = self._drop(name, led.result, step) if isinstance(led, Drop) else self._split(led, step)
        finally:
            if is_first:
                self._parts = self._first_event_number = self.context._part = 0
        if answer.status != OK:
            self.store.rollback(mark)
            del self.events[events_mark:]
        return answer

    def _drop(self, name: str, result: Any, step: int) -> Answer:
        try:
            body = encode(result)
        except (TypeError, ValueError, OverflowError):
            self._note_failure(name)
            return Answer(INVALID, encode(("values", step)))
        self.result = result
        return Answer(OK, body)

    def _split(self, led: Parts, step: int) -> Answer:
        answered, result = Answer(OK, b""), None
        for number, (spec, version, values) in enumerate(led.parts):
            self._parts += 1
            if self._parts > UPCAST_PARTS_MAX:
                return Answer(INVALID, encode((f"an old command becomes at most {UPCAST_PARTS_MAX}", step)))
            # Parts are executions of their own: each has its own events and random streams.
            self.context._part = self._parts - 1
            try:
                packed = encode(values)
            except (TypeError, ValueError, OverflowError):
                self._note_failure(spec.name)
                return Answer(INVALID, encode(("values", step)))
            # Not `self.run`: who traces timers tells of whole commands.
            answer = Executor.run(self, spec, version, packed, step)
            self._first_event_number = self._event_number
            if answer.status != OK:
                return answer
            if number == led.answers:
                answered, result = answer, self.result
        self.result = result
        return answered

    def _note_failure(self, name: str) -> None:
        self.failures.append(Failure(self.context.index, self.context.position, name, traceback.format_exc()))

    # --- pipelines ------------------------------------------------------------------------------------------------

    def run_pipeline(self, steps: Any) -> Answer:
        """Run steps in order; later values may refer to earlier results. All or nothing: body is the list of bodies."""
        mark, events_mark = self.store.mark(), len(self.events)
        if type(steps) is not list or not 0 < len(steps) <= PIPELINE_STEPS_MAX:
            return Answer(INVALID, encode((f"a pipeline has 1 to {PIPELINE_STEPS_MAX} steps", NO_STEP)))
        results: list[Any] = []
        bodies: list[bytes] = []
        size = 0
        for number, step in enumerate(steps):
            self.context.step = number
            answer = self._step(number, step, results)
            size += len(answer.body)
            if size > RESULT_BYTES_MAX and answer.status == OK:
                reason = f"the results of the pipeline exceed the bound of {RESULT_BYTES_MAX} bytes"
                answer = Answer(REJECTED, encode((reason, number)))
            if answer.status != OK:
                self.store.rollback(mark)
                del self.events[events_mark:]
                return answer
            results.append(self.result)
            bodies.append(answer.body)
        return Answer(OK, encode(bodies))

    def _step(self, number: int, step: Any, results: list[Any]) -> Answer:
        if type(step) is not list or len(step) != 3 or type(step[2]) is not list or type(step[0]) is not str:
            return Answer(INVALID, encode(("step", number)))
        name, version, values = step
        spec = self.definition.commands.get(name)
        if spec is None or type(version) is not int:
            return Answer(INVALID, encode(("unknown command", number)))
        try:
            values = [resolve(value, results) for value in values]
            packed = encode(values)
        except (MemoryError, RecursionError):
            raise
        except Exception:  # there is no such result or field, or it is a property of the user's that raised
            return Answer(INVALID, encode(("reference", number)))
        return self.run(spec, version, packed, number)

    # --- timers and session ends ----------------------------------------------------------------------------------

    def fire_due_timers(self) -> None:
        """Run the timers that are due, in (time, id) order, at most `TIMERS_PER_ENTRY_MAX`."""
        system, context = self.system, self.context
        due = []
        for key in system.timers.range(None, (system.clock + 1, 0)):
            due.append(key)
            if len(due) == TIMERS_PER_ENTRY_MAX:
                break
        for key in due:
            if key not in system.timers:  # an earlier timer of this batch took it back
                continue
            timer = system.timers.pop(key)
            del system.timer_due[key[1]]
            context.position += 1
            context.session, context.principal, context.step = 0, "", 0
            spec = self.definition.commands.get(timer.name)
            if spec is not None:
                self.store.begin_command()
                self.run(spec, timer.version, timer.packed)

    def end_session(self, number: int, principal: str) -> None:
        """Run the session-end handler, if the machine has one, for a session that is about to go."""
        handler = self.definition.session_end
        if handler is None:
            return
        context, store = self.context, self.store
        context.session, context.principal, context.step = number, principal, 0
        store.begin_command()
        mark, events_mark = store.mark(), len(self.events)
        self._event_number = 0
        try:
            handler(self.machine, context)
            return
        except Reject:
            pass
        except (MemoryError, RecursionError):
            raise
        except Exception:
            self._note_failure("on_session_end")
        store.rollback(mark)
        del self.events[events_mark:]

    # --- what a context can do ------------------------------------------------------------------------------------

    def schedule(self, at: int, command: str, version: int, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
        spec = self.definition.commands.get(command)
        if spec is None:
            raise InvalidCommand(f"{command} is not a command of {self.definition.name}")
        if type(at) is not int or at < 0:
            raise InvalidCommand(f"schedule: at must be log time in nanoseconds, got {at!r}", "at")
        values = spec.signature.bind(args, kwargs)
        system = self.system
        system.timer_ids += 1
        timer_id = system.timer_ids
        system.timers[at, timer_id] = Timer(command, version, spec.signature.encode(values))
        system.timer_due[timer_id] = at
        return timer_id

    def cancel_timer(self, timer_id: int) -> bool:
        due = self.system.timer_due.pop(timer_id, None)
        if due is None:
            return False
        del self.system.timers[due, timer_id]
        return True

    def new_id(self) -> int:
        self.system.ids += 1
        return self.system.ids

    def emit(self, event: Any) -> None:
        context, number = self.context, self._event_number
        packed = encode(event)
        if self._decode_event is not None:
            self._decode_event(packed)  # one of another type would stop every reader at it
        size = len(packed)
        total = self.event_bytes + size
        if number >= EVENTS_PER_COMMAND_MAX or size > RESULT_BYTES_MAX or total > EVENT_BYTES_KEPT:
            self._refuse_event(number, size)
        if not self.store.is_open:
            self._refuse_event(number, size)
        self.event_bytes = total
        self._event_number = number + 1
        self.events.append(RawEvent(context.index, context.position, context.step, number, packed))

    def _refuse_event(self, number: int, size: int) -> NoReturn:
        if not self.store.is_open:
            raise TypeError("events can be emitted only inside a command, timer or session-end handler")
        if number >= EVENTS_PER_COMMAND_MAX:
            raise ValueError(f"a command may emit at most {EVENTS_PER_COMMAND_MAX} events")
        raise ValueError(f"an event of {size} bytes exceeds the bound of one event or of its batch")

    def random_seed(self) -> bytes:
        return self.system.seed


def resolve(value: Any, results: list[Any]) -> Any:
    """A value with its references to earlier results filled in, as plain values."""
    if isinstance(value, Reference):
        found = results[value.step]
        for part in value.path:
            if not isinstance(part, str) or isinstance(found, dict):
                found = found[part]
            elif part.startswith("_"):
                raise LookupError(part)
            else:
                found = getattr(found, part)
        return found
    if isinstance(value, list):
        return [resolve(item, results) for item in value]
    if isinstance(value, dict):
        return {key: resolve(item, results) for key, item in value.items()}
    return value
