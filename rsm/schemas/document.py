"""What a lock file says, as data; and how values, fields and names are written in it.

The same structures hold what was locked and what a class does now, so that checking is comparing. Command versions are
named `place v2` in texts and `(place, 2)` in keys.
"""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from rsm.codec.shapes import make_known
from rsm.state.leaf import encode, hash64

__all__ = [
    "CommandVersion",
    "Example",
    "Fields",
    "Lock",
    "Release",
    "Run",
    "Step",
    "fingerprint",
    "label",
    "read_value",
    "shown_fields",
    "tame",
    "write_result",
    "write_value",
]

# (name, type) of each, in order.
Fields = tuple[tuple[str, str], ...]
BYTES: Final = "bytes"
MAP: Final = "map"


class CommandVersion(msgspec.Struct):
    """One version of one command. `cases` are texts of values, `upcasts` what the step to the next version makes of
    each of them; of the newest version there are none.
    """

    fields: Fields
    cases: list[str] = []
    upcasts: list[str] = []


class Step(msgspec.Struct, frozen=True):
    """One call of a run: a case of a command's version, counted from 1 (0: something that is no call), and its effect.

    `digest` stands for all of the effect, `detail` says it in words where it is not too long; `by` is the session that
    sent it, 0 where they take turns.
    """

    name: str
    version: int
    case: int
    digest: str
    detail: str = ""
    by: int = 0


class Example(msgspec.Struct, frozen=True):
    """A call of a log: `values` as a text, and whose session sent it."""

    name: str
    version: int
    values: str
    principal: str


class Run(msgspec.Struct):
    """Calls on an empty machine, one after another; `roots` of its state by the number of steps before each.

    `principals`: whose sessions send them; empty: two that take turns.
    """

    steps: list[Step] = []
    roots: dict[int, str] = {}
    principals: list[str] = []


class Release(msgspec.Struct):
    """One machine version. `state`: name -> kind and types; `takes`: versions it understands, by command.

    `migration` is the root after the first run of the release before it was brought over to this one; empty if there is
    none.
    """

    code: str = ""
    event: str = ""
    state: dict[str, str] = {}
    takes: dict[str, list[int]] = {}
    runs: list[Run] = []
    migration: str = ""


class Lock(msgspec.Struct):
    """The whole. `retired`: fingerprints of command versions that are gone for good, by name and version."""

    machine: str
    commands: dict[str, dict[int, CommandVersion]] = {}
    queries: dict[str, Fields] = {}
    releases: dict[int, Release] = {}
    retired: dict[str, dict[int, str]] = {}

    def version_of(self, name: str, version: int) -> CommandVersion | None:
        """A command's version, if it is there."""
        return self.commands.get(name, {}).get(version)


make_known(Lock)


def label(name: str, version: int) -> str:
    """`place v2`."""
    return f"{name} v{version}"


def fingerprint(name: str, version: int, fields: Fields) -> str:
    """16 hexadecimal digits that stand for the fields of a command's version."""
    return f"{hash64(encode((name, version, fields))):016x}"


def shown_fields(fields: Fields) -> str:
    """`(price: int, quantity: int)`."""
    return "(" + ", ".join(f"{name}: {kind}" for name, kind in fields) + ")"


def write_value(value: Any) -> str:
    """Plain values as one line of ASCII: JSON, bytes as `{"bytes": "00ff"}`, maps as `{"map": [[key, value]]}`."""
    return json.dumps(tame(value), separators=(",", ":"), allow_nan=False)


def write_result(form: str, value: Any, **more: Any) -> str:
    """What became of values, where it is not other values: `{"drop":null}`."""
    return json.dumps({form: tame(value), **more}, separators=(",", ":"), allow_nan=False)


def read_value(text: str) -> Any:
    """What `write_value` wrote; `ValueError` for anything else."""
    return _wild(json.loads(text))


def tame(value: Any) -> Any:
    """Plain values as JSON can hold them: see `write_value`."""
    if isinstance(value, bytes):
        return {BYTES: value.hex()}
    if isinstance(value, list | tuple):
        return [tame(item) for item in value]
    if isinstance(value, dict):
        return {MAP: [[tame(key), tame(item)] for key, item in value.items()]}
    return value


def _wild(value: Any) -> Any:
    if isinstance(value, list):
        return [_wild(item) for item in value]
    if isinstance(value, dict):
        if list(value) == [BYTES] and isinstance(value[BYTES], str):
            return bytes.fromhex(value[BYTES])
        if list(value) == [MAP] and isinstance(value[MAP], list):
            return {_wild(key): _wild(item) for key, item in value[MAP]}
        raise ValueError(f"no value of a command: {value!r}")
    return value
