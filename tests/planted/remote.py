"""A stage whose third node is a process of its own, with another environment, flags, or Python.

It takes part in the stage's time and network like the others: its messages are those of the wire. It never leads, since
its patience is longer than theirs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import heapq
import os
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from tests.cluster_stage import CLUSTER_ID, LATENCY_SECONDS, TICK_SECONDS
from tests.documents import ROOT
from tests.machines import START
from tests.planted.live import BAD, Nodes
from tests.planted.loading import MODULE

PROGRAM = Path(__file__).with_name("remote_node.py")
LENGTH = struct.Struct(">I")
PATIENCE = {"election_seconds_min": 3.0, "election_seconds_max": 4.0}


@dataclasses.dataclass(frozen=True)
class Setting:
    """How the process is run: additions to the environment, flags, and the interpreter."""

    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)
    flags: tuple[str, ...] = ()
    python: str = sys.executable


class RemoteMember:
    """As much of a `Member` as a stage asks for."""

    def __init__(self, setting: Setting, checkout: Path, values: dict[str, Any]) -> None:
        self.node_id = values["options"]["node_id"]
        self.leading = SimpleNamespace(is_ready=False)
        self.replica = SimpleNamespace(confirmed_index=0, root=lambda: self._ask("root"))
        self.journal = SimpleNamespace(first_index=1, last_index=0)
        self.agreeing = SimpleNamespace(standing="well")
        self.is_leader, self.is_recovering, self.leader_id = False, False, None
        self.term = self.applied_index = self.commit_index = 0
        self.outbox: list[tuple[int, bytes]] = []
        self._events: list[list[Any]] = []
        self._words = (checkout.parent / "node-3.log").open("ab")
        self._process = subprocess.Popen(
            [setting.python, *setting.flags, str(PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            bufsize=0,
            env=os.environ | {"PYTHONPATH": os.pathsep.join((str(checkout), str(ROOT)))} | setting.environment,
        )
        self._ask("open", **values)

    def _ask(self, name: str, **values: Any) -> Any:
        source, target = self._process.stdout, self._process.stdin
        assert source is not None
        assert target is not None
        data = msgspec.msgpack.encode([name, values])
        target.write(LENGTH.pack(len(data)) + data)
        return msgspec.msgpack.decode(self._read(*LENGTH.unpack(self._read(LENGTH.size))))

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        data = b""
        while len(data) < count:
            more = self._process.stdout.read(count - len(data))
            if not more:
                raise AssertionError(f"the process of node {self.node_id} has ended: {self.said()}")
            data += more
        return data

    def said(self) -> str:
        """The end of what it wrote."""
        self._words.flush()
        return Path(self._words.name).read_text()[-2000:]

    def connected(self, peer: int, _: float) -> None:
        self._events.append(["connected", peer])

    def disconnected(self, peer: int, _: float) -> None:
        self._events.append(["disconnected", peer])

    def receive(self, sender: int, data: bytes) -> None:
        """A message, as it came over the wire."""
        self._events.append(["receive", sender, data])

    def turn(self, now: float) -> None:
        """Everything since the last turn, and what it led to."""
        events, self._events = self._events, []
        found = self._ask("turn", now=now, events=events)
        self.outbox += found["outbox"]
        self.is_leader, self.term = found["is_leader"], found["term"]
        self.applied_index, self.commit_index = found["applied_index"], found["commit_index"]
        self.journal.last_index = found["last_index"]
        self.replica.confirmed_index = found["confirmed_index"]
        self.agreeing.standing = found["standing"]

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()
        self._process.kill()
        self._process.wait(30)
        self._words.close()


class RemoteNodes(Nodes):
    """Nodes 1 and 2 in this process, node 3 in its own. It is started once."""

    def __init__(self, make: Callable[[int], Any], name: str, checkout: Path, setting: Setting) -> None:
        super().__init__(make)
        self.reference, self.checkout, self.setting = f"{MODULE}:{name}", checkout, setting
        self.path = checkout.parent / "node-3"

    def start(self, *numbers: int, leader: bool = True) -> None:
        for number in numbers or self.disks:
            if number != BAD:
                super().start(number, leader=False)
        values = {
            "machine": self.reference,
            "founders": [(one.id, one.peer_address, one.client_address) for one in self.founders.members],
            "cluster_id": CLUSTER_ID,
            "path": str(self.path),
            "now": self.now,
            "start": START,
            "tick_seconds": TICK_SECONDS,
            "options": {"node_id": BAD, **PATIENCE},
            "chance": "node 3",
        }
        self.members[BAD] = RemoteMember(self.setting, self.checkout, values)  # type: ignore[assignment]
        self._reconnect(BAD)
        if leader:
            self.leader()

    def _deliver(self, sender: int, data: bytes, node: Any) -> None:
        if isinstance(node, RemoteMember):
            node.receive(sender, data)
        else:
            super()._deliver(sender, data, node)

    def _turn(self, node: Any) -> None:
        if isinstance(node, RemoteMember):
            node.turn(self.now)
            outbox, node.outbox = node.outbox, []
            for receiver, data in outbox:
                if frozenset((BAD, receiver)) not in self._cut:
                    heapq.heappush(self._wire, (self.now + LATENCY_SECONDS, next(self._numbers), BAD, receiver, data))
        else:
            super()._turn(node)

    def kill(self, number: int) -> None:
        node = self.members.get(number)
        super().kill(number)
        if isinstance(node, RemoteMember):
            node.close()

    def write_out(self, directory: Path) -> dict[int, Path]:
        return super().write_out(directory) | {BAD: self.path}
