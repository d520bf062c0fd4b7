"""One node with its client port open, and connections to it: the stage of the tests of the server and of the feed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client_service import Nodes
from tests.machines import Everything
from tests.raw_client import Connect, Raw, greeted


@pytest.fixture
def nodes(request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """One node, of the machine that the module names as `MACHINE`."""
    running = Nodes(1, getattr(request.module, "MACHINE", Everything))
    yield running
    running.close()


@pytest.fixture
def connect(nodes: Nodes) -> Iterator[Connect]:
    """Connections whose hello was accepted; they are closed in the end."""
    made: list[Raw] = []

    def one() -> Raw:
        made.append(greeted(nodes))
        return made[-1]

    yield one
    for raw in made:
        raw.socket.close()


@pytest.fixture
def raw(connect: Connect) -> Raw:
    """One connection."""
    return connect()
