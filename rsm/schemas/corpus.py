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
from rsm.schemas.document import Lock, Step, read_value, write_value
from rsm.schemas.drawing import draw_value, extreme_value
from rsm.schemas.running import Call, Effect, closing, play

__all__ = ["Versions", "calls_of", "candidates", "choose", "steps_for"]

Versions = dict[str, dict[int, Signature]]
TRIES: Final = 20
DEFAULT_SHARE: Final = 0.5
SMALL_SHARE: Final = 0.6
SMALL_MAX: Final = 3
# Of each kind of outcome; of those that are refused.
OF_A_KIND: Final = 2
REFUSED_MAX: Final = 4
# Of each version whatever they do: an upcaster is looked at by values, not by outcomes.
CASES_FIRST: Final = 2
CASES_MIN: Final = 6
# Places kept free for outermost values.
EXTREMES: Final = 4
# Of versions that a run repeats, so that the new ones have something to work on.
CASES_REPEATED: Final = 4


class _Tried(NamedTuple):
    name: str
    version: int
    values: str
    is_known: bool = False  # a case already
    is_extreme: bool = False


def candidates(name: str, version: int, signature: Signature) -> tuple[list[str], list[str]]:
    """Calls of one version, as texts of values: realistic ones; the lowest and highest of all fields, and of each."""
    drawn = [_drawn(signature, random.Random(f"{name}/{version}/{number}")) for number in range(LOCK_CASES_DRAWN)]
    realistic = dict.fromkeys(text for text in drawn if text is not None)
    extreme = dict.fromkeys(_extremes(signature, random.Random(f"{name}/{version}")))
    return list(realistic), list(extreme)[:LOCK_CASES_DRAWN]


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
    queues, outermost = [], []
    for name, version, signature in _flat(new):
        realistic, extreme = candidates(name, version, signature)
        queues.append([_Tried(name, version, values) for values in realistic])
        outermost.append([_Tried(name, version, values, is_extreme=True) for values in extreme])
    for name, version, _ in _flat(known):
        command = lock.version_of(name, version)
        cases = [] if command is None else command.cases
        queues.append([_Tried(name, version, values, is_known=True) for values in cases])
    # The outermost values last: a sum that has overflowed once refuses all that comes after.
    tried = [*_in_turns(queues), *_in_turns(outermost)]
    _, effects = play(definition, (Call(one.name, one.version, 1, read_value(one.values)) for one in tried))
    choice = _Choice({(name, version): [] for name, version, _ in _flat(new)})
    for one, effect in zip(tried, effects, strict=True):
        choice.consider(one, effect)
    return choice.kept


class _Choice:
    """What is kept of the calls tried, in order."""

    def __init__(self, kept: dict[tuple[str, int], list[str]]) -> None:
        self.kept = kept
        self._kinds: Counter[Any] = Counter()
        self._refused: Counter[tuple[str, int]] = Counter()
        self._written: set[str] = set()

    def consider(self, one: _Tried, effect: Effect) -> None:
        """Keep a call if it adds something; the first of the outermost whatever it does: upcasters are shown these."""
        key = (one.name, one.version)
        # What was there before is half of what most commands do.
        kind = (effect.kind, sum(path in self._written for path in effect.paths))
        self._written.update(effect.paths)
        if one.is_known or one.values in self.kept[key]:
            return
        cases = self.kept[key]
        room = LOCK_CASES_MAX - len(cases) - (0 if one.is_extreme else EXTREMES)
        adds = self._kinds[kind] < OF_A_KIND and (effect.is_ok or self._refused[key] < REFUSED_MAX)
        if room > 0 and (adds or (one.is_extreme and room > LOCK_CASES_MAX - CASES_MIN) or len(cases) < CASES_FIRST):
            self._kinds[kind] += 1
            self._refused[key] += not effect.is_ok
            cases.append(one.values)


def steps_for(lock: Lock, new: Versions, known: Versions) -> list[Call]:
    """A run of all cases of the new versions, and of some of the known ones, to its end."""
    queues = []
    for versions, count in ((new, LOCK_CASES_MAX), (known, CASES_REPEATED)):
        for name, version, _ in _flat(versions):
            command = lock.version_of(name, version)
            cases = [] if command is None else command.cases[:count]
            queues.append([Call(name, version, number, read_value(text)) for number, text in enumerate(cases, 1)])
    return [*_in_turns(queues), *closing()]


def calls_of(lock: Lock, steps: Iterable[Step]) -> list[Call]:
    """The calls that steps of a lock stand for; a case that is not there has no values."""
    calls = []
    for step in steps:
        command = lock.version_of(step.name, step.version)
        is_there = command is not None and 0 < step.case <= len(command.cases)
        values = read_value(command.cases[step.case - 1]) if command is not None and is_there else []
        calls.append(Call(step.name, step.version, step.case, values, step.by))
    return calls


def _flat(versions: Versions) -> Iterator[tuple[str, int, Signature]]:
    for name, of_name in sorted(versions.items()):
        for version, signature in sorted(of_name.items()):
            yield name, version, signature


def _in_turns(queues: list[list[Any]]) -> Iterator[Any]:
    for place in range(max(map(len, queues), default=0)):
        yield from (queue[place] for queue in queues if place < len(queue))
