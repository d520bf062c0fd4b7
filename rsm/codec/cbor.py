"""Canonical CBOR out, bounded CBOR in.

What is decoded here came from a disk or a peer. The size is capped before the first byte is looked at; nesting is
capped at `NESTING_DEPTH_MAX`; indefinite lengths, duplicate keys, trailing bytes, text that is not UTF-8, keys that are
neither text nor integers, and every tag but `REFERENCE_TAG` are refused, each with a one-line `BadBytes`. So are
undefined, other simple values and integers beyond 64 bits. All of this happens in C: a batch of a thousand commands
costs a tenth more than a plain
`cbor2.loads`. What would need a look at each value in Python is left to the typed decoder that every value meets
later: floats, and integers from 2**63 to 2**64 - 1. `decode_canonical`, for small control structures, refuses floats as
well, since it requires the bytes to equal their canonical encoding and `encode` makes no floats.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import cbor2
import msgspec

from rsm.errors import BadBytes, InvalidCommand
from rsm.limits import NESTING_DEPTH_MAX

__all__ = ["REFERENCE_TAG", "Reference", "decode", "decode_canonical", "encode", "encode_plain"]

# "rsm" in ASCII. The tag stands for a reference to the result of an earlier step of the same pipeline.
REFERENCE_TAG: Final = 0x72736D

INTEGER_MIN: Final = -(2**63)
INTEGER_MAX: Final = 2**63 - 1


class Reference(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A value that a pipeline fills in: the result of `step` (from 0), then the fields or elements in `path`."""

    step: int
    path: tuple[str | int, ...] = ()


class _Refused(Exception):
    """Carries the reason out of a decoding hook; always turned into `BadBytes`."""


def _is_reference(step: Any, path: Any) -> bool:
    parts = [step, *path] if type(path) in (list, tuple) else [None]
    return type(step) is int and all(type(part) is str or (type(part) is int and 0 <= part < 2**64) for part in parts)


def _decode_reference(value: Any, _immutable: bool) -> Reference:
    if type(value) in (list, tuple) and len(value) == 2 and _is_reference(*value):
        return Reference(value[0], tuple(value[1]))
    raise _Refused("a reference must be [step, [field or position, ...]]")


def _refuse_tag(tag: int) -> Callable[[Any, bool], Any]:
    def refuse(_value: Any, _immutable: bool) -> Any:
        raise _Refused(f"tag {tag} is not allowed")

    return refuse


class _OnlyReferences(dict[int, Callable[[Any, bool], Any]]):
    # cbor2 asks this mapping before its own decoders, so an allow-list is enough: dates, bignums, decimals, regular
    # expressions, shared values and sets never reach theirs.
    def __missing__(self, tag: int) -> Callable[[Any, bool], Any]:
        return _refuse_tag(tag)


_SEMANTIC_DECODERS: Final = _OnlyReferences({REFERENCE_TAG: _decode_reference})


def _refuse_other_tag(tag: cbor2.CBORTag, _immutable: bool) -> Any:
    raise _Refused(f"tag {tag.tag} is not allowed")


def _check_keys(value: Mapping[Any, Any], _immutable: bool) -> Mapping[Any, Any]:
    for key in value:
        if type(key) is not str and type(key) is not int:
            raise _Refused(f"a map key is a {type(key).__name__}; only text and integers are allowed")
    return value


# Refuses, in C and for 0.04 microseconds a command, what CBOR can say and no command may: undefined, simple values, and
# integers outside -2**63 .. 2**64 - 1.
_PROBE: Final = msgspec.msgpack.Encoder()


def decode(data: bytes | bytearray | memoryview, *, bytes_max: int, depth_max: int = NESTING_DEPTH_MAX) -> Any:
    """Decode one CBOR item: None, bool, int, str, bytes, list, dict (keys int or str) or `Reference`, nested.

    Integers may be encoded longer than needed, and floats get through (see the module's docstring). Raises `BadBytes`
    for anything else, among it more than `bytes_max` bytes (checked first), nesting beyond `depth_max`, and bytes after
    the item.
    """
    size = len(data)
    if size > bytes_max:
        raise BadBytes(f"CBOR of {size} bytes exceeds the bound of {bytes_max}")
    stream = io.BytesIO(data)
    try:
        value = cbor2.CBORDecoder(
            stream,
            tag_hook=_refuse_other_tag,
            object_hook=_check_keys,
            semantic_decoders=_SEMANTIC_DECODERS,
            str_errors="strict",
            max_depth=depth_max,
            allow_indefinite=False,
            allow_duplicate_keys=False,
        ).decode()
        _PROBE.encode(value)
    except (cbor2.CBORError, _Refused, ValueError, TypeError, OverflowError, LookupError, EOFError) as error:
        raise BadBytes(f"bad CBOR: {_reason(error)}") from error
    if stream.tell() != size:
        raise BadBytes(f"bad CBOR: {size - stream.tell()} bytes after the end of the item")
    return value


def _reason(error: BaseException) -> str:
    # cbor2 names the place and chains the reason: "error decoding text string" from "invalid start byte".
    texts = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        texts.append(str(error))
    if isinstance(error, _Refused):
        return str(error)
    return " ".join(": ".join(texts).split())[:200]


def decode_canonical(data: bytes | bytearray | memoryview, *, bytes_max: int) -> Any:
    """Decode a control structure (manifest, identity, handshake): `decode`, and the bytes must equal `encode` of the
    value.
    """
    value = decode(data, bytes_max=bytes_max)
    try:
        canonical = encode(value)
    except InvalidCommand as error:
        raise BadBytes(f"bad CBOR: {error}") from error
    if canonical != bytes(data):
        raise BadBytes("bad CBOR: not in canonical form")
    return value


def _encode_other(encoder: cbor2.CBOREncoder, value: Any) -> None:
    if isinstance(value, Reference):
        if not _is_reference(value.step, value.path):
            # Nobody would decode it; a client would send it again and again.
            raise InvalidCommand(f"{list(value.path)!r:.80}: a result has fields, and elements from 0, and no others")
        encoder.encode_semantic(REFERENCE_TAG, [value.step, list(value.path)])
    elif isinstance(value, msgspec.Struct) and value.__struct_config__.array_like:
        encoder.encode_array(msgspec.structs.astuple(value))
    else:
        raise InvalidCommand(f"a {type(value).__name__} has no encoding")


# Nearly every value is small integers, text and few arrays. Bytes that could begin anything else (64-bit integers,
# maps, tags, floats, simple values) also occur inside text and integers: finding one only means that the value must be
# looked at.
_ARRAY_HEADS: Final = bytes(range(0x80, 0x9C))
_SUSPECTS: Final = b"\x1b\x3b" + bytes(range(0xA0, 0xDC)) + bytes(range(0xE0, 0xF4)) + bytes(range(0xF7, 0xFC))
_ORDINARY: Final = bytes(set(range(256)) - set(_ARRAY_HEADS + _SUSPECTS))


def encode(value: Any) -> bytes:
    """Encode canonically (RFC 8949 section 4.2.1: shortest lengths, sorted keys): the inverse of `decode`.

    Takes None, bool, int (64 bit, signed), str, bytes, list, tuple, dict with keys int or str, array-like msgspec
    structs (as arrays) and `Reference`. Raises `InvalidCommand` for anything else: floats, sets, dates, larger
    integers.
    """
    try:
        data: bytes = cbor2.dumps(value, canonical=True, default=_encode_other)
        odd = data.translate(None, _ORDINARY)
        if len(odd) > NESTING_DEPTH_MAX or odd.strip(_ARRAY_HEADS):
            _check((value,), 0)
    except InvalidCommand:
        raise
    except (cbor2.CBORError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidCommand(f"cannot encode: {_reason(error)}") from error
    return data


def encode_plain(values: list[Any]) -> bytes:
    """`encode` for a list of None, bool, int, str and bytes that a typed decoder has accepted: nothing is left to
    check.
    """
    return cbor2.dumps(values, canonical=True)


def check_encodable(value: Any) -> None:
    """Raise `InvalidCommand` for what `decode` lets through and `encode` refuses: floats, larger integers."""
    _check((value,), 0)


_PLAIN: Final = frozenset({str, bytes, bool, type(None), bytearray, Reference})


def _check(items: Iterable[Any], depth: int) -> None:
    if depth > NESTING_DEPTH_MAX:
        raise InvalidCommand(f"values nest deeper than {NESTING_DEPTH_MAX}")
    for item in items:
        kind = type(item)
        if kind is int:
            if not INTEGER_MIN <= item <= INTEGER_MAX:
                raise InvalidCommand(f"integer {item} needs more than 64 bits")
        elif kind in _PLAIN:
            pass
        elif isinstance(item, (list, tuple)):
            _check(item, depth + 1)
        elif isinstance(item, dict):
            for key in item:
                if type(key) is not str and type(key) is not int:
                    raise InvalidCommand(f"a map key is a {type(key).__name__}; only text and integers are allowed")
            _check(item, depth + 1)
            _check(item.values(), depth + 1)
        elif isinstance(item, msgspec.Struct) and item.__struct_config__.array_like:
            _check(msgspec.structs.astuple(item), depth + 1)
        elif isinstance(item, int):
            _check((int(item),), depth)
        elif not isinstance(item, (str, bytes)):
            raise InvalidCommand(f"a {kind.__name__} has no encoding")
