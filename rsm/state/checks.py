"""Checks at the moment of writing: keys and values must be exactly of their declared types, and encodable.

A check costs one trip through the encoder (and, for structs and tuples, the typed decoder): C speed, and the same code
that a snapshot goes through, so that what was accepted can always be hashed, stored and restored.
"""

from __future__ import annotations

import enum
import typing
from collections.abc import Callable
from typing import Annotated, Any

import msgspec

from rsm.state.leaf import encode
from rsm.state.types import KEY_ATOMS, describe

Check = Callable[[Any], Any]
INT_MIN, INT_MAX = -(2**63), 2**63 - 1


def _bare(declared: Any) -> Any:
    return typing.get_args(declared)[0] if typing.get_origin(declared) is Annotated else declared


def key_check(where: str, declared: Any) -> Check:
    """A function that raises TypeError unless its argument is a key of exactly the declared type."""
    declared = _bare(declared)
    if declared in KEY_ATOMS:
        return atom_check(where, "keys", declared)
    parts = typing.get_args(declared)
    count = len(parts)

    def check_tuple(key: Any) -> None:
        if type(key) is not tuple or len(key) != count:
            raise TypeError(f"{where}: keys are {describe(declared)}, got {key!r}")
        for part, kind in zip(key, parts, strict=True):
            if type(part) is not kind:
                raise TypeError(f"{where}: keys are {describe(declared)}, got {key!r}")
        encode(key)

    return check_tuple


def value_check(where: str, declared: Any) -> Check:
    """A function that raises TypeError unless its argument is a value of exactly the declared type."""
    bare = _bare(declared)
    if bare in (int, str, bytes, bool) and bare is declared:
        return atom_check(where, "values", bare)
    decode = msgspec.msgpack.Decoder(declared).decode
    exact = bare if isinstance(bare, type) else None
    flat = exact is not None and issubclass(exact, msgspec.Struct) and _is_flat(exact)

    def check_any(value: Any) -> None:
        if exact is not None and type(value) is not exact:
            raise TypeError(f"{where}: values are {describe(declared)}, got {type(value).__name__}")
        try:
            restored = decode(encode(value))
        except msgspec.ValidationError as error:
            raise TypeError(f"{where}: {error}") from None
        # A list in the place of a tuple encodes alike but is mutable; flat structs cannot hide one.
        if not flat and restored != value:
            raise TypeError(f"{where}: values are {describe(declared)}, got {value!r}")

    return check_any


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
        encode(value)

    return check_atom


def _is_flat(struct: type[msgspec.Struct]) -> bool:
    hints = typing.get_type_hints(struct, include_extras=True).values()
    return all(_is_atom(hint) for hint in hints)


def _is_atom(hint: Any) -> bool:
    bare = _bare(hint)
    if bare in (int, str, bytes, bool):
        return True
    return isinstance(bare, type) and issubclass(bare, enum.Enum)
