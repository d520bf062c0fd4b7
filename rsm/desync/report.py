"""A finding for people: lines of text; and for programs: the document that `--json` prints.

The report says what was found, at which command, which paths differ with the values side by side, the lines of code,
and what could not be checked. A source's words stand under its name.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

import msgspec

from rsm.desync.finding import Blame, Finding, PathDifference

__all__ = ["command_words", "document", "lines", "path_lines"]

VALUE_CHARACTERS_MAX: Final = 60
PATHS_LISTED_MAX: Final = 20
COMMANDS_LISTED_MAX: Final = 10
NOT_THERE: Final = "(not there)"


def document(finding: Finding) -> dict[str, Any]:
    """The finding as JSON has it: `verdict` to `unchecked` always, the rest where there is something to say."""
    fields = msgspec.to_builtins(finding)
    always = Finding(verdict="agree")
    names = list(Finding.__struct_fields__)
    firm = names[: names.index("unchecked") + 1]
    return {name: fields[name] for name in names if name in firm or getattr(finding, name) != getattr(always, name)}


def lines(finding: Finding, path: str) -> list[str]:
    """The report, a line each."""
    found = [f"{_safe(path)}: {_verdict(finding)}", *_extent(finding)]
    found += [f"  cause          {cause}" for cause in finding.causes]
    if finding.verdict == "desync":
        found += _where(finding)
    found += [f"  note           {note}" for note in finding.notes]
    found += [f"  unchecked      {_safe(reason)}" for reason in finding.unchecked]
    if finding.paths:
        found += ["", *path_lines(finding.paths)]
    for blame in finding.blame:
        found += ["", *_blame(blame)]
    if finding.commands and finding.command is None:
        found += ["", "  commands among which it is:"]
        found += [f"    {_numbered(command)}" for command in finding.commands[:COMMANDS_LISTED_MAX]]
        more = len(finding.commands) - COMMANDS_LISTED_MAX
        found += [f"    and {more} more"] if more > 0 else []
    if finding.evidence is not None:
        found += ["", *_evidence(finding.evidence)]
    if finding.bundle is not None:
        found += ["", f"  bundle         {finding.bundle}"]
    return found


def _verdict(finding: Finding) -> str:
    if finding.verdict == "agree":
        return f"agree: checked to index {finding.checked_to_index}"
    if finding.verdict == "unchecked":
        return f"not checked completely (to index {finding.checked_to_index})"
    place = f" at index {finding.first_bad_index}" if finding.first_bad_index is not None else ""
    if finding.first_bad_command is not None:
        place += f", command {finding.first_bad_command}"
    return f"DESYNC{place} ({finding.kind})"


def _extent(finding: Finding) -> list[str]:
    if finding.replayed_commands is None:
        return []
    begin = f"index {finding.replayed_from}" if finding.replayed_from else "the beginning"
    return [f"  replayed       {finding.replayed_commands:,} commands from {begin}"]


def _where(finding: Finding) -> list[str]:
    found = []
    if finding.command is not None:
        found.append(f"  command        {command_words(finding.command)}")
    if finding.good_index is not None:
        found.append(
            f"  last agreed    index {finding.good_index}" if finding.good_index else "  last agreed    nowhere"
        )
    if finding.minority:
        found.append(f"  differs        {', '.join(finding.minority)}")
    if finding.reexecuted is not None:
        found.append(f"  run again      {finding.reexecuted:,} commands, to find it")
    return found


def command_words(command: dict[str, Any]) -> str:
    """A command on one line: name, version, values."""
    version = f" v{command['version']}" if command.get("version") else ""
    values = command.get("values")
    pairs = values.items() if isinstance(values, dict) else []
    return " ".join(
        [f"{_safe(str(command.get('name')))}{version}", *(f"{key}={_shown(value)}" for key, value in pairs)]
    )


def _numbered(command: dict[str, Any]) -> str:
    return f"{command['index']}.{command['position']}  {command_words(command)}"


def path_lines(paths: tuple[PathDifference, ...]) -> list[str]:
    """A table of paths with the values of the sources side by side."""
    sources = list(dict.fromkeys(source for path in paths for source in path.values))
    shown = paths[:PATHS_LISTED_MAX]
    rows = [["path", *map(_safe, sources)]]
    for path in shown:
        cells = [_shown(path.values[source]) if source in path.values else NOT_THERE for source in sources]
        rows.append([_safe(path.path), *cells])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    found = [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    more = len(paths) - len(shown)
    return found + ([f"  and {more} more paths"] if more else [])


def _blame(blame: Blame) -> list[str]:
    place = f"{_near(blame.file)}:{blame.line}" if blame.line else "no line of the machine's"
    what = f"{_safe(blame.what)} = {_shown(blame.value)}"
    found = [f"  {_safe(blame.source)}: {_safe(place)} gave {what}"]
    return found + ([f"    {_safe(blame.text)}"] if blame.text else [])


def _near(file: str) -> str:
    """A file as one would name it here."""
    near = os.path.relpath(file)
    return file if near.startswith(os.pardir) else near


def _evidence(evidence: Finding) -> list[str]:
    who = ", ".join(evidence.minority)
    command = "" if evidence.first_bad_command is None else f", command {evidence.first_bad_command}"
    found = [f"  {_safe(who)} is otherwise from index {evidence.first_bad_index}{command} on:"]
    if evidence.command is not None:
        found.append(f"    {command_words(evidence.command)}")
    return found + [f"  {line}" for line in path_lines(evidence.paths)]


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if not text.isprintable():
        text = json.dumps(value)
    return text if len(text) <= VALUE_CHARACTERS_MAX else f"{text[: VALUE_CHARACTERS_MAX - 3]}..."


def _safe(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
