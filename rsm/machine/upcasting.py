"""What `@rsm.upcast` and its kin put on a class: one pure step between two versions of a command.

Theory of operation. A step leads from version n of a command to what takes its place. Mostly that is version n + 1: the
step gives its values, as a function or field by field. A *split* puts several commands in its place, each of a version
that is fixed when the step is released, so that the step stays good when these commands move on. A *drop* puts nothing
there, and says what the caller is answered. All of them run when the command is applied, inside its rollback scope, on
every replica; so they may use nothing but the values, and, where they say so, the state at that index.

A downcast goes the other way, in a client that is newer than its cluster. The steps of a machine are put together and
verified in `rsm.machine.chains`.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from rsm.errors import DefinitionError, InvalidCommand
from rsm.limits import UPCAST_PARTS_MAX
from rsm.machine.values import MISSING, Parameter, Signature, parameter_of
from rsm.state.types import PLAIN, describe

if TYPE_CHECKING:
    from rsm.machine.definition import CommandSpec

VALUES: Final = "values"
SPLIT: Final = "split"
DROP: Final = "drop"


class Split:
    """Several commands in the place of one: what an upcaster returns that leads to more than one. See `rsm.split`."""

    __slots__ = ("answers", "parts")

    def __init__(self, parts: tuple[tuple[Any, ...], ...], answers: int) -> None:
        self.parts = parts
        self.answers = answers

    def __repr__(self) -> str:
        return f"rsm.split({', '.join(map(repr, self.parts))}, answers={self.answers})"


class Drop:
    """Nothing in the place of a command: what an upcaster returns that leads nowhere. See `rsm.drop`."""

    __slots__ = ("result",)

    def __init__(self, result: Any) -> None:
        self.result = result

    def __repr__(self) -> str:
        return f"rsm.drop({self.result!r})"


class Parts:
    """A split with its commands found: what is to run, in order, as (command, version, values)."""

    __slots__ = ("answers", "parts")

    def __init__(self, parts: list[tuple[CommandSpec, int, tuple[Any, ...]]], answers: int) -> None:
        self.parts = parts
        self.answers = answers


def split(*parts: tuple[Any, ...], answers: int) -> Split:
    """What an upcaster returns to put several commands in the place of one: each is a tuple of a name and its values.

    They run in order, at the index and position of the old command, all or none: if one is rejected, nothing is kept,
    and its rejection is the answer. Else the result of part number `answers` (from 0) is.

        @rsm.upcast("replace", from_version=1, into={"cancel": 1, "place": 2})
        def replace_as_two(order_id: int, side: Side, price: int, quantity: int) -> rsm.Split:
            return rsm.split(("cancel", order_id), ("place", side, price, quantity), answers=1)
    """
    return Split(parts, answers)


def drop(result: Any = None) -> Drop:
    """What an upcaster returns to put nothing in the place of a command: nothing runs, `result` is the answer.

    @rsm.upcast("ping", from_version=1)
    def ping_is_gone(note: str) -> rsm.Drop:
        return rsm.drop("pong")
    """
    return Drop(result)


class Upcaster:
    """One pure step from a version of a command to what takes its place."""

    def __init__(
        self, step: Callable[..., Any], command: str, from_version: int, into: Mapping[str, int], reads_state: bool
    ) -> None:
        self.step = step.__func__ if isinstance(step, staticmethod) else step
        self.command = command
        self.from_version = from_version
        self.into = dict(into)
        self.reads_state = reads_state
        # Known when the machine's class is created:
        self.forms: frozenset[str] = frozenset((VALUES,))
        self.targets: dict[str, tuple[CommandSpec, int]] = {}

    def parts_of(self, ending: Split) -> Parts:
        """The commands of a split, found. `TypeError` or `ValueError` for one that is not as it was declared."""
        if SPLIT not in self.forms:
            raise TypeError(f"{self} returned a split, which it does not declare")
        parts = ending.parts
        if not 0 < len(parts) <= UPCAST_PARTS_MAX:
            raise ValueError(f"{self} splits into {len(parts)} commands: it may be 1 to {UPCAST_PARTS_MAX}")
        if type(ending.answers) is not int or not 0 <= ending.answers < len(parts):
            raise ValueError(f"{self} has {len(parts)} parts: part {ending.answers!r} cannot answer")
        found = []
        for part in parts:
            target = self.targets.get(part[0]) if type(part) is tuple and part else None
            if target is None:
                raise ValueError(f"{self} splits into {part!r:.80}, which its `into` does not name")
            found.append((*target, part[1:]))
        return Parts(found, ending.answers)

    def check(self, value: Any) -> None:
        """`TypeError` unless what a step returned, which is no split, is of a form that it declares."""
        form = DROP if type(value) is Drop else VALUES if isinstance(value, (tuple, list)) else ""
        if form not in self.forms:
            raise TypeError(f"{self} returned {type(value).__name__}, which it does not declare")

    def __repr__(self) -> str:
        if self.into:
            whither = ", ".join(f"{name} v{version}" for name, version in self.into.items())
        else:
            whither = f"v{self.from_version + 1}"
        return f"<upcaster {self.command} v{self.from_version} -> {whither}>"


class FieldsUpcaster(Upcaster):
    """A step that says field by field where the values of the next version come from."""

    def __init__(
        self,
        command: str,
        from_version: int,
        old: Mapping[str, Any],
        rename: Mapping[str, str],
        default: Mapping[str, Any],
        convert: Mapping[str, Callable[[Any], Any]],
        remove: Collection[str],
    ) -> None:
        super().__init__(_not_linked, command, from_version, {}, False)
        self.old = dict(old)
        self.rename = dict(rename)
        self.default = dict(default)
        self.convert = dict(convert)
        self.remove = frozenset((remove,) if isinstance(remove, str) else remove)
        self.is_exact = True  # what it gives is what the next version's decoder would give

    def signature(self) -> Signature:
        """The schema of the old version."""
        return Signature(repr(self), [parameter_of(repr(self), name, declared) for name, declared in self.old.items()])

    def link(self, following: Signature) -> None:
        """Make the step that leads to this schema; `DefinitionError` says which field has no place."""
        here, there = f"version {self.from_version}", f"version {self.from_version + 1}"
        known = set(following.names)
        for name, new in self.rename.items():
            if name not in self.old:
                raise DefinitionError(f"{self}: renames {name!r}, which {here} does not have")
            if new not in known:
                raise DefinitionError(f"{self}: renames {name!r} to {new!r}, which {there} does not have")
        sources = {self.rename.get(name, name): name for name in self.old if name not in self.remove}
        if len(sources) < len(self.old.keys() - self.remove):
            raise DefinitionError(f"{self}: two fields of {here} have one name in {there}: rename only one to it")
        for what, given in (("gives a default to", self.default), ("converts", self.convert)):
            for name in given:
                if name not in known:
                    raise DefinitionError(f"{self}: {what} {name!r}, which {there} does not have")
        for name in sorted(self.remove):
            if name not in self.old:
                raise DefinitionError(f"{self}: removes {name!r}, which {here} does not have")
        for new, name in sources.items():
            if new not in known:
                raise DefinitionError(f"{self}: {name!r} of {here} goes nowhere: rename it, or remove=({name!r},)")
        terms, names = [], dict[str, Any]()
        numbers = {name: number for number, name in enumerate(self.old)}
        for number, parameter in enumerate(following.parameters):
            if parameter.name in sources:
                term = f"v{numbers[sources[parameter.name]]}"
                if parameter.name in self.convert:
                    self.is_exact = False
                    names[f"convert{number}"] = self._converter(parameter.name)
                    term = f"convert{number}({term})"
                else:
                    self._check_kept(sources[parameter.name], parameter)
                if parameter.name in self.default:
                    raise DefinitionError(f"{self}: gives a default to {parameter.name!r}, which {here} has")
            else:
                names[f"default{number}"] = self._default(parameter)
                term = f"default{number}"
            terms.append(f"{term},")
        # One expression, made as `dataclasses` makes its methods: old logs replay at nearly the speed of new ones.
        text = f"lambda {', '.join(f'v{number}' for number in range(len(self.old)))}: ({' '.join(terms)})"
        self.step = eval(compile(text, f"{self}", "eval"), names)

    def _converter(self, name: str) -> Callable[[Any], Any]:
        converter = self.convert[name]
        if not callable(converter):
            raise DefinitionError(f"{self}: converts {name!r} with {converter!r}, which cannot be called")
        return converter

    def _check_kept(self, name: str, parameter: Parameter) -> None:
        if self.old[name] == parameter.type:
            return
        # Whatever else differs (a bound, an enum's members) is checked value by value when a command is applied.
        self.is_exact = False
        texts = [describe(declared, parameter=True) for declared in (self.old[name], parameter.type)]
        if texts[0] != texts[1] and set(texts) <= set(PLAIN.values()):
            raise DefinitionError(
                f"{self}: {name!r} is {texts[0]}, {parameter.name!r} of version {self.from_version + 1} is {texts[1]}: "
                f"give convert={{{parameter.name!r}: ...}}"
            )

    def _default(self, parameter: Parameter) -> Any:
        if parameter.name not in self.default:
            raise DefinitionError(
                f"{self}: {parameter.name!r} of version {self.from_version + 1} comes from nowhere: rename a field to "
                f"it, or give default={{{parameter.name!r}: ...}}"
            )
        signature = Signature(f"{self}: the default of", [parameter._replace(default=MISSING)])
        try:
            plain = signature.bind((self.default[parameter.name],), {})
        except InvalidCommand as error:
            raise DefinitionError(str(error)) from None
        (value,) = signature.decode(signature.encode(plain))
        if type(value) not in PLAIN and not isinstance(value, enum.Enum):  # a list would be the same for all commands
            self.is_exact = False
        return value


class Downcaster:
    """One pure step from a version of a command to the one before, in a client that is newer than its cluster."""

    def __init__(self, step: Callable[..., Any], command: str, to_version: int, is_lossless: bool) -> None:
        self.step = step.__func__ if isinstance(step, staticmethod) else step
        self.command = command
        self.to_version = to_version
        self.is_lossless = is_lossless

    def __repr__(self) -> str:
        return f"<downcaster {self.command} v{self.to_version + 1} -> v{self.to_version}>"


def upcast(
    command_name: str, *, from_version: int, into: Mapping[str, int] | None = None, reads_state: bool = False
) -> Callable[[Callable[..., tuple[Any, ...] | Split | Drop]], Any]:
    """Make a function the step from one version of a command to what takes its place, on plain values.

    Its annotated parameters are the old schema, its `tuple[...]` result the values of the next version:

        @rsm.upcast("deposit", from_version=1)
        def deposit_in_dollars(to: str, dollars: int) -> tuple[str, int]:
            return to, dollars * 100

    Where fields are only renamed, added or converted, `rsm.upcast_fields` says it in one line. A result `-> rsm.Split`
    puts several commands in its place, `into` names them with the versions of their values; `-> rsm.Drop` puts nothing
    there. A step may return one or the other: `-> tuple[str, int] | rsm.Drop`. A command whose last step does neither
    lead to a version nor need one may have no handler any more.

    `reads_state`: its first parameter is `self`, the machine at the command's index, to be read and not written. Such a
    step can run only where commands are applied.
    """
    _check_version("upcaster", command_name, "from_version", from_version)

    def decorate(step: Callable[..., tuple[Any, ...] | Split | Drop]) -> Any:
        return Upcaster(step, command_name, from_version, into or {}, reads_state)

    return decorate


def upcast_fields(
    command_name: str,
    *,
    from_version: int,
    old: Mapping[str, Any],
    rename: Mapping[str, str] | None = None,
    default: Mapping[str, Any] | None = None,
    convert: Mapping[str, Callable[[Any], Any]] | None = None,
    remove: Collection[str] = (),
) -> Any:
    """The step from one version of a command to the next, field by field; assign it to a name in the class.

    `old`: the fields of the old version with their types, in order. `rename`: old name to new name. `convert`: new name
    to a pure function of the old value. `default`: the value of a field that the old version does not have. `remove`:
    old fields that are not wanted any more. Every other field keeps its name and value.

        place_in_ticks = rsm.upcast_fields(
            "place",
            from_version=1,
            old={"side": Side, "px": str, "quantity": int},
            rename={"px": "price"},
            convert={"price": to_ticks},
            default={"time_in_force": TimeInForce.GOOD_TILL_CANCEL},
        )

    `DefinitionError`, when the class is created, for a field that goes nowhere or comes from nowhere.
    """
    _check_version("upcaster", command_name, "from_version", from_version)
    return FieldsUpcaster(command_name, from_version, old, rename or {}, default or {}, convert or {}, remove)


def downcast(
    command_name: str, *, to_version: int, lossless: bool = False
) -> Callable[[Callable[..., tuple[Any, ...]]], Any]:
    """Make a function the step from a command's next version back to `to_version`, for clients of an older cluster.

    Its annotated parameters are those of version `to_version + 1`, its `tuple[...]` result the values of `to_version`.
    What the old version cannot say it refuses: `raise rsm.InvalidCommand("...")`, and nothing is sent.

        @rsm.downcast("deposit", to_version=1)
        def deposit_in_whole_dollars(to: str, cents: int) -> tuple[str, int]:
            if cents % 100:
                raise rsm.InvalidCommand("the cluster takes whole dollars only until it is upgraded", "cents")
            return to, cents // 100

    `lossless`: it undoes the upcaster from `to_version` exactly; `rsm.testing.check_upcasters` holds it to that.
    """
    _check_version("downcaster", command_name, "to_version", to_version)

    def decorate(step: Callable[..., tuple[Any, ...]]) -> Any:
        return Downcaster(step, command_name, to_version, lossless)

    return decorate


def _check_version(what: str, command: str, name: str, version: Any) -> None:
    if type(version) is not int:
        raise DefinitionError(f"{what} of {command}: {name} must be an int from 1, not {version!r}")


def _not_linked(*_: Any) -> Any:
    raise TypeError("this step belongs to no machine's class")


__all__ = [
    "DROP",
    "SPLIT",
    "VALUES",
    "Downcaster",
    "Drop",
    "FieldsUpcaster",
    "Parts",
    "Split",
    "Upcaster",
    "downcast",
    "drop",
    "split",
    "upcast",
    "upcast_fields",
]
