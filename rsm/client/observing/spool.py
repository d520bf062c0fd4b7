"""Where an observer puts what comes as files: a directory of its own, which is gone when it is closed.

Who is killed cannot remove his. A lock on the directory says that its owner lives, the kernel takes that away with the
process, and whoever makes a directory next removes those that nobody holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile

__all__ = ["Spool"]

PREFIX = "rsm-spool-"


class Spool:
    """The directory `path`, until `close`."""

    def __init__(self) -> None:
        _remove_forgotten(tempfile.gettempdir())
        while True:
            self.path = tempfile.mkdtemp(prefix=PREFIX)
            descriptor = _hold(self.path)
            if descriptor is not None:
                self._descriptor = descriptor
                return

    def close(self) -> None:
        """Remove it, with what is in it. May be called twice."""
        shutil.rmtree(self.path, ignore_errors=True)
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


def _hold(path: str) -> int | None:
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


def _remove_forgotten(above: str) -> None:
    with contextlib.suppress(OSError):
        for name in os.listdir(above):
            path = os.path.join(above, name)
            if name.startswith(PREFIX) and (descriptor := _hold(path)) is not None:
                shutil.rmtree(path, ignore_errors=True)
                os.close(descriptor)
