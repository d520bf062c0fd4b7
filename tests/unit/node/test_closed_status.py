"""What a client can still be asked when it has been closed."""

from __future__ import annotations

from pathlib import Path

import pytest

import rsm


class Counter(rsm.StateMachine, name="counter", version=1):
    total: int = 0

    @rsm.command(version=1)
    def add(self, ctx: rsm.Context, amount: int) -> int:
        self.total += amount
        return self.total


def test_a_closed_client_tells_where_it_stood(tmp_path: Path) -> None:
    """The last index and the root of the state at its end, as the next one to open the directory finds them."""
    with rsm.open(Counter, tmp_path / "d") as client:
        client.add(1)
        before = client.status()
    status = client.status()
    assert before.index < status.root_index <= status.index
    assert len(status.root) == 32
    with pytest.raises(rsm.Closed):
        client.add(1)
    with rsm.open(Counter, tmp_path / "d") as client:
        again = client.status()
    assert (again.root_index, again.root) == (status.root_index, status.root)
