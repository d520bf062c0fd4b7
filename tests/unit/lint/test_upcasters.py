"""Steps between versions are held to the rules of handlers: pure, and where they see the state, without writing."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

import pytest

from rsm.lint.checking import lint

MACHINE = """\
import time
import rsm

def to_cents(euros: str) -> int:
    return int(euros) * 100

def to_now(euros: str) -> int:
    return time.time_ns()

class Till(rsm.StateMachine, name="till", version=1):
    total: int
    names: rsm.Map[str, int]

    @rsm.command(version=2)
    def take(self, ctx: rsm.Context, cents: int, tag: str) -> int:
        self.total += cents
        return self.total

"""


def codes(directory: Path, step: str) -> list[str]:
    """What the linter finds in a machine with this step."""
    path = directory / "till.py"
    path.write_text(MACHINE + "\n".join(f"    {line}" for line in dedent(step).splitlines()), encoding="utf-8")
    report = lint([str(path)])
    return [finding.code for finding in report.findings]


GOOD = [
    """\
    @rsm.upcast("take", from_version=1)
    def older(euros: str) -> tuple[int, str] | rsm.Drop:
        return (to_cents(euros), "") if euros else rsm.drop(0)
    """,
    """\
    @rsm.upcast("take", from_version=1, reads_state=True)
    def older(self, euros: str) -> tuple[int, str]:
        return to_cents(euros) + self.total, str(self.names.get("a"))
    """,
    """\
    @rsm.upcast("twice", from_version=1, into={"take": 2})
    @staticmethod
    def older(cents: int) -> rsm.Split:
        return rsm.split(("take", cents, "a"), ("take", cents, "b"), answers=1)
    """,
    """\
    older = rsm.upcast_fields(
        "take", from_version=1, old={"euros": str}, rename={"euros": "cents"}, convert={"cents": to_cents},
        default={"tag": ""},
    )
    """,
    """\
    @rsm.downcast("take", to_version=1)
    def newer(cents: int, tag: str) -> tuple[str]:
        if cents % 100:
            raise rsm.InvalidCommand("whole euros only", "cents")
        return (str(cents // 100),)
    """,
]
BAD = [
    (
        """\
        @rsm.upcast("take", from_version=1)
        def older(euros: str) -> tuple[int, str]:
            return to_now(euros), ""
        """,
        "RSM101",
    ),
    (
        """\
        @rsm.upcast("take", from_version=1, reads_state=True)
        def older(self, euros: str) -> tuple[int, str]:
            self.total += 1
            return 1, ""
        """,
        "RSM307",
    ),
    (
        """\
        @rsm.upcast("take", from_version=1, reads_state=True)
        def older(self, euros: str) -> tuple[int, str]:
            self.names["a"] = 1
            return 1, ""
        """,
        "RSM307",
    ),
    (
        """\
        older = rsm.upcast_fields(
            "take", from_version=1, old={"euros": str}, rename={"euros": "cents"}, convert={"cents": to_now},
            default={"tag": ""},
        )
        """,
        "RSM101",
    ),
    (
        """\
        @rsm.upcast("take", from_version=1)
        def older(euros: float) -> tuple[int, str]:
            return 1, ""
        """,
        "RSM401",
    ),
]


@pytest.mark.parametrize("step", GOOD)
def test_pure_steps_pass(step: str, tmp_path: Path) -> None:
    """In each form."""
    assert codes(tmp_path, step) == []


@pytest.mark.parametrize(("step", "code"), BAD)
def test_others_are_found(step: str, code: str, tmp_path: Path) -> None:
    """Also in what a step passes on."""
    assert codes(tmp_path, step) == [code]
