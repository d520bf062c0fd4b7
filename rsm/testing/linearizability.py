"""A linearizability checker: does one order explain what every client saw?

The algorithm of Wing and Gong with Lowe's memoisation ("Testing for linearizability", 2017), as in Knossos and
Porcupine, made iterative. A history is a list of operations, each with the times of its call and of its return. The
search walks the calls and returns in order of time: at a call it tries to let the operation take effect there; at a
return whose operation has not taken effect it takes back the last choice. A configuration (which operations have taken
effect, and the state they led to) that was seen before is not searched again.

An operation without a return (its client timed out or died) may take effect at any time after its call, or never. It
stays open to the end of the history and its result is not compared.

The search is bounded in steps and in time. What could not be searched to its end is `UNCHECKED`, never a pass.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec

from rsm.limits import CHECKER_SECONDS_MAX, CHECKER_STEPS_MAX

__all__ = ["Check", "Model", "Operation", "Verdict", "check"]

# The result of an operation that nobody saw: it is not compared.
UNKNOWN: Final = object()


class Operation(msgspec.Struct, frozen=True):
    """One call of one client. Times in any unit, the same for all; `returned` None: the outcome is unknown for ever.

    `has_result` False: it took effect before `returned`, but nobody saw its result.
    """

    client: int
    call: Any
    called: float
    returned: float | None = None
    result: Any = None
    has_result: bool = True


class Model(Protocol):
    """What the object would do if calls came one after another. States are hashable and never changed in place."""

    @property
    def initial(self) -> Hashable:
        """The state before the first call."""

    def step(self, state: Any, call: Any) -> tuple[Hashable, Any]:
        """The state after a call, and the call's result."""

    def key(self, call: Any) -> Hashable:
        """Which independent part of the object a call belongs to; parts are checked one by one. None: no parts."""


class Verdict(enum.Enum):
    """What a check found."""

    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not linearizable"
    UNCHECKED = "could not be checked"


class Check(msgspec.Struct, frozen=True):
    """The outcome. `key`: the part at fault. `explained`: the longest order found, as indexes into the history;
    `unexplained`: the operation that had returned and could not be placed behind it.
    """

    verdict: Verdict
    steps: int
    reason: str = ""
    key: Hashable = None
    explained: tuple[int, ...] = ()
    unexplained: int | None = None

    @property
    def passed(self) -> bool:
        """Whether an order was found."""
        return self.verdict is Verdict.LINEARIZABLE


def check(
    model: Model,
    history: Sequence[Operation],
    *,
    steps_max: int = CHECKER_STEPS_MAX,
    seconds_max: float = CHECKER_SECONDS_MAX,
    clock: Callable[[], float] = time.monotonic,
) -> Check:
    """Search for an order that explains the history; both bounds are for the whole of it.

    `ValueError` for a history that ends a call before it begins, or lets a client make two calls at once.
    """
    _check_history(history)
    parts: dict[Hashable, list[int]] = {}
    for position, operation in enumerate(history):
        parts.setdefault(model.key(operation.call), []).append(position)
    if None in parts and len(parts) > 1:
        parts = {None: list(range(len(history)))}
    deadline = clock() + seconds_max
    steps = 0
    unchecked: Check | None = None
    # The small parts first: a hard one must not use up the bounds before an easy one has shown a violation.
    for key, positions in sorted(parts.items(), key=lambda part: len(part[1])):
        outcome = _Search(model, history, positions, key, steps_max - steps, deadline, clock).run()
        steps += outcome.steps
        if outcome.verdict is Verdict.NOT_LINEARIZABLE:
            return msgspec.structs.replace(outcome, steps=steps)
        if outcome.verdict is Verdict.UNCHECKED and unchecked is None:
            unchecked = outcome
    if unchecked is not None:
        return msgspec.structs.replace(unchecked, steps=steps)
    return Check(Verdict.LINEARIZABLE, steps)


def _check_history(history: Iterable[Operation]) -> None:
    busy_until: dict[int, float | None] = {}
    for operation in sorted(history, key=lambda one: (one.client, one.called)):
        if operation.returned is not None and operation.returned < operation.called:
            raise ValueError(f"client {operation.client}: a call at {operation.called} returned before it was made")
        until = busy_until.get(operation.client, operation.called)
        if until is None or until > operation.called:
            raise ValueError(f"client {operation.client} made a call at {operation.called} while another was open")
        busy_until[operation.client] = operation.returned


class _Event:
    """A call or a return, in a list linked both ways, so that an operation is taken out and put back in no time."""

    __slots__ = ("after", "before", "bit", "call", "is_call", "position", "result", "return_event", "time", "twin")

    def __init__(self, operation: Operation | None, position: int, bit: int, *, is_call: bool) -> None:
        self.position = position
        self.bit = bit
        self.is_call = is_call
        self.call = None if operation is None else operation.call
        self.time = 0.0 if operation is None else operation.called
        self.result = UNKNOWN
        if operation is not None and operation.returned is not None:
            self.time = operation.called if is_call else operation.returned
            if operation.has_result:
                self.result = operation.result
        self.return_event: _Event | None = None
        # Of an open operation: the bit of the one before it that makes the same call, which may as well go first.
        self.twin = 0
        self.before: _Event | None = None
        self.after: _Event | None = None

    def lift(self) -> None:
        """Take a call and its return out of the list."""
        _unlink(self)
        if self.return_event is not None:
            _unlink(self.return_event)

    def put_back(self) -> None:
        """Undo `lift`; the last lifted is put back first."""
        if self.return_event is not None:
            _relink(self.return_event)
        _relink(self)


def _unlink(event: _Event) -> None:
    if event.before is not None:
        event.before.after = event.after
    if event.after is not None:
        event.after.before = event.before


def _relink(event: _Event) -> None:
    if event.before is not None:
        event.before.after = event
    if event.after is not None:
        event.after.before = event


def _linked(events: list[_Event]) -> _Event:
    """The head of a list of these events."""
    head = last = _Event(None, -1, 0, is_call=False)
    for event in events:
        last.after, event.before = event, last
        last = event
    return head


class _Search:
    """The search of one part of a history.

    Open operations have a list of their own, and are tried only where no other one is left before the next return:
    they may take effect at any time, so most of the orders that begin with them differ in nothing that anybody saw.
    """

    def __init__(
        self,
        model: Model,
        history: Sequence[Operation],
        positions: list[int],
        key: Hashable,
        steps_max: int,
        deadline: float,
        clock: Callable[[], float],
    ) -> None:
        self.model = model
        self.key = key
        self.steps_max = steps_max
        self.deadline = deadline
        self.clock = clock
        # Calls before returns at one time: such operations overlap, which never makes a good history look bad.
        order: list[tuple[float, int, int, _Event]] = []
        still_open: list[_Event] = []
        for number, position in enumerate(positions):
            operation = history[position]
            call = _Event(operation, position, 1 << number, is_call=True)
            if operation.returned is None:
                still_open.append(call)
                continue
            call.return_event = _Event(operation, position, 1 << number, is_call=False)
            order.append((operation.called, 0, number, call))
            order.append((operation.returned, 1, number, call.return_event))
        order.sort(key=lambda entry: entry[:3])
        still_open.sort(key=lambda event: event.time)
        for place, event in enumerate(still_open):
            event.twin = next((one.bit for one in reversed(still_open[:place]) if one.call == event.call), 0)
        self.head = _linked([entry[3] for entry in order])
        self.open_head = _linked(still_open)
        self.open_returns = len(order) // 2

    def run(self) -> Check:
        step, steps, open_returns = self.model.step, 0, self.open_returns
        state: Any = self.model.initial
        done = 0
        seen: set[tuple[int, Hashable]] = set()
        stack: list[tuple[_Event, Any, float]] = []
        longest: tuple[int, ...] = ()
        unexplained: int | None = None
        event = self.head.after
        limit = 0.0  # an open operation must have been called before this return
        while open_returns:
            steps += 1
            if steps > self.steps_max:
                return self._unchecked(steps, f"gave up after {self.steps_max} steps")
            if steps & 1023 == 0 and self.clock() > self.deadline:
                return self._unchecked(steps, "gave up: it took too long")
            if event is not None and not event.is_call:
                # Whoever returns here must have taken effect before: only with the help of an open operation.
                if unexplained is None or len(stack) > len(longest):
                    longest, unexplained = tuple(call.position for call, _, _ in stack), event.position
                limit, event = event.time, self.open_head.after
                continue
            is_open = event is not None and event.return_event is None
            if event is not None and not (is_open and event.time > limit):
                configuration = self._try(event, done, state, step)
                if configuration is not None and configuration not in seen:
                    seen.add(configuration)
                    stack.append((event, state, limit))
                    done, state = configuration
                    open_returns -= not is_open
                    event.lift()
                    event = self.head.after
                else:
                    event = event.after
                continue
            if not stack:
                return Check(Verdict.NOT_LINEARIZABLE, steps, "no order explains it", self.key, longest, unexplained)
            event, state, limit = stack.pop()
            done &= ~event.bit
            open_returns += event.return_event is not None
            event.put_back()
            event = event.after
        return Check(Verdict.LINEARIZABLE, steps)

    @staticmethod
    def _try(event: _Event, done: int, state: Any, step: Callable[[Any, Any], tuple[Any, Any]]) -> Any:
        """The configuration after an operation takes effect now, or None if it cannot, or need not."""
        if event.return_event is None and event.twin & ~done:
            return None
        after, result = step(state, event.call)
        if event.result is not UNKNOWN and event.result != result:
            return None
        # What never returned and changes nothing explains nothing, wherever it stands.
        if event.return_event is None and after == state:
            return None
        return done | event.bit, after

    def _unchecked(self, steps: int, reason: str) -> Check:
        return Check(Verdict.UNCHECKED, steps, reason, self.key)
