"""What requests carry: the arguments of a command or query, by name or by position, and the steps of a pipeline.

Every argument is decoded by itself with the decoder of its declared type, so an error names the argument and the place
in it. `Signature.bind` checks once more what JSON does not know: that integers have 64 bits, that none is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, NamedTuple, get_args, get_origin

import msgspec

from rsm.errors import InvalidCommand
from rsm.gateway.problems import Problem
from rsm.gateway.shapes import UNIONS, json_type, positional
from rsm.limits import CLIENT_FRAME_ITEMS_MAX, NESTING_DEPTH_MAX, PIPELINE_STEPS_MAX
from rsm.machine.definition import CommandSpec, Definition, QuerySpec
from rsm.machine.values import Signature

__all__ = ["Arguments", "CommandForm", "Forms", "QueryForm", "Reference", "Step", "parse_arguments", "parse_steps"]

# By name or by position; what each is depends on the command.
Arguments = dict[str, msgspec.Raw] | list[msgspec.Raw]
RESULT: Final = "$result"
# Results nest no deeper than what can be stored.
PATH: Final = msgspec.Meta(max_length=NESTING_DEPTH_MAX)


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """One step of a pipeline. `name`: how later steps may refer to its result, besides by its number."""

    command: str
    arguments: Arguments = {}
    name: str | None = None


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"step": RESULT}):
    """`{"$result": 0, "path": ["order_id"]}`: the result of an earlier step, or a field or element of it."""

    step: int | str
    path: Annotated[tuple[str | Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)], ...], PATH] = ()


_arguments: Final = msgspec.json.Decoder(Arguments)
_steps: Final = msgspec.json.Decoder(list[Step])
_reference: Final = msgspec.json.Decoder(Reference)


class Form:
    """The parameters of a command or query, as JSON has them."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.types = {parameter.name: json_type(parameter.type) for parameter in signature.parameters}
        self._decoders = {
            strict: {name: msgspec.json.Decoder(declared, strict=strict) for name, declared in self.types.items()}
            for strict in (True, False)
        }
        self._element_decoders = {
            strict: {
                name: [msgspec.json.Decoder(one, strict=strict) for one in _element_types(declared)]
                for name, declared in self.types.items()
            }
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
        return positional(self._decode(self._decoders[not strings][name], name, raw))

    def _decode(self, decoder: msgspec.json.Decoder[Any], name: str, raw: msgspec.Raw, place: str = "") -> Any:
        try:
            return decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise _invalid(self.signature.what, name, place, str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Problem("bad-request", f"{name}: not JSON: {error}", field=name) from None

    def refers(self, name: str, raw: msgspec.Raw, steps: Mapping[str | int, Any], *, strings: bool = False) -> Any:
        """The same in a pipeline, where a reference may stand for the argument, or for an element of its array.

        `steps`: what to put in the place of the result of each step so far, by number and by name.
        """
        parts = _parts(raw)
        if isinstance(parts, dict) and RESULT in parts:
            return self._resolve(name, raw, steps)
        if not (isinstance(parts, list) and any(map(_is_reference, parts))):
            return self.decode(name, raw, strings=strings)
        if len(parts) > CLIENT_FRAME_ITEMS_MAX:
            raise Problem("too-large", f"{name}: more than {CLIENT_FRAME_ITEMS_MAX} elements", field=name)
        # Whether they are as many as they should be is checked where references are resolved: on the replicas.
        decoders = self._element_decoders[not strings][name]
        return [
            self._resolve(name, part, steps, f"[{number}]")
            if _is_reference(part)
            else positional(self._decode(decoders[min(number, len(decoders) - 1)], name, part, f"[{number}]"))
            for number, part in enumerate(parts)
        ]

    def _resolve(self, name: str, raw: msgspec.Raw, steps: Mapping[str | int, Any], place: str = "") -> Any:
        reference: Reference = self._decode(_reference, name, raw, place)
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


def _parts(raw: msgspec.Raw) -> Arguments | None:
    """The parts of an object or array in which a reference may stand: nothing else of it is looked at."""
    if RESULT.encode() not in bytes(raw):
        return None
    try:
        parts: Arguments = _arguments.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return parts


def _is_reference(raw: msgspec.Raw) -> bool:
    parts = _parts(raw)
    return isinstance(parts, dict) and RESULT in parts


def _element_types(declared: Any) -> list[Any]:
    """The types of an array's elements by position, the last one for all that follow; of anything, if it is none."""
    while get_origin(declared) is Annotated:
        declared = get_args(declared)[0]
    if get_origin(declared) in UNIONS:
        declared = next((part for part in get_args(declared) if get_origin(part) in (tuple, list)), Any)
    parts = [part for part in get_args(declared) if part is not Ellipsis]
    return parts if parts and get_origin(declared) in (tuple, list) else [Any]


def _invalid(what: str, name: str, place: str, text: str) -> InvalidCommand:
    """msgspec's complaint, with the name of the argument (and the place in it that was decoded) before its path."""
    said, _, path = text.partition(" - at `$")
    return InvalidCommand(f"{what}: {name}{place}{path.removesuffix('`')}: {said}", name)
