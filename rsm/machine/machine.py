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

import msgspec

from rsm.errors import DefinitionError
from rsm.machine.definition import CONTAINERS, ContainerSpec, Definition
from rsm.machine.surface import ClientSurface
from rsm.state.arrays import Array, ArrayLedger
from rsm.state.checks import key_check, value_check
from rsm.state.columns import ARRAY_KIND
from rsm.state.containers import refuse_write
from rsm.state.leaf import ALGORITHM, encode
from rsm.state.ledger import Ledger
from rsm.state.scalars import SCALARS, ScalarLedger, Scalars
from rsm.state.types import describe
from rsm.state.view import VIEWS

KINDS = {kind: container for container, kind in CONTAINERS.items()}


class StateMachine(ClientSurface):
    """Base class of machines: `class Book(rsm.StateMachine, name="book", version=1)`.

    `name` identifies the machine in logs, whatever the class or module is called; `version` counts releases that behave
    differently; `event` is the type (or union of tagged structs) of its events, for typed decoding. `previous` is the
    class of the release before, frozen as it was: entries written under its version run under it, for ever.
    """

    definition: ClassVar[Definition]

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int = 1,
        event: Any = None,
        prefix: str = "",
        previous: type[StateMachine] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init_subclass__(**kwargs)
        if name is None:  # a mixin: its members are read with the machine that inherits them
            return
        if "__init__" in vars(cls):
            raise DefinitionError(
                f"{cls.__name__}: use setup(self) instead of __init__: state is created and restored by rsm"
            )
        if previous is not None and "definition" not in vars(previous):
            raise DefinitionError(f"{cls.__name__}: its previous release, {previous.__name__}, is no machine")
        cls.definition = Definition(
            cls,
            name,
            version,
            event,
            prefix,
            sys._getframe(1).f_locals,
            None if previous is None else previous.definition,
        )

    def __new__(cls) -> Self:
        if "definition" not in vars(cls):
            raise DefinitionError(
                f"{cls.__name__} has no name: class {cls.__name__}(rsm.StateMachine, name=..., version=...)"
            )
        self = super().__new__(cls)
        make_machine(self)
        return self

    def _set_up(self) -> None:
        self.__dict__["_sealed"] = False
        self.setup()
        self.__dict__["_sealed"] = True

    def setup(self) -> None:
        """Called once, on the empty machine: build domain objects around the containers, and keep no state in them."""

    def migrate_state(self, old: Any) -> None:
        """Called once, when the cluster goes from the previous release to this one, on every replica at one index.

        Whatever has the same name and type is here already; `old` is the machine of the previous release, to be read.
        What it raises leaves everything as it was: the old release stays in force.
        """

    @staticmethod
    def topic_of(event: Any) -> str:
        """What an event is about, for observers who do not want all of them: by default the name of its class.

        Topics that form a tree are separated by "/": who asks for `trades/` gets `trades/ACME` too. It is called where
        events are sent, and not where they are emitted: it must look at nothing but the event.
        """
        return type(event).__name__

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


def make_machine(machine: StateMachine, kept: dict[str, Any] | None = None) -> None:
    """Give a bare machine its state: fresh, but for `kept` containers and scalars by name."""
    kept = kept or {}
    values, definition = machine.__dict__, machine.definition
    defaults = {name: default for name, (_, default) in definition.scalars.items()}
    checks = {name: value_check(name, declared) for name, (declared, _) in definition.scalars.items()}
    values.update(defaults)
    values["_scalars"] = Scalars(values, defaults, checks)
    for spec in definition.containers:
        values[spec.name] = kept[spec.name] if spec.name in kept else make_container(definition.prefix, spec)
    machine._set_up()


def successor(machine_class: type[StateMachine], old: StateMachine) -> StateMachine:
    """A machine of the next release that has taken over what is as it was; `migrate_state` sees to the rest.

    A container whose types are the same objects is handed over as it is, at no cost; one whose types were declared
    anew, alike, is copied leaf by leaf.
    """
    known = {spec.name: spec for spec in old.definition.containers}
    kept: dict[str, Any] = {}
    for spec in machine_class.definition.containers:
        before = known.get(spec.name)
        if before is None or (before.kind, before.schema) != (spec.kind, spec.schema):
            continue
        container = old.__dict__[spec.name]
        if (before.key, before.value) != (spec.key, spec.value):
            container = _copied(container, make_container(machine_class.definition.prefix, spec))
        kept[spec.name] = container
    machine: StateMachine = object.__new__(machine_class)
    make_machine(machine, kept)
    return machine


def keep_scalars(machine: StateMachine, old: StateMachine) -> None:
    """Take over the scalars that are declared as they were; in a batch, when the machine's containers are open."""
    before = old.definition.scalars
    for name, (declared, _) in machine.definition.scalars.items():
        if name in before and describe(before[name][0]) == describe(declared):
            value = old.__dict__[name]
            if before[name][0] != declared:  # a type declared anew, alike
                value = msgspec.msgpack.decode(encode(value), type=declared)
            setattr(machine, name, value)


def _copied(old: Any, new: Any) -> Any:
    old._ledger.settle()
    for bucket, members in enumerate(old._ledger.members):
        if members:
            new._ledger.load(new._ledger.decode_leaves(encode(old._ledger.leaves(bucket))))
    return new


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
    if spec.kind == ARRAY_KIND:
        array = Array(spec.value)
        array._ledger = ArrayLedger(name, spec.schema, array)
        return array
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
