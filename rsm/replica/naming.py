"""Commands of a log by name and field, without the code of their machine.

The names come from the log itself: every `rsm.activate` declares, for each version of each command, its fields. A log
that begins after a snapshot takes the names from that snapshot's manifest. Where no names are known (a cut-out piece of
a log) a field is called by its position, from 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, Final, NamedTuple

from rsm.codec.record import Entry, RecordKind
from rsm.replica import batch
from rsm.replica.batch import Batch, decode_batch

SYSTEM_PREFIX: Final = "rsm."
SYSTEM_FIELDS: Final = {
    batch.ACTIVATE: ("machine", "version", "schema", "seed"),
    batch.OPEN_SESSION: ("principal", "ttl_nanoseconds"),
    batch.CLOSE_SESSION: ("session",),
    batch.KEEP_ALIVE: (),
    batch.PIPELINE: ("steps",),
    batch.OUTCOME: ("key", "sent_after"),
    batch.CONFIRMED: ("index", "root"),
    batch.CURSOR: ("cursor", "event"),
}
# Session, sequence, lowest unanswered, name, version.
HEAD_TYPES: Final = [int, int, int, str, int]


class Names:
    """Field names by command and version, as declared so far. Declarations add up, so that old versions stay known."""

    def __init__(self) -> None:
        self.machine: str | None = None
        self.version: int | None = None
        self.schema: dict[str, Any] = {}
        self._fields: dict[tuple[str, int], tuple[str, ...]] = {}

    def declare(self, machine: Any, version: Any, schema: Any) -> None:
        """Take over what an activation or a manifest declares; what is not a schema declares nothing."""
        if type(machine) is str and type(version) is int and type(schema) is dict:
            self.machine, self.version, self.schema = machine, version, schema
            for name, versions in _mapping(schema.get("commands")).items():
                for number, fields in _mapping(versions).items():
                    if str(number).isdecimal() and type(fields) is list:
                        self._fields[str(name), int(number)] = tuple(_field_name(field) for field in fields)

    def activate(self, values: Any) -> None:
        """Take over the values of an `rsm.activate`."""
        if type(values) is list and len(values) >= 3:
            self.declare(*values[:3])

    def commands(self) -> list[str]:
        """The names of the commands declared, sorted."""
        return sorted({name for name, _ in self._fields})

    def knows(self, name: str) -> bool:
        """Whether a command of this name was declared, or is one of the system's own."""
        return name in SYSTEM_FIELDS or any(name == known for known, _ in self._fields)

    def field_names(self, commands: Collection[str]) -> list[str]:
        """The names of the fields of these commands (of all that were declared, if there are none), sorted."""
        fields = {field for (name, _), of in self._fields.items() if not commands or name in commands for field in of}
        return sorted(fields.union(*(SYSTEM_FIELDS.get(name, ()) for name in commands)))

    def fields(self, name: str, version: int, values: Any) -> dict[str, Any]:
        """Values by field name; by position where there is no name for one."""
        if type(values) is not list:
            return {"values": values}
        names = SYSTEM_FIELDS.get(name) or self._fields.get((name, version), ())
        if len(names) != len(values):
            names = (*names, *map(str, range(len(names), len(values))))
        return dict(zip(names, values, strict=False))


def _mapping(value: Any) -> dict[Any, Any]:
    return value if type(value) is dict else {}


def _field_name(field: Any) -> str:
    return str(field[0]) if type(field) is list and field else str(field)


class Call(NamedTuple):
    """One command with its values by field: an item of a batch or a step of a pipeline. `version` 0: malformed."""

    name: str
    version: int
    values: dict[str, Any]


class Item(NamedTuple):
    """One item of a batch, or an entry without any (`call` is None). `steps` are those of a pipeline."""

    entry: Entry
    batch: Batch | None
    position: int | None
    session: int | None
    sequence: int | None
    key: str | None
    call: Call | None
    steps: list[Call] | None = None

    @property
    def calls(self) -> list[Call]:
        """The commands in it: itself, or its steps."""
        return ([] if self.call is None else [self.call]) if self.steps is None else self.steps

    @property
    def is_system(self) -> bool:
        """Whether it is the system's own. A pipeline is not: it holds commands of a client."""
        return self.call is None or (self.call.name.startswith(SYSTEM_PREFIX) and self.steps is None)


def items_of(entry: Entry, names: Names) -> Iterator[Item]:
    """The items of an entry in order; one without a call for an entry that has none. Activations are taken over.

    `BadBytes` if a batch is not one.
    """
    if entry.kind is not RecordKind.BATCH:
        yield Item(entry, None, None, None, None, None, None)
        return
    decoded = decode_batch(entry.payload)
    if not decoded.items:
        yield Item(entry, decoded, None, None, None, None, None)
    for position, item in enumerate(decoded.items):
        yield _item(entry, decoded, position, item, names)


def _item(entry: Entry, decoded: Batch, position: int, item: Any, names: Names) -> Item:
    if not is_item(item):
        return Item(entry, decoded, position, None, None, None, Call("(malformed)", 0, {"item": item}))
    session, sequence, _, name, version, values = item[:6]
    key = item[6] if len(item) == 7 else None
    if name == batch.ACTIVATE:
        names.activate(values)
    if name == batch.PIPELINE and type(values) is list:
        steps = [_step(step, names) for step in values]
        return Item(entry, decoded, position, session, sequence, key, Call(name, version, {}), steps)
    call = Call(name, version, names.fields(name, version, values))
    return Item(entry, decoded, position, session, sequence, key, call)


def is_item(item: Any) -> bool:
    """Whether this is an item of a batch as clients send them: session, sequence, lowest, name, version, values."""
    if type(item) is not list or len(item) not in (6, 7):
        return False
    return [type(value) for value in item[:5]] == HEAD_TYPES and (len(item) == 6 or type(item[6]) is str)


def is_step(step: Any) -> bool:
    """Whether this is a step of a pipeline: name, version, values."""
    return type(step) is list and len(step) == 3 and type(step[0]) is str and type(step[1]) is int


def _step(step: Any, names: Names) -> Call:
    if is_step(step):
        return Call(step[0], step[1], names.fields(*step))
    return Call("(malformed)", 0, {"step": step})
