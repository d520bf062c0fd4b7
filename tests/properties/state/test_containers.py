"""Tracked state behaves like plain Python under any sequence of operations, rollbacks, batches, snapshots and views."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import rsm.state.sorted_keys
from rsm.machine.machine import open_view
from rsm.state.sorted_keys import SortedKeys
from rsm.state.store import Cut, Store
from tests.properties.state.world import (
    PRICES,
    Operation,
    Plain,
    World,
    check_reads,
    contents,
    expected,
    perform,
    rebuilt,
    sequences,
    store_of,
)

MARKS: st.SearchStrategy[Operation] = st.sampled_from([("mark", ()), ("rollback", (0,)), ("rollback", (1,))])
BATCH: st.SearchStrategy[Operation] = st.just(("batch", ()))
CUTS: st.SearchStrategy[Operation] = st.just(("cut", ())) | st.tuples(st.just("read"), st.tuples(st.integers(1, 4)))
PROBES = st.lists(PRICES, max_size=3)


class Run:
    """One world with its model, driven by operations; batches and rollback scopes are operations too."""

    def __init__(self) -> None:
        self.world = World()
        self.store = store_of(self.world)
        self.plain = Plain()
        self.marks: list[tuple[int, Plain]] = []
        self.cuts: list[OpenCut] = []
        self.store.begin()

    def step(self, operation: Operation) -> None:
        """One operation, on both sides."""
        name, arguments = operation
        if name == "mark":
            self.marks.append((self.store.mark(), self.plain.copy()))
        elif name == "rollback":
            if len(self.marks) > arguments[0]:
                for _ in range(arguments[0] + 1):  # past inner scopes that have ended well
                    mark, plain = self.marks.pop()
                self.store.rollback(mark)
                self.plain = plain
        elif name == "batch":
            self.end_batch()
            self.store.begin()
        elif name == "cut":
            self.end_batch()
            self.cuts.append(OpenCut(self.store, self.plain))
            self.store.begin()
        elif name == "read":
            self.end_batch()
            for cut in self.cuts:
                cut.read(arguments[0])
            self.store.begin()
        else:
            before = perform(self.plain, operation)
            assert perform(self.world, operation) == before

    def end_batch(self) -> None:
        """The batch ends: no scope outlives it."""
        self.marks.clear()
        self.store.end()


class OpenCut:
    """A cut being read, with the model as it was at that moment."""

    def __init__(self, store: Store, plain: Plain) -> None:
        self.plain = plain.copy()
        self.cut: Cut = store.cut()
        self.chunks: Iterator[tuple[str, int, int, bytes]] = self.cut.chunks()
        self.taken: list[tuple[str, int, int, bytes]] = []

    def read(self, count: int) -> None:
        """A few more buckets."""
        for _, chunk in zip(range(count), self.chunks, strict=False):
            self.taken.append(chunk)

    def check(self) -> None:
        """The rest of the buckets; all together restore the moment of the cut."""
        self.taken.extend(self.chunks)
        self.cut.close()
        world = World()
        store = store_of(world)
        store.begin()
        world.counts["left over"] = 1
        world.levels[9].push((1, ""))
        store.end()
        store.clear()
        for name, _, count, leaves in self.taken:
            store.load(name, leaves)
            assert count > 0
        assert store.digests() == self.cut.digests
        assert {name: ledger.sum_bytes() for name, ledger in store.ledgers.items()} == self.cut.sums
        assert contents(world) == expected(self.plain)
        store.verify()


@given(sequences(MARKS, BATCH), PROBES)
def test_any_sequence_of_writes_and_rollbacks_reads_like_plain_python(
    operations: list[Operation], probes: list[Any]
) -> None:
    """Values, results, exceptions, order of iteration and neighbours, after every single operation."""
    run = Run()
    for operation in operations:
        run.step(operation)
        assert contents(run.world) == expected(run.plain)
    check_reads(run.world, run.plain, probes)
    run.end_batch()
    check_reads(run.world, run.plain, probes)


@given(sequences(MARKS, BATCH), st.randoms(use_true_random=False))
def test_the_incremental_root_is_the_root_from_scratch(operations: list[Operation], shuffle: random.Random) -> None:
    """However the contents came about, the sums are those of a store in which they were put anew, in any order."""
    run = Run()
    for operation in operations:
        run.step(operation)
        if operation[0] == "batch":
            assert run.store.digests() == rebuilt(run.plain)[1].digests()
    run.end_batch()
    _, anew = rebuilt(run.plain, lambda leaves: shuffle.sample(leaves, len(leaves)))
    assert run.store.digests() == anew.digests()
    run.store.verify()


@given(sequences(MARKS, BATCH, CUTS))
def test_a_cut_gives_the_moment_it_was_taken_however_late_it_is_read(operations: list[Operation]) -> None:
    """Several cuts open at once, read bucket by bucket between batches that go on changing everything."""
    run = Run()
    for operation in [*operations[: len(operations) // 2], ("cut", ()), *operations[len(operations) // 2 :]]:
        run.step(operation)
    run.end_batch()
    assert len(run.cuts) > 0
    for cut in run.cuts:
        cut.check()
    assert all(not ledger.overlays for ledger in run.store.ledgers.values())


@given(sequences(BATCH), sequences(MARKS, BATCH), PROBES)
def test_a_restored_store_goes_on_like_the_one_it_came_from(
    before: list[Operation], after: list[Operation], probes: list[Any]
) -> None:
    """The same operations afterwards give the same results, positions, order and roots."""
    original = Run()
    for operation in before:
        original.step(operation)
    original.end_batch()
    restored = Run()
    restored.store.end()
    restored.store.clear()
    for name, _, _, leaves in original.store.cut().chunks():
        restored.store.load(name, leaves)
    restored.plain = original.plain.copy()
    for run in (original, restored):
        run.store.begin()
    for operation in [*after, ("batch", ())]:
        original.step(operation)
        restored.step(operation)  # its own model tells positions and results
        assert contents(original.world) == contents(restored.world)
    check_reads(restored.world, restored.plain, probes)
    original.end_batch()
    restored.end_batch()
    assert original.store.digests() == restored.store.digests()


@given(sequences(BATCH), sequences(MARKS, BATCH), PROBES)
def test_a_view_shows_one_index_while_batches_go_on(
    before: list[Operation], after: list[Operation], probes: list[Any]
) -> None:
    """Every way of reading a view gives the contents of the moment it was opened."""
    run = Run()
    for operation in before:
        run.step(operation)
    run.end_batch()
    view, close = open_view(run.world)
    then = run.plain.copy()
    check_reads(view, then, probes)
    run.store.begin()
    for operation in after:
        run.step(operation)
        if operation[0] == "batch":
            assert contents(view) == expected(then)
    run.end_batch()
    check_reads(view, then, probes)
    close()
    open_view(run.world)  # drops those that were closed
    assert all(len(ledger.overlays) <= 1 for ledger in run.store.ledgers.values())


CHANGES = st.lists(st.tuples(st.integers(0, 60), st.lists(st.integers(0, 60), max_size=3)), max_size=40)


@given(
    st.sets(st.integers(0, 60)), CHANGES, st.none() | st.integers(0, 60), st.none() | st.integers(0, 60), st.booleans()
)
def test_a_range_does_not_depend_on_how_keys_are_spread(
    keys: set[int], changes: list[tuple[int, list[int]]], start: int | None, stop: int | None, reverse: bool
) -> None:
    """Keys may come and go while a range is under way: it goes on with the next key, whatever the parts look like."""
    plan = dict(changes)  # at which key of the range which keys are toggled
    seen = []
    for part_keys_max in (2, 3, 512):
        original = rsm.state.sorted_keys.PART_KEYS_MAX
        rsm.state.sorted_keys.PART_KEYS_MAX = part_keys_max  # type: ignore[misc]  # smaller parts than the real ones
        try:
            seen.append(_walk(keys, plan, start, stop, reverse))
        finally:
            rsm.state.sorted_keys.PART_KEYS_MAX = original  # type: ignore[misc]  # as it was
    assert seen[0] == seen[1] == seen[2] == _walk_plain(keys, plan, start, stop, reverse)


def _walk(keys: set[int], plan: dict[int, list[int]], start: int | None, stop: int | None, reverse: bool) -> list[int]:
    order, live, seen = SortedKeys(), set(keys), []
    for key in keys:
        order.add(key)
    for key in order.range(start, stop, reverse):
        seen.append(key)
        for toggled in plan.get(key, ()):
            (order.remove if toggled in live else order.add)(toggled)
            live ^= {toggled}
    assert list(order.range(None, None, False)) == sorted(live)
    return seen


def _walk_plain(
    keys: set[int], plan: dict[int, list[int]], start: int | None, stop: int | None, reverse: bool
) -> list[int]:
    live, seen = set(keys), []
    at = None
    while True:
        left = [key for key in live if (start is None or key >= start) and (stop is None or key < stop)]
        left = [key for key in left if at is None or (key < at if reverse else key > at)]
        if not left:
            return seen
        at = max(left) if reverse else min(left)
        seen.append(at)
        live ^= _toggled(plan.get(at, []))


def _toggled(keys: list[int]) -> set[int]:
    toggled: set[int] = set()
    for key in keys:
        toggled ^= {key}
    return toggled
