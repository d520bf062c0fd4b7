"""Machines: which classes are ones, which of their methods rsm calls, and what they declare."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final, NamedTuple

from rsm.lint.annotations import annotated, floats_in, mutables_in
from rsm.lint.modules import FUNCTIONS, Class, Module
from rsm.lint.scene import Found, Place
from rsm.lint.values import TRACKED

__all__ = ["Root", "declarations", "machines_of", "roots"]

DECORATORS: Final = {
    "rsm.command": "handler",
    "rsm.query": "query",
    "rsm.on_session_end": "handler",
    "rsm.upcast": "handler",
    "rsm.migrate": "handler",
}
# What rsm calls by its name.
NAMED: Final = {"setup": "setup", "migrate_state": "handler", "migrate": "handler"}


class Root(NamedTuple):
    """Where following begins: a method that rsm calls, and as what."""

    place: Place
    kind: str  # handler, query or setup


def machines_of(module: Module) -> list[Class]:
    """The machines of a module, and its mixins of machines."""
    return [found for found in module.classes.values() if found.is_machine]


def roots(machine: Class) -> Iterator[Root]:
    """The methods of a machine that rsm calls; inherited ones too, each as the machine has it."""
    seen = set()
    for owner in machine.mro():
        for name, method in owner.methods.items():
            if name in seen:
                continue
            seen.add(name)
            kind = NAMED.get(name, "")
            for _, value in method.decorators():
                kind = DECORATORS.get(value.name, kind) if value.kind == "external" else kind
            if method.is_decorated("rsm.upcast") and method.has_self:
                kind = "query"  # it sees the state, and may not write
            if kind:
                yield Root(Place(method, machine), kind)


def declarations(machine: Class) -> Iterator[Found]:
    """Breaches in what a machine declares: its state and the parameters of its handlers."""
    for owner in machine.mro():
        module = owner.module
        for name, field in owner.fields.items():
            if isinstance(field, ast.AnnAssign):
                yield from _field(module, owner, name, field)
            elif isinstance(field.value, ast.List | ast.Dict | ast.Set) and not name.startswith("__"):
                message = f"{owner.name}.{name} is shared by all machines of the process: declare a container"
                yield _found("RSM302", module, field, message)
    for root in roots(machine):
        function = root.place.function
        node = function.node
        if isinstance(node, FUNCTIONS) and root.kind != "setup":
            for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
                if argument.annotation is not None and floats_in(function.module, argument.annotation):
                    message = f"{argument.arg} of {function.name} has a float: use integers, of a smaller unit"
                    yield _found("RSM401", function.module, argument.annotation, message)
            if root.kind == "handler" and node.returns is not None and floats_in(function.module, node.returns):
                message = f"{function.name} answers with a float: use integers, of a smaller unit"
                yield _found("RSM401", function.module, node.returns, message)


def _field(module: Module, owner: Class, name: str, field: ast.AnnAssign) -> Iterator[Found]:
    annotation = field.annotation
    base = annotation.value if isinstance(annotation, ast.Subscript) else annotation
    if isinstance(base, ast.Name | ast.Attribute) and module.static(base).name.rpartition(".")[2] == "ClassVar":
        return
    if floats_in(module, annotation):
        yield _found("RSM401", module, annotation, f"{owner.name}.{name} holds floats: use integers, of a smaller unit")
    value = annotated(module, annotation)
    if mutables_in(module, annotation):
        what = "holds mutable values" if value.name in TRACKED else "is mutable: declare an rsm container"
        yield _found("RSM306", module, annotation, f"{owner.name}.{name} {what}")


def _found(code: str, module: Module, node: ast.expr | ast.stmt, message: str) -> Found:
    return Found(code, module, node.lineno, node.col_offset + 1, node.end_lineno or node.lineno, message)
