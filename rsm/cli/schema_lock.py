"""`rsm schema lock` and `rsm schema check`: what was released, and whether the code keeps to it."""

from __future__ import annotations

from typing import Any

import click

from rsm.cli.errors import FINE, FOUND, UNCHECKED, Unreadable
from rsm.cli.options import Command, json_option
from rsm.cli.output import count, print_json, print_line
from rsm.cli.reading import open_log
from rsm.cli.target import load_machine
from rsm.errors import CallerError
from rsm.schemas.asking import Unrunnable
from rsm.schemas.asking import check as check_class
from rsm.schemas.asking import make as make_lock
from rsm.schemas.checking import Break, Report
from rsm.schemas.document import Lock
from rsm.schemas.examples import examples_of
from rsm.schemas.files import LOCK_NAME, forget, lock_path, read_lock, retire, write_lock
from rsm.schemas.observing import observe

__all__ = ["check", "lock"]

FILE_OPTION = click.option(
    "--file", "path", metavar="PATH", type=click.Path(), help=f"The lock file. Default: {LOCK_NAME} beside the module."
)


@click.command(cls=Command)
@click.argument("source", metavar="MODULE:CLASS")
@FILE_OPTION
@click.option(
    "--never-released",
    "unreleased",
    metavar="WHAT",
    multiple=True,
    help="Lock this anew, since no log, snapshot or client holds it: a machine version (3), a command version "
    "(place:2), a query. May be repeated.",
)
@click.option(
    "--retired",
    "retired",
    metavar="WHAT",
    multiple=True,
    help="Take out what was deleted because rsm schema usage called it dead; named as above. May be repeated.",
)
@click.option(
    "--log",
    "log",
    metavar="LOG",
    type=click.Path(),
    help="Also take over the first commands of this log, a directory or a file, as a run of the newest version.",
)
@json_option()
def lock(
    source: str,
    path: str | None,
    unreleased: tuple[str, ...],
    retired: tuple[str, ...],
    log: str | None,
    as_json: bool,
) -> int:
    """Write down what a machine has released.

    Adds what is new to the lock file: fields and fingerprints, a corpus of calls, what upcasters make of them, and what
    each machine version does with them. Commit it with the code. What it holds already counts as released: if the class
    does not keep to it, nothing is written and the exit code is 1.

    \b
    Example: rsm schema lock bank:Bank
    """
    machine = load_machine(source)
    path = lock_path(machine) if path is None else path
    parsed = read_lock(path)
    held = None if parsed is None else parsed.lock
    if held is None and (unreleased or retired):
        raise Unreadable(f"{path}: there is no lock file to take anything out of")
    if held is not None:
        now = observe(machine.definition, Lock(machine.definition.name)) if retired else Lock(held.machine)
        for what in unreleased:
            forget(held, what)
        for what in retired:
            retire(held, what, now)
    try:
        examples = [] if log is None else examples_of(scanned.entry for scanned in open_log(log))
        made, report = make_lock(source, held, examples)
    except Unrunnable as error:
        return unrunnable(path, machine.definition.name, error, as_json=as_json)
    if report.breaks:
        return refuse(path, report, as_json=as_json)
    bare = sorted(
        f"{name} v{version}"
        for name, versions in made.commands.items()
        for version, command in versions.items()
        if not command.cases
    )
    changed = write_lock(path, made)
    new = report.new if held is not None else []
    if as_json:
        print_json({"lock": path, "machine": made.machine, "written": changed, "new": new, "without_cases": bare})
        return FINE
    if not changed:
        print_line(f"{path}: up to date")
    else:
        print_line(f"{path}: {summary(made)}")
    for text in new:
        print_line(f"  added: {text}")
    if bare:
        print_line(f"  no values could be made for {', '.join(bare)}: only the fields are locked")
    return FINE


def summary(made: Lock) -> str:
    """What a lock file holds, in words."""
    versions = [command for versions in made.commands.values() for command in versions.values()]
    cases = sum(len(command.cases) for command in versions)
    releases = ", ".join(map(str, sorted(made.releases)))
    return (
        f"machine {made.machine}, version{'s' if len(made.releases) > 1 else ''} {releases}; "
        f"{count(len(versions), 'command version')}, {count(cases, 'case')}"
    )


def refuse(path: str, report: Report, *, as_json: bool) -> int:
    """Say why nothing was written."""
    if as_json:
        print_json({"lock": path, "written": False, "breaks": [document(one) for one in report.breaks]})
        return FOUND
    for one in report.breaks:
        print_line(one.line)
    print_line(
        f"{path}: not written: {count(len(report.breaks), 'thing')} that it holds as released changed. What never ran "
        f"anywhere is locked anew with --never-released."
    )
    return FOUND


@click.command(cls=Command)
@click.argument("source", metavar="MODULE:CLASS")
@FILE_OPTION
@click.option("--current", is_flag=True, help="Fail also if the class has something that is not locked yet.")
@json_option()
def check(source: str, path: str | None, current: bool, as_json: bool) -> int:
    """Compare a machine with what it has released.

    For CI. Exits with 1 and a line for each thing that is not as it was locked: fields, state, events, what an upcaster
    makes of the locked values, what a machine version does with them. What is new is fine. Exits with 3 if the class
    cannot be run.

    \b
    Example: rsm schema check bank:Bank
    """
    machine = load_machine(source)
    path = lock_path(machine) if path is None else path
    parsed = read_lock(path)
    if parsed is None:
        raise Unreadable(f"{path}: there is no lock file: rsm schema lock {source} writes it")
    try:
        report = check_class(source, parsed.lock)
    except Unrunnable as error:
        return unrunnable(path, parsed.lock.machine, error, as_json=as_json)
    breaks = report.breaks
    if parsed.is_edited:
        advice = "run rsm schema lock, which compares it with the code and writes it again"
        breaks = [Break("edited", path, "was edited by hand, its checksum is not its own", advice), *breaks]
    failed = bool(breaks) or (current and bool(report.new))
    if as_json:
        print_json(
            {
                "lock": path,
                "machine": parsed.lock.machine,
                "verdict": "broken" if breaks else "new" if report.new else "kept",
                "breaks": [document(one) for one in breaks],
                "new": report.new,
                "notes": report.notes,
                "unchecked": [],
            }
        )
        return FOUND if failed else FINE
    for one in breaks:
        print_line(one.line)
    for text in report.notes:
        print_line(text)
    if report.new:
        print_line(f"new since the lock: {', '.join(report.new)}: rsm schema lock {source} adds it")
    if not breaks:
        print_line(f"{path}: kept: {summary(parsed.lock)}")
    return FOUND if failed else FINE


def document(one: Break) -> dict[str, Any]:
    """A break, as --json has it."""
    return {
        "kind": one.kind,
        "subject": one.subject,
        "change": one.change,
        "advice": one.advice,
        "before": one.before or None,
        "now": one.now or None,
    }


def unrunnable(path: str, machine: str, error: CallerError, *, as_json: bool) -> int:
    """Say that nothing is known."""
    if as_json:
        print_json(
            {
                "lock": path,
                "machine": machine,
                "verdict": "unchecked",
                "breaks": [],
                "new": [],
                "notes": [],
                "unchecked": [str(error)],
            }
        )
    else:
        click.echo(f"rsm: unchecked: {error}", err=True)
    return UNCHECKED
