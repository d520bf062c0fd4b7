"""The local cluster: the file in which `rsm cluster up` keeps it, and the pointer by which other commands find it."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Final

import msgspec

from rsm.errors import CallerError
from rsm.node.config import convert_strictly, encode_toml, load_toml, write_text
from rsm.node.network.addresses import split_address
from rsm.node.network.tls import TlsOptions

__all__ = ["CLUSTER_FILE", "LocalCluster", "LocalNode", "find_local", "load_local", "point_to", "save_local"]

CLUSTER_FILE: Final = "cluster.toml"


class LocalNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node: its number and where it listens."""

    id: int
    peer: str
    client: str
    web: str


class LocalCluster(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster whose nodes all run on this machine, supervised. `tls`: an administrator's."""

    machine: str
    id: str
    nodes: tuple[LocalNode, ...]
    tls: TlsOptions | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where clients reach the nodes."""
        return tuple(node.client for node in self.nodes)


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    cluster: LocalCluster


def load_local(path: str) -> LocalCluster:
    """Read the file; `CallerError` if it is none."""
    cluster = convert_strictly(path, load_toml(path), _File).cluster
    if not cluster.nodes:
        raise CallerError(f"{path}: cluster.nodes is empty")
    for node in cluster.nodes:
        for address in (node.peer, node.client, node.web):
            split_address(address)
    if cluster.tls is None:
        return cluster
    here = os.path.dirname(os.path.abspath(path))
    files = (os.path.join(here, name) for name in msgspec.structs.astuple(cluster.tls))
    return msgspec.structs.replace(cluster, tls=TlsOptions(*files))


def save_local(path: str, cluster: LocalCluster) -> None:
    """Write the file. Paths of TLS are written relative to it."""
    fields: dict[str, Any] = msgspec.to_builtins(cluster)
    if cluster.tls is None:
        del fields["tls"]
    else:
        here = os.path.dirname(os.path.abspath(path))
        fields["tls"] = {name: os.path.relpath(value, here) for name, value in fields["tls"].items()}
    write_text(path, encode_toml({"cluster": fields}))


def _pointer() -> str:
    state = os.environ.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "rsm", "cluster")


def point_to(path: str) -> None:
    """Remember this cluster as the local one; where that cannot be written, commands need addresses."""
    pointer = _pointer()
    with contextlib.suppress(OSError):
        os.makedirs(os.path.dirname(pointer), mode=0o700, exist_ok=True)
        write_text(pointer, os.path.abspath(path) + "\n")


def find_local() -> LocalCluster | None:
    """The cluster that was brought up last on this machine, None if there was none or it is gone."""
    try:
        with open(_pointer(), encoding="utf-8") as file:
            path = file.read().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return load_local(path) if os.path.exists(path) else None
