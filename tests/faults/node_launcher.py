"""`rsm node` on a disk and with a clock that fail when the test says so.

python node_launcher.py FAULTS [WORD]...

FAULTS is a directory; what is in it happens from that moment on: `sync` fails the next sync of the log, `full` leaves
no room for what is written, `clock` holds the seconds by which the wall clock is wrong. The words go to the program.
"""

from __future__ import annotations

import errno
import os
import sys
import time

from rsm.node import runner
from rsm.node.storage import disk as disk_module
from rsm.node.storage.disk import File, OsDisk, OsFile, storage_error


class FaultyFile(OsFile):
    """A file of the log or a snapshot."""

    faults: str = ""

    def fdatasync(self) -> None:
        if os.path.exists(os.path.join(self.faults, "sync")):
            raise storage_error(self.path, "sync", OSError(errno.EIO, "test"))
        super().fdatasync()

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        # The file of term and vote is written over in place, which needs no room.
        if os.path.basename(self.path) != "term" and os.path.exists(os.path.join(self.faults, "full")):
            super().pwrite(data[: len(data) // 2], offset)
            raise storage_error(self.path, "write", OSError(errno.ENOSPC, "test"))
        super().pwrite(data, offset)


class FaultyDisk(OsDisk):
    """Hands out such files."""

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> File:
        if create and os.path.exists(os.path.join(FaultyFile.faults, "full")):
            raise storage_error(path, "create", OSError(errno.ENOSPC, "test"))
        return super().open(path, create=create, writable=writable)


def shifted_clock(faults: str) -> None:
    """Let the wall clock jump when the file `clock` appears."""
    true_time_ns = time.time_ns
    path = os.path.join(faults, "clock")

    def time_ns() -> int:
        try:
            with open(path, encoding="ascii") as file:
                return true_time_ns() + int(float(file.read() or "0") * 1e9)
        except OSError:
            return true_time_ns()

    time.time_ns = time_ns


def main(faults: str, words: list[str]) -> int:
    from rsm.cli.main import main as program

    FaultyFile.faults = faults
    disk_module.OsFile = FaultyFile  # type: ignore[misc]  # what OsDisk.open makes
    runner.OsDisk = FaultyDisk  # type: ignore[attr-defined]  # what the runner stores on
    shifted_clock(faults)
    sys.argv[0] = "rsm"
    return program(words)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
