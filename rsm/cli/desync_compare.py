"""`rsm desync compare`: do logs, and the roots recorded with them, agree; without the code of the machine."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from rsm.cli.errors import FOUND, message
from rsm.cli.options import Command, json_option
from rsm.cli.output import count, plain, print_json, print_line, progress, shown, table
from rsm.cli.target import DISK, require_log
from rsm.desync.compare import Comparison
from rsm.desync.compare import compare as compare_logs
from rsm.desync.finding import EXIT_CODES, Finding
from rsm.desync.sources import bytes_at
from rsm.errors import BadBytes
from rsm.limits import BUCKETS

__all__ = ["compare"]

NO_VALUE = "(none)"
BUCKETS_SHOWN = 8
# What the document has of a finding; the rest is about replays.
FIELDS = (
    *("verdict", "kind", "first_bad_index", "first_bad_command", "command", "minority", "checked_to_index"),
    *("unchecked", "good_index"),
)


def head_document(finding: Finding) -> dict[str, Any]:
    """What every document has."""
    head = {name: getattr(finding, name) for name in FIELDS}
    return head | {"paths": [{"path": one.path, "values": one.values} for one in finding.paths]}


def failed_document(error: BaseException) -> dict[str, Any]:
    """A finding that says why there is none."""
    head = head_document(Finding(verdict="unchecked", unchecked=(message(error),)))
    return head | {"damaged": isinstance(error, BadBytes)}


@click.command(cls=Command)
@click.argument("paths", nargs=-1, required=True, metavar="LOG LOG [...]", type=click.Path())
@json_option(failed=failed_document)
def compare(paths: tuple[str, ...], as_json: bool) -> int:
    """Compare logs and the roots recorded with them.

    LOG is a machine's directory, its log directory, or a file that `rsm log export` wrote. The code of the machine is
    not needed; logs are read while they are written. Exits with 1 for a difference or damage, and with 3 if not all
    could be compared.

    \b
    Example: rsm desync compare c1/node-1 c1/node-2 c1/node-3
    """
    if len(paths) < 2:
        raise click.UsageError("Name two logs or more.")
    for path in paths:
        require_log(path)
    total, done = sum(bytes_at(DISK, path) for path in paths), 0
    with progress("comparing", total) as bar:

        def advance(number: int) -> None:
            nonlocal done
            done += number
            bar(min(done, total))

        comparison = compare_logs(DISK, paths, advance=advance)
    if as_json:
        print_json(document(comparison))
    else:
        show(comparison)
    return FOUND if comparison.is_damaged else EXIT_CODES[comparison.finding.verdict]


def document(comparison: Comparison) -> dict[str, Any]:
    """The document of --json: the finding, and what the report says besides."""
    finding = comparison.finding
    head = head_document(finding)
    if finding.blame:
        head["blame"] = [msgspec.structs.asdict(one) for one in finding.blame]
    more = {
        "what": comparison.what,
        "further": comparison.further,
        "roots": comparison.roots,
        "confirmed": comparison.confirmed,
        "logs_compared_to_index": comparison.logs_compared_to,
        "roots_compared_to_index": comparison.roots_compared_to,
        "buckets": comparison.buckets,
        "damaged": comparison.is_damaged,
        "sources": [msgspec.structs.asdict(side) for side in comparison.sides],
    }
    result: dict[str, Any] = plain(head | more)
    return result


def show(comparison: Comparison) -> None:
    """The report for people."""
    table(
        [
            (
                f"{side.source}:",
                "no entries" if side.last_index < side.first_index else f"{side.first_index:,} to {side.last_index:,}",
                count(side.roots, "own root"),
                count(side.snapshots, "snapshot"),
                "in use" if side.in_use else "",
            )
            for side in comparison.sides
        ]
    )
    finding = comparison.finding
    if finding.verdict == "desync":
        show_difference(comparison)
    for what in comparison.further:
        print_line(f"further: {what}")
    for reason in finding.unchecked:
        print_line(f"unchecked: {reason}")
    roots = f", roots up to {comparison.roots_compared_to:,}" if comparison.roots_compared_to else ""
    compared = f"the logs are one up to index {comparison.logs_compared_to:,}{roots}"
    if finding.verdict == "agree":
        print_line(f"agree: {compared}")
    elif finding.verdict == "desync":
        print_line(f"desync: {finding.kind} at index {finding.first_bad_index:,}: {compared}")
    else:
        print_line(f"unchecked: {compared if comparison.logs_compared_to else 'nothing could be compared'}")


def show_difference(comparison: Comparison) -> None:
    """Where they part: the commands, the roots and the paths side by side, and who differs from most."""
    finding = comparison.finding
    print_line(f"{finding.kind}: {comparison.what}")
    if finding.command is not None:
        position = finding.first_bad_command
        print_line(f"command {position} of the batch:" if position is not None else "command:")
        calls = finding.command.get("by_source") or dict.fromkeys(finding.minority, finding.command)
        table([(f"{source}:", call_words(call)) for source, call in calls.items()], indent="  ")
    if comparison.roots:
        print_line(f"roots at index {finding.first_bad_index:,}; up to {finding.good_index or 0:,} they agree:")
        rows = [] if comparison.confirmed is None else [("(confirmed):", comparison.confirmed)]
        table([*rows, *((f"{name}:", ", then ".join(own)) for name, own in comparison.roots.items())], indent="  ")
    for name, buckets in comparison.buckets.items():
        numbers = ", ".join(map(str, buckets[:BUCKETS_SHOWN])) + (", ..." if len(buckets) > BUCKETS_SHOWN else "")
        print_line(f"{name}: {count(len(buckets), 'bucket')} of {BUCKETS} differ: {numbers}")
    for path in finding.paths:
        print_line(path.path)
        sources = [side.source for side in comparison.sides if side.source in path.values] or list(path.values)
        table([(f"{source}:", shown(path.values[source])) for source in sources], indent="  ")
    for one in finding.blame:
        print_line(f"{one.source}: {one.file}:{one.line} wrote {one.what}")
        print_line(f"  {one.text}")
    if comparison.has_more_paths:
        print_line("more paths differ than are listed")
    if finding.minority:
        who = ", ".join(finding.minority)
        print_line(
            f"minority: {who} (different, which is not to say wrong)"
            if comparison.has_majority
            else f"no majority: {who} differ"
        )


def call_words(call: dict[str, Any] | None) -> str:
    """A command in one line."""
    if call is None:
        return NO_VALUE
    name = call["name"] if call["name"].isprintable() else shown(call["name"])
    words = [f"{name} v{call['version']}", *(f"{field}={shown(value)}" for field, value in call["values"].items())]
    words += [f"[{call_words(step)}]" for step in call.get("steps", ())]
    return " ".join(words)
