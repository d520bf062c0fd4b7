"""docs/operating.md shows what the commands print: each block marked ``run`` is run, and its output compared.

The blocks run in order, in one directory that holds the files of the README and of the page itself. A block whose
commands end in another code than 0 says so: ``console run exit-1``. A command with ``&`` behind it goes on while the
next ones run; its lines may come in any order. What takes its time to become so is marked ``eventually``, and is run
until it is. Hashes, times, numbers and who leads differ from run to run, and are not compared; every other letter is.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click
import pytest

from rsm.cli.main import cli
from tests.documents import ROOT, Block, blocks

PAGE = ROOT / "docs" / "operating.md"
PROGRAM = "import sys; sys.argv[0] = 'rsm'; from rsm.cli.main import main; sys.exit(main())"
# How long a command of the page may take until it prints what the page shows.
SECONDS_MAX = 60.0
VARYING = [
    (r"\b[0-9a-f]{32}\b", "HASH"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", "TIME"),
    (r"\b[0-9a-f]{8}@\d+", "ROOT"),
    (r"\b(leader|follower)\b", "ROLE"),
    (r"\d[\d,]*", "N"),
    (r"N B|N\.N KiB", "SIZE"),
    (r"(?<=\S)  +", "  "),
]


def steady(text: str) -> str:
    """The text without what differs from run to run, and without spaces at the ends of lines."""
    for pattern, steadied in VARYING:
        text = re.sub(pattern, steadied, text)
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def start(line: str, directory: Path, out: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    """A command of the page."""
    program, *rest = shlex.split(line)
    words = [sys.executable, "-c", PROGRAM, *rest] if program == "rsm" else [sys.executable, *rest]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(directory / "state")}
    environment.pop("RSM_ADDRESSES", None)
    error = subprocess.PIPE if out == subprocess.PIPE else subprocess.STDOUT
    return subprocess.Popen(words, cwd=directory, env=environment, stdout=out, stderr=error, text=True)


def execute(line: str, directory: Path) -> tuple[str, int]:
    """What a command of the page prints, standard error after standard output, and its exit code."""
    with start(line, directory) as process:
        out, error = process.communicate(timeout=60)
    return out + error, process.returncode


@contextlib.contextmanager
def in_background(line: str, output: str, directory: Path) -> Iterator[None]:
    """A command that has printed these lines, and runs until the block ends."""
    path = directory / "background.out"
    expected = Counter(steady(output).splitlines())
    with path.open("w", encoding="utf-8") as out, start(line, directory, out) as process:
        try:
            deadline = time.monotonic() + SECONDS_MAX
            while expected - Counter(steady(path.read_text(encoding="utf-8")).splitlines()):
                assert process.poll() is None, path.read_text(encoding="utf-8")
                assert time.monotonic() < deadline, path.read_text(encoding="utf-8")
                time.sleep(0.1)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def check(block: Block, line: str, output: str, directory: Path) -> None:
    """Run a command and compare; one that is `eventually` so is run again until it is."""
    expected_code = next((int(mark[5:]) for mark in block.marks if mark.startswith("exit-")), 0)
    deadline = time.monotonic() + (SECONDS_MAX if "eventually" in block.marks else 0)
    while True:
        printed, code = execute(line, directory)
        if time.monotonic() > deadline or (steady(printed), code) == (steady(output), expected_code):
            break
    assert steady(printed) == steady(output), f"{block.place}: {line}"
    assert code == expected_code, f"{block.place}: {line}"


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
    with contextlib.ExitStack() as background:
        for block in blocks(PAGE):
            if block.language != "console" or "run" not in block.marks:
                continue
            for line, output in commands(block):
                if line.endswith(" &"):
                    background.enter_context(in_background(line.removesuffix(" &"), output, tmp_path))
                else:
                    check(block, line, output, tmp_path)
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
