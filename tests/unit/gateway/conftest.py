"""One cluster of one node, and one gateway before it, for all tests of the gateway that do not stop them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

from tests.unit.gateway import stage


class Served(NamedTuple):
    """Where they are."""

    node: str
    url: str
    http: httpx.Client


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The node's address, the gateway's URL, and a client of it."""
    directory = tmp_path_factory.mktemp("gateway")
    with (
        stage.cluster(directory) as node,
        stage.gateway(directory, node) as (_, url),
        httpx.Client(base_url=url, timeout=30) as http,
    ):
        yield Served(node, url, http)
