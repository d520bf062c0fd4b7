"""`commands.lock` as text: one thing a line, so that a review sees what changed, and a checksum behind it all.

    command deposit v1
      field to: str
      fingerprint 3f6c0e9d1a2b4c5d
      case 1 ["ann",5]

A line is a word and what it says; two spaces more belong to the line above. Whoever reads it back gets equal data, or
the number of the line that cannot be read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from rsm.errors import CallerError, LimitExceeded, UnknownFormat
from rsm.limits import LOCK_FILE_BYTES_MAX
from rsm.schemas.document import (
    CommandVersion,
    Fields,
    Lock,
    Release,
    Run,
    Step,
    fingerprint,
    label,
    read_value,
    write_value,
)

__all__ = ["LOCK_FORMAT", "LockUnreadable", "Parsed", "parse", "render"]

LOCK_FORMAT: Final = 1
HEAD: Final = """\
# What machine {machine} has released: rsm schema check compares the code with it.
# rsm schema lock writes it. Commit it; an edit by hand is recognised by the last line.
"""
CHECKSUM: Final = "checksum "
_VERSION: Final = re.compile(r"(\S+) v([1-9]\d{0,9})")
_STEP: Final = re.compile(r"(\S+) v(\d{1,10}) #(\d{1,6})(?: by (\d{1,6}))? ([0-9a-f]{16})(?: (\S.*))?")


class LockUnreadable(CallerError):
    """The file is no lock file, or not any more."""


class Parsed(NamedTuple):
    """A lock file that could be read; `is_edited` if it is not as it was written."""

    lock: Lock
    is_edited: bool


# --- writing ----------------------------------------------------------------------------------------------------------


def render(lock: Lock) -> str:
    """The file; equal locks give equal text. `LimitExceeded` for one beyond `LOCK_FILE_BYTES_MAX`."""
    text = HEAD.format(machine=lock.machine) + "\n".join(_lines(lock)) + "\n"
    text += f"{CHECKSUM}{_checksum(text)}\n"
    if len(text.encode()) > LOCK_FILE_BYTES_MAX:
        raise LimitExceeded(
            f"the lock file would have {len(text.encode()):,} bytes, more than {LOCK_FILE_BYTES_MAX:,}: retire what "
            f"rsm schema usage calls dead"
        )
    return text


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _lines(lock: Lock) -> Iterator[str]:
    yield f"format {LOCK_FORMAT}"
    yield f"machine {write_value(lock.machine)}"
    yield ""
    for name, versions in sorted(lock.commands.items()):
        for version, command in sorted(versions.items()):
            yield f"command {label(name, version)}"
            yield from _field_lines(command.fields)
            yield f"  fingerprint {fingerprint(name, version, command.fields)}"
            for number, case in enumerate(command.cases, 1):
                yield f"  case {number} {case}"
            for number, upcast in enumerate(command.upcasts, 1):
                yield f"  upcast {number} {upcast}"
            yield ""
    for name, fields in sorted(lock.queries.items()):
        yield f"query {name}"
        yield from _field_lines(fields)
        yield ""
    for name, marks in sorted(lock.retired.items()):
        for version, mark in sorted(marks.items()):
            yield f"retired {label(name, version)} {mark}"
            yield ""
    for version, release in sorted(lock.releases.items()):
        yield f"release {version}"
        yield from _release_lines(release)
        yield ""


def _field_lines(fields: Fields) -> Iterator[str]:
    for name, kind in fields:
        yield f"  field {name}: {kind}"


def _release_lines(release: Release) -> Iterator[str]:
    if release.code:
        yield f"  code {release.code}"
    for name, kind in sorted(release.state.items()):
        yield f"  state {name}: {kind}"
    if release.event:
        yield f"  event {release.event}"
    for name, versions in sorted(release.takes.items()):
        for version in sorted(versions):
            yield f"  takes {label(name, version)}"
    for run in release.runs:
        yield "  run"
        yield from (f"    principal {write_value(principal)}" for principal in run.principals)
        for number, step in enumerate(run.steps, 1):
            by = f" by {step.by}" if step.by else ""
            yield f"    step {label(step.name, step.version)} #{step.case}{by} {step.digest} {step.detail}".rstrip()
            if number in run.roots:
                yield f"    root {run.roots[number]}"
    if release.migration:
        yield f"  migration {release.migration}"


# --- reading ----------------------------------------------------------------------------------------------------------


def parse(text: str, path: str) -> Parsed:
    """The lock in a file's text. `LockUnreadable` names the line, `UnknownFormat` for one of a newer release."""
    if len(text) > LOCK_FILE_BYTES_MAX:
        raise LockUnreadable(f"{path}: no lock file: it has more than {LOCK_FILE_BYTES_MAX:,} bytes")
    reader = _Reader(path)
    body, _, last = text.rstrip("\n").rpartition("\n")
    is_edited = f"{CHECKSUM}{_checksum(body + chr(10))}\n" != text[len(body) + 1 :]
    for number, line in enumerate(text.splitlines(), 1):
        reader.take(number, line)
    if reader.lock is None:
        raise LockUnreadable(f"{path}: no lock file: it names no machine")
    return Parsed(reader.lock, is_edited or reader.is_edited or not last.startswith(CHECKSUM))


class _Reader:
    """Line by line; each word has a method, chosen by how far it is indented."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock: Lock | None = None
        self.is_edited = False
        self._command: tuple[str, int, CommandVersion] | None = None
        self._query = ""
        self._release: Release | None = None
        self._words: dict[tuple[int, str], Callable[[str], None]] = {
            (0, "format"): self._format,
            (0, "machine"): self._machine,
            (0, "command"): self._begin_command,
            (0, "query"): self._begin_query,
            (0, "retired"): self._retired,
            (0, "release"): self._begin_release,
            (0, "checksum"): lambda _: None,
            (2, "field"): self._field,
            (2, "fingerprint"): self._fingerprint,
            (2, "case"): self._case,
            (2, "upcast"): self._upcast,
            (2, "code"): lambda said: setattr(self._in_release(), "code", said),
            (2, "event"): lambda said: setattr(self._in_release(), "event", said),
            (2, "state"): self._state,
            (2, "takes"): self._takes,
            (2, "run"): lambda _: self._in_release().runs.append(Run(steps=[], roots={}, principals=[])),
            (2, "migration"): lambda said: setattr(self._in_release(), "migration", said),
            (4, "principal"): lambda said: self._in_release().runs[-1].principals.append(json.loads(said)),
            (4, "step"): self._step,
            (4, "root"): self._root,
        }

    def take(self, number: int, line: str) -> None:
        """Read one line."""
        stripped = line.strip()
        if not stripped or line.startswith("#"):
            return
        word, _, said = stripped.partition(" ")
        read = self._words.get((len(line) - len(line.lstrip(" ")), word))
        try:
            if read is None or (self.lock is None and word not in ("format", "machine")):
                raise ValueError(word)
            read(said)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            shown = line if len(line) <= 60 else line[:60] + "..."
            raise LockUnreadable(
                f"{self.path}: line {number} cannot be read ({shown.strip()!a}): take the file as it was committed, "
                f"then run rsm schema lock"
            ) from None

    def _format(self, said: str) -> None:
        if int(said) != LOCK_FORMAT:
            raise UnknownFormat(f"{self.path}: a newer release of rsm wrote this lock file (format {int(said)})")

    def _machine(self, said: str) -> None:
        if self.lock is not None:
            raise ValueError(said)
        self.lock = Lock(_text_of(said), commands={}, queries={}, releases={}, retired={})

    def _begin_command(self, said: str) -> None:
        name, version = _version(said)
        command = CommandVersion((), [], [])
        versions = self._file().commands.setdefault(name, {})
        if version in versions:
            raise ValueError(said)
        versions[version] = command
        self._command, self._query, self._release = (name, version, command), "", None

    def _begin_query(self, said: str) -> None:
        if not said or said in self._file().queries:
            raise ValueError(said)
        self._file().queries[said] = ()
        self._command, self._query, self._release = None, said, None

    def _begin_release(self, said: str) -> None:
        if int(said) < 1 or int(said) in self._file().releases:
            raise ValueError(said)
        self._release = self._file().releases[int(said)] = Release(state={}, takes={}, runs=[])
        self._command, self._query = None, ""

    def _retired(self, said: str) -> None:
        text, _, mark = said.rpartition(" ")
        name, version = _version(text)
        self._file().retired.setdefault(name, {})[version] = mark

    def _field(self, said: str) -> None:
        name, colon, kind = said.partition(": ")
        if not (name and colon and kind):
            raise ValueError(said)
        if self._query:
            self._file().queries[self._query] += ((name, kind),)
        else:
            self._in_command().fields += ((name, kind),)

    def _fingerprint(self, said: str) -> None:
        command = self._in_command()
        name, version = self._command[:2] if self._command else ("", 0)
        if said != fingerprint(name, version, command.fields):
            self.is_edited = True

    def _case(self, said: str) -> None:
        _numbered(said, self._in_command().cases, list)

    def _upcast(self, said: str) -> None:
        _numbered(said, self._in_command().upcasts, (list, dict))

    def _state(self, said: str) -> None:
        name, colon, kind = said.partition(": ")
        if not (name and colon and kind):
            raise ValueError(said)
        self._in_release().state[name] = kind

    def _takes(self, said: str) -> None:
        name, version = _version(said)
        self._in_release().takes.setdefault(name, []).append(version)

    def _step(self, said: str) -> None:
        found = _STEP.fullmatch(said)
        if found is None:
            raise ValueError(said)
        name, version, case, by, digest, detail = found.groups()
        step = Step(name, int(version), int(case), digest, detail or "", int(by or 0))
        self._in_release().runs[-1].steps.append(step)

    def _root(self, said: str) -> None:
        run = self._in_release().runs[-1]
        run.roots[len(run.steps)] = said

    def _file(self) -> Lock:
        if self.lock is None:
            raise ValueError("no machine")
        return self.lock

    def _in_command(self) -> CommandVersion:
        if self._command is None:
            raise ValueError("no command")
        return self._command[2]

    def _in_release(self) -> Release:
        if self._release is None:
            raise ValueError("no release")
        return self._release


def _version(said: str) -> tuple[str, int]:
    found = _VERSION.fullmatch(said)
    if found is None:
        raise ValueError(said)
    return found[1], int(found[2])


def _numbered(said: str, texts: list[str], kinds: Any) -> None:
    number, _, text = said.partition(" ")
    value = read_value(text) if kinds is list else json.loads(text)
    if int(number) != len(texts) + 1 or not isinstance(value, kinds):
        raise ValueError(said)
    texts.append(text)


def _text_of(said: str) -> str:
    value = json.loads(said)
    if type(value) is not str or not value:
        raise ValueError(said)
    return value
