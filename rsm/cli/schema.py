"""`rsm schema`: what a machine understands and keeps, from its class or from a log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from rsm.cli.errors import FINE, Unreadable
from rsm.cli.options import Group, json_option
from rsm.cli.output import print_json, print_line, table
from rsm.cli.reading import entries_of, items_of, open_named
from rsm.cli.schema_lock import check, lock
from rsm.cli.schema_usage import usage
from rsm.cli.target import load_machine
from rsm.machine.upcasting import DROP, VALUES
from rsm.replica.batch import ACTIVATE
from rsm.replica.naming import SYSTEM_PREFIX
from rsm.state.leaf import ALGORITHM

__all__ = ["schema"]


@click.group(cls=Group)
def schema() -> None:
    """Look at the schema of a machine, and keep it.

    \b
    Example: rsm schema show bank:Bank
    """


schema.add_command(lock)
schema.add_command(check)
schema.add_command(usage)


@schema.command()
@click.argument("source", metavar="MODULE:CLASS|DIR_OR_FILE")
@json_option()
def show(source: str, as_json: bool) -> int:
    """Print commands, queries, state and events.

    From a class, which is imported (the working directory is on the path), or from a log, which needs no code.

    \b
    Example: rsm schema show bank:Bank
    """
    is_class = ":" in source and not os.path.exists(source)
    document = schema_of_class(source) if is_class else schema_of_log(source)
    if as_json:
        print_json(document)
    else:
        print_schema(document)
    return FINE


def schema_of_class(name: str) -> dict[str, Any]:
    """The schema that a class declares, and where each of its steps leads."""
    definition = load_machine(name).definition
    document = _document(name, definition.name, definition.version, definition.schema())
    steps: dict[str, dict[str, str]] = {}
    for command, spec in sorted(definition.commands.items()):
        for version, (_, upcaster) in sorted(spec.steps.items()):
            forms = [f"v{version + 1}"] if VALUES in upcaster.forms else []
            forms += [f"{part} v{number}" for part, number in upcaster.into.items()]
            forms += ["nothing"] if DROP in upcaster.forms else []
            steps.setdefault(command, {})[str(version)] = ", ".join(forms)
    # Those of a command without a handler lead elsewhere from its last version too.
    document["upcasters"] = {command: [int(version) for version in of] for command, of in steps.items()}
    document["steps"] = steps
    return document


def schema_of_log(path: str) -> dict[str, Any]:
    """The schema that holds at the end of a log."""
    log, names = open_named(path)
    for scanned in entries_of(log):
        if ACTIVATE.encode() in scanned.entry.payload:
            for _ in items_of(scanned, names):
                pass
    if names.machine is None or names.version is None:
        raise Unreadable(f"{path}: this piece of a log declares no schema")
    return _document(path, names.machine, names.version, names.schema)


def _document(source: str, machine: str, version: int, declared: dict[str, Any]) -> dict[str, Any]:
    commands = declared.get("commands", {})
    return {
        "source": source,
        "machine": machine,
        "version": version,
        "commands": commands,
        # An old version that is still declared is one that an upcaster leads from.
        "upcasters": {
            name: [number for number in sorted(map(int, versions)) if number < max(map(int, versions))]
            for name, versions in commands.items()
            if len(versions) > 1
        },
        "steps": {},
        "queries": declared.get("queries", {}),
        "state": declared.get("state", {}),
        "event": declared.get("event") or None,
    }


def print_schema(document: dict[str, Any]) -> None:
    """The document for people."""
    print_line(f"{document['machine']}, version {document['version']}")
    rows = [
        (name, f"v{number}", _fields(fields))
        for name, versions in sorted(document["commands"].items())
        for number, fields in sorted(versions.items(), key=lambda pair: int(pair[0]))
    ]
    _section("commands", rows)
    # A log says which versions there are, and not where a step leads that is no step to the next one.
    whither = document["steps"]
    steps = [
        (name, f"v{old} to {whither.get(name, {}).get(str(old), f'v{old + 1}')}")
        for name, versions in sorted(document["upcasters"].items())
        for old in versions
    ]
    _section("upcasters", steps)
    _section("queries", [(name, _fields(fields)) for name, fields in sorted(document["queries"].items())])
    # The algorithm of the sums is the same in every container, and no reader's concern here.
    state = [
        (name, str(described[0]), str(described[1]).removeprefix(f"{ALGORITHM}; "))
        for name, described in sorted(document["state"].items())
        if not name.startswith(SYSTEM_PREFIX)
    ]
    _section("state", state)
    if document["event"]:
        print_line("events")
        print_line(f"  {document['event']}")


def _section(title: str, rows: Sequence[Sequence[str]]) -> None:
    if rows:
        print_line(title)
        table(rows, indent="  ")


def _fields(fields: list[Any]) -> str:
    return "(" + ", ".join(f"{field[0]}: {field[1]}" if type(field) is list else str(field) for field in fields) + ")"
