"""Allowances cover what they say, are found when they say too little, and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

from rsm.limits import LINT_ALLOWANCES_MAX
from rsm.lint.checking import Report, lint
from tests.unit.lint.examples import in_machine

WHY = "below 2**53 and exact"


def check(directory: Path, example: str) -> list[str]:
    """The codes that remain."""
    return [finding.code for finding in report(directory, example).findings]


def report(directory: Path, example: str) -> Report:
    """The whole report."""
    path = directory / "example.py"
    path.write_text(in_machine(example), encoding="utf-8")
    return lint([str(path)])


@pytest.mark.parametrize(
    "example",
    [
        f"self.total = int(self.total / 2)  # rsm: allow[RSM402] {WHY}",
        f"self.total = int(self.total / 2)  # noqa  # rsm: allow[RSM402] {WHY}",
        f"self.total = int(self.total / 2)  #rsm:allow[ RSM402 ]: {WHY}",
        f"# rsm: allow[RSM402] {WHY}\nself.total = int(self.total / 2)",
        f"# rsm: allow[RSM402] {WHY}\n\n# and more\nself.total = int(self.total / 2)",
        f"self.total = int(\n    self.total\n    / 2  # rsm: allow[RSM402] {WHY}\n)",
        f"self.total = int(\n    # rsm: allow[RSM402] {WHY}\n    self.total / 2\n)",
        f"self.total = id(1) + int(self.total / 2)  # rsm: allow[RSM402, RSM205] {WHY}",
        f"# rsm: allow[RSM205] {WHY}\n# rsm: allow[RSM402] {WHY}\nself.total = id(1) + int(self.total / 2)",
        f"# rsm: allow[RSM402] {WHY}\nif self.total / 2 > 1:\n    self.total = 1",
        f"# rsm: allow[RSM402] {WHY}\n@rsm.query\ndef look(self) -> int:\n    1\n    return int(self.total / 2)",
    ],
)
def test_what_is_allowed_is_not_reported(example: str, tmp_path: Path) -> None:
    """On the line, above it, and above a definition; several codes; other comments beside it."""
    assert check(tmp_path, example) == []


@pytest.mark.parametrize(
    ("example", "codes"),
    [
        (f"self.total = id(1)  # rsm: allow[RSM402] {WHY}", ["RSM205", "RSM903"]),
        (f"self.total = int(self.total / 2)  # rsm: allow[RSM402, RSM205] {WHY}", ["RSM903"]),
        (f"self.total = 1  # rsm: allow[RSM402] {WHY}\nself.total = int(self.total / 2)", ["RSM903", "RSM402"]),
        (f"# rsm: allow[RSM402] {WHY}\nself.total = 1\nself.total = int(self.total / 2)", ["RSM903", "RSM402"]),
        (f"# rsm: allow[RSM402] {WHY}\nif self.total:\n    self.total = int(self.total / 2)", ["RSM903", "RSM402"]),
        ("self.total = int(self.total / 2)  # rsm: allow[RSM402]", ["RSM901"]),
        ("self.total = int(self.total / 2)  # rsm: allow", ["RSM402", "RSM902"]),
        ("self.total = int(self.total / 2)  # rsm: allow[] why", ["RSM402", "RSM902"]),
        ("self.total = int(self.total / 2)  # rsm: allow[rsm402] why", ["RSM402", "RSM902"]),
        ("self.total = int(self.total / 2)  # rsm: allow[RSM402 why", ["RSM402", "RSM902"]),
        ("self.total = 1  # rsm: allow[RSM902] why\n# rsm: allow[RSM903] why", ["RSM902", "RSM902"]),
        ("ctx.emit('# rsm: allow[RSM999]')", []),
        ("self.total = 1  # what rsm: allowances are", []),
    ],
)
def test_what_is_wrong_with_an_allowance(example: str, codes: list[str], tmp_path: Path) -> None:
    """Other codes, other lines, bodies below a head, no reason, no code: each is told."""
    assert check(tmp_path, example) == codes


def test_allowances_of_what_was_not_judged_are_left_alone(tmp_path: Path) -> None:
    """Checking one machine says nothing of allowances that another one needs."""
    source = "import rsm\n" + "".join(
        f"class {name}(rsm.StateMachine, name='{name}'):\n    n: int\n    @rsm.command()\n"
        f"    def act(self, ctx: rsm.Context) -> None:\n        self.n = id(1)  # rsm: allow[{code}] why\n"
        for name, code in (("One", "RSM205"), ("Two", "RSM402"))
    )
    path = tmp_path / "both.py"
    path.write_text(source, encoding="utf-8")
    assert [finding.code for finding in lint([str(path)]).findings] == ["RSM205", "RSM903"]


def test_a_file_of_allowances_is_bounded(tmp_path: Path) -> None:
    """More than the bound are not read, and that is said: never a pass."""
    lines = "\n".join(f"# rsm: allow[RSM402] {WHY}" for _ in range(LINT_ALLOWANCES_MAX + 1))
    found = report(tmp_path, f"self.total = 1\n{lines}")
    assert any("allowances: the rest is not read" in reason for reason in found.unchecked)
    assert found.exit_code == 1
