"""Making the directory of a local cluster: addresses, certificates, the directories of its nodes, their files."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import socket
from collections.abc import Sequence
from typing import Any, Final

from rsm.cli.local import CLUSTER_FILE, LocalCluster, LocalNode, save_local
from rsm.cli.target import DISK
from rsm.errors import CallerError
from rsm.machine.machine import StateMachine
from rsm.node.config import ClusterSection, LimitsSection, MemberConfig, NodeConfig, NodeSection, write_config
from rsm.node.network.addresses import split_address
from rsm.node.network.tls import TlsOptions
from rsm.node.opening.bootstrap import prepare
from rsm.node.storage.directory import new_cluster_id
from rsm.raft.configuration import Configuration, Member

__all__ = ["PORTS_PER_NODE", "check_ports", "check_same", "free_ports", "make"]

HOST: Final = "127.0.0.1"
# For members, for clients, for HTTP.
PORTS_PER_NODE: Final = 3
# Below those that systems give to outgoing connections (from 32768 on Linux, from 49152 elsewhere): among these, a
# connection of anybody's could take the port of a node that is down for a moment, even one that dials that very port.
PORTS: Final = range(20_000, 32_768)


def check_same(
    path: str,
    found: LocalCluster,
    machine: type[StateMachine],
    nodes: int | None,
    source: str | None,
    with_tls: bool,
    base_port: int | None,
    limits: dict[str, Any],
) -> None:
    """`CallerError` if what is asked for is not the cluster that is there. `limits`: those that were given."""
    complaint = None
    if found.machine != machine.definition.name:
        complaint = f"this is a cluster of machine {found.machine!r}, not of {machine.definition.name!r}"
    elif nodes not in (None, len(found.nodes)):
        complaint = f"this cluster has {len(found.nodes)} nodes: leave out --nodes, or use rsm member"
    elif source is not None:
        complaint = "this cluster exists already: leave out --from, or choose another directory"
    elif with_tls and found.tls is None:
        complaint = "this cluster was made without TLS: choose another directory"
    elif base_port is not None and split_address(found.nodes[0].peer)[1] != base_port:
        complaint = "this cluster has its ports already: leave out --base-port"
    elif limits:
        complaint = f"this cluster has its files already: set {', '.join(limits)} below [limits] there"
    if complaint is not None:
        raise CallerError(f"{path}: {complaint}")


def make(
    directory: str,
    machine: str,
    machine_class: type[StateMachine],
    number: int,
    source: str | None,
    with_tls: bool,
    base_port: int | None,
    limits: dict[str, Any],
) -> LocalCluster:
    """Make the directories of all nodes and their files; what was made is removed again if something fails."""
    strange = [name for name in os.listdir(directory) if name != "lock"]
    if strange:
        raise CallerError(
            f"{directory}: holds {min(strange)} but no {CLUSTER_FILE}: choose an empty or a new directory"
        )
    try:
        return _make(directory, machine, machine_class, number, source, with_tls, base_port, limits)
    except BaseException:
        for name in os.listdir(directory):
            path = os.path.join(directory, name)
            if os.path.isdir(path):
                shutil.rmtree(path, ignore_errors=True)
            elif name != "lock":
                with contextlib.suppress(OSError):
                    os.unlink(path)
        raise


def _make(
    directory: str,
    machine: str,
    machine_class: type[StateMachine],
    number: int,
    source: str | None,
    with_tls: bool,
    base_port: int | None,
    limits: dict[str, Any],
) -> LocalCluster:
    nodes = choose_addresses(number, base_port)
    check_ports(nodes)
    configuration = Configuration(tuple(Member(node.id, node.peer, node.client) for node in nodes))
    cluster_id = new_cluster_id()
    for node in nodes:
        place = os.path.join(directory, f"node-{node.id}")
        cluster_id = prepare(DISK, place, machine_class, configuration, cluster_id, source=source)
    if with_tls:
        _make_certificates(os.path.join(directory, "certs"), number)
    members = tuple(MemberConfig(id=node.id, peer=node.peer, client=node.client) for node in nodes)
    section = ClusterSection(members=members, name=os.path.basename(os.path.abspath(directory)), id=cluster_id.hex())
    for node in nodes:
        config = NodeConfig(
            node=NodeSection(
                id=node.id,
                directory=os.path.abspath(os.path.join(directory, f"node-{node.id}")),
                peer_listen=node.peer,
                client_listen=node.client,
                web_listen=node.web,
                machine=machine,
            ),
            cluster=section,
            tls=tls_of(directory, f"node-{node.id}") if with_tls else None,
            limits=LimitsSection(**limits),
        )
        write_config(os.path.join(directory, f"node-{node.id}.toml"), config)
    made = LocalCluster(
        machine=machine_class.definition.name,
        id=cluster_id.hex(),
        nodes=tuple(nodes),
        tls=tls_of(directory, "admin") if with_tls else None,
    )
    save_local(os.path.join(directory, CLUSTER_FILE), made)
    return made


def _make_certificates(directory: str, nodes: int) -> None:
    # Imported here: it takes longer than everything else that a command needs to start.
    from rsm.node.network.certificates import init_certificates

    init_certificates(directory, nodes=nodes, clients=["client"], admins=["admin"])


def tls_of(directory: str, name: str) -> TlsOptions:
    """The files of one owner among the certificates made."""
    certs = os.path.abspath(os.path.join(directory, "certs"))
    return TlsOptions(*(os.path.join(certs, file) for file in ("ca.crt", f"{name}.crt", f"{name}.key")))


def choose_addresses(number: int, base_port: int | None) -> list[LocalNode]:
    """Three loopback addresses a node: from a port on, or free ones."""
    ports = range(base_port, base_port + PORTS_PER_NODE * number) if base_port is not None else free_ports(number)
    addresses = [f"{HOST}:{port}" for port in ports]
    return [
        LocalNode(id=place + 1, peer=peer, client=client, web=web)
        for place, (peer, client, web) in enumerate(zip(*[iter(addresses)] * PORTS_PER_NODE, strict=True))
    ]


def free_ports(number: int) -> list[int]:
    """Ports for so many nodes that nobody listens on now, all different."""
    wanted = PORTS_PER_NODE * number
    with contextlib.ExitStack() as sockets:
        ports: list[int] = []
        for port in random.sample(PORTS, len(PORTS)):
            if len(ports) == wanted:
                return ports
            one = sockets.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                one.bind((HOST, port))
                ports.append(port)
    raise CallerError(f"there are no {wanted} free ports from {PORTS[0]} to {PORTS[-1]}: choose a --base-port")


def check_ports(nodes: Sequence[LocalNode]) -> None:
    """`CallerError` if somebody listens where a node is to listen; better one line now than one from each node."""
    for node in nodes:
        for address in (node.peer, node.client, node.web):
            with socket.socket() as one:
                # As servers do: a port whose last connections are just ending is free.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    one.bind(split_address(address))
                except OSError as error:
                    raise CallerError(f"{address}: node {node.id} cannot listen there: {error.strerror}") from error
