"""Whether a class may run a log: the schema the log declares against the class's own.

Within one machine version, state must be declared as it was, and a command version keeps its fields for ever; new
commands and new versions with upcasters may come. Anything else would replay to another state, so it is refused before
it runs.
"""

from __future__ import annotations

from typing import Any

from rsm.errors import WrongMachine
from rsm.machine.definition import Definition


def check_schema(definition: Definition, name: str, version: int, schema: dict[str, Any]) -> None:
    """Raise `WrongMachine`, saying what changed, unless the class may run entries written under this schema."""
    if name != definition.name:
        raise WrongMachine(f"the log belongs to machine {name!r}, the class is {definition.name!r}")
    if version != definition.version:
        raise WrongMachine(
            f"the log is at version {version} of {name!r}, the class at version {definition.version}: "
            f"open it with the release that has version {version}"
        )
    ours = definition.schema()
    changes = _changes(schema.get("state", {}), ours["state"])
    if changes:
        raise WrongMachine(
            f"the state of {name!r} changed without a new machine version ({'; '.join(changes)}): "
            f"restore the declaration, or start in a new directory"
        )
    for command, versions in schema.get("commands", {}).items():
        known = ours["commands"].get(command)
        if known is None:
            raise WrongMachine(f"the log of {name!r} holds command {command!r}, which the class no longer has")
        for command_version, fields in versions.items():
            if known.get(command_version) != fields:
                raise WrongMachine(
                    f"command {command!r} version {command_version} was {_fields(fields)} in the log and is "
                    f"{_fields(known.get(command_version))} in the class: raise its version and add an upcaster"
                )


def _changes(logged: dict[str, Any], ours: dict[str, Any]) -> list[str]:
    changes = [f"{name} is gone" for name in sorted(logged.keys() - ours.keys())]
    changes += [f"{name} is new" for name in sorted(ours.keys() - logged.keys())]
    for name in sorted(logged.keys() & ours.keys()):
        if logged[name] != ours[name]:
            changes.append(f"{name} was {' '.join(logged[name])} and is {' '.join(ours[name])}")
    return changes


def _fields(fields: list[list[str]] | None) -> str:
    if fields is None:
        return "unknown"
    return "(" + ", ".join(f"{name}: {kind}" for name, kind in fields) + ")"
