"""The configuration of a node: a TOML file, read strictly.

A key that is not known is an error that names the ones that are, since a mistyped bound that is silently ignored is
found on the day it was needed. Paths in the file are relative to the file. An error is one line: file, key, what is
wrong, what is allowed.
"""

from __future__ import annotations

import json
import os
import tomllib
import typing
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from rsm.errors import CallerError
from rsm.limits import (
    CONFIG_BYTES_MAX,
    ELECTION_SECONDS_MAX,
    ELECTION_SECONDS_MIN,
    HEARTBEAT_SECONDS,
    IDLE_HASH_SECONDS,
    SNAPSHOT_LOG_BYTES,
)
from rsm.node.network.addresses import split_address
from rsm.node.network.tls import TlsOptions, check_listen
from rsm.raft.configuration import NODE_ID_MAX

__all__ = [
    "ClusterSection",
    "LimitsSection",
    "LogSection",
    "MemberConfig",
    "NodeConfig",
    "NodeSection",
    "encode_toml",
    "load_config",
    "load_toml",
    "parse_config",
    "write_config",
]

NodeId = typing.Annotated[int, msgspec.Meta(ge=1, le=NODE_ID_MAX)]
Seconds = typing.Annotated[float, msgspec.Meta(gt=0, le=3600)]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of the tables of the file."""


class NodeSection(Section, frozen=True, kw_only=True):
    """[node]: this node. Listening addresses are "host:port"; `web_listen` serves health and metrics over HTTP."""

    id: NodeId
    directory: str
    peer_listen: str
    client_listen: str
    web_listen: str | None = None
    machine: str | None = None
    insecure: bool = False  # allow plaintext beyond loopback


class MemberConfig(Section, frozen=True, kw_only=True):
    """One of the members that the cluster begins with, and where others reach it."""

    id: NodeId
    peer: str
    client: str


class ClusterSection(Section, frozen=True, kw_only=True):
    """[cluster]: who founds it. Once the log has a configuration, that one counts and `members` only helps to find it.

    `id` (32 hex digits) keeps a node with an empty directory from joining any other cluster. With `strict_code`,
    members whose code differs under one machine version do not talk to each other.
    """

    members: tuple[MemberConfig, ...]
    name: str = ""
    id: str | None = None
    strict_code: bool = False


class LimitsSection(Section, frozen=True, kw_only=True):
    """[limits] `hash_seconds`: how long after an entry that changed something the next state root is due at the latest;
    0 takes one with every such entry.
    """

    durability: Literal["fsync", "os"] = "fsync"
    snapshot_log_bytes: typing.Annotated[int, msgspec.Meta(ge=1)] = SNAPSHOT_LOG_BYTES
    heartbeat_seconds: Seconds = HEARTBEAT_SECONDS
    election_seconds_min: Seconds = ELECTION_SECONDS_MIN
    election_seconds_max: Seconds = ELECTION_SECONDS_MAX
    hash_seconds: typing.Annotated[float, msgspec.Meta(ge=0, le=3600)] = IDLE_HASH_SECONDS


class LogSection(Section, frozen=True, kw_only=True):
    """[log]: what the process tells on standard error."""

    format: Literal["json", "console"] = "json"
    level: Literal["debug", "info", "warning", "error"] = "info"


class NodeConfig(Section, frozen=True, kw_only=True):
    """The whole file. [tls]: PEM files, all three or none; without them everything is plaintext."""

    node: NodeSection
    cluster: ClusterSection
    tls: TlsOptions | None = None
    limits: LimitsSection = LimitsSection()
    log: LogSection = LogSection()


# --- reading ----------------------------------------------------------------------------------------------------------


def load_config(path: str) -> NodeConfig:
    """Read a file; its paths come back absolute. `CallerError` with one line for whatever is wrong with it."""
    return parse_config(path, load_toml(path))


def load_toml(path: str) -> dict[str, Any]:
    """The tables of a TOML file; `CallerError` if there is none, or it is not TOML."""
    try:
        with open(path, "rb") as file:
            data = file.read(CONFIG_BYTES_MAX + 1)
    except OSError as error:
        raise CallerError(f"{path}: cannot be read: {error.strerror}") from error
    if len(data) > CONFIG_BYTES_MAX:
        raise CallerError(f"{path}: is larger than {CONFIG_BYTES_MAX} bytes: this is no configuration")
    try:
        return tomllib.loads(data.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CallerError(f"{path}: is not TOML: {error}") from error


def parse_config(path: str, tables: Mapping[str, Any]) -> NodeConfig:
    """Check the tables of the file at `path`."""
    config = convert_strictly(path, tables, NodeConfig)
    _check(path, config)
    here = os.path.dirname(os.path.abspath(path))
    tls = config.tls
    if tls is not None:
        tls = TlsOptions(*(os.path.join(here, value) for value in msgspec.structs.astuple(tls)))
    node = msgspec.structs.replace(config.node, directory=os.path.join(here, config.node.directory))
    return msgspec.structs.replace(config, node=node, tls=tls)


T = typing.TypeVar("T", bound=msgspec.Struct)


def convert_strictly(path: str, tables: Mapping[str, Any], wanted: type[T]) -> T:
    """The struct in these tables; `CallerError` names file, key, what is wrong and what is allowed."""
    _check_keys(path, tables, wanted, "")
    try:
        return msgspec.convert(tables, wanted, strict=True)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `$")
        key = place.rstrip("`").lstrip(".") or "the file"
        raise CallerError(f"{path}: {key}: {what[:1].lower()}{what[1:]}") from error


def _check_keys(path: str, tables: Mapping[str, Any], wanted: type[msgspec.Struct], place: str) -> None:
    """Unknown and missing keys first: the message lists what is allowed, which msgspec's does not."""
    fields = {field.name: field for field in msgspec.structs.fields(wanted)}
    where = f"[{place}] " if place else ""
    for key in tables:
        if key not in fields:
            raise CallerError(f"{path}: {where}{key!r} is not known; allowed: {', '.join(fields)}")
    for name, field in fields.items():
        if field.required and name not in tables:
            raise CallerError(f"{path}: {where}{name!r} is missing")
        inner = _struct_in(field.type)
        value = tables.get(name)
        for one in value if isinstance(value, list) else [value]:
            if inner is not None and isinstance(one, Mapping):
                _check_keys(path, one, inner, f"{place}.{name}".lstrip("."))


def _struct_in(declared: Any) -> type[msgspec.Struct] | None:
    if isinstance(declared, type) and issubclass(declared, msgspec.Struct):
        return declared
    return next(filter(None, map(_struct_in, typing.get_args(declared))), None)


def _check(path: str, config: NodeConfig) -> None:
    node, cluster, limits = config.node, config.cluster, config.limits
    addresses = {"node.peer_listen": node.peer_listen, "node.client_listen": node.client_listen}
    if node.web_listen is not None:
        addresses["node.web_listen"] = node.web_listen
    for position, member in enumerate(cluster.members):
        addresses[f"cluster.members[{position}].peer"] = member.peer
        addresses[f"cluster.members[{position}].client"] = member.client
    for key, text in addresses.items():
        try:
            split_address(text)
            if key in ("node.peer_listen", "node.client_listen"):
                check_listen(text, config.tls, node.insecure)
            elif key == "node.web_listen":
                check_listen(text, None, node.insecure)  # there is no TLS on it
        except CallerError as error:
            raise CallerError(f"{path}: {key}: {error}") from error
    ids = [member.id for member in cluster.members]
    twice = next((number for number in ids if ids.count(number) > 1), None)
    if not ids or twice is not None:
        what = "is empty: name at least one member" if twice is None else f"names node {twice} twice"
        raise CallerError(f"{path}: cluster.members {what}")
    if cluster.id is not None and not (len(cluster.id) == 32 and set(cluster.id) <= set("0123456789abcdef")):
        raise CallerError(f"{path}: cluster.id: expected 32 hex digits, got {cluster.id!r}")
    if not limits.heartbeat_seconds < limits.election_seconds_min < limits.election_seconds_max:
        raise CallerError(
            f"{path}: [limits] heartbeat_seconds ({limits.heartbeat_seconds}) must be below election_seconds_min "
            f"({limits.election_seconds_min}), and that below election_seconds_max ({limits.election_seconds_max})"
        )


# --- writing ----------------------------------------------------------------------------------------------------------

# What a reader of the file wants to see even where it is the default.
_ALWAYS: Final = frozenset({"members"})


def write_config(path: str, config: NodeConfig) -> None:
    """Write a file that `load_config` reads back; paths below its directory become relative, defaults are left out."""
    here = os.path.dirname(os.path.abspath(path))
    tables = typing.cast(dict[str, Any], _plain(config))
    tables["node"]["directory"] = _relative(config.node.directory, here)
    for name, value in tables.get("tls", {}).items():
        tables["tls"][name] = _relative(value, here)
    write_text(path, encode_toml(tables))


def write_text(path: str, text: str) -> None:
    """Write a small file so that it is there whole or not at all."""
    temporary = f"{path}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _relative(path: str, here: str) -> str:
    relative = os.path.relpath(path, here)
    return path if relative.startswith("..") else relative


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        fields = {
            field.name: _plain(getattr(value, field.name))
            for field in msgspec.structs.fields(type(value))
            if field.name in _ALWAYS or getattr(value, field.name) != field.default
        }
        return {name: plain for name, plain in fields.items() if plain != {}}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def encode_toml(tables: Mapping[str, Any]) -> str:
    """TOML of tables of plain values, and of lists of tables of plain values, which stand in one line each."""
    parts = []
    for name, table in tables.items():
        parts.append(f"[{name}]\n" + "".join(f"{key} = {_value(value)}\n" for key, value in table.items()))
    return "\n".join(parts)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # A JSON string is a TOML string, but for DEL, which only TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + "}"
    if any(isinstance(item, Mapping) for item in value):
        return "[\n" + "".join(f"    {_value(item)},\n" for item in value) + "]"
    return "[" + ", ".join(map(_value, value)) + "]"
