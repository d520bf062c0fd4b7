"""Hostile sources end in a reason, soon, and never in a traceback; ordinary ones take less than a second."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rsm.limits import LINT_DEPTH_MAX, LINT_FILE_BYTES_MAX
from rsm.lint import checking, scene, sources
from rsm.lint.checking import Report, lint
from rsm.lint.targets import TargetError
from tests.documents import ROOT
from tests.unit.lint.examples import in_machine

SECONDS_MAX = 30.0


def check(directory: Path, source: str | bytes) -> Report:
    """The report on a directory with this file and a machine that is fine."""
    data = source.encode() if isinstance(source, str) else source
    (directory / "hostile.py").write_bytes(data)
    (directory / "fine.py").write_text(in_machine("self.total = 1"))
    began = time.process_time()
    report = lint([str(directory)])
    assert time.process_time() - began < SECONDS_MAX
    return report


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("x = " + "(" * 1000 + ")" * 1000, id="parentheses"),
        pytest.param("x = " + "-" * 100_000 + "1", id="signs"),
        pytest.param("x = a" + ".b" * 100_000, id="attributes"),
        pytest.param("x = a" + "[0]" * (LINT_DEPTH_MAX + 1), id="subscripts"),
        pytest.param("x = " + "1+" * 100_000 + "1", id="sum"),
        pytest.param("x = " + "lambda: " * 500 + "1", id="lambdas"),
        pytest.param("if a:\n pass\n" + "elif a:\n pass\n" * 20_000, id="elif"),
        pytest.param("x = 1\n" + "#" * LINT_FILE_BYTES_MAX, id="length"),
        pytest.param(b"x = 1\0", id="nul"),
        pytest.param(os.urandom(4096) + b"\0", id="noise"),
        pytest.param(b"# coding: no-such\nx = 1", id="coding"),
        pytest.param(b"x = '\xff\xfe'", id="encoding"),
        pytest.param("x = " + "9" * 10_000, id="number"),
        pytest.param("def f(:\n", id="grammar"),
    ],
)
def test_what_cannot_be_read_is_unchecked(source: str | bytes, tmp_path: Path) -> None:
    """With a reason that names the file; a clean neighbour makes no pass of it."""
    report = check(tmp_path, source)
    assert report.findings == ()
    assert len(report.unchecked) == 1
    assert "hostile.py: " in report.unchecked[0]
    assert report.exit_code == 3


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("".join(f"A{n + 1} = A{n} + 1\n" for n in range(5000)) + "x = A5000\n", id="variables"),
        pytest.param("".join(f"A{n + 1} = A{n}\n" for n in range(5000)), id="aliases"),
        pytest.param("class C0: pass\n" + "".join(f"class C{n + 1}(C{n}): pass\n" for n in range(3000)), id="bases"),
        pytest.param("class A(B): pass\nclass B(A): pass\n", id="ring of bases"),
        pytest.param("A = B\nB = A\n", id="ring of aliases"),
        pytest.param("from hostile import *\nfrom hostile import a\n", id="ring of imports"),
        pytest.param("".join(f"class C{n}:\n  x = C{n + 1}.x\n" for n in range(3000)), id="classes"),
        pytest.param("x = [" + "(1, 'a', 2),".join(str(n) for n in range(5000)) + "]", id="display"),
    ],
)
def test_what_refers_to_itself_ends(source: str, tmp_path: Path) -> None:
    """Long chains and rings of names, also where a machine uses them, end without a word or with a reason."""
    last = "C3000" if "C3000" in source else "A5000" if "A5000" in source else "A"
    report = check(
        tmp_path,
        source + f"\nimport rsm\nclass M({last}, rsm.StateMachine, name='m'):\n"
        "    n: int\n    @rsm.command()\n    def act(self, ctx: rsm.Context) -> None:\n"
        f"        self.n = {last}.x, x, a\n",
    )
    assert report.findings == ()


def test_many_functions_in_a_row(tmp_path: Path) -> None:
    """A chain of thousands of calls is followed to its end, and told in a few names."""
    chain = "".join(f"def f{n}():\n    return f{n + 1}()\n" for n in range(5000))
    report = check(tmp_path, chain + "def f5000():\n    return id(1)\n" + in_machine("self.total = f0()"))
    (finding,) = report.findings
    assert finding.reached[:2] == ("Shop.act", "...")
    assert finding.reached[-2:] == ("f4999", "f5000")


def test_the_deepest_that_is_allowed_is_checked(tmp_path: Path) -> None:
    """At the bound of the depth there is still room on the stack."""
    calls, lists = "f(" * 90 + "id(1)" + ")" * 90, "[" * 90 + "id(1)" + "]" * 90
    for deep in ("-" * 140 + "id(1)", "a" + ".b" * 140 + "[id(1)]", calls, lists):
        assert {finding.code for finding in check(tmp_path, in_machine(f"return {deep}")).findings} == {"RSM205"}
    nested = "".join("    " * n + f"for i{n} in words:\n" for n in range(45)) + "    " * 45 + "id(1)"
    assert {finding.code for finding in check(tmp_path, in_machine(nested)).findings} == {"RSM205"}


def test_too_much_code_is_unchecked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps and functions are counted over the whole run."""
    source = in_machine("self.total = " + " + ".join(str(n) for n in range(50)))
    with monkeypatch.context() as patch:
        patch.setattr(scene, "LINT_STEPS_MAX", 20)
        assert any("too much code" in reason for reason in check(tmp_path, source).unchecked)
    with monkeypatch.context() as patch:
        patch.setattr(checking, "LINT_FUNCTIONS_MAX", 1)
        assert any("not followed further" in reason for reason in check(tmp_path, source).unchecked)
    with monkeypatch.context() as patch:
        patch.setattr(sources, "LINT_FILES_MAX", 1)
        assert any("not read" in reason for reason in check(tmp_path, source).unchecked)
    with monkeypatch.context() as patch:
        patch.setattr(sources, "LINT_BYTES_MAX", 10)
        assert any("not read" in reason for reason in check(tmp_path, source).unchecked)


def test_many_branches_and_names_are_bounded(tmp_path: Path) -> None:
    """A function of thousands of names and branches ends, checked or not."""
    body = "".join(f"a{n} = 1\nif words:\n    pass\n" for n in range(4000))
    check(tmp_path, in_machine(body))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe is not waited for."""
    os.mkfifo(tmp_path / "pipe.py")
    with pytest.raises(TargetError, match="no regular file"):
        lint([str(tmp_path / "pipe.py")])


def test_the_order_book_takes_less_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """In time of the processor, which others do not lengthen."""
    monkeypatch.chdir(ROOT)
    began = time.process_time()
    assert lint(["demos/orderbook/machine.py"]).exit_code == 0
    assert time.process_time() - began < 1.0
