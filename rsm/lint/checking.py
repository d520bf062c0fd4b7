"""The check as a whole: from targets over machines and what their handlers reach to findings."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from rsm.limits import LINT_CHAIN_MAX, LINT_FUNCTIONS_MAX
from rsm.lint.allowances import allowances
from rsm.lint.machines import Root, declarations, roots
from rsm.lint.modules import Class, Module, Project
from rsm.lint.scene import Exhausted, Found, Place, Types
from rsm.lint.sources import Reader
from rsm.lint.statements import Walker
from rsm.lint.targets import find

__all__ = ["Finding", "Report", "lint"]


class Finding(NamedTuple):
    """One finding. `line` and `column` count from 1; `reached` leads from a handler to the function at fault."""

    file: str
    line: int
    column: int
    code: str
    message: str
    reached: tuple[str, ...] = ()

    def text(self) -> str:
        """The finding in a line."""
        chain = f" (reached from {' -> '.join(self.reached)})" if self.reached else ""
        return f"{self.file}:{self.line}:{self.column}: {self.code} {self.message}{chain}"


class Report(NamedTuple):
    """What a check came to.

    `files` were read. `unchecked` are reasons why part of the own code was not looked at: with one of them, a check
    without findings is no pass. `foreign` are packages that handlers reach and that are not judged.
    """

    findings: tuple[Finding, ...]
    files: tuple[str, ...]
    machines: tuple[str, ...]
    unchecked: tuple[str, ...]
    foreign: tuple[str, ...]

    @property
    def exit_code(self) -> int:
        """0 clean, 1 findings, 3 nothing or not all could be checked."""
        return 1 if self.findings else 3 if self.unchecked or not self.machines else 0

    def document(self) -> dict[str, Any]:
        """The report as plain data."""
        findings = [{**finding._asdict(), "reached": list(finding.reached)} for finding in self.findings]
        verdict = {0: "clean", 1: "findings", 3: "unchecked"}[self.exit_code]
        return {
            "verdict": verdict,
            **{name: list(value) for name, value in self._asdict().items()},
            "findings": findings,
        }


def lint(targets: Iterable[str]) -> Report:
    """Check targets: files, directories, module names, MODULE:CLASS. `TargetError` for one that does not exist.

    Nothing of them is imported or run.
    """
    project = Project(Reader())
    machines: dict[Class, None] = {}
    whole: dict[Module, None] = {}
    for name in targets:
        target = find(project, name)
        machines.update(dict.fromkeys(target.machines))
        whole.update(dict.fromkeys(target.modules))
    run = _Run(project, list(machines))
    run.follow()
    findings = sorted(run.findings(set(whole)))
    unchecked = list(project.reader.unchecked)
    if not machines:
        unchecked.append("no machine was found: class X(rsm.StateMachine, name=...)")
    return Report(
        tuple(findings),
        tuple(sorted(module.shown for module in project.modules.values())),
        tuple(sorted(f"{machine.module.shown}:{machine.name}" for machine in machines)),
        tuple(unchecked),
        tuple(sorted(run.foreign)),
    )


class Way(NamedTuple):
    """How a place is reached: from which place, from which root, and how many names that takes."""

    before: Place | None
    root: Place
    length: int


def chain(ways: dict[Place, Way], place: Place) -> tuple[str, ...]:
    """The names from a root to a place, none if it is one itself; of a long way the first and the last."""
    way = ways[place]
    if way.before is None:
        return ()
    names = [place.function.name]
    before = way.before
    while len(names) < LINT_CHAIN_MAX and before != way.root:
        names.append(before.function.name)
        before = ways[before].before or way.root
    gap = ("...",) if way.length > len(names) + 1 else ()
    return (way.root.function.name, *gap, *reversed(names))


class _Run:
    """The functions that handlers reach, each examined once."""

    def __init__(self, project: Project, machines: list[Class]) -> None:
        self.project = project
        self.machines = machines
        self.types = Types(project)
        self.examined: dict[Place, Walker] = {}
        self.roots: list[Root] = []
        self.foreign: set[str] = set()

    def follow(self) -> None:
        """Examine the handlers, and what they lead to."""
        for machine in self.machines:
            self._guarded(machine.module, machine.name, lambda machine=machine: self.types.hold(machine))
            self.roots += roots(machine)
            for owner in machine.mro():
                for name, field in owner.fields.items():
                    if field.value is not None:
                        statement = owner.module.statement(field, f"{owner.name}.{name}", owner)
                        self.roots.append(Root(Place(statement, None), "handler"))
        waiting = [root.place for root in self.roots]
        while waiting:
            place = waiting.pop()
            if place in self.examined:
                continue
            if len(self.examined) >= LINT_FUNCTIONS_MAX:
                self.project.reader.note(f"not followed further: {LINT_FUNCTIONS_MAX} functions have been examined")
                return
            module, name = place.function.module, place.function.name
            walker = self.examined[place] = Walker(self.types, place)
            self._guarded(module, name, walker.run)
            self.foreign |= walker.foreign
            waiting += walker.leads

    def _guarded(self, module: Module, name: str, action: Any) -> None:
        try:
            action()
        except RecursionError:
            self.project.reader.note(f"{module.shown}: {name}: nested too deeply to be checked")
        except Exhausted:
            self.project.reader.note(f"{module.shown}: {name}: not checked to its end: too much code for one run")

    def ways(self, kinds: Iterable[str]) -> dict[Place, Way]:
        """Every place that roots of these kinds lead to, with the last step of a shortest way there."""
        found: dict[Place, Way] = {}
        level = [(root.place, Way(None, root.place, 1)) for root in self.roots if root.kind in kinds]
        while level:
            below: list[tuple[Place, Way]] = []
            for place, way in level:
                if place not in found and place in self.examined:
                    found[place] = way
                    further = Way(place, way.root, way.length + 1)
                    below += [(other, further) for other in self.examined[place].leads]
            level = below
        return found

    def findings(self, whole: set[Module]) -> list[Finding]:
        """What was found and is not allowed, and what is wrong with the allowances."""
        ways = {
            "": self.ways(("handler", "query", "setup")),
            "query": self.ways(("query",)),
            "handler": self.ways(("handler", "query")),
        }
        breaches: dict[tuple[Module, int, int, str], tuple[Found, tuple[str, ...]]] = {}
        for machine in self.machines:
            for found in declarations(machine):
                breaches.setdefault((found.module, found.line, found.column, found.code), (found, ()))
        for place, walker in self.examined.items():
            for found in walker.found:
                way = ways[found.condition].get(place)
                if way is not None:
                    key = (found.module, found.line, found.column, found.code)
                    reached = chain(ways[found.condition], place)
                    known = breaches.get(key)
                    if known is None or len(reached) < len(known[1]):
                        breaches[key] = (found, reached)
        return list(self._unallowed(list(breaches.values()), whole))

    def _unallowed(self, breaches: list[tuple[Found, tuple[str, ...]]], whole: set[Module]) -> list[Finding]:
        by_module: dict[Module, list[tuple[Found, tuple[str, ...]]]] = {}
        for found, chain in breaches:
            by_module.setdefault(found.module, []).append((found, chain))
        judged = self._judged()
        result = []
        for module in {**dict.fromkeys(whole), **dict.fromkeys(by_module), **dict.fromkeys(judged)}:
            here = by_module.get(module, [])
            allowed, is_all = allowances(module.source)
            if not is_all:
                self.project.reader.note(f"{module.shown}: more than {len(allowed)} allowances: the rest is not read")
            for allowance in allowed:
                used = {found.code for found, _ in here if allowance.covers(found)}
                here = [(found, chain) for found, chain in here if not allowance.covers(found)]
                is_judged = module in whole or any(
                    first <= allowance.last and allowance.first <= last for first, last in judged.get(module, ())
                )
                result += [
                    Finding(module.shown, allowance.line, allowance.column, code, message)
                    for code, message in allowance.misuse(used)
                    if is_judged or code != "RSM903"
                ]
            result += [
                Finding(module.shown, found.line, found.column, found.code, found.message, chain)
                for found, chain in here
            ]
        return result

    def _judged(self) -> dict[Module, list[tuple[int, int]]]:
        """The lines that were examined, by module."""
        lines: dict[Module, list[tuple[int, int]]] = {}
        for place in self.examined:
            node = place.function.node
            lines.setdefault(place.function.module, []).append((node.lineno, node.end_lineno or node.lineno))
        for machine in self.machines:
            for owner in machine.mro():
                for field in owner.fields.values():
                    lines.setdefault(owner.module, []).append((field.lineno, field.end_lineno or field.lineno))
        return lines
