"""What requests carry: the arguments of a command or query, by name or by position, and the steps of a pipeline.

Every argument is decoded by itself with the decoder of its declared type, so an error names the argument and the place
in it. `Signature.bind` checks once more what JSON does not know: that integers have 64 bits, that none is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from rsm.errors import InvalidCommand
from rsm.gateway.problems import Problem
from rsm.gateway.shapes import json_type, positional
from rsm.limits import PIPELINE_STEPS_MAX
from rsm.machine.definition import CommandSpec, Definition, QuerySpec
from rsm.machine.values import Signature

__all__ = ["Arguments", "CommandForm", "Forms", "QueryForm", "Reference", "Step", "parse_arguments", "parse_steps"]

# By name or by position; what each is depends on the command.
Arguments = dict[str, msgspec.Raw] | list[msgspec.Raw]
RESULT: Final = "$result"


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """One step of a pipeline. `name`: how later steps may refer to its result, besides by its number."""

    command: str
    arguments: Arguments = {}
    name: str | None = None


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"step": RESULT}):
    """`{"$result": 0, "path": ["order_id"]}`: the result of an earlier step, or a field or element of it."""

    step: int | str
    path: tuple[str | int, ...] = ()


_arguments: Final = msgspec.json.Decoder(Arguments)
_steps: Final = msgspec.json.Decoder(list[Step])
_anything: Final = msgspec.json.Decoder(Any)


class Form:
    """The parameters of a command or query, as JSON has them."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.types = {parameter.name: json_type(parameter.type) for parameter in signature.parameters}
        self._decoders = {
            strict: {name: msgspec.json.Decoder(declared, strict=strict) for name, declared in self.types.items()}
            for strict in (True, False)
        }

    def read(self, arguments: Arguments, *, strings: bool = False) -> list[Any]:
        """Values for the command, in order, checked; `InvalidCommand` names the argument at fault."""
        named = self.named(arguments)
        values = {name: self.decode(name, raw, strings=strings) for name, raw in named.items()}
        return self.signature.bind((), values)

    def named(self, arguments: Arguments) -> dict[str, msgspec.Raw]:
        """The arguments by name; `InvalidCommand` for one that there is not."""
        if isinstance(arguments, list):
            if len(arguments) > self.signature.count:
                what = f"{self.signature.what}: takes {self.signature.count} values, got {len(arguments)}"
                raise InvalidCommand(what)
            return dict(zip(self.signature.names, arguments, strict=False))
        for name in arguments:
            if name not in self.types:
                raise InvalidCommand(f"{self.signature.what}: {name}: unknown field", name)
        return arguments

    def decode(self, name: str, raw: msgspec.Raw, *, strings: bool = False) -> Any:
        """One argument as a plain value."""
        try:
            return positional(self._decoders[not strings][name].decode(raw))
        except msgspec.ValidationError as error:
            raise _invalid(self.signature.what, name, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem("bad-request", f"{name}: not JSON: {error}", field=name) from None

    def refers(self, name: str, raw: msgspec.Raw, steps: Mapping[str | int, Any], *, strings: bool = False) -> Any:
        """The same in a pipeline, where a reference may stand for the argument, or for an element of its array.

        `steps`: what to put in the place of the result of each step so far, by number and by name.
        """
        if RESULT.encode() in bytes(raw):
            try:
                found = _anything.decode(raw)
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise Problem("bad-request", f"{name}: not JSON: {error}", field=name) from None
            if _is_reference(found):
                return self._resolve(name, found, steps)
            if isinstance(found, list) and any(map(_is_reference, found)):
                # What stands beside references is checked, with them, when they are resolved: on the replicas.
                return [self._resolve(name, item, steps) if _is_reference(item) else item for item in found]
        return self.decode(name, raw, strings=strings)

    def _resolve(self, name: str, found: Any, steps: Mapping[str | int, Any]) -> Any:
        try:
            reference = msgspec.convert(found, Reference)
        except msgspec.ValidationError as error:
            raise _invalid(self.signature.what, name, str(error)) from None
        if reference.step not in steps:
            what = f"{self.signature.what}: {name}: {reference.step!r} is no earlier step of this pipeline"
            raise InvalidCommand(what, name)
        result = steps[reference.step]
        for part in reference.path:
            if isinstance(part, str) and part.startswith("_"):
                raise InvalidCommand(f"{self.signature.what}: {name}: no field {part!r}", name)
            result = getattr(result, part) if isinstance(part, str) else result[part]
        return result


class CommandForm(NamedTuple):
    """A command: `method` is its name on a client, which a renamed handler has changed."""

    method: str
    spec: CommandSpec
    form: Form


class QueryForm(NamedTuple):
    """A query."""

    spec: QuerySpec
    form: Form


class Forms:
    """Everything that a machine can be asked, by the names that its log and this gateway use."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.commands = {
            spec.name: CommandForm(method, spec, Form(spec.signature)) for method, spec in definition.methods.items()
        }
        self.queries = {name: QueryForm(spec, Form(spec.signature)) for name, spec in definition.queries.items()}

    def command(self, name: str) -> CommandForm:
        """A command by name; a `Problem` if there is none."""
        if name not in self.commands:
            raise Problem("not-found", self._unknown("command", name, list(self.commands)))
        return self.commands[name]

    def query(self, name: str) -> QueryForm:
        """A query by name; a `Problem` if there is none."""
        if name not in self.queries:
            raise Problem("not-found", self._unknown("query", name, list(self.queries)))
        return self.queries[name]

    def _unknown(self, what: str, name: str, known: list[str]) -> str:
        return f"{self.definition.name} has no {what} {name!r:.80}; there are {', '.join(sorted(known)) or 'none'}"


def parse_arguments(text: bytes) -> Arguments:
    """An object by name or an array by position; nothing at all is no arguments. A `Problem` for anything else."""
    try:
        return _arguments.decode(text) if text.strip() else {}
    except msgspec.ValidationError:
        raise Problem("bad-request", "the arguments are a JSON object by name, or an array by position") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad-request", f"the arguments are not JSON: {error}") from None


def parse_steps(text: bytes) -> list[Step]:
    """The steps of a pipeline; a `Problem` for anything else, or too many, or two of one name."""
    try:
        steps = _steps.decode(text)
    except msgspec.ValidationError as error:
        raise Problem("bad-request", f'a pipeline is an array of {{"command", "arguments", "name"}}: {error}') from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem("bad-request", f"the pipeline is not JSON: {error}") from None
    if len(steps) > PIPELINE_STEPS_MAX:
        raise Problem("too-large", f"a pipeline takes at most {PIPELINE_STEPS_MAX} commands")
    names = [step.name for step in steps if step.name is not None]
    if len(set(names)) != len(names):
        raise Problem("bad-request", "two steps of the pipeline have the same name")
    return steps


def _is_reference(value: Any) -> bool:
    return isinstance(value, dict) and RESULT in value


def _invalid(what: str, name: str, text: str) -> InvalidCommand:
    """msgspec's complaint, with the name of the argument before its path."""
    said, _, place = text.partition(" - at `$")
    return InvalidCommand(f"{what}: {name}{place.removesuffix('`')}: {said}", name)
