"""Which version of a command a client sends: its own, or an older one while its cluster does not know that yet.

What the machine behind a client knows is the schema that its log declares. A newer machine still takes old versions, so
only a client that is newer than its cluster has to look: it sends the newest version that both know, through the
downcasters of its class. A version is known only if its fields are the same on both sides: what one side does not know
(a field of a struct, a member of an enum) would be dropped or refused at the other end, so it is refused here.
"""

from __future__ import annotations

from typing import Any

from rsm.errors import InvalidCommand
from rsm.machine.definition import CommandSpec
from rsm.machine.values import described_text

__all__ = ["is_known", "version_to_send"]


def is_known(spec: CommandSpec, schema: dict[str, Any]) -> bool:
    """Whether a machine of this schema has the client's own version; an empty schema says nothing against it."""
    commands = schema.get("commands")
    if not isinstance(commands, dict):
        return True
    declared = commands.get(spec.name)
    return isinstance(declared, dict) and declared.get(str(spec.version)) == spec.signature.described()


def version_to_send(spec: CommandSpec, schema: dict[str, Any]) -> int:
    """The newest version, of the client's own and older ones, that a machine of this schema has.

    `InvalidCommand` if it has none, or one of other fields. Of an empty schema, which says nothing, the client's own.
    """
    if is_known(spec, schema):
        return spec.version
    declared = schema["commands"].get(spec.name)
    known = declared if isinstance(declared, dict) else {}
    numbers = sorted(int(number) for number in known if str(number).isdecimal())
    older = [number for number in numbers if number <= spec.version]
    if older:
        _check_fields(spec, older[-1], known[str(older[-1])])
        return older[-1]
    if numbers:
        raise InvalidCommand(
            f"{spec.name}: the machine knows version {numbers[0]} and later of it, this client has version "
            f"{spec.version}: upgrade the client",
            "version",
        )
    raise InvalidCommand(
        f"{spec.name}: the machine has no such command: it is older than this client; use it when the machine has been "
        f"upgraded"
    )


def _check_fields(spec: CommandSpec, version: int, declared: Any) -> None:
    signature = spec.signature_at(version)
    if signature is not None and signature.described() != declared:
        raise InvalidCommand(
            f"{spec.name}: version {version} is {described_text(declared)} on the machine and "
            f"{described_text(signature.described())} in this client: raise its version and add an upcaster",
            "version",
        )
