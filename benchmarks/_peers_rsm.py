"""rsm itself: three `rsm node` processes with their defaults (each entry synced), and clients through `rsm.connect`."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
from array import array
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

from _cluster import Contender
from _load import ANSWER_SECONDS_MAX, Pacer, Recorder, now, serve
from _orders import Orders
from _processes import Child, ChildFailed, directory_bytes, free_ports, resident_bytes, until
from snapshot import KEYS_SPREAD, Registry

import rsm
from demos.orderbook.machine import OrderBook
from rsm.node.config import (
    ClusterSection,
    LimitsSection,
    LogSection,
    MemberConfig,
    NodeConfig,
    NodeSection,
    write_config,
)

NODES = 3
DEFAULT_LIMITS = LimitsSection()
START_SECONDS_MAX = 30.0
ROOTS_SECONDS_MAX = 30.0
PAGE_SECONDS_MAX = 2.0
OPENING_IN_FLIGHT = 64
ORDER_BOOK = "demos.orderbook.machine:OrderBook"
PROGRAM = (sys.executable, "-c", "import sys; from rsm.cli.main import main; sys.exit(main())")


class Nodes:
    """The node processes of one cluster, and what their status ports say."""

    def __init__(self, machine: str, directory: Path, limits: LimitsSection = DEFAULT_LIMITS) -> None:
        self._machine = machine
        self._limits = limits
        self._directory = directory
        self._cluster_id = os.urandom(16).hex()
        self._web_ports: list[int] = []
        self.children: list[Child] = []
        ports = iter(free_ports(2 * NODES))
        self.members = [
            MemberConfig(id=number + 1, peer=f"127.0.0.1:{next(ports)}", client=f"127.0.0.1:{next(ports)}")
            for number in range(NODES)
        ]
        for member in self.members:
            self._web_ports += free_ports(1)
            self.children.append(self._start(member, is_founding=True))

    @property
    def addresses(self) -> list[str]:
        """Where clients connect to."""
        return [member.client for member in self.members]

    def data(self, member: MemberConfig) -> Path:
        """A node's directory."""
        return self._directory / f"node{member.id}"

    def restart(self, place: int) -> None:
        """Start the node at `place` again, which has ended; with what it has in its directory, if it has one."""
        self.children[place] = self._start(self.members[place], is_founding=False)

    def _start(self, member: MemberConfig, *, is_founding: bool) -> Child:
        found = ["--found"] if is_founding else []
        path = self._directory / f"node{member.id}.toml"
        node = NodeSection(
            id=member.id,
            directory=str(self.data(member)),
            peer_listen=member.peer,
            client_listen=member.client,
            web_listen=f"127.0.0.1:{self._web_ports[member.id - 1]}",
            machine=self._machine,
        )
        cluster = ClusterSection(members=tuple(self.members), id=self._cluster_id)
        log = LogSection(level="warning")
        write_config(str(path), NodeConfig(node=node, cluster=cluster, limits=self._limits, log=log))
        return Child(f"node{member.id}", [*PROGRAM, "node", "--config", str(path), *found], self._directory)

    def page(self, place: int, path: str = "/") -> dict[str, Any]:
        """What the status port of the node at `place` says; empty where there is none yet."""
        if self.children[place].process.poll() is not None:
            raise ChildFailed(f"{self.children[place].name} ended: {self.children[place].last_words()}")
        url = f"http://127.0.0.1:{self._web_ports[place]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=PAGE_SECONDS_MAX) as answer:
                found: dict[str, Any] = json.load(answer)
        except urllib.error.HTTPError as error:
            found = json.load(error)
        except OSError:
            return {}
        return found

    def is_ready(self, place: int) -> bool:
        """Whether a node serves."""
        return bool(self.page(place, "/ready").get("ok"))

    def wait(self) -> None:
        """Until all serve."""
        places = range(len(self.children))
        try:
            until(lambda: all(map(self.is_ready, places)), "three nodes that serve", START_SECONDS_MAX)
        except ChildFailed as error:
            reasons = [self.page(place, "/ready").get("reason", "no answer") for place in places]
            raise ChildFailed(f"{error}: {reasons}; {[child.last_words() for child in self.children]}") from None

    def check_roots(self) -> None:
        """Raise unless all nodes have the same root at the same index once nothing is in flight any more."""
        found: list[tuple[int, str]] = []

        def is_equal() -> bool:
            found[:] = [(page["root_index"], page["root"]) for page in map(self.page, range(len(self.children)))]
            if len({index for index, _ in found}) == 1 and len(set(found)) > 1:
                raise RuntimeError(f"the nodes' roots differ: {found}")
            return len(set(found)) == 1

        until(is_equal, "equal roots at an equal index", ROOTS_SECONDS_MAX)


class Rsm(Contender):
    """The order book on three nodes."""

    is_durable = True

    def __init__(
        self,
        directory: Path,
        limits: LimitsSection,
        *,
        clients: int,
        day_commands: int,
        name: str = "rsm",
        machine: str = ORDER_BOOK,
    ) -> None:
        super().__init__(name)
        self.what = "rsm, every entry synced, sessions and roots on, over TCP"
        self._directory = directory / name
        self._directory.mkdir()
        self._sizes = clients, day_commands
        self.cluster = Nodes(machine, self._directory, limits)
        self.nodes = self.cluster.children

    def prepare(self) -> None:
        """Wait for the nodes, and start the clients, which open their markets."""
        self.cluster.wait()
        clients, day_commands = self._sizes
        addresses = ",".join(self.cluster.addresses)
        for number in range(clients):
            arguments = [sys.executable, __file__, "orders", addresses, *map(str, (number, clients, day_commands))]
            self.clients.append(Child(f"client{number}", arguments, self._directory, talks=True))
        for child in self.clients:
            child.ask("ready")

    def check(self) -> None:
        """The three roots are equal."""
        self.cluster.check_roots()

    def soak(self, commands_per_second: float, seconds: float, every_seconds: float) -> Iterator[dict[str, Any]]:
        """Keep a steady load, and tell now and then how the nodes do."""
        for child in self.clients:
            child.ask("pace", commands_per_second=commands_per_second / len(self.clients))
        began = last = time.monotonic()
        while last - began < seconds:
            time.sleep(max(0.0, last + every_seconds - time.monotonic()))
            latencies = report(self.clients, self._directory)
            at = time.monotonic()
            yield {
                "at_seconds": round(at - began, 1),
                "commands_per_second": round(len(latencies) / (at - last)),
                **percentiles(latencies),
                "resident_bytes": [resident_bytes(child.pid) for child in self.nodes],
                **{f"{part}_bytes": self._bytes(part) for part in ("log", "snapshots")},
            }
            last = at
        for child in self.clients:
            child.ask("stop", seconds_max=2 * ANSWER_SECONDS_MAX)

    def _bytes(self, part: str) -> list[int]:
        return [directory_bytes(self.cluster.data(member) / part) for member in self.cluster.members]


def report(clients: Sequence[Child], directory: Path) -> array[float]:
    """What paced clients measured since the last report. Raises if a command failed."""
    latencies: array[float] = array("d")
    for child in clients:
        path = directory / "report"
        if child.ask("report", path=str(path))["failed"]:
            raise ChildFailed(f"{child.name}: a command failed: {child.last_words()}")
        latencies.frombytes(path.read_bytes())
    return latencies


def percentiles(latencies: array[float]) -> dict[str, float | None]:
    """Median and 99th percentile, or None of nothing."""
    ordered = sorted(latencies)
    return {
        f"{name}_milliseconds": round(ordered[int(fraction * len(ordered))] * 1e3, 3) if ordered else None
        for name, fraction in (("p50", 0.5), ("p99", 0.99))
    }


# --- the client's process ---------------------------------------------------------------------------------------------


class Client:
    """Sends what `send` sends: in a closed loop, or at a steady rate."""

    def __init__(self, send: Callable[[], Any]) -> None:
        self._send = send
        self._pacer: Pacer | None = None

    def run(self, in_flight: int, begins: float, ends: float, latencies: str) -> dict[str, Any]:
        """Keep commands in flight; the answer of the oldest makes room for the next."""
        recorder, send = Recorder(begins, ends), self._send
        pending: deque[tuple[float, Any]] = deque()
        while pending or now() < ends:
            if len(pending) < in_flight and (sent_at := now()) < ends:
                pending.append((sent_at, send()))
                continue
            sent_at, oldest = pending.popleft()
            oldest.result(ANSWER_SECONDS_MAX)
            recorder.done(sent_at, now())
        return recorder.report(latencies)

    def pace(self, commands_per_second: float, in_flight_max: int = 10_000) -> dict[str, Any]:
        """Begin a steady load."""
        self._pacer = Pacer(self._send, commands_per_second, in_flight_max)
        return {}

    def report(self, path: str) -> dict[str, Any]:
        """What the steady load measured since the last report."""
        assert self._pacer is not None
        return self._pacer.report(path)

    def stop(self) -> dict[str, Any]:
        """End the steady load."""
        assert self._pacer is not None
        self._pacer.stop()
        return {}


def orders_sender(addresses: list[str], number: int, clients: int, day_commands: int) -> Callable[[], Any]:
    """Open the markets of a client of the order book; what sends its next command."""
    orders = Orders(number, clients, day_commands)
    machine: Any = rsm.connect(OrderBook, addresses, principal=orders.principal, timeout_seconds=ANSWER_SECONDS_MAX)
    sends = {name: getattr(machine, name).send for name in {call.name for call in orders.day}}
    fill(getattr(machine, name).send(*values) for name, values in orders.opening)
    days = orders.days()

    def send() -> Any:
        name, values = next(days)
        return sends[name](*values)

    return send


def registry_sender(addresses: list[str], keys: int, keys_per_command: int) -> Callable[[], Any]:
    """Fill the registry of `snapshot.py`; what sends the next change of one key."""
    machine: Any = rsm.connect(Registry, addresses, timeout_seconds=ANSWER_SECONDS_MAX)
    fill(machine.fill.send(first, min(keys_per_command, keys - first)) for first in range(0, keys, keys_per_command))
    numbers = count(1)
    return lambda: machine.add.send(next(numbers) * KEYS_SPREAD % keys, 1)


def fill(commands: Iterator[Any]) -> None:
    """Send commands with a few in flight, and wait for all."""
    pending: deque[Any] = deque()
    for command in commands:
        pending.append(command)
        if len(pending) == OPENING_IN_FLIGHT:
            pending.popleft().result(ANSWER_SECONDS_MAX)
    while pending:
        pending.popleft().result(ANSWER_SECONDS_MAX)


def main(kind: str, addresses: str, *sizes: str) -> None:
    """The child."""
    sender = orders_sender if kind == "orders" else registry_sender
    client = Client(sender(addresses.split(","), *map(int, sizes)))
    with contextlib.suppress(KeyboardInterrupt):
        serve(run=client.run, pace=client.pace, report=client.report, stop=client.stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
    # The connection's thread may still have something in flight that nobody waits for.
    sys.stdout.flush()
    os._exit(0)
