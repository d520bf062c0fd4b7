"""Whole groups in storms of faults: what Raft promises holds at every step, and after healing they get on.

A failing case names its seed; `storm` notes the last faults with it. The storms here are short. The same function runs
for as long as one likes: `storm(Network(seed), seconds, weights)`.
"""

from __future__ import annotations

import pytest

import rsm.raft.progress
import rsm.raft.replication
from rsm.codec.record import Entry
from rsm.raft.configuration import Configuration
from rsm.raft.log import RaftLog
from rsm.raft.messages import AppendEntries
from rsm.raft.replication import Replication
from tests.unit.raft.chaos import storm
from tests.unit.raft.judge import Broken
from tests.unit.raft.network import Network

LINKS = {"break_link": 6, "isolate": 4, "restart": 4}
DISKS = {"power": 4, "rot": 3, "wipe": 1, "fill": 1, "compact": 3}


@pytest.fixture(autouse=True)
def small_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages of a few entries and short pipelines, so that messages overlap and windows fill."""
    monkeypatch.setattr(rsm.raft.replication, "APPEND_MESSAGE_BYTES_MAX", 400)
    monkeypatch.setattr(rsm.raft.progress, "FOLLOWER_BYTES_IN_FLIGHT_MAX", 2000)


@pytest.mark.parametrize(
    ("seed", "size", "weights"),
    [
        (1, {"voters": 3}, LINKS | {"transfer": 2}),
        (2, {"voters": 3}, LINKS | DISKS),
        (3, {"voters": 5}, LINKS | DISKS | {"transfer": 2}),
        (4, {"voters": 3, "spares": 2}, LINKS | {"change": 6, "power": 2, "compact": 2}),
        (5, {"voters": 1, "spares": 2}, LINKS | {"change": 6, "compact": 2}),
        (6, {"voters": 3}, DISKS | {"restart": 2, "isolate": 2}),
        (7, {"voters": 5}, DISKS | {"isolate": 4, "transfer": 1}),
        (8, {"voters": 3, "spares": 2}, LINKS | DISKS | {"change": 5}),
    ],
)
def test_a_group_in_a_storm_keeps_its_promises(seed: int, size: dict[str, int], weights: dict[str, int]) -> None:
    """Log matching, election safety, leader completeness, state machine safety, monotonic commits, true
    acknowledgements, fresh reads; then progress.
    """
    network = Network(seed, **size)
    storm(network, 12.0, weights)
    assert network.judge.last_index > 30
    assert network.reads_done > 10


def test_a_storm_comes_again_from_its_seed() -> None:
    """The same seed gives the same log, so a failure can be looked at (fault E13)."""
    logs = []
    for _ in range(2):
        network = Network(7)
        storm(network, 2.0, LINKS | DISKS)
        logs.append((network.judge.committed, network.judge.leaders, network.now))
    assert logs[0] == logs[1]


def too_small(_: Configuration) -> int:
    """One is never a majority of several."""
    return 1


def too_early(log: RaftLog, _: int) -> bool:
    """Not everything that was appended is durable."""
    log.durable_index = log.last_index
    return True


def too_free(_ballot: object, _voter: int, *, is_weak: bool) -> bool:
    """One vote does not win an election."""
    return not is_weak


def too_eager(replication: Replication, message: AppendEntries) -> list[Entry]:
    """Entries that agree are not cut (fault E1)."""
    new = [entry for entry in message.entries if entry.index > replication.taken_index]
    if new and new[0].index <= replication.log.last_index:
        replication.log.cut_from(new[0].index)
    return new


@pytest.mark.parametrize(
    ("rule", "mistake"),
    [
        ("rsm.raft.configuration.Configuration.quorum", property(too_small)),
        ("rsm.raft.log.RaftLog.synced", too_early),
        ("rsm.raft.cluster._Ballot.grant", too_free),
        ("rsm.raft.replication.Replication._new_entries", too_eager),
    ],
)
def test_a_mistake_is_seen(rule: str, mistake: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is not blind: with a rule broken on purpose, a storm ends with what that breaks."""
    monkeypatch.setattr(rule, mistake)

    def storms() -> None:
        for seed in range(20):
            storm(Network(seed), 5.0, LINKS | {"power": 4})

    with pytest.raises(Broken):
        storms()
