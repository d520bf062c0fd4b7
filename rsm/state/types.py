"""Which types state may hold, described in one canonical text each.

State must encode to the same bytes on every replica and come back equal from a snapshot. So a value is None, bool, int
(64 bit), str, bytes, an enum member, a tuple of such, or a frozen array-like struct of such; never a float (rounding
and NaN differ), never anything mutable (it could change behind the containers' back), never a container (use a
composite key). Keys are int, str, bytes or fixed tuples of these: types with one total order that is the same
everywhere.

`describe` turns a type into text; the text goes into the schema and so into the root, the lock file and the log.
"""

from __future__ import annotations

import enum
import types
import typing
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, dataclass_transform

import msgspec

from rsm.errors import DefinitionError

PLAIN = {type(None): "null", bool: "bool", int: "int", str: "str", bytes: "bytes"}
KEY_ATOMS = (int, str, bytes)
BOUNDS = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length", "tz")


if TYPE_CHECKING:
    # A subclass of a frozen struct is frozen, but msgspec's own declaration makes type checkers ask each for
    # frozen=True.
    @dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
    class _Frozen(msgspec.StructMeta): ...

    class Struct(msgspec.Struct, metaclass=_Frozen): ...

else:

    class Struct(msgspec.Struct, frozen=True, array_like=True, gc=False):
        """Base of records kept in state: frozen, encoded as an array, out of the garbage collector's sight.

        >>> class Order(Struct):
        ...     order_id: int
        ...     quantity: int
        """


def describe(declared: Any, *, parameter: bool = False) -> str:
    """The canonical text of a type that state may hold; `DefinitionError` names the part that it may not.

    A command's parameter (and a result or event) may also be a list, a dict or a mutable struct: it lives for one call.
    """
    text = _describe(declared, parameter, ())
    try:
        msgspec.msgpack.Decoder(declared)
    except TypeError as error:  # parts that are fine each, but cannot be told apart when they are read
        raise DefinitionError(f"{_name(declared)}: {error}") from None
    return text


def _describe(declared: Any, parameter: bool, inside: tuple[type, ...]) -> str:
    def of(part: Any) -> str:
        return _describe(part, parameter, inside)

    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is Annotated:
        return of(arguments[0]) + _bounds(arguments[1:])
    if declared is None:
        return "null"
    if isinstance(declared, type) and declared in PLAIN:
        return PLAIN[declared]
    if origin in (Union, types.UnionType):
        return "|".join(sorted(of(part) for part in arguments))
    if origin is Literal:
        return "literal[" + ",".join(sorted(ascii(value) for value in arguments)) + "]"
    if origin is tuple:
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"tuple[{of(arguments[0])},...]"
        return "tuple[" + ",".join(of(part) for part in arguments) + "]"
    if parameter and origin is list:
        return f"list[{of(arguments[0])}]"
    if parameter and origin is dict and arguments[0] in (int, str):
        return f"dict[{of(arguments[0])},{of(arguments[1])}]"
    if isinstance(declared, type) and issubclass(declared, enum.Enum):
        return _describe_enum(declared)
    if isinstance(declared, type) and issubclass(declared, msgspec.Struct):
        return _describe_struct(declared, parameter, inside)
    if parameter:
        raise DefinitionError(
            f"{_name(declared)} cannot travel in a command: use None, bool, int, str, bytes, enums, and tuples, lists, "
            f"dicts or structs of these"
        )
    raise DefinitionError(
        f"{_name(declared)} cannot be kept in state: use None, bool, int, str, bytes, enums, tuples, or frozen "
        f"array-like structs (rsm.Struct) of these"
    )


def _bounds(metadata: tuple[Any, ...]) -> str:
    for meta in metadata:
        pattern = meta.pattern if isinstance(meta, msgspec.Meta) else None
        if pattern is not None and not pattern.startswith("(?a)"):
            # What \w and its kin match is decided by the Unicode tables of each Python build.
            raise DefinitionError(f"pattern {pattern!r} must begin with (?a), so that every Python build matches alike")
    # Part of the text: with another bound an old command may be refused that was applied, or the other way round.
    found = [
        f"{name}={value!a}"
        for meta in metadata
        if isinstance(meta, msgspec.Meta)
        for name in BOUNDS
        if (value := getattr(meta, name)) is not None
    ]
    return f"({','.join(found)})" if found else ""


def describe_key(declared: Any) -> str:
    """The canonical text of a key type: int, str, bytes, or a fixed tuple of these."""
    bare = typing.get_args(declared)[0] if typing.get_origin(declared) is Annotated else declared
    arguments = typing.get_args(bare)
    is_tuple = typing.get_origin(bare) is tuple and arguments and all(part in KEY_ATOMS for part in arguments)
    if is_tuple or bare in KEY_ATOMS:
        return describe(declared)
    raise DefinitionError(f"{_name(declared)} cannot be a key: use int, str, bytes, or a fixed tuple of these")


def _describe_enum(declared: type[enum.Enum]) -> str:
    if issubclass(declared, enum.Flag):  # sets of flags have values that are no member's
        raise DefinitionError(f"{declared.__name__} is an enum of flags: use an int, or a tuple of members")
    kinds = {type(member.value) for member in declared}
    if kinds != {int} and kinds != {str}:
        raise DefinitionError(f"{declared.__name__}: the members' values must be all int or all str")
    return f"enum {declared.__name__}(" + ",".join(f"{m.name}={m.value!a}" for m in declared) + ")"


def _describe_struct(declared: type[msgspec.Struct], parameter: bool, inside: tuple[type, ...]) -> str:
    config = declared.__struct_config__
    if not parameter and not (config.frozen and config.array_like and not config.dict):
        raise DefinitionError(
            f"{declared.__name__} cannot be kept in state: derive it from rsm.Struct (frozen, array-like)"
        )
    if declared in inside:
        raise DefinitionError(f"{declared.__name__} contains itself: keep the parts apart, under keys")
    fields = []
    for name, hint in field_types(declared):
        try:
            fields.append(f"{name}:{_describe(hint, parameter, (*inside, declared))}")
        except DefinitionError as error:
            raise DefinitionError(f"{declared.__name__}.{name}: {error}") from None
    return f"struct {declared.__name__}(" + ",".join(fields) + ")"


def field_types(struct: type[msgspec.Struct]) -> list[tuple[str, Any]]:
    """(name, resolved type) of a struct's fields, in order; `DefinitionError` for one that cannot be resolved."""
    try:
        hints = typing.get_type_hints(struct, include_extras=True)
    except NameError as error:
        raise DefinitionError(
            f"{struct.__name__}: {error}; its fields' types must be resolvable in its module"
        ) from None
    return [(name, hints[name]) for name in struct.__struct_fields__]


def _name(declared: Any) -> str:
    return getattr(declared, "__name__", None) or str(declared)
