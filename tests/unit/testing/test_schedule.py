"""Schedules of faults follow from their seed, end in time, and partition as their names say."""

from __future__ import annotations

import random

import pytest

from rsm.testing.schedule import (
    ALL_FAULTS,
    DIVERGENCE_FAULTS,
    NETWORK_FAULTS,
    VERSION_FAULTS,
    Fault,
    FaultKind,
    blocked_pairs,
    draw_schedule,
)


def drawn(seed: int) -> list[Fault]:
    return draw_schedule(random.Random(seed), ALL_FAULTS, seconds=20.0, rate_per_second=1.0)


def test_states_differ_only_where_it_is_asked_for() -> None:
    """No other fault makes one node's state another than the log's."""
    assert not set(DIVERGENCE_FAULTS) & set(ALL_FAULTS)
    assert {*DIVERGENCE_FAULTS, *VERSION_FAULTS, *ALL_FAULTS} == set(FaultKind)


def test_a_seed_is_a_schedule() -> None:
    """The same seed draws the same faults, another one others."""
    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("seed", range(20))
def test_every_fault_is_over_in_time(seed: int) -> None:
    """Faults lie in order within the time given, and none outlasts it."""
    faults = drawn(seed)
    assert [fault.at for fault in faults] == sorted(fault.at for fault in faults)
    assert all(0 < fault.at <= fault.until <= 20.0 for fault in faults)


def test_every_kind_occurs() -> None:
    """Over some seeds, every kind of fault is drawn, and some runs see few kinds."""
    schedules = [drawn(seed) for seed in range(60)]
    assert {fault.kind for faults in schedules for fault in faults} == set(ALL_FAULTS)
    assert min(len({fault.kind for fault in faults}) for faults in schedules if len(faults) > 10) <= 6


@pytest.mark.parametrize("nodes", [[1, 2, 3], [1, 2, 3, 4, 5], [2, 4, 6, 7, 9, 11]])
@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("kind", [kind for kind in NETWORK_FAULTS if kind not in (FaultKind.CUT, FaultKind.SLOW)])
def test_partitions_do_what_they_are_called(kind: FaultKind, seed: int, nodes: list[int]) -> None:
    """Splits cut both ways, one-way ones one way; a bridge reaches all; in a ring everybody reaches a majority."""
    target = nodes[seed % len(nodes)]
    pairs = blocked_pairs(kind, nodes, target, random.Random(seed))
    assert pairs == sorted(set(pairs))
    assert all(first in nodes and second in nodes and first != second for first, second in pairs)
    reach = {
        node: {peer for peer in nodes if peer == node or ((node, peer) not in pairs and (peer, node) not in pairs)}
        for node in nodes
    }
    majority = len(nodes) // 2 + 1
    if kind is FaultKind.ONE_WAY:
        assert pairs
        assert not any((second, first) in pairs for first, second in pairs)
    else:
        assert pairs == sorted((second, first) for first, second in pairs)
    if kind is FaultKind.SPLIT:
        assert len(reach[target]) < majority
        assert max(len(others) for others in reach.values()) >= majority
    if kind is FaultKind.BRIDGE:
        assert max(len(others) for others in reach.values()) == len(nodes)
        assert min(len(others) for others in reach.values()) < len(nodes)
    if kind is FaultKind.RING:
        assert all(len(others) >= majority for others in reach.values())
        assert len(set(map(frozenset, reach.values()))) > 1
