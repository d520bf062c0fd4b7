"""`rsm lint`: what in the source of a machine would make its replicas differ."""

from __future__ import annotations

import click

from rsm.cli.errors import FINE, Unreadable
from rsm.cli.options import Command, json_option
from rsm.cli.output import count, print_json, print_line, table
from rsm.lint.checking import Report
from rsm.lint.checking import lint as check
from rsm.lint.rules import RULES
from rsm.lint.targets import TargetError

__all__ = ["lint"]


@click.command(cls=Command)
@click.argument("targets", metavar="TARGET...", nargs=-1)
@click.option("--rules", "shows_rules", is_flag=True, help="List the rules.")
@json_option()
def lint(targets: tuple[str, ...], shows_rules: bool, as_json: bool) -> int:
    """Find what would make replicas differ, in the source of machines.

    TARGET is a file, a directory, a module or MODULE:CLASS. Its code is read, never run: the handlers of every machine,
    and what they call in the same package or directory. Exits with 1 if anything is found, with 3 if there was no
    machine or not all could be looked at.

    \b
    Example: rsm lint bank.py
    """
    if shows_rules:
        print_rules(as_json=as_json)
        return FINE
    if not targets:
        raise click.UsageError("Name a target: a file, a directory, a module or MODULE:CLASS.")
    try:
        report = check(targets)
    except TargetError as error:
        raise Unreadable(str(error)) from None
    if as_json:
        print_json(report.document())
    else:
        print_report(report)
    return report.exit_code


def print_rules(*, as_json: bool) -> None:
    """Code, title and what it finds, of every rule."""
    if as_json:
        print_json([{"code": rule.code, "title": rule.title, "what": rule.what, "why": rule.why} for rule in RULES])
    else:
        table([(rule.code, rule.title) for rule in RULES])


def print_report(report: Report) -> None:
    """The report for people: a line for each finding, what was not looked at, and the sum."""
    for finding in report.findings:
        print_line(finding.text())
    for reason in report.unchecked:
        print_line(f"unchecked: {reason}")
    for name in report.foreign:
        print_line(f"not looked into: {name}, which handlers use")
    verdict = (
        count(len(report.findings), "finding") if report.findings else "unchecked" if report.unchecked else "clean"
    )
    print_line(f"{verdict}: {count(len(report.machines), 'machine')}, {count(len(report.files), 'file')} read")
