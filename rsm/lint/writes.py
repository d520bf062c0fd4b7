"""Writes: what a function assigns, deletes or changes in place, and whether that is declared state."""

from __future__ import annotations

import ast
from typing import Final

from rsm.lint.modules import Class
from rsm.lint.scene import Node, Scene
from rsm.lint.values import MUTABLE, TRACKED, UNKNOWN, Value, element, has, item, members

__all__ = ["KEPT", "Writes"]

# Where an object lives as long as the process, and the rule against changing it.
KEPT: Final = {"module": "RSM301", "class": "RSM302"}
MAKERS: Final = frozenset({"__init__", "__post_init__", "__new__", "__init_subclass__", "__set_name__"})


class Writes(Scene):
    """Assignments and changes in place."""

    @property
    def is_setup(self) -> bool:
        """Whether this is a machine's `setup`."""
        owner = self.function.owner
        return owner is not None and owner.is_machine and self.function.name.endswith(".setup")

    # --- targets ------------------------------------------------------------------------------------------------------

    def assign(self, target: ast.expr, value: Value, source: ast.expr | None = None) -> None:
        """Give a value to a target."""
        if isinstance(target, ast.Name):
            self._assign_name(target, value)
        elif isinstance(target, ast.Tuple | ast.List):
            self.go_through(value, target, "unpacked")
            parts = value.parts if value.kind == "instance" and value.name == "tuple" else ()
            for number, one in enumerate(target.elts):
                inner = one.value if isinstance(one, ast.Starred) else one
                if isinstance(source, ast.Tuple) and len(source.elts) == len(target.elts):
                    self.assign(inner, self.seen.get(source.elts[number], UNKNOWN))
                elif len(parts) == len(target.elts):
                    self.assign(inner, parts[number])
                else:
                    self.assign(inner, element(value))
        elif isinstance(target, ast.Starred):
            self.assign(target.value, value)
        elif isinstance(target, ast.Attribute):
            self._assign_attribute(target, value)
        elif isinstance(target, ast.Subscript):
            base = self.expression(target.value)
            self.expression(target.slice)
            self.change(target, base, value)

    def _assign_name(self, target: ast.Name, value: Value) -> None:
        if target.id in self.local:
            self.names[target.id] = value
        elif target.id in self.module.bindings:
            self.report("RSM301", target, f"{target.id} is a variable of the module, which no snapshot has")

    def _assign_attribute(self, target: ast.Attribute, value: Value) -> None:
        base = self.expression(target.value)
        name = target.attr
        for one in members(base):
            if one.kind == "class":
                self.report("RSM302", target, f"{one.of.name}.{name} is shared by all machines of the process")
            elif one.kind in ("module", "external", "function"):
                self.report("RSM301", target, f"{one.name}.{name} is a variable of a module, which no snapshot has")
            elif one.origin is not None and one.origin[0] in KEPT:
                self.report(KEPT[one.origin[0]], target, f"{one.origin[1]} lives in the process: no snapshot has it")
            elif one.origin is not None and one.origin[0] == "element":
                self.report(
                    "RSM306", target, f"a value of self.{one.origin[1]} is changed where it lies: assign another"
                )
            elif one.kind == "object":
                self._assign_to_object(target, one, name, value)

    def _assign_to_object(self, target: ast.Attribute, one: Value, name: str, value: Value) -> None:
        owner: Class = one.of
        if owner.is_machine:
            if name in owner.declared():
                self.report("RSM307", target, f"self.{name} is written in a query", "query")
                if has(self.types.attribute(owner, name), TRACKED):
                    self.report("RSM305", target, f"self.{name} is a container: write into it", "handler")
            elif self.is_setup:
                if has(value, MUTABLE) and value.origin is None and self._is_empty(value):
                    self.report("RSM305", target, f"self.{name} is a plain {_kind(value)}, which no snapshot has")
            else:
                self.report("RSM305", target, f"self.{name} is not declared state: no snapshot has it", "handler")
        elif self._is_shared(one):
            self.report(
                self.shared, target, f"{owner.name}.{name} lives in an object of the process: no snapshot has it"
            )
        elif owner in self.types.held and not self._is_made_here(one):
            self.report(
                "RSM305",
                target,
                f"{owner.name}.{name} lives in an object that setup keeps: no snapshot has it",
                "handler",
            )

    def _is_shared(self, one: Value) -> bool:
        """Whether it is the `self` of a method that is called on an object which the process keeps."""
        return bool(self.shared) and one.origin is None and one.of is self.self_class

    def _is_made_here(self, one: Value) -> bool:
        """Whether an object is still being made, or was made by this function and belongs to nobody yet."""
        last = self.function.name.rpartition(".")[2]
        return last in MAKERS or one.origin == ("made", "")

    @staticmethod
    def _is_empty(value: Value) -> bool:
        return any(one.kind == "instance" and one.name in MUTABLE and one.of is None for one in members(value))

    def delete(self, target: ast.expr) -> None:
        """Delete a target."""
        if isinstance(target, ast.Tuple | ast.List):
            for one in target.elts:
                self.delete(one)
        elif isinstance(target, ast.Attribute):
            self._assign_attribute(target, UNKNOWN)
        elif isinstance(target, ast.Subscript):
            base = self.expression(target.value)
            self.expression(target.slice)
            self.change(target, base, UNKNOWN)
        elif isinstance(target, ast.Name):
            self._assign_name(target, UNKNOWN)

    # --- changes in place ---------------------------------------------------------------------------------------------

    def change(self, node: Node, base: Value, value: Value) -> None:
        """Something is put into, or taken out of, `base`."""
        if has(value, MUTABLE) and has(base, TRACKED):
            self.report("RSM306", node, f"a {_kind(value)} is put into a container: state holds immutable values")
        for one in members(base):
            origin = one.origin
            if origin is None:
                continue
            kind, name = origin
            if kind == "module":
                self.report("RSM301", node, f"{name} is a variable of a module, which no snapshot has")
            elif kind == "class":
                self.report("RSM302", node, f"{name} of the class is shared by all machines of the process")
            elif kind == "element":
                self.report("RSM306", node, f"a value of self.{name} is changed where it lies: assign another")
            elif kind == "self":
                self._change_attribute(node, one, name)

    def _change_attribute(self, node: Node, one: Value, name: str) -> None:
        owner = self.self_class
        if self.shared:
            self.report(self.shared, node, f"{name} lives in an object of the process: no snapshot has it")
            return
        if owner is None or not (owner.is_machine or owner in self.types.held):
            return
        if one.kind == "instance" and one.name in MUTABLE:
            if one.of != "given" and not (owner.is_machine and self.is_setup) and self._last_name() not in MAKERS:
                self.report("RSM305", node, f"self.{name} is a plain {_kind(one)}, which no snapshot has", "handler")
            return
        self.report("RSM307", node, f"self.{name} is written in a query", "query")

    def _last_name(self) -> str:
        return self.function.name.rpartition(".")[2]

    # --- needed from above --------------------------------------------------------------------------------------------

    seen: dict[ast.expr, Value]

    def go_through(self, value: Value, node: Node, how: str) -> None:
        """Something goes through a value in its own order."""
        raise NotImplementedError

    def element_of(self, base: Value, index: ast.expr) -> Value:
        """The value of a subscript."""
        if isinstance(index, ast.Slice):
            return base._replace(origin=None)
        return item(base)


def _kind(value: Value) -> str:
    name = next((one.name for one in members(value) if one.kind == "instance" and one.name in MUTABLE), "list")
    return {"unordered_dict": "dict"}.get(name, name)
