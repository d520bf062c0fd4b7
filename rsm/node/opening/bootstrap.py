"""Making the directory of a cluster's node: empty, for a member of a new cluster, or from an embedded machine's.

The first entry of a cluster's log is its configuration, the same bytes at the same index and term on every node, so
their logs agree before anyone has spoken. A new node is *recovering*: the first leader needs the votes of all. So a
node that lost its directory and is made anew can never help to elect a leader that lacks what it had acknowledged.
"""

from __future__ import annotations

import os

from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError
from rsm.limits import READ_BYTES
from rsm.machine.machine import StateMachine
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.disk import Disk
from rsm.node.storage.files import new_file
from rsm.node.storage.journal import Journal
from rsm.raft.configuration import Configuration

__all__ = ["is_prepared", "prepare"]


def is_prepared(disk: Disk, path: str) -> bool:
    """Whether there is a machine's directory already."""
    return disk.exists(os.path.join(path, "identity"))


def prepare(
    disk: Disk,
    path: str,
    machine: type[StateMachine],
    configuration: Configuration,
    cluster_id: bytes,
    *,
    source: str | None = None,
) -> bytes:
    """Make a node's directory; returns its cluster id, which is that of `source` where an embedded directory is given.

    With an empty configuration the node waits until a leader adds it. `source` must not be open, and is not changed.
    `CallerError` if the directory exists, or `source` is of a cluster already; `DirectoryInUse`, `WrongMachine`,
    `CorruptFile`, `StorageError`.
    """
    name = machine.definition.name
    if source is not None:
        return _copy(disk, path, name, configuration, source)
    # One that a crash left half made has an identity and nothing else.
    make = MachineDirectory.open if is_prepared(disk, path) else MachineDirectory.create
    with make(disk, path, machine=name, cluster_id=cluster_id) as directory, directory.open_journal() as journal:
        if journal.last_index or directory.open_snapshots().indexes():
            raise CallerError(f"{path}: holds a log already: start the node, or choose another directory")
        directory.mark_recovering()
        _begin(directory, journal, configuration)
    return cluster_id


def _begin(directory: MachineDirectory, journal: Journal, configuration: Configuration) -> None:
    """Append the cluster's first configuration, if the log has none of it yet."""
    if not configuration.members:
        return
    term = max(journal.last_term, 1)
    entry = Entry(journal.last_index + 1, term, RecordKind.CONFIGURATION, configuration.encode())
    journal.append([entry])
    journal.sync()
    with directory.open_term() as terms:
        terms.save(max(terms.term, term), None)


def _copy(disk: Disk, path: str, machine: str, configuration: Configuration, source: str) -> bytes:
    """The same log and snapshots, and the configuration behind them: a quorum of one has committed all of it."""
    seen: list[Entry] = []
    with MachineDirectory.open(disk, source, machine=machine) as original:
        with original.open_journal(observe=lambda entry: _note_configuration(seen, entry)):
            pass  # it is whole; a torn tail was never acknowledged, and is cut
        if seen:
            raise CallerError(f"{source}: belongs to a node of a cluster already: take an embedded machine's directory")
        with MachineDirectory.create(disk, path, machine=machine, cluster_id=original.identity.cluster_id) as made:
            for name in disk.listdir(made.log_path):
                disk.unlink(os.path.join(made.log_path, name))
            _copy_files(disk, original.log_path, made.log_path)
            _copy_files(disk, original.snapshots_path, made.snapshots_path)
            with original.open_term() as theirs, made.open_term() as terms:
                terms.save(theirs.term, None)
            with made.open_journal() as journal:
                _begin(made, journal, configuration)
        return original.identity.cluster_id


def _note_configuration(seen: list[Entry], entry: Entry) -> None:
    if entry.kind is RecordKind.CONFIGURATION:
        seen.append(entry)


def _copy_files(disk: Disk, source: str, target: str) -> None:
    for name in disk.listdir(source):
        read = disk.open(os.path.join(source, name), writable=False)
        try:
            with new_file(disk, os.path.join(target, name)) as write:
                offset = 0
                while data := read.pread(READ_BYTES, offset):
                    write.pwrite(data, offset)
                    offset += len(data)
        finally:
            read.close()
