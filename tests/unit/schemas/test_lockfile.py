"""The lock file says the same after it was written and read; whatever was done to it meanwhile is seen or refused."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm import limits
from rsm.errors import CallerError, LimitExceeded, UnknownFormat
from rsm.schemas import lockfile
from rsm.schemas.document import Lock, read_value, write_value
from rsm.schemas.files import forget, read_lock, retire, write_lock
from rsm.schemas.lockfile import LockUnreadable, parse, render
from tests.machines import Everything
from tests.unit.schemas.shops import load, locked


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Lock:
    """The lock of the shop."""
    return locked(load(tmp_path_factory.mktemp("shop")))


def test_it_reads_as_it_was_written(lock: Lock) -> None:
    """Every part of a machine with everything comes back, and equal locks are equal text."""
    for one in (lock, locked(Everything.definition)):
        text = render(one)
        assert parse(text, "x") == (one, False)
        assert render(parse(text, "x").lock) == text
        assert text.isascii()
        assert len(text) < 100_000


@given(st.data())
def test_no_edit_goes_unseen(lock: Lock, data: st.DataObject) -> None:
    """Whichever character is put in the place of another: it is seen, or the line that cannot be read is named."""
    text = render(lock)
    at = data.draw(st.integers(0, len(text) - 2))
    edited = text[:at] + data.draw(st.characters(min_codepoint=32, max_codepoint=126)) + text[at + 1 :]
    try:
        parsed = parse(edited, "commands.lock")
    except (LockUnreadable, UnknownFormat):
        pass  # in what words is the next tests' matter
    else:
        assert parsed.is_edited == (edited != text)


@pytest.mark.parametrize("cut", ["line", "checksum", "half"])
def test_what_is_missing_is_seen(lock: Lock, cut: str) -> None:
    """A line taken out, the checksum taken out, the rest taken out."""
    text = render(lock)
    lines = text.splitlines(keepends=True)
    edited = {"line": "".join(lines[:8] + lines[9:]), "checksum": "".join(lines[:-1]), "half": text[: len(text) // 2]}
    with contextlib.suppress(LockUnreadable):
        assert parse(edited[cut], "x").is_edited


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "commands.lock: no lock file: it names no machine"),
        ("hello\n", "commands.lock: line 1 cannot be read ('hello'): take the file as it was committed, then run rsm "),
        ('format 1\nmachine "x"\n<<<<<<< HEAD\n', "commands.lock: line 3 cannot be read ('<<<<<<< HEAD'): "),
        ("format 2\n", "commands.lock: a newer release of rsm wrote this lock file (format 2)"),
        ('format 1\nmachine "x"\n  case 1 []\n', "commands.lock: line 3 cannot be read"),
        ('format 1\nmachine "x"\ncommand a v1\n  case 1 {}\n', "commands.lock: line 4 cannot be read"),
        ('format 1\nmachine "x"\ncommand a v1\n  case 1 ' + "[" * 100_000 + "\n", "commands.lock: line 4 cannot be"),
        ('format 1\nmachine "x"\nrelease 1\n  step a v1 #1 00\n', "commands.lock: line 4 cannot be read"),
        ('format 1\nmachine "x"\nrelease 1\n    root 00\n', "commands.lock: line 4 cannot be read"),
        ("format 99999999999999999999999999999\n", "commands.lock: a newer release"),
        ("format " + "9" * 5000 + "\n", "commands.lock: line 1 cannot be read"),
    ],
)
def test_what_is_no_lock_file_is_refused(text: str, said: str) -> None:
    """In one line, with the number of the line at fault."""
    with pytest.raises((LockUnreadable, UnknownFormat)) as caught:
        parse(text, "commands.lock")
    assert str(caught.value).startswith(said)
    assert len(str(caught.value)) < 300


def test_it_is_bounded(lock: Lock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is a file read that is larger than the bound, nor written."""
    text = render(lock)
    monkeypatch.setattr(lockfile, "LOCK_FILE_BYTES_MAX", 1000)
    with pytest.raises(LockUnreadable, match="more than 1,000 bytes"):
        parse(text, "x")
    with pytest.raises(LimitExceeded, match="retire what rsm schema usage calls dead"):
        render(lock)
    assert 10 * len(text) < limits.LOCK_FILE_BYTES_MAX


def test_it_is_written_whole_or_not_at_all(lock: Lock, tmp_path: Path) -> None:
    """Writing what is there already writes nothing; nothing else stays behind; a missing file is none."""
    path = tmp_path / "commands.lock"
    assert read_lock(str(path)) is None
    assert write_lock(str(path), lock)
    assert not write_lock(str(path), lock)
    assert read_lock(str(path)) == (lock, False)
    path.write_text(path.read_text() + "# mine\n")
    parsed = read_lock(str(path))
    assert parsed is not None
    assert parsed.is_edited
    assert write_lock(str(path), lock)
    assert [one.name for one in tmp_path.iterdir()] == ["commands.lock"]
    with pytest.raises(OSError, match="missing"):
        write_lock(str(tmp_path / "missing" / "commands.lock"), lock)


def test_line_ends_of_other_systems_are_no_edit(lock: Lock, tmp_path: Path) -> None:
    """A checkout may turn them round."""
    path = tmp_path / "commands.lock"
    path.write_bytes(render(lock).replace("\n", "\r\n").encode())
    assert read_lock(str(path)) == (lock, False)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_values_come_back(value: object) -> None:
    """Bytes, maps and keys that are numbers too, in one line of ASCII."""
    text = write_value(value)
    assert text.isascii()
    assert "\n" not in text
    assert read_value(text) == value
    assert write_value(read_value(text)) == text


def test_what_was_never_released_is_taken_out(lock: Lock, tmp_path: Path) -> None:
    """A command version takes the runs that call it, and what upcasters make of its values, with it."""
    definition = load(tmp_path)
    for what in ("put:3", "2", "left", "swap:1"):
        taken = parse(render(lock), "x").lock
        forget(taken, what)
        assert taken != lock
        assert locked(definition, taken).commands.keys() == lock.commands.keys()
    with pytest.raises(CallerError, match=r"put:9: not in the lock file, which has 1, 2, left, put:1, put:2, put:3, "):
        forget(parse(render(lock), "x").lock, "put:9")


def test_what_is_retired_is_remembered(lock: Lock, tmp_path: Path) -> None:
    """What is still there is not retired; what is gone leaves its fingerprint, so that its number is not used again."""
    now = locked(load(tmp_path))
    for what, said in (
        ("put:1", "put v1 is still there"),
        ("1", "machine version 1 is still there"),
        ("left", "query"),
    ):
        with pytest.raises(CallerError, match=said):
            retire(parse(render(lock), "x").lock, what, now)
    taken = parse(render(lock), "x").lock
    bare = parse(render(lock), "x").lock
    del bare.commands["swap"]
    retire(taken, "swap:1", bare)
    assert "swap" not in taken.commands
    assert list(taken.retired) == ["swap"]
    assert parse(render(taken), "x") == (taken, False)
