"""StateMachine: the base of every machine. A subclass is a plain class; rsm reads it once, when it is created.

    class Bank(rsm.StateMachine, name="bank", version=1):
        balances: rsm.Map[str, int]

        @rsm.command(version=1)
        def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int: ...

The annotations of the class are its state, and its only state: any other attribute assigned outside `setup` is refused,
since it would not be restored from a snapshot.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import GenericAlias
from typing import Any, ClassVar, Self

from rsm.errors import DefinitionError
from rsm.machine.definition import CONTAINERS, ContainerSpec, Definition
from rsm.machine.surface import ClientSurface
from rsm.state.checks import key_check, value_check
from rsm.state.containers import refuse_write
from rsm.state.leaf import ALGORITHM
from rsm.state.ledger import Ledger
from rsm.state.scalars import SCALARS, ScalarLedger, Scalars
from rsm.state.types import describe
from rsm.state.view import VIEWS

KINDS = {kind: container for container, kind in CONTAINERS.items()}


class StateMachine(ClientSurface):
    """Base class of machines: `class Book(rsm.StateMachine, name="book", version=1)`.

    `name` identifies the machine in logs, whatever the class or module is called; `version` counts releases that behave
    differently; `event` is the type (or union of tagged structs) of its events, for typed decoding.
    """

    definition: ClassVar[Definition]

    def __init_subclass__(
        cls, *, name: str | None = None, version: int = 1, event: Any = None, prefix: str = "", **kwargs: Any
    ) -> None:
        super().__init_subclass__(**kwargs)
        if name is None:  # a mixin: its members are read with the machine that inherits them
            return
        if "__init__" in vars(cls):
            raise DefinitionError(
                f"{cls.__name__}: use setup(self) instead of __init__: state is created and restored by rsm"
            )
        cls.definition = Definition(cls, name, version, event, prefix, sys._getframe(1).f_locals)

    def __new__(cls) -> Self:
        if "definition" not in vars(cls):
            raise DefinitionError(
                f"{cls.__name__} has no name: class {cls.__name__}(rsm.StateMachine, name=..., version=...)"
            )
        self = super().__new__(cls)
        values = self.__dict__
        definition = cls.definition
        defaults = {name: default for name, (_, default) in definition.scalars.items()}
        checks = {name: value_check(name, declared) for name, (declared, _) in definition.scalars.items()}
        values.update(defaults)
        values["_scalars"] = Scalars(values, defaults, checks)
        values.update((spec.name, make_container(definition.prefix, spec)) for spec in definition.containers)
        self._set_up()
        return self

    def _set_up(self) -> None:
        self.__dict__["_sealed"] = False
        self.setup()
        self.__dict__["_sealed"] = True

    def setup(self) -> None:
        """Called once, on the empty machine: build domain objects around the containers, and keep no state in them."""

    def __setattr__(self, name: str, value: Any) -> None:
        scalars: Scalars = self.__dict__["_scalars"]
        if name in scalars.checks:
            scalars.write(name, value)
        elif self.__dict__["_sealed"]:
            raise AttributeError(
                f"{type(self).__name__}.{name} is not declared state, so no snapshot would restore it; "
                f"annotate it in the class, or build helpers in setup()"
            )
        elif any(spec.name == name for spec in self.definition.containers):
            raise AttributeError(f"{type(self).__name__}.{name} is a container: write into it, in a command")
        else:
            object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__}.{name}: attributes of a machine cannot be deleted; assign a value")


def open_view(machine: StateMachine) -> tuple[StateMachine, Callable[[], None]]:
    """The machine as it is now, for reading while the live one goes on; and what closes the view."""
    definition = machine.definition
    view: StateMachine = object.__new__(type(machine))
    values = view.__dict__
    values.update((name, machine.__dict__[name]) for name in definition.scalars)
    values["_scalars"] = Scalars(values, {}, machine.__dict__["_scalars"].checks)
    observed = []
    for spec in definition.containers:
        live = machine.__dict__[spec.name]
        live._ledger.settle()
        values[spec.name] = VIEWS[spec.kind](live)
        observed.append((live._ledger.overlays, values[spec.name].overlay))
    view._set_up()
    for overlays, overlay in observed:
        for closed in [other for other in overlays if other.is_broken]:
            overlays.remove(closed)
        overlays.append(overlay)

    def close() -> None:
        # A view may be closed by the garbage collector, in any thread and at any moment: only mark it, and leave the
        # ledgers' lists to whoever opens the next one.
        for _, overlay in observed:
            overlay.close()

    return view, close


def make_container(prefix: str, spec: ContainerSpec) -> Any:
    """An empty tracked container, closed for writing, with its ledger."""
    name = prefix + spec.name
    container = KINDS[spec.kind]()
    container._record = refuse_write
    container._check_value = value_check(name, spec.value)
    if spec.kind != "queue":
        container._check_key = key_check(name, spec.key)
    nested = spec.kind == "table"
    leaf_key = GenericAlias(tuple, (spec.key, int)) if nested else spec.key
    container._ledger = Ledger(name, spec.kind, spec.schema, leaf_key, spec.value, container, nested=nested)
    return container


def containers_of(machine: StateMachine) -> dict[str, Any]:
    """The tracked containers of a machine by name, its scalars among them; their initial values are booked."""
    definition = machine.definition
    containers = {definition.prefix + spec.name: machine.__dict__[spec.name] for spec in definition.containers}
    scalars: Scalars = machine.__dict__["_scalars"]
    if definition.scalars:
        text = ",".join(f"{name}:{describe(declared)}" for name, (declared, _) in sorted(definition.scalars.items()))
        types = {name: declared for name, (declared, _) in definition.scalars.items()}
        scalars._ledger = ScalarLedger(definition.prefix + SCALARS, f"{ALGORITHM}; {text}", types, scalars)
        scalars._ledger.load(sorted(scalars.defaults.items()))
        containers[definition.prefix + SCALARS] = scalars
    return containers
