"""Whole groups in storms of faults: what Raft promises holds at every step, and after healing they get on.

A failing case names its seed; `storm` notes the last faults with it. The storms here are short. The same function runs
for as long as one likes: `storm(Network(seed), seconds, weights)`.
"""

from __future__ import annotations

from typing import Any

import pytest

import rsm.raft.progress
import rsm.raft.replication
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


MISTAKES: dict[str, tuple[str, Any]] = {
    "counts a majority too small": ("rsm.raft.configuration.Configuration.quorum", property(lambda self: 1)),
    "says durable what is not": (
        "rsm.raft.log.RaftLog.synced",
        lambda self, index: bool(setattr(self, "durable_index", self.last_index)) or True,
    ),
    "keeps what it verified for the next term": ("rsm.raft.replication.Replication.new_term", None),
}


@pytest.mark.parametrize("mistake", ["counts a majority too small", "says durable what is not"])
def test_a_mistake_is_seen(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judge is not blind: with a rule broken on purpose, a storm ends with the rule that it breaks."""
    monkeypatch.setattr(*MISTAKES[mistake])
    with pytest.raises(Broken):
        for seed in range(10):
            storm(Network(seed), 5.0, LINKS | {"power": 4})
