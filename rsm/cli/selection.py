"""Which commands of a log are asked for: by index, name, and the values of their fields."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

import click

from rsm.cli.errors import Unreadable
from rsm.cli.output import plain
from rsm.replica.naming import Call, Item, Names

__all__ = ["Condition", "Selection", "parse_conditions"]


class Condition(NamedTuple):
    """A field, and the value it is to have: as text, and as canonical JSON where the text is JSON."""

    field: str
    text: str
    canonical: str | None

    def holds(self, value: Any) -> bool:
        """Whether a value (plain data) is the one: equal as JSON, type for type, or equal as text."""
        if type(value) is str and value == self.text:
            return True
        return self.canonical is not None and canonical(value) == self.canonical


def canonical(value: Any) -> str:
    """Equal texts for equal JSON values; `1`, `1.0` and `true` differ."""
    return json.dumps(value, sort_keys=True)


def parse_conditions(_: click.Context, __: click.Parameter, texts: Sequence[str]) -> tuple[Condition, ...]:
    """A click callback for --where."""
    conditions = []
    for text in texts:
        field, equals, value = text.partition("=")
        if not field or not equals:
            raise click.BadParameter(f"{text!r} is not FIELD=VALUE, such as price=100")
        try:
            form: str | None = canonical(json.loads(value))
        except (ValueError, RecursionError):
            form = None
        conditions.append(Condition(field, value, form))
    return tuple(conditions)


class Selection:
    """What `log cat` shows. Remembers which of its words fitted anything, so that a misspelt one is an error."""

    def __init__(self, commands: Sequence[str], conditions: Sequence[Condition], *, shows_system: bool) -> None:
        self.commands = frozenset(commands)
        self.conditions = conditions
        self.shows_system = shows_system
        self._needles = [name.encode() for name in commands]
        self._met_commands: set[str] = set()
        self._met_fields: set[str] = set()

    def may_match(self, payload: bytes) -> bool:
        """A quick look at a batch: False if no command in it can be one that is asked for."""
        return not self._needles or any(needle in payload for needle in self._needles)

    def matches(self, item: Item) -> bool:
        """Whether an item is to be shown: a pipeline is, when one of its steps is."""
        if item.call is None:
            return self.shows_system and not self.commands and not self.conditions
        if item.call.name in self.commands:
            self._met_commands.add(item.call.name)
            if item.steps is not None and not self.conditions:
                return True
        if item.is_system and not self.shows_system and not self.commands:
            return False
        # Every call is looked at, so that the words it met are noted.
        fitting = [call for call in item.calls if self._fits(call)]
        return bool(fitting)

    def _fits(self, call: Call) -> bool:
        if self.commands:
            if call.name not in self.commands:
                return False
            self._met_commands.add(call.name)
        fits = True
        for condition in self.conditions:
            if condition.field in call.values:
                self._met_fields.add(condition.field)
                fits = fits and condition.holds(plain(call.values[condition.field]))
            else:
                fits = False
        return fits

    def check_words(self, path: str, names: Names) -> None:
        """After the log was read: `Unreadable` for a command or field that neither occurs nor was ever declared."""
        for name in sorted(self.commands - self._met_commands):
            if not names.knows(name):
                known = ", ".join(names.commands()) or "none that it declares"
                raise Unreadable(f"{path}: there is no command {name!r} in this log; it has {known}")
        declared = names.field_names(self.commands)
        for condition in self.conditions:
            if condition.field not in self._met_fields and condition.field not in declared:
                known = (
                    f"there are {', '.join(declared)}"
                    if declared
                    else "none is declared here; by position they are 0, 1"
                )
                raise Unreadable(f"{path}: no command has a field {condition.field!r}; {known}")
