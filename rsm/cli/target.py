"""What a command is pointed at: a directory or file that turns out to be a log or snapshots, or a machine class.

A damaged log and a file that never was one are different answers (exit codes 1 and 2). The first record's header tells:
if it differs from what such a file begins with in no more than two of its first eight bytes, it is taken for damaged.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from typing import Any, Final

from rsm.cli.errors import Unreadable
from rsm.codec.record import HEADER_BYTES, RECORD_FORMAT, RecordKind, decode_header
from rsm.errors import BadBytes, RsmError, UnknownFormat
from rsm.limits import SNAPSHOT_RECORD_BYTES_MAX
from rsm.machine.machine import StateMachine
from rsm.node.storage.disk import Disk, OsDisk
from rsm.node.storage.segment import is_segment_name

__all__ = ["DISK", "as_files", "file_bytes", "load_machine", "machine_directory", "require_log", "snapshot_paths"]

DISK: Final[Disk] = OsDisk()

_DIFFERENT_BYTES_MAX: Final = 2
_WHAT: Final = {
    RecordKind.SEGMENT: "a log",
    RecordKind.MANIFEST: "a snapshot",
    RecordKind.IDENTITY: "the identity of a machine",
    RecordKind.TERM: "a term file",
}


def require_kind(path: str, kind: RecordKind) -> None:
    """Raise `Unreadable` if the file at `path` is clearly not one that begins with a record of this kind."""
    file = DISK.open(path, writable=False)
    try:
        data = file.pread(HEADER_BYTES, 0)
    finally:
        file.close()
    expected = bytes((0x72, 0x6D, RECORD_FORMAT, kind, 0, 0, 0, 0))
    try:
        found = decode_header(data, bytes_max=SNAPSHOT_RECORD_BYTES_MAX).kind
    except UnknownFormat:
        return  # reading it will say where
    except BadBytes:
        different = sum(a != b for a, b in zip(data.ljust(8, b"\xff"), expected, strict=False))
        if different > _DIFFERENT_BYTES_MAX:
            raise Unreadable(f"{path}: not {_WHAT[kind]}: it does not begin like a file of rsm") from None
    else:
        if found != kind and found in _WHAT:
            raise Unreadable(f"{path}: not {_WHAT[kind]} but {_WHAT[found]}")


def require_log(path: str) -> None:
    """Raise `Unreadable` if a file is given that never was a log."""
    if not os.path.isdir(path) and not is_segment_name(os.path.basename(path)):
        require_kind(path, RecordKind.SEGMENT)


def machine_directory(path: str) -> str | None:
    """The directory of the machine that a path belongs to (itself, or something in its log or snapshots), or None."""
    directory = os.path.abspath(path if os.path.isdir(path) else os.path.dirname(path))
    candidates = [directory]
    if os.path.basename(directory) in ("log", "snapshots"):
        candidates.append(os.path.dirname(directory))
    # One that lost its identity is still one, and damaged.
    signs = ("identity", "term", "lock")
    return next(
        (found for found in candidates if any(os.path.isfile(os.path.join(found, sign)) for sign in signs)), None
    )


def snapshot_paths(path: str) -> list[str]:
    """The snapshot files in a machine's directory, or in its snapshots directory, by index; empty if there are none."""
    inner = os.path.join(path, "snapshots")
    directory = inner if os.path.isdir(inner) else path
    names = [name for name in DISK.listdir(directory) if name.endswith(".snapshot") and len(name) == 29]
    return [os.path.join(directory, name) for name in names if name[:20].isascii() and name[:20].isdigit()]


def as_files(path: str) -> list[str]:
    """The snapshots that a path names: a file, or all of a directory. `Unreadable` if there is none."""
    if not os.path.isdir(path):
        require_kind(path, RecordKind.MANIFEST)
        return [path]
    paths = snapshot_paths(path)
    if not paths:
        raise Unreadable(f"{path}: there is no snapshot here")
    return paths


def file_bytes(paths: list[str]) -> int:
    """The size of files together; one that vanished meanwhile counts nothing."""
    total = 0
    for path in paths:
        with contextlib.suppress(OSError):
            total += os.path.getsize(path)
    return total


def load_machine(name: str) -> type[StateMachine]:
    """The class that MODULE:CLASS names; the working directory is importable. `Unreadable` says what is wrong with it.

    What the module prints goes to standard error.
    """
    module_name, colon, class_name = name.partition(":")
    if not (module_name and colon and class_name):
        raise Unreadable(f"{name}: name a machine as MODULE:CLASS, such as bank:Bank")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name + ".").startswith(error.name + "."):
            raise Unreadable(f"{name}: there is no module {error.name!r} here or on the path") from error
        raise Unreadable(f"{name}: cannot import {module_name}: {error}") from error
    except RsmError as error:
        raise Unreadable(f"{name}: cannot import {module_name}: {error}") from error
    except (Exception, SystemExit) as error:
        raise Unreadable(f"{name}: cannot import {module_name}: {type(error).__name__}: {error}") from error
    for part in class_name.split("."):
        if not hasattr(found, part):
            raise Unreadable(f"{name}: module {module_name} has no {class_name}")
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, StateMachine) and "definition" in vars(found)):
        raise Unreadable(f"{name}: {class_name} is not a machine: class {class_name}(rsm.StateMachine, name=...)")
    return found
