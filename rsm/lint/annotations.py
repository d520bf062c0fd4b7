"""Annotations as values: `set[int] | None` is an instance of a set, `Book` an object of a class of the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from rsm.lint.modules import Class, Module
from rsm.lint.values import TRACKED, UNKNOWN, Value, instance, joined

__all__ = ["annotated", "floats_in", "mutables_in", "parsed"]

# Aliases of aliases, records of records: deeper ones are taken as unknown.
NESTING_MAX: Final = 12
# An annotation in quotes; longer ones are no annotation.
QUOTED_CHARACTERS_MAX: Final = 1000
WRAPPERS: Final = frozenset({"Annotated", "Final", "ClassVar", "Required", "NotRequired", "ReadOnly", "Optional"})
FLOATS: Final = frozenset({"builtins.float", "builtins.complex", "decimal.Decimal", "numpy.float64", "numpy.float32"})
CHANGEABLE: Final = frozenset(
    {"builtins.list", "builtins.dict", "builtins.set", "builtins.bytearray", "typing.List", "typing.Dict", "typing.Set"}
)


def annotated(module: Module, node: ast.expr | None, depth: int = 0) -> Value:
    """The value that an annotation promises."""
    node = parsed(node)
    if node is None or depth > NESTING_MAX:
        return UNKNOWN
    if isinstance(node, ast.BinOp):
        return joined(annotated(module, one, depth + 1) for one in _alternatives(node))
    base = node.value if isinstance(node, ast.Subscript) else node
    if not isinstance(base, ast.Name | ast.Attribute):
        return UNKNOWN
    value = module.static(base)
    inner = _arguments(node)
    if value.kind == "class":
        return Value("object", value.name, of=value.of)
    if value.kind == "unknown" and value.origin is not None:
        return _alias(value, depth)
    if value.kind != "external":
        return UNKNOWN
    last = value.name.rpartition(".")[2]
    if last in WRAPPERS:
        return annotated(module, inner[0], depth + 1) if inner else UNKNOWN
    if last == "Union":
        return joined(annotated(module, one, depth + 1) for one in inner)
    if last in ("Any", "Literal", "Self", "None", "Callable"):
        return UNKNOWN
    return instance(value.name, *(annotated(module, one, depth + 1) for one in inner))


def _alias(value: Value, depth: int) -> Value:
    """What a variable of a module stands for as a type: `Levels = list[tuple[int, int]]`."""
    module: Module = value.of
    for binding in module.bindings.get(value.name, ()):
        if isinstance(binding.node, ast.Assign | ast.AnnAssign) and binding.node.value is not None:
            return annotated(module, binding.node.value, depth + 1)
    return UNKNOWN


def parsed(node: ast.expr | None) -> ast.expr | None:
    """An annotation, out of its quotes."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if len(node.value) > QUOTED_CHARACTERS_MAX:
            return None
        try:
            return ast.parse(node.value, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None
    return node


def _alternatives(node: ast.BinOp) -> list[ast.expr]:
    """The parts of `A | B | C`, a tree that leans to the left."""
    found = [node.right]
    while isinstance(node.left, ast.BinOp):
        node = node.left
        found.append(node.right)
    return [node.left, *reversed(found)]


def _arguments(node: ast.expr) -> list[ast.expr]:
    if not isinstance(node, ast.Subscript):
        return []
    return list(node.slice.elts) if isinstance(node.slice, ast.Tuple) else [node.slice]


def floats_in(module: Module, node: ast.expr | None) -> bool:
    """Whether an annotation holds a float, directly or in a record that it names."""
    return any(name in FLOATS for name, _ in _names(module, node, 0, set()))


def mutables_in(module: Module, node: ast.expr | None) -> bool:
    """Whether an annotation of state holds a list, a dict or a set, directly or in a record that it names."""
    return any(name in CHANGEABLE for name, _ in _names(module, node, 0, set()))


def _names(module: Module, node: ast.expr | None, depth: int, seen: set[Class]) -> Iterator[tuple[str, Value]]:
    """The dotted names of all types in an annotation, and in the fields of records of the source."""
    node = parsed(node)
    if node is None or depth > NESTING_MAX:
        return
    if isinstance(node, ast.BinOp):
        for one in _alternatives(node):
            yield from _names(module, one, depth + 1, seen)
        return
    base = node.value if isinstance(node, ast.Subscript) else node
    if not isinstance(base, ast.Name | ast.Attribute):
        return
    value = module.static(base)
    last = value.name.rpartition(".")[2]
    if value.kind == "external" and last == "Literal":
        return
    arguments = _arguments(node)
    for inner in arguments[:1] if last in WRAPPERS else arguments:
        yield from _names(module, inner, depth + 1, seen)
    if value.kind == "external" and value.name not in TRACKED:
        yield value.name, value
    elif value.kind == "class" and value.of not in seen and depth < NESTING_MAX:
        seen.add(value.of)
        for owner in value.of.mro():
            for field in owner.fields.values():
                if isinstance(field, ast.AnnAssign):
                    yield from _names(owner.module, field.annotation, depth + 1, seen)
    elif value.kind == "unknown" and value.origin is not None:
        other: Module = value.of
        for binding in other.bindings.get(value.name, ()):
            if isinstance(binding.node, ast.Assign):
                yield from _names(other, binding.node.value, depth + 1, seen)
