"""The values of commands: bound from a call, checked against the schema, and turned into the handler's arguments.

Values travel as plain positional values (CBOR in the log). Checking them means encoding them to MessagePack and
decoding that with the typed decoder of the signature: both at C speed, and the bytes in between serve as the command's
fingerprint, by which a retry is told from another command under the same number or key.
"""

from __future__ import annotations

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from types import GenericAlias, UnionType
from typing import Any

import msgspec

from rsm.errors import DefinitionError, InvalidCommand
from rsm.state.checks import UINT64, within_64_bits
from rsm.state.leaf import encode, hash64
from rsm.state.types import PLAIN, describe, field_types

BYTES = (bytes, bytearray, memoryview)  # bytes stay bytes; the others are refused, not turned into base64
UNIONS = (typing.Union, UnionType)
MISSING: Any = inspect.Parameter.empty


class Parameter(typing.NamedTuple):
    """One parameter of a command, query or upcaster."""

    name: str
    type: Any
    default: Any


class Signature:
    """The schema of one version of a command (or of a query): parameters in order, and their decoder."""

    def __init__(self, what: str, parameters: list[Parameter]) -> None:
        self.what = what
        self.parameters = parameters
        self.names = tuple(parameter.name for parameter in parameters)
        self.count = len(parameters)
        self._described: list[list[str]] | None = None
        values_type = GenericAlias(tuple, tuple(parameter.type for parameter in parameters))
        self.decode_packed: Callable[[bytes], tuple[Any, ...]] = msgspec.msgpack.Decoder(values_type).decode
        self._defaults = tuple(p.default for p in parameters if p.default is not MISSING)  # Python has them last
        self._kinds = tuple(_bare(parameter.type) for parameter in parameters)
        self.is_plain = all(kind in PLAIN for kind in self._kinds)
        # A lookalike differs from what it travels as; but buffers equal the bytes that they hold.
        self._has_quick_check = self.is_plain and bytes not in self._kinds

    @classmethod
    def of(cls, what: str, function: Callable[..., Any], skip: int, local_names: dict[str, Any]) -> Signature:
        """The signature of a function without its first `skip` parameters; `DefinitionError` for what cannot travel."""
        hints = type_hints(what, function, local_names)
        parameters = []
        every = list(inspect.signature(function).parameters.values())
        if any(parameter.kind in (parameter.VAR_POSITIONAL, parameter.KEYWORD_ONLY) for parameter in every[:skip]) or (
            len(every) < skip
        ):
            raise DefinitionError(f"{what}: its parameters begin with {'self, ctx' if skip > 1 else 'self'}")
        for parameter in every[skip:]:
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise DefinitionError(f"{what}: parameter {parameter.name!r} must be positional (no * or **)")
            if parameter.name not in hints:
                raise DefinitionError(f"{what}: parameter {parameter.name!r} has no type")
            parameters.append(parameter_of(what, parameter.name, hints[parameter.name], parameter.default))
        signature = cls(what, parameters)
        signature.check_defaults()
        return signature

    def check_defaults(self) -> None:
        """`DefinitionError` for a default that the parameter's own type refuses."""
        for parameter in self.parameters:
            if parameter.default is not MISSING:
                try:
                    Signature(f"{self.what}: the default of", [parameter]).bind((parameter.default,), {})
                except InvalidCommand as error:
                    raise DefinitionError(str(error)) from None

    def described(self) -> list[list[str]]:
        """[name, type] of every parameter, for schemas. Kept, since clients compare it with what their machine has."""
        if self._described is None:
            self._described = [[each.name, describe(each.type, parameter=True)] for each in self.parameters]
        return self._described

    def bind(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Plain positional values for a call, defaults filled in; checked. `InvalidCommand` names the field."""
        missing = self.count - len(args)
        if kwargs or not 0 <= missing <= len(self._defaults):
            args = tuple(self.fill(args, kwargs))  # also says what is wrong
        elif missing:
            args += self._defaults[-missing:]
        values = args if self.is_plain else self.plain(args)
        try:
            packed = encode(values)
            typed = self.decode_packed(packed)
        except (OverflowError, TypeError, ValueError, RecursionError):
            packed = self.encode(values)
            typed = self.decode(packed)  # if not the line above, this says what is wrong
        if not self._has_quick_check:
            if tuple(map(type, args)) != self._kinds:
                self._refuse_lookalikes(args)
        elif typed != args:
            self._refuse_lookalikes(args)
        if UINT64 in packed:
            self._refuse_wide(values)
        # Of plain types, what the log will decode to, not what a caller had that equals it.
        return list(typed if self.is_plain else values)

    def _refuse_lookalikes(self, values: Sequence[Any]) -> None:
        # What would travel as the text or bytes that was asked for, but is something else: a date, a UUID, a buffer.
        for name, kind, value in zip(self.names, self._kinds, values, strict=True):
            if kind in PLAIN and not isinstance(value, kind):
                raise InvalidCommand(
                    f"{self.what}: {name}: Expected `{PLAIN[kind]}`, got `{type(value).__name__}`", name
                )

    def _refuse_wide(self, values: Sequence[Any]) -> None:
        for name, value in zip(self.names, values, strict=True):
            if not within_64_bits(value):
                raise InvalidCommand(f"{self.what}: {name}: Expected `int` of 64 bits with sign, got {value!r}", name)

    def plain(self, values: Sequence[Any]) -> list[Any]:
        """Values with enums, structs and tuples turned into what they travel as."""
        try:
            return msgspec.to_builtins(list(values), builtin_types=BYTES)  # type: ignore[no-any-return]  # a list
        except (OverflowError, TypeError, ValueError, RecursionError) as error:
            name = next((name for name, value in zip(self.names, values, strict=False) if not _encodes(value)), None)
            raise InvalidCommand(f"{self.what}: {name}: {error}", name) from None

    def fill(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
        """Positional values for a call, defaults filled in, unchecked."""
        values, named = list(args), dict(kwargs)
        if len(values) > self.count:
            raise InvalidCommand(f"{self.what}: takes {self.count} values, got {len(values)}")
        for parameter in self.parameters[len(values) :]:
            value = named.pop(parameter.name, parameter.default)
            if value is MISSING:
                raise InvalidCommand(f"{self.what}: {parameter.name}: missing", parameter.name)
            values.append(value)
        for name in named:
            known = "given twice" if name in self.names else "unknown field"
            raise InvalidCommand(f"{self.what}: {name}: {known}", name)
        return values

    def encode(self, values: Sequence[Any]) -> bytes:
        """MessagePack of plain values; `InvalidCommand` for what has none (an int of 65 bits, half a character)."""
        try:
            return encode(values)
        except (OverflowError, TypeError, ValueError, RecursionError) as error:
            name = next((name for name, value in zip(self.names, values, strict=False) if not _encodes(value)), None)
            raise InvalidCommand(f"{self.what}: {name}: {error}", name) from None

    def decode(self, packed: bytes) -> tuple[Any, ...]:
        """The handler's arguments, typed, from packed values; `InvalidCommand` names the field at fault."""
        try:
            return self.decode_packed(packed)
        except msgspec.ValidationError as error:
            raise self.explain(error) from None

    def explain(self, error: msgspec.ValidationError) -> InvalidCommand:
        """msgspec's complaint about a position, told by field name."""
        text = str(error)
        said, _, place = text.rpartition(" - at `$")
        match = re.fullmatch(r"\[(\d+)\](.*)`", place)
        try:
            if match is None:
                raise ValueError(place)
            name, declared = self.parameters[int(match.group(1))][:2]
            path = name + _named_path(declared, match.group(2))
        except (ValueError, LookupError):  # a wording that we do not know: then in msgspec's own words
            return InvalidCommand(f"{self.what}: {text}")
        return InvalidCommand(f"{self.what}: {path}: {said}", name)


def parameter_of(what: str, name: str, declared: Any, default: Any = MISSING) -> Parameter:
    """A parameter of this type; `DefinitionError` for a type that cannot travel."""
    try:
        describe(declared, parameter=True)
    except DefinitionError as error:
        raise DefinitionError(f"{what}: parameter {name!r}: {error}") from None
    return Parameter(name, declared, default)


def described_text(fields: Any) -> str:
    """Fields as a schema has them, for people: whatever is in it."""
    pairs = fields if isinstance(fields, list) else []
    return "(" + ", ".join(": ".join(map(str, pair)) for pair in pairs if isinstance(pair, list)) + ")"


def fingerprint(name: str, version: int, packed: bytes) -> int:
    """64 bits that tell one command with its values from another."""
    return hash64(packed, fingerprint_seed(name, version))


def fingerprint_seed(name: str, version: int) -> int:
    """What a command's name and version contribute to its fingerprints."""
    return hash64(f"{name}/{version}".encode())


def type_hints(what: str, annotated: Any, local_names: dict[str, Any]) -> dict[str, Any]:
    """Resolved annotations; `DefinitionError` names the one that cannot be resolved."""
    try:
        return typing.get_type_hints(annotated, localns=local_names, include_extras=True)
    except (NameError, AttributeError, TypeError, SyntaxError) as error:
        raise DefinitionError(f"{what}: {error}; annotations must be resolvable where the class is created") from None


def _named_path(declared: Any, path: str) -> str:
    """msgspec's path inside a value, with the names of fields where it counts the elements of a struct."""
    named = ""
    for token in re.findall(r"\[[\d.]+\]|\.\w+", path):
        bare = _bare(declared)
        parts = [_bare(part) for part in typing.get_args(bare)]
        candidates = parts if typing.get_origin(bare) in UNIONS else [bare]
        struct = next(
            (kind for kind in candidates if isinstance(kind, type) and issubclass(kind, msgspec.Struct)), None
        )
        if struct is not None:
            fields = field_types(struct)
            if token[0] == "[":
                tagged = struct.__struct_config__.tag is not None  # the tag comes before the fields
                token = "." + fields[int(token[1:-1]) - tagged][0]
            declared = dict(fields).get(token[1:], Any)
        elif typing.get_origin(bare) is tuple and Ellipsis not in parts and token[1:-1].isdigit():
            declared = parts[int(token[1:-1])]
        else:  # elements of lists, tuples and the values of dicts
            declared = next((part for part in reversed(parts) if part is not Ellipsis), Any)
        named += token
    return named


def _bare(declared: Any) -> Any:
    return typing.get_args(declared)[0] if typing.get_origin(declared) is typing.Annotated else declared


def _encodes(value: Any) -> bool:
    try:
        encode(value)
    except (OverflowError, TypeError, ValueError, RecursionError):
        return False
    return True
