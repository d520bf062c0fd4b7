"""What the linter knows of a value without running anything: its kind, its type where that can be told, its origin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, NamedTuple

__all__ = [
    "MUTABLE",
    "MUTATORS",
    "TRACKED",
    "UNICODE_METHODS",
    "UNKNOWN",
    "UNORDERED",
    "Value",
    "element",
    "external",
    "has",
    "instance",
    "item",
    "joined",
    "members",
    "words",
]


class Value(NamedTuple):
    """One value.

    `external`: a module or a name in one, by its dotted `name`. `module`, `class`, `function`: one of the source
    read (`of`). `object`: an instance of such a class. `instance`: of a built-in or foreign type, with the types of its
    `parts`. `union`: one of its `parts`. `origin` says where the value lives: ("self", attribute), ("module", name),
    ("class", name), ("element", attribute) or ("parameter", name).
    """

    kind: Literal["unknown", "external", "module", "class", "function", "object", "instance", "union"]
    name: str = ""
    parts: tuple[Any, ...] = ()
    of: Any = None
    origin: tuple[str, str] | None = None


# Enough for what people write; a generated union of hundreds must not cost hundreds at every use.
ALTERNATIVES_MAX: Final = 16


def words(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


UNKNOWN: Final = Value("unknown")
# What iterates in an order that hashes decide; "unordered" is a list or an iterator made from such.
UNORDERED: Final = ("set", "frozenset", "unordered")
TRACKED: Final = ("rsm.Map", "rsm.SortedMap", "rsm.Set", "rsm.Queue", "rsm.Table", "rsm.Array")
MUTABLE: Final = (
    "list",
    "dict",
    "unordered_dict",
    "set",
    "bytearray",
    "collections.deque",
    "collections.defaultdict",
    "collections.Counter",
    "collections.OrderedDict",
    "array.array",
)
# Methods that change the container that they are called on, built-in ones and rsm's.
MUTATORS: Final = words(
    """add append appendleft clear difference_update discard extend extendleft insert intersection_update pop
    pop_first popitem popleft push push_front remove reverse rotate setdefault sort subtract symmetric_difference_update
    update __setitem__ __delitem__"""
)
# Of str, without arguments; rsm.SortedMap.lower and others take one.
UNICODE_METHODS: Final = words(
    """lower upper casefold title capitalize swapcase isalpha isalnum isdigit isdecimal isnumeric isspace isupper
    islower istitle isidentifier isprintable"""
)
# Where types are known by several names.
_SAME: Final = {
    "builtins.": "",
    "typing.List": "list",
    "typing.Dict": "dict",
    "typing.Set": "set",
    "typing.FrozenSet": "frozenset",
    "typing.Tuple": "tuple",
    "typing.DefaultDict": "collections.defaultdict",
    "typing.Deque": "collections.deque",
    "collections.abc.Sequence": "sequence",
    "collections.abc.Iterable": "sequence",
    "collections.abc.Iterator": "sequence",
    "collections.abc.Mapping": "mapping",
    "typing.Sequence": "sequence",
    "typing.Iterable": "sequence",
    "typing.Iterator": "sequence",
    "typing.Mapping": "mapping",
}
# The face of rsm, wherever its modules define it.
_FACE: Final = words(
    """StateMachine Map SortedMap Set Queue Table Array Columns Struct Context Random command query on_session_end
    upcast migrate upcast_fields downcast split drop Split Drop Meta result"""
)


def external(dotted: str) -> Value:
    """A name outside of the source that is read; names of rsm's face under their public name."""
    if dotted.startswith("rsm.") and (last := dotted.rpartition(".")[2]) in _FACE:
        dotted = f"rsm.{last}"
    return Value("external", dotted)


def instance(name: str, *parts: Value) -> Value:
    """An instance of a built-in or foreign type."""
    if name.startswith("builtins."):
        name = name[len("builtins.") :]
    return Value("instance", _SAME.get(name, name), parts)


def members(value: Value) -> tuple[Value, ...]:
    """The values that it may be: itself, or the parts of a union."""
    return value.parts if value.kind == "union" else (value,)


def has(value: Value, names: Iterable[str]) -> bool:
    """Whether it is, or may be, an instance of one of these types."""
    return any(one.kind == "instance" and one.name in names for one in members(value))


def joined(values: Iterable[Value]) -> Value:
    """A value that may be any of these."""
    found: list[Value] = []
    for value in values:
        for one in members(value):
            if one.kind != "unknown" and len(found) < ALTERNATIVES_MAX and one not in found:
                found.append(one)
    if not found:
        return UNKNOWN
    return found[0] if len(found) == 1 else Value("union", parts=tuple(found))


def element(value: Value) -> Value:
    """What iterating gives."""
    return joined(one.parts[0] for one in members(value) if one.kind == "instance" and one.parts)


def item(value: Value) -> Value:
    """What a subscript gives, with the place where it lies."""
    found = []
    for one in members(value):
        if one.kind != "instance" or not one.parts:
            continue
        last = one.parts[-1]
        origin = one.origin and ("element" if one.name in TRACKED else one.origin[0], one.origin[1])
        if one.name == "rsm.Table":
            origin = one.origin
        found.append(last._replace(origin=origin) if last.kind in ("instance", "object") else last)
    return joined(found)
