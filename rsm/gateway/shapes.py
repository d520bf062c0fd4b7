"""Values of a machine as JSON has them, and back.

Records kept in state travel as arrays inside rsm; in JSON people expect objects with names. So every type has a *twin*
that differs only in that: structs become objects, wherever they stand. Arguments are decoded into twins, which checks
them with errors that name the place, and then laid out as the plain positional values that a command takes.

Bytes are base64 text. Integers are numbers of JSON, which Python, Go and Java read exactly up to 64 bits and JavaScript
up to 2**53: with `strings` those beyond are text, and text is taken where an integer is due.
"""

from __future__ import annotations

import base64
import enum
import types
import typing
from types import GenericAlias
from typing import Any, Final

import msgspec

__all__ = ["json_type", "positional", "shown"]

# The largest integer that every reader of JSON has exactly (RFC 7493, section 2.2).
EXACT_MAX: Final = 2**53 - 1
UNIONS: Final = (typing.Union, types.UnionType)

_twins: dict[type[msgspec.Struct], type[msgspec.Struct]] = {}
_originals: dict[type[msgspec.Struct], type[msgspec.Struct]] = {}


def json_type(declared: Any) -> Any:
    """The type as JSON has it. Where objects could not be told apart (a record or a map), it stays as it is."""
    try:
        found = _twin(declared, ())
        msgspec.json.Decoder(found)
    except (TypeError, ValueError, NameError, _Nested):
        return declared
    return found


class _Nested(Exception):
    """A type that contains itself."""


def _twin(declared: Any, inside: tuple[type, ...]) -> Any:
    origin, arguments = typing.get_origin(declared), typing.get_args(declared)
    if origin is typing.Annotated:
        return typing.Annotated[(_twin(arguments[0], inside), *arguments[1:])]
    if origin in UNIONS:
        return typing.Union[tuple(_twin(part, inside) for part in arguments)]  # noqa: UP007  # made from a tuple
    if origin in (tuple, list, dict):
        return GenericAlias(origin, tuple(part if part is Ellipsis else _twin(part, inside) for part in arguments))
    if isinstance(declared, type) and issubclass(declared, msgspec.Struct):
        return _twin_of_struct(declared, inside)
    return declared


def _twin_of_struct(declared: type[msgspec.Struct], inside: tuple[type, ...]) -> type[msgspec.Struct]:
    if declared in inside:
        raise _Nested(declared.__name__)
    found = _twins.get(declared)
    if found is None:
        config = declared.__struct_config__
        fields, names = [], {}
        for field in msgspec.structs.fields(declared):
            names[field.name] = field.encode_name
            options = {"default": field.default, "default_factory": field.default_factory}
            kept = {name: value for name, value in options.items() if value is not msgspec.NODEFAULT}
            fields.append((field.name, _twin(field.type, (*inside, declared)), msgspec.field(**kept)))
        found = msgspec.defstruct(
            declared.__name__,
            fields,
            module=declared.__module__,
            namespace={"__doc__": declared.__doc__},
            tag=config.tag,
            tag_field=config.tag_field,
            rename=names,
            kw_only=True,
            forbid_unknown_fields=True,
        )
        _twins[declared], _originals[found] = found, declared
    return found


def positional(value: Any) -> Any:
    """A value that was decoded into a twin (or holds such) as plain values, laid out as its own type travels."""
    if isinstance(value, msgspec.Struct):
        original = _originals.get(type(value), type(value))
        config = original.__struct_config__
        values = [positional(getattr(value, name)) for name in original.__struct_fields__]
        if config.array_like:
            return values if config.tag is None else [config.tag, *values]
        named = dict(zip(original.__struct_encode_fields__, values, strict=True))
        return named if config.tag is None else {config.tag_field: config.tag} | named
    if isinstance(value, list | tuple):
        return [positional(item) for item in value]
    if isinstance(value, dict):
        return {key: positional(item) for key, item in value.items()}
    return value


def shown(value: Any, *, strings: bool = False) -> Any:
    """A result or event as JSON can hold it: records as objects, bytes as base64, large integers as numbers or text."""
    kind = type(value)
    if kind is int:
        return str(value) if strings and not -EXACT_MAX <= value <= EXACT_MAX else value
    if kind is str or value is None or kind is bool:
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        named = {} if config.tag is None else {config.tag_field: config.tag}
        for field, name in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            named[name] = shown(getattr(value, field), strings=strings)
        return named
    if isinstance(value, enum.Enum):
        return shown(value.value, strings=strings)
    if isinstance(value, list | tuple):
        return [shown(item, strings=strings) for item in value]
    if isinstance(value, dict):
        return {str(shown(key)): shown(item, strings=strings) for key, item in value.items()}
    return value
