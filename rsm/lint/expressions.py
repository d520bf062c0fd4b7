"""Expressions: each is examined once, and says what is known of its value."""

from __future__ import annotations

import ast
from typing import Final

from rsm.lint.annotations import annotated
from rsm.lint.arguments import is_negative
from rsm.lint.calls import DECIMAL, Calls
from rsm.lint.externals import rule_of
from rsm.lint.scene import Node
from rsm.lint.values import UNKNOWN, UNORDERED, Value, element, has, instance, joined, members

__all__ = ["Expressions"]

SET_OPERATORS: Final = (ast.BitOr, ast.BitAnd, ast.Sub, ast.BitXor)
VIEWS: Final = ("dict_keys", "unordered_dict_view")
# Equal values of these may be one object or two; of the constants there is one each.
COPIED: Final = ("int", "str", "bytes", "tuple", "float")
ONE_EACH: Final = (None, True, False, ...)
# What gives each caller something else: a number, a place in a line.
EFFECTS: Final = ("new_id", "emit", "schedule")
# What `/` does not make a float of.
NO_NUMBERS: Final = ("pathlib.", "fractions.", "datetime.", "str")


class Expressions(Calls):
    """Expressions of every kind."""

    def expression(self, node: ast.expr, sink: bool = False) -> Value:
        self.types.spend(1)
        if isinstance(node, ast.Name):
            value = self.name(node)
        elif isinstance(node, ast.Attribute):
            value = self.attribute(node, self.expression(node.value))
        elif isinstance(node, ast.Call):
            value = self.call(node, sink)
        elif isinstance(node, ast.Constant):
            value = self._constant(node)
        elif isinstance(node, ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp):
            value = self._comprehension(node, sink)
        else:
            method = getattr(self, f"_{type(node).__name__}", None)
            value = UNKNOWN if method is None else method(node)
        self.seen[node] = value
        return value

    def annotation(self, node: ast.expr | None) -> Value:
        """What an annotation promises."""
        return annotated(self.module, node)

    def code_of(self, value: Value) -> str:
        return rule_of(value.name) if value.kind == "external" else ""

    def go_through(self, value: Value, node: Node, how: str) -> None:
        if has(value, UNORDERED):
            self.report("RSM201", node, f"a set is {how}, in the order of its hashes: sort it")
        elif has(value, ("unordered_dict", "unordered_dict_view")):
            self.report("RSM204", node, f"a dict filled in the order of a set is {how}: sort it")

    # --- constants and displays ---------------------------------------------------------------------------------------

    def _constant(self, node: ast.Constant) -> Value:
        if isinstance(node.value, float | complex):
            self.report("RSM402", node, "a float: use integers, of a smaller unit")
            return instance("float")
        return UNKNOWN if node.value is None else instance(type(node.value).__name__)

    def _elements(self, nodes: list[ast.expr]) -> Value:
        values = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                inner = self.expression(node.value)
                self.go_through(inner, node, "unpacked")
                values.append(element(inner))
            else:
                values.append(self.expression(node))
        return joined(values)

    def _List(self, node: ast.List) -> Value:
        return instance("list", self._elements(node.elts))._replace(of="filled" if node.elts else None)

    def _Tuple(self, node: ast.Tuple) -> Value:
        whole = self._elements(node.elts)
        parts = [self.seen.get(one, UNKNOWN) for one in node.elts]
        starred = any(isinstance(one, ast.Starred) for one in node.elts)
        return instance("tuple", *([whole] if starred or len(parts) > 8 else parts))

    def _Set(self, node: ast.Set) -> Value:
        values = [self.expression(one.value if isinstance(one, ast.Starred) else one) for one in node.elts]
        return instance("set", joined(values))._replace(of="filled")

    def _Dict(self, node: ast.Dict) -> Value:
        keys, values, is_unordered = [], [], False
        for key, value in zip(node.keys, node.values, strict=True):
            if key is not None:
                keys.append(self.expression(key))
            inner = self.expression(value)
            if key is None:
                is_unordered |= has(inner, ("unordered_dict",))
            else:
                values.append(inner)
        name = "unordered_dict" if is_unordered else "dict"
        return instance(name, joined(keys), joined(values))._replace(of="filled" if node.values else None)

    def _Starred(self, node: ast.Starred) -> Value:
        value = self.expression(node.value)
        self.go_through(value, node, "unpacked")
        return UNKNOWN

    def _JoinedStr(self, node: ast.JoinedStr) -> Value:
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                value = self.expression(part.value)
                self.text_of(value, part)
                if part.format_spec is not None:
                    self.check_format(part.format_spec, part)
                    self.expression(part.format_spec)
        return instance("str")

    # --- operators ----------------------------------------------------------------------------------------------------

    def _BinOp(self, node: ast.BinOp) -> Value:
        # Long sums and long texts are deep trees to the left: they are taken in a loop.
        chain = [node]
        while isinstance(chain[-1].left, ast.BinOp):
            chain.append(chain[-1].left)
        value = self.expression(chain[-1].left)
        for one in reversed(chain):
            right = self.expression(one.right)
            value = self.operation(one.op, value, right, one, one.left)
            self.seen[one] = value
        return value

    def operation(self, operator: ast.operator, left: Value, right: Value, node: Node, operand: ast.expr) -> Value:
        """What an operator makes of two values."""
        if isinstance(operator, SET_OPERATORS):
            if has(left, ("set", "frozenset")) or has(left, VIEWS):
                return instance("set", element(left))
            if has(left, ("rsm.Set",)) or has(right, ("set", "frozenset")):
                return instance("set", element(right)) if has(right, ("set", "frozenset")) else UNKNOWN
            if isinstance(operator, ast.BitOr) and (has(left, ("unordered_dict",)) or has(right, ("unordered_dict",))):
                return (left if has(left, ("unordered_dict",)) else right)._replace(origin=None)
        if has(left, DECIMAL) or (has(right, DECIMAL) and not has(left, ("str", "bytes"))):
            self.report("RSM402", node, "Decimal rounds as the context of the thread says: use integers")
            return instance(*DECIMAL)
        if isinstance(operator, ast.Pow) and is_negative(getattr(node, "right", None)):
            self.report("RSM402", node, "a negative power makes a float: use integers")
            return instance("float")
        if isinstance(operator, ast.Div) and not any(
            one.kind == "object" or (one.kind == "instance" and one.name.startswith(NO_NUMBERS))
            for one in (*members(left), *members(right))
        ):
            self.report("RSM402", node, "a division that makes a float: use // on integers")
            return instance("float")
        if has(left, ("float",)) or has(right, ("float",)):
            if isinstance(operator, ast.Mod) and has(left, ("str",)):
                return instance("str")
            self.report("RSM402", node, "arithmetic with floats: use integers, of a smaller unit")
            return instance("float")
        if isinstance(operator, ast.Mod) and (has(left, ("str",)) or isinstance(operand, ast.Constant)):
            for value in right.parts if right.kind == "instance" and right.name == "tuple" else (right,):
                self.text_of(value, node)
            return instance("str") if has(left, ("str",)) else UNKNOWN
        if isinstance(operator, ast.Add):
            for one in (left, right):
                if has(one, ("str", "bytes", "list", "tuple")):
                    return one._replace(origin=None)
        if has(left, ("int", "bool")) and has(right, ("int", "bool")) and not isinstance(operator, ast.Pow):
            return instance("int")
        return UNKNOWN

    def _UnaryOp(self, node: ast.UnaryOp) -> Value:
        value = self.expression(node.operand)
        return instance("bool") if isinstance(node.op, ast.Not) else value._replace(origin=None)

    def _BoolOp(self, node: ast.BoolOp) -> Value:
        return joined([self.expression(one) for one in node.values])

    def _Compare(self, node: ast.Compare) -> Value:
        before = self.expression(node.left)
        for operator, one in zip(node.ops, node.comparators, strict=True):
            value = self.expression(one)
            if (
                isinstance(operator, ast.Is | ast.IsNot)
                and any(side.kind == "instance" and side.name in COPIED for side in (before, value))
                and not any(isinstance(side, ast.Constant) and side.value in ONE_EACH for side in (node.left, one))
            ):
                self.report("RSM205", node, "`is` compares addresses: whether equal values share one differs; use ==")
            before = value
        return instance("bool")

    def _IfExp(self, node: ast.IfExp) -> Value:
        self.expression(node.test)
        return joined((self.expression(node.body), self.expression(node.orelse)))

    def _NamedExpr(self, node: ast.NamedExpr) -> Value:
        value = self.expression(node.value)
        self.assign(node.target, value)
        return value

    def _Subscript(self, node: ast.Subscript) -> Value:
        base = self.expression(node.value)
        self.expression(node.slice)
        if base.kind == "instance" and base.name == "tuple" and len(base.parts) > 1:
            index = node.slice
            if isinstance(index, ast.Constant) and type(index.value) is int and 0 <= index.value < len(base.parts):
                part: Value = base.parts[index.value]
                return part
            return UNKNOWN
        if base.kind == "external":  # a type in an expression
            return base
        return self.element_of(base, node.slice)

    def _Slice(self, node: ast.Slice) -> Value:
        for part in (node.lower, node.upper, node.step):
            if part is not None:
                self.expression(part)
        return UNKNOWN

    # --- functions, comprehensions, yields ----------------------------------------------------------------------------

    def _Lambda(self, node: ast.Lambda) -> Value:
        before, local = dict(self.names), set(self.local)
        arguments = node.args
        for default in [*arguments.defaults, *(one for one in arguments.kw_defaults if one is not None)]:
            self.expression(default)
        for argument in [
            *arguments.posonlyargs,
            *arguments.args,
            *arguments.kwonlyargs,
            arguments.vararg,
            arguments.kwarg,
        ]:
            if argument is not None:
                self.names[argument.arg] = UNKNOWN
                self.local.add(argument.arg)
        self.expression(node.body)
        self.names, self.local = before, local
        return instance("function")

    def _comprehension(self, node: ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp, sink: bool) -> Value:
        before, local = dict(self.names), set(self.local)
        keeps_order = isinstance(node, ast.GeneratorExp | ast.ListComp)
        unordered = False
        for part in node.generators:
            if part.is_async:
                self.report("RSM106", part.iter, "an asynchronous comprehension waits for something outside")
            value = self.expression(part.iter)
            mixed = has(value, UNORDERED) or has(value, ("unordered_dict", "unordered_dict_view"))
            unordered |= mixed
            if mixed and keeps_order and not sink:
                self.go_through(value, part.iter, "gone through by a comprehension")
            for name in ast.walk(part.target):
                if isinstance(name, ast.Name):
                    self.local.add(name.id)
            self.names.update({name.id: UNKNOWN for name in ast.walk(part.target) if isinstance(name, ast.Name)})
            if not mixed or not isinstance(part.target, ast.Tuple):
                self.assign(part.target, element(value))
            for test in part.ifs:
                self.expression(test)
        if isinstance(node, ast.DictComp):
            parts = [self.expression(node.key), self.expression(node.value)]
            made = instance("unordered_dict" if unordered else "dict", *parts)._replace(of="filled")
        else:
            parts = [self.expression(node.elt)]
            kind = "set" if isinstance(node, ast.SetComp) else "list" if isinstance(node, ast.ListComp) else "sequence"
            if unordered and keeps_order and sink:
                kind = "unordered"
            made = instance(kind, *parts)._replace(of="filled")
        if unordered:
            self._check_effects(node)
        self.names, self.local = before, local
        return made

    def _check_effects(self, node: ast.expr) -> None:
        """A comprehension over a set must not number its elements: `{word: ctx.new_id() for word in set(words)}`."""
        for one in ast.walk(node):
            if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute) and one.func.attr in EFFECTS:
                self.report("RSM201", one, f"{one.func.attr}() is called in the order of the hashes of a set: sort it")
            elif isinstance(one, ast.Call) and self.seen.get(one.func, UNKNOWN).name == "builtins.next":
                self.report("RSM201", one, "next() is called in the order of the hashes of a set: sort it")

    def _Await(self, node: ast.Await) -> Value:
        self.report("RSM106", node, "await lets others run in between")
        self.expression(node.value)
        return UNKNOWN

    def _Yield(self, node: ast.Yield) -> Value:
        if node.value is not None:
            self.expression(node.value)
        self.returns.append(instance("sequence"))
        return UNKNOWN

    def _YieldFrom(self, node: ast.YieldFrom) -> Value:
        self.go_through(self.expression(node.value), node, "gone through by yield from")
        return UNKNOWN
