"""What a program remembers besides declared state: module globals, class attributes, objects that `setup` built.

`walk` lists everything reachable from some roots as path -> value, as deep as it is the user's own: into plain
containers, instances and classes of the user's modules, closures and mutable defaults, not into objects of libraries or
of rsm. Two walks that differ name the path that was changed. Tracked containers are declared state and are passed over.
"""

from __future__ import annotations

import enum
import functools
import itertools
import random
import sys
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from types import CellType, FunctionType, ModuleType
from typing import Any, Final

from rsm.limits import STRICT_MODULES_MAX, STRICT_OBJECTS_MAX, STRICT_VALUES_MAX
from rsm.machine.calls import Command, Query, SessionEnd
from rsm.machine.machine import StateMachine
from rsm.machine.upcasting import Downcaster, Upcaster
from rsm.state.arrays import Array
from rsm.state.containers import Map, Set
from rsm.state.leaf import digest128
from rsm.state.queues import Queue, Table
from rsm.testing.blaming import is_user_file

__all__ = ["Walk", "changed", "globals_of", "helper_names", "helpers_of", "user_modules", "walk"]

_ATOMS: Final = frozenset({int, float, complex, str, bytes, bool, type(None)})
_Cache: Final = type(functools.cache(lambda: None))
_TRACKED: Final = (Map, Set, Queue, Table, Array)
_OWN: Final = frozenset({"_scalars", "_sealed"})
Items = list[tuple[str, Any]]


class Walk:
    """What was found: `values` by path, whether there are `functools` caches, and whether everything was looked at."""

    __slots__ = ("has_caches", "is_whole", "values")

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.has_caches = False
        self.is_whole = True


def walk(roots: Items, is_own: Callable[[str], bool]) -> Walk:
    """Everything reachable. `is_own(module name)`: whether its classes and functions are the user's."""
    found = Walk()
    values = found.values
    seen: set[int] = set()
    todo: deque[tuple[str, Any]] = deque(roots)
    while todo:
        path, value = todo.popleft()
        if len(values) >= STRICT_OBJECTS_MAX:
            found.is_whole = False
            break
        kind = type(value)
        if kind in _ATOMS:
            values[path] = value
            continue
        if id(value) in seen:
            values[path] = value
            continue
        seen.add(id(value))
        frozen = _frozen(value)
        values[path] = value if frozen is None else _Frozen(value, frozen)
        if kind is _Cache:
            found.has_caches = True
        todo.extend(_parts(path, value, is_own))
    return found


class _Frozen:
    """An object that changes where it lies, and what it held when it was looked at."""

    __slots__ = ("contents", "value")

    def __init__(self, value: Any, contents: Any) -> None:
        self.value = value
        self.contents = contents


def _frozen(value: Any) -> Any:
    """What tells whether an object has changed that has no parts to look into; None if its parts tell, or nothing."""
    if isinstance(value, _TRACKED):
        return None
    if isinstance(value, (list, dict, deque)):
        return len(value)
    if type(value) in (set, frozenset):
        return frozenset(value) if len(value) <= STRICT_VALUES_MAX else len(value)
    if isinstance(value, (bytearray, array)):
        return bytes(value)
    if isinstance(value, random.Random):
        return value.getstate()
    if type(value) is itertools.count:
        return repr(value)
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(value, numpy.ndarray):
        # A table of the user's may have millions of cells: their digest tells as well.
        return f"cells {value.shape} of {value.dtype}, digest {digest128(value.tobytes()).hex()}"
    return None


def _parts(path: str, value: Any, is_own: Callable[[str], bool]) -> Iterator[tuple[str, Any]]:
    kind = type(value)
    if kind.__module__.partition(".")[0] == "rsm" and not is_own(kind.__module__):
        # Tracked containers and their like; a handler's function may still have mutable defaults.
        if isinstance(value, (Command, Query, SessionEnd)):
            yield path, value.handler
        elif isinstance(value, (Upcaster, Downcaster)):
            yield path, value.step
    elif isinstance(value, dict):
        if len(value) <= STRICT_VALUES_MAX:
            yield from (
                (f"{path}[{key!r}]" if type(key) in _ATOMS else f"{path}[...]", value[key]) for key in dict(value)
            )
    elif isinstance(value, (list, tuple, deque)):
        if len(value) <= STRICT_VALUES_MAX:
            yield from ((f"{path}[{number}]", item) for number, item in enumerate(value))
    elif kind is FunctionType:
        if is_own(value.__module__ or ""):
            yield from _parts_of_function(path, value)
    elif kind is CellType:
        try:
            yield path, value.cell_contents
        except ValueError:  # not filled yet
            return
    elif kind in (staticmethod, classmethod):
        yield path, value.__func__
    elif kind is property:
        yield from ((f"{path}.{name}", getattr(value, name)) for name in ("fget", "fset"))
    elif kind is _Cache:
        yield path, value.__wrapped__
    elif isinstance(value, type):
        if is_own(value.__module__) and not issubclass(value, enum.Enum):
            yield from ((f"{path}.{name}", item) for name, item in list(vars(value).items()) if not _is_dunder(name))
    elif is_own(kind.__module__) and not isinstance(value, enum.Enum):
        yield from _attributes(path, value)


def _parts_of_function(path: str, function: FunctionType) -> Iterator[tuple[str, Any]]:
    for number, default in enumerate(function.__defaults__ or ()):
        yield f"{path}(default {number + 1})", default
    for name, default in (function.__kwdefaults__ or {}).items():
        yield f"{path}({name}=)", default
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        yield f"{path}({name})", cell
    for name, item in function.__dict__.items():
        if not _is_dunder(name):
            yield f"{path}.{name}", item


def _attributes(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    names = dict.fromkeys(getattr(value, "__dict__", ()))
    for base in type(value).__mro__:
        slots = base.__dict__.get("__slots__", ())
        names.update(dict.fromkeys((slots,) if isinstance(slots, str) else slots))
    for name in names:
        if _is_dunder(name):
            continue
        try:
            yield f"{path}.{name}", object.__getattribute__(value, name)
        except AttributeError:  # a slot that holds nothing
            continue


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def changed(before: Walk, after: Walk) -> list[tuple[str, Any, Any]]:
    """(path, before, after) of what differs, in order of discovery; `...` where one side has nothing."""
    old, new = before.values, after.values
    differing = [
        (path, _shown(value), _shown(new.get(path, ...)))
        for path, value in old.items()
        if not _same(value, new.get(path, ...))
    ]
    if before.is_whole and after.is_whole:
        differing += [(path, ..., _shown(value)) for path, value in new.items() if path not in old]
    # A container's length, or an object that was exchanged, says less than what is inside.
    deeper = [
        one for one in differing if not any(other[0] != one[0] and other[0].startswith(one[0]) for other in differing)
    ]
    return deeper or differing


def _same(one: Any, other: Any) -> bool:
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if type(one) is _Frozen:
        return one.value is other.value and bool(one.contents == other.contents)
    return type(one) in _ATOMS and bool(one == other or one != one)


def _shown(value: Any) -> Any:
    if type(value) is not _Frozen:
        return value
    return f"{value.contents} items" if type(value.contents) is int else value.contents


def helper_names(machine: StateMachine) -> list[str]:
    """The attributes that `setup` put on a machine, besides its declared state."""
    declared = {*_OWN, *machine.definition.scalars, *(spec.name for spec in machine.definition.containers)}
    return [name for name in machine.__dict__ if name not in declared]


def helpers_of(machine: StateMachine) -> Items:
    """Those attributes, as roots of a walk."""
    return [(f"self.{name}", machine.__dict__[name]) for name in helper_names(machine)]


def user_modules(machine_class: type) -> dict[str, ModuleType]:
    """The modules of the user's that a machine is made of: its classes' and what these refer to, by name."""
    found: dict[str, ModuleType] = {}
    todo = [base.__module__ for base in machine_class.__mro__ if base not in (StateMachine, *StateMachine.__mro__)]
    first = set(todo)
    while todo and len(found) < STRICT_MODULES_MAX:
        name = todo.pop()
        module = sys.modules.get(name)
        if not isinstance(module, ModuleType) or name in found:
            continue
        file = getattr(module, "__file__", None)
        if name not in first and (file is None or not is_user_file(file)):
            continue
        found[name] = module
        for value in list(vars(module).values()):
            if isinstance(value, ModuleType):
                todo.append(value.__name__)
            else:
                origin = getattr(value, "__module__", None)
                if type(origin) is str:
                    todo.append(origin)
    return found


def globals_of(modules: dict[str, ModuleType]) -> Items:
    """The variables of modules, as roots of a walk."""
    return [
        (f"{name}.{variable}", value)
        for name, module in modules.items()
        for variable, value in list(vars(module).items())
        if not _is_dunder(variable) and not isinstance(value, ModuleType)
    ]
