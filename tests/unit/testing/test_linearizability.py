"""The linearizability checker accepts what some order explains, refuses the rest, and says when it could not tell."""

from __future__ import annotations

import itertools
import random
from collections.abc import Hashable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.testing.linearizability import Operation, Verdict, check


class Register:
    """One register: ("write", value), ("read",), ("cas", old, new)."""

    initial: Hashable = 0

    def step(self, state: Any, call: Any) -> tuple[Any, Any]:
        if call[0] == "write":
            return call[1], None
        if call[0] == "cas":
            return (call[2], True) if state == call[1] else (state, False)
        return state, state

    def key(self, call: Any) -> Hashable:
        return None


class Counter:
    """Counters by key: ("add", key, amount) answers the sum, ("read", key)."""

    initial: Hashable = 0

    def step(self, state: Any, call: Any) -> tuple[Any, Any]:
        if call[0] == "add":
            return state + call[2], state + call[2]
        return state, state

    def key(self, call: Any) -> Hashable:
        return call[1]


class Fifo:
    """A queue: ("put", value), ("take",) answers the oldest or None."""

    initial: Hashable = ()

    def step(self, state: Any, call: Any) -> tuple[Any, Any]:
        if call[0] == "put":
            return (*state, call[1]), None
        return (state[1:], state[0]) if state else (state, None)

    def key(self, call: Any) -> Hashable:
        return None


def operations(*rows: tuple[Any, ...]) -> list[Operation]:
    """Rows of client, call, called, returned, result."""
    return [Operation(*row) for row in rows]


GOOD = {
    "empty": (Register(), operations()),
    "one after another": (
        Register(),
        operations((1, ("write", 1), 0, 1), (2, ("read",), 2, 3, 1), (1, ("cas", 1, 5), 4, 5, True)),
    ),
    "a read beside a write sees either": (
        Register(),
        operations((1, ("write", 1), 0, 10), (2, ("read",), 1, 2, 0), (3, ("read",), 3, 4, 1)),
    ),
    "writes in the order that the reads tell": (
        Register(),
        operations(
            (1, ("write", 1), 0, 10), (2, ("write", 2), 0, 10), (3, ("read",), 2, 3, 2), (3, ("read",), 4, 5, 1)
        ),
    ),
    "an unknown write took effect late": (
        Register(),
        operations((1, ("write", 7), 0), (2, ("read",), 5, 6, 0), (2, ("read",), 7, 8, 7)),
    ),
    "an unknown write never took effect": (Register(), operations((1, ("write", 7), 0), (2, ("read",), 5, 6, 0))),
    "an unknown cas decides another": (
        Register(),
        operations((1, ("cas", 0, 1), 0), (2, ("cas", 1, 2), 1, 2, True), (3, ("read",), 3, 4, 2)),
    ),
    "a result that nobody saw": (
        Counter(),
        [Operation(1, ("add", "a", 3), 0, 1, has_result=False), Operation(1, ("read", "a"), 2, 3, 3)],
    ),
    "counters by key": (
        Counter(),
        operations((1, ("add", "a", 1), 0, 5, 1), (2, ("add", "b", 1), 0, 5, 1), (3, ("add", "a", 1), 0, 5, 2)),
    ),
    "a queue": (
        Fifo(),
        operations(
            (1, ("put", "x"), 0, 4), (2, ("put", "y"), 0, 4), (3, ("take",), 5, 6, "y"), (3, ("take",), 7, 8, "x")
        ),
    ),
    "return and call at one time overlap": (
        Register(),
        operations((1, ("write", 1), 0, 5), (2, ("read",), 5, 6, 0)),
    ),
}
BAD = {
    "stale read": (Register(), operations((1, ("write", 1), 0, 1), (2, ("read",), 2, 3, 0))),
    "lost write": (
        Register(),
        operations((1, ("write", 1), 0, 1), (2, ("read",), 2, 3, 1), (3, ("write", 2), 4, 5), (2, ("read",), 6, 7, 1)),
    ),
    "double effect": (Counter(), operations((1, ("add", "a", 1), 0, 1, 1), (2, ("read", "a"), 2, 3, 2))),
    "an answer of two effects": (Counter(), operations((1, ("add", "a", 1), 0, 1, 1), (1, ("add", "a", 1), 2, 3, 3))),
    "reads go back": (
        Register(),
        operations((1, ("write", 1), 0, 10), (2, ("read",), 1, 2, 1), (3, ("read",), 3, 4, 0)),
    ),
    "an unknown write from the future": (Register(), operations((2, ("read",), 0, 1, 7), (1, ("write", 7), 2))),
    "both won": (Register(), operations((1, ("cas", 0, 1), 0, 5, True), (2, ("cas", 0, 2), 0, 5, True))),
    "taken twice": (
        Fifo(),
        operations((1, ("put", "x"), 0, 1), (2, ("take",), 2, 5, "x"), (3, ("take",), 2, 5, "x")),
    ),
    "out of order": (
        Fifo(),
        operations((1, ("put", "x"), 0, 1), (1, ("put", "y"), 2, 3), (2, ("take",), 4, 5, "y")),
    ),
    "one key of many": (
        Counter(),
        operations((1, ("add", "a", 1), 0, 1, 1), (2, ("add", "b", 1), 0, 1, 2), (3, ("add", "c", 1), 0, 1, 1)),
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_known_linearizable_histories(name: str) -> None:
    """Histories that an order explains pass."""
    model, history = GOOD[name]
    assert check(model, history).verdict is Verdict.LINEARIZABLE


@pytest.mark.parametrize("name", BAD)
def test_known_bad_histories(name: str) -> None:
    """Histories that nothing explains fail, and the operation that could not be placed is named."""
    model, history = BAD[name]
    found = check(model, history)
    assert found.verdict is Verdict.NOT_LINEARIZABLE
    assert not found.passed
    assert found.unexplained is not None
    assert history[found.unexplained].returned is not None


def test_the_part_at_fault_is_named() -> None:
    """Of independent parts, the report names the one that has no order."""
    model, history = BAD["one key of many"]
    found = check(model, history)
    assert found.key == "b"
    assert found.unexplained == 1


def hard_history() -> list[Operation]:
    """One that needs the sums of all subsets of 40 numbers."""
    history = [Operation(client, ("add", "a", 2**client), 0, 100, has_result=False) for client in range(40)]
    return [*history, Operation(99, ("read", "a"), 200, 201, 41)]


def test_a_bound_is_not_a_pass() -> None:
    """A search that runs out of steps or of time says that it could not check."""
    history = hard_history()
    found = check(Counter(), history, steps_max=2_000)
    assert found.verdict is Verdict.UNCHECKED
    assert "2000 steps" in found.reason
    assert not found.passed
    ticks = itertools.count(step=10.0)
    slow = check(Counter(), history, seconds_max=5.0, clock=lambda: next(ticks))
    assert slow.verdict is Verdict.UNCHECKED
    assert "too long" in slow.reason


@pytest.mark.parametrize("direction", [1, -1])
def test_a_violation_counts_more_than_an_unchecked_part(direction: int) -> None:
    """One part that could not be searched does not hide that another one is wrong."""
    history = [*hard_history(), Operation(98, ("add", "b", 1), 0, 1, 7)]
    assert check(Counter(), history[::direction], steps_max=5_000).verdict is Verdict.NOT_LINEARIZABLE


@pytest.mark.parametrize(
    "history",
    [
        operations((1, ("read",), 5, 4, 0)),
        operations((1, ("read",), 0, 4, 0), (1, ("read",), 3, 6, 0)),
        operations((1, ("write", 1), 0), (1, ("read",), 3, 6, 0)),
    ],
)
def test_impossible_histories_are_refused(history: list[Operation]) -> None:
    """A call that returns before it is made, or a client that makes two at once, is a fault of the recorder."""
    with pytest.raises(ValueError, match="client 1"):
        check(Register(), history)


def test_a_long_history_is_fast() -> None:
    """Ten thousand operations of eight clients, some of unknown outcome, take well under the bounds."""
    chance = random.Random(7)
    history: list[Operation] = []
    value, now, client = 0, 0.0, 8
    for number in range(10_000):
        now += 1
        if chance.random() < 0.01:
            client += 1
            history.append(Operation(client, ("write", -number), now))
        elif chance.random() < 0.5:
            value = number
            history.append(Operation(number % 8, ("write", value), now - 0.4, now + 0.4))
        else:
            history.append(Operation(number % 8, ("read",), now - 0.4, now + 0.4, value))
    found = check(Register(), history)
    assert found.verdict is Verdict.LINEARIZABLE
    assert found.steps < 1_000_000


def brute_force(model: Any, history: list[Operation]) -> bool:
    """Whether any choice of open operations in any order explains the history."""
    done = [one for one in history if one.returned is not None]
    still_open = [one for one in history if one.returned is None]
    for count in range(len(still_open) + 1):
        for chosen in itertools.combinations(still_open, count):
            for order in itertools.permutations([*done, *chosen]):
                if explains(model, order):
                    return True
    return False


def explains(model: Any, order: tuple[Operation, ...]) -> bool:
    state = model.initial
    for position, one in enumerate(order):
        if any(later.returned is not None and later.returned < one.called for later in order[position + 1 :]):
            return False
        state, result = model.step(state, one.call)
        if one.returned is not None and one.result != result:
            return False
    return True


calls = st.one_of(
    st.tuples(st.just("write"), st.integers(0, 2)),
    st.tuples(st.just("cas"), st.integers(0, 2), st.integers(0, 2)),
    st.just(("read",)),
)


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Up to six operations; results as some order would give them, with a few of them spoiled."""
    count = draw(st.integers(1, 6))
    model = Register()
    state: Any = model.initial
    history = []
    for client in range(count):
        called = draw(st.integers(0, 12))
        is_open = draw(st.integers(0, 4)) == 0
        call = draw(calls)
        after, result = model.step(state, call)
        if not is_open or draw(st.booleans()):
            state = after
        if draw(st.integers(0, 5)) == 0:
            result = draw(st.sampled_from([None, True, False, 0, 1, 2]))
        returned = None if is_open else called + draw(st.integers(0, 8))
        history.append(Operation(client, call, called, returned, None if is_open else result))
    return history


@given(histories())
def test_it_agrees_with_brute_force(history: list[Operation]) -> None:
    """On small histories the search finds an order exactly when trying all orders does."""
    assert check(Register(), history).passed == brute_force(Register(), history)
