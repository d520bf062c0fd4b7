"""An in-memory disk that fails the way disks fail: `rsm.node.storage.disk.Disk` for tests.

What was written is volatile until a sync. A power cut (`restart`) keeps the synced bytes and some of the rest, as
`Survival` says: nothing, everything, a prefix whose last write is torn at a sector boundary, or any version of each
sector, that is, torn and reordered. Names behave the same: creations, renames and removals are volatile until their
directory is synced. A sector of 512 bytes is written whole or not at all, and a rename is atomic; that is all the
storage code may rely on.

Faults are planned by attributes: `cut_at_write`, `cut_at_sync` (1 = the next one), `fail_sync_at`, `space_bytes`. A cut
raises `PowerCut` in the middle of the operation, and every later operation raises it too, until `restart` returns the
disk that the machine would find afterwards. Everything random comes from the seed given to `restart`: the same seed,
the same disk.
"""

from __future__ import annotations

import copy
import errno
import os
import random
from enum import Enum

from rsm.errors import DirectoryInUse
from rsm.limits import SECTOR_BYTES
from rsm.node.storage.disk import File, Lock, storage_error

__all__ = ["FaultDisk", "PowerCut", "Survival"]


class PowerCut(BaseException):
    """The machine lost power during this operation. Not an `Exception`: no handler may go on after it."""


class Survival(Enum):
    """What a power cut leaves of that which was not synced."""

    NOTHING = "nothing"
    EVERYTHING = "everything"
    TORN = "torn"
    REORDERED = "reordered"


class _Inode:
    """The bytes of a file: what is on the platter, and the writes and truncations since the last sync, in order."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.current = bytearray()
        # (offset, data), or (size, None) for a truncation.
        self.pending: list[tuple[int, bytes | None]] = []

    def change(self, offset: int, data: bytes | None) -> None:
        self.pending.append((offset, data))
        _apply(self.current, offset, data)

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.durable, offset, data)
        self.pending.clear()

    def survive(self, survival: Survival, chance: random.Random) -> None:
        if survival is Survival.EVERYTHING:
            self.sync()
        elif survival is Survival.TORN and self.pending:
            self._tear(chance)
        elif survival is Survival.REORDERED and self.pending:
            self._reorder(chance)
        self.pending.clear()
        self.current = bytearray(self.durable)

    def _tear(self, chance: random.Random) -> None:
        keep = chance.randrange(len(self.pending))
        for offset, data in self.pending[:keep]:
            _apply(self.durable, offset, data)
        offset, data = self.pending[keep]
        if data is None:
            return
        boundaries = [
            boundary - offset
            for boundary in range(-(-offset // SECTOR_BYTES) * SECTOR_BYTES, offset + len(data), SECTOR_BYTES)
            if boundary > offset
        ]
        cut = chance.choice([0, *boundaries])
        _apply(self.durable, offset, data[:cut])
        if chance.random() < 0.5:
            # The size is metadata: it may have grown although the data did not arrive. What is missing reads as zeros.
            self.durable.extend(bytes(max(0, offset + len(data) - len(self.durable))))

    def _reorder(self, chance: random.Random) -> None:
        version = bytearray(self.durable)
        sectors: dict[int, list[bytes]] = {}
        sizes = [len(version)]
        for offset, data in self.pending:
            before = len(version)
            _apply(version, offset, data)
            sizes.append(len(version))
            first, last = (offset, before) if data is None else (min(offset, before), offset + len(data))
            for sector in range(first // SECTOR_BYTES, -(-last // SECTOR_BYTES)):
                start = sector * SECTOR_BYTES
                old = bytes(self.durable[start : start + SECTOR_BYTES])
                sectors.setdefault(sector, [old]).append(bytes(version[start : start + SECTOR_BYTES]))
        size = chance.choice(sizes)
        result = bytearray(self.durable)
        result.extend(bytes(max(0, max(sizes) - len(result))))
        for sector, versions in sectors.items():
            start = sector * SECTOR_BYTES
            content = chance.choice(versions).ljust(SECTOR_BYTES, b"\0")
            result[start : start + SECTOR_BYTES] = content
        self.durable = result[:size].ljust(size, b"\0")


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    size = offset if data is None else offset + len(data)
    if data is None:
        del content[size:]
    if len(content) < size:
        content.extend(bytes(size - len(content)))
    if data is not None:
        content[offset:size] = data


class FaultDisk:
    """A disk in memory; see the module's docstring. Paths are as for the operating system; `/` and `.` exist.

    `writes` and `syncs` count the operations so far (a write is anything that changes something; a sync is a
    `fdatasync` or an `fsync_directory`), so that a test can run once to count and then once for each place to fail.
    """

    def __init__(self) -> None:
        self.writes = 0
        self.syncs = 0
        self.cut_at_write: int | None = None
        self.cut_at_sync: int | None = None
        self.fail_sync_at: int | None = None
        self.space_bytes: int | None = None
        self.is_cut = False
        self._names: dict[str, _Inode | None] = {"/": None, ".": None}
        self._durable_names: dict[str, _Inode | None] = dict(self._names)
        # Per directory, in order: the names it changes, with None for "removed".
        self._pending: dict[str, list[dict[str, tuple[_Inode | None] | None]]] = {}
        self._locked: set[str] = set()

    # --- faults -----------------------------------------------------------------------------------------------------

    def restart(self, survival: Survival = Survival.NOTHING, seed: int = 0) -> FaultDisk:
        """The disk that a machine finds when it has power again: no faults planned, counters at zero, no locks.

        This disk is left as it is, so that several ways to survive can be tried from one cut.
        """
        chance = random.Random(f"{survival.value} {seed}")
        found = FaultDisk()
        source = copy.deepcopy(self)
        if survival is Survival.EVERYTHING:
            names = source._names
        else:
            names = source._durable_names
            if survival is not Survival.NOTHING:
                for directory in sorted(source._pending):
                    changes = source._pending[directory]
                    keep = chance.randint(0, len(changes))
                    in_order = survival is Survival.TORN
                    for position, change in enumerate(changes):
                        if position < keep if in_order else chance.random() < 0.5:
                            _change_names(names, change)
        for path in sorted(names, key=lambda path: path.count("/")):
            parent = os.path.dirname(path) or "."
            if path in ("/", ".") or parent in found._names:
                found._names[path] = names[path]
        for path in sorted(found._names):
            inode = found._names[path]
            if inode is not None:
                inode.survive(survival, chance)
        found._durable_names = dict(found._names)
        return found

    def process_died(self) -> None:
        """The process that used the disk is gone: its locks end, what it wrote stays with the operating system."""
        self._locked.clear()

    def clone(self) -> FaultDisk:
        """An independent copy, with counters, plans and everything unsynced."""
        return copy.deepcopy(self)

    def flip_bit(self, path: str, bit: int) -> None:
        """Flip one bit of a file, on the platter: no write, no sync, no trace."""
        inode = self._inode(path, "flip a bit of")
        for content in (inode.durable, inode.current):
            if bit // 8 < len(content):
                content[bit // 8] ^= 1 << bit % 8

    def contents(self, path: str) -> bytes:
        """What a file holds now, synced or not."""
        return bytes(self._inode(path, "read").current)

    def put(self, path: str, content: bytes) -> None:
        """Place a file, as if it had always been there. Its directory must exist."""
        inode = _Inode()
        inode.durable[:] = content
        inode.current[:] = content
        self._names[path] = self._durable_names[path] = inode

    def paths(self) -> list[str]:
        """Every file there is now, sorted."""
        return sorted(path for path, inode in self._names.items() if inode is not None)

    def used_bytes(self) -> int:
        """Bytes of all files."""
        return sum(len(inode.current) for inode in self._names.values() if inode is not None)

    def free_bytes(self, _: str) -> int:
        """Of `space_bytes`; where that is not bounded, more than anybody needs."""
        self.check_power()
        return 2**62 if self.space_bytes is None else max(0, self.space_bytes - self.used_bytes())

    def check_power(self) -> None:
        if self.is_cut:
            raise PowerCut("the power is off")

    def before_write(self) -> bool:
        """Count a change; True if the power goes in the middle of it."""
        self.check_power()
        self.writes += 1
        if self.writes == self.cut_at_write:
            self.is_cut = True
        return self.is_cut

    def before_sync(self, path: str) -> None:
        self.check_power()
        self.syncs += 1
        if self.syncs == self.cut_at_sync:
            self.is_cut = True
            raise PowerCut(f"{path}: power cut at sync {self.syncs}")
        if self.syncs == self.fail_sync_at:
            raise storage_error(path, "sync", OSError(errno.EIO, os.strerror(errno.EIO)))

    def room_for(self, count: int) -> int:
        """How many of `count` more bytes fit."""
        return count if self.space_bytes is None else max(0, min(count, self.space_bytes - self.used_bytes()))

    # --- files ------------------------------------------------------------------------------------------------------

    def open(self, path: str, *, create: bool = False, writable: bool = True) -> File:
        self.check_power()
        if not create:
            return _FaultFile(self, path, self._inode(path, "open"), writable)
        if path in self._names:
            raise _error(path, "create", errno.EEXIST)
        inode = _Inode()
        self._change(path, "create", {path: (inode,)})
        return _FaultFile(self, path, inode, writable)

    def exists(self, path: str) -> bool:
        self.check_power()
        return path in self._names

    def is_directory(self, path: str) -> bool:
        self.check_power()
        return path in self._names and self._names[path] is None

    def listdir(self, path: str) -> list[str]:
        self.check_power()
        self._directory(path, "list")
        return sorted(os.path.basename(name) for name in self._names if _parent(name) == path and name != path)

    def mkdir(self, path: str) -> None:
        if path in self._names:
            raise _error(path, "create directory", errno.EEXIST)
        self._change(path, "create directory", {path: (None,)})

    def rename(self, source: str, target: str) -> None:
        inode = self._inode(source, "rename")
        self._change(target, "rename", {source: None, target: (inode,)})

    def unlink(self, path: str) -> None:
        self._inode(path, "remove")
        self._change(path, "remove", {path: None})

    def fsync_directory(self, path: str) -> None:
        self.before_sync(path)
        self._directory(path, "sync directory")
        for change in self._pending.pop(path, []):
            _change_names(self._durable_names, change)

    def lock(self, path: str) -> Lock:
        self.check_power()
        if path in self._locked:
            raise DirectoryInUse(
                f"{_parent(path)}: in use by process {os.getpid()}: stop it or choose another directory"
            )
        if path not in self._names:
            self._change(path, "lock", {path: (_Inode(),)})
        self._locked.add(path)
        return _FaultLock(self._locked, path)

    def is_locked(self, path: str) -> bool:
        return path in self._locked

    def _inode(self, path: str, operation: str) -> _Inode:
        self.check_power()
        if path not in self._names:
            raise _error(path, operation, errno.ENOENT)
        inode = self._names[path]
        if inode is None:
            raise _error(path, operation, errno.EISDIR)
        return inode

    def _directory(self, path: str, operation: str) -> None:
        if path not in self._names:
            raise _error(path, operation, errno.ENOENT)
        if self._names[path] is not None:
            raise _error(path, operation, errno.ENOTDIR)

    def _change(self, path: str, operation: str, change: dict[str, tuple[_Inode | None] | None]) -> None:
        """Change names of one directory; volatile until it is synced."""
        self._directory(_parent(path), operation)
        if any(_parent(name) != _parent(path) for name in change):
            raise NotImplementedError("a rename between directories")
        cut = self.before_write()
        self._pending.setdefault(_parent(path), []).append(change)
        _change_names(self._names, change)
        if cut:
            raise PowerCut(f"{path}: power cut at write {self.writes}")


def _parent(path: str) -> str:
    return os.path.dirname(path) or "."


def _change_names(names: dict[str, _Inode | None], change: dict[str, tuple[_Inode | None] | None]) -> None:
    for name, entry in change.items():
        if entry is None:
            names.pop(name, None)
        else:
            names[name] = entry[0]


def _error(path: str, operation: str, code: int) -> Exception:
    return storage_error(path, operation, OSError(code, os.strerror(code)))


class _FaultFile:
    def __init__(self, disk: FaultDisk, path: str, inode: _Inode, writable: bool) -> None:
        self.path = path
        self._disk = disk
        self._inode = inode
        self._writable = writable
        self._closed = False

    def _check(self, operation: str, *, write: bool = False) -> None:
        self._disk.check_power()
        if self._closed or (write and not self._writable):
            raise _error(self.path, operation, errno.EBADF)

    def pread(self, count: int, offset: int) -> bytes:
        self._check("read")
        return bytes(self._inode.current[offset : offset + count])

    def pwrite(self, data: bytes | memoryview, offset: int) -> None:
        self._check("write", write=True)
        data = bytes(data)
        cut = self._disk.before_write()
        growth = max(0, offset + len(data) - len(self._inode.current))
        missing = growth - self._disk.room_for(growth)
        if missing < len(data):
            self._inode.change(offset, data[: len(data) - missing])
        if cut:
            raise PowerCut(f"{self.path}: power cut at write {self._disk.writes}")
        if missing:
            raise _error(self.path, "write", errno.ENOSPC)

    def truncate(self, size: int) -> None:
        self._check("truncate", write=True)
        cut = self._disk.before_write()
        self._inode.change(size, None)
        if cut:
            raise PowerCut(f"{self.path}: power cut at write {self._disk.writes}")

    def fdatasync(self) -> None:
        self._check("sync")
        try:
            self._disk.before_sync(self.path)
        except Exception:
            # The kernel marks the pages clean after a failed sync: they read back fine and are lost at the next cut.
            self._inode.pending.clear()
            raise
        self._inode.sync()

    def size(self) -> int:
        self._check("examine")
        return len(self._inode.current)

    def close(self) -> None:
        self._closed = True


class _FaultLock:
    def __init__(self, locked: set[str], path: str) -> None:
        self._locked = locked
        self._path = path

    def release(self) -> None:
        self._locked.discard(self._path)
