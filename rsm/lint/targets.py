"""Targets: what `rsm lint bank.py src bank bank:Bank` names, found by file alone."""

from __future__ import annotations

import os
import sys
from typing import NamedTuple

from rsm.lint.machines import machines_of
from rsm.lint.modules import Class, Module, Project
from rsm.lint.sources import python_files

__all__ = ["Target", "TargetError", "find"]


class TargetError(Exception):
    """A target that does not exist or cannot be read; the text says which and why."""


class Target(NamedTuple):
    """The machines to check, and the modules that are checked as a whole."""

    machines: list[Class]
    modules: list[Module]


def find(project: Project, name: str) -> Target:
    """What a target names. `TargetError` if there is no such thing, or a single file cannot be read."""
    try:
        return _find(project, name)
    except RecursionError:
        raise TargetError(f"{name}: its names lead to one another too deeply to be followed") from None


def _find(project: Project, name: str) -> Target:
    if os.path.isdir(name):
        return _directory(project, name)
    if os.path.exists(name) or name.endswith(".py") or os.sep in name:
        module = _file(project, name, name)
        return Target(machines_of(module), [module])
    module_name, colon, class_name = name.partition(":")
    path = locate(project, module_name)
    if path is None:
        raise TargetError(f"{name}: no such file, directory or module")
    if colon:
        module = _file(project, path, name)
        return Target([_machine(module, name, class_name)], [])
    if os.path.basename(path) == "__init__.py":
        return _directory(project, os.path.dirname(path))
    module = _file(project, path, name)
    return Target(machines_of(module), [module])


def locate(project: Project, dotted: str) -> str | None:
    """The file of a module, looked for here and on the path."""
    parts = dotted.split(".")
    if not all(part.isidentifier() for part in parts):
        return None
    return project.locate((os.getcwd(), *(entry for entry in sys.path if entry)), dotted)


def _directory(project: Project, name: str) -> Target:
    modules = [module for path in python_files(name) if (module := project.module_at(path)) is not None]
    return Target([machine for module in modules for machine in machines_of(module)], modules)


def _file(project: Project, path: str, name: str) -> Module:
    if not os.path.exists(path):
        raise TargetError(f"{name}: no such file")
    module = project.module_at(path)
    if module is None:
        raise TargetError(project.reader.unchecked[-1] if project.reader.unchecked else f"{name}: cannot be read")
    return module


def _machine(module: Module, name: str, class_name: str) -> Class:
    found = module.named.get(class_name)
    if found is None:
        value = module.lookup(class_name)
        found = value.of if value.kind == "class" else None
    if found is None:
        raise TargetError(f"{name}: {module.shown} has no class {class_name}")
    if not found.is_machine:
        raise TargetError(f"{name}: {class_name} is not a machine: class {class_name}(rsm.StateMachine, name=...)")
    return found
