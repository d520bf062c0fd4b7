"""The compiled form of a machine class: its commands by name and version, queries, upcaster chains and state.

Built and verified once, when the class is created, so that a machine that cannot work is an error at import and not at
three in the morning. Everything that identifies the machine in a log (names, versions, field names, state schemas) is
in `schema()`, which travels in the log itself.
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from rsm.errors import DefinitionError, InvalidCommand
from rsm.machine.calls import Command, Query, SessionEnd
from rsm.machine.chains import Chain, link, link_downcasters
from rsm.machine.context import Context
from rsm.machine.surface import reserved
from rsm.machine.upcasting import Downcaster, Drop, Parts, Split, Upcaster
from rsm.machine.values import Signature, fingerprint_seed, type_hints
from rsm.state.arrays import Array, import_numpy
from rsm.state.checks import value_check
from rsm.state.columns import ARRAY_KIND, Columns
from rsm.state.containers import Map, Set, SortedMap
from rsm.state.leaf import ALGORITHM, encode
from rsm.state.queues import Queue, Table
from rsm.state.types import describe, describe_key

CONTAINERS: dict[Any, str] = {Map: "map", SortedMap: "sorted_map", Set: "set", Queue: "queue", Table: "table"}
ASYNC = (inspect.iscoroutinefunction, inspect.isasyncgenfunction)
ZEROS: dict[Any, Any] = {int: 0, str: "", bytes: b"", bool: False}


class ContainerSpec(typing.NamedTuple):
    """One declared container: its kind, key and value types, and the canonical text of both."""

    name: str
    kind: str
    key: Any
    value: Any
    schema: str


class CommandSpec:
    """One command: its current handler and signature, and the chain of upcasters that leads to it."""

    def __init__(self, command: Command[Any, Any], signature: Signature, result: Any) -> None:
        self.name = command.name
        self.version = command.version
        self.handler = command.handler
        self.signature = signature
        self.decode = signature.decode_packed
        self.fingerprint_seed = fingerprint_seed(self.name, self.version)
        self.result_type = result
        self.decode_result = result_decoder(f"command {self.name}", result)
        self.steps: dict[int, tuple[Signature, Upcaster]] = {}
        self.chains: dict[int, Chain] = {}  # the same, put together for each old version
        self.downcasters: dict[int, tuple[Signature, Downcaster]] = {}  # by the version that they lead to
        self.is_retired = False  # it has no handler any more: only old versions, whose last leads elsewhere

    @classmethod
    def retired(cls, name: str, version: int) -> CommandSpec:
        """A command that ended before this version."""

        def refuse(*_: Any) -> Any:
            raise InvalidCommand(f"{name}: version {version} is not known", "version")

        spec = cls(Command(refuse, version, name), Signature(f"command {name}", []), Any)
        spec.decode, spec.is_retired = refuse, True
        return spec

    def signature_at(self, version: int) -> Signature | None:
        """The schema of a version, or None if no upcaster reaches back to it."""
        if version == self.version and not self.is_retired:
            return self.signature
        step = self.steps.get(version)
        return step[0] if step else None

    def lead(self, version: int, packed: bytes, read: Callable[..., Any]) -> tuple[Any, ...] | Parts | Drop:
        """What takes the place of an old version's packed values: the handler's arguments, several commands, or none.

        `read(step, args)` runs a step that sees the state. What a step raises comes out as `InvalidCommand`, or as
        `msgspec.ValidationError` for values that do not fit.
        """
        chain = self.chains.get(version)
        if chain is None:
            raise InvalidCommand(f"{self.name}: version {version} is not known", "version")
        args = chain.decode(packed)
        for upcaster, reads_state, gives_values, is_exact, decode in chain.links:
            try:
                values = read(upcaster.step, args) if reads_state else upcaster.step(*args)
                if values.__class__ is not tuple or not gives_values:
                    if values.__class__ is Split:
                        return upcaster.parts_of(values)
                    upcaster.check(values)
                    if values.__class__ is Drop:
                        return values
                if is_exact:
                    args = values
                    continue
                packed = encode(values)
            except (InvalidCommand, MemoryError, RecursionError):
                raise
            except Exception as error:
                raise InvalidCommand(
                    f"{self.name}: the upcaster from version {upcaster.from_version} raised", "upcast"
                ) from error
            args = decode(packed)
        return args

    def upcast(self, version: int, values: list[Any], machine: Any = None) -> list[Any] | Split | Drop:
        """Plain values of an old version as plain values of the current one, or the split or drop that they end in."""
        while version != self.version or self.is_retired:
            led = self.upcast_once(version, values, machine)
            if not isinstance(led, list):
                return led
            values, version = led, version + 1
        return values

    def upcast_once(self, version: int, values: list[Any], machine: Any = None) -> list[Any] | Split | Drop:
        """One step of that. Without a `machine`, `InvalidCommand` for a step that reads the state."""
        if version not in self.steps:
            raise InvalidCommand(f"{self.name}: version {version} is not known", "version")
        signature, upcaster = self.steps[version]
        args = signature.decode(signature.encode(values))
        if upcaster.reads_state:
            if machine is None:
                raise InvalidCommand(
                    f"{upcaster}: reads the state, so it can run only where a command is applied", "upcast"
                )
            args = (machine, *args)
        result = upcaster.step(*args)
        if isinstance(result, Split):
            upcaster.parts_of(result)
            return result
        upcaster.check(result)
        if isinstance(result, Drop):
            return result
        plain: list[Any] = msgspec.to_builtins(list(result), builtin_types=(bytes,))
        return plain

    def downcast(self, version: int, values: list[Any]) -> list[Any]:
        """Plain values of the current version as those of an older one; `InvalidCommand` if it cannot say this."""
        for to_version in range(self.version - 1, version - 1, -1):
            step, target = self.downcasters.get(to_version), self.signature_at(to_version)
            if step is None or target is None:
                raise InvalidCommand(
                    f"{self.name}: the cluster knows version {version} of it, this client has version {self.version}, "
                    f"and nothing leads from {to_version + 1} to {to_version}: upgrade the cluster, or add "
                    f"@rsm.downcast({self.name!r}, to_version={to_version})",
                    "version",
                )
            signature, downcaster = step
            values = target.bind(tuple(downcaster.step(*signature.decode(signature.encode(values)))), {})
        return values


class QuerySpec:
    """One query. A generator query streams its items."""

    def __init__(self, query: Query[Any, Any], signature: Signature, result: Any) -> None:
        self.name = query.name
        self.handler = query.handler
        self.signature = signature
        self.is_stream = inspect.isgeneratorfunction(query.handler)
        if self.is_stream:
            arguments = typing.get_args(result)
            result = arguments[0] if arguments else Any
        self.result_type = result  # of one item, if it is a stream
        self.decode_result = result_decoder(f"query {self.name}", result)


def result_decoder(what: str, result: Any) -> Callable[[bytes], Any]:
    """The typed decoder of a result; `DefinitionError` for a type that msgspec cannot read."""
    try:
        return msgspec.msgpack.Decoder(result).decode
    except TypeError as error:
        raise DefinitionError(f"{what}: its result: {error}") from None


class Definition:
    """All that rsm knows of a machine class."""

    def __init__(
        self,
        owner: type,
        name: str,
        version: int,
        event: Any,
        prefix: str,
        local_names: dict[str, Any],
        previous: Definition | None = None,
    ) -> None:
        if not isinstance(name, str) or not name or not name.isprintable():
            raise DefinitionError(
                f"{owner.__name__}: a machine needs a name: class {owner.__name__}(rsm.StateMachine, name=...)"
            )
        if type(version) is not int or version < 1:
            raise DefinitionError(f"{owner.__name__}: version must be an int from 1, not {version!r}")
        if previous is not None:
            _check_previous(owner, name, version, previous)
        self.owner = owner
        self.name = name
        self.version = version
        self.previous = previous  # the release before, which runs the entries that were written under it
        self.event = event
        self.prefix = prefix  # before the names of its containers in a store
        if event is not None:
            _check_event(owner, event)
        self.decode_event = msgspec.msgpack.Decoder(Any if event is None else event).decode
        self.commands: dict[str, CommandSpec] = {}  # by the name in the log
        self.methods: dict[str, CommandSpec] = {}  # by the name in the class
        self.queries: dict[str, QuerySpec] = {}
        self.containers: list[ContainerSpec] = []
        self.scalars: dict[str, tuple[Any, Any]] = {}
        self.session_end: Any = None
        # As a method body would see them, with types that are declared inside the class.
        self._local_names = dict(local_names)
        for base in reversed(owner.__mro__):
            self._local_names.update((name, member) for name, member in vars(base).items() if isinstance(member, type))
        self._read_state()
        self._read_handlers()
        if previous is not None:
            self._check_migration(previous)

    # --- releases -------------------------------------------------------------------------------------------------

    def releases(self) -> list[Definition]:
        """This one and those before it that it still ships, newest first; the last is its floor."""
        found = [self]
        while (previous := found[-1].previous) is not None:
            found.append(previous)
        return found

    def release(self, version: int) -> Definition | None:
        """The release of a machine version, or None if this one does not ship it."""
        return next((one for one in self.releases() if one.version == version), None)

    def _check_migration(self, previous: Definition) -> None:
        """What is kept must be kept as it was, unless the class says how to bring it over."""
        if any(
            "migrate_state" in vars(base) for base in self.owner.__mro__ if base.__module__ != "rsm.machine.machine"
        ):
            return
        ours = self.state_schema()
        changes = [
            f"{name} was {' '.join(kept)} and is {' '.join(ours[name]) if name in ours else 'gone'}"
            for name, kept in previous.state_schema().items()
            if ours.get(name) != kept
        ]
        if changes:
            raise DefinitionError(
                f"{self.owner.__name__}: the state of version {previous.version} is not that of version {self.version} "
                f"({'; '.join(changes)}): write migrate_state(self, old)"
            )

    # --- state ----------------------------------------------------------------------------------------------------

    def _read_state(self) -> None:
        hints = type_hints(self.owner.__name__, self.owner, self._local_names)
        for name, declared in hints.items():
            where = f"{self.owner.__name__}.{name}"
            origin = typing.get_origin(declared) or declared
            if origin is typing.ClassVar or name.startswith("__"):
                continue
            self._refuse_reserved(name)
            try:
                if origin in CONTAINERS:
                    if hasattr(self.owner, name):
                        raise DefinitionError("a container begins empty and takes no default")
                    self.containers.append(_container(name, origin, typing.get_args(declared)))
                elif _is_array(declared):
                    if hasattr(self.owner, name):
                        raise DefinitionError("a container begins empty and takes no default")
                    self.containers.append(_array(name, declared))
                else:
                    describe(declared)
                    self.scalars[name] = (declared, self._default(name, declared))
            except DefinitionError as error:
                raise DefinitionError(f"{where}: {error}") from None

    def _default(self, name: str, declared: Any) -> Any:
        bare = typing.get_args(declared)[0] if typing.get_origin(declared) is typing.Annotated else declared
        default = getattr(self.owner, name, ZEROS.get(bare))
        try:
            value_check("its default", declared)(default)
        except TypeError as error:
            if default is None:
                raise DefinitionError("needs a default value: assign one in the class") from None
            raise DefinitionError(str(error)) from None
        return default

    # --- handlers -------------------------------------------------------------------------------------------------

    def _read_handlers(self) -> None:
        upcasters: list[Upcaster] = []
        downcasters: list[Downcaster] = []
        members: dict[str, Any] = {}
        for base in reversed(self.owner.__mro__):
            members.update(vars(base))
        for attribute, member in members.items():
            if isinstance(member, Command):
                self._refuse_reserved(attribute)
                self._add_command(attribute, member)
            elif isinstance(member, Query):
                self._refuse_reserved(attribute)
                self._add_query(attribute, member)
            elif isinstance(member, Upcaster):
                upcasters.append(copy.copy(member))  # a mixin's is linked anew in every machine
            elif isinstance(member, Downcaster):
                downcasters.append(member)
            elif isinstance(member, SessionEnd):
                if self.session_end is not None:
                    raise DefinitionError(f"{self.owner.__name__}.{attribute}: there is another @rsm.on_session_end")
                if Signature.of("on_session_end", member.handler, 2, self._local_names).count:
                    raise DefinitionError(
                        f"{self.owner.__name__}.{attribute}: takes (self, ctx); ctx.session says whose end"
                    )
                self.session_end = member.handler
            elif isinstance(member, (list, dict, set, bytearray)) and not attribute.startswith("__"):
                raise DefinitionError(
                    f"{self.owner.__name__}.{attribute}: a {type(member).__name__} of the class is state that nobody "
                    f"restores: declare a container, or make it a constant (tuple, frozenset)"
                )
        link(self.commands, upcasters, self._local_names, CommandSpec.retired)
        link_downcasters(self.commands, downcasters, self._local_names)

    def _add_command(self, attribute: str, command: Command[Any, Any]) -> None:
        what = f"command {command.name}"
        if not command.name.isidentifier():
            raise DefinitionError(f"{what}: a command's name must be an identifier")
        if type(command.version) is not int or command.version < 1:
            raise DefinitionError(f"{what}: version must be an int from 1, not {command.version!r}")
        if command.name in self.commands:
            raise DefinitionError(f"{what}: declared twice")
        self._refuse_reserved(command.name)
        handler = command.handler
        if any(is_kind(handler) for is_kind in (*ASYNC, inspect.isgeneratorfunction)):
            raise DefinitionError(f"{what}: a command returns its result; it can neither await nor yield")
        signature = Signature.of(what, handler, 2, self._local_names)
        if _context_type(handler, self._local_names) not in (Context, Any):
            raise DefinitionError(f"{what}: the parameter after self is the context: ctx: rsm.Context")
        spec = CommandSpec(command, signature, self._result(what, command.handler))
        self.commands[command.name] = self.methods[attribute] = spec

    def _add_query(self, attribute: str, query: Query[Any, Any]) -> None:
        what = f"query {attribute}"
        if any(is_kind(query.handler) for is_kind in ASYNC):
            raise DefinitionError(f"{what}: a query cannot await; one that yields is a stream")
        signature = Signature.of(what, query.handler, 1, self._local_names)
        self.queries[attribute] = QuerySpec(query, signature, self._result(what, query.handler))

    def _result(self, what: str, handler: Any) -> Any:
        return type_hints(what, handler, self._local_names).get("return", Any)

    def _refuse_reserved(self, name: str) -> None:
        if reserved(name):
            raise DefinitionError(
                f"{self.owner.__name__}.{name}: the name is the client's or the base class's; choose another"
            )

    # --- identity -------------------------------------------------------------------------------------------------

    def schema(self) -> dict[str, Any]:
        """Everything that gives names to the bytes of a log, as plain data; equal schemas encode alike."""
        return {
            "commands": {
                name: {str(version): signature.described() for version, signature in _versions(spec)}
                for name, spec in sorted(self.commands.items())
            },
            "queries": {name: spec.signature.described() for name, spec in sorted(self.queries.items())},
            "state": self.state_schema(),
            "event": "" if self.event is None else describe(self.event, parameter=True),
        }

    def state_schema(self) -> dict[str, list[str]]:
        """Container name -> [kind, types], scalars together under their own names."""
        state = {spec.name: [spec.kind, spec.schema] for spec in self.containers}
        state.update({name: ["scalar", describe(declared)] for name, (declared, _) in self.scalars.items()})
        return dict(sorted(state.items()))


def _check_previous(owner: type, name: str, version: int, previous: Definition) -> None:
    if previous.name != name:
        raise DefinitionError(f"{owner.__name__}: its previous release is machine {previous.name!r}, not {name!r}")
    if previous.version >= version:
        raise DefinitionError(
            f"{owner.__name__}: version {version} must be above that of its previous release, {previous.version}"
        )


def _check_event(owner: type, event: Any) -> None:
    try:
        describe(event, parameter=True)
    except DefinitionError as error:
        raise DefinitionError(f"{owner.__name__}: its event: {error}") from None


def _context_type(handler: Any, local_names: dict[str, Any]) -> Any:
    name = list(inspect.signature(handler).parameters)[1]
    return type_hints(handler.__name__, handler, local_names).get(name, Any)


def _versions(spec: CommandSpec) -> list[tuple[int, Signature]]:
    old = [(version, step[0]) for version, step in sorted(spec.steps.items())]
    return old if spec.is_retired else [*old, (spec.version, spec.signature)]


def _container(name: str, origin: Any, arguments: tuple[Any, ...]) -> ContainerSpec:
    kind = CONTAINERS[origin]
    wanted = 2 if origin in (Map, SortedMap, Table) else 1
    if len(arguments) != wanted:
        raise DefinitionError(f"{origin.__name__} takes {wanted} type{'s' * (wanted > 1)}: {origin.__name__}[...]")
    if origin is Set:
        key, value, text = arguments[0], None, describe_key(arguments[0])
    elif origin is Queue:
        key, value, text = int, arguments[0], describe(arguments[0])
    elif origin is Table:
        if typing.get_origin(arguments[1]) is not Queue:
            raise DefinitionError("a table's value is a queue: Table[K, Queue[V]]")
        key, value = arguments[0], typing.get_args(arguments[1])[0]
        text = f"{describe_key(key)} -> queue {describe(value)}"
    else:
        key, value = arguments
        text = f"{describe_key(key)} -> {describe(value)}"
    return ContainerSpec(name, kind, key, value, f"{ALGORITHM}; {text}")


def _is_array(declared: Any) -> bool:
    bare = typing.get_args(declared)[0] if typing.get_origin(declared) is typing.Annotated else declared
    return bare is Array


def _array(name: str, declared: Any) -> ContainerSpec:
    columns = [one for one in typing.get_args(declared)[1:] if isinstance(one, Columns)]
    if len(columns) != 1:
        raise DefinitionError('an array is declared with its columns: Annotated[rsm.Array, rsm.Columns(x="int32")]')
    text = columns[0].described()
    import_numpy()
    return ContainerSpec(name, ARRAY_KIND, str, columns[0], f"{ALGORITHM}; {text}")
