"""What `log verify` and `snapshot verify` do: look at every byte and tell what is wrong, where, and what was left out.

A directory is checked as a whole: identity, term file, every segment (checksums, chain, order, batches), every snapshot
(checksums, chain, leaves, root), and that they belong together: one cluster, no gap between a snapshot and the log, and
the log's hash chain at a snapshot's index equal to the one its manifest names.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import msgspec

from rsm.cli.errors import FINE, FOUND, UNCHECKED
from rsm.cli.output import count, print_json, print_line
from rsm.cli.reading import check_batch, entries_of, open_log, records_of
from rsm.cli.target import DISK, machine_directory, snapshot_paths
from rsm.errors import BadBytes, CorruptFile, StorageError, UnknownFormat
from rsm.node.storage.directory import Identity, read_identity
from rsm.node.storage.files import located
from rsm.node.storage.scan import LogScan
from rsm.node.storage.snapshots import snapshot_position
from rsm.node.storage.term_file import read_term
from rsm.replica.contents import ContentsCheck
from rsm.replica.snapshot import Manifest

__all__ = ["Report", "check_log", "check_snapshot"]


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong. `kind`: corrupt, or torn (the trace of a power cut, which opening the log cuts off)."""

    kind: str
    file: str
    offset: int
    what: str


class Report:
    """What a check found, what it could not check, and what it read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.unchecked: list[str] = []
        self.log: dict[str, Any] | None = None
        self.snapshots: list[dict[str, Any]] = []

    def find(self, file: str, what: str, *, kind: str = "corrupt", offset: int = 0) -> None:
        """Note a finding."""
        self.findings.append(Finding(kind, file, offset, what))

    @contextlib.contextmanager
    def noting(self) -> Iterator[None]:
        """Note what is found corrupt, or cannot be checked, inside; that ends the block and nothing else."""
        try:
            yield
        except CorruptFile as error:
            self.find(error.path, error.what, offset=error.offset)
        except UnknownFormat as error:
            self.unchecked.append(str(error))

    @property
    def exit_code(self) -> int:
        """0 fine, 1 with findings, 3 if something could not be checked."""
        return FOUND if self.findings else UNCHECKED if self.unchecked else FINE

    def as_dict(self) -> dict[str, Any]:
        """The document of --json."""
        return {
            "path": self.path,
            "ok": self.exit_code == FINE,
            "findings": [msgspec.structs.asdict(finding) for finding in self.findings],
            "unchecked": self.unchecked,
            **({} if self.log is None else {"log": self.log}),
            "snapshots": self.snapshots,
        }

    def show(self, *, as_json: bool) -> int:
        """Print the report; returns the exit code."""
        if as_json:
            print_json(self.as_dict())
            return self.exit_code
        for finding in self.findings:
            print_line(f"{finding.kind}: {finding.file}: offset {finding.offset}: {finding.what}")
        for reason in self.unchecked:
            print_line(f"unchecked: {reason}")
        parts = []
        if self.log is not None:
            entries = self.log["last_index"] - self.log["first_index"] + 1
            between = f" ({self.log['first_index']} to {self.log['last_index']})" if entries else ""
            parts.append(f"{count(entries, 'entry')}{between} in {count(self.log['segments'], 'segment')}")
        if self.snapshots or self.log is None:
            parts.append(count(len(self.snapshots), "snapshot"))
        verdict = {FINE: "fine", FOUND: "damaged", UNCHECKED: "not checked completely"}[self.exit_code]
        print_line(f"{self.path}: {verdict}: {', '.join(parts)} checked")
        return self.exit_code


def check_log(path: str) -> Report:
    """Check the log at a path, and with a machine's directory everything in it. `StorageError` for what is no log."""
    report = Report(path)
    if machine_directory(path) != os.path.abspath(path):
        with report.noting():
            _check_entries(report, open_log(path), set())
        return report
    identity = None
    with report.noting():
        read_term(DISK, os.path.join(path, "term"))
    with report.noting():
        identity = read_identity(DISK, path)
    # A machine in use takes snapshots and then removes what they cover: the log is read first, and is covered by
    # snapshots that are found later.
    wanted = {index for index, _ in _snapshots(path)}
    log, chains = None, {}
    with report.noting():
        log = _open(report, path)
        if log is not None:
            chains = _check_entries(report, log, wanted)
    manifests = [(file, manifest) for _, file in _snapshots(path) if (manifest := check_snapshot(report, file))]
    if log is not None and identity is not None:
        _check_owner(report, log, identity)
        _check_fit(report, log, manifests, chains)
    return report


def _snapshots(path: str) -> list[tuple[int, str]]:
    """Index and file of the snapshots in a machine's directory."""
    files = snapshot_paths(path) if os.path.isdir(os.path.join(path, "snapshots")) else []
    return [(int(os.path.basename(file)[:20]), file) for file in files]


def _open(report: Report, path: str) -> LogScan | None:
    try:
        return open_log(path)
    except StorageError as error:
        if not os.access(path, os.R_OK):
            raise
        report.find(os.path.join(path, "log"), f"the log cannot be read: {error}")
        return None


def _check_entries(report: Report, log: LogScan, wanted: set[int]) -> dict[int, bytes]:
    """Read the whole log; return the hash chain at the indexes wanted, as far as the log has them."""
    chains = {}
    with report.noting():
        for scanned in entries_of(log, "checking"):
            check_batch(scanned)
            if scanned.entry.index in wanted:
                chains[scanned.entry.index] = scanned.chain
    if log.torn is not None:
        what = f"torn tail of {log.torn.bytes} bytes after index {log.last_index}: never acknowledged, cut when opened"
        report.find(log.torn.path, what, kind="torn", offset=log.torn.offset)
    report.log = {
        "first_index": log.first_index,
        "last_index": log.last_index,
        "last_term": log.last_term,
        "chain": log.last_chain.hex(),
        "segments": len(log.paths),
    }
    return {log.first_index - 1: log.head.previous_chain, **chains}


def _check_owner(report: Report, log: LogScan, identity: Identity) -> None:
    for path, head in zip(log.paths, log.heads, strict=True):
        if (head.cluster_id, head.group_id) != (identity.cluster_id, identity.group_id):
            what = f"belongs to group {head.group_id} of cluster {head.cluster_id.hex()}, the directory to another"
            report.find(path, what)


def _check_fit(report: Report, log: LogScan, manifests: list[tuple[str, Manifest]], chains: dict[int, bytes]) -> None:
    first = log.first_index
    # A snapshot that could not be checked may be the one; then that is what the report says.
    if first > 1 and not report.unchecked and not any(manifest.index >= first - 1 for _, manifest in manifests):
        report.find(log.paths[0], f"the log begins at {first}, but there is no whole snapshot that it continues")
    for path, manifest in manifests:
        chain = chains.get(manifest.index)
        if chain is not None and chain != manifest.chain:
            what = f"the log has chain {chain.hex()} at index {manifest.index}, the snapshot {manifest.chain.hex()}"
            report.find(path, what)


def check_snapshot(report: Report, path: str) -> Manifest | None:
    """Check one snapshot file, noting it in the report; returns its manifest if it is whole.

    One that vanished is passed over: a machine in use removes old snapshots.
    """
    try:
        with report.noting(), located(path, 0):
            index, term, group_id = snapshot_position(DISK, path)
            name = os.path.basename(path).partition(".")[0]
            if len(name) == 20 and name.isdigit() and int(name) != index:
                raise BadBytes(f"holds the snapshot of index {index}")
            check = ContentsCheck(index, term)
            for kind, payload in records_of(path, "checking"):
                check.add(kind, payload)
            check.finish()
            report.snapshots.append(
                {
                    "file": path,
                    "index": index,
                    "term": term,
                    "group_id": group_id,
                    "root": check.manifest.root.hex(),
                    "chain": check.manifest.chain.hex(),
                    "leaves": check.leaves,
                    "events": check.events,
                }
            )
            return check.manifest
    except StorageError:
        if os.path.exists(path):
            raise
    return None
