"""What `log verify` and `snapshot verify` do: look at every byte and tell what is wrong, where, and what was left out.

A directory is checked as a whole: identity, term file, every segment (checksums, chain, order, batches), every snapshot
(checksums, chain, leaves, root), and that they belong together: one cluster, no gap between a snapshot and the log, and
the log's hash chain at a snapshot's index equal to the one its manifest names.
"""

from __future__ import annotations

import os
from typing import Any

import msgspec

from rsm.cli.contents import ContentsCheck
from rsm.cli.decode import batch_of
from rsm.cli.errors import FINE, FOUND, UNCHECKED
from rsm.cli.output import count, print_json, print_line, progress
from rsm.cli.reading import entries_of, open_log
from rsm.cli.target import DISK, file_bytes, machine_directory, snapshot_paths
from rsm.codec.record import RecordKind, decode_record
from rsm.errors import BadBytes, CorruptFile, StorageError
from rsm.limits import SECTOR_BYTES
from rsm.node.directory import Identity, read_identity
from rsm.node.scan import LogScan
from rsm.node.snapshots import read_snapshot, snapshot_position
from rsm.replica.snapshot import Manifest

__all__ = ["Report", "check_log", "check_snapshot"]

TERM_SLOT_BYTES = 8 * SECTOR_BYTES


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong. `kind`: corrupt, or torn (the trace of a power cut, which opening the log cuts off)."""

    kind: str
    file: str
    offset: int
    what: str

    @classmethod
    def of(cls, error: CorruptFile) -> Finding:
        return cls("corrupt", error.path, error.offset, error.what)


class Report:
    """What a check found, what it could not check, and what it read."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.findings: list[Finding] = []
        self.unchecked: list[str] = []
        self.log: dict[str, Any] | None = None
        self.snapshots: list[dict[str, Any]] = []

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
    is_machine = machine_directory(path) == os.path.abspath(path)
    identity = _check_identity(report, path) if is_machine else None
    log = _open(report, path, is_machine=is_machine)
    is_with_snapshots = is_machine and os.path.isdir(os.path.join(path, "snapshots"))
    # A machine in use takes snapshots and then removes what they cover: read the log first, and it is covered by
    # snapshots found later.
    wanted = {int(os.path.basename(file)[:20]) for file in (snapshot_paths(path) if is_with_snapshots else [])}
    chains = {} if log is None else _check_entries(report, log, wanted)
    snapshots = snapshot_paths(path) if is_with_snapshots else []
    manifests = [(file, manifest) for file in snapshots if (manifest := check_snapshot(report, file)) is not None]
    if log is not None and identity is not None:
        _check_owner(report, log, identity)
        _check_fit(report, log, manifests, chains)
    return report


def _open(report: Report, path: str, *, is_machine: bool) -> LogScan | None:
    try:
        return open_log(path)
    except CorruptFile as error:
        report.findings.append(Finding.of(error))
    except StorageError as error:
        if not is_machine or not os.access(path, os.R_OK):
            raise
        report.findings.append(Finding("corrupt", os.path.join(path, "log"), 0, f"the log cannot be read: {error}"))
    return None


def _check_entries(report: Report, log: LogScan, wanted: set[int]) -> dict[int, bytes]:
    """Read the whole log; return the hash chain at the indexes wanted, as far as the log has them."""
    chains = {}
    try:
        for scanned in entries_of(log, "checking"):
            batch_of(scanned)
            if scanned.entry.index in wanted:
                chains[scanned.entry.index] = scanned.chain
    except CorruptFile as error:
        report.findings.append(Finding.of(error))
    if log.torn is not None:
        what = f"torn tail of {log.torn.bytes} bytes after index {log.last_index}: never acknowledged, cut when opened"
        report.findings.append(Finding("torn", log.torn.path, log.torn.offset, what))
    report.log = {
        "first_index": log.first_index,
        "last_index": log.last_index,
        "last_term": log.last_term,
        "chain": log.last_chain.hex(),
        "segments": len(log.paths),
    }
    return {log.first_index - 1: log.head.previous_chain, **chains}


def _check_identity(report: Report, path: str) -> Identity | None:
    try:
        _check_term(os.path.join(path, "term"))
    except CorruptFile as error:
        report.findings.append(Finding.of(error))
    try:
        return read_identity(DISK, path)
    except CorruptFile as error:
        report.findings.append(Finding.of(error))
        return None


def _check_term(path: str) -> None:
    """Term and vote are readable while one of the two slots is whole."""
    if not os.path.exists(path):
        raise CorruptFile(path, 0, "term and vote are gone")
    file = DISK.open(path, writable=False)
    try:
        slots = [file.pread(TERM_SLOT_BYTES, offset) for offset in (0, TERM_SLOT_BYTES)]
    finally:
        file.close()
    reason = ""
    for slot in slots:
        try:
            if decode_record(slot, bytes_max=TERM_SLOT_BYTES)[0].kind is RecordKind.TERM:
                return
            reason = "not a TERM record"
        except BadBytes as error:
            reason = str(error)
    raise CorruptFile(path, 0, f"neither slot holds term and vote: {reason}")


def _check_owner(report: Report, log: LogScan, identity: Identity) -> None:
    for path, head in zip(log.paths, log.heads, strict=True):
        if (head.cluster_id, head.group_id) != (identity.cluster_id, identity.group_id):
            what = f"belongs to group {head.group_id} of cluster {head.cluster_id.hex()}, the directory to another"
            report.findings.append(Finding("corrupt", path, 0, what))


def _check_fit(report: Report, log: LogScan, manifests: list[tuple[str, Manifest]], chains: dict[int, bytes]) -> None:
    first = log.first_index
    if first > 1 and not any(manifest.index >= first - 1 for _, manifest in manifests):
        what = f"the log begins at {first}, but there is no whole snapshot that it continues"
        report.findings.append(Finding("corrupt", log.paths[0], 0, what))
    for path, manifest in manifests:
        chain = chains.get(manifest.index)
        if chain is not None and chain != manifest.chain:
            what = f"the log has chain {chain.hex()} at index {manifest.index}, the snapshot {manifest.chain.hex()}"
            report.findings.append(Finding("corrupt", path, 0, what))


def check_snapshot(report: Report, path: str) -> Manifest | None:
    """Check one snapshot file, noting it in the report; returns its manifest if it is whole.

    One that vanished is passed over: a machine in use removes old snapshots.
    """
    check = ContentsCheck()
    bytes_total, bytes_done = file_bytes([path]), 0
    try:
        index, term, group_id = snapshot_position(DISK, path)
        name = os.path.basename(path).partition(".")[0]
        if len(name) == 20 and name.isdigit() and int(name) != index:
            raise CorruptFile(path, 0, f"holds the snapshot of index {index}")
        with progress("checking", bytes_total) as advance:
            for kind, payload in read_snapshot(DISK, path):
                check.add(kind, payload)
                bytes_done += len(payload)
                advance(min(bytes_done, bytes_total))
        unchecked = check.finish()
        if check.manifest is None or (check.manifest.index, check.manifest.term) != (index, term):
            raise BadBytes(f"the manifest is not that of index {index} and term {term}")
    except CorruptFile as error:
        report.findings.append(Finding.of(error))
        return None
    except BadBytes as error:
        report.findings.append(Finding("corrupt", path, 0, str(error)))
        return None
    except StorageError:
        if os.path.exists(path):
            raise
        return None
    report.unchecked += [f"{path}: {reason}" for reason in unchecked]
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
