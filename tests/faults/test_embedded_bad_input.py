"""Bad directories and changed classes: one line that says what and where, the right class, and nothing harmed."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rsm
from tests.documents import ROOT
from tests.machines import Bank


def refused(error: type[BaseException], match: str, path: Path, machine: Any = Bank) -> None:
    """Opening fails in one line that names the directory, twice in the same way."""
    for _ in range(2):
        with pytest.raises(error, match=match) as caught:
            rsm.open(machine, path)
        assert "\n" not in str(caught.value)
        assert str(path) in str(caught.value)


@pytest.fixture
def bank(tmp_path: Path) -> Path:
    """The directory of a bank with a little money."""
    with rsm.open(Bank, tmp_path / "bank") as client:
        client.deposit("ann", 5)
    return tmp_path / "bank"


def unharmed(bank: Path) -> None:
    """The bank is as it was."""
    with rsm.open(Bank, bank) as client:
        assert client.balance("ann") == 5


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    """The path is a file, or leads through one."""
    (tmp_path / "file").write_text("hello")
    refused(rsm.StorageError, "not a directory", tmp_path / "file")
    refused(rsm.StorageError, "not a directory", tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "hello"


@pytest.mark.parametrize("part", ["identity", "term", "lock", "log", "snapshots"])
def test_a_directory_or_a_file_in_the_place_of_a_part(bank: Path, part: str) -> None:
    """A part that is a directory where a file belongs, or the other way round."""
    moved = bank / f"{part}.moved"
    (bank / part).rename(moved)
    if moved.is_dir():
        (bank / part).write_text("")
    else:
        (bank / part).mkdir()
    refused(rsm.MediumError, ".", bank)
    if (bank / part).is_dir():
        (bank / part).rmdir()
    else:
        (bank / part).unlink()
    moved.rename(bank / part)
    unharmed(bank)


def test_a_directory_that_holds_something_else(tmp_path: Path) -> None:
    """rsm does not move into somebody else's directory."""
    (tmp_path / "notes.txt").write_text("mine")
    refused(rsm.CallerError, "notes.txt", tmp_path)
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_the_directory_of_another_machine(bank: Path) -> None:
    """Names decide, not classes: another name is another machine."""

    class Other(rsm.StateMachine, name="other", version=1):
        balances: rsm.Map[str, int]

    refused(rsm.WrongMachine, "belongs to machine 'bank', not to 'other'", bank, Other)
    unharmed(bank)


def changed_state() -> Any:
    class Changed(rsm.StateMachine, name="bank", version=1):
        balances: rsm.Map[str, str]

    return Changed


def lost_state() -> Any:
    class Changed(rsm.StateMachine, name="bank", version=1):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int:
            return 0

    return Changed


def more_state() -> Any:
    class Changed(rsm.StateMachine, name="bank", version=1):
        balances: rsm.Map[str, int]
        count: int

        @rsm.command()
        def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int:
            return 0

    return Changed


def lost_command() -> Any:
    class Changed(rsm.StateMachine, name="bank", version=1):
        balances: rsm.Map[str, int]

    return Changed


def changed_command() -> Any:
    class Changed(rsm.StateMachine, name="bank", version=1):
        balances: rsm.Map[str, int]

        @rsm.command()
        def deposit(self, ctx: rsm.Context, to: str, amount: int, note: str) -> int:
            return 0

    return Changed


def newer_machine() -> Any:
    class Changed(rsm.StateMachine, name="bank", version=2):
        balances: rsm.Map[str, int]

        @rsm.command()
        def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int:
            return 0

    return Changed


CHANGES: list[tuple[Callable[[], Any], str]] = [
    (changed_state, "balances was map"),
    (lost_state, "balances is gone"),
    (more_state, "count is new"),
    (lost_command, "'deposit', which the class no longer has"),
    (changed_command, "'deposit' version 1 was"),
    (newer_machine, "under version 1 of 'bank', this release has 2"),
]


@pytest.mark.parametrize("with_snapshot", [False, True])
@pytest.mark.parametrize(("change", "message"), CHANGES, ids=[change.__name__ for change, _ in CHANGES])
def test_a_schema_that_changed_without_a_new_version(
    tmp_path: Path, change: Callable[[], Any], message: str, with_snapshot: bool
) -> None:
    """The message says what changed and what to do; from the log and from a snapshot alike."""
    with rsm.open(Bank, tmp_path / "bank") as client:
        client.deposit("ann", 5)
        if with_snapshot:
            client.snapshot()
    refused(rsm.WrongMachine, message, tmp_path / "bank", change())
    unharmed(tmp_path / "bank")


def test_a_handler_that_changed_is_found_by_its_root(bank: Path) -> None:
    """The same schema with other behaviour replays to another state: nothing is served from it."""

    class Generous(rsm.StateMachine, name="bank", version=1):
        balances: rsm.Map[str, int]

        @rsm.command(version=1)
        def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int:
            self.balances[to] = self.balances.get(to, 0) + 2 * amount
            return self.balances[to]

        @rsm.query
        def balance(self, who: str) -> int:
            return self.balances.get(who, 0)

        @rsm.query
        def all_balances(self) -> list[tuple[str, int]]:
            return []

    refused(rsm.DivergenceError, "are not those that wrote the log", bank, Generous)
    unharmed(bank)


def test_a_second_handle_and_a_second_process(bank: Path) -> None:
    """The message names the process that has the directory; afterwards it is free."""
    program = f"import rsm\nfrom tests.machines import Bank\nrsm.open(Bank, {str(bank)!r})"
    with rsm.open(Bank, bank) as client:
        refused(rsm.DirectoryInUse, f"in use by process {os.getpid()}", bank)
        second = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert second.returncode == 1
        last = second.stderr.strip().splitlines()[-1]
        assert last.startswith("rsm.errors.DirectoryInUse: ")
        assert f"in use by process {os.getpid()}" in last
        client.deposit("bob", 1)
    unharmed(bank)


def test_a_directory_without_permission(tmp_path: Path) -> None:
    """Not readable, not writable, not to be entered: permission denied, with the path, in one line each."""
    if sys.platform != "linux":
        pytest.skip("drops privileges in the way of Linux")
    program = textwrap.dedent(
        f"""
        import os
        import rsm
        from tests.machines import Bank
        base = {str(tmp_path)!r}
        rsm.open(Bank, base + "/made").close()
        os.chmod(base, 0o755)
        if os.geteuid() == 0:
            os.setuid(65534)
        else:
            for name in ("made/lock", "made/identity", "made/log"):
                os.chmod(os.path.join(base, name), 0)
            os.chmod(base + "/made", 0o500)
            os.chmod(base, 0o555)
        for path in ("new", "made"):
            try:
                rsm.open(Bank, os.path.join(base, path))
            except rsm.RsmError as error:
                print(type(error).__name__, str(error))
        os.chmod(base, 0o755) if os.geteuid() != 65534 else None
        os.chmod(base + "/made", 0o755) if os.geteuid() != 65534 else None
        """
    )
    # A process that is root may do everything; it becomes nobody, and then needs to reach the test's directory.
    for parent in [tmp_path, *tmp_path.parents] if os.geteuid() == 0 else []:
        if parent.name.startswith(("pytest-", "test_")) or parent == tmp_path:
            parent.chmod(parent.stat().st_mode | 0o055)
    result = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == 2, result.stdout
    for line, name in zip(lines, ("new", "made"), strict=True):
        assert line.startswith("StorageError ")
        assert f"{tmp_path}/{name}" in line
        assert "permission denied" in line


def test_a_corrupt_log_is_refused_with_file_and_offset(bank: Path) -> None:
    """A flipped bit in an entry that is not the last: not served, not cut."""
    (log,) = (bank / "log").iterdir()
    good = log.read_bytes()
    spoiled = bytearray(good)
    spoiled[400] ^= 1
    log.write_bytes(spoiled)
    refused(rsm.CorruptFile, r"offset \d+", bank)
    assert log.read_bytes() == spoiled
    log.write_bytes(good)
    unharmed(bank)


def test_a_torn_tail_is_cut_and_reported(bank: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A record that is short at the end was never acknowledged: cut, with path and offset in the local log."""
    (log,) = (bank / "log").iterdir()
    log.write_bytes(log.read_bytes()[:-7])
    caplog.clear()
    with rsm.open(Bank, bank) as client:
        assert client.balance("ann") == 5
    (report,) = [record.getMessage() for record in caplog.records if "torn" in record.getMessage()]
    assert str(log) in report
    assert "offset=" in report
    unharmed(bank)
