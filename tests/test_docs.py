"""The documents are true: their code runs, their commands and options exist, their links lead somewhere.

Blocks marked ``run`` are run, and their output compared: `tests.document_reader` says how. In every ``console`` block
each line that begins with ``$ `` is a command. Words in capitals stand for a reader's own.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import io
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import rsm.cli.main
import rsm.errors
from tests.document_reader import Reader
from tests.document_reader import commands as console_commands
from tests.documents import ROOT, Block, anchors, blocks, comment_above, documents, prose

DOCUMENTS = documents()
RSM = ("-c", "import sys; sys.argv[0] = 'rsm'; from rsm.cli.main import main; sys.exit(main())")
# Commands of the reader's own system, which are not ours to check.
SYSTEM_COMMANDS = frozenset({"cd", "curl", "git", "kill", "pip"})
MACHINE_PATH = re.compile(r"(?<![\w.~/-])(?:/(?:home|root|work|tmp|Users|opt|mnt|private)/|[A-Z]:\\)")


def python(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run this Python in `directory`, with the source tree importable and a wide terminal."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments], cwd=directory, env=environment, capture_output=True, text=True, timeout=240
    )


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_what_is_marked_to_run_runs(document: Path, tmp_path: Path) -> None:
    """Code ends without an error, commands with their code, and both print what the document says that they print."""
    for block in blocks(document):
        if block.language == "python":
            ast.parse(block.text, filename=block.place)
    with Reader(tmp_path) as reader:
        done = reader.read(document)
    marked = [block for block in blocks(document) if "run" in block.marks]
    assert done >= len(marked)


@pytest.mark.parametrize(
    ("marks", "text"),
    [
        (("run",), "$ python -c 'print(\"fine\")'\nwell\n"),
        (("run",), "$ python -c 'print(\"fine\"); exit(1)'\nfine\n"),
        (("run", "exit-1"), "$ python -c 'print(\"fine\")'\nfine\n"),
        (("run", "background"), "$ python -c 'print(\"fine\")'\nfine\nwell\n"),
        (("run",), "$ python -c 'print(\"fine\")' &\nfine\n^C\nstopped\n"),
        (("run",), "$ make demo\n"),
    ],
    ids=["output", "code", "no code", "background", "last words", "program"],
)
def test_output_that_is_not_what_is_shown_is_found(marks: tuple[str, ...], text: str, tmp_path: Path) -> None:
    """A planted wrong line, exit code or last line, or a program that is not ours, fails."""
    block = Block("planted.md", 1, "console", marks, text)
    *before, (line, output) = console_commands(block)
    with Reader(tmp_path) as reader:
        for one in before:
            reader.follow(block, *one)
        with pytest.raises(AssertionError):
            reader.follow(block, line, output)


def test_output_that_is_shown_is_accepted(tmp_path: Path) -> None:
    """The same with right lines passes: in the foreground, in the background, interrupted, on ports that are free."""
    waiting = 'import time; print("127.0.0.1:7100", flush=True); time.sleep(60)'
    text = f"$ python -c 'print(\"fine\")'\nfine\n$ python -c '{waiting}' &\n127.0.0.1:7100\n^C\nKeyboardInterrupt\n"
    block = Block("planted.md", 1, "console", ("run",), text)
    with Reader(tmp_path) as reader:
        for line, output in console_commands(block):
            reader.follow(block, line, output)
        assert "127.0.0.1:7100" not in reader.background[0].printed
    assert reader.background[0].process.returncode is not None


def commands(block: Block) -> list[list[str]]:
    """The commands of a console block, one list of words each: pipes and `&&` split, assignments dropped."""
    found = []
    for line in block.text.splitlines():
        if not line.startswith("$ "):
            continue
        lexer = shlex.shlex(line[2:], posix=True, punctuation_chars=True)
        lexer.commenters = "#"
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("();<>|&"):
                if words:
                    found.append(words)
                words = []
            elif words or not re.fullmatch(r"\w+=.*", word):
                words.append(word)
    return found


@functools.cache
def help_text(base: tuple[str, ...], path: tuple[str, ...]) -> str:
    """What `base path... --help` prints, or an empty text when it fails; the subcommands of `rsm` in this process."""
    if base == RSM and path:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = rsm.cli.main.main([*path, "--help"])
        return printed.getvalue() if code == 0 else ""
    shown = python(ROOT, *base, *path, "--help")
    return shown.stdout if shown.returncode == 0 else ""


def subcommands(text: str) -> set[str]:
    """The subcommands that a help text lists: click's list, or argparse's braces."""
    listed = re.search(r"^Commands:\n((?:  .*\n?|\n)*)", text, flags=re.MULTILINE)
    names = set(re.findall(r"^  (\S+)", listed[1], flags=re.MULTILINE)) if listed else set()
    for braces in re.findall(r"^ +\{([\w,-]+)\}", text, flags=re.MULTILINE):
        names |= set(braces.split(","))
    return names


def complaint(base: tuple[str, ...], words: list[str]) -> str | None:
    """Why the command `words`, to be run by `base`, does not exist, or None: every option stands in its help."""
    path: tuple[str, ...] = ()
    text = help_text(base, path)
    if not text:
        return "does not answer to --help"
    for word in words:
        if word == "--":
            break
        if word.startswith("-"):
            option = word.partition("=")[0]
            if not re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", text):
                return f"no option {option} in the help of {' '.join(path) or 'the program'}"
        elif names := subcommands(text):
            if word not in names:
                return f"no command {word} among {', '.join(sorted(names))}"
            path = (*path, word)
            text = help_text(base, path)
            if not text:
                return f"{' '.join(path)} does not answer to --help"
    return None


def command_complaint(words: list[str]) -> str | None:
    """Why a command of the documents is not one that a reader can run, or None."""
    program, *rest = words
    if program == "rsm":
        return complaint(RSM, rest)
    if program in ("python", "python3"):
        if rest[0] == "-m":
            try:
                found = importlib.util.find_spec(rest[1])
            except ModuleNotFoundError:
                found = None
            return complaint(("-m", rest[1]), rest[2:]) if found else f"no module {rest[1]}"
        if any(block.file_name == rest[0] for document in DOCUMENTS for block in blocks(document)):
            return None if len(rest) == 1 else f"{rest[0]} takes no arguments"
        return complaint((rest[0],), rest[1:]) if (ROOT / rest[0]).is_file() else f"no file {rest[0]}"
    if program == "make":
        targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
        missing = {word for word in rest if "=" not in word} - targets
        return f"no make target {', '.join(sorted(missing))}" if missing else None
    return None if program in SYSTEM_COMMANDS else f"{program} is not a command of this project"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_commands_exist(document: Path) -> None:
    """Each command of a console block exists, with every option that it is shown with."""
    found = [
        f"{block.place}: {shlex.join(words)}: {reason}"
        for block in blocks(document)
        if block.language == "console"
        for words in commands(block)
        if (reason := command_complaint(words))
    ]
    assert found == []


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("$ make everything", "no make target"),
        ("$ python -m demos.nothing show", "no module"),
        ("$ python missing.py", "no file"),
        ("$ python -m json.tool --no-such-option FILE", "no option --no-such-option"),
        ("$ python -m pip nothing", "no command nothing"),
        ("$ systemctl start rsm", "not a command of this project"),
        ("$ make demo | python missing.py", "no file"),
        ("$ VALUE=1 make test && make nothing", "no make target nothing"),
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str, reason: str) -> None:
    """A planted wrong target, module, file, option, subcommand or program is named."""
    block = Block("planted.md", 1, "console", (), f"{line}\nits output\n")
    found = [complaint for words in commands(block) if (complaint := command_complaint(words))]
    assert len(found) == 1, found
    assert reason in found[0]


def test_a_command_that_exists_is_accepted() -> None:
    """Options and subcommands are found where the help lists them, by themselves or with a value."""
    block = Block("planted.md", 1, "console", (), "$ python -m json.tool --indent=2 FILE  # a remark\n$ make demo\n")
    assert [command_complaint(words) for words in commands(block)] == [None, None]
    listing = "Usage: x\n\nCommands:\n  cat   Print.\n  info  Say.\n"
    assert subcommands(listing) == {"cat", "info"}


def link_complaints(document: Path) -> list[str]:
    """The relative links of a document that lead nowhere: to no file, or to no heading of it."""
    found = []
    for number, line in enumerate(prose(document).splitlines(), 1):
        for target in re.findall(r"\]\(([^)\s]+)\)", line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = document.parent / path if path else document
            if not file.exists():
                found.append(f"{document.name}:{number}: {path} does not exist")
            elif anchor and anchor not in anchors(file):
                found.append(f"{document.name}:{number}: {target}: no such heading")
    return found


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_relative_links_resolve(document: Path) -> None:
    """Each relative link leads to a file of the tree, and to a heading that it has."""
    assert link_complaints(document) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    """A link to a missing file or heading is named; a good one, a foreign one and one in code are not."""
    document = tmp_path / "planted.md"
    document.write_text(
        "# One word\n[a](#one-word) [b](planted.md) [c](https://example.org/x) `[d](none.md)`\n"
        "[e](none.md)\n[f](#two)\n",
        encoding="utf-8",
    )
    assert link_complaints(document) == [
        "planted.md:3: none.md does not exist",
        "planted.md:4: #two: no such heading",
    ]


@pytest.mark.parametrize("document", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_no_machine_paths(document: Path) -> None:
    """No document mentions a place on somebody's machine."""
    lines = document.read_text(encoding="utf-8").splitlines()
    assert [f"{number}: {line}" for number, line in enumerate(lines, 1) if MACHINE_PATH.search(line)] == []


@pytest.mark.parametrize("line", ["in /tmp/x", "$ cd /home/ann/rsm", "`/root/.cache`", "C:\\Users\\ann"])
def test_a_machine_path_is_found(line: str) -> None:
    """Paths of a machine are seen in prose, commands and code; relative ones that end alike are not."""
    assert MACHINE_PATH.search(line)
    assert not MACHINE_PATH.search("see docs/tmp/x, ../work/y and https://example.org/home/z")


def test_every_limit_has_its_reason() -> None:
    """Each constant of rsm/limits.py has a comment of its own directly above it."""
    source = (ROOT / "rsm" / "limits.py").read_text(encoding="utf-8")
    names = re.findall(r"^([A-Z][A-Z0-9_]*)\b.*=", source, flags=re.MULTILINE)
    assert len(names) > 5
    assert [name for name in names if len(comment_above(source, name).split()) < 4] == []
    assert sorted(set(names)) == sorted(names)


def drawn_tree(drawing: str) -> dict[str, str]:
    """The tree that box characters draw, as name -> name of the parent."""
    parents: dict[str, str] = {}
    open_at: list[tuple[int, str]] = []
    for line in drawing.splitlines():
        found = re.match(r"^([ │├└─]*)([A-Z]\w*)(?:\s|$)", line)
        if not found or not ("├" in found[1] or "└" in found[1] or not open_at):
            continue
        column = len(found[1])
        while open_at and open_at[-1][0] >= column:
            open_at.pop()
        if open_at:
            parents[found[2]] = open_at[-1][1]
        open_at.append((column, found[2]))
    return parents


def test_the_drawing_of_the_errors_is_the_tree() -> None:
    """Every error class stands in the drawing under its base class, with a sentence, and the drawing holds no other."""
    drawing = (rsm.errors.__doc__ or "").partition("::\n\n")[2]
    classes = {name: value for name, value in vars(rsm.errors).items() if isinstance(value, type)}
    actual = {name: value.__bases__[0].__name__ for name, value in classes.items() if name != "RsmError"}
    assert drawn_tree(drawing) == actual
    assert sorted(classes) == sorted(rsm.errors.__all__)
    assert [name for name, value in classes.items() if not value.__doc__] == []


def test_the_drawing_is_read_by_its_columns() -> None:
    """A leaf moved under another parent, or left out, gives another tree."""
    drawing = "    A\n    ├── B   says\n    │   └── C\n    └── D\n"
    assert drawn_tree(drawing) == {"B": "A", "C": "B", "D": "A"}
