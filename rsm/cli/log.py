"""`rsm log`: what a log holds, command by command; whether it is whole; a piece of it as a file of its own."""

from __future__ import annotations

import contextlib
import sys
from typing import Any

import click

from rsm.cli.access import FindAccess, access_options, is_address
from rsm.cli.check import check_log
from rsm.cli.errors import FINE, FOUND
from rsm.cli.options import Group, first_and_last, json_option, path_argument
from rsm.cli.output import count, iso_time, plain, print_json, print_json_line, print_line, shown
from rsm.cli.reading import check_range, entries_of, items_of, open_log, open_named
from rsm.cli.selection import Condition, Selection, parse_conditions
from rsm.cli.summary import print_summary, summarize
from rsm.cli.target import DISK, require_log
from rsm.client.tool import ToolConnection
from rsm.errors import CallerError, StorageError
from rsm.node.network.protocol import Export, Roots
from rsm.node.storage.exporting import read_roots_parts, write_parts
from rsm.node.storage.root_book import ROOTS_SUFFIX, book_path, copy_roots, write_roots
from rsm.node.storage.scan import export as export_entries
from rsm.node.storage.segment import TornTail
from rsm.replica.batch import ACTIVATE
from rsm.replica.naming import Call, Item

__all__ = ["log"]


@click.group(cls=Group)
def log() -> None:
    """Look inside a log.

    DIR_OR_FILE is a machine's directory, its log directory, or one segment file. Logs are read while they are written.

    \b
    Example: rsm log info bank-data
    """


@log.command()
@path_argument()
@json_option()
def info(path: str, as_json: bool) -> int:
    """Say whose log it is and what it holds.

    Exits with 1 if the log is damaged or ends in a torn tail.

    \b
    Example: rsm log info bank-data
    """
    document = summarize(path)
    if as_json:
        print_json(document)
    else:
        print_summary(document)
    return FINE if document["torn"] is None else FOUND


@log.command()
@path_argument()
@click.option("--command", "commands", metavar="NAME", multiple=True, help="Only this command; may be repeated.")
@click.option(
    "--where",
    "conditions",
    metavar="FIELD=VALUE",
    multiple=True,
    callback=parse_conditions,
    help="Only commands whose field has this value, as JSON or as text; all of them must hold.",
)
@first_and_last
@click.option("--all", "shows_system", is_flag=True, help="Show the system's own commands and empty entries too.")
@json_option("Print JSON Lines, one command a line.", failed=None)
def cat(
    path: str,
    commands: tuple[str, ...],
    conditions: tuple[Condition, ...],
    first: int | None,
    last: int | None,
    shows_system: bool,
    as_json: bool,
) -> int:
    """Print commands by name and field.

    The names come from the log: the code of the machine is not needed. A pipeline is shown with its steps, and is
    selected when one of them is. Bytes are shown as hex, times in UTC. System commands are shown with --all, or when
    --command names them.

    \b
    Example: rsm log cat bank-data --command deposit --where to=ann
    """
    check_order(first, last)
    opened, names = open_named(path, first)
    selection = Selection(commands, conditions, shows_system=shows_system)
    activation = ACTIVATE.encode()
    # With a terminal on both ends the lines themselves show how far it is.
    for scanned in entries_of(opened, quiet=sys.stdout.isatty()):
        if last is not None and scanned.entry.index > last:
            break
        is_wanted = first is None or scanned.entry.index >= first
        is_candidate = is_wanted and selection.may_match(scanned.entry.payload)
        if not is_candidate and activation not in scanned.entry.payload:
            continue
        for item in items_of(scanned, names):
            if is_wanted and selection.matches(item):
                print_item(item, as_json=as_json)
    check_range(opened, first, last)
    selection.check_words(path, names)
    return report_torn(opened.torn)


def check_order(first: int | None, last: int | None) -> None:
    """Refuse a range that ends before it begins."""
    if first is not None and last is not None and last < first:
        raise click.UsageError(f"--to {last} is before --from {first}.")


def report_torn(torn: TornTail | None) -> int:
    """Tell of a torn tail on standard error; the exit code that it makes."""
    if torn is None:
        return FINE
    click.echo(f"rsm: {torn.path}: offset {torn.offset}: torn tail of {torn.bytes} bytes, not shown", err=True)
    return FOUND


def print_item(item: Item, *, as_json: bool) -> None:
    """One line: JSON, or for people."""
    if as_json:
        print_json_line(item_document(item))
        return
    time = "" if item.batch is None else f"  {iso_time(item.batch.stamp)}"
    if item.call is None:
        print_line(f"{item.entry.index}{time}  {item.entry.kind.name if item.batch is None else 'no commands'}")
        return
    sender = f"  session={item.session} sequence={item.sequence}" if item.session else ""
    key = "" if item.key is None else f" key={shown(item.key)}"
    steps = "" if item.steps is None else f" of {count(len(item.steps), 'step')}"
    words = call_words(item.call) + steps
    print_line(f"{item.entry.index}.{item.position}{time}  {words}{sender}{key}")
    for step in item.steps or ():
        print_line(f"    {call_words(step)}")


def item_document(item: Item) -> dict[str, Any]:
    """One line of --json."""
    document: dict[str, Any] = {"index": item.entry.index, "term": item.entry.term}
    if item.batch is not None:
        document["time"] = iso_time(item.batch.stamp)
    if item.call is None:
        return {**document, "kind": item.entry.kind.name}
    document |= {"position": item.position, "session": item.session, "sequence": item.sequence, "key": item.key}
    if item.steps is None:
        return document | call_document(item.call)
    head = {"name": item.call.name, "version": item.call.version}
    return document | head | {"steps": [call_document(step) for step in item.steps]}


def call_document(call: Call) -> dict[str, Any]:
    """One command, as --json has it."""
    return {"name": call.name, "version": call.version, "values": plain(call.values)}


def call_words(call: Call) -> str:
    """A command in words: name, version, values."""
    name = call.name if call.name.isprintable() else shown(call.name)
    version = f" v{call.version}" if call.version else ""
    return " ".join([f"{name}{version}", *(f"{field}={shown(value)}" for field, value in call.values.items())])


@log.command()
@path_argument()
@json_option()
def verify(path: str, as_json: bool) -> int:
    """Check every byte.

    Checksums, hash chain, order and batches; in a machine's directory also its identity, its term and its snapshots.
    Exits with 1 if anything is damaged or torn, with file and offset of each finding.

    \b
    Example: rsm log verify bank-data
    """
    require_log(path)
    return check_log(path).show(as_json=as_json)


@log.command()
@path_argument(metavar="DIR_OR_ADDR")
@click.argument("out", metavar="OUT", type=click.Path())
@first_and_last
@access_options
@json_option()
def export(
    path: str,
    out: str,
    first: int | None,
    last: int | None,
    find: FindAccess,
    as_json: bool,
) -> int:
    """Write entries into one segment file.

    Every other command accepts it. OUT must not exist. The roots that the machine noted for these entries come into
    OUT.roots, from where rsm desync compare takes them. DIR_OR_ADDR is a log, as for the other commands, or the client
    address of a running node, which sends what is committed; with TLS that takes a certificate of role admin.

    \b
    Example: rsm log export bank-data piece.log --from 3 --to 5
    """
    check_order(first, last)
    if DISK.exists(out + ROOTS_SUFFIX):
        raise CallerError(f"{out}{ROOTS_SUFFIX}: it exists already: remove it or choose another path")
    if is_address(path):
        access = find([path])
        with ToolConnection(path, access) as connection:
            begin, end = export_from(connection, out, first or 0, last or 0)
        if as_json:
            print_json({"path": path, "out": out, "entries": end - begin + 1})
        else:
            print_line(f"{out}: {count(end - begin + 1, 'entry')}")
        return FINE
    require_log(path)
    number = export_entries(DISK, path, out, first, last)
    begin = open_log(out).first_index
    copy_roots(DISK, book_path(DISK, path), out + ROOTS_SUFFIX, begin, begin + number - 1)
    if as_json:
        print_json({"path": path, "out": out, "entries": number})
    else:
        print_line(f"{out}: {count(number, 'entry')}")
    return report_torn(end_of(path)) if last is None else FINE


def export_from(connection: ToolConnection, out: str, first: int, last: int) -> tuple[int, int]:
    """Write what a node sends, entries and roots, or nothing; first and last index."""
    begin, end = write_parts(DISK, out, connection.stream(Export(first, last)))
    try:
        roots = read_roots_parts(connection.stream(Roots(begin, end)), begin, end)
        write_roots(DISK, out + ROOTS_SUFFIX, roots)
    except BaseException:
        with contextlib.suppress(StorageError):
            DISK.unlink(out)
        raise
    return begin, end


def end_of(path: str) -> TornTail | None:
    """The torn tail of a log, found by reading its last segment."""
    end = open_log(path, first=2**63)
    for _ in end:
        pass
    return end.torn
