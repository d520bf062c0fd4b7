"""Statements: the walk through one function, in the order in which it runs."""

from __future__ import annotations

import ast
from typing import Final

from rsm.lint.expressions import Expressions
from rsm.lint.modules import FUNCTIONS, Binding, stores
from rsm.lint.scene import Node, Place, Types
from rsm.lint.values import MUTABLE, UNKNOWN, Value, element, external, has, instance, joined, words

__all__ = ["Walker"]

# Catching one of these catches what depends on the memory or the stack of a node.
BROAD: Final = frozenset(
    f"builtins.{name}"
    for name in words(
        """BaseException Exception RuntimeError MemoryError RecursionError KeyboardInterrupt SystemExit GeneratorExit
        SystemError BaseExceptionGroup ExceptionGroup"""
    )
)
CACHES: Final = frozenset({"functools.cache", "functools.lru_cache", "functools.cached_property", "cachetools.cached"})


class Walker(Expressions):
    """Walks through a function once; findings, leads and results are there when it has run."""

    def __init__(self, types: Types, place: Place, *, quiet: bool = False) -> None:
        self.seen: dict[ast.expr, Value] = {}
        super().__init__(types, place, quiet=quiet)

    def run(self) -> None:
        """Examine the function: its head and its body."""
        node = self.function.node
        if isinstance(node, FUNCTIONS):
            self._head(node)
            self.block(node.body)
        else:
            value = getattr(node, "value", None)
            if isinstance(value, ast.expr):
                self.expression(value)

    def result(self) -> Value:
        self.run()
        return joined(self.returns)

    def _head(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if isinstance(node, ast.AsyncFunctionDef):
            self.report("RSM106", node, f"{node.name} is async: it runs at its own pace")
        if node.name == "__del__":
            self.report("RSM208", node, "__del__ runs when the garbage collector says so")
        for decorator, value in self.function.decorators():
            if value.kind == "external" and value.name in CACHES:
                self.report("RSM303", decorator, f"{value.name} keeps answers that no snapshot and no rollback knows")
            elif value.kind == "function":
                self.lead(value.of, value.of.owner)
                kept = sorted({name for inside in inner(value.of.node) for name in kept_in(inside)})
                if kept:
                    self.report("RSM303", decorator, f"{value.name} keeps {kept[0]} between calls, in no snapshot")
        self._defaults(node.args)

    def _defaults(self, arguments: ast.arguments) -> None:
        for default in [*arguments.defaults, *(one for one in arguments.kw_defaults if one is not None)]:
            value = self.expression(default)
            if has(value, MUTABLE) and value.origin is None:
                self.report("RSM304", default, "a mutable default is one object for all calls")

    # --- blocks -------------------------------------------------------------------------------------------------------

    def block(self, body: list[ast.stmt]) -> None:
        """Statements one after another."""
        for place, statement in enumerate(body):
            following = body[place + 1] if place + 1 < len(body) else None
            self.statement(statement, following)

    def branches(self, *bodies: list[ast.stmt]) -> None:
        """Bodies of which one may run; afterwards a name may have what any of them gave it."""
        before = dict(self.names)
        self.types.spend(len(before) * len(bodies))
        after = []
        for body in bodies:
            self.names = dict(before)
            self.block(body)
            after.append(self.names)
        self.names = merged(after)

    def statement(self, node: ast.stmt, following: ast.stmt | None = None) -> None:
        """One statement."""
        method = getattr(self, f"_{type(node).__name__}", None)
        if method is not None:
            if isinstance(node, ast.Assign):
                self._assign_statement(node, following)
            else:
                method(node)

    def _assign_statement(self, node: ast.Assign, following: ast.stmt | None) -> None:
        value = self.expression(node.value, sink=is_sorted_next(node, following))
        if has(value, ("unordered",)):
            value = instance("list", element(value))
        for target in node.targets:
            self.assign(target, value, node.value)

    _Assign = _assign_statement

    def _AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            value = self.expression(node.value)
            known = self.annotation(node.annotation)
            self.assign(node.target, known if value.kind == "unknown" else value, node.value)

    def _AugAssign(self, node: ast.AugAssign) -> None:
        # The target is read first.
        load = {ast.Name: ast.Name, ast.Attribute: ast.Attribute, ast.Subscript: ast.Subscript}[type(node.target)]
        fields = {**{name: getattr(node.target, name) for name in node.target._fields}, "ctx": ast.Load()}
        target: ast.expr = ast.copy_location(load(**fields), node.target)
        before = self.expression(target)
        value = self.expression(node.value)
        if has(before, ("list",)):
            self.go_through(value, node, "added to a list")
        made = self.operation(node.op, before, value, node, node.value)
        if has(before, MUTABLE) and before.origin is not None and not isinstance(node.target, ast.Name):
            self.change(node, before, UNKNOWN)
        self.assign(node.target, made if made.kind != "unknown" else before._replace(origin=None))

    def _Expr(self, node: ast.Expr) -> None:
        self.expression(node.value)

    def _Return(self, node: ast.Return) -> None:
        if node.value is not None:
            value = self.expression(node.value)
            self.returns.append(value._replace(origin=None))

    def _Delete(self, node: ast.Delete) -> None:
        for target in node.targets:
            self.delete(target)

    def _Raise(self, node: ast.Raise) -> None:
        for part in (node.exc, node.cause):
            if part is not None:
                self.expression(part)

    def _Assert(self, node: ast.Assert) -> None:
        self.report("RSM109", node, "python -O does not run an assert: use if and ctx.reject")
        self.expression(node.test)
        if node.msg is not None:
            self.expression(node.msg)

    def _Global(self, node: ast.Global) -> None:
        for name in node.names:
            self.names.pop(name, None)

    def _Import(self, node: ast.Import) -> None:
        for alias in node.names:
            name = alias.asname or alias.name.partition(".")[0]
            self._bind_import(name, Binding(node, alias.name if alias.asname else name))

    def _ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            name = alias.asname or alias.name
            found = self.module.inner.get(name) or self.module.bindings.get(name) or []
            binding = next((one for one in found if one.node is node), None)
            if binding is not None:
                self._bind_import(name, binding)

    def _bind_import(self, name: str, binding: Binding) -> None:
        # Not among the local names: what it stands for is judged where it is used.
        self.names[name] = self.module.value_of(binding)

    # --- compound statements ------------------------------------------------------------------------------------------

    def _If(self, node: ast.If) -> None:
        after = []
        while True:  # a chain of elif may be long
            self.expression(node.test)
            before = dict(self.names)
            self.types.spend(len(before))
            self.block(node.body)
            after.append(self.names)
            self.names = before
            if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                node = node.orelse[0]
                continue
            self.block(node.orelse)
            break
        self.names = merged([*after, self.names])

    def _While(self, node: ast.While) -> None:
        self.expression(node.test)
        self.branches(node.body, [])
        self.block(node.orelse)

    def _For(self, node: ast.For | ast.AsyncFor) -> None:
        value = self.expression(node.iter)
        self.go_through(value, node.iter, "gone through by a loop")
        self.assign(node.target, element(value))
        self.branches(node.body, [])
        self.block(node.orelse)

    def _AsyncFor(self, node: ast.AsyncFor) -> None:
        self.report("RSM106", node, "async for waits for something outside")
        self._For(node)

    def _With(self, node: ast.With | ast.AsyncWith) -> None:
        for part in node.items:
            value = self.expression(part.context_expr)
            if part.optional_vars is not None:
                self.assign(part.optional_vars, value)
        self.block(node.body)

    def _AsyncWith(self, node: ast.AsyncWith) -> None:
        self.report("RSM106", node, "async with waits for something outside")
        self._With(node)

    def _Try(self, node: ast.Try | ast.TryStar) -> None:
        before = dict(self.names)
        self.block(node.body)
        reraised: set[str] = set()
        after = [self.names]
        for handler in node.handlers:
            self.types.spend(len(before))
            self.names = merged([before, after[0]])
            self._handler(handler, reraised)
            after.append(self.names)
        self.names = after[0]
        self.block(node.orelse)
        self.names = merged([self.names, *after[1:]])
        self.block(node.finalbody)

    _TryStar = _Try

    def _handler(self, node: ast.ExceptHandler, reraised: set[str]) -> None:
        types = list(node.type.elts) if isinstance(node.type, ast.Tuple) else [node.type] if node.type else []
        raises_again = bool(node.body) and isinstance(node.body[-1], ast.Raise) and node.body[-1].exc is None
        if raises_again:
            reraised.update(self.module.static(one).name for one in types)
        elif not {"builtins.MemoryError", "builtins.RecursionError"} <= reraised:
            if types:
                self.check_caught(types, node)
            else:
                self.report("RSM308", node, "except: catches what depends on the memory or the stack of the node")
        if node.name:
            own = bool(types) and all(self.module.static(one).kind == "class" for one in types)
            value = self._caught(types) if own else instance("exception")
            self.names[node.name] = value
        for one in types:
            self.expression(one)
        self.block(node.body)

    def _caught(self, types: list[ast.expr]) -> Value:
        classes = [self.module.static(one) for one in types]
        return joined(Value("object", one.name, of=one.of) for one in classes if one.kind == "class")

    def check_caught(self, types: list[ast.expr], node: Node) -> None:
        for one in types:
            value = self.module.static(one)
            if value.kind == "unknown" and isinstance(one, ast.Name):
                value = external(f"builtins.{one.id}")
            if value.name in BROAD:
                name = value.name.removeprefix("builtins.")
                self.report(
                    "RSM308", node, f"catching {name} catches what depends on the memory or the stack of the node"
                )
                return

    def _Match(self, node: ast.Match) -> None:
        value = self.expression(node.subject)
        for case in node.cases:
            for pattern in ast.walk(case.pattern):
                if isinstance(pattern, ast.MatchValue):
                    self.expression(pattern.value)
                elif isinstance(pattern, ast.MatchAs | ast.MatchStar) and pattern.name:
                    is_whole = pattern is case.pattern and isinstance(pattern, ast.MatchAs) and not pattern.pattern
                    self.local.add(pattern.name)
                    self.names[pattern.name] = value if is_whole else UNKNOWN
            if case.guard is not None:
                self.expression(case.guard)
        self.branches(*(case.body for case in node.cases), [])

    # --- functions and classes inside ---------------------------------------------------------------------------------

    def _FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if isinstance(node, ast.AsyncFunctionDef):
            self.report("RSM106", node, f"{node.name} is async: it runs at its own pace")
        for decorator in node.decorator_list:
            self.expression(decorator)
        self._defaults(node.args)
        before, results = dict(self.names), self.returns
        self.returns = []
        arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
        for argument in arguments:
            if argument is not None:
                self.names[argument.arg] = self.annotation(argument.annotation)
                self.local.add(argument.arg)
        self.block(node.body)
        self.names, self.returns = before, results
        self.local.add(node.name)
        self.names[node.name] = instance("function")
        if self.is_setup:
            for name in sorted(kept_in(node)):
                self.report("RSM305", node, f"{node.name} keeps {name} between calls, which no snapshot has")

    _AsyncFunctionDef = _FunctionDef


def inner(node: ast.stmt) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The functions inside of one."""
    return [one for one in ast.walk(node) if isinstance(one, FUNCTIONS) and one is not node]


def kept_in(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The variables of functions around it that a function changes."""
    outer = {name for one in ast.walk(node) if isinstance(one, ast.Nonlocal) for name in one.names}
    local, changed = stores(node)
    return outer | (changed - local)


def merged(states: list[dict[str, Value]]) -> dict[str, Value]:
    """Names after branches: each may have what any branch gave it."""
    result = dict(states[0])
    for state in states[1:]:
        for name, value in state.items():
            if name not in result:
                result[name] = value
            elif result[name] != value:
                result[name] = joined((result[name], value))
    return result


def is_sorted_next(node: ast.Assign, following: ast.stmt | None) -> bool:
    """Whether what is assigned is sorted, without a key, by the statement that follows."""
    match following, node.targets:
        case (
            ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="sort"), keywords=keywords)),
            [ast.Name(id=target)],
        ):
            return name == target and not any(keyword.arg == "key" for keyword in keywords)
    return False
