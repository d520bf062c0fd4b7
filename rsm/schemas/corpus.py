"""The corpus: which calls of a machine are worth keeping, so that they show whatever may change in what it does.

Calls are drawn from the types of each command version, realistic ones first, the outermost values last, and tried on an
empty machine of the release. One that ends in a way in which no call before it ended (another refusal, other containers
written) is kept; so a handful of calls goes through most of the branches. What was kept stands in the lock file and is
run again from there: how it was found may change with any release of rsm.
"""

from __future__ import annotations

import random
import typing
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, NamedTuple

from rsm.errors import CallerError
from rsm.limits import LOCK_CASES_DRAWN, LOCK_CASES_MAX
from rsm.machine.definition import Definition
from rsm.machine.values import MISSING, Parameter, Signature
from rsm.schemas.document import Lock, read_value, write_value
from rsm.schemas.drawing import draw_value, extreme_value
from rsm.schemas.running import CLOSING, Call, play

__all__ = ["Versions", "calls_of", "candidates", "choose", "steps_for"]

Versions = dict[str, dict[int, Signature]]
TRIES: Final = 20
DEFAULT_SHARE: Final = 0.7
SMALL_SHARE: Final = 0.8
SMALL_MAX: Final = 3
# Of each kind of outcome, and of each version whatever it does: an upcaster is looked at by values, not by outcomes.
OF_A_KIND: Final = 2
REFUSED_MAX: Final = 4
CASES_MIN: Final = 6
# Of versions that a run repeats, so that the new ones have something to work on.
CASES_REPEATED: Final = 4


class _Tried(NamedTuple):
    name: str
    version: int
    values: str
    is_known: bool  # a case already


def candidates(name: str, version: int, signature: Signature) -> list[str]:
    """Calls of one version, as texts of values: realistic ones, then the lowest and the highest of each field."""
    found: dict[str, None] = {}
    realistic = LOCK_CASES_DRAWN - 2 - signature.count
    for number in range(max(1, realistic)):
        chance = random.Random(f"{name}/{version}/{number}")
        values = _drawn(signature, chance)
        if values is not None:
            found[values] = None
    for values in _extremes(signature, random.Random(f"{name}/{version}")):
        found[values] = None
    return list(found)[:LOCK_CASES_DRAWN]


def _drawn(signature: Signature, chance: random.Random) -> str | None:
    for _ in range(TRIES):
        try:
            drawn = [_typical(parameter, chance) for parameter in signature.parameters]
        except Exception:  # a struct of the user's that takes less than its types say
            continue
        values = _bound(signature, drawn)
        if values is not None:
            return values
    return None  # a rule that the types do not tell


def _typical(parameter: Parameter, chance: random.Random) -> Any:
    """Mostly what calls have in common: the default, one of a few small numbers. These meet."""
    kind = chance.random()
    if kind < DEFAULT_SHARE and parameter.default is not MISSING:
        return parameter.default
    if kind < SMALL_SHARE:
        bare = typing.get_args(parameter.type)[0] if typing.get_origin(parameter.type) is Annotated else parameter.type
        if bare is int:
            return max(0, extreme_value(parameter.type, high=False)) + chance.randint(0, SMALL_MAX)
    return draw_value(parameter.type, chance)


def _extremes(signature: Signature, chance: random.Random) -> Iterator[str]:
    types = [parameter.type for parameter in signature.parameters]
    for places in ({*range(len(types))}, *({place} for place in range(len(types)))):
        for high in (False, True):
            try:
                values = [
                    extreme_value(kind, high=high) if place in places else draw_value(kind, chance)
                    for place, kind in enumerate(types)
                ]
            except Exception:  # as above
                continue
            text = _bound(signature, values)
            if text is not None:
                yield text


def _bound(signature: Signature, values: list[Any]) -> str | None:
    try:
        return write_value(signature.bind(tuple(values), {}))
    except (CallerError, ValueError):
        return None


def choose(definition: Definition, lock: Lock, new: Versions, known: Versions) -> dict[tuple[str, int], list[str]]:
    """The cases to keep of each new version, tried in between calls of the known ones; in order of use."""
    queues = [
        [_Tried(name, version, values, False) for values in candidates(name, version, signature)]
        for name, version, signature in _flat(new)
    ]
    for name, version, _ in _flat(known):
        command = lock.version_of(name, version)
        cases = [] if command is None else command.cases
        queues.append([_Tried(name, version, values, True) for values in cases])
    tried = list(_in_turns(queues))
    _, effects = play(definition, (Call(one.name, one.version, 1, read_value(one.values)) for one in tried))
    kept: dict[tuple[str, int], list[str]] = {(name, version): [] for name, version, _ in _flat(new)}
    kinds: Counter[Any] = Counter()
    refused: Counter[tuple[str, int]] = Counter()
    written: set[str] = set()
    for one, effect in zip(tried, effects, strict=True):
        # What was there before is half of what most commands do.
        kind = (effect.kind, sum(path in written for path in effect.paths))
        written.update(effect.paths)
        if one.is_known:
            continue
        cases = kept[one.name, one.version]
        if not effect.is_ok:
            refused[one.name, one.version] += kinds[kind] < OF_A_KIND
        if len(cases) < LOCK_CASES_MAX and kinds[kind] < OF_A_KIND and refused[one.name, one.version] <= REFUSED_MAX:
            kinds[kind] += 1
            cases.append(one.values)
    for one in reversed(tried):  # the outermost values first
        cases = [] if one.is_known else kept[one.name, one.version]
        if not one.is_known and len(cases) < CASES_MIN and one.values not in cases:
            cases.append(one.values)
    return kept


def steps_for(lock: Lock, new: Versions, known: Versions) -> list[Call]:
    """A run of all cases of the new versions, and of some of the known ones, to its end."""
    queues = []
    for versions, count in ((new, LOCK_CASES_MAX), (known, CASES_REPEATED)):
        for name, version, _ in _flat(versions):
            command = lock.version_of(name, version)
            cases = [] if command is None else command.cases[:count]
            queues.append([Call(name, version, number, read_value(text)) for number, text in enumerate(cases, 1)])
    return [*_in_turns(queues), *(Call(name, number, 0) for name, number in CLOSING)]


def calls_of(lock: Lock, steps: Iterable[tuple[str, int, int]]) -> list[Call]:
    """The calls that steps of a lock stand for; a case that is not there has no values."""
    calls = []
    for name, version, case in steps:
        command = lock.version_of(name, version)
        values = [] if command is None or not 0 < case <= len(command.cases) else read_value(command.cases[case - 1])
        calls.append(Call(name, version, case, values))
    return calls


def _flat(versions: Versions) -> Iterator[tuple[str, int, Signature]]:
    for name, of_name in sorted(versions.items()):
        for version, signature in sorted(of_name.items()):
            yield name, version, signature


def _in_turns(queues: list[list[Any]]) -> Iterator[Any]:
    for place in range(max(map(len, queues), default=0)):
        yield from (queue[place] for queue in queues if place < len(queue))
