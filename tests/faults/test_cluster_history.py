"""The judge of the cluster's tests sees what it is there for: each lie that a client could have been told is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rsm
from tests.faults.cluster_history import Call, Load
from tests.faults.cluster_machine import Board


class Story(Load):
    """A history made by hand, and a board that holds what the test has put there."""

    def __init__(self, board: Any) -> None:
        super().__init__([])
        self.board = board
        self.now = 0

    def _connect(self) -> Any:
        return self.board.session()

    def tell(self, call: tuple[Any, ...], result: Any, *, client: int = 1, lasts: int = 1) -> None:
        """A client made this call and was told this."""
        self.now += 10
        self.calls.append(Call(client, call, self.now, self.now + lasts, result))

    def leave(self, call: tuple[Any, ...], client: int) -> None:
        """A client made this call and was told nothing."""
        self.now += 10
        self.calls.append(Call(client, call, self.now))

    def do(self, *call: Any, told: Any = None) -> None:
        """A client made this call, it took effect, and he was told the truth, or something else."""
        name, *values = call
        result = getattr(self.board, name)(*values)
        self.tell(call, result if told is None else told)


@pytest.fixture
def story(tmp_path: Path) -> Iterator[Story]:
    """A story with a good beginning."""
    with rsm.open(Board, tmp_path / "board") as board:
        told = Story(board)
        told.do("append", "l0", 1)
        told.do("append", "l0", 2)
        told.do("length", "l0")
        told.do("add", "c0", 5)
        told.do("counter", "c0")
        told.do("write", "r0", 7)
        told.do("register", "r0")
        yield told


def test_the_truth_passes(story: Story) -> None:
    """All of it happened; and what nobody knows of may have happened or not."""
    story.board.append("l0", 3)
    story.leave(("append", "l0", 3), client=2)
    story.leave(("append", "l0", 4), client=3)
    story.leave(("add", "c0", 9), client=4)
    assert story.judge()["unknown"] == 3


def test_a_lost_append(story: Story) -> None:
    """It was acknowledged, and is not there."""
    story.tell(("append", "l0", 3), 3)
    with pytest.raises(AssertionError, match="acknowledged and lost"):
        story.judge()


def test_a_doubled_append(story: Story) -> None:
    """It is there twice, even if nobody knows whether it is there at all."""
    story.leave(("append", "l1", 3), client=2)
    story.board.append("l1", 3)
    story.board.append("l1", 3)
    with pytest.raises(AssertionError, match="appended twice"):
        story.judge()


def test_an_append_at_another_place(story: Story) -> None:
    """It is not where its answer said."""
    story.do("append", "l0", 3, told=2)
    with pytest.raises(AssertionError, match="not where it was said to be"):
        story.judge()


@pytest.mark.parametrize(("there", "told"), [(1, 2), (2, 1)])
def test_a_lost_or_doubled_sum(story: Story, there: int, told: int) -> None:
    """A counter holds less or more than was added."""
    for number in range(told):
        story.tell(("add", "c1", 5), 5 * (number + 1))
    for _ in range(there):
        story.board.add("c1", 5)
    with pytest.raises(AssertionError, match="c1: "):
        story.judge()


def test_a_stale_read(story: Story) -> None:
    """A read tells of a state that was over before it began."""
    story.do("write", "r0", 8)
    story.tell(("register", "r0"), 7, client=2)
    with pytest.raises(AssertionError, match="not linearizable"):
        story.judge()


def test_a_lost_write(story: Story) -> None:
    """A register was written, and the last read shows what was there before."""
    story.tell(("write", "r0", 8), 7)
    with pytest.raises(AssertionError, match="not linearizable"):
        story.judge()
