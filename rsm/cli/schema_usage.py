"""`rsm schema usage`: which versions still occur anywhere, and what nothing needs any more."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from rsm.cli.access import FindAccess, access_options, is_address
from rsm.cli.errors import FINE, FOUND, UNCHECKED
from rsm.cli.options import Command, json_option
from rsm.cli.output import count, iso_time, print_json, print_line, progress, table
from rsm.cli.reading import entries_of
from rsm.cli.target import DISK, as_files, file_bytes, load_machine, require_kind, snapshot_paths
from rsm.client.tool import Access, ToolConnection
from rsm.codec.record import HEADER_BYTES, RecordKind, decode_header
from rsm.errors import BadBytes, RsmError, StorageError, UnknownFormat
from rsm.limits import SNAPSHOT_RECORD_BYTES_MAX
from rsm.node.network.protocol import Export
from rsm.node.storage.scan import scan
from rsm.node.storage.snapshots import read_snapshot
from rsm.schemas.usage import SourceUse, rows_of
from rsm.schemas.verdicts import Verdict, of_classes, of_upcasters, unsure

__all__ = ["usage"]


@click.command(cls=Command)
@click.argument("sources", metavar="LOG|SNAPSHOT|ADDR [...]", nargs=-1, required=True)
@click.option(
    "--machine",
    metavar="MODULE:CLASS",
    help="Say of each of its upcasters and old classes whether anything still needs it.",
)
@access_options
@json_option()
def usage(
    sources: tuple[str, ...],
    machine: str | None,
    find: FindAccess,
    as_json: bool,
) -> int:
    """Tell which versions of commands and of the machine still occur.

    LOG is a machine's directory (its log, snapshots, timers and sessions), a log directory, or a file that rsm log
    export wrote; SNAPSHOT a snapshot file; ADDR the client address of a running node. What is not named is not looked
    at: name every node and every archive. Exits with 3 if something could not be looked at; then nothing is called
    dead.

    \b
    Example: rsm schema usage bank-data --machine bank:Bank
    """
    definition = None if machine is None else load_machine(machine).definition
    read = []
    for source in sources:
        if is_address(source):
            read.append(read_node(source, find([source]), sources))
        elif is_snapshot(source):
            read.append(read_snapshots(source))
        else:
            read.append(read_log(source))
    reasons = unsure(read)
    if definition is not None:
        for one in read:
            if one.machine and one.machine != definition.name:
                reasons.append(f"{one.name}: belongs to machine {one.machine!r}, not to {definition.name!r}")
    upcasters = [] if definition is None else of_upcasters(definition, read, reasons)
    classes = [] if definition is None else of_classes(definition, read, reasons)
    if as_json:
        print_json(document(read, machine, upcasters, classes, reasons))
    else:
        show(read, machine, upcasters, classes, reasons)
    if any(one.is_damaged for one in read):
        return FOUND
    return UNCHECKED if reasons else FINE


# --- reading ----------------------------------------------------------------------------------------------------------


def is_snapshot(path: str) -> bool:
    """Whether a path is a snapshot file, by its first record."""
    if os.path.isdir(path) or not os.path.exists(path):
        return False
    file = DISK.open(path, writable=False)
    try:
        kind = decode_header(file.pread(HEADER_BYTES, 0), bytes_max=SNAPSHOT_RECORD_BYTES_MAX).kind
    except (BadBytes, UnknownFormat):
        return path.endswith(".snapshot")
    finally:
        file.close()
    return kind is RecordKind.MANIFEST


def read_log(path: str) -> SourceUse:
    """A directory or a piece of a log, and the snapshots beside it."""
    if not os.path.isdir(path):
        require_kind(path, RecordKind.SEGMENT)
    directory = path if os.path.isdir(os.path.join(path, "log")) else ""
    use = SourceUse(path, serves=bool(directory))
    is_open = bool(directory) and DISK.is_locked(os.path.join(path, "lock"))
    log = scan(DISK, path)
    if directory:
        add_snapshots(use, sorted(snapshot_paths(path)))
    with noting(use):
        for scanned in entries_of(log, f"reading {path}"):
            use.add_entry(scanned.entry)
        if log.torn is not None and not is_open:
            use.leave(f"{log.torn.path}: offset {log.torn.offset}: a torn tail of {log.torn.bytes} bytes was not read")
    use.finish(is_open=is_open)
    return use


def read_snapshots(path: str) -> SourceUse:
    """A snapshot file that somebody may restore."""
    use = SourceUse(path, serves=False)
    add_snapshots(use, as_files(path))
    use.finish(is_open=False)
    return use


def add_snapshots(use: SourceUse, paths: list[str]) -> None:
    """Snapshots by index, the newest in full."""
    with progress("reading snapshots", file_bytes(paths)):
        for path in reversed(paths):
            with noting(use):
                use.add_snapshot(path, read_snapshot(DISK, path), is_newest=not use.timers_under)


class noting:
    """Damage, and what a newer release wrote, become reasons."""

    def __init__(self, use: SourceUse) -> None:
        self.use = use

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, BadBytes):
            self.use.is_damaged = True
        if isinstance(error, BadBytes | UnknownFormat | StorageError):
            self.use.leave(str(error))
            return True
        return False


def read_node(address: str, access: Access, named: tuple[str, ...]) -> SourceUse:
    """A running node: what it exports of its log, and what it says of its timers, sessions and fellow members."""
    use = SourceUse(address, serves=True)
    try:
        with ToolConnection(address, access) as connection:
            for entry in rows_of(connection.stream(Export(0, 0))):
                use.add_entry(entry)
            status = connection.status()
    except BadBytes as error:
        use.is_damaged = True
        use.leave(str(error))
        return use
    except RsmError as error:
        use.leave(str(error))
        return use
    use.machine = use.machine or status.machine
    use.in_force = use.in_force or status.version
    use.add_status(status.timers, status.sessions)
    use.finish(is_open=True, tells_status=True)
    for member in status.members:
        if member.id != status.node_id and member.client_address not in named:
            use.leave(f"node {member.id} ({member.client_address or 'without an address'}) was not looked at")
    return use


# --- showing ----------------------------------------------------------------------------------------------------------


def commands_of(read: list[SourceUse]) -> list[dict[str, Any]]:
    """Each command version with where it occurs."""
    rows: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for use in read:
        for (name, version, under), used in sorted(use.used.items()):
            row = {
                "source": use.name,
                "machine_version": under,
                "count": used.count,
                "first_index": used.first_index,
                "last_index": used.last_index,
                "last_time": iso_time(used.last_stamp),
            }
            rows.setdefault((name, version), []).append(row)
    return [{"name": name, "version": version, "where": where} for (name, version), where in sorted(rows.items())]


def timers_of(read: list[SourceUse]) -> list[dict[str, Any]]:
    """Timers that wait, by command version and source."""
    return [
        {"name": name, "version": version, "source": use.name, "count": number}
        for use in read
        for (name, version), number in sorted(use.timers.items())
    ]


def machine_versions_of(read: list[SourceUse]) -> list[dict[str, Any]]:
    """Machine versions, with the entries and snapshots of each."""
    rows = []
    for use in read:
        for version, seen in sorted(use.machine_versions.items()):
            entries = {"first_index": seen.first_index, "last_index": seen.last_index}
            rows.append({"version": version, "source": use.name, "kind": "log", **entries})
        for path, (version, index) in sorted(use.snapshots.items()):
            rows.append(
                {"version": version, "source": path, "kind": "snapshot", "first_index": index, "last_index": index}
            )
    return sorted(rows, key=lambda row: row["version"])


def document(
    read: list[SourceUse], machine: str | None, upcasters: list[Verdict], classes: list[Verdict], reasons: list[str]
) -> dict[str, Any]:
    """All of it, as --json has it."""
    return {
        "sources": [use.name for use in read],
        "machine": machine,
        "commands": commands_of(read),
        "timers": timers_of(read),
        "machine_versions": machine_versions_of(read),
        "live_sessions": sum(len(use.live) for use in read),
        "upcasters": [
            {
                "command": one.command,
                "from_version": one.from_version,
                "machine_version": one.machine_version,
                "verdict": one.word,
                "where": list(one.where),
            }
            for one in upcasters
        ],
        "classes": [
            {"machine_version": one.machine_version, "verdict": one.word, "where": list(one.where)} for one in classes
        ],
        "unchecked": reasons,
    }


def show(
    read: list[SourceUse], machine: str | None, upcasters: list[Verdict], classes: list[Verdict], reasons: list[str]
) -> None:
    """All of it, for people."""
    section(
        "commands",
        [
            (
                command["name"],
                f"v{command['version']}",
                f"{row['count']:,}",
                f"{row['source']}: {row['first_index']} to {row['last_index']}",
                f"under version {row['machine_version']}",
                f"last at {row['last_time']}",
            )
            for command in commands_of(read)
            for row in command["where"]
        ],
    )
    section(
        "timers",
        [(row["name"], f"v{row['version']}", f"{row['count']:,}", str(row["source"])) for row in timers_of(read)],
    )
    section(
        "machine versions",
        [
            (
                str(row["version"]),
                str(row["source"]),
                f"{row['first_index']} to {row['last_index']}" if row["kind"] == "log" else "snapshot",
            )
            for row in machine_versions_of(read)
        ],
    )
    live = sum(len(use.live) for use in read)
    if live:
        print_line(count(live, "live session"))
    newest = max((one.machine_version for one in upcasters), default=0)
    words = [
        (
            f"{one.command} v{one.from_version} to v{one.from_version + 1}"
            + ("" if one.machine_version == newest else f", of machine version {one.machine_version}"),
            *told(one),
        )
        for one in upcasters
    ]
    section(f"upcasters of {machine}", words)
    section(f"old classes of {machine}", [(f"machine version {one.machine_version}", *told(one)) for one in classes])
    for reason in reasons:
        print_line(f"unchecked: {reason}")


def told(verdict: Verdict) -> tuple[str, str]:
    """A verdict in two cells."""
    if verdict.word == "dead":
        return "dead", "may be deleted"
    if verdict.word == "unchecked":
        return "unchecked", "not everything was looked at"
    more = f"; and {len(verdict.where) - 2} more" if len(verdict.where) > 2 else ""
    return verdict.word, "; ".join(verdict.where[:2]) + more


def section(title: str, rows: Sequence[tuple[str, ...]]) -> None:
    """A title, and rows below it, if there are any."""
    if rows:
        print_line(title)
        table(rows, indent="  ")
