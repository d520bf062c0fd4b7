"""`rsm desync watch`: the state roots of all members side by side, at every hash point, as long as somebody looks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from rsm.cli.access import FindAccess, access_options
from rsm.cli.errors import FINE, FOUND, UNCHECKED, WRONG
from rsm.cli.options import Command, json_option
from rsm.cli.output import print_line, table
from rsm.cli.watching import WATCH_SECONDS, Look, watching
from rsm.client.findings import cases_of, is_settled, listed
from rsm.client.survey import Survey
from rsm.limits import ROOTS_SHOWN
from rsm.node.status import NodeStatus, state_of

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["document", "notes", "rich_roots", "root_rows", "watch"]

# What is shown of a root: eight digits tell any two apart that a person will see.
ROOT_CHARACTERS: Final = 8
NOT_KNOWN: Final = "-"


@click.command(cls=Command)
@click.argument("addresses", metavar="[ADDR]...", nargs=-1)
@access_options
@json_option("Print JSON Lines, one for each look.", failed=None)
@click.option(
    "--every",
    "seconds",
    metavar="SECONDS",
    type=click.FloatRange(0.05, 3600),
    default=WATCH_SECONDS,
    help="How often to look; every second if not given.",
)
def watch(addresses: tuple[str, ...], find: FindAccess, as_json: bool, seconds: float) -> int:
    """Watch the state roots of a running cluster.

    The latest hash points, and what root each node has there; who is unchecked and why, who lags, and the verdicts.
    Goes on until interrupted; exits with 1 if there is a desync then, with 3 if nobody could be asked.

    \b
    Example: rsm desync watch
    """
    look = Look(code_of, document, rich_roots, write)
    return watching(find(addresses), look, as_json=as_json, seconds=seconds)


def write(found: Survey) -> None:
    """For an output that is no terminal."""
    table(root_rows(found))
    print_line("\n".join(notes(found)) + "\n")


def code_of(found: Survey) -> int:
    """What the end would mean now."""
    if not found.statuses:
        return UNCHECKED
    if len(found.clusters) > 1:
        return WRONG
    return FOUND if found.desyncs else FINE


# --- what is seen -----------------------------------------------------------------------------------------------------


def roots_of(statuses: list[NodeStatus]) -> dict[int, dict[int, str]]:
    """The latest hash points, newest first: the root of each node that knows it, by node."""
    points: dict[int, dict[int, str]] = {}
    for status in statuses:
        for index, root in (*status.roots, (status.root_index, status.root)):
            if root:
                points.setdefault(index, {})[status.node_id] = root
    return {index: points[index] for index in sorted(points, reverse=True)[:ROOTS_SHOWN]}


def verdict_at(roots: dict[int, str], nodes: int) -> str:
    """What the roots at one hash point say: `differ`, `agree` if all nodes have the same, else who is not heard of."""
    if len(set(roots.values())) > 1:
        return "differ"
    return "agree" if len(roots) == nodes and nodes > 1 else f"{len(roots)} of {nodes}"


def root_rows(found: Survey) -> list[tuple[str, ...]]:
    """The table as text, its head first."""
    statuses = found.statuses
    head = ("index", *(f"node {status.node_id}" for status in statuses), "roots")
    rows = [head]
    for index, roots in roots_of(statuses).items():
        cells = (roots.get(status.node_id, "")[:ROOT_CHARACTERS] or NOT_KNOWN for status in statuses)
        rows.append((str(index), *cells, verdict_at(roots, len(statuses)) + _confirmed(index, statuses)))
    rows.append(("state", *map(state_of, statuses), ""))
    return rows


def _confirmed(index: int, statuses: list[NodeStatus]) -> str:
    return ", confirmed" if index <= max((status.confirmed_index for status in statuses), default=0) else ""


def notes(found: Survey) -> list[str]:
    """What the table does not say, in lines: differences, warnings, who is unchecked, who lags, what is over."""
    lines = [f"desync: {text}" for text in found.desyncs]
    lines += [f"warning: {text}" for text in found.warnings]
    lines += [f"unchecked: {text}" for text in found.unchecked]
    lines += [f"lag: node {number} is {lag} entries behind" for number, lag in lags(found.statuses).items()]
    lines += [f"history: {text}" for text in found.history]
    if not found.statuses:
        lines.append("no member could be asked")
    elif len(found.clusters) > 1:
        lines.append("these are nodes of different clusters")
    elif not found.desyncs:
        confirmed = max(status.confirmed_index for status in found.statuses)
        who = listed(status.node_id for status in found.statuses)
        lines.append(f"{who}: no difference in sight; a quorum has confirmed index {confirmed}")
    return lines


def lags(statuses: list[NodeStatus]) -> dict[int, int]:
    """How many entries each node is behind the one that has applied most; only those that are."""
    most = max((status.applied_index for status in statuses), default=0)
    return {status.node_id: most - status.applied_index for status in statuses if status.applied_index < most}


def document(found: Survey) -> dict[str, Any]:
    """One look, as JSON has it."""
    statuses = found.statuses
    cases = cases_of(statuses)
    return {
        "cluster_id": min(found.clusters, default=None),
        "desync": found.desyncs,
        "warnings": found.warnings,
        "unchecked": found.unchecked,
        "history": found.history,
        "confirmed_index": max((status.confirmed_index for status in statuses), default=0),
        "roots": [
            {"index": index, "roots": {str(number): root for number, root in sorted(roots.items())}}
            for index, roots in roots_of(statuses).items()
        ],
        "nodes": [_node(status) for status in statuses],
        "lag_entries": {str(number): lag for number, lag in lags(statuses).items()},
        "cases": [{**msgspec.to_builtins(case), "is_settled": is_settled(case, statuses)} for case in cases],
    }


def _node(status: NodeStatus) -> dict[str, Any]:
    return {
        "node_id": status.node_id,
        "state": state_of(status),
        "applied_index": status.applied_index,
        "code_digest": status.code_digest,
    }


def rich_roots(found: Survey) -> Table:
    """The table for a terminal: green where all that are known agree, red where not."""
    from rich.markup import escape
    from rich.table import Table

    statuses = found.statuses
    shown = Table(caption=escape("\n".join(notes(found))), caption_justify="left")
    rows = root_rows(found)
    for name in rows[0]:
        shown.add_column(name, justify="right" if name == "index" else "left", no_wrap=True)
    for (index, roots), row in zip(roots_of(statuses).items(), rows[1:-1], strict=True):
        styles = [_style(roots, status, index) for status in statuses]
        cells = [f"[{style}]{escape(cell)}[/]" for style, cell in zip(styles, row[1:-1], strict=True)]
        shown.add_row(escape(row[0]), *cells, f"[red]{escape(row[-1])}[/]" if "differ" in row[-1] else escape(row[-1]))
    colours = {"well": "green", "unchecked": "yellow"}
    shown.add_section()
    shown.add_row("state", *(f"[{colours.get(state_of(one), 'bold red')}]{state_of(one)}[/]" for one in statuses), "")
    return shown


def _style(roots: dict[int, str], status: NodeStatus, index: int) -> str:
    root, known = roots.get(status.node_id), list(roots.values())
    if root is None:
        return "dim"
    if root != max(known, key=known.count):
        return "red"
    return "green" if len(known) > 1 or index <= status.confirmed_index else "default"
