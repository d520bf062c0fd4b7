"""Random commands of any machine: values drawn from the types of its handlers' parameters, within their bounds.

Small pools on purpose: commands that name the same keys and amounts meet, and what does not meet tests nothing. Every
call is checked against the schema as a client would; a machine whose rules are too fine for its types to say (a
pattern, a checksum) is given commands by `workload=` instead.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

from rsm.errors import CallerError, InvalidCommand
from rsm.machine.definition import Definition

__all__ = ["Workload", "draw_value", "machine_workload"]

# A command, and the values to call it with. The number is the call's own.
Workload = Callable[[random.Random, int], tuple[str, list[Any]]]

DRAWS_MAX: Final = 50
NESTING_MAX: Final = 5
WORDS: Final = ("a", "b", "c", "ann", "bob", "x1", "", "\u00e9", "a longer text with spaces in it")
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


def machine_workload(definition: Definition) -> Workload:
    """Random calls of a machine's commands, all equally often. `CallerError` if the types do not lead to any."""
    specs = [spec for _, spec in sorted(definition.methods.items())]
    if not specs:
        raise CallerError(f"{definition.name} has no commands to simulate")

    def draw(chance: random.Random, number: int) -> tuple[str, list[Any]]:
        for _ in range(DRAWS_MAX):
            spec = chance.choice(specs)
            values = [draw_value(parameter.type, chance) for parameter in spec.signature.parameters]
            try:
                return spec.name, spec.signature.bind(tuple(values), {})
            except InvalidCommand:
                continue  # a rule that the types do not tell
        raise CallerError(
            f"{DRAWS_MAX} random calls of {definition.name} were all invalid: give a workload that makes valid ones"
        )

    return draw


def draw_value(declared: Any, chance: random.Random) -> Any:
    """A value of a type."""
    return _draw(msgspec.inspect.type_info(declared), chance, 0)


def _draw(info: msgspec.inspect.Type, chance: random.Random, depth: int) -> Any:
    kinds = msgspec.inspect
    if isinstance(info, kinds.Metadata):
        return _draw(info.type, chance, depth)
    if isinstance(info, kinds.BoolType):
        return chance.random() < 0.5
    if isinstance(info, kinds.IntType):
        return _draw_int(info, chance)
    if isinstance(info, kinds.StrType):
        return _fit("".join, _word(chance), info.min_length, info.max_length, "a")
    if isinstance(info, kinds.BytesType):
        return _fit(bytes, list(_word(chance).encode()), info.min_length, info.max_length, 0)
    if isinstance(info, kinds.EnumType):
        return chance.choice(list(info.cls))
    if isinstance(info, kinds.LiteralType):
        return chance.choice(list(info.values))
    if isinstance(info, kinds.UnionType):
        # Nesting ends where something flat may stand instead.
        flat = [one for one in info.types if isinstance(one, kinds.NoneType | kinds.IntType | kinds.StrType)]
        return _draw(chance.choice(flat if depth > NESTING_MAX and flat else list(info.types)), chance, depth + 1)
    return _draw_many(info, chance, depth)


def _draw_many(info: msgspec.inspect.Type, chance: random.Random, depth: int) -> Any:
    kinds = msgspec.inspect
    if isinstance(info, kinds.TupleType):
        return tuple(_draw(item, chance, depth + 1) for item in info.item_types)
    if isinstance(info, kinds.VarTupleType | kinds.ListType):
        low = info.min_length or 0
        high = low if depth > NESTING_MAX else min(low + 3, 2**31 if info.max_length is None else info.max_length)
        items = [_draw(info.item_type, chance, depth + 1) for _ in range(chance.randint(low, high))]
        return items if isinstance(info, kinds.ListType) else tuple(items)
    if isinstance(info, kinds.DictType):
        count = 0 if depth > NESTING_MAX else chance.randint(0, 3)
        return {
            _draw(info.key_type, chance, depth + 1): _draw(info.value_type, chance, depth + 1) for _ in range(count)
        }
    if isinstance(info, kinds.StructType):
        return info.cls(**{field.name: _draw(field.type, chance, depth + 1) for field in info.fields})
    return None


def _word(chance: random.Random) -> str:
    return chance.choice(WORDS)


def _fit(join: Callable[[list[Any]], Any], parts: Any, low: int | None, high: int | None, filler: Any) -> Any:
    parts = list(parts)
    parts += [filler] * ((low or 0) - len(parts))
    return join(parts if high is None else parts[:high])


def _draw_int(info: msgspec.inspect.IntType, chance: random.Random) -> int:
    low = max(
        INT64_MIN if info.ge is None else info.ge,
        INT64_MIN if info.gt is None else info.gt + 1,
    )
    high = min(
        INT64_MAX if info.le is None else info.le,
        INT64_MAX if info.lt is None else info.lt - 1,
    )
    step = info.multiple_of or 1
    kind = chance.random()
    if kind < 0.05:
        value = chance.choice((low, high))
    else:
        base = min(max(0, low), high)
        value = base + chance.randint(0, 10 if kind < 0.7 else 1000)
        if kind > 0.95:
            value = -value
    value = min(max(value, low), high)
    value -= value % step
    return int(value if value >= low else value + step)
