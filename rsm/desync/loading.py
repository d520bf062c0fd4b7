"""A machine class by its name, MODULE:CLASS, in this process; every way in which that fails is one line."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

from rsm.errors import CallerError
from rsm.machine.machine import StateMachine

__all__ = ["MachineUnavailable", "find_machine", "source_file"]


class MachineUnavailable(CallerError):
    """There is no such machine here, or its module cannot be imported."""


def find_machine(reference: str) -> type[StateMachine]:
    """The class that MODULE:CLASS names on this interpreter's path; `MachineUnavailable` says why not."""
    module_name, colon, class_name = reference.partition(":")
    if not (module_name and colon and class_name):
        raise MachineUnavailable(f"{reference}: name a machine as MODULE:CLASS, such as bank:Bank")
    try:
        found: Any = importlib.import_module(module_name)
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a module may raise whatever it likes, SystemExit too
        text = " ".join(str(error).split())
        raise MachineUnavailable(f"{reference}: cannot import {module_name}: {type(error).__name__}: {text}") from error
    for part in class_name.split("."):
        if not hasattr(found, part):
            raise MachineUnavailable(f"{reference}: module {module_name} has no {class_name}")
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, StateMachine) and "definition" in vars(found)):
        raise MachineUnavailable(
            f"{reference}: {class_name} is not a machine: class {class_name}(rsm.StateMachine, ...)"
        )
    return found


def source_file(machine: type[StateMachine]) -> str:
    """The file in which a machine class stands; empty if that cannot be told."""
    try:
        return inspect.getsourcefile(machine) or ""
    except (TypeError, OSError):
        return ""
