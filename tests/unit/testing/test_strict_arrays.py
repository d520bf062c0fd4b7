"""Strict mode and arrays: what is tracked passes, what goes past the container is named."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

import rsm
from rsm.testing import strict


class Keeper:
    """A helper that may keep a numpy array across commands."""

    def __init__(self) -> None:
        self.kept: Any = None


class Herd(rsm.StateMachine, name="herd", version=1):
    """One array and a helper."""

    deer: Annotated[rsm.Array, rsm.Columns(x="int32", hp="int16")]

    def setup(self) -> None:
        self.keeper = Keeper()

    @rsm.command()
    def grow(self, ctx: rsm.Context, rows: int) -> int:
        self.deer.resize(rows)
        self.deer.write("x")[:] += 1
        self.deer.set("hp", 0, 7)
        if rows == 13:
            ctx.reject("unlucky")
        return len(self.deer)

    @rsm.command()
    def keep(self, ctx: rsm.Context) -> None:
        self.keeper.kept = self.deer.write("x")[1:]

    @rsm.command()
    def behind(self, ctx: rsm.Context) -> None:
        self.keeper.kept[0] = 99

    @rsm.query
    def writing(self) -> int:
        self.deer.set("x", 0, 1)
        return 0

    @rsm.query
    def all(self) -> list[int]:
        cells: list[int] = self.deer.read("x").tolist()
        return cells


def test_what_is_tracked_passes(tmp_path: Path) -> None:
    """Commands, a rejection, a query: nothing is found."""
    with strict(), rsm.open(Herd, tmp_path / "d", durability="os") as herd:
        assert herd.grow(3) == 3
        with contextlib.suppress(rsm.Rejected):
            herd.grow(13)
        assert herd.grow(5) == 5
        assert herd.all() == [2, 2, 2, 1, 1]


def test_a_query_that_writes_is_named(tmp_path: Path) -> None:
    """With its line, by the rule on queries."""
    with strict(collect=True) as block, rsm.open(Herd, tmp_path / "d", durability="os") as herd:
        herd.grow(3)
        with contextlib.suppress(TypeError):
            herd.writing()
    assert [finding.code for finding in block.findings] == ["RSM307"]


def test_a_slice_kept_by_a_helper_is_named(tmp_path: Path) -> None:
    """Keeping it is state that no snapshot has; writing to it goes behind the container."""
    with strict(collect=True) as block:
        try:
            with rsm.open(Herd, tmp_path / "d", durability="os") as herd:
                herd.grow(3)
                herd.keep()
                herd.behind()
                herd.grow(3)
        except rsm.RsmError:
            pass
    found = {(finding.code, finding.command) for finding in block.findings}
    assert ("RSM305", "herd.keep") in found
    assert any(command == "herd.behind" for _, command in found)
