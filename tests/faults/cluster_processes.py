"""A cluster of real `rsm node` processes to harm: killed, stopped, cut off, damaged; and in the end, are they one?

Everything happens in one directory and on loopback ports that were free. Every wait is bounded. Whatever a test does,
all processes are gone when it ends, and they die with the process that runs the test.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Self

import pytest

import rsm
from rsm.cli.cluster import PROGRAM
from rsm.cli.making import free_ports
from rsm.client.tool import Access, ToolConnection
from rsm.errors import RsmError
from rsm.machine.machine import StateMachine
from rsm.node.config import ClusterSection, LimitsSection, MemberConfig, NodeConfig, NodeSection, write_config
from rsm.node.network.tls import TlsOptions
from rsm.node.opening.bootstrap import prepare
from rsm.node.status import NodeStatus
from rsm.node.storage.disk import OsDisk
from rsm.raft.configuration import Configuration, Member
from tests.documents import ROOT
from tests.faults.cluster_machine import Board
from tests.faults.link_proxy import LinkProxies

BOARD: Final = "tests.faults.cluster_machine:Board"
LAUNCHER: Final = str(ROOT / "tests" / "faults" / "node_launcher.py")
PR_SET_PDEATHSIG: Final = 1
# Machines that test are busy: what takes a second here may take many there.
PATIENCE_SECONDS: Final = 40.0
SEGMENT: Final = re.compile(r"\d+\.log")


def until(is_so: Callable[[], Any], what: str | Callable[[], str], seconds: float = PATIENCE_SECONDS) -> Any:
    """Wait for it; what it was in the end."""
    deadline = time.monotonic() + seconds
    while True:
        found = is_so()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:g} s: {what if isinstance(what, str) else what()}")
        time.sleep(0.02)


def _die_with(parent: int) -> Callable[[], None]:
    prctl = ctypes.CDLL(None).prctl if sys.platform == "linux" else None

    def child() -> None:
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != parent:
                os._exit(1)

    return child


class NodeProcess:
    """One node: its files, its addresses, and its process while it runs."""

    def __init__(self, number: int, directory: Path) -> None:
        self.number = number
        self.directory = directory / f"node-{number}"
        self.config = directory / f"node-{number}.toml"
        self.log = directory / f"node-{number}.log"
        self.faults = directory / f"faults-{number}"
        self.peer, self.client, self.web = (f"127.0.0.1:{port}" for port in free_ports(1))
        self.is_faulty = False
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged; a line that is no JSON comes as {"text": line}."""
        if not self.log.exists():
            return []
        found = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"text": line})
        return found

    def logged(self, event: str, **fields: str) -> list[dict[str, Any]]:
        """The lines about an event whose fields hold these texts."""
        return [
            line
            for line in self.lines()
            if line.get("event") == event and all(text in str(line.get(name)) for name, text in fields.items())
        ]

    def segments(self) -> list[Path]:
        """The files of its log, oldest first."""
        return sorted(path for path in (self.directory / "log").iterdir() if SEGMENT.fullmatch(path.name))

    def memory_bytes(self) -> int:
        """The most memory that it has ever had, as the kernel counts it; skips where there is no such count."""
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/status")
        if not path.exists():
            pytest.skip("needs /proc to measure the memory of a process")
        (line,) = (line for line in path.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024


class ClusterProcesses:
    """A cluster in a directory. With `proxies`, members reach each other through `self.links`."""

    def __init__(
        self,
        directory: Path,
        *,
        nodes: int = 3,
        proxies: bool = False,
        faulty: Sequence[int] = (),
        machine: str = BOARD,
        machine_class: type[StateMachine] = Board,
        tls: Callable[[str], TlsOptions] | None = None,
        limits: LimitsSection | None = None,
    ) -> None:
        """`faulty`: nodes that run in the launcher, with `node.faults` as the directory of their faults. `tls`: the
        files of an owner's certificate, by his name.
        """
        self.directory = directory
        self.machine = machine
        self.machine_class = machine_class
        self.tls = tls
        self.limits = LimitsSection() if limits is None else limits
        self.cluster_id = os.urandom(16)
        self.nodes = {number: NodeProcess(number, directory) for number in range(1, nodes + 1)}
        self.strangers: list[NodeProcess] = []
        self.links = LinkProxies() if proxies else None
        peers = {number: node.peer for number, node in self.nodes.items()}
        if self.links is not None:
            peers = {number: self.links.before(number, node.peer) for number, node in self.nodes.items()}
        self.members = tuple(
            MemberConfig(id=number, peer=peers[number], client=node.client) for number, node in self.nodes.items()
        )
        for number, node in self.nodes.items():
            node.is_faulty = number in faulty
            if node.is_faulty:
                node.faults.mkdir()
            self.configure(node)

    # --- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        try:
            for node in self.nodes.values():
                self.prepare(node)
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every process, in whatever state it is."""
        for node in [*self.nodes.values(), *self.strangers]:
            if node.is_running:
                assert node.process is not None
                node.process.kill()
                node.process.wait(30)
        if self.links is not None:
            self.links.close()

    def stranger(self, number: int, directory: Path, *, cluster_id: bytes | None = None, **changes: Any) -> NodeProcess:
        """Start a process that takes itself for a node of this cluster, with a directory and ports of its own."""
        directory.mkdir()
        node = NodeProcess(number, directory)
        self.strangers.append(node)
        self.configure(node, cluster_id=cluster_id, **changes)
        self._start(node)
        return node

    def configure(self, node: NodeProcess, *, cluster_id: bytes | None = None, **changes: Any) -> None:
        """Write the node's file; `changes` replace fields of [node]."""
        section: dict[str, Any] = {
            "id": node.number,
            "directory": str(node.directory),
            "peer_listen": node.peer,
            "client_listen": node.client,
            "web_listen": node.web,
            "machine": self.machine,
        }
        config = NodeConfig(
            node=NodeSection(**section | changes),
            cluster=ClusterSection(members=self.members, id=(cluster_id or self.cluster_id).hex()),
            tls=None if self.tls is None else self.tls(f"node-{node.number}"),
            limits=self.limits,
        )
        write_config(str(node.config), config)

    def prepare(self, node: NodeProcess) -> None:
        """Make the node's directory, as a founder's."""
        members = tuple(Member(member.id, member.peer, member.client) for member in self.members)
        path = str(node.directory)
        prepare(OsDisk(), path, self.machine_class, Configuration(members), self.cluster_id)

    def start(self, *numbers: int) -> None:
        """Start nodes, all if none is named; not waited for."""
        for number in numbers or self.nodes:
            self._start(self.nodes[number])

    def _start(self, node: NodeProcess) -> None:
        assert not node.is_running
        words = ["node", "--config", str(node.config)]
        begin = [LAUNCHER, str(node.faults)] if node.is_faulty else ["-c", PROGRAM]
        with node.log.open("ab") as log:
            node.process = subprocess.Popen(
                [sys.executable, *begin, *words],
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.directory,
                env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(self.directory)))},
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()),
            )

    def signal(self, number: int, what: int) -> None:
        """Send a signal to a node that runs."""
        process = self.nodes[number].process
        assert process is not None
        process.send_signal(what)

    def kill(self, *numbers: int) -> None:
        """kill -9, all at once, and wait for the ends."""
        for number in numbers:
            self.signal(number, signal.SIGKILL)
        for number in numbers:
            self.ended(number)

    def stop(self, *numbers: int) -> list[int]:
        """SIGTERM, all at once (all nodes if none is named); the exit codes."""
        chosen = numbers or tuple(number for number, node in self.nodes.items() if node.is_running)
        for number in chosen:
            self.signal(number, signal.SIGTERM)
        return [self.ended(number) for number in chosen]

    def ended(self, number: int, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait until a node has ended; its exit code."""
        process = self.nodes[number].process
        assert process is not None
        return process.wait(seconds)

    # --- looking at it -----------------------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[str]:
        """Where clients reach it."""
        return [node.client for node in self.nodes.values()]

    @property
    def access(self) -> TlsOptions | None:
        """What a client of a cluster with TLS needs."""
        return None if self.tls is None else self.tls("client")

    def connect(self, **options: Any) -> Any:
        """A client."""
        return rsm.connect(self.machine_class, self.addresses, tls=self.access, **options)

    def status(self, number: int, seconds: float = 2.0) -> NodeStatus | None:
        """What a node says of itself; None if it does not answer."""
        address = self.nodes[number].client
        try:
            with ToolConnection(address, Access((address,), self.access), seconds=seconds) as connection:
                return connection.status()
        except RsmError:
            return None

    def statuses(self) -> list[NodeStatus]:
        """Of those that run and answer."""
        found = [self.status(number) for number, node in self.nodes.items() if node.is_running]
        return [status for status in found if status is not None]

    def leader(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The number of the leader that a majority is connected to, waited for."""

        def look() -> int | None:
            statuses = self.statuses()
            newest = max((status.term for status in statuses), default=0)
            leads = [one.node_id for one in statuses if one.has_quorum and one.term == newest and one.leader_id]
            return leads[0] if leads else None

        return int(until(look, lambda: f"a leader; {self.told()}", seconds))

    def follower(self) -> int:
        """The number of a node that runs and does not lead."""
        leader = self.leader()
        return next(number for number, node in self.nodes.items() if node.is_running and number != leader)

    def caught_up(self, number: int, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait until a node has what was committed when we began to wait."""
        wanted = max((status.commit_index for status in self.statuses()), default=0)

        def is_there() -> bool:
            status = self.status(number)
            return status is not None and status.applied_index >= wanted and status.role in ("follower", "leader")

        until(is_there, lambda: f"node {number} at {wanted}; {self.told()}", seconds)

    def one_root(self, *numbers: int, seconds: float = PATIENCE_SECONDS) -> str:
        """Wait until these nodes (default: all) stand at one index with a state root there, which must be equal."""
        chosen = set(numbers or self.nodes)

        def look() -> list[NodeStatus] | None:
            found = [status for status in self.statuses() if status.node_id in chosen]
            places = {(one.applied_index, one.last_index, one.root_index) for one in found}
            is_settled = len(found) == len(chosen) and len(places) == 1 and found[0].root_index > 0
            return found if is_settled and not any(one.unchecked for one in found) else None

        found = until(look, lambda: f"one index; {self.told()}", seconds)
        roots = {status.node_id: status.root for status in found}
        assert len(set(roots.values())) == 1, f"roots at index {found[0].root_index}: {roots}"
        assert not any(status.desync or status.failure for status in found)
        return str(found[0].root)

    def verify(self) -> None:
        """After all nodes have ended: every byte that they left is whole, and the logs are one chain."""
        from rsm.node.storage.scan import scan

        chains: dict[int, dict[int, bytes]] = {}
        for number, node in self.nodes.items():
            assert not node.is_running
            log = scan(OsDisk(), str(node.directory))
            chains[number] = {scanned.entry.index: scanned.chain for scanned in log}
            assert chains[number], f"node {number} has an empty log"
        shared = set.intersection(*(set(chain) for chain in chains.values()))
        committed = min(max(chain) for chain in chains.values())
        for index in sorted(shared):
            assert len({chain[index] for chain in chains.values()}) == 1, f"logs differ at {index} of {committed}"

    def told(self) -> str:
        """Where everybody stands, and the last lines of every log, for messages."""
        parts = []
        for number, node in self.nodes.items():
            status = self.status(number) if node.is_running else None
            stands = "no answer"
            if status is not None:
                stands = (
                    f"{status.role} term {status.term} commit {status.commit_index} applied {status.applied_index} "
                    f"last {status.last_index} root {status.root_index}:{status.root[:8]} {status.unchecked}"
                )
            parts.append(f"\nnode {number}: {'running' if node.is_running else 'down'}, {stands}")
            parts += [f"    {line}" for line in node.lines()[-12:]]
        return "\n".join(parts)
