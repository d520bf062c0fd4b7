"""Where a demo keeps what nobody asked it to keep: a directory that is gone afterwards, also after a SIGKILL.

Who is killed cannot remove his. A lock on the directory says that its owner lives, the kernel takes that away with the
process, and whoever needs a directory of the same kind next removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# One that another process took for forgotten before it was locked is replaced; more than a few are no accident.
ATTEMPTS_MAX: Final = 5


@contextlib.contextmanager
def scratch_directory(prefix: str) -> Iterator[Path]:
    """A new directory whose name begins so, until the block ends; `OSError` if none can be made and locked."""
    _remove_forgotten(Path(tempfile.gettempdir()), prefix)
    path, descriptor = _made(prefix)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(descriptor)


def _made(prefix: str) -> tuple[Path, int]:
    for _ in range(ATTEMPTS_MAX):
        path = Path(tempfile.mkdtemp(prefix=prefix))
        descriptor = _hold(path)
        if descriptor is not None:
            return path, descriptor
        with contextlib.suppress(OSError):
            path.rmdir()
    raise OSError(errno.ENOLCK, "no directory can be locked here: set TMPDIR to another place", tempfile.gettempdir())


def _hold(path: Path) -> int | None:
    """The descriptor that locks a directory; None if somebody else has it, or it is gone, or not ours to hold."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Between the name and the lock, whoever cleans up may have taken it for one that nobody holds.
        if os.fstat(descriptor).st_uid == os.geteuid() and os.path.samestat(os.fstat(descriptor), os.lstat(path)):
            return descriptor
    except OSError:
        pass
    os.close(descriptor)
    return None


def _remove_forgotten(above: Path, prefix: str) -> None:
    with contextlib.suppress(OSError):
        for path in above.iterdir():
            if path.name.startswith(prefix) and (descriptor := _hold(path)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(descriptor)
