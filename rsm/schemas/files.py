"""Where a lock file lies, and reading, changing and writing it."""

from __future__ import annotations

import contextlib
import inspect
import os
from typing import Final

from rsm.errors import CallerError
from rsm.limits import LOCK_FILE_BYTES_MAX
from rsm.machine.machine import StateMachine
from rsm.schemas.document import Lock, fingerprint, label
from rsm.schemas.lockfile import LockUnreadable, Parsed, parse, render

__all__ = ["LOCK_NAME", "forget", "lock_path", "read_lock", "retire", "write_lock"]

LOCK_NAME: Final = "commands.lock"


def lock_path(machine: type[StateMachine]) -> str:
    """`commands.lock` beside the module of a class; relative to the working directory where it is below that."""
    try:
        source = inspect.getsourcefile(machine) or ""
    except (TypeError, OSError):
        source = ""
    path = os.path.join(os.path.dirname(os.path.abspath(source)) if source else os.getcwd(), LOCK_NAME)
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def read_lock(path: str) -> Parsed | None:
    """The lock file at a path, None if there is none. `LockUnreadable`, `UnknownFormat`, `OSError`."""
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read(LOCK_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        return None
    except UnicodeDecodeError:
        raise LockUnreadable(f"{path}: no lock file: it is not text") from None
    return parse(text, path)


def write_lock(path: str, lock: Lock) -> bool:
    """Write it whole or not at all; whether that changed anything. `LimitExceeded`, `OSError`."""
    text = render(lock)
    with contextlib.suppress(OSError, UnicodeDecodeError), open(path, encoding="utf-8", newline="") as file:
        if file.read() == text:
            return False
    temporary = f"{path}.{os.getpid()}.tmp"
    try:
        with open(temporary, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.replace(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return True


# --- what is taken out ------------------------------------------------------------------------------------------------


def forget(lock: Lock, what: str) -> None:
    """Take out a machine version (`3`), a command version (`place:2`) or a query, so that it is locked anew.

    `CallerError` if the lock file has none.
    """
    name, _, number = what.rpartition(":")
    if what.isascii() and what.isdecimal() and int(what) in lock.releases:
        del lock.releases[int(what)]
        _forget_migration(lock, int(what))
    elif name and number.isascii() and number.isdecimal() and lock.version_of(name, int(number)) is not None:
        _forget_version(lock, name, int(number))
    elif what in lock.queries:
        del lock.queries[what]
    else:
        known = [*map(str, sorted(lock.releases)), *sorted(lock.queries)]
        known += [f"{name}:{version}" for name, versions in sorted(lock.commands.items()) for version in versions]
        raise CallerError(f"{what}: not in the lock file, which has {', '.join(known)}")


def retire(lock: Lock, what: str, now: Lock) -> None:
    """Take out what the class (`now`) no longer has. `CallerError` if it still has it, or the lock file does not."""
    name, _, number = what.rpartition(":")
    command = lock.version_of(name, int(number)) if name and number.isascii() and number.isdecimal() else None
    if command is not None:
        if now.version_of(name, int(number)) is not None:
            raise CallerError(f"{label(name, int(number))} is still there: delete its upcaster first")
        lock.retired.setdefault(name, {})[int(number)] = fingerprint(name, int(number), command.fields)
    elif what.isascii() and what.isdecimal() and int(what) in now.releases:
        raise CallerError(f"machine version {what} is still there: delete its class first")
    elif what in lock.queries and now.queries.get(what) == lock.queries[what]:
        raise CallerError(f"query {what} is still there, as it was")
    forget(lock, what)


def _forget_version(lock: Lock, name: str, version: int) -> None:
    del lock.commands[name][version]
    if not lock.commands[name]:
        del lock.commands[name]
    before = lock.version_of(name, version - 1)
    if before is not None:
        before.upcasts = []  # they are values of the version that goes
    for number, release in lock.releases.items():
        if version in release.takes.get(name, ()):
            release.takes[name].remove(version)
            if not release.takes[name]:
                del release.takes[name]
        # A run without some of its steps is another run: what it covered is covered anew.
        kept = [run for run in release.runs if not any((s.name, s.version) == (name, version) for s in run.steps)]
        if kept != release.runs:
            release.runs = kept
            _forget_migration(lock, number)


def _forget_migration(lock: Lock, version: int) -> None:
    """The migration from a release is one of its first run."""
    later = [number for number in lock.releases if number > version]
    if later:
        lock.releases[min(later)].migration = ""
