"""`rsm status`: what every member of a running cluster says of itself, once or as long as somebody watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from rsm.cli.access import access_options, find_access
from rsm.cli.errors import FINE, FOUND, UNCHECKED, WRONG, Unreadable
from rsm.cli.options import Command, json_option
from rsm.cli.output import print_json, print_json_line, print_line, table
from rsm.client.survey import Asked, Survey, survey
from rsm.client.tool import Access
from rsm.node.status import state_of

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["node_rows", "rich_table", "status", "verdict", "watch"]

# How often a watched cluster is asked unless told otherwise, and how long a node may then take: one that hangs must not
# hold up the others.
WATCH_SECONDS: Final = 1.0
WATCH_ANSWER_SECONDS: Final = 1.0

COLUMNS: Final = (
    *("node", "address", "role", "state", "term", "commit", "applied", "lag"),
    *("root", "log", "clients", "version"),
)


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
    ca: str | None,
    certificate: str | None,
    key: str | None,
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
    access = find_access(addresses, ca, certificate, key)
    if is_watching:
        return watch(access, as_json=as_json, seconds=seconds)
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


def rich_table(found: Survey, *, rates: dict[int, float] | None = None) -> Table:
    """The table for a terminal that is watched; `rates`: entries applied each second, by node."""
    from rich.markup import escape
    from rich.table import Table

    shown = Table(caption=escape(verdict(found)), caption_justify="left")
    for name in (*COLUMNS, "entries/s"):
        is_text = name in ("address", "role", "state", "root")
        shown.add_column(name, justify="left" if is_text else "right", no_wrap=True)
    for asked, row in zip(found.asked, node_rows(found)[1:], strict=True):
        one = asked.status
        style = "dim" if one is None else {"leader": "bold green", "follower": ""}.get(one.role, "yellow")
        if one is not None and (one.standing != "well" or one.desync or one.failure):
            style = "bold red"
        rate = (rates or {}).get(one.node_id) if one is not None else None
        shown.add_row(*map(escape, row), "" if rate is None else f"{rate:,.0f}", style=style or None)
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


def watch(access: Access, *, as_json: bool, seconds: float, sleep: Callable[[float], Any] = time.sleep) -> int:
    """Ask every so many seconds until interrupted; the exit code is that of the last answers."""
    code, rates = UNCHECKED, Rates()
    live = None
    try:
        if not as_json and sys.stdout.isatty():
            from rich.live import Live

            live = Live(auto_refresh=False)
            live.start()
        while True:
            found = survey(access, seconds=WATCH_ANSWER_SECONDS)
            code = _code_while_watching(found)
            if as_json:
                print_json_line(found.document())
            elif live is not None:
                live.update(rich_table(found, rates=rates.of(found, time.monotonic())), refresh=True)
            else:
                table(node_rows(found))
                print_line(verdict(found) + "\n")
            sys.stdout.flush()
            sleep(seconds)
    except KeyboardInterrupt:
        return code
    finally:
        if live is not None:
            live.stop()


def _code_while_watching(found: Survey) -> int:
    try:
        return exit_code_of(found)
    except Unreadable:
        return WRONG
