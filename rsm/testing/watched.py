"""One live replica under strict mode: how a handler of it is run, and what is told of it."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

from rsm.codec.record import Entry
from rsm.desync.finding import PathDifference
from rsm.limits import STRICT_EACH_COMMAND_RUNS, STRICT_OBJECTS_CREDIT_PER_COMMAND, STRICT_PATHS_MAX
from rsm.machine.machine import StateMachine
from rsm.replica.replica import Replica
from rsm.state.leaf import ABSENT
from rsm.testing.blaming import RSM_DIRECTORY, Blame, blame_traceback, is_allowed
from rsm.testing.fingerprints import Walk, changed, globals_of, helpers_of, user_modules, walk
from rsm.testing.shadow import Deed, Parting, Shadow
from rsm.testing.strict_rules import (
    BEHIND,
    CLASS_STATE,
    DEFAULT,
    FLOAT_VALUE,
    HELPER_STATE,
    HIDDEN,
    MODULE_STATE,
    QUERY_WRITES,
    Rule,
    StrictFinding,
)
from rsm.testing.trap_tables import ENVIRON
from rsm.testing.traps import watch

__all__ = ["Watched", "place_of", "writes_since"]

Found = Callable[[StrictFinding, Replica], None]


class Watched:
    """One live replica under strict mode: its copy, its user's modules, and what it is doing."""

    def __init__(self, replica: Replica, every: int | None, found: Found) -> None:
        machine_class = type(replica.machine)
        self._found = found
        self.commands = 0
        self.replica = weakref.ref(replica)
        self.shadow = Shadow(replica, every)
        self.name = replica.definition.name
        self.deeds: list[Deed] = []
        self.again: list[Deed] = []
        self._modules = user_modules(machine_class)
        self._own = frozenset(self._modules)
        self.own_files = frozenset(
            file for name in self._modules if (file := getattr(sys.modules.get(name), "__file__", None))
        ) | frozenset(_files_of(machine_class))
        self._runs: dict[str, int] = {}
        self._credit = 0
        self.has_caches = False

    # --- one handler ------------------------------------------------------------------------------------------------

    def run(
        self,
        kind: str,
        name: str,
        handler: Callable[..., Any],
        machine: Any,
        arguments: tuple[Any, ...],
        *,
        looks: bool = True,
    ) -> Any:
        """A handler of the live replica: `kind` is "command", "query" or "upcaster"."""
        replica = self.replica()
        if replica is None:
            return handler(machine, *arguments) if machine is not None else handler(*arguments)
        context = replica.executor.context
        position = context.position if kind != "query" else None
        index = context.index if kind != "query" else replica.index
        self.commands += kind == "command"

        def report(rule: Rule, what: str, blamed: Blame) -> None:
            verb = "read" if what == ENVIRON else "called"
            self.tell(rule, f"{verb} {what} at {blamed.place}", name, index, position, blamed)

        before = self._look(name, machine) if looks else None
        mark = replica.store.mark()
        ended = "returned"
        subject = arguments if machine is None else (machine, *arguments)
        try:
            return watch.run(report, self.own_files, handler, *subject)
        except BaseException as error:
            ended = f"raised {type(error).__name__}"
            self._explain(error, kind, name, index, position)
            raise
        finally:
            if kind == "command":
                step = context.step
                self.deeds.append(Deed(context.position, step, name, ended, writes_since(replica, mark)))
            self._compare(before, machine, name, index, position, place_of(handler))

    def run_again(self, replica: Replica, name: str, handler: Callable[..., Any], machine: Any, arguments: Any) -> Any:
        """A command's handler on the copy."""
        context = replica.executor.context
        mark = replica.store.mark()
        ended = "returned"
        try:
            return handler(machine, *arguments)
        except BaseException as error:
            ended = f"raised {type(error).__name__}"
            raise
        finally:
            self.again.append(Deed(context.position, context.step, name, ended, writes_since(replica, mark)))

    def iterate(self, name: str, handler: Callable[..., Any], machine: Any, arguments: Any) -> Iterator[Any]:
        """The items of a stream; only making them is watched, not what the reader does between two."""
        items = handler(machine, *arguments)
        looks = True
        try:
            while (item := self.run("query", name, next, None, (items, _END), looks=looks)) is not _END:
                yield item
                looks = False
        finally:
            items.close()

    def _explain(self, error: BaseException, kind: str, name: str, index: int, position: int | None) -> None:
        """Refusals of rsm's own, told as what they are: to their callers they are one failed handler among others."""
        trace = error.__traceback__
        innermost = trace
        while innermost is not None and innermost.tb_next is not None:
            innermost = innermost.tb_next
        if innermost is None:
            return
        blamed = blame_traceback(trace, self.own_files)
        if blamed is None:
            return
        where = innermost.tb_frame.f_code.co_name
        text = str(error)
        is_ours = innermost.tb_frame.f_code.co_filename.startswith(RSM_DIRECTORY)
        if (is_ours and where == "refuse_write") or (kind == "query" and "View' object" in text):
            self.tell(QUERY_WRITES, f"wrote state at {blamed.place}", name, index, position, blamed)
        elif is_ours and where == "__setattr__" and isinstance(error, AttributeError):
            self.tell(HELPER_STATE, f"set an attribute at {blamed.place}", name, index, position, blamed)
        elif is_ours and isinstance(error, TypeError) and _float_in(innermost.tb_frame.f_locals.get("value")):
            self.tell(FLOAT_VALUE, f"wrote a float at {blamed.place}", name, index, position, blamed)

    # --- what is remembered outside the state ------------------------------------------------------------------------

    def _look(self, name: str, machine: Any) -> tuple[Walk, Walk] | None:
        """Modules and helpers as they are before a handler; None when it is not this one's turn."""
        runs = self._runs[name] = self._runs.get(name, 0) + 1
        self._credit += STRICT_OBJECTS_CREDIT_PER_COMMAND
        if runs > STRICT_EACH_COMMAND_RUNS and self._credit < 0:
            return None
        return self._walks(machine)

    def _walks(self, machine: Any) -> tuple[Walk, Walk]:
        helpers = walk([] if machine is None else helpers_of(machine), self.is_own)
        modules = walk(globals_of(self._modules), self.is_own)
        self._credit -= len(helpers.values) + len(modules.values)
        self.has_caches = helpers.has_caches or modules.has_caches
        return helpers, modules

    def is_own(self, module: str) -> bool:
        """Whether a module is the user's."""
        return module in self._own

    def _compare(
        self,
        before: tuple[Walk, Walk] | None,
        machine: Any,
        name: str,
        index: int,
        position: int | None,
        blamed: Blame | None,
    ) -> None:
        if before is None:
            return
        after = self._walks(machine)
        for number, rule in ((0, HELPER_STATE), (1, MODULE_STATE)):
            for path, old, new in changed(before[number], after[number])[:STRICT_PATHS_MAX]:
                self.tell(
                    self._rule_of(rule, path), f"changed {path}", name, index, position, blamed, [(path, old, new)]
                )

    def _rule_of(self, rule: Rule, path: str) -> Rule:
        if "(default " in path or "=)" in path:
            return DEFAULT
        return CLASS_STATE if rule is MODULE_STATE and self._is_class(path) else rule

    def _is_class(self, path: str) -> bool:
        for module_name, module in self._modules.items():
            if path.startswith(f"{module_name}."):
                variable = path[len(module_name) + 1 :].partition(".")[0].partition("[")[0]
                if isinstance(vars(module).get(variable), type):
                    return True
        return False

    # --- findings ----------------------------------------------------------------------------------------------------

    def tell(
        self,
        rule: Rule,
        what: str,
        name: str,
        index: int,
        position: int | None,
        blamed: Blame | None,
        paths: list[tuple[str, Any, Any]] | None = None,
        sides: tuple[str, str] = ("before", "after"),
    ) -> None:
        """Report a finding to the block."""
        replica = self.replica()
        if replica is None or (blamed is not None and is_allowed(blamed, rule.code)):
            return
        finding = StrictFinding(
            code=rule.code,
            title=rule.title,
            command=f"{self.name}.{name}" if name else self.name,
            index=index,
            position=position,
            file="" if blamed is None else blamed.file,
            line=0 if blamed is None else blamed.line,
            place="" if blamed is None else blamed.place,
            what=what,
            advice=rule.advice,
            paths=tuple(PathDifference(path, _values(sides, one, other)) for path, one, other in paths or ()),
        )
        self._found(finding, replica)

    def changed_behind(self, replica: Replica, since: int, what: str) -> None:
        """Report values that are not those which went through the containers."""
        deed = self.deeds[-1] if len({deed.command for deed in self.deeds}) == 1 else None
        spec = None if deed is None else replica.definition.commands.get(deed.command)
        name = "" if deed is None else deed.command
        place = f"{replica.index}" if replica.index <= since + 1 else f"{since + 1} to {replica.index}"
        text = f"or a query changed state behind the containers' back, at index {place}: {what}"
        position = None if deed is None else deed.position
        self.tell(BEHIND, text, name, replica.index, position, None if spec is None else place_of(spec.handler))

    def parted(self, replica: Replica, entry: Entry, parting: Parting) -> None:
        """Report what differed in the second run."""
        name, position = parting.command, parting.position
        if not name and position is not None:
            deed = next((deed for deed in self.deeds if deed.position == position), None)
            name = "" if deed is None else deed.command
        if not name and len({deed.command for deed in self.deeds}) == 1:
            name, position = self.deeds[0].command, self.deeds[0].position
        spec = replica.definition.commands.get(name)
        blamed = None if spec is None else place_of(spec.handler)
        what = parting.what + ("" if blamed is None else f" (the handler is at {blamed.place})")
        self.tell(HIDDEN, what, name, entry.index, position, blamed, parting.paths, ("live", "restored"))


_END: Final = object()


def _values(sides: tuple[str, str], one: Any, other: Any) -> dict[str, Any]:
    """Values by side; a side that has none is left out."""
    return {
        side: value for side, value in zip(sides, (one, other), strict=True) if value is not ABSENT and value is not ...
    }


def _files_of(machine_class: type[StateMachine]) -> Iterator[str]:
    """The files of a machine's handlers, as their code names them (modules made by hand have no `__file__`)."""
    definition = machine_class.definition
    handlers = [spec.handler for spec in definition.commands.values()]
    handlers += [spec.handler for spec in definition.queries.values()]
    for handler in handlers:
        blamed = place_of(handler)
        if blamed is not None:
            yield blamed.file


def _original(handler: Any) -> Any:
    return getattr(handler, "__wrapped_by_strict__", handler)


def place_of(handler: Any) -> Blame | None:
    code = getattr(_original(handler), "__code__", None)
    return None if code is None else Blame(code.co_filename, code.co_firstlineno)


def _float_in(value: Any) -> bool:
    if isinstance(value, (tuple, list)):
        return any(map(_float_in, value))
    fields = getattr(value, "__struct_fields__", ())
    return isinstance(value, float) or any(_float_in(getattr(value, name)) for name in fields)


def writes_since(replica: Replica, mark: int) -> list[tuple[str, Any, Any]]:
    """(container, leaf key, value as it is now) of every leaf written since a mark in the undo log, in order."""
    undo = replica.store.undo
    places: dict[tuple[str, Any], Any] = {}
    for at in range(mark, len(undo), 3):
        container, leaf_key = undo[at], undo[at + 1]
        places[container._ledger.name, leaf_key] = container
    return [(name, leaf_key, container._leaf(leaf_key, ABSENT)) for (name, leaf_key), container in places.items()]
