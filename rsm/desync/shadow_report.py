"""What a shadow has seen, for people: lines of text; and for programs: the document that `--json` prints."""

from __future__ import annotations

from typing import Any

import msgspec

from rsm.desync.report import command_words, path_lines
from rsm.desync.shadow import Example, ShadowReport

__all__ = ["document", "headline", "lines", "notes", "rows"]

WORDS = {"agree": "no difference", "differs": "DIFFERENT", "unchecked": "not checked"}


def document(report: ShadowReport) -> dict[str, Any]:
    """The report as JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(report)
    return found


def rows(report: ShadowReport) -> list[tuple[str, ...]]:
    """The types of commands with what differed, a head first; the names are made safe to print."""
    head = ("command", "compared", "result", "events", "state")
    return [
        head,
        *(
            (name if name.isprintable() else ascii(name), *(f"{number:,}" for number in numbers))
            for name, one in report.types.items()
            for numbers in [(one.commands, one.result, one.events, one.state)]
        ),
    ]


def headline(report: ShadowReport) -> str:
    """One line: what is compared, how far it is, and the verdict."""
    versions = (
        f"version {report.present_version} in force, version {report.new_version} new"
        if report.present_version != report.new_version
        else f"version {report.new_version}"
    )
    extent = f"entries {report.first_index:,} to {report.last_index:,}" if report.last_index else "no entry"
    commands = f"{report.commands:,} command{'' if report.commands == 1 else 's'}"
    return f"{report.machine}: {versions}; {extent}, {commands}: {WORDS[report.verdict]}"


def notes(report: ShadowReport) -> list[str]:
    """What the table does not say."""
    found = [f"  found          {text}" for text in report.findings]
    if report.root_differs:
        found.append(f"  roots          differ from index {report.root_differs} on")
    elif report.roots_compared:
        found.append(f"  roots          {report.roots_compared:,} compared, all equal")
    if report.confirmed_index:
        found.append(
            f"  confirmed      the code in force has the roots of the cluster, up to index {report.confirmed_index}"
        )
    if report.containers_differ:
        found.append(f"  now different  {', '.join(report.containers_differ)}")
    if report.not_compared:
        found.append(f"  not compared   {', '.join(report.not_compared)} (not declared alike by both)")
    return found + [f"  unchecked      {text}" for text in report.unchecked]


def lines(report: ShadowReport) -> list[str]:
    """The report, a line each."""
    found = [headline(report)]
    if report.types:
        table = rows(report)
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        found += [
            "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip() for row in table
        ]
    found += notes(report)
    for name, one in report.types.items():
        for what, example in one.examples.items():
            found += ["", *_example(name, what, example)]
    return found


def _example(name: str, what: str, example: Example) -> list[str]:
    place = f"command {example.position}" if example.position >= 0 else "before the commands of its batch"
    who = name if name.isprintable() else ascii(name)
    return [
        f"  {who}: {what} differs first at index {example.index}, {place}",
        f"    {command_words(example.command)}",
        *(f"  {line}" for line in path_lines(example.paths)),
    ]
