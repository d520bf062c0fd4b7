"""For every room that keeps files: errors that name their place, and files that are whole or not there at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from rsm.errors import BadBytes, CallerError, CorruptFile, StorageError, UnknownFormat
from rsm.node.storage.disk import Disk, File

__all__ = ["located", "new_file"]


@contextlib.contextmanager
def located(path: str, offset: int, what: str = "") -> Iterator[None]:
    """Name file and offset, and what lies there, in a `BadBytes` or `UnknownFormat` that knows neither."""
    try:
        yield
    except CorruptFile:
        raise
    except BadBytes as error:
        raise CorruptFile(path, offset, f"{what}{error}") from error
    except UnknownFormat as error:
        raise UnknownFormat(f"{path}: offset {offset}: {what}{error}") from error


@contextlib.contextmanager
def new_file(disk: Disk, path: str) -> Iterator[File]:
    """A file to fill: durable under its name when the block ends, and not there at all if the block raises.

    `CallerError` if there is one of this name.
    """
    if disk.exists(path):
        raise CallerError(f"{path}: it exists already: remove it or choose another path")
    temporary = path + ".tmp"
    if disk.exists(temporary):
        disk.unlink(temporary)
    file = disk.open(temporary, create=True)
    try:
        yield file
        file.fdatasync()
        file.close()
        disk.rename(temporary, path)
        disk.fsync_directory(os.path.dirname(path) or ".")
    except BaseException:
        file.close()
        with contextlib.suppress(StorageError):
            disk.unlink(temporary)
        raise
