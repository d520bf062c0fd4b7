"""Modules, classes and functions of the source that is read, and what their names stand for.

Names are followed through imports by file alone, within the package and the directory of what is checked: nothing is
imported. Everything else (the standard library, rsm, installed packages) is a dotted name.
"""

from __future__ import annotations

import ast
import builtins
import functools
import os
from collections.abc import Iterator
from typing import Final, NamedTuple

from rsm.lint.sources import Reader, Source
from rsm.lint.values import MUTATORS, UNKNOWN, Value, external, joined

__all__ = ["BUILT_INS", "FUNCTIONS", "Binding", "Class", "Function", "Module", "Project", "stores"]

FUNCTIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef)
# Aliases of aliases, bases of bases: what a person can follow, and no ring for ever.
HOPS_MAX: Final = 32
BUILT_INS: Final = frozenset(dir(builtins)) | {"__file__"}


class Binding(NamedTuple):
    """What gives a name of a module its meaning: a statement, or one name of an import."""

    node: ast.AST
    dotted: str = ""  # import: the module
    directory: str = ""  # relative import: where the module's path begins
    taken: str = ""  # from-import: the name in the module
    choices: tuple[ast.stmt, ...] = ()  # each `if`, and each `try` of an import, around it, the inmost first


class Class:
    """One class of the source."""

    def __init__(self, module: Module, node: ast.ClassDef, qualname: str) -> None:
        self.module = module
        self.node = node
        self.name = qualname
        self.methods: dict[str, Function] = {}
        self.fields: dict[str, ast.AnnAssign | ast.Assign] = {}
        for statement in node.body:
            if isinstance(statement, FUNCTIONS):
                self.methods[statement.name] = Function(module, statement, f"{qualname}.{statement.name}", self)
            elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                self.fields[statement.target.id] = statement
            elif isinstance(statement, ast.Assign):
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        self.fields[target.id] = statement
        self._mro: tuple[list[Class], list[str]] | None = None

    def mro(self) -> list[Class]:
        """The class and its bases of the source, nearest first."""
        return self._lineage(0)[0]

    def foreign_bases(self) -> list[str]:
        """Dotted names of the bases that are not of the source, over the whole lineage."""
        return self._lineage(0)[1]

    def _lineage(self, hops: int) -> tuple[list[Class], list[str]]:
        if hops > HOPS_MAX:
            return [self], ["?"]
        if self._mro is None:
            self._mro = ([self], [])  # what a ring of bases finds
            own: list[Class] = [self]
            foreign: list[str] = []
            for base in self.node.bases:
                value = self.module.static(base)
                if value.kind == "class":
                    above, beyond = value.of._lineage(hops + 1)
                    own = [one for one in own if one not in above] + above
                    foreign += beyond
                else:
                    foreign.append(value.name or "?")
            self._mro = ([self, *(one for one in own if one is not self)], foreign)
        return self._mro

    def method(self, name: str) -> Function | None:
        """The method of a name, inherited ones too."""
        return next((one.methods[name] for one in self.mro() if name in one.methods), None)

    def field(self, name: str) -> tuple[Class, ast.AnnAssign | ast.Assign] | None:
        """The field of a name and the class that has it."""
        return next(((one, one.fields[name]) for one in self.mro() if name in one.fields), None)

    @property
    def is_machine(self) -> bool:
        """Whether it is a machine, or a mixin of machines."""
        return "rsm.StateMachine" in self.foreign_bases()

    def declared(self) -> set[str]:
        """The names that the class and its bases annotate."""
        return {name for one in self.mro() for name, field in one.fields.items() if isinstance(field, ast.AnnAssign)}


class Function:
    """A function, a method, or the value of a variable that a function reads (then `node` is its statement)."""

    def __init__(self, module: Module, node: ast.stmt, name: str, owner: Class | None = None) -> None:
        self.module = module
        self.node = node
        self.name = name
        self.owner = owner

    def decorators(self) -> Iterator[tuple[ast.expr, Value]]:
        """Each decorator, and what it is (called or not)."""
        if isinstance(self.node, FUNCTIONS):
            for decorator in self.node.decorator_list:
                called = decorator.func if isinstance(decorator, ast.Call) else decorator
                yield decorator, self.module.static(called)

    def is_decorated(self, *names: str) -> bool:
        """Whether it has one of these decorators, by dotted name."""
        return any(value.name in names for _, value in self.decorators() if value.kind == "external")

    @property
    def has_self(self) -> bool:
        """Whether a method's first parameter is the object, or its class: a step between versions says so by name."""
        if self.is_decorated("rsm.upcast", "rsm.downcast") and isinstance(self.node, FUNCTIONS):
            arguments = [*self.node.args.posonlyargs, *self.node.args.args]
            return bool(arguments) and arguments[0].arg == "self" and arguments[0].annotation is None
        return not self.is_decorated("builtins.staticmethod")


class Module:
    """One file, and the names that it binds at its top level."""

    def __init__(self, project: Project, source: Source) -> None:
        self.project = project
        self.source = source
        self.path = source.path
        self.shown = source.shown
        self.directory = os.path.dirname(source.path)
        self.bindings: dict[str, list[Binding]] = {}
        # Bound deeper, in functions: only for names that the top level does not have.
        self.inner: dict[str, list[Binding]] = {}
        self.stars: list[Binding] = []
        self.classes: dict[ast.ClassDef, Class] = {}
        self.named: dict[str, Class] = {}  # by their names with those of the classes around them
        self.functions: dict[ast.stmt, Function] = {}
        self.roots = _roots(source.path)
        self._static: dict[str, Value] = {}
        self._bind(source.tree.body, self.bindings, (), "")

    # --- what the names are bound to ----------------------------------------------------------------------------------

    def _bind(
        self, body: list[ast.stmt], into: dict[str, list[Binding]], choices: tuple[ast.stmt, ...], prefix: str
    ) -> None:
        for node in body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._bind_import(node, into, choices)
            elif isinstance(node, ast.ClassDef):
                self._bind_class(node, into, choices, prefix)
            elif isinstance(node, FUNCTIONS):
                self.functions[node] = Function(self, node, prefix + node.name)
                into.setdefault(node.name, []).append(Binding(node, choices=choices))
                self._bind(node.body, self.inner, (), f"{prefix}{node.name}.")
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for target in targets:
                    for name in ast.walk(target):
                        if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store):
                            into.setdefault(name.id, []).append(Binding(node, choices=choices))
            elif isinstance(node, ast.Try | ast.TryStar):
                around = (node, *choices) if _tries_import(node) else choices
                for part in (node.body, *(handler.body for handler in node.handlers), node.orelse, node.finalbody):
                    self._bind(part, into, around, prefix)
            elif isinstance(node, ast.If):
                while True:  # a chain of elif may be long
                    around = (node, *choices)
                    self._bind(node.body, into, around, prefix)
                    if len(node.orelse) == 1 and isinstance(node.orelse[0], ast.If):
                        node = node.orelse[0]
                        continue
                    self._bind(node.orelse, into, around, prefix)
                    break
            elif isinstance(node, ast.With | ast.For | ast.While):
                self._bind(node.body, into, choices, prefix)

    def _bind_import(
        self, node: ast.Import | ast.ImportFrom, into: dict[str, list[Binding]], choices: tuple[ast.stmt, ...]
    ) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                dotted = alias.name if alias.asname else name
                into.setdefault(name, []).append(Binding(node, dotted, choices=choices))
            return
        directory = ""
        if node.level:
            directory = self.directory
            for _ in range(node.level - 1):
                directory = os.path.dirname(directory)
        for alias in node.names:
            binding = Binding(node, node.module or "", directory, alias.name, choices)
            if alias.name == "*":
                self.stars.append(binding)
            else:
                into.setdefault(alias.asname or alias.name, []).append(binding)

    def _bind_class(
        self, node: ast.ClassDef, into: dict[str, list[Binding]], choices: tuple[ast.stmt, ...], prefix: str
    ) -> None:
        found = self.classes[node] = self.named[prefix + node.name] = Class(self, node, prefix + node.name)
        into.setdefault(node.name, []).append(Binding(node, choices=choices))
        for method in found.methods.values():
            self.functions[method.node] = method
            if isinstance(method.node, FUNCTIONS):
                self._bind(method.node.body, self.inner, (), f"{method.name}.")
        self._bind([one for one in node.body if isinstance(one, ast.ClassDef)], self.inner, (), f"{found.name}.")

    def asks_environment(self, choice: ast.stmt) -> bool:
        """Whether an `if` does; a `try` of an import does. Not while modules are made: their imports may go round."""
        if not isinstance(choice, ast.If):
            return True
        for node in ast.walk(choice.test):
            if isinstance(node, ast.Name) and node.id in self.bindings:
                value = self.lookup(node.id)
                if value.kind == "external" and value.name.partition(".")[0] in ("sys", "os", "platform"):
                    return True
        return False

    @functools.cached_property
    def mutated(self) -> set[str]:
        """Which names of the module some function of it rebinds or changes."""
        found: set[str] = set()
        for function in list(self.functions):
            rebound = {name for node in ast.walk(function) if isinstance(node, ast.Global) for name in node.names}
            local, changed = stores(function)
            found |= (rebound & local) | (changed - local) | (changed & rebound)
        return found & set(self.bindings)

    def statement(self, node: ast.stmt, name: str, owner: Class | None = None) -> Function:
        """The value of a variable or of a class's field as a function of its own, the same one each time."""
        return self.functions.setdefault(node, Function(self, node, name, owner))

    # --- what they stand for ------------------------------------------------------------------------------------------

    def lookup(self, name: str, hops: int = 0) -> Value:
        """What a name of the module stands for. A variable is unknown here, and has its origin."""
        if name not in self._static:
            self._static[name] = UNKNOWN
            bindings = self.bindings.get(name) or self.inner.get(name)
            if not bindings:
                value = self._starred(name, hops)
            else:
                values = [self.value_of(binding, hops) for binding in bindings]
                value = joined(values)
                if value.kind == "unknown":
                    # Of unknown values the one with a place is kept: a variable, here or where it is imported from.
                    value = next((one for one in values if one.origin is not None), value)
                if value.kind == "unknown" and value.origin is None and name in self.bindings:
                    value = Value("unknown", name, of=self, origin=("module", name))
            self._static[name] = value
        return self._static[name]

    def _starred(self, name: str, hops: int) -> Value:
        foreign = UNKNOWN
        for star in self.stars:
            value = self.value_of(star._replace(taken=name), hops, is_certain=False)
            if value.kind not in ("unknown", "external"):
                return value
            if value.kind == "external" and foreign.kind == "unknown" and name not in BUILT_INS:
                foreign = value
        return foreign

    def value_of(self, binding: Binding, hops: int = 0, *, is_certain: bool = True) -> Value:
        """What one binding gives its name."""
        node = binding.node
        if hops > HOPS_MAX:
            return UNKNOWN
        if isinstance(node, ast.ClassDef):
            return Value("class", node.name, of=self.classes[node])
        if isinstance(node, FUNCTIONS):
            return Value("function", node.name, of=self.functions[node])
        if isinstance(node, ast.Import | ast.ImportFrom):
            return self.project.imported(self, binding, hops + 1, is_certain=is_certain)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name | ast.Attribute):
            return self.static(node.value, hops + 1)
        return UNKNOWN

    def static(self, node: ast.expr, hops: int = 0) -> Value:
        """What an expression of names stands for, outside of any function: a base, a decorator, an annotation."""
        trail = []
        while isinstance(node, ast.Attribute | ast.Subscript):
            if isinstance(node, ast.Attribute):
                trail.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return UNKNOWN
        value = self.lookup(node.id, hops)
        if value.kind == "unknown" and node.id in BUILT_INS and not self.bindings.get(node.id):
            value = external(f"builtins.{node.id}")
        for name in reversed(trail):
            value = self.project.attribute(self, value, name)
        return value


class Project:
    """All that has been read, and the way from a dotted name to a file."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.modules: dict[str, Module] = {}
        self._located: dict[tuple[tuple[str, ...], str], str | None] = {}

    def module_at(self, path: str) -> Module | None:
        """The module of a file, read at the first call."""
        path = os.path.realpath(path)
        if path not in self.modules:
            source = self.reader.read(path)
            if source is None:
                return None
            self.modules[path] = Module(self, source)
        return self.modules[path]

    def locate(self, roots: tuple[str, ...], dotted: str) -> str | None:
        """The file of a module below one of these directories."""
        key = (roots, dotted)
        if key not in self._located:
            parts = dotted.split(".")
            candidates = (
                candidate
                for root in roots
                for candidate in (
                    os.path.join(root, *parts[:-1], parts[-1] + ".py"),
                    os.path.join(root, *parts, "__init__.py"),
                )
            )
            self._located[key] = next(filter(os.path.isfile, candidates), None)
        return self._located[key]

    def dotted(self, module: Module, name: str) -> Value:
        """What a dotted name stands for, seen from a module."""
        if name.partition(".")[0] == "rsm" or not name.isascii():
            return external(name)
        path = self.locate(module.roots, name)
        if path is not None:
            found = self.module_at(path)
            return UNKNOWN if found is None else Value("module", name, of=found)
        return external(name)

    def imported(self, module: Module, binding: Binding, hops: int, *, is_certain: bool) -> Value:
        """What an import gives one name."""
        taken = binding.taken
        if not taken:
            return self.dotted(module, binding.dotted)
        if not binding.directory:
            roots, where = module.roots, binding.dotted
            if where.partition(".")[0] == "rsm":
                return external(f"{where}.{taken}")
        else:
            roots, where = (binding.directory,), binding.dotted
            if not where:
                package = os.path.join(binding.directory, "__init__.py")
                found = self.module_at(package) if os.path.isfile(package) else None
                # A package that imports from itself: only its submodules can be meant.
                value = found.lookup(taken, hops) if found is not None and found is not module else UNKNOWN
                return value if value.kind != "unknown" else self._submodule(module, binding, roots, taken, is_certain)
        path = self.locate(roots, where)
        if path is None:
            return self._submodule(module, binding, roots, f"{where}.{taken}", is_certain)
        found = self.module_at(path)
        if found is None:
            return UNKNOWN
        if taken in found.bindings or (found.stars and found.lookup(taken, hops).kind != "unknown"):
            return found.lookup(taken, hops)
        if found.path.endswith("__init__.py"):
            return self._submodule(module, binding, roots, f"{where}.{taken}", is_certain)
        if is_certain:
            self.reader.note(f"{module.shown}:{_line(binding.node)}: {where} has no {taken!r}")
        return UNKNOWN

    def chosen(self, module: Module, name: str) -> tuple[Module, ast.stmt] | None:
        """The `try` or `if` by which the environment chooses what a name stands for, here or where it comes from."""
        for _ in range(HOPS_MAX):
            found = None
            for binding in module.bindings.get(name, ()):
                choice = next(filter(module.asks_environment, binding.choices), None)
                if choice is not None:
                    return module, choice
                if binding.taken and binding.dotted and found is None:
                    roots = (binding.directory,) if binding.directory else module.roots
                    path = None if binding.dotted.partition(".")[0] == "rsm" else self.locate(roots, binding.dotted)
                    found = (path, binding.taken) if path is not None else None
            if found is None:
                return None
            further = self.module_at(found[0])
            if further is None:
                return None
            module, name = further, found[1]
        return None

    def _submodule(self, module: Module, binding: Binding, roots: tuple[str, ...], dotted: str, certain: bool) -> Value:
        path = self.locate(roots, dotted)
        if path is not None:
            found = self.module_at(path)
            return UNKNOWN if found is None else Value("module", dotted, of=found)
        if binding.directory or self.is_own(module, dotted):
            if certain:
                where = "." * getattr(binding.node, "level", 0) + binding.dotted
                self.reader.note(
                    f"{module.shown}:{_line(binding.node)}: cannot find {binding.taken!r} of {where!r}: not looked into"
                )
            return UNKNOWN
        return external(dotted)

    def is_own(self, module: Module, dotted: str) -> bool:
        """Whether a module that was not found ought to be of the package or directory that is checked."""
        first = dotted.partition(".")[0]
        return any(os.path.isfile(os.path.join(root, first, "__init__.py")) for root in module.roots) or (
            first in module.directory.split(os.sep)[1:] and self.locate(module.roots, first) is None
        )

    def attribute(self, module: Module, value: Value, name: str) -> Value:
        """An attribute of a name: of a module, a class of the source, or something outside."""
        if value.kind == "external":
            return self.dotted(module, f"{value.name}.{name}")
        if value.kind == "module":
            found: Module = value.of
            if name in found.bindings or found.stars:
                return found.lookup(name)
            return self.dotted(module, f"{value.name}.{name}")
        if value.kind == "class":
            owner: Class = value.of
            method = owner.method(name)
            if method is not None:
                return Value("function", name, (value,), method)
            nested = owner.module.named.get(f"{owner.name}.{name}")
            if nested is not None:
                return Value("class", name, of=nested)
        return UNKNOWN


def stores(function: ast.stmt) -> tuple[set[str], set[str]]:
    """The names that a function binds, and those whose value it changes in place."""
    local: set[str] = set()
    changed: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            local.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            local.add(node.id)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            changed.update({node.value.id} if isinstance(node.value, ast.Name) else ())
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in MUTATORS
            and isinstance(node.func.value, ast.Name)
        ):
            changed.add(node.func.value.id)
    return local, changed


def _roots(path: str) -> tuple[str, ...]:
    """Where the absolute imports of a file may begin: beside it, above its package, here."""
    directory = os.path.dirname(path)
    roots = [] if os.path.isfile(os.path.join(directory, "__init__.py")) else [directory]
    top = directory
    while os.path.isfile(os.path.join(top, "__init__.py")) and top != os.path.dirname(top):
        top = os.path.dirname(top)
    here = os.path.realpath(os.getcwd())
    roots += [top, *([here] if path.startswith(os.path.join(here, "")) else [])]
    # A package without __init__.py (a namespace) has its root one higher.
    if top != here:
        roots.append(os.path.dirname(top))
    return tuple(dict.fromkeys(roots))


def _tries_import(node: ast.Try | ast.TryStar) -> bool:
    """Whether a `try` goes another way where an import fails."""
    if not any(isinstance(inside, ast.Import | ast.ImportFrom) for part in node.body for inside in ast.walk(part)):
        return False
    names = {
        name.id
        for handler in node.handlers
        for name in (ast.walk(handler.type) if handler.type else (ast.Name("BaseException"),))
        if isinstance(name, ast.Name)
    }
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def _line(node: ast.AST) -> int:
    return getattr(node, "lineno", 0)
