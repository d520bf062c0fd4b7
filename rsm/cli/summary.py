"""What `log info` says: one pass over a log, counting, in memory that does not grow with it."""

from __future__ import annotations

import os
from collections import Counter
from typing import Any

from rsm.cli.output import count, iso_time, plain, print_line, table
from rsm.cli.reading import entries_of, items_of, open_named
from rsm.cli.target import DISK, machine_directory
from rsm.limits import CLI_COMMANDS_COUNTED_MAX, HASH_INTERVAL_ENTRIES
from rsm.node.storage.directory import read_identity
from rsm.node.storage.scan import LogScan, Scanned
from rsm.node.storage.segment import TornTail, encode_head
from rsm.replica.batch import CONFIRMED
from rsm.replica.naming import SYSTEM_PREFIX, Names

__all__ = ["print_summary", "summarize", "torn_as_dict"]


def torn_as_dict(torn: TornTail | None) -> dict[str, Any] | None:
    """A torn tail as JSON has it."""
    return None if torn is None else {"file": torn.path, "offset": torn.offset, "bytes": torn.bytes}


class Summary:
    """The counts, entry by entry."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.kinds: Counter[str] = Counter()
        self.commands: Counter[tuple[str, int]] = Counter()
        self.uncounted = 0
        self.raw_bytes = 0
        self.hash_points = 0
        self.confirmed = 0
        self.last_confirmed: dict[str, Any] | None = None
        self.stamps: tuple[int, int] | None = None
        self.terms: tuple[int, int] | None = None
        self.segments: dict[str, tuple[int, int]] = {}  # file -> entries, offset behind the last

    def add(self, scanned: Scanned) -> None:
        """Count an entry."""
        entry = scanned.entry
        entries, _ = self.segments.get(scanned.path, (0, 0))
        self.segments[scanned.path] = entries + 1, scanned.end
        self.kinds[entry.kind.name] += 1
        self.raw_bytes += len(entry.payload)
        self.terms = (entry.term if self.terms is None else self.terms[0], entry.term)
        is_hash_point = entry.index % HASH_INTERVAL_ENTRIES == 0
        for item in items_of(scanned, self.names):
            if item.batch is not None:
                stamp = item.batch.stamp
                self.stamps = (stamp if self.stamps is None else self.stamps[0], stamp)
                is_hash_point = is_hash_point or item.batch.is_hash_point
            if item.call is not None:
                self._count(item.call.name, item.call.version)
                for step in item.steps or ():
                    self._count(step.name, step.version)
                if item.call.name == CONFIRMED:
                    self.confirmed += 1
                    self.last_confirmed = plain(item.call.values)
        self.hash_points += is_hash_point

    def _count(self, name: str, version: int) -> None:
        if len(self.commands) < CLI_COMMANDS_COUNTED_MAX or (name, version) in self.commands:
            self.commands[name, version] += 1
        else:
            self.uncounted += 1


def summarize(path: str) -> dict[str, Any]:
    """Read the log at `path` and return the document that `log info --json` prints."""
    log, names = open_named(path)
    summary = Summary(names)
    for scanned in entries_of(log):
        summary.add(scanned)
    return _document(path, log, summary)


def _document(path: str, log: LogScan, summary: Summary) -> dict[str, Any]:
    directory = machine_directory(path)
    names = summary.names
    machine = names.machine if directory is None else read_identity(DISK, directory).machine
    segments = []
    for file, head in zip(log.paths, log.heads, strict=True):
        entries, end = summary.segments.get(file, (0, len(encode_head(head))))
        segments.append({"file": file, "first_index": head.first_index, "entries": entries, "bytes": end})
    return {
        "path": path,
        "machine": machine,
        "machine_version": names.version,
        "cluster_id": log.head.cluster_id.hex(),
        "group_id": log.head.group_id,
        "first_index": log.first_index,
        "last_index": log.last_index,
        "first_term": None if summary.terms is None else summary.terms[0],
        "last_term": None if summary.terms is None else summary.terms[1],
        "first_time": None if summary.stamps is None else iso_time(summary.stamps[0]),
        "last_time": None if summary.stamps is None else iso_time(summary.stamps[1]),
        "chain": log.last_chain.hex(),
        "segments": segments,
        "raw_bytes": summary.raw_bytes,
        "stored_bytes": sum(segment["bytes"] for segment in segments),
        "entries": dict(sorted(summary.kinds.items())),
        "commands": [
            {"name": name, "version": version, "count": number}
            for (name, version), number in sorted(summary.commands.items(), key=_users_first)
        ],
        "commands_not_counted": summary.uncounted,
        "hash_points": summary.hash_points,
        "confirmed_roots": summary.confirmed,
        "last_confirmed": summary.last_confirmed,
        "torn": torn_as_dict(log.torn),
    }


def _users_first(counted: tuple[tuple[str, int], int]) -> tuple[bool, str, int]:
    (name, version), _ = counted
    return name.startswith(SYSTEM_PREFIX), name, version


def print_summary(document: dict[str, Any]) -> None:
    """The document for people."""
    entries = document["last_index"] - document["first_index"] + 1
    machine = "unknown (this piece of a log does not name it)"
    if document["machine"] is not None:
        machine = f"{document['machine']}, version {document['machine_version'] or 'not declared here'}"
    rows = [
        ("machine", machine),
        ("cluster", f"{document['cluster_id']}, group {document['group_id']}"),
        ("log", f"{count(len(document['segments']), 'segment')}, {count(entries, 'entry')}"),
    ]
    if entries:
        rows += [
            ("index", f"{document['first_index']} to {document['last_index']}"),
            ("term", f"{document['first_term']} to {document['last_term']}"),
            ("kinds", ", ".join(f"{number:,} {kind}" for kind, number in document["entries"].items())),
        ]
    if document["first_time"] is not None:
        rows.append(("log time", f"{document['first_time']} to {document['last_time']}"))
    rows.append(("bytes", f"{document['raw_bytes']:,} of entries, {document['stored_bytes']:,} stored"))
    confirmed = document["last_confirmed"]
    last = "" if confirmed is None else f", the last at index {confirmed.get('index')}: {confirmed.get('root')}"
    rows.append(
        ("roots", f"{count(document['hash_points'], 'hash point')}, {document['confirmed_roots']} confirmed{last}")
    )
    rows.append(("chain", document["chain"]))
    torn = document["torn"]
    rows.append(
        ("torn tail", f"{torn['bytes']} bytes at offset {torn['offset']} of {torn['file']}" if torn else "none")
    )
    print_line(document["path"])
    table(rows, indent="  ")
    if document["commands"]:
        print_line("")
        listed = [(row["name"], f"v{row['version']}", f"{row['count']:,}") for row in document["commands"]]
        table([("command", "version", "count"), *listed], indent="  ")
    if len(document["segments"]) > 1:
        print_line("")
        files = [
            (os.path.basename(row["file"]), f"{row['first_index']:,}", f"{row['entries']:,}", f"{row['bytes']:,}")
            for row in document["segments"]
        ]
        table([("segment", "first index", "entries", "bytes"), *files], indent="  ")
