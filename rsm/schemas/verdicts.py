"""What nothing needs any more: of each upcaster and each old class, dead, or where it is still needed.

An upcaster of a class is needed where a version that it leads from, or that is led through it, may still come to that
class: in entries that the class runs again, in timers that wait, from clients that live, or because the release in
force sends it itself. A class is needed where entries or snapshots of its machine version lie, or of one before it,
which must come by it. Nothing is dead while anything was not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from rsm.machine.definition import Definition
from rsm.schemas.document import label
from rsm.schemas.usage import SourceUse

__all__ = ["Verdict", "of_classes", "of_upcasters", "unsure"]

Word = Literal["dead", "needed", "unchecked"]


class Verdict(NamedTuple):
    """Of one upcaster (`machine_version` is that of its class) or one old class (`command` is empty)."""

    command: str
    from_version: int
    machine_version: int
    word: Word
    where: tuple[str, ...]


def unsure(sources: Sequence[SourceUse]) -> list[str]:
    """What was not looked at, of all sources."""
    reasons = [reason for source in sources for reason in source.unchecked]
    for source in sources:
        if source.silent:
            many = "1 live session" if source.silent == 1 else f"{source.silent:,} live sessions"
            reasons.append(f"{source.name}: {many} sent nothing that was looked at, so which versions is unknown")
        if not source.serves:
            continue
        for name, version in sorted(source.made):
            if source.own.get(name, version) != version and (name, version) not in source.timers:
                reasons.append(
                    f"{source.name}: timers made since its last snapshot may hold {label(name, version)}: take a "
                    f"snapshot and look again"
                )
    return reasons


def of_upcasters(definition: Definition, sources: Sequence[SourceUse], reasons: Sequence[str]) -> list[Verdict]:
    """Of each upcaster of each class, newest class first."""
    verdicts = []
    for release in definition.releases():
        for name, spec in sorted(release.commands.items()):
            for version in sorted(spec.steps):
                reached = _reaching(release, name, version)
                where = [text for source in sources for text in _uses(definition, release, reached, source)]
                verdicts.append(Verdict(name, version, release.version, _word(where, reasons), tuple(where)))
    return verdicts


def of_classes(definition: Definition, sources: Sequence[SourceUse], reasons: Sequence[str]) -> list[Verdict]:
    """Of each class but the newest."""
    verdicts = []
    for release in definition.releases()[1:]:
        where = [text for source in sources for text in _needs(release.version, source)]
        verdicts.append(Verdict("", 0, release.version, _word(where, reasons), tuple(where)))
    return verdicts


def _word(where: Sequence[str], reasons: Sequence[str]) -> Word:
    return "needed" if where else "unchecked" if reasons else "dead"


def _reaching(release: Definition, name: str, version: int) -> set[tuple[str, int]]:
    """Every version whose way to a handler of the release goes through this step, itself among them."""
    reached = {(name, version)}
    while True:
        more = {
            (command, number)
            for command, spec in release.commands.items()
            for number, (_, upcaster) in spec.steps.items()
            if (command, number) not in reached
            and ((command, number + 1) in reached or any((part, to) in reached for part, to in upcaster.into.items()))
        }
        if not more:
            return reached
        reached |= more


def _uses(
    definition: Definition, release: Definition, reached: set[tuple[str, int]], source: SourceUse
) -> Iterator[str]:
    floor = definition.releases()[-1].version
    for (name, version, under), used in sorted(source.used.items()):
        if (name, version) not in reached:
            continue
        # Entries run under their own machine version; below the floor, under whatever class is given.
        runs = under == release.version or under < floor
        # A release that is to come is sent what clients send now.
        comes = source.serves and under == source.in_force and under <= release.version
        if runs or comes:
            entries = _entries(used.first_index, used.last_index)
            yield f"{source.name}: {label(name, version)} in {entries} ({used.count:,} times)"
    for (name, version), number in sorted(source.timers.items()):
        if (name, version) in reached and source.timers_under <= release.version:
            yield f"{source.name}: {number:,} timer{'s' if number > 1 else ''} of {label(name, version)}"
    if not source.serves or source.in_force > release.version:
        return
    clients = sum(bool(used & reached) for used in source.live)
    if clients:
        names = sorted({label(*one) for used in source.live for one in used & reached})
        yield f"{source.name}: {clients:,} live session{'s' if clients > 1 else ''} that sent {', '.join(names)}"
    for name, version in sorted(_own(definition, source).items()):
        if (name, version) in reached:
            yield f"{source.name}: machine version {source.in_force} is in force, and has {label(name, version)} itself"


def _own(definition: Definition, source: SourceUse) -> dict[str, int]:
    """The version of each command that the release in force makes timers of, and its clients send."""
    release = definition.release(source.in_force)
    if release is None:
        return source.own
    return {spec.name: spec.version for spec in release.methods.values()}


def _needs(version: int, source: SourceUse) -> Iterator[str]:
    seen = source.machine_versions.get(version)
    if seen is not None:
        yield f"{source.name}: {_entries(seen.first_index, seen.last_index)} of machine version {version}"
    for path, (under, index) in sorted(source.snapshots.items()):
        if under == version:
            yield f"{path}: the snapshot of index {index} is of machine version {version}"
    if source.serves and source.in_force and source.in_force <= version:
        yield f"{source.name}: machine version {source.in_force} is in force"
    earlier = [number for number in source.machine_versions if number < version]
    if seen is None and earlier:
        yield f"{source.name}: entries of machine version {max(earlier)} go on under it"


def _entries(first: int, last: int) -> str:
    return f"entry {first}" if first == last else f"entries {first} to {last}"
