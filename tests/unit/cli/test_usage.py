"""Bad input of every kind ends in one clear line on standard error and the right exit code, never in a traceback."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from xxhash import xxh3_64_intdigest

from rsm.cli import log as log_commands
from rsm.cli.main import cli
from rsm.codec import cbor
from rsm.codec.record import RecordKind
from rsm.node.storage.snapshots import SnapshotFiles
from tests.documents import ROOT
from tests.unit.cli.samples import (
    DISK,
    Ran,
    call,
    entry,
    offsets,
    run,
    sample_entries,
    save_machine,
    segments,
    write_log,
)

READERS = [("log", "info"), ("log", "cat"), ("log", "verify"), ("snapshot", "info"), ("snapshot", "verify")]
EVERY = [*READERS, ("schema", "show")]


def program(directory: Path, *arguments: object, stdout: object = subprocess.PIPE) -> subprocess.Popen[bytes]:
    """The command line in a process of its own."""
    start = "import sys; from rsm.cli.main import main; sys.exit(main())"
    words = [sys.executable, "-c", start, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(words, cwd=directory, env=environment, stdout=stdout, stderr=subprocess.PIPE)  # type: ignore[call-overload]


def refused(ran: Ran, *words: str) -> None:
    """Exit code 2, nothing on standard output, one line that has these words."""
    assert (ran.code, ran.out) == (2, ""), ran
    assert len(ran.err.splitlines()) == 1, ran.err
    for word in words:
        assert word in ran.err


@pytest.mark.parametrize("command", EVERY)
def test_a_path_that_is_not_there(command: tuple[str, str], tmp_path: Path) -> None:
    """An unknown path is named."""
    refused(run(*command, tmp_path / "nothing"), str(tmp_path / "nothing"), "no such file or directory")


@pytest.mark.parametrize("command", EVERY)
def test_an_empty_directory(command: tuple[str, str], tmp_path: Path) -> None:
    """A directory with nothing to look at is unreadable input, also for verify."""
    refused(run(*command, tmp_path), str(tmp_path), "there is no ")


@pytest.mark.parametrize("command", EVERY)
@pytest.mark.parametrize(
    "content", [b"", b"hello\n", b"\x7fELF" * 40, bytes(4096)], ids=["empty", "text", "program", "zeros"]
)
def test_a_file_that_never_was_one(command: tuple[str, str], content: bytes, tmp_path: Path) -> None:
    """A file of something else is unreadable input, not a damaged log."""
    path = tmp_path / "strange"
    path.write_bytes(content)
    refused(run(*command, path), str(path), "does not begin like a file of rsm")


def test_a_log_is_no_snapshot_and_a_snapshot_no_log(tmp_path: Path) -> None:
    """The other kind of file is recognised for what it is."""
    log = write_log(tmp_path / "shop", sample_entries())
    refused(run("snapshot", "info", segments(log)[0]), "not a snapshot but a log")
    refused(run("log", "cat", log / "identity"), "not a log but the identity of a machine")


@pytest.mark.parametrize("command", EVERY)
def test_a_directory_without_permission(
    command: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What may not be read is named with the remedy. The refusal is made here: a superuser may read everything."""
    log = write_log(tmp_path / "shop", sample_entries())
    (log / "snapshots" / f"{8:020d}.snapshot").write_bytes(b"")

    def refuse(path: str, *_: object, **__: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "listdir", refuse)
    refused(run(*command, log), str(log), "permission denied")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bank", ["MODULE:CLASS"]),
        (":Shop", ["MODULE:CLASS"]),
        ("no_such_module:Shop", ["there is no module 'no_such_module'"]),
        ("no_such.module:Shop", ["there is no module 'no_such'"]),
        ("usage_shop:Nothing", ["has no Nothing"]),
        ("usage_shop:rsm", ["is not a machine"]),
        ("usage_shop:rsm.StateMachine", ["is not a machine"]),
        ("usage_broken:Shop", ["cannot import usage_broken: SyntaxError"]),
        ("usage_raising:Shop", ["cannot import usage_raising: ZeroDivisionError"]),
        ("usage_leaving:Shop", ["cannot import usage_leaving: SystemExit"]),
        ("usage_lacking:Shop", ["cannot import usage_lacking: No module named 'no_such_thing'"]),
        ("usage_wrong:Shop", ["cannot import usage_wrong", "float"]),
    ],
)
def test_a_class_that_cannot_be_had(
    name: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with MODULE:CLASS is one line, whatever the module does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sources = {
        "shop": "import rsm\n",
        "broken": "class\n",
        "raising": "1 / 0\n",
        "leaving": "raise SystemExit(0)\n",
        "lacking": "import no_such_thing\n",
        "wrong": "import rsm\nclass Shop(rsm.StateMachine, name='shop'):\n    price: float\n",
    }
    for stem, text in sources.items():
        (tmp_path / f"usage_{stem}.py").write_text(text)
    if ":" in name:
        refused(run("schema", "show", name), name.partition(":")[0], *words)
    log = write_log(tmp_path / "shop", [])
    refused(run("snapshot", "save", log, "--machine", name), *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["log", "info"], ["rsm log info: Missing argument 'DIR_OR_FILE'", "See rsm log info --help"]),
        (["log", "cat", "x", "--no-such"], ["rsm log cat: No such option", "--no-such"]),
        (["log", "show", "x"], ["rsm log: No such command 'show'"]),
        (["lag"], ["rsm: No such command 'lag'"]),
        (["log", "cat", "x", "--from", "a"], ["'--from'", "'a' is not a valid integer"]),
        (["log", "cat", "x", "--where", "a"], ["--where", "'a' is not FIELD=VALUE"]),
        (["snapshot", "save", "x"], ["Missing option '--machine'"]),
        (["snapshot", "restore", "x"], ["Missing argument 'DIR'"]),
    ],
)
def test_wrong_usage(arguments: list[str], words: list[str]) -> None:
    """A wrong call is one line that names the command, what is wrong and where help is."""
    refused(run(*arguments), *words)


@pytest.mark.parametrize("arguments", [[], ["log"], ["snapshot"], ["schema"]])
def test_a_group_alone_shows_its_help(arguments: list[str]) -> None:
    """A group without a command is wrong usage; its help goes to standard error."""
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Commands:" in ran.err


def test_json_is_alone_on_standard_output(tmp_path: Path) -> None:
    """With --json standard output is one document and nothing else, also when damage is found."""
    log = write_log(tmp_path / "shop", sample_entries())
    piece = tmp_path / "piece"
    calls: list[list[object]] = [
        ["log", "info", log],
        ["log", "verify", log],
        ["log", "export", log, piece],
        ["schema", "show", log],
    ]
    for arguments in calls:
        ran = run(*arguments, "--json")
        assert (ran.code, ran.err) == (0, "")
        assert isinstance(json.loads(ran.out), dict)
    piece.write_bytes(piece.read_bytes()[:-3])
    for command in ("info", "verify"):
        ran = run("log", command, piece, "--json")
        assert ran.code == 1
        assert isinstance(json.loads(ran.out), dict)


def unreadable(tmp_path: Path) -> dict[str, Path]:
    """What is no log and no snapshot, is not there, or is damaged: the head, a record, the identity, the snapshot."""
    whole = write_log(tmp_path / "whole", sample_entries())
    with SnapshotFiles(DISK, str(whole / "snapshots")).begin(8, 2) as writer:
        writer.add(RecordKind.MANIFEST, b"not one")
        writer.commit()
    segment = segments(whole)[0]
    snapshot = next((whole / "snapshots").iterdir())
    found = {"nothing": tmp_path / "nothing", "empty": tmp_path / "empty", "text": tmp_path / "text"}
    found["empty"].write_bytes(b"")
    found["text"].write_text("monday", encoding="utf-8")
    places = {
        "head": (segment, 10),
        "within": (segment, offsets(segment)[5] + 70),
        "identity": (whole / "identity", 70),
        "snapshot": (snapshot, 70),
    }
    for name, (file, offset) in places.items():
        found[name] = tmp_path / name
        shutil.copytree(whole, found[name])
        data = bytearray(file.read_bytes())
        data[offset] ^= 1
        (found[name] / file.relative_to(whole)).write_bytes(bytes(data))
    found["file of a snapshot"] = found["snapshot"] / snapshot.relative_to(whole)
    return found


def test_an_error_is_a_document_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --json there is one, whatever the input is; exit code and standard error are as without it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    save_machine(tmp_path, "shop_of_errors")
    codes = set()
    for number, (name, path) in enumerate(unreadable(tmp_path).items()):
        calls: list[list[Any]] = [
            *(["log", command, path] for command in ("info", "verify")),
            ["log", "export", path, f"piece-{number}"],
            *(["snapshot", command, path] for command in ("info", "verify")),
            ["snapshot", "save", path, "--machine", "shop_of_errors:Shop"],
            ["snapshot", "restore", path, f"restored-{number}"],
            ["desync", "compare", tmp_path / "whole", path],
            ["desync", "replay", path, "--machine", "shop_of_errors:Shop"],
        ]
        for arguments in calls:
            ran = run(*arguments, "--json")
            document = json.loads(ran.out)
            assert "error" in document or ran.code != 2 or arguments[0] == "desync", (name, arguments, document)
            if arguments[0] == "desync" and ran.code:
                assert document["verdict"] == "unchecked", (name, arguments, document)
                assert document["unchecked"], (name, arguments, document)
                assert {"kind", "first_bad_index", "paths", "minority", "checked_to_index"} <= set(document)
            if "error" in document:
                assert ran.err.splitlines()[-1] == f"rsm: {document['error']}"  # the module prints before it
            if ran.code:
                assert run(*arguments).code == ran.code, (name, arguments)
            codes.add(ran.code)
    assert {0, 1, 2} <= codes
    assert json.loads(run("desync", "replay", "--json").out)["unchecked"] == ["Missing argument 'LOG'."]
    assert json.loads(run("log", "verify", "--json").out) == {"error": "Missing argument 'DIR_OR_FILE'."}
    assert run("log", "cat", tmp_path / "nothing", "--json").out == ""


def newer(path: Path, offset: int) -> None:
    """Make the record at `offset` one of the next record format, with a right checksum."""
    data = bytearray(path.read_bytes())
    data[offset + 2] += 1
    checksum = xxh3_64_intdigest(bytes(data[offset : offset + 60])) & 0xFFFFFFFF
    data[offset + 60 : offset + 64] = checksum.to_bytes(4, "little")
    path.write_bytes(data)


@pytest.mark.parametrize("record", [0, 4])
@pytest.mark.parametrize("command", [("info",), ("cat",), ("verify",), ("export", "out")])
def test_what_a_newer_release_wrote_is_no_damage(command: tuple[str, ...], record: int, tmp_path: Path) -> None:
    """A record of a later format, in a directory or a file: exit code 3, and a line that says so with its place."""
    log = write_log(tmp_path / "shop", sample_entries())
    segment = segments(log)[0]
    offset = offsets(segment)[record]
    newer(segment, offset)
    for path in (log, segment):
        ran = run("log", command[0], path, *(str(tmp_path / word) for word in command[1:]))
        assert ran.code == 3
        text = ran.out.splitlines()[0] if command[0] == "verify" else ran.err.removesuffix("\n")
        assert "\n" not in text
        assert f"{segment}: offset {offset}: " in text
        assert "a newer release wrote this (record format 2, this release knows 1)" in text
    assert not (tmp_path / "out").exists()


def test_a_directory_of_a_newer_release_is_no_damage(tmp_path: Path) -> None:
    """Identity, either slot of the term file, snapshots: unchecked, with exit code 3; verify reads the rest."""
    log = write_log(tmp_path / "shop", sample_entries())
    for name, offset in (("identity", 0), ("term", 0), ("term", 4096)):
        whole = (log / name).read_bytes()
        newer(log / name, offset)
        document = json.loads(run("log", "verify", log, "--json").out)
        assert document["findings"] == []
        assert f"{log / name}: offset {offset}: " in document["unchecked"][0]
        assert document["log"]["last_index"] == 8
        assert run("log", "verify", log).code == 3
        (log / name).write_bytes(whole)
    with SnapshotFiles(DISK, str(log / "snapshots")).begin(8, 2) as writer:
        writer.add(RecordKind.MANIFEST, cbor.encode({"format": 2}))
        path = Path(writer.commit())
    for offset in (None, 0):
        if offset is not None:
            newer(path, offset)
        for arguments in (("snapshot", "verify", path), ("snapshot", "info", path), ("log", "verify", log)):
            ran = run(*arguments)
            assert ran.code == 3
            assert f"{path}: offset 0: a newer release wrote this" in ran.out + ran.err
        assert run("snapshot", "restore", path, tmp_path / "copy").code == 3
        assert not (tmp_path / "copy").exists()
        assert run("log", "cat", log).code == 0


@pytest.mark.parametrize("place", [0, 1, 3])
def test_only_debug_shows_a_traceback(place: int, tmp_path: Path) -> None:
    """--debug works before the group, before the command and after it; without it an error is one line."""
    arguments: list[object] = ["log", "info", tmp_path / "nothing"]
    plain = run(*arguments)
    arguments.insert(place, "--debug")
    debug = run(*arguments)
    assert "Traceback" not in plain.err
    assert debug.code == plain.code == 2
    assert "Traceback" in debug.err
    assert debug.err.endswith(plain.err)


def test_a_defect_of_ours_is_one_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody foresaw says that nothing was checked: exit code 3, one line, no traceback."""
    log = write_log(tmp_path / "shop", sample_entries())

    def fail(_: str) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(log_commands, "check_log", fail)
    ran = run("log", "verify", log)
    assert (ran.code, ran.out) == (3, "")
    assert ran.err == "rsm: internal error: KeyError: 'surprise' (--debug shows where)\n"


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    """`rsm log cat | head` ends in silence, however much was left to print."""
    log = write_log(tmp_path / "shop", [entry(i, *[call("order", 2, "x" * 100, 0)] * 200) for i in range(1, 31)])
    process = program(tmp_path, "log", "cat", log)
    if process.stdout is None or process.stderr is None:
        raise ValueError("no pipes")
    assert process.stdout.readline().startswith(b"1.0  ")
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_output_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """A full disk under standard output is told, not lost when the program ends."""
    log = write_log(tmp_path / "shop", sample_entries())
    with open("/dev/full", "wb") as full:
        process = program(tmp_path, "log", "info", log, stdout=full)
        _, err = process.communicate()
    assert process.returncode == 2
    assert err.decode().splitlines() == ["rsm: No space left on device"]


def test_memory_does_not_grow_with_the_log(tmp_path: Path) -> None:
    """Reading thirty megabytes of commands takes less memory more than a fifth of that."""
    body = os.urandom(8).hex() * 60
    entries = [entry(i, *[call("order", 2, body, 0)] * 1000) for i in range(1, 33)]
    log = write_log(tmp_path / "shop", entries, segment_bytes=1 << 30)
    small = write_log(tmp_path / "small", entries[:1])
    measure = (
        "import resource, sys; from rsm.cli.main import main; code = main();"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    peaks = []
    for path in (small, log):
        words = [sys.executable, "-c", measure, "log", "cat", str(path), "--json"]
        ran = subprocess.run(
            words,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=True,
        )
        peaks.append(int(ran.stderr))
    assert sum(len(one.payload) for one in entries) > 30_000_000
    assert peaks[1] - peaks[0] < 6_000


def test_every_command_has_help_with_an_example() -> None:
    """Every group and command says what it does in a line that is not cut short, and shows an example of itself."""

    def walk(command: object, path: list[str]) -> list[str]:
        ran = run(*path, "--help")
        assert ran.code == 0
        assert "Traceback" not in ran.err
        assert f"Example: rsm {' '.join(path)}".rstrip() in ran.out, path
        assert "..." not in ran.out.partition("Commands:")[2], path
        assert "--debug" in ran.out
        seen = [" ".join(path)]
        if isinstance(command, click.Group):
            context = click.Context(command)
            for name in command.list_commands(context):
                seen += walk(command.get_command(context, name), [*path, name])
        return seen

    groups = {
        "": "call gateway lint node query shadow sim status",
        "certs": "init",
        "cluster": "up",
        "desync": "compare replay watch",
        "log": "cat export info verify",
        "member": "add remove transfer",
        "schema": "check lock show usage",
        "snapshot": "info restore save verify",
        "upgrade": "commit status",
    }
    below = {f"{group} {name}".strip() for group, names in groups.items() for name in names.split()}
    assert set(walk(cli, [])) == set(groups) | below


def test_offsets_of_the_samples_are_those_of_the_file(tmp_path: Path) -> None:
    """The helper that other tests rely on ends where the file does."""
    segment = segments(write_log(tmp_path / "shop", sample_entries()))[0]
    assert offsets(segment)[-1] == segment.stat().st_size
