"""The cluster under a game: one node or several on this machine, each a process of `rsm node` with a file of its own.

`hash_seconds = 0.0` in these files makes every turn a hash point: each has its state root in the feed, and a client
that differs knows it within that turn. A node that ends on its own is started again where its directory is.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import msgspec

import rsm
from demos.exits import WRONG, DemoFailed

ROOT: Final = Path(__file__).resolve().parents[3]
MACHINE: Final = "demos.rts_lockstep.machine:Game"
HOST: Final = "127.0.0.1"
# Below the ports that systems give to outgoing connections, which could take a node's while it is down.
PORTS: Final = range(20_000, 32_768)
START_SECONDS_MAX: Final = 40.0
# How long nodes of before, which have just been told to end, may hold their ports.
PORT_SECONDS_MAX: Final = 5.0
STOP_SECONDS_MAX: Final = 10.0
LOOK_SECONDS: Final = 0.1
# A node that ends again and again is left down.
RESTARTS_MAX: Final = 20
RESTART_SECONDS: Final = 0.3
# Log after which a node writes a snapshot by itself; who joins late is given one that is made for him anyway.
SNAPSHOT_BYTES: Final = 4 << 20
LINES_SHOWN: Final = 5
# SIGTERM to the child when the thread that started it is gone: a killed game leaves no nodes behind.
WITH_PARENT: Final = ("setpriv", "--pdeathsig", "TERM") if shutil.which("setpriv") else ()


class NodesFailed(DemoFailed):
    """The nodes cannot be started, or went down; what they said last."""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now."""
    found: list[int] = []
    first = PORTS.start + secrets.randbelow(len(PORTS) - 1)
    for port in (*range(first, PORTS.stop), *range(PORTS.start, first)):
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            found.append(port)
        if len(found) == count:
            return found
    raise NodesFailed(f"there are no {count} free ports from {PORTS.start} to {PORTS.stop - 1}")


def check_port(address: str) -> None:
    """`NodesFailed` if no node could listen there; who is about to leave is waited for."""
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + PORT_SECONDS_MAX
    while True:
        with socket.socket() as probe:
            # As servers do: a port whose last connections are just ending is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, int(port)))
                return
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise NodesFailed(f"{address}: no node can listen there: {error.strerror}", WRONG) from error
                if time.monotonic() > deadline:
                    raise NodesFailed(
                        f"{address}: somebody listens there: end that, or take another port", WRONG
                    ) from error
        time.sleep(LOOK_SECONDS)


def write_whole(path: Path, data: bytes) -> None:
    """A file for its owner's eyes, which holds all of this or what it held before, whenever the process is killed."""
    new = path.with_name(f"{path.name}.new")
    new.touch(mode=0o600)
    new.write_bytes(data)
    new.replace(path)


class Node:
    """One of them. `client` is the address that clients are told, `listen` the one that the node takes."""

    def __init__(self, number: int, directory: Path, peer: str, listen: str, client: str) -> None:
        self.number = number
        self.directory = directory / f"node-{number}"
        self.config = directory / f"node-{number}.toml"
        self.log = directory / f"node-{number}.log"
        self.peer, self.listen, self.client = peer, listen, client
        self.process: subprocess.Popen[bytes] | None = None
        self.restarts = 0
        self.has_begun = False  # it has made its directory
        self.is_lost = False

    def last_words(self) -> str:
        """The end of what it logged."""
        with contextlib.suppress(OSError):
            return " / ".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LINES_SHOWN:])
        return ""


class _Kept(msgspec.Struct, frozen=True):
    """What a cluster is started again with: its id, and where each node listens: for peers, for clients, as told."""

    cluster_id: str
    addresses: tuple[tuple[str, str, str], ...]


class Nodes:
    """The cluster below `directory`, which is made if it is not there; a context manager that ends its processes.

    A directory that has one already goes on with that, as many nodes at the same addresses, whatever is asked for here.
    Should this process be killed, the nodes end with it (where there is `setpriv`, as on any Linux).

    `address`: the host name or number under which clients of other machines find this one; anything but the loopback
    is served without TLS, for a network whose members are trusted. `port`: of the first node, for clients.
    `told_addresses`: what clients are told instead of where the nodes listen, if something stands between.
    """

    def __init__(
        self,
        directory: Path,
        number: int = 1,
        *,
        machine: str = MACHINE,
        address: str = HOST,
        port: int = 0,
        told_addresses: Sequence[str] = (),
        listen_ports: Sequence[int] = (),
    ) -> None:
        self.directory = directory
        self.machine = machine
        self._kept = directory / "cluster.json"
        if self._kept.exists():
            try:
                kept = msgspec.json.decode(self._kept.read_bytes(), type=_Kept)
            except msgspec.MsgspecError as error:
                raise NodesFailed(f"{self._kept}: {error}: take another directory", WRONG) from error
            self._cluster_id = kept.cluster_id
            self.nodes = [Node(place + 1, directory, *three) for place, three in enumerate(kept.addresses)]
        else:
            self._cluster_id = secrets.token_hex(16)
            self.nodes = self._new_nodes(number, address, port, told_addresses, listen_ports)
        self._is_founding = False
        self._is_over = threading.Event()
        self._lock = threading.Lock()  # between who restarts nodes and who kills or stops them
        self._keeper = threading.Thread(target=self._keep, name="nodes", daemon=True)

    def _new_nodes(
        self, number: int, address: str, port: int, told_addresses: Sequence[str], listen_ports: Sequence[int]
    ) -> list[Node]:
        ports = free_ports(2 * number)
        listening = list(listen_ports) or ports[number:]
        if port:
            listening[0] = port
        return [
            Node(
                place + 1,
                self.directory,
                f"{HOST}:{ports[place]}",
                f"{address}:{listening[place]}",
                told_addresses[place] if told_addresses else f"{address}:{listening[place]}",
            )
            for place in range(number)
        ]

    @property
    def addresses(self) -> list[str]:
        """Where clients find them."""
        return [node.client for node in self.nodes]

    def __enter__(self) -> Nodes:
        for node in self.nodes:  # or clients would be served by whoever listens there
            check_port(node.peer)
            check_port(node.listen)
        self.directory.mkdir(parents=True, exist_ok=True)
        addresses = tuple((node.peer, node.listen, node.client) for node in self.nodes)
        write_whole(self._kept, msgspec.json.encode(_Kept(self._cluster_id, addresses)))
        self._is_founding = not any(node.directory.exists() for node in self.nodes)
        for node in self.nodes:
            node.config.write_text(self._file(node), encoding="utf-8")
            self._start(node)
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        with self._lock:
            running = [node.process for node in self.nodes if node.process is not None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._keeper.join(STOP_SECONDS_MAX)

    def kill(self, number: int) -> None:
        """SIGKILL to a node; it is started again."""
        process = self.nodes[number - 1].process
        if process is not None:
            process.send_signal(signal.SIGKILL)

    def wait(self, machine: type[rsm.StateMachine], principal: str = "host") -> Any:
        """A client, as soon as the nodes serve one."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                return rsm.connect(machine, self.addresses, principal=principal, timeout_seconds=5.0)
            except (rsm.Unreachable, TimeoutError) as error:
                self.check()
                if time.monotonic() > deadline:
                    raise NodesFailed(f"no node serves: {error}; {self.nodes[0].last_words()}") from error

    def check(self) -> None:
        """`NodesFailed` if one has gone for good."""
        for node in self.nodes:
            if node.is_lost:
                raise NodesFailed(f"{node.directory}: is gone, and with it the match: no other node has it")
            if node.restarts > RESTARTS_MAX:
                raise NodesFailed(f"node {node.number} ends again and again: {node.last_words()}")

    # --- processes ----------------------------------------------------------------------------------------------------

    def _start(self, node: Node) -> None:
        # Only the first start founds the cluster. Who has lost his directory since is filled by the others, and has no
        # vote until then: he does not know any more what he has promised.
        node.has_begun |= node.directory.exists()
        founding = ["--found"] if self._is_founding and not node.has_begun else []
        node.is_lost = len(self.nodes) == 1 and node.has_begun and not node.directory.exists()
        if node.is_lost:
            return
        with self._lock, node.log.open("ab") as log:
            if not self._is_over.is_set():
                node.process = subprocess.Popen(
                    [*WITH_PARENT, sys.executable, "-m", "rsm", "node", "--config", str(node.config), *founding],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=ROOT,
                    env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), os.environ.get("PYTHONPATH", "")))},
                    start_new_session=True,  # Ctrl-C is for the game, which then ends its nodes in good order
                )

    def _keep(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            for node in self.nodes:
                node.has_begun |= node.directory.exists()
                if node.is_lost:
                    continue
                if node.process is not None and node.process.poll() is not None and node.restarts <= RESTARTS_MAX:
                    node.restarts += 1
                    if node.restarts <= RESTARTS_MAX and not self._is_over.wait(RESTART_SECONDS):
                        self._start(node)

    def _file(self, node: Node) -> str:
        members = "".join(
            f'    {{ id = {one.number}, peer = "{one.peer}", client = "{one.client}" }},\n' for one in self.nodes
        )
        insecure = "" if node.listen.startswith(HOST) else "insecure = true\n"
        return f"""\
[node]
id = {node.number}
directory = "node-{node.number}"
peer_listen = "{node.peer}"
client_listen = "{node.listen}"
machine = "{self.machine}"
{insecure}
[cluster]
name = "lockstep"
id = "{self._cluster_id}"
members = [
{members}]

[limits]
hash_seconds = 0.0
snapshot_log_bytes = {SNAPSHOT_BYTES}

[log]
format = "json"
level = "info"
"""
