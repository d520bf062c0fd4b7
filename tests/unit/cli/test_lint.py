"""`rsm lint` prints what was found and ends with the code that fits."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from rsm.lint.rules import RULES
from tests.unit.cli.samples import run

CLEAN = """\
import rsm
class Shop(rsm.StateMachine, name="shop", version=1):
    total: int
    @rsm.command(version=1)
    def add(self, ctx: rsm.Context, amount: int) -> None:
        self.total += amount
"""
BAD = CLEAN.replace("+= amount", "= self.one()") + "    def one(self) -> int:\n        return hash('a')\n"


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with one file of each kind."""
    monkeypatch.chdir(tmp_path)
    for name, text in {"clean": CLEAN, "bad": BAD, "empty": "x = 1\n", "broken": "def f(\n"}.items():
        Path(f"{name}.py").write_text(text, encoding="utf-8")


def test_clean() -> None:
    """Exit code 0 and one line."""
    ran = run("lint", "clean.py")
    assert (ran.code, ran.out, ran.err) == (0, "clean: 1 machine, 1 file read\n", "")


def test_findings() -> None:
    """Exit code 1; one line each, with the way from the handler."""
    for target in ("bad.py", "bad", "bad:Shop"):
        ran = run("lint", target)
        first, last = ran.out.splitlines()
        assert ran.code == 1
        assert first.startswith("bad.py:8:16: RSM205 hash is an address")
        assert first.endswith("(reached from Shop.add -> Shop.one)")
        assert last == "1 finding: 1 machine, 1 file read"


def test_a_directory_with_a_broken_file() -> None:
    """What is found counts; what could not be read is said."""
    ran = run("lint", ".")
    assert ran.code == 1
    assert "unchecked: broken.py: line 1: no Python: '(' was never closed" in ran.out
    assert ran.out.splitlines()[-1] == "1 finding: 2 machines, 3 files read"


def test_no_machine_is_no_pass() -> None:
    """Exit code 3."""
    ran = run("lint", "empty.py")
    assert ran.code == 3
    assert ran.out.startswith("unchecked: no machine was found")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("none.py", "none.py: no such file"),
        ("none/at/all", "none/at/all: no such file"),
        ("none", "none: no such file, directory or module"),
        ("none:Shop", "none:Shop: no such file, directory or module"),
        ("clean:Other", "clean:Other: clean.py has no class Other"),
        ("empty:x", "empty:x: empty.py has no class x"),
        ("clean:", "clean.py has no class"),
        ("../..:x", "../..:x: no such file"),
        ("broken.py", "broken.py: line 1: no Python"),
        ("a\0b", "no such file, directory or module"),
    ],
)
def test_what_is_no_target(target: str, said: str) -> None:
    """Exit code 2 and one line on standard error."""
    ran = run("lint", target)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


def test_no_target_at_all() -> None:
    """A line that says what to name."""
    ran = run("lint")
    assert ran.code == 2
    assert "Name a target" in ran.err


def test_a_class_that_is_no_machine() -> None:
    """It says what a machine is."""
    Path("plain.py").write_text("class Shop: pass\n", encoding="utf-8")
    ran = run("lint", "plain:Shop")
    assert ran.code == 2
    assert "Shop is not a machine" in ran.err


def test_nothing_is_run() -> None:
    """Not even what would run at an import, nor a package above the module."""
    Path("traps").mkdir()
    trap = "raise SystemExit('was run')\n"
    Path("traps/__init__.py").write_text(trap, encoding="utf-8")
    Path("traps/shop.py").write_text(trap + CLEAN, encoding="utf-8")
    assert run("lint", "traps.shop:Shop").code == 0
    assert not any(name.startswith("traps") for name in sys.modules)


def test_json() -> None:
    """One document, whatever the verdict."""
    ran = run("lint", "--json", "bad.py", "clean.py")
    document = json.loads(ran.out)
    assert ran.code == 1
    assert document["verdict"] == "findings"
    (finding,) = document["findings"]
    assert finding == {
        "file": "bad.py",
        "line": 8,
        "column": 16,
        "code": "RSM205",
        "message": "hash is an address, or a hash that differs in every process",
        "reached": ["Shop.add", "Shop.one"],
    }
    assert document["files"] == ["bad.py", "clean.py"]
    assert document["machines"] == ["bad.py:Shop", "clean.py:Shop"]
    assert (document["unchecked"], document["foreign"]) == ([], [])
    assert json.loads(run("lint", "--json", "empty.py").out)["verdict"] == "unchecked"
    assert json.loads(run("lint", "--json", "clean.py").out)["verdict"] == "clean"


def test_rules() -> None:
    """A line for each; as JSON with their reasons."""
    ran = run("lint", "--rules")
    assert [line.split()[0] for line in ran.out.splitlines()] == [rule.code for rule in RULES]
    document = json.loads(run("lint", "--rules", "--json").out)
    assert document[0] == {"code": "RSM101", "title": "clock", "what": RULES[0].what, "why": RULES[0].why}
