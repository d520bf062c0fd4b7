"""Checks at the moment of writing: keys and values must be exactly of their declared types, and encodable.

Exactly, because state comes back from a snapshot as what was declared: a `str` where an enum was declared, a named
tuple for a tuple, a `bytearray` for bytes would encode alike, compare equal, and behave differently on the replica that
was restored. Encodable, by the encoder that hashes and stores: what was accepted can always be hashed, stored and
restored.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any, Literal, Union

import msgspec

from rsm.state.leaf import encode
from rsm.state.types import KEY_ATOMS, describe, field_types

Check = Callable[[Any], Any]
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
ATOMS = (int, str, bytes, bool)
# MessagePack's mark of an integer of 64 bits without sign. Only bytes that hold it can hold an integer beyond INT_MAX.
# A number: `0xCF in data` is one memchr, `b"\xcf" in data` fails to be a number first.
UINT64 = 0xCF


def key_check(where: str, declared: Any) -> Check:
    """A function that raises TypeError unless its argument is a key of exactly the declared type."""
    if declared in KEY_ATOMS:
        return atom_check(where, "keys", declared)
    return _exact_check(where, "keys", declared)


def value_check(where: str, declared: Any) -> Check:
    """A function that raises TypeError unless its argument is a value of exactly the declared type."""
    if declared in ATOMS:
        return atom_check(where, "values", declared)
    return _exact_check(where, "values", declared)


def atom_check(where: str, what: str, declared: type) -> Check:
    """The check of one plain type."""
    if declared is int:

        def check_int(value: Any) -> None:
            if type(value) is not int or not INT_MIN <= value <= INT_MAX:
                raise TypeError(f"{where}: {what} are int of 64 bits, got {value!r}")

        return check_int

    def check_atom(value: Any) -> None:
        if type(value) is not declared:
            raise TypeError(f"{where}: {what} are {declared.__name__}, got {value!r}")
        try:
            encode(value)
        except ValueError as error:  # half a character: a surrogate without its pair
            raise TypeError(f"{where}: {error}") from None

    return check_atom


def _exact_check(where: str, what: str, declared: Any) -> Check:
    is_exact, is_narrow = exactly(declared), _narrow(declared)
    decode = msgspec.msgpack.Decoder(declared).decode if _is_constrained(declared) else None

    def check_any(value: Any) -> None:
        if not is_exact(value):
            raise TypeError(f"{where}: {what} are {describe(declared)}, got {value!r}")
        try:
            packed = encode(value)
            if decode is not None:
                decode(packed)
        except (ValueError, OverflowError) as error:
            raise TypeError(f"{where}: {error}") from None
        if UINT64 in packed and not is_narrow(value):
            raise TypeError(f"{where}: {what} hold int of 64 bits, got {value!r}")

    return check_any


def exactly(declared: Any) -> Callable[[Any], bool]:
    """A function that tells whether a value is of exactly the declared type, all the way down."""
    bare = _bare(declared)
    kinds = _kinds(bare)
    if len(kinds) == 1:
        (kind,) = kinds
        return lambda value: type(value) is kind
    if kinds:
        return lambda value: type(value) in kinds
    origin, arguments = typing.get_origin(bare), typing.get_args(bare)
    if origin is Literal:
        literals = frozenset((type(value), value) for value in arguments)
        literal_types = frozenset(type(value) for value in arguments)
        return lambda value: type(value) in literal_types and (type(value), value) in literals
    if origin in (Union, types.UnionType):
        parts = [exactly(part) for part in arguments]
        return lambda value: any(part(value) for part in parts)
    if origin is tuple and Ellipsis in arguments:
        each = exactly(arguments[0])
        return lambda value: value.__class__ is tuple and all(map(each, value))
    return _exactly_all(bare, _fixed_parts(bare))


def _exactly_all(whole: Any, parts: list[tuple[str, Any]]) -> Callable[[Any], bool]:
    # One expression over all parts, made as `dataclasses` makes its methods: this runs at every write, and looping over
    # the parts would cost three times as much. A class that lies about its __class__ does not get past the encoder.
    names: dict[str, Any] = {"whole": tuple if typing.get_origin(whole) is tuple else whole}
    terms = ["value.__class__ is whole"]
    if names["whole"] is tuple:
        terms.append(f"len(value) == {len(parts)}")
    for number, (part, declared) in enumerate(parts):
        kinds = _kinds(_bare(declared))
        if len(kinds) == 1:
            (names[f"kind_{number}"],) = kinds
            terms.append(f"{part}.__class__ is kind_{number}")
        else:
            names[f"exact_{number}"] = exactly(declared)
            terms.append(f"exact_{number}({part})")
    predicate: Callable[[Any], bool] = eval("lambda value: " + " and ".join(terms), names)
    return predicate


def _narrow(declared: Any) -> Callable[[Any], bool]:
    """A function that tells whether every integer in an exact value is at most INT_MAX."""
    parts = _fixed_parts(_bare(declared))
    if not parts:
        return within_64_bits
    holding = [(part, _bare(kind)) for part, kind in parts if _bare(kind) not in (str, bytes, bool)]
    terms = [f"{part} <= limit" if kind is int else f"within({part})" for part, kind in holding]
    names = {"limit": INT_MAX, "within": within_64_bits}
    predicate: Callable[[Any], bool] = eval("lambda value: " + (" and ".join(terms) or "True"), names)
    return predicate


def _fixed_parts(bare: Any) -> list[tuple[str, Any]]:
    """(expression, type) of the parts of a struct or a fixed tuple called `value`; none of anything else."""
    if typing.get_origin(bare) is tuple:
        kinds = typing.get_args(bare)
        return [] if Ellipsis in kinds else [(f"value[{number}]", kind) for number, kind in enumerate(kinds)]
    if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
        return [(f"value.{field}", kind) for field, kind in field_types(bare)]
    return []


def _bare(declared: Any) -> Any:
    return typing.get_args(declared)[0] if typing.get_origin(declared) is Annotated else declared


def _kinds(bare: Any) -> frozenset[type]:
    """The types of the values, where the type alone decides; otherwise empty."""
    if bare is None:
        return frozenset((type(None),))
    if isinstance(bare, type) and typing.get_origin(bare) is None:
        return frozenset(() if issubclass(bare, msgspec.Struct) else (bare,))
    if typing.get_origin(bare) in (Union, types.UnionType):
        parts = [_kinds(_bare(part)) for part in typing.get_args(bare)]
        if all(parts):
            return frozenset().union(*parts)
    return frozenset()


def _is_constrained(declared: Any) -> bool:
    """Whether the exact type is not all that is asked: bounds, patterns and lengths (`rsm.Meta`) somewhere inside."""
    if typing.get_origin(declared) is Annotated:
        return True
    if isinstance(declared, type) and typing.get_origin(declared) is None and issubclass(declared, msgspec.Struct):
        return any(_is_constrained(hint) for _, hint in field_types(declared))
    return any(
        _is_constrained(part) for part in typing.get_args(declared) if typing.get_origin(declared) is not Literal
    )


def within_64_bits(value: Any) -> bool:
    """Whether every integer in a value, or in the parts of a command's value, is at most INT_MAX."""
    if isinstance(value, enum.Enum):
        value = value.value
    elif isinstance(value, msgspec.Struct):
        value = msgspec.structs.astuple(value)
    elif isinstance(value, dict):
        value = (*value.keys(), *value.values())
    if isinstance(value, int):
        return value <= INT_MAX
    if isinstance(value, tuple | list):
        for part in value:
            if part.__class__ is int:
                if part > INT_MAX:
                    return False
            elif part.__class__ is not str and not within_64_bits(part):
                return False
    return True
