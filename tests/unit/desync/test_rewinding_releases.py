"""A replay is taken back across the index at which the machine went over to another release."""

from __future__ import annotations

from pathlib import Path

import pytest

from demos.orderbook.releases.v3 import Exchange
from rsm.desync.recording import Recording
from rsm.desync.rewinding import Checkpoint
from rsm.node.storage.disk import OsDisk
from rsm.replica.replica import Replica

LOG = Path(__file__).resolve().parents[2] / "golden" / "releases" / "v1-v2-v3.log"


@pytest.mark.parametrize("at", [0, 1, 20, 50, 80])
def test_back_under_the_release_that_was_in_force(at: int) -> None:
    """State, release and root are those of then, and going on again comes to the same roots."""
    entries = [scanned.entry for scanned in Recording(OsDisk(), str(LOG)).entries(0)]
    replica = Replica(Exchange)
    for entry in entries[:at]:
        replica.apply(entry)
    root, version, definition = replica.root(), replica.system.machine_version, replica.definition
    checkpoint = Checkpoint(replica)
    for entry in entries[at:]:
        replica.apply(entry)
    end, roots = replica.root(), dict(replica.roots)
    assert replica.system.machine_version == 3
    assert checkpoint.rewind()
    assert (replica.index, replica.root(), replica.system.machine_version) == (at, root, version)
    assert replica.definition is definition
    replica.store.verify()
    for entry in entries[at:]:
        replica.apply(entry)
    assert replica.root() == end
    assert replica.roots == roots


def test_a_checkpoint_is_given_up_behind_a_flip() -> None:
    replica = Replica(Exchange)
    checkpoint = Checkpoint(replica)
    for scanned in Recording(OsDisk(), str(LOG)).entries(0):
        replica.apply(scanned.entry)
    checkpoint.close()
    assert not any(ledger.overlays for ledger in replica.store.ledgers.values())
