"""`rsm status`: what every member of a running cluster says of itself, once or as long as somebody watches."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Final

import click

from rsm.cli.access import FindAccess, access_options
from rsm.cli.errors import FINE, FOUND, UNCHECKED, WRONG, Unreadable
from rsm.cli.options import Command, json_option
from rsm.cli.output import print_json, print_line, table
from rsm.cli.watching import WATCH_SECONDS, Look, watching
from rsm.client.survey import Asked, Survey, survey
from rsm.node.status import state_of

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["node_rows", "rich_table", "status", "verdict"]

COLUMNS: Final = (
    *("node", "address", "role", "state", "term", "commit", "applied", "lag"),
    *("root", "log", "clients", "version"),
)
# What a narrow terminal does without, the first one first.
DISPENSABLE: Final = ("version", "log", "clients", "commit", "term")


@click.command(cls=Command)
@click.argument("addresses", metavar="[ADDR]...", nargs=-1)
@access_options
@json_option("Print one JSON document; with --watch, JSON Lines.")
@click.option("--watch", "is_watching", is_flag=True, help="Go on asking, until interrupted.")
@click.option(
    "--every",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(0.05, 3600),
    default=WATCH_SECONDS,
    help="How often, with --watch; every second if not given.",
)
def status(
    addresses: tuple[str, ...],
    find: FindAccess,
    as_json: bool,
    is_watching: bool,
    seconds: float,
) -> int:
    """Show the members of a running cluster.

    Roles, terms, indexes, lag, state roots and versions. ADDR is the client address of a member; the others are found
    through it. Exits with 1 without a quorum or with a desync, with 3 if nobody can be asked.

    \b
    Example: rsm status
    """
    access = find(addresses)
    if is_watching:
        return watching(access, watched(), as_json=as_json, seconds=seconds)
    found = survey(access)
    code = exit_code_of(found)
    if as_json:
        print_json(found.document())
    else:
        table(node_rows(found))
        print_line(verdict(found))
    return code


def exit_code_of(found: Survey) -> int:
    """0 fine, 1 no quorum or a desync, 3 nobody answered. `Unreadable` if what answered is no cluster of ours."""
    if not found.statuses:
        foreign = [asked for asked in found.asked if asked.is_foreign]
        if foreign and len(foreign) == len(found.asked):
            raise Unreadable(f"{foreign[0].address}: {foreign[0].error}")
        return UNCHECKED
    if len(found.clusters) > 1:
        raise Unreadable(f"these are nodes of {len(found.clusters)} clusters: {', '.join(sorted(found.clusters))}")
    return FOUND if found.desyncs or not found.has_quorum else FINE


def verdict(found: Survey) -> str:
    """What follows from the rows, in one line or a few."""
    lines = [f"desync: {text}" for text in found.desyncs]
    lines += [f"warning: {text}" for text in found.warnings]
    lines += [f"history: {text}" for text in found.history]
    lines += [f"unchecked: node {one.node_id}: {text}" for one in found.statuses for text in one.unchecked]
    lines += [f"failure: node {one.node_id}: {one.failure}" for one in found.statuses if one.failure]
    if not found.statuses:
        lines.append("no member could be asked")
    elif len(found.clusters) > 1:
        lines.append("these are nodes of different clusters")
    elif (leader := found.leader) is None:
        lines.append("no leader")
    else:
        voters = len(leader.voters)
        connected = {peer.id for peer in leader.peers if peer.is_connected} | {leader.node_id}
        up = len(connected & set(leader.voters))
        quorum = "quorum" if leader.has_quorum else "no quorum"
        lines.append(
            f"{leader.machine}, version {leader.version}: node {leader.node_id} leads term {leader.term}; "
            f"{quorum}, {up} of {voters} voters"
        )
    observed = [f"node {one.node_id}: {one.observers}" for one in found.statuses if one.observers]
    if observed:
        lines.append(f"observers: {', '.join(observed)}")
    return "\n".join(lines)


def node_rows(found: Survey) -> list[tuple[str, ...]]:
    """The table as text, its head first."""
    return [COLUMNS, *map(_row, found.asked)]


def _row(asked: Asked) -> tuple[str, ...]:
    one = asked.status
    if one is None:
        return ("?", asked.address, asked.error, *[""] * (len(COLUMNS) - 3))
    root = f"{one.root[:8]}@{one.root_index}" if one.root else ""
    numbers = (one.term, one.commit_index, one.applied_index, one.lag_entries)
    return (
        str(one.node_id),
        asked.address,
        one.role,
        state_of(one),
        *map(str, numbers),
        root,
        shown_bytes(one.log_bytes),
        str(one.clients),
        str(one.version),
    )


def shown_bytes(number: int) -> str:
    """A size for people."""
    size = float(number)
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} GiB"


def rich_table(found: Survey, *, rates: dict[int, float] | None = None, width: int | None = None) -> Table:
    """The table for a terminal that is watched; `rates`: entries applied each second, by node.

    `width` is that of the terminal unless given; where it is too small for all columns the least important ones go.
    """
    from rich.markup import escape
    from rich.table import Table

    rows = []
    for asked, row in zip(found.asked, node_rows(found)[1:], strict=True):
        rate = None if asked.status is None else (rates or {}).get(asked.status.node_id)
        cells = row if asked.status is not None else (*row[:2], "no answer", *row[3:])
        rows.append((*cells, "" if rate is None else f"{rate:,.0f}"))
    names = (*COLUMNS, "entries/s")
    widths = {name: max(len(name), *map(len, cells)) + 2 for name, *cells in zip(names, *rows, strict=True)}
    for name in DISPENSABLE:
        if sum(widths.values()) > (width or shutil.get_terminal_size().columns):
            del widths[name]
    silent = [f"{one.address}: {one.error}" for one in found.asked if one.status is None]
    caption = escape("\n".join([*silent, verdict(found)]))
    shown = Table(caption=caption, caption_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in widths:
        is_text = name in ("address", "role", "state", "root")
        shown.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for asked, row in zip(found.asked, rows, strict=True):
        one = asked.status
        style = "dim" if one is None else {"leader": "bold green", "follower": ""}.get(one.role, "yellow")
        if one is not None and (one.standing != "well" or one.desync or one.failure):
            style = "bold red"
        kept = (cell for name, cell in zip(names, row, strict=True) if name in widths)
        shown.add_row(*map(escape, kept), style=style or None)
    return shown


class Rates:
    """How fast the nodes apply, from one survey to the next."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[float, int]] = {}

    def of(self, found: Survey, now: float) -> dict[int, float]:
        """Entries a second, by node, since the survey before."""
        rates = {}
        for one in found.statuses:
            before = self._last.get(one.node_id)
            if before is not None and now > before[0]:
                rates[one.node_id] = max(0, one.applied_index - before[1]) / (now - before[0])
            self._last[one.node_id] = now, one.applied_index
        return rates


def watched() -> Look:
    """What is shown of a cluster as long as somebody watches."""
    rates = Rates()

    def write(found: Survey) -> None:
        table(node_rows(found))
        print_line(verdict(found) + "\n")

    return Look(
        _code_while_watching,
        Survey.document,
        lambda found: rich_table(found, rates=rates.of(found, time.monotonic())),
        write,
    )


def _code_while_watching(found: Survey) -> int:
    try:
        return exit_code_of(found)
    except Unreadable:
        return WRONG
