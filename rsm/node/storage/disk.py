"""The seam to the disk: a few operations, each of which either happened or raises `StorageError` saying what to do.

All storage code is written against `Disk` and `File`, so that `rsm.testing.disk` can stand in with a disk that tears,
drops and fills up. The promises the storage code builds on are the ones POSIX gives and no more: what was written may
be lost or torn at sector boundaries until `fdatasync` returned; a created, renamed or removed name may be lost until
`fsync_directory` returned; a rename is atomic. A failed sync must never be repeated: the kernel may have dropped the
pages and would then report success.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from typing import Final, Protocol

from rsm.errors import DirectoryInUse, StorageError

__all__ = ["Disk", "File", "Lock", "OsDisk"]


class File(Protocol):
    """An open file. Offsets and sizes are in bytes. Reads and syncs may run in another thread than writes."""

    @property
    def path(self) -> str: ...

    def pread(self, count: int, offset: int) -> bytes:
        """Return `count` bytes from `offset`, fewer only at the end of the file."""

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        """Write all of `data` at `offset`; after a `StorageError` any part of it may be there."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes, or extend it with zeros."""

    def fdatasync(self) -> None:
        """Return once everything written so far, and the size, would survive a power cut."""

    def size(self) -> int: ...

    def close(self) -> None: ...


class Lock(Protocol):
    """An exclusive lock on a directory; it ends with `release` or with the process."""

    def release(self) -> None: ...


class Disk(Protocol):
    """Files by path. Every failure is a `StorageError` that names path, operation and remedy."""

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> File:
        """Open a file. With `create` it must not exist yet; without, it must."""

    def exists(self, path: str) -> bool: ...

    def is_directory(self, path: str) -> bool: ...

    def listdir(self, path: str) -> list[str]:
        """The names in a directory, sorted."""

    def mkdir(self, path: str) -> None: ...

    def rename(self, source: str, target: str) -> None:
        """Move a file atomically, replacing `target`."""

    def unlink(self, path: str) -> None: ...

    def fsync_directory(self, path: str) -> None:
        """Return once the names in the directory would survive a power cut."""

    def lock(self, path: str) -> Lock:
        """Take an exclusive lock on the file at `path`, made if needed; `DirectoryInUse` names the holder's process."""

    def free_bytes(self, path: str) -> int:
        """How much can still be written where `path` lies."""

    def is_locked(self, path: str) -> bool:
        """Whether somebody seems to hold the lock; not by trying, which could be in the way. A hint for readers."""


_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full: free some space",
    errno.EDQUOT: "the disk quota is used up: free some space or raise it",
    errno.EFBIG: "the file is larger than this file system or a limit (ulimit -f) allows",
    errno.EACCES: "permission denied: give this user read and write access",
    errno.EPERM: "not permitted: give this user ownership of the file",
    errno.EROFS: "the file system is read-only: mount it writable",
    errno.EIO: "the device failed: check the disk and the kernel log, and do not trust it again",
    errno.ENOENT: "no such file or directory: check the path",
    errno.ENOTDIR: "a part of the path is not a directory: check the path",
    errno.EISDIR: "this is a directory: name a file",
    errno.EEXIST: "it exists already: remove it or choose another path",
    errno.EMFILE: "too many open files: raise the limit (ulimit -n)",
    errno.ENFILE: "too many open files on this machine: raise the limit (fs.file-max)",
    errno.ENAMETOOLONG: "the path is too long: choose a shorter one",
}


@contextlib.contextmanager
def naming(path: str, operation: str) -> Iterator[None]:
    """Turn an `OSError` into a one-line `StorageError`."""
    try:
        yield
    except OSError as error:
        raise storage_error(path, operation, error) from error


def storage_error(path: str, operation: str, error: OSError) -> StorageError:
    """The `StorageError` for an `OSError`: path, operation, remedy."""
    text = _REMEDIES.get(error.errno or 0) or error.strerror or str(error)
    return StorageError(f"{path}: cannot {operation}: {text}")


# macOS has no fdatasync, and its fsync does not reach the platters; F_FULLFSYNC does.
_FULL_SYNC: Final = getattr(fcntl, "F_FULLFSYNC", None)


def _sync(descriptor: int) -> None:
    if _FULL_SYNC is not None:
        fcntl.fcntl(descriptor, _FULL_SYNC)
    else:
        os.fdatasync(descriptor)


class OsFile:
    """A file of the operating system."""

    __slots__ = ("_descriptor", "path")

    def __init__(self, path: str, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor

    def pread(self, count: int, offset: int) -> bytes:
        # No context manager here and in pwrite: they are called per append.
        try:
            data = os.pread(self._descriptor, count, offset)
            # A short read means end of file, a signal, or the kernel's 2 GiB limit; only the first ends the loop.
            while len(data) < count:
                more = os.pread(self._descriptor, count - len(data), offset + len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise storage_error(self.path, "read", error) from error
        return data

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        try:
            written = os.pwrite(self._descriptor, data, offset)
            if written < len(data):
                view = memoryview(data)
                while written < len(data):
                    written += os.pwrite(self._descriptor, view[written:], offset + written)
        except OSError as error:
            raise storage_error(self.path, "write", error) from error

    def truncate(self, size: int) -> None:
        with naming(self.path, "truncate"):
            os.ftruncate(self._descriptor, size)

    def fdatasync(self) -> None:
        try:
            _sync(self._descriptor)
        except OSError as error:
            raise storage_error(self.path, "sync", error) from error

    def size(self) -> int:
        with naming(self.path, "examine"):
            return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with naming(self.path, "close"):
                os.close(descriptor)


class OsLock:
    """An flock. It belongs to the open file, so it also excludes a second handle in the same process."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            # A forked child shares the lock and would keep it: unlock before letting go.
            with contextlib.suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


class OsDisk:
    """The operating system's files."""

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> File:
        flags = os.O_RDWR if writable else os.O_RDONLY
        if create:
            flags |= os.O_CREAT | os.O_EXCL
        with naming(path, "create" if create else "open"):
            return OsFile(path, os.open(path, flags | os.O_CLOEXEC, 0o640))

    def exists(self, path: str) -> bool:
        with naming(path, "examine"):
            try:
                os.stat(path)
            except (FileNotFoundError, NotADirectoryError):
                return False
        return True

    def is_directory(self, path: str) -> bool:
        return os.path.isdir(path)

    def listdir(self, path: str) -> list[str]:
        with naming(path, "list"):
            return sorted(os.listdir(path))

    def mkdir(self, path: str) -> None:
        with naming(path, "create directory"):
            os.mkdir(path, 0o750)

    def rename(self, source: str, target: str) -> None:
        with naming(target, f"rename {os.path.basename(source)} to it"):
            os.replace(source, target)

    def unlink(self, path: str) -> None:
        with naming(path, "remove"):
            os.unlink(path)

    def fsync_directory(self, path: str) -> None:
        with naming(path, "sync directory"):
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                # The names are metadata: a full fsync, which is also what POSIX systems without fdatasync have.
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def free_bytes(self, path: str) -> int:
        with naming(path, "look at the disk"):
            found = os.statvfs(path)
        return found.f_bavail * found.f_frsize

    def lock(self, path: str) -> Lock:
        with naming(path, "lock"):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
                os.close(descriptor)
                raise DirectoryInUse(
                    f"{os.path.dirname(path) or '.'}: in use by process {holder}: stop it or choose another directory"
                ) from None
            except OSError:
                os.close(descriptor)
                raise
            # For the message above only; the lock itself is the kernel's and cannot go stale.
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            return OsLock(descriptor)

    def is_locked(self, path: str) -> bool:
        # By the process that the file names: it may have released the lock since, or another may have its number.
        try:
            with open(path, "rb") as file:
                holder = int(file.read(32))
            if holder > 0:
                os.kill(holder, 0)
        except PermissionError:
            return True
        except (OSError, ValueError):
            return False
        return holder > 0
