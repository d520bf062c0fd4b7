"""One function under examination: its names, what it was found to do, and which other functions it leads to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from rsm.limits import LINT_STEPS_MAX
from rsm.lint.annotations import annotated
from rsm.lint.externals import FOREIGN_KNOWN, rule_of
from rsm.lint.modules import BUILT_INS, FUNCTIONS, Class, Function, Module, Project
from rsm.lint.values import UNKNOWN, Value, external, instance, joined, members

__all__ = ["Condition", "Exhausted", "Found", "Node", "Place", "Scene", "Types"]

Node = ast.expr | ast.stmt | ast.excepthandler | ast.arg | ast.alias
# When a finding counts: always, when a query reaches the function, or when anything but `setup` does.
Condition = Literal["", "query", "handler"]
PROPERTIES: Final = ("builtins.property", "functools.cached_property")
# Special methods that an object may be asked for without being called by name; those that make text are not.
SILENT: Final = frozenset({"__repr__", "__str__", "__format__", "__del__", "__class_getitem__", "__init_subclass__"})
# How deep functions are followed for what they return; what is beyond is unknown.
RETURNS_MAX: Final = 4
# How deep variables and attributes are followed for what they were made of.
NESTING_MAX: Final = 8


class Exhausted(Exception):
    """The source takes more steps to examine than `LINT_STEPS_MAX`."""


class Found(NamedTuple):
    """A breach of a rule, where it stands."""

    code: str
    module: Module
    line: int
    column: int
    last_line: int
    message: str
    condition: Condition = ""


class Place(NamedTuple):
    """A function to examine, and the class that `self` is of. `shared`: the rule against a `self` that a module or a
    class keeps for the whole process."""

    function: Function
    self_class: Class | None
    shared: str = ""


class Types:
    """What is known of variables, attributes and results, over all functions; filled as it is asked for."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.machines: set[Class] = set()
        # Classes of the objects that machines keep: their attributes live as long as the machine.
        self.held: set[Class] = set()
        self._known: dict[tuple[Any, ...], Value] = {}
        self._assignments: dict[Class, dict[str, list[tuple[ast.Assign | ast.AnnAssign, Function]]]] = {}
        self._returning = 0
        self._nesting = 0
        self._steps = 0

    def spend(self, steps: int) -> None:
        """Count steps of examination. `Exhausted` when there are too many."""
        self._steps += steps
        if self._steps > LINT_STEPS_MAX:
            raise Exhausted

    def scene(self, function: Function, self_class: Class | None) -> Scene:
        """A scene that reports nothing, to find out types."""
        from rsm.lint.statements import Walker

        return Walker(self, Place(function, self_class), quiet=True)

    def variable(self, module: Module, name: str) -> Value:
        """The value of a variable of a module."""
        key = ("variable", module, name)
        if key not in self._known:
            self._known[key] = UNKNOWN
            values = []
            for binding in module.bindings.get(name, ()):
                node = binding.node
                if isinstance(node, ast.AnnAssign | ast.Assign):
                    values.append(self._assigned(node, module.statement(node, name), None))
            self._known[key] = joined(values)._replace(origin=("module", name))
        return self._known[key]

    def _assigned(self, node: ast.AnnAssign | ast.Assign, function: Function, self_class: Class | None) -> Value:
        value = annotated(function.module, node.annotation) if isinstance(node, ast.AnnAssign) else UNKNOWN
        single = isinstance(node, ast.AnnAssign) or all(
            not isinstance(one, ast.Tuple | ast.List) for one in node.targets
        )
        if value.kind == "unknown" and node.value is not None and single and self._nesting < NESTING_MAX:
            self._nesting += 1
            try:
                value = self.scene(function, self_class).evaluate(node.value)
            finally:
                self._nesting -= 1
        return value

    def attribute(self, owner: Class, name: str) -> Value:
        """The value of an attribute of a class's instances."""
        key = ("attribute", owner, name)
        if key not in self._known:
            self._known[key] = UNKNOWN
            field = owner.field(name)
            if field is not None:
                where, node = field
                value = self._assigned(node, where.module.statement(node, f"{where.name}.{name}", where), owner)
                given = isinstance(node, ast.AnnAssign) and node.value is None
                origin = ("parameter", name) if given else None if isinstance(node, ast.AnnAssign) else ("class", name)
                self._known[key] = value._replace(origin=origin)
            else:
                self._known[key] = joined(self._attributes(owner, name))
        return self._known[key]

    def _attributes(self, owner: Class, name: str) -> list[Value]:
        """What methods assign to `self.name`."""
        pairs = [pair for one in owner.mro() for pair in self.assignments(one).get(name, ())]
        return [self._assigned(node, method, owner) for node, method in pairs]

    def assignments(self, owner: Class) -> dict[str, list[tuple[ast.Assign | ast.AnnAssign, Function]]]:
        """The assignments to attributes of `self` in the methods of one class, by attribute."""
        if owner not in self._assignments:
            found = self._assignments[owner] = {}
            for method in owner.methods.values():
                for name, node in assignments(method):
                    found.setdefault(name, []).append((node, method))
        return self._assignments[owner]

    def returned(self, function: Function, self_class: Class | None) -> Value:
        """What a call of a function gives."""
        node = function.node
        if not isinstance(node, FUNCTIONS):
            return UNKNOWN
        if node.returns is not None:
            return annotated(function.module, node.returns)
        key = ("returned", function, self_class)
        if key not in self._known:
            self._known[key] = UNKNOWN
            if self._returning < RETURNS_MAX:
                self._returning += 1
                try:
                    self._known[key] = self.scene(function, self_class).result()
                finally:
                    self._returning -= 1
        return self._known[key]

    def hold(self, machine: Class) -> None:
        """Note the classes of all that a machine keeps on itself."""
        self.machines.update(one for one in machine.mro() if one not in self.held)
        waiting = [machine]
        while waiting:
            owner = waiting.pop()
            for one in owner.mro():
                for name in self.assignments(one):
                    waiting += self._hold_value(self.attribute(owner, name))

    def _hold_value(self, value: Value) -> list[Class]:
        fresh = []
        for one in value.parts if value.kind == "union" else (value,):
            if one.kind == "object" and one.of not in self.held and not one.of.is_machine:
                self.held.update(one.of.mro())
                fresh.append(one.of)
        return fresh


def assignments(method: Function) -> Iterator[tuple[str, ast.Assign | ast.AnnAssign]]:
    """The assignments to attributes of `self` in a method."""
    node = method.node
    if not isinstance(node, FUNCTIONS) or not node.args.args:
        return
    myself = node.args.args[0].arg
    for inside in ast.walk(node):
        if isinstance(inside, ast.Assign | ast.AnnAssign):
            for target in inside.targets if isinstance(inside, ast.Assign) else [inside.target]:
                match target:
                    case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name == myself:
                        yield attribute, inside


class Scene:
    """The names of one function, and the ways to report."""

    def __init__(self, types: Types, place: Place, *, quiet: bool = False) -> None:
        self.types = types
        self.project = types.project
        self.function = place.function
        self.self_class = place.self_class
        self.shared = place.shared
        self.module = place.function.module
        self.quiet = quiet
        self.found: list[Found] = []
        self._reported: set[tuple[Any, ...]] = set()
        self.leads: dict[Place, None] = {}
        self.foreign: set[str] = set()
        self.names: dict[str, Value] = {}
        self.local: set[str] = set()
        self.myself = ""
        self.returns: list[Value] = []
        self._bind_parameters()

    def _bind_parameters(self) -> None:
        node = self.function.node
        if not isinstance(node, FUNCTIONS):
            return
        arguments = node.args
        every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        for argument in every:
            value = annotated(self.module, argument.annotation)
            self.names[argument.arg] = value._replace(origin=("parameter", argument.arg))
            for one in members(value):
                if one.kind == "object":  # rsm may have made it from the log
                    self.lead_to_class(one.of)
        if arguments.vararg:
            self.names[arguments.vararg.arg] = instance("tuple", annotated(self.module, arguments.vararg.annotation))
        if arguments.kwarg:
            self.names[arguments.kwarg.arg] = instance("dict")
        owner = self.self_class
        if owner is not None and every and self.function.has_self:
            self.myself = every[0].arg
            is_class = self.function.is_decorated("builtins.classmethod") or node.name in (
                "__new__",
                "__init_subclass__",
            )
            self.names[self.myself] = Value("class" if is_class else "object", owner.name, of=owner)
        outer = set()
        for inside in ast.walk(node):
            if isinstance(inside, ast.Name) and isinstance(inside.ctx, ast.Store | ast.Del):
                self.local.add(inside.id)
            elif isinstance(inside, ast.Global):
                outer.update(inside.names)
            elif isinstance(inside, ast.ExceptHandler) and inside.name:
                self.local.add(inside.name)
        self.local = (self.local | set(self.names)) - outer

    # --- to be filled in by the rooms above ---------------------------------------------------------------------------

    def expression(self, node: ast.expr, sink: bool = False) -> Value:
        """Examine an expression. With `sink` what is made of it does not depend on the order of its elements."""
        raise NotImplementedError

    def evaluate(self, node: ast.expr) -> Value:
        """The value of an expression, with the parameters known."""
        return self.expression(node)

    def result(self) -> Value:
        """What the function returns."""
        raise NotImplementedError

    # --- reporting ----------------------------------------------------------------------------------------------------

    def report(
        self, code: str, node: Node, message: str, condition: Condition = "", module: Module | None = None
    ) -> None:
        """Note a breach. One rule is reported once at one place; of floats, once in a line."""
        if self.quiet:
            return
        # The head of a compound statement, not all that is in it.
        last = node.lineno if isinstance(node, ast.stmt) and hasattr(node, "body") else node.end_lineno or node.lineno
        column = node.col_offset + 1
        key = (code, module, node.lineno, 0 if code == "RSM402" else column, condition)
        if key not in self._reported:
            self._reported.add(key)
            self.found.append(Found(code, module or self.module, node.lineno, column, last, message, condition))

    def lead(self, function: Function, self_class: Class | None, shared: str = "") -> None:
        """Note that this function leads to another."""
        if not self.quiet:
            self.leads[Place(function, self_class, shared)] = None

    def lead_to_class(self, owner: Class) -> None:
        """Note that instances may be made of a class: its body, how it is made, and what Python asks it by itself."""
        if self.quiet:
            return
        for one in owner.mro():
            for name, method in one.methods.items():
                if (
                    name.startswith("__")
                    and name.endswith("__")
                    and name not in SILENT
                    and owner.method(name) is method
                ):
                    self.lead(method, owner)
            for name, field in one.fields.items():
                if field.value is not None:
                    self.lead(one.module.statement(field, f"{one.name}.{name}", one), None)

    # --- names --------------------------------------------------------------------------------------------------------

    def name(self, node: ast.Name) -> Value:
        """What a name stands for here."""
        if node.id in self.local:
            return self.names.get(node.id, UNKNOWN)
        if node.id in self.names:  # imported in the function
            return self.outside(node, self.names[node.id])
        value = self.module.lookup(node.id)
        bound = node.id in self.module.bindings or node.id in self.module.inner
        if value.kind == "unknown" and not bound and node.id in BUILT_INS:
            value = external(f"builtins.{node.id}")
        self.check_choice(node, self.module, node.id)
        return self.outside(node, value)

    def outside(self, node: ast.Name | ast.Attribute, value: Value, reported: str = "") -> Value:
        """Judge a name that is not of this function: `reported` is what its base was reported for already."""
        if value.kind == "external":
            code = rule_of(value.name)
            if code and code != reported:
                self.report(code, node, f"{value.name.removeprefix('builtins.')} {SAYS[code]}")
            top = value.name.partition(".")[0]
            if top not in FOREIGN_KNOWN:
                self.foreign.add(top)
        elif value.kind == "class":
            self.lead_to_class(value.of)
        elif value.kind == "function":
            receiver = value.parts[0] if value.parts else None
            of = receiver.of if receiver is not None and receiver.kind in ("object", "class") else value.of.owner
            self.lead(value.of, of)
        elif value.kind == "unknown" and value.origin is not None and value.origin[0] == "module":
            return self._variable(node, value)
        return value

    def _variable(self, node: ast.Name | ast.Attribute, value: Value) -> Value:
        module: Module = value.of
        name = value.name
        if name in module.mutated and isinstance(node.ctx, ast.Load):
            self.report("RSM301", node, f"{name} is a variable that functions of its module change")
        for binding in module.bindings.get(name, ()):
            if isinstance(binding.node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                self.lead(module.statement(binding.node, name), None)
        return self.types.variable(module, name)

    def check_choice(self, node: ast.Name | ast.Attribute, module: Module, name: str) -> None:
        """Report a name that the environment chooses, where it is chosen."""
        chosen = self.project.chosen(module, name)
        if chosen is not None:
            where, statement = chosen
            self.report("RSM108", statement, f"the environment decides what {name} is", module=where)


SAYS: Final = {
    "RSM101": "reads a clock: every replica, and every replay, reads another time; use ctx.now",
    "RSM102": "is random: every replica draws another value; use ctx.random or ctx.new_id",
    "RSM103": "is a fact of this process or host, which replicas do not share",
    "RSM104": "reaches out of the machine: every replica does it, and every replay again",
    "RSM105": "speaks on every replica, and again in every replay",
    "RSM106": "runs at its own pace: replicas see another order",
    "RSM107": "takes code or objects from bytes that no schema checks",
    "RSM109": "differs under python -O",
    "RSM205": "is an address, or a hash that differs in every process",
    "RSM206": "has the address of the object in it",
    "RSM207": "gives texts that differ between releases of Python",
    "RSM208": "depends on what the garbage collector has done in this process",
    "RSM209": "orders equal elements differently by release and processor",
    "RSM301": "reaches the variables of the module",
    "RSM303": "keeps answers that no snapshot and no rollback knows",
    "RSM402": "makes or decides by floats; use integers",
    "RSM403": "is as wide as the platform has it; name a width, such as numpy.int64",
    "RSM404": "follows the Unicode tables of this Python",
    "RSM405": "follows the locale of the node",
    "RSM406": "follows the node's time zone or its tables of time zones",
}
