"""What outsiders and mistakes do to a running cluster: a clear error for whoever made it, and the cluster is unharmed.

One cluster is abused by all tests, under a little load whose history is judged in the end. Its nodes never restart.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.cli.making import free_ports
from rsm.client.tool import Access, ToolConnection
from rsm.codec import cbor
from rsm.limits import SEND_BUFFER_BYTES_MAX
from rsm.node.network import protocol
from rsm.node.network.frame_parser import FrameParser
from rsm.node.network.handshake import ClientHello, PeerHello, encode_client_hello, encode_peer_hello, parse_refusal
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.node.service import schema_digest
from tests.faults.cluster_history import Load
from tests.faults.cluster_machine import Board
from tests.faults.cluster_processes import ClusterProcesses, NodeProcess, until

pytestmark = pytest.mark.xdist_group("cluster")

MIB = 1024 * 1024
GROWTH_BYTES_MAX = 48 * MIB
HALF_OPEN, HALF_OPEN_SOAK = 2_000, 10_000
DAYS_400 = 400 * 24 * 3600


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcesses]:
    """The cluster. In the end its nodes are those that were started, and have one root; nothing was lost or doubled."""
    with ClusterProcesses(tmp_path_factory.mktemp("abused"), faulty=(1, 2, 3)) as running:
        running.leader()
        processes = [node.process for node in running.nodes.values()]
        with Load(running.addresses, clients=2, pause_seconds=0.02) as load:
            load.wait_for_writes(10)
            yield running
            load.wait_for_writes(10)
        print(load.judge(), [len(node.logged("leading")) for node in running.nodes.values()])
        running.one_root()
        assert [node.process for node in running.nodes.values()] == processes
        assert running.stop() == [0, 0, 0]
        running.verify()


@pytest.fixture
def growth_bytes_max() -> int:
    """How much a node may have grown at most during a test."""
    return GROWTH_BYTES_MAX


@pytest.fixture(autouse=True)
def unharmed(cluster: ClusterProcesses, growth_bytes_max: int) -> Iterator[None]:
    """After each test a client is served, every node runs, and none has grown much."""
    before = {number: node.memory_bytes() for number, node in cluster.nodes.items()}
    yield
    with cluster.connect() as board:
        assert board.append("unharmed", time.monotonic_ns()) == board.length("unharmed")
    for number, node in cluster.nodes.items():
        assert node.is_running, cluster.told()
        assert not node.logged("the node has stopped")
        growth = node.memory_bytes() - before[number]
        assert growth < growth_bytes_max, f"node {number} has grown by {growth / MIB:.0f} MiB"


# --- addresses and ports ----------------------------------------------------------------------------------------------


@contextlib.contextmanager
def http_server() -> Iterator[str]:
    """Somebody who speaks something else."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


def test_addresses_that_lead_nowhere(cluster: ClusterProcesses) -> None:
    """A client says what it found at every address, in one line; one good address among bad ones is enough."""
    nobody, peers = f"127.0.0.1:{free_ports(1)[0]}", cluster.nodes[1].peer
    with http_server() as stranger:
        with pytest.raises(rsm.Unreachable) as caught:
            rsm.connect(Board, [nobody, stranger, peers], timeout_seconds=2)
        text = str(caught.value)
        assert "\n" not in text
        for address, reason in (
            (nobody, "refused"),
            (stranger, "it answers in HTTP"),
            (peers, "this port is for peer"),
        ):
            assert f"{address}: " in text, text
            assert reason in text, text
        with rsm.connect(Board, [nobody, stranger, peers, cluster.nodes[2].client]) as board:
            assert board.append("unharmed", time.monotonic_ns()) > 0


@pytest.mark.parametrize("address", ["", "localhost", "127.0.0.1:", "127.0.0.1:99999", "host name:1", "::1:7"])
def test_addresses_that_are_none(address: str) -> None:
    """A mistyped address is the caller's mistake, and named."""
    with pytest.raises(rsm.CallerError, match="address"):
        rsm.connect(Board, [address])


@pytest.mark.parametrize("port", ["peer", "client", "web"])
def test_a_port_that_is_in_use(cluster: ClusterProcesses, tmp_path: Path, port: str) -> None:
    """A node that cannot listen says where and ends with 2, in one line."""
    taken = getattr(cluster.nodes[1], port)
    stranger = cluster.stranger(3, tmp_path / "stranger", **{f"{port}_listen": taken})
    assert stranger.process is not None
    assert stranger.process.wait(30) == 2
    (line,) = (line["text"] for line in stranger.lines() if "text" in line)
    assert line.startswith("rsm: ")
    assert taken in line
    assert "address already in use" in line.lower()


# --- nodes that do not belong here ------------------------------------------------------------------------------------


def refused(cluster: ClusterProcesses, stranger: NodeProcess, reason: str, *numbers: int) -> None:
    """The stranger knows why nobody talks to him, and so do the others."""

    def is_told() -> bool:
        return len(stranger.logged("peer not connected", reason=reason)) >= len(numbers)

    until(is_told, lambda: str(stranger.lines()))
    for number in numbers:
        assert cluster.nodes[number].logged("connection refused", reason=reason, port="peer"), cluster.told()
    assert stranger.process is not None
    stranger.process.terminate()
    assert stranger.process.wait(30) == 0


def test_two_nodes_with_one_id(cluster: ClusterProcesses, tmp_path: Path) -> None:
    """The one who comes second is refused while the first is alive."""
    stranger = cluster.stranger(2, tmp_path / "stranger")
    refused(cluster, stranger, "two nodes with one id", 1, 3)


def test_a_node_of_another_cluster(cluster: ClusterProcesses, tmp_path: Path) -> None:
    """Other cluster id, same addresses: refused by both ids."""
    stranger = cluster.stranger(3, tmp_path / "stranger", cluster_id=os.urandom(16))
    refused(cluster, stranger, "another cluster", 1, 2)


def test_a_node_of_another_machine(cluster: ClusterProcesses, tmp_path: Path) -> None:
    """The same cluster id, but it runs another class."""
    stranger = cluster.stranger(3, tmp_path / "stranger", machine="tests.machines:Bank")
    refused(cluster, stranger, "another machine", 1, 2)


def test_a_client_of_another_machine(cluster: ClusterProcesses) -> None:
    """It is told so at once."""
    from tests.machines import Bank

    with pytest.raises(rsm.WrongMachine, match="another machine: this is 'board', the client wants 'bank'"):
        rsm.connect(Bank, cluster.addresses)


# --- bytes ------------------------------------------------------------------------------------------------------------


def dialed(address: str) -> socket.socket:
    """A connection."""
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=20)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def answer(connection: socket.socket, kind: FrameKind) -> bytes:
    """The payload of the next frame, which must be of this kind."""
    parser = FrameParser(40 * MIB)
    while (frame := parser.next_frame()) is None:
        data = connection.recv(65536)
        assert data, "closed without a word"
        parser.feed(data)
    assert frame[0] == kind
    return frame[1]


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side ends the connection, whatever it says before."""
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def hello_to(cluster: ClusterProcesses, port: str, **changes: Any) -> bytes:
    """What a good client or member says first, but for these fields."""
    if port == "client":
        fields = cbor.decode_canonical(encode_client_hello(ClientHello(machine="board")), bytes_max=4096)
    else:
        peer = PeerHello(
            cluster.cluster_id, 0, "board", ((1, schema_digest(Board.definition)),), "", 2, "x:1", os.urandom(8)
        )
        fields = cbor.decode_canonical(encode_peer_hello(peer), bytes_max=4096)
    return encode_frame(FrameKind.HELLO, cbor.encode(fields | changes))


@pytest.mark.parametrize("port", ["peer", "client"])
def test_a_protocol_of_the_future(cluster: ClusterProcesses, port: str) -> None:
    """Who speaks only what is not known here is told what is, and so is the log; fields that are new do not matter."""
    node = cluster.nodes[1]
    with dialed(getattr(node, port)) as connection:
        connection.sendall(hello_to(cluster, port, protocol=[2, 3], colour="green"))
        reason = parse_refusal(answer(connection, FrameKind.REFUSAL))
        assert reason == "no common protocol: the other side speaks 2 to 3, this one 1"
        assert is_closed(connection)
    assert node.logged("connection refused", reason="no common protocol", port=port)
    with dialed(getattr(node, port)) as connection:
        frame = bytearray(hello_to(cluster, port))
        frame[2] = 2  # the head itself is of protocol 2
        connection.sendall(frame)
        assert is_closed(connection)
    assert node.logged("connection refused", reason="protocol 2; this release speaks 1 to 1", port=port)


def test_a_server_of_the_future(cluster: ClusterProcesses) -> None:
    """A client that finds a newer cluster says which protocols there are."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(4096)
                        reason = "no common protocol: the other side speaks 1, this one 2 to 3"
                        connection.sendall(encode_frame(FrameKind.REFUSAL, cbor.encode([reason])))

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(rsm.Unreachable, match="no common protocol: the other side speaks 1, this one 2 to 3"):
            rsm.connect(Board, [f"127.0.0.1:{server.getsockname()[1]}"], timeout_seconds=1)
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(("port", "is_greeted"), [("peer", False), ("client", False), ("client", True)])
def test_a_frame_of_a_gibibyte(cluster: ClusterProcesses, port: str, is_greeted: bool) -> None:
    """It is refused by its head, before a byte of it is kept."""
    node = cluster.nodes[1]
    with dialed(getattr(node, port)) as connection:
        if is_greeted:
            connection.sendall(hello_to(cluster, port))
            answer(connection, FrameKind.HELLO)
        kind = FrameKind.REQUEST if is_greeted else FrameKind.HELLO
        connection.sendall(struct.pack("<HBBHHIIII", 0x7772, 1, kind, 0, 0, 0, 1 << 30, 1 << 30, 0))
        with contextlib.suppress(OSError):
            for _ in range(64):
                connection.sendall(bytes(MIB))
        assert is_closed(connection)
    assert node.logged("connection refused", reason="a frame of 1073741824 bytes exceeds the bound of", port=port)


def test_random_bytes_at_every_port(cluster: ClusterProcesses) -> None:
    """Noise, at once or byte by byte: its connection ends."""
    for node in cluster.nodes.values():
        for address in (node.peer, node.client, node.web):
            for size in (1, 23, 24, 4096, MIB):
                with dialed(address) as connection:
                    with contextlib.suppress(OSError):
                        connection.sendall(os.urandom(size))
                        connection.shutdown(socket.SHUT_WR)
                    assert is_closed(connection)


def test_noise_in_the_place_of_cbor(cluster: ClusterProcesses) -> None:
    """Frames that are whole, with payloads that are none: hellos, and requests after a good hello."""
    node = cluster.nodes[1]
    for size in (0, 1, 40, 4000):
        for port in ("peer", "client"):
            with dialed(getattr(node, port)) as connection:
                connection.sendall(encode_frame(FrameKind.HELLO, os.urandom(size)))
                assert is_closed(connection)
        with dialed(node.client) as connection:
            connection.sendall(hello_to(cluster, "client"))
            answer(connection, FrameKind.HELLO)
            connection.sendall(encode_frame(FrameKind.REQUEST, os.urandom(size)))
            assert is_closed(connection)


# --- too much ---------------------------------------------------------------------------------------------------------


def test_half_open_connections(cluster: ClusterProcesses, soak: bool) -> None:
    """Thousands of connections that never say who they are, at all ports: who speaks is let in beside them."""
    addresses = [address for node in cluster.nodes.values() for address in (node.peer, node.client)]
    count = HALF_OPEN_SOAK if soak else HALF_OPEN
    time.sleep(1.1)  # a second of its own: of the refusals in one second, only so many reasons are logged
    with contextlib.ExitStack() as stack:
        for number in range(count):
            # One that the node has closed already is held all the same.
            stack.enter_context(dialed(addresses[number % len(addresses)]))
        for node in cluster.nodes.values():
            for _ in range(100):
                stack.enter_context(dialed(node.web))
        began = time.monotonic()
        with cluster.connect() as board:
            assert board.append("unharmed", time.monotonic_ns()) > 0
        assert time.monotonic() - began < 10
        assert len(cluster.statuses()) == 3
    reason = "too many connections that have not shaken hands"
    assert cluster.nodes[1].logged("connection refused", reason=reason, port="client")


@pytest.mark.parametrize("growth_bytes_max", [SEND_BUFFER_BYTES_MAX + GROWTH_BYTES_MAX])
def test_a_client_that_stops_reading(cluster: ClusterProcesses) -> None:
    """It asks for a gigabyte and takes nothing: it is cut off, and others are served meanwhile."""
    node = cluster.nodes[cluster.follower()]
    with dialed(node.client) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(hello_to(cluster, "client"))
        answer(connection, FrameKind.HELLO)
        query = protocol.Query("zeros", [MIB - 100], protocol.Consistency.STALE, 0)
        with contextlib.suppress(OSError):
            for number in range(1, 1025):
                connection.sendall(encode_frame(FrameKind.REQUEST, protocol.encode_request(number, query)))
        with cluster.connect() as board:
            assert board.append("unharmed", time.monotonic_ns()) > 0
        until(lambda: node.logged("connection refused", reason="read", port="client"), cluster.told)


# --- clocks -----------------------------------------------------------------------------------------------------------


def set_clock(node: NodeProcess, seconds: float) -> None:
    """Let the node's wall clock be wrong by so much."""
    path = node.faults / "clock.new"
    path.write_text(f"{seconds}", encoding="ascii")
    path.rename(node.faults / "clock")


@pytest.mark.parametrize("seconds", [DAYS_400, 30 * 24 * 3600, -DAYS_400])
def test_a_wall_clock_jumps(cluster: ClusterProcesses, seconds: float) -> None:
    """The leader's, and that of a follower who then leads: log time goes on as before, and no session ends of it."""
    leader, heir = cluster.leader(), cluster.follower()
    with cluster.connect(session_ttl_seconds=30) as board:
        times = [board.status().log_time]
        assert times[0] > 0
        began = time.monotonic()
        set_clock(cluster.nodes[leader], seconds)
        board.append("unharmed", time.monotonic_ns())
        times.append(board.status().log_time)
        set_clock(cluster.nodes[heir], seconds)
        set_clock(cluster.nodes[leader], 0)
        address = cluster.nodes[leader].client
        with ToolConnection(address, Access((address,))) as connection:
            connection.request(protocol.Transfer(heir))
        board.append("unharmed", time.monotonic_ns())
        times.append(board.status().log_time)
        set_clock(cluster.nodes[heir], 0)
        board.append("unharmed", time.monotonic_ns())
        assert times == sorted(times)
        assert (times[-1] - times[0]) * 1e-9 < time.monotonic() - began + 60
