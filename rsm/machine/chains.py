"""The chains that upcasters make: put together and verified when a machine's class is created.

Every version of a command has at most one step, to what takes its place. A chain is good when each of its steps finds
what it leads to, gives as many values as that takes, and when following steps always ends at handlers. What is wrong is
a `DefinitionError` that names the step, or the command and version where something is missing, and says what to do.
"""

from __future__ import annotations

import copy
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from rsm.errors import DefinitionError
from rsm.machine.upcasting import DROP, SPLIT, VALUES, Downcaster, Drop, FieldsUpcaster, Split, Upcaster
from rsm.machine.values import UNIONS, Signature, fingerprint_seed, type_hints

if TYPE_CHECKING:
    from rsm.machine.definition import CommandSpec

__all__ = ["Chain", "Commands", "Link", "link", "link_downcasters"]

Commands = dict[str, "CommandSpec"]


# One step of a chain: the upcaster; whether it reads the state, may give values, and gives what needs no other check;
# and the decoder of what it leads to. A plain tuple, which Python takes apart much faster than one with names.
Link = tuple[Upcaster, bool, bool, bool, Callable[[bytes], tuple[Any, ...]]]


class Chain:
    """How commands of one old version are brought on."""

    __slots__ = ("decode", "fingerprint_seed", "links")

    def __init__(self, seed: int, decode: Callable[[bytes], tuple[Any, ...]], links: tuple[Link, ...]) -> None:
        self.fingerprint_seed = seed
        self.decode = decode
        self.links = links


def link(
    commands: Commands,
    upcasters: list[Upcaster],
    local_names: dict[str, Any],
    retire: Callable[[str, int], CommandSpec],
) -> None:
    """Give every command its steps and chains. `retire` makes the command that has only old versions left."""
    upcasters = [_own(upcaster) for upcaster in upcasters]
    _find_commands(commands, upcasters, local_names, retire)
    for spec in commands.values():
        if spec.steps:
            _verify_chain(spec, local_names)
    for spec in commands.values():
        for _, upcaster in spec.steps.values():
            _find_targets(commands, upcaster)
    _refuse_circles(commands)
    for spec in commands.values():
        for version in spec.steps:
            links = tuple(_link_from(spec, number) for number in range(version, spec.version))
            decode = spec.steps[version][0].decode_packed
            spec.chains[version] = Chain(fingerprint_seed(spec.name, version), decode, links)


def _link_from(spec: CommandSpec, version: int) -> Link:
    upcaster = spec.steps[version][1]
    decode = spec.steps[version + 1][0].decode_packed if version + 1 in spec.steps else spec.decode
    is_exact = isinstance(upcaster, FieldsUpcaster) and upcaster.is_exact
    return upcaster, upcaster.reads_state, VALUES in upcaster.forms, is_exact, decode


def _own(upcaster: Upcaster) -> Upcaster:
    """The step for one class: where it leads to is that class's, and releases may share a step through a mixin."""
    own = copy.copy(upcaster)
    own.targets = {}
    return own


def _find_commands(
    commands: Commands,
    upcasters: list[Upcaster],
    local_names: dict[str, Any],
    retire: Callable[[str, int], CommandSpec],
) -> None:
    last: dict[str, Upcaster] = {}
    for upcaster in upcasters:
        upcaster.forms = _forms(upcaster, local_names)
        if upcaster.command not in last or upcaster.from_version > last[upcaster.command].from_version:
            last[upcaster.command] = upcaster
    for name, upcaster in last.items():
        if name not in commands:
            if VALUES in upcaster.forms:
                raise DefinitionError(
                    f"{upcaster}: there is no command {name!r}: declare it in version {upcaster.from_version + 1}, or "
                    f"let this step return rsm.Split or rsm.Drop"
                )
            commands[name] = retire(name, upcaster.from_version + 1)
    for upcaster in upcasters:
        spec = commands[upcaster.command]
        if not 1 <= upcaster.from_version < spec.version:
            raise DefinitionError(
                f"{upcaster}: command {spec.name!r} is at version {spec.version}: a step begins at one of the versions "
                f"before it, from 1"
            )
        if upcaster.from_version in spec.steps:
            raise DefinitionError(f"{upcaster}: declared twice: a version has one step; delete one")
        spec.steps[upcaster.from_version] = (_signature(upcaster, local_names), upcaster)


def _signature(upcaster: Upcaster, local_names: dict[str, Any]) -> Signature:
    if isinstance(upcaster, FieldsUpcaster):
        return upcaster.signature()
    first = next(iter(inspect.signature(upcaster.step).parameters.values()), None)
    has_self = first is not None and first.name == "self" and first.annotation is first.empty
    if has_self and not upcaster.reads_state:
        raise DefinitionError(
            f"{upcaster}: parameter 'self' has no type: a step sees the values only; one that must see the state says "
            f"reads_state=True"
        )
    if upcaster.reads_state and not has_self:
        raise DefinitionError(f"{upcaster}: reads_state=True: its first parameter is self, without a type")
    return Signature.of(f"{upcaster}", upcaster.step, int(upcaster.reads_state), local_names)


def _forms(upcaster: Upcaster, local_names: dict[str, Any]) -> frozenset[str]:
    if isinstance(upcaster, FieldsUpcaster):
        return frozenset((VALUES,))
    forms = set()
    for part in _results(upcaster, upcaster.step, local_names):
        if part is Split:
            forms.add(SPLIT)
        elif part is Drop:
            forms.add(DROP)
        else:
            forms.add(VALUES)
    if upcaster.into and SPLIT not in forms:
        raise DefinitionError(f"{upcaster}: has into=..., so declare its result: -> rsm.Split")
    if SPLIT in forms and not upcaster.into:
        raise DefinitionError(f"{upcaster}: say into which commands it splits: into={{name: version, ...}}")
    return frozenset(forms)


def _results(step: Upcaster | Downcaster, function: Callable[..., Any], local_names: dict[str, Any]) -> list[Any]:
    result = type_hints(repr(step), function, local_names).get("return")
    return list(typing.get_args(result)) if typing.get_origin(result) in UNIONS else [result]


# --- one chain --------------------------------------------------------------------------------------------------------


def _verify_chain(spec: CommandSpec, local_names: dict[str, Any]) -> None:
    for version in range(min(spec.steps), spec.version):
        if version not in spec.steps:
            raise DefinitionError(
                f"command {spec.name}: the chain of upcasters has a gap: nothing leads from version {version} to "
                f"{version + 1}: add @rsm.upcast({spec.name!r}, from_version={version})"
            )
    for version, (_, upcaster) in sorted(spec.steps.items()):
        if VALUES not in upcaster.forms:
            continue
        following = spec.steps[version + 1][0] if version + 1 in spec.steps else spec.signature
        if isinstance(upcaster, FieldsUpcaster):
            upcaster.link(following)
        else:
            results = _results(upcaster, upcaster.step, local_names)
            _check_count(upcaster, results, following.count, version + 1)


def _check_count(step: Upcaster | Downcaster, results: list[Any], wanted: int, version: int) -> None:
    for result in results:
        if result is Split or result is Drop:
            continue
        parts = typing.get_args(result)
        if Ellipsis in parts or (typing.get_origin(result) is not tuple and result is not tuple):
            raise DefinitionError(f"{step}: declare its result: -> tuple[...] with the {wanted} values of v{version}")
        returned = 0 if parts == ((),) else len(parts)
        if returned != wanted:
            raise DefinitionError(f"{step}: gives {returned} values, version {version} takes {wanted}")


# --- splits -----------------------------------------------------------------------------------------------------------


def _find_targets(commands: Commands, upcaster: Upcaster) -> None:
    for name, version in upcaster.into.items():
        spec = commands.get(name)
        if spec is None:
            raise DefinitionError(
                f"{upcaster}: splits into {name!r}, and there is no such command: name one of this machine, or one "
                f"that its upcasters still know"
            )
        if type(version) is not int or spec.signature_at(version) is None:
            known = ", ".join(map(str, sorted([*spec.steps, *([] if spec.is_retired else [spec.version])])))
            raise DefinitionError(
                f"{upcaster}: splits into {name!r} of version {version!r}, which nothing leads on from: "
                f"known are {known}"
            )
        upcaster.targets[name] = (spec, version)


def _refuse_circles(commands: Commands) -> None:
    good: set[tuple[str, int]] = set()
    for spec in commands.values():
        for version in sorted(spec.steps):
            _follow(commands, (spec.name, version), [], good)


def _follow(commands: Commands, at: tuple[str, int], way: list[tuple[str, int]], good: set[tuple[str, int]]) -> None:
    if at in way:
        circle = " -> ".join(f"{name} v{version}" for name, version in [*way[way.index(at) :], at])
        raise DefinitionError(
            f"{commands[at[0]].steps[at[1]][1]}: upcasters lead in a circle, {circle}: split into later versions, "
            f"which end at a handler"
        )
    if at in good:
        return
    for following in _following(commands, at):
        _follow(commands, following, [*way, at], good)
    good.add(at)


def _following(commands: Commands, at: tuple[str, int]) -> Iterator[tuple[str, int]]:
    name, version = at
    step = commands[name].steps.get(version)
    if step is not None:
        if VALUES in step[1].forms:
            yield name, version + 1
        yield from step[1].into.items()


# --- the other way ----------------------------------------------------------------------------------------------------


def link_downcasters(commands: Commands, downcasters: list[Downcaster], local_names: dict[str, Any]) -> None:
    """Give every command its steps to older versions."""
    for downcaster in downcasters:
        spec = commands.get(downcaster.command)
        if spec is None or spec.is_retired:
            raise DefinitionError(f"{downcaster}: there is no command {downcaster.command!r}: delete it")
        to_version = downcaster.to_version
        if not 1 <= to_version < spec.version:
            raise DefinitionError(
                f"{downcaster}: command {spec.name!r} is at version {spec.version}: a step back leads to one of the "
                f"versions before it, from 1"
            )
        if to_version in spec.downcasters:
            raise DefinitionError(f"{downcaster}: declared twice: a version has one step back; delete one")
        target = spec.signature_at(to_version)
        if target is None:
            raise DefinitionError(
                f"{downcaster}: nothing says what version {to_version} looks like: keep its upcaster, or delete this"
            )
        signature = Signature.of(f"{downcaster}", downcaster.step, 0, local_names)
        source = spec.signature_at(to_version + 1)
        ours = [kind for _, kind in signature.described()]
        theirs = [] if source is None else [kind for _, kind in source.described()]
        if ours != theirs:
            raise DefinitionError(
                f"{downcaster}: takes ({', '.join(ours)}), version {to_version + 1} has ({', '.join(theirs)})"
            )
        _check_count(downcaster, _results(downcaster, downcaster.step, local_names), target.count, to_version)
        spec.downcasters[to_version] = (signature, downcaster)
    for spec in commands.values():
        for version in range(min(spec.downcasters, default=spec.version), spec.version):
            if version not in spec.downcasters:
                raise DefinitionError(
                    f"command {spec.name}: the chain of downcasters has a gap: nothing leads from version "
                    f"{version + 1} to {version}: add @rsm.downcast({spec.name!r}, to_version={version})"
                )
