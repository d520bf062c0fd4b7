"""docs/operating.md shows what the commands print: each block marked ``run`` is run, and its output compared.

The blocks run in order, in one directory that holds the files of the README and of the page itself. A block whose
commands end in another code than 0 says so: ``console run exit-1``. Hashes, times and numbers differ from run to
run, and are not compared; every other letter is.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from rsm.cli.main import cli
from tests.documents import ROOT, Block, blocks

PAGE = ROOT / "docs" / "operating.md"
PROGRAM = "import sys; sys.argv[0] = 'rsm'; from rsm.cli.main import main; sys.exit(main())"
VARYING = [
    (r"\b[0-9a-f]{32}\b", "HASH"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", "TIME"),
    (r"\d[\d,]*", "N"),
    (r"(?<=\S)  +", "  "),
]


def steady(text: str) -> str:
    """The text without what differs from run to run, and without spaces at the ends of lines."""
    for pattern, steadied in VARYING:
        text = re.sub(pattern, steadied, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def execute(line: str, directory: Path) -> tuple[str, int]:
    """What a command of the page prints, standard error after standard output, and its exit code."""
    program, *rest = line.split()
    words = [sys.executable, "-c", PROGRAM, *rest] if program == "rsm" else [sys.executable, *rest]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(words, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)
    return ran.stdout + ran.stderr, ran.returncode


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a block with the output that the page shows for each."""
    found = re.split(r"^\$ (.*)\n", block.text, flags=re.MULTILINE)
    return list(zip(found[1::2], found[2::2], strict=True))


def test_the_page_shows_what_is_printed(tmp_path: Path) -> None:
    """Every command of the page, run in order, prints what the page says and ends with the code that it says."""
    for block in [*blocks(ROOT / "README.md"), *blocks(PAGE)]:
        if block.file_name:
            (tmp_path / block.file_name).write_text(block.text, encoding="utf-8")
    number = 0
    for block in blocks(PAGE):
        if block.language != "console" or "run" not in block.marks:
            continue
        expected_code = next((int(mark[5:]) for mark in block.marks if mark.startswith("exit-")), 0)
        for line, output in commands(block):
            printed, code = execute(line, tmp_path)
            assert steady(printed) == steady(output), f"{block.place}: {line}"
            assert code == expected_code, f"{block.place}: {line}"
            number += 1
    assert number > 10


def leaves(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[str, click.Command]]:
    """Every command that is no group, with its words."""
    if not isinstance(command, click.Group):
        return [(" ".join(path), command)]
    return [leaf for name, below in command.commands.items() for leaf in leaves(below, (*path, name))]


@pytest.mark.parametrize(("words", "command"), leaves(cli), ids=lambda value: value if isinstance(value, str) else "")
def test_the_page_names_every_option(words: str, command: click.Command) -> None:
    """Each command has a section of its own that names each of its options and arguments, and shows it being run."""
    text = PAGE.read_text(encoding="utf-8")
    section = re.search(rf"^### `rsm {words}(?: [^`]*)?`\n(.*?)(?=^##|\Z)", text, flags=re.MULTILINE | re.DOTALL)
    assert section is not None, words
    heading = section[0].splitlines()[0]
    assert f"$ rsm {words} " in section[1]
    for parameter in command.params:
        if isinstance(parameter, click.Argument):
            assert (parameter.metavar or "").strip("[]") in heading
        elif parameter.name != "debug":
            assert f"`{parameter.opts[0]}" in section[1], parameter.opts
