"""Doing what a document says, as its reader would: its code and its commands, in order, in one directory.

Marks on the fences say what is done:

* ``python run``: the block is executed and must succeed. A first line ``# name.py`` makes it that file, which later
  blocks import; the files of the README are there for every document. A block ``text output`` behind it is what it
  prints. ``python file`` is only written.
* ``console run``: every line that begins with ``$ `` is run, and what it prints compared. Commands that end with
  another code than 0 say so (``exit-1``); what takes its time to become so is marked ``eventually``, and is run until
  it is. A command marked ``background``, or with ``&`` behind it, goes on while the next ones run; its lines may come
  in any order, and others between them. A line ``^C`` ends it; the lines behind that are the last that it prints.

Hashes, times, numbers and who leads differ from run to run, and are not compared; every other letter is. Ports 7100 to
7199 of this machine stand for free ones, so that documents can be read side by side.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Self

from rsm.node.supervisor import _die_with
from tests.documents import ROOT, Block, blocks

PROGRAM = "import sys; sys.argv[0] = 'rsm'; from rsm.cli.main import main; sys.exit(main())"
# How long a command or a block may take; machines that test are busy.
SECONDS_MAX = 60.0
CODE_SECONDS_MAX = 240.0
PORTS = range(7100, 7200)
PORT = re.compile(r"(127\.0\.0\.1:|--base-port )(71\d\d)\b")
MARKS = re.compile(r"run|eventually|background|exit-\d")
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


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block with the output that the document shows for each; `^C` is one."""
    found = re.split(r"^(\$ .*|\^C)\n", block.text, flags=re.MULTILINE)
    return [(line.removeprefix("$ "), output) for line, output in zip(found[1::2], found[2::2], strict=True)]


def free_base() -> int:
    """The first of as many ports as documents name, none of them in use; below those that systems give out."""
    for base in range(15_000 + os.getpid() % 100 * len(PORTS), 32_000, len(PORTS)):
        try:
            for offset in range(20):
                with socket.socket() as one:
                    one.bind(("127.0.0.1", base + offset))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


class Background:
    """A command that goes on while others run."""

    def __init__(self, reader: Reader, line: str) -> None:
        self.path = reader.directory / f"background-{len(reader.background)}.out"
        with self.path.open("w", encoding="utf-8") as out:
            self.process = subprocess.Popen(
                reader.words(line),
                cwd=reader.directory,
                env=reader.environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with(os.getpid()),
            )

    @property
    def printed(self) -> str:
        """What it has printed so far."""
        return self.path.read_text(encoding="utf-8")

    def expect(self, output: str) -> None:
        """Wait until it has printed these lines."""
        expected = Counter(steady(output).splitlines())
        deadline = time.monotonic() + SECONDS_MAX
        while missing := expected - Counter(steady(self.printed).splitlines()):
            assert self.process.poll() is None, self.printed
            assert time.monotonic() < deadline, f"{self.printed}\nwithout {list(missing)}"
            time.sleep(0.1)

    def interrupt(self) -> None:
        """Ctrl-C, and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(SECONDS_MAX)
        finally:
            self.process.kill()


class Reader:
    """Somebody who reads documents in a directory of his own, and does what they say. A context manager."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.background: list[Background] = []
        self.environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "XDG_STATE_HOME": str(directory / "state"),
            "COLUMNS": "200",
            "NO_COLOR": "1",
        }
        self.environment.pop("RSM_ADDRESSES", None)
        self._base = free_base()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for one in self.background:
            one.interrupt()

    def read(self, document: Path) -> int:
        """Do all that it says; how many blocks of code and commands that were."""
        for block in blocks(ROOT / "README.md"):
            if block.file_name:
                self.write(block, block.file_name)
        done, printed = 0, None
        for number, block in enumerate(blocks(document)):
            if block.language == "text" and block.marks == ("output",):
                assert block.text == printed, f"{block.place}: the block before prints {printed!r}"
            elif block.language == "python" and block.marks == ("file",):
                assert block.file_name, f"{block.place}: which file?"
                self.write(block, block.file_name)
            elif block.language == "python" and block.marks:
                assert block.marks == ("run",), f"{block.place}: unknown mark {block.marks}"
                printed = self.run(block, block.file_name or f"block_{number}.py")
                done += 1
            elif block.language == "console" and block.marks:
                assert "run" in block.marks, f"{block.place}: is not marked to run"
                assert all(map(MARKS.fullmatch, block.marks)), f"{block.place}: unknown mark"
                for line, output in commands(block):
                    self.follow(block, line, output)
                    done += 1
        return done

    def write(self, block: Block, name: str) -> None:
        """Write a block as a file."""
        (self.directory / name).write_text(self.with_free_ports(block.text), encoding="utf-8")

    def with_free_ports(self, text: str) -> str:
        """The text with ports that are free."""
        return PORT.sub(lambda found: f"{found[1]}{self._base + int(found[2]) - PORTS.start}", text)

    def words(self, line: str) -> list[str]:
        """A command as the operating system takes it; `rsm` and `python` are those that are tested."""
        program, *rest = shlex.split(self.with_free_ports(line))
        assert program in ("rsm", "python"), f"{line}: only rsm and python can be run here"
        return [sys.executable, "-c", PROGRAM, *rest] if program == "rsm" else [sys.executable, *rest]

    def execute(self, words: list[str], seconds: float = SECONDS_MAX) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            words, cwd=self.directory, env=self.environment, capture_output=True, text=True, timeout=seconds
        )

    def run(self, block: Block, name: str) -> str:
        """Run a block of code; what it prints."""
        self.write(block, name)
        ran = self.execute([sys.executable, name], CODE_SECONDS_MAX)
        assert ran.returncode == 0, f"{block.place}: {ran.stderr}"
        return ran.stdout

    def follow(self, block: Block, line: str, output: str) -> None:
        """Do what one line of a console says, and compare what it prints."""
        if line == "^C":
            self.background[-1].interrupt()
            printed = steady(self.background[-1].printed).splitlines()
            expected = steady(output).splitlines()
            assert printed[-len(expected) :] == expected, f"{block.place}: {printed}"
        elif line.endswith(" &") or "background" in block.marks:
            self.background.append(Background(self, line.removesuffix(" &")))
            self.background[-1].expect(output)
        else:
            self._compare(block, line, output)

    def _compare(self, block: Block, line: str, output: str) -> None:
        code = next((int(mark[5:]) for mark in block.marks if mark.startswith("exit-")), 0)
        deadline = time.monotonic() + (SECONDS_MAX if "eventually" in block.marks else 0)
        while True:
            ran = self.execute(self.words(line))
            printed = steady(ran.stdout + ran.stderr)
            if time.monotonic() > deadline or (printed, ran.returncode) == (steady(output), code):
                break
        assert printed == steady(output), f"{block.place}: {line}"
        assert ran.returncode == code, f"{block.place}: {line}"
