"""The file a log is appended to: writes behind its end, space written ahead, syncs, and the failure that ends it all.

A write that fails is cut off again, with everything behind it. A sync that fails, or anything else that leaves the disk
in a state which only a fresh look can tell, is fatal: it is remembered in `failure`, and the journal refuses every use
from then on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from rsm.errors import Closed, StorageError
from rsm.limits import PREALLOCATION_BYTES
from rsm.node.storage.disk import Disk, File

__all__ = ["LogTail"]


class LogTail:
    """At most one open file. Only `sync` may run in another thread, and not while the file is exchanged or cut."""

    def __init__(self, disk: Disk, path: str) -> None:
        self.failure: str | None = None
        self._disk = disk
        self._path = path
        self._file: File | None = None
        # The size on the disk, with the space written ahead.
        self._file_bytes = 0
        self.sync_failed = False

    @contextlib.contextmanager
    def fatal(self) -> Iterator[None]:
        """Whatever is raised inside leaves the disk in a state that only reopening can tell."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            raise

    def fail(self, error: BaseException) -> None:
        """Remember the first failure."""
        if self.failure is None:
            self.failure = str(error) or type(error).__name__

    def _open_file(self) -> File:
        if self._file is None:
            raise Closed(f"{self._path}: the journal is closed")
        return self._file

    @property
    def is_open(self) -> bool:
        """Whether there is a file."""
        return self._file is not None

    def open(self, path: str) -> File:
        """Close the file there was and go on in another."""
        self.close()
        self._file = self._disk.open(path)
        self._file_bytes = self._file.size()
        return self._file

    def write(self, data: bytes, start: int) -> None:
        """Write `data` behind the end, `start`. After a `StorageError` the caller cuts back to `start`."""
        self._open_file().pwrite(data, start)

    def write_ahead(self, end: int, segment_bytes: int) -> None:
        """If the log has reached the end of the file, extend that with zeros, but not beyond `segment_bytes`.

        A convenience: if the disk has no room for it, it is left out.
        """
        if end <= self._file_bytes:
            return
        target = min(-(-end // PREALLOCATION_BYTES) * PREALLOCATION_BYTES, max(end, segment_bytes))
        try:
            if target > end:
                self._open_file().pwrite(bytes(target - end), end)
            self._file_bytes = target
        except StorageError:
            # Some of the zeros may be there. They do no harm: the rest of the file is zero all the same.
            with self.fatal():
                self._file_bytes = self._open_file().size()

    def cut(self, end: int) -> None:
        """Cut everything behind `end`, and the space written ahead with it; durable on return."""
        with self.fatal():
            self._open_file().truncate(end)
            self.sync()
            self._file_bytes = end

    def sync(self) -> None:
        """Make everything written so far durable. A failure is fatal: the kernel may have dropped what it could not
        write.
        """
        with self.fatal():
            self.sync_failed = True
            self._open_file().fdatasync()
            self.sync_failed = False

    def close(self) -> None:
        """Close the file, if there is one."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def forget_unsynced(self, durable_end: int) -> None:
        """After a failed sync, cut what it should have made durable.

        The kernel may show bytes that are not on the disk. They were never acknowledged, and whoever opens the log next
        must not believe them.
        """
        if self._file is not None:
            with contextlib.suppress(StorageError):
                self._file.truncate(durable_end)
