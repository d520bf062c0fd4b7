"""Values of a type: random ones within its bounds, and the outermost that it allows.

Small pools on purpose: commands that name the same keys and amounts meet, and what does not meet tests nothing. A rule
that the types do not tell (a pattern, a checksum) is not met: whoever draws checks what came of it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

import msgspec

__all__ = ["draw_value", "extreme_value"]

NESTING_MAX: Final = 5
WORDS: Final = ("a", "b", "c", "ann", "bob", "x1", "", "\u00e9", "a longer text with spaces in it")
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
# Of an extreme text or list whose type has no bound of its own.
LONG: Final = 12
ITEMS: Final = 3


def draw_value(declared: Any, chance: random.Random) -> Any:
    """A value of a type."""
    return _draw(msgspec.inspect.type_info(declared), chance, 0)


def extreme_value(declared: Any, *, high: bool) -> Any:
    """The lowest and shortest value of a type, or the highest and a long one."""
    return _extreme(msgspec.inspect.type_info(declared), high, 0)


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


def _bounds(info: msgspec.inspect.IntType) -> tuple[int, int]:
    low = max(
        INT64_MIN if info.ge is None else info.ge,
        INT64_MIN if info.gt is None else info.gt + 1,
    )
    high = min(
        INT64_MAX if info.le is None else info.le,
        INT64_MAX if info.lt is None else info.lt - 1,
    )
    return low, high


def _draw_int(info: msgspec.inspect.IntType, chance: random.Random) -> int:
    low, high = _bounds(info)
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


def _extreme(info: msgspec.inspect.Type, high: bool, depth: int) -> Any:
    kinds = msgspec.inspect
    if isinstance(info, kinds.Metadata):
        return _extreme(info.type, high, depth)
    if isinstance(info, kinds.BoolType):
        return high
    if isinstance(info, kinds.IntType):
        low, top = _bounds(info)
        step = info.multiple_of or 1
        return int(top - top % step if high else low + -low % step)
    if isinstance(info, kinds.StrType):
        return _fit("".join, ["\u00e9"] * _length(info, high, LONG), info.min_length, info.max_length, "a")
    if isinstance(info, kinds.BytesType):
        return b"\xff" * _length(info, high, LONG)
    if isinstance(info, kinds.EnumType):
        return list(info.cls)[-1 if high else 0]
    if isinstance(info, kinds.LiteralType):
        return list(info.values)[-1 if high else 0]
    if isinstance(info, kinds.UnionType):
        empty = [one for one in info.types if isinstance(one, kinds.NoneType)]
        full = [one for one in info.types if not isinstance(one, kinds.NoneType)]
        wanted = full if (high and depth <= NESTING_MAX) or not empty else empty
        return _extreme(wanted[-1 if high else 0], high, depth + 1)
    if isinstance(info, kinds.TupleType):
        return tuple(_extreme(item, high, depth + 1) for item in info.item_types)
    if isinstance(info, kinds.VarTupleType | kinds.ListType):
        items = [_extreme(info.item_type, high, depth + 1)] * _length(info, high and depth <= NESTING_MAX, ITEMS)
        return items if isinstance(info, kinds.ListType) else tuple(items)
    if isinstance(info, kinds.DictType):
        if not high or depth > NESTING_MAX:
            return {}
        return {_extreme(info.key_type, high, depth + 1): _extreme(info.value_type, high, depth + 1)}
    if isinstance(info, kinds.StructType):
        return info.cls(**{field.name: _extreme(field.type, high, depth + 1) for field in info.fields})
    return None


def _length(info: Any, high: bool, unbounded: int) -> int:
    low = int(info.min_length or 0)
    if not high:
        return low
    return min(max(low, unbounded), unbounded if info.max_length is None else int(info.max_length))
