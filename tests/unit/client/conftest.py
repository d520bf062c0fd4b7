"""Two nodes with a bank and a client of them: the stage of the tests of observers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import rsm
from tests.client_service import Nodes
from tests.observed_bank import Bank


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Two nodes on one log; the first leads."""
    made = Nodes(2, Bank)
    yield made
    made.close()


@pytest.fixture
def bank(nodes: Nodes) -> Iterator[Bank]:
    """A client."""
    with rsm.connect(Bank, nodes.addresses) as client:
        yield client
