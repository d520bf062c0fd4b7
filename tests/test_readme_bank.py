"""The README's bank example is true: it runs as printed, and the type checker guards its calls."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT, blocks

CORRECT = "print(bank.deposit("
ASYNC_VARIANT = """\
import asyncio

import rsm
from bank import Bank


async def main() -> None:
    with rsm.open(Bank, "bank-data") as bank:
        total: int = await bank.deposit.send("ann", 5)
        print(total)


asyncio.run(main())
"""

# One process per run of the type checker is slow: its tests share a worker, and so its cache.
pytestmark = pytest.mark.xdist_group("bank")


def bank_source() -> str:
    """The text of bank.py, as the README prints it."""
    found = [block.text for block in blocks(ROOT / "README.md") if block.file_name == "bank.py"]
    assert len(found) == 1, "README.md must show bank.py once"
    return found[0]


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in `directory`, with the source tree importable."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MYPYPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=directory, env=environment, capture_output=True, text=True, timeout=240
    )


def test_the_bank_runs_as_printed(tmp_path: Path) -> None:
    """The first run prints 600 and the second 700: the keyed deposit counts once, the other each time."""
    (tmp_path / "bank.py").write_text(bank_source(), encoding="utf-8")
    first, second = run(tmp_path, "bank.py"), run(tmp_path, "bank.py")
    assert (first.stdout, first.stderr, first.returncode) == ("600\n", "", 0)
    assert (second.stdout, second.stderr, second.returncode) == ("700\n", "", 0)


def test_the_bank_runs_from_asyncio(tmp_path: Path) -> None:
    """The same class and directory serve a coroutine: `send` is awaited and gives the typed answer."""
    (tmp_path / "bank.py").write_text(bank_source(), encoding="utf-8")
    (tmp_path / "variant.py").write_text(ASYNC_VARIANT, encoding="utf-8")
    assert run(tmp_path, "bank.py").stdout == "600\n"
    answered = run(tmp_path, "variant.py")
    assert (answered.stdout, answered.stderr, answered.returncode) == ("605\n", "", 0)


def test_the_type_checker_accepts_the_bank_and_refuses_a_wrong_amount(tmp_path: Path) -> None:
    """mypy --strict passes the files of README and recipes, and names the line of a deposit of "5": called or awaited,
    embedded or on a cluster.
    """
    source = bank_source()
    (wrong_line,) = (number for number, line in enumerate(source.splitlines(), 1) if CORRECT in line)
    (await_line,) = (number for number, line in enumerate(ASYNC_VARIANT.splitlines(), 1) if ".send(" in line)
    shown = {
        block.file_name: block.text
        for page in ("README.md", "docs/recipes.md")
        for block in blocks(ROOT / page)
        if block.file_name
    }
    teller = shown["teller.py"]
    (teller_line,) = (number for number, line in enumerate(teller.splitlines(), 1) if CORRECT in line)
    files = shown | {
        "variant.py": ASYNC_VARIANT,
        "wrong.py": source.replace('bank.deposit("ann", 100)', 'bank.deposit("ann", "5")'),
        "wrong_teller.py": teller.replace('bank.deposit("ann", 100)', 'bank.deposit("ann", "5")'),
        "wrong_variant.py": ASYNC_VARIANT.replace('send("ann", 5)', 'send("ann", "5")'),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert files["wrong.py"] != source
    # As a user has it: no configuration of ours, errors in the user's files only.
    checked = run(tmp_path, "-m", "mypy", "--strict", "--config-file=", "--follow-imports=silent", *files)
    errors = re.findall(r"^(\S+):(\d+): error: (.*)$", checked.stdout, flags=re.MULTILINE)
    assert {(name, int(line)) for name, line, _ in errors} == {
        ("wrong.py", wrong_line),
        ("wrong_teller.py", teller_line),
        ("wrong_variant.py", await_line),
    }, checked.stdout + checked.stderr
    assert all(re.search(r'"str".*expected "int".*\[arg-type\]', text) for _, _, text in errors), checked.stdout
