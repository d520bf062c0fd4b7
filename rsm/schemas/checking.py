"""Comparing what was released with what the code does now: what broke, and what is new.

Structure first (fields, state, what is gone), then what upcasters make of the cases, then the effect of each release's
runs. Where the structure of a release changed, its runs differ for that reason and are not told of.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from rsm.schemas.document import CommandVersion, Fields, Lock, Release, Run, Step, fingerprint, label, shown_fields

__all__ = ["Break", "Report", "compare"]

SHOWN_MAX: Final = 160
PATHS_MAX: Final = 3
NOTHING: Final = "(nothing)"


class Break(msgspec.Struct, frozen=True):
    """One thing that is not as it was released. `before` and `now` where there are two texts to compare."""

    kind: str
    subject: str
    change: str
    advice: str
    before: str = ""
    now: str = ""

    @property
    def line(self) -> str:
        """All of it in one line."""
        return f"{self.subject}: {self.change}: {self.advice}"


class Report(NamedTuple):
    """What a comparison came to. `new` are texts: what the lock file does not have yet."""

    breaks: list[Break]
    new: list[str]
    notes: list[str]


def compare(lock: Lock, found: Lock) -> Report:
    """What of `lock` the class does not keep to; `found` is what `observe` saw of it with the cases of `lock`."""
    if lock.machine != found.machine:
        change = f"the lock file is of machine {lock.machine!r}, the class is {found.machine!r}"
        advice = "a machine keeps its name for ever; name another file with --file"
        return Report([Break("machine", "machine", change, advice, lock.machine, found.machine)], [], [])
    breaks = [*_commands(lock, found), *_queries(lock, found), *_retired(lock, found)]
    notes: list[str] = []
    changed = {one.subject for one in breaks}
    for version, release in sorted(lock.releases.items()):
        now = found.releases.get(version)
        if now is None:
            breaks.append(_gone_release(version, found))
            continue
        structure = list(_release(version, release, now))
        breaks += structure
        if structure or any(label(name, one) in changed for name, of in release.takes.items() for one in of):
            notes.append(f"machine version {version}: its effect was not compared: what it declares differs")
        else:
            effects = list(_effects(version, release, now, lock))
            breaks += effects
            if not effects and release.code and now.code != release.code:
                notes.append(f"machine version {version}: its code changed, its effect on the corpus did not")
    return Report(breaks, list(_new(lock, found)), notes)


# --- what is declared -------------------------------------------------------------------------------------------------


def _commands(lock: Lock, found: Lock) -> Iterator[Break]:
    for name, versions in sorted(lock.commands.items()):
        for version, command in sorted(versions.items()):
            subject = label(name, version)
            now = found.version_of(name, version)
            if now is None:
                yield Break(
                    "gone",
                    subject,
                    "is gone" if name in found.commands else f"is gone, there is no command {name} any more",
                    f"restore it, or an upcaster from it; if rsm schema usage says that it is dead, run "
                    f"rsm schema lock --retired {name}:{version}",
                    shown_fields(command.fields),
                )
            elif now.fields != command.fields:
                yield Break(
                    "fields",
                    subject,
                    _field_changes(command.fields, now.fields),
                    f"restore them, and give version {max(found.commands[name]) + 1} the new ones, with an upcaster "
                    f"from version {max(found.commands[name])}",
                    shown_fields(command.fields),
                    shown_fields(now.fields),
                )
            else:
                yield from _upcasts(name, version, command, now)


def _upcasts(name: str, version: int, command: CommandVersion, now: CommandVersion) -> Iterator[Break]:
    if not command.upcasts or not now.upcasts:
        return  # the newest version then, or now: its fields are what counts
    differing = [at for at, (one, other) in enumerate(zip(command.upcasts, now.upcasts, strict=False)) if one != other]
    if differing:
        at = differing[0]
        more = f", and {len(differing) - 1} more" if len(differing) > 1 else ""
        yield Break(
            "upcast",
            f"{label(name, version)} to v{version + 1}",
            f"the upcaster gives something else for {_short(command.cases[at])}{more}: was "
            f"{_short(command.upcasts[at])}, is {_short(now.upcasts[at])}",
            "restore it: logs and timers that hold the old version would replay to another state",
            command.upcasts[at],
            now.upcasts[at],
        )


def _queries(lock: Lock, found: Lock) -> Iterator[Break]:
    for name, fields in sorted(lock.queries.items()):
        now = found.queries.get(name)
        advice = (
            f"released clients cannot ask it any more: restore it, give the new one another name, or, if no such "
            f"client is left, run rsm schema lock --retired {name}"
        )
        if now is None:
            yield Break("query", f"query {name}", "is gone", advice, shown_fields(fields))
        elif now != fields:
            change = _field_changes(fields, now)
            yield Break("query", f"query {name}", change, advice, shown_fields(fields), shown_fields(now))


def _retired(lock: Lock, found: Lock) -> Iterator[Break]:
    for name, marks in sorted(lock.retired.items()):
        for version, mark in sorted(marks.items()):
            now = found.version_of(name, version)
            if now is not None and fingerprint(name, version, now.fields) != mark:
                yield Break(
                    "retired",
                    label(name, version),
                    "was retired, and is back with other fields",
                    f"old logs may still hold it as it was: use a version number above {max(marks)}",
                )


def _gone_release(version: int, found: Lock) -> Break:
    newest = max(found.releases)
    if version > newest:
        change = f"was released, the class is at version {newest}"
        advice = f"a machine does not go back: give the class version {version} or more, or, if it never ran anywhere, "
        advice += f"run rsm schema lock --never-released {version}"
    else:
        change = "is gone"
        advice = "keep its class (previous=...); if rsm schema usage says that it is dead, run "
        advice += f"rsm schema lock --retired {version}"
    return Break("gone", f"machine version {version}", change, advice)


def _release(version: int, release: Release, now: Release) -> Iterator[Break]:
    subject = f"machine version {version}"
    bump = "restore it, and make the change in a new machine version (version=..., previous=this class)"
    changes = [
        f"{name} {_was(release.state.get(name), now.state.get(name))}"
        for name in sorted(release.state.keys() | now.state.keys())
        if release.state.get(name) != now.state.get(name)
    ]
    if changes:
        before, after = _lines(release.state), _lines(now.state)
        yield Break("state", subject, f"its state changed: {'; '.join(changes)}", bump, before, after)
    if release.event != now.event:
        change = f"its events changed: {_was(release.event, now.event)}"
        yield Break("event", subject, change, bump, release.event, now.event)
    lost = [
        label(name, one)
        for name, versions in sorted(release.takes.items())
        for one in versions
        if one not in now.takes.get(name, ())
    ]
    if lost:
        change = f"no longer takes {', '.join(lost)}"
        yield Break("takes", subject, change, "restore the command or its upcaster in this class")


def _lines(state: dict[str, str]) -> str:
    return "; ".join(f"{name}: {kind}" for name, kind in sorted(state.items()))


def _was(before: str | None, now: str | None) -> str:
    if before is None or before == "":
        return f"is new ({now})"
    if now is None or now == "":
        return f"is gone (was {before})"
    return f"was {before}, is {now}"


def _field_changes(before: Fields, now: Fields) -> str:
    old, new = dict(before), dict(now)
    changes = [
        f"{name} {_was(old.get(name), new.get(name))}" for name in {**old, **new} if old.get(name) != new.get(name)
    ]
    if not changes:
        changes = [f"their order was {', '.join(old)}, is {', '.join(new)}"]
    return f"its fields changed: {'; '.join(changes)}"


# --- what is done -----------------------------------------------------------------------------------------------------


def _effects(version: int, release: Release, now: Release, lock: Lock) -> Iterator[Break]:
    subject = f"machine version {version}"
    advice = "restore it, and make the change in a new machine version (version=..., previous=this class)"
    for number, (run, again) in enumerate(zip(release.runs, now.runs, strict=False), 1):
        differing = [at for at, (one, other) in enumerate(zip(run.steps, again.steps, strict=False)) if one != other]
        # A step that differs only in the words in which it is told is the same step.
        differing = [at for at in differing if run.steps[at].digest != again.steps[at].digest]
        where = f"run {number}" if len(release.runs) > 1 else "the corpus"
        if differing:
            at = differing[0]
            step = run.steps[at]
            more = _more(run, differing)
            parting = _parting(step, again.steps[at])
            change = f"{_call(step, lock)} has another effect ({where}, step {at + 1}{more}): {parting}"
            yield Break("effect", subject, change, advice, step.detail, again.steps[at].detail)
        elif run.roots != again.roots:
            at = min(one for one in run.roots if again.roots.get(one) != run.roots[one])
            change = f"the root after step {at} of {where} differs, though every effect is equal"
            yield Break("effect", subject, change, advice, run.roots[at], again.roots.get(at, ""))
    if release.migration and now.migration and release.migration != now.migration:
        change = "migrate_state makes another state of the corpus of the version before"
        yield Break("migration", subject, change, "restore it", release.migration, now.migration)


def _more(run: Run, differing: list[int]) -> str:
    names = sorted({label(run.steps[at].name, run.steps[at].version) for at in differing if run.steps[at].case})
    if len(differing) == 1:
        return ""
    of = f" of {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}" if names else ""
    return f"; {len(differing)} steps in all{of}"


def _call(step: Step, lock: Lock) -> str:
    command = lock.version_of(step.name, step.version)
    if command is None or not 0 < step.case <= len(command.cases):
        return step.name if not step.case else label(step.name, step.version)
    return f"{label(step.name, step.version)} {_short(command.cases[step.case - 1])}"


def _parting(before: Step, now: Step) -> str:
    """Where two effects part, as far as the lock file has them in words."""
    if not before.detail or not now.detail:
        return "too long to be shown"
    one, other = _parts(before.detail), _parts(now.detail)
    found = []
    for place in range(max(len(one), len(other))):
        mine = one[place] if place < len(one) else {}
        others = other[place] if place < len(other) else {}
        of = f"{mine.get('of') or others.get('of')}: " if mine.get("of") or others.get("of") else ""
        found += [f"{of}{text}" for text in _part_changes(mine, others)]
    shown = found[:PATHS_MAX]
    if len(found) > PATHS_MAX:
        shown.append(f"and {len(found) - PATHS_MAX} more")
    return "; ".join(shown) or "in a way that the lock file does not say in words"


def _parts(detail: str) -> list[dict[str, Any]]:
    read = json.loads(detail)
    return [part for part in (read if isinstance(read, list) else [read]) if isinstance(part, dict)]


def _part_changes(before: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    if before.get("answer") != now.get("answer"):
        yield f"the answer was {_told(before.get('answer'))}, is {_told(now.get('answer'))}"
    old, new = before.get("writes", {}), now.get("writes", {})
    for path in {**old, **new}:
        if old.get(path) != new.get(path):
            yield f"{path} was {_written(old, path)}, is {_written(new, path)}"
    if before.get("events") != now.get("events"):
        yield f"its events were {_told(before.get('events'))}, are {_told(now.get('events'))}"


def _written(writes: dict[str, Any], path: str) -> str:
    if path not in writes:
        return "not written"
    return "removed" if writes[path] == {"gone": True} else _told(writes[path])


def _told(value: Any) -> str:
    return NOTHING if value is None else _short(json.dumps(value, separators=(",", ":")))


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}... ({len(text)} characters)"


# --- what is new ------------------------------------------------------------------------------------------------------


def _new(lock: Lock, found: Lock) -> Iterator[str]:
    for name, versions in sorted(found.commands.items()):
        for version in sorted(versions):
            if lock.version_of(name, version) is None:
                yield label(name, version)
    yield from (f"query {name}" for name in sorted(found.queries) if name not in lock.queries)
    for version, release in sorted(found.releases.items()):
        if version not in lock.releases:
            yield f"machine version {version}"
            continue
        taken = lock.releases[version].takes
        for name, numbers in sorted(release.takes.items()):
            for one in numbers:
                if one not in taken.get(name, ()) and lock.version_of(name, one) is not None:
                    yield f"{label(name, one)} in machine version {version}"
