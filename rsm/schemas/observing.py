"""What a class and the releases that it ships declare and do now, in the words of a lock file.

`observe` does again what a lock file holds: its cases, its runs. Whatever is equal then is as it was released.
`extend` adds what the class has besides. Both run the user's code, so they are called in a process of their own (see
`rsm.schemas.child`).
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import msgspec

from rsm.errors import CallerError
from rsm.machine.definition import Definition
from rsm.machine.upcasting import Drop, Split, Upcaster
from rsm.machine.values import Signature
from rsm.node.agreement.code_identity import code_digest
from rsm.schemas.corpus import Versions, calls_of, choose, steps_for
from rsm.schemas.document import CommandVersion, Example, Fields, Lock, Release, read_value, write_result, write_value
from rsm.schemas.running import Call, closing, migrated, play
from rsm.state.leaf import ALGORITHM

__all__ = ["extend", "observe", "versions_of"]


def versions_of(definition: Definition) -> Versions:
    """Every version of every command that a release understands, with the fields of each."""
    found: Versions = {}
    for name, versions in definition.schema()["commands"].items():
        for text in versions:
            signature = definition.commands[name].signature_at(int(text))
            if signature is not None:
                found.setdefault(name, {})[int(text)] = signature
    return found


def observe(definition: Definition, lock: Lock | None) -> Lock:
    """The class as it is now, with the cases and runs of `lock`, which it is asked for again."""
    asked = lock or Lock(definition.name)
    found = Lock(definition.name, commands={}, queries={}, releases={}, retired=dict(asked.retired))
    releases = definition.releases()
    for release in releases:  # the newest first: where it has an upcaster, that is the one that serves clients
        for name, versions in versions_of(release).items():
            for version, signature in versions.items():
                if version not in found.commands.setdefault(name, {}):
                    known = asked.version_of(name, version)
                    cases = [] if known is None else list(known.cases)
                    upcasts = _upcasts(release, name, version, cases)
                    found.commands[name][version] = CommandVersion(_fields(signature), cases, upcasts)
    found.queries = {name: _fields(spec.signature) for name, spec in sorted(definition.queries.items())}
    for release in releases:
        locked = asked.releases.get(release.version)
        found.releases[release.version] = _release(release, found, locked)
    for release in releases:
        locked = asked.releases.get(release.version)
        if locked is not None and locked.migration:
            found.releases[release.version].migration = _migration(release, found)
    return found


def extend(definition: Definition, found: Lock, examples: Sequence[Example] = ()) -> Lock:
    """`found` with cases and runs for all that has none, and with a run of the examples under the newest release."""
    extended = msgspec.convert(msgspec.to_builtins(found), Lock)
    for release in definition.releases():
        kept = extended.releases[release.version]
        shown = {(step.name, step.version) for run in kept.runs for step in run.steps}
        every = versions_of(release)
        keys = {(name, version) for name, versions in every.items() for version in versions}
        new, known = _only(every, keys - shown), _only(every, keys & shown)
        if not new and kept.runs:
            continue
        cased = {(name, version) for name, version in keys if extended.commands[name][version].cases}
        bare, rest = _only(new, keys - cased), _only(every, cased)
        for (name, version), cases in choose(release, extended, bare, rest).items():
            command = extended.commands[name][version]
            command.cases = cases
            command.upcasts = _upcasts(release, name, version, cases)
        run, _ = play(release, steps_for(extended, new, known))
        kept.runs.append(run)
    if examples:
        _add_examples(definition, extended, examples)
    for release in definition.releases():
        kept = extended.releases[release.version]
        if release.previous is not None and not kept.migration:
            kept.migration = _migration(release, extended)
    return extended


def _add_examples(release: Definition, extended: Lock, examples: Sequence[Example]) -> None:
    every = versions_of(release)
    principals = list(dict.fromkeys(example.principal for example in examples))
    calls = []
    for example in examples:
        if example.version not in every.get(example.name, {}):
            continue
        command = extended.commands[example.name][example.version]
        if example.values not in command.cases:
            command.cases.append(example.values)
            command.upcasts = _upcasts(release, example.name, example.version, command.cases)
        case = command.cases.index(example.values) + 1
        by = principals.index(example.principal) + 1
        calls.append(Call(example.name, example.version, case, read_value(example.values), by))
    run, _ = play(release, [*calls, *closing()], principals)
    if calls and run not in extended.releases[release.version].runs:
        extended.releases[release.version].runs.append(run)


def _release(release: Definition, found: Lock, locked: Release | None) -> Release:
    kept = Release(
        code=code_digest(release.owner),
        event=release.schema()["event"],
        state={name: _state(*described) for name, described in release.state_schema().items()},
        takes={name: sorted(versions) for name, versions in sorted(versions_of(release).items())},
        runs=[],
    )
    if locked is not None:
        for run in locked.runs:
            again, _ = play(release, calls_of(found, run.steps), run.principals)
            kept.runs.append(again)
    return kept


def _migration(release: Definition, found: Lock) -> str:
    before = None if release.previous is None else found.releases.get(release.previous.version)
    if before is None or not before.runs:
        return ""
    return migrated(release, calls_of(found, before.runs[0].steps), before.runs[0].principals)


def _only(versions: Versions, wanted: Set[tuple[str, int]]) -> Versions:
    found: Versions = {}
    for name, of_name in versions.items():
        for version, signature in of_name.items():
            if (name, version) in wanted:
                found.setdefault(name, {})[version] = signature
    return found


def _fields(signature: Signature) -> Fields:
    return tuple((name, kind) for name, kind in signature.described())


def _state(kind: str, types: str) -> str:
    # How sums are made is the same for all, and no concern of a review.
    return f"{kind} {types.removeprefix(f'{ALGORITHM}; ')}"


def _upcasts(release: Definition, name: str, version: int, cases: list[str]) -> list[str]:
    """What the step from a version makes of each case; empty for a version that no step leads from."""
    spec = release.commands[name]
    if version not in spec.steps:
        return []
    signature, upcaster = spec.steps[version]
    return [_upcast(signature, upcaster, read_value(case)) for case in cases]


def _upcast(signature: Signature, upcaster: Upcaster, values: Any) -> str:
    if upcaster.reads_state:
        return write_result("reads", "state")  # what it does is seen in the runs
    try:
        args = signature.decode(signature.encode(values))
    except CallerError:
        return write_result("refuses", "values")
    try:
        made = upcaster.step(*args)
    except (MemoryError, RecursionError):
        raise
    except Exception as error:
        return write_result("raises", type(error).__name__)
    try:
        if isinstance(made, Split):
            parts = [[part[0], upcaster.into.get(part[0], 0), _plain(part[1:])] for part in made.parts]
            return write_result("split", parts, answers=made.answers)
        if isinstance(made, Drop):
            return write_result("drop", _plain((made.result,))[0])
        return write_value(_plain(made))
    except (TypeError, ValueError, OverflowError, LookupError):
        return write_result("gives", type(made).__name__)


def _plain(values: Any) -> list[Any]:
    return list(msgspec.to_builtins(list(values), builtin_types=(bytes,)))
