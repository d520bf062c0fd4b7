"""A cluster with certificates of `rsm certs init`: who has none, or a wrong one, stays out, and the log says why."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

import rsm
from rsm.cli.main import main
from rsm.errors import RsmError
from rsm.limits import PEER_MESSAGE_BYTES_MAX
from rsm.node.network.frame_parser import FrameParser
from rsm.node.network.handshake import PeerHello, encode_peer_hello, parse_refusal
from rsm.node.network.tls import TlsOptions
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.node.service import schema_digest
from tests.faults.cluster_history import Load
from tests.faults.cluster_machine import Board
from tests.faults.cluster_processes import ClusterProcesses, NodeProcess, until

pytestmark = pytest.mark.xdist_group("cluster")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of the cluster's CA, and in `other` of another one."""
    directory = tmp_path_factory.mktemp("certificates")
    names = ["--nodes", "3", "--client", "client", "--admin", "operator"]
    assert main(["certs", "init", "--dir", str(directory / "ours"), *names]) == 0
    assert main(["certs", "init", "--dir", str(directory / "other"), *names]) == 0
    return directory


def owner(directory: Path, name: str) -> TlsOptions:
    """The files of one owner."""
    return TlsOptions(*(str(directory / file) for file in ("ca.crt", f"{name}.crt", f"{name}.key")))


@pytest.fixture(scope="module")
def cluster(certificates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterProcesses]:
    """The cluster, under a little load; in the end nothing was lost, and the nodes have one root."""
    directory = tmp_path_factory.mktemp("sealed")
    with ClusterProcesses(directory, tls=lambda name: owner(certificates / "ours", name)) as running:
        running.leader()
        with Load(running.addresses, clients=2, tls=running.access, pause_seconds=0.02) as load:
            load.wait_for_writes(10)
            yield running
            load.wait_for_writes(10)
        load.judge()
        running.one_root()
        assert running.stop() == [0, 0, 0]
        running.verify()


def logged(node: NodeProcess, port: str, reason: str) -> None:
    """The node has logged this refusal."""
    until(lambda: node.logged("connection refused", port=port, reason=reason), lambda: str(node.lines()), 10)


def test_a_client_of_the_cluster(cluster: ClusterProcesses, certificates: Path) -> None:
    """Its certificate lets it in, and so does the administrator's; that of a member writes nothing here."""
    for name in ("client", "operator"):
        with rsm.connect(Board, cluster.addresses, tls=owner(certificates / "ours", name)) as board:
            board.add("served", 1)
            assert board.counter("served") > 0
    with pytest.raises(rsm.CallerError, match="'peer' write nothing here"):
        rsm.connect(Board, cluster.addresses, tls=owner(certificates / "ours", "node-1"))


def test_a_client_without_tls(cluster: ClusterProcesses) -> None:
    """Plain frames end at the first byte."""
    with pytest.raises(rsm.Unreachable) as caught:
        rsm.connect(Board, [cluster.nodes[1].client], timeout_seconds=2)
    assert "\n" not in str(caught.value)
    logged(cluster.nodes[1], "client", "TLS")


def shaken(address: str, context: ssl.SSLContext) -> str:
    """Shake hands and read on; how that ended."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as plain:
        try:
            with context.wrap_socket(plain) as connection:
                return "read" if connection.recv(65536) else "closed"
        except (ssl.SSLError, ConnectionError) as error:
            return str(error)


@pytest.mark.parametrize("port", ["peer", "client"])
def test_no_certificate(cluster: ClusterProcesses, certificates: Path, port: str) -> None:
    """TLS alone is not enough, at either port."""
    context = ssl.create_default_context(cafile=str(certificates / "ours" / "ca.crt"))
    context.check_hostname = False
    assert "certificate required" in shaken(getattr(cluster.nodes[1], port), context).lower().replace("_", " ")
    logged(cluster.nodes[1], port, "it showed no certificate")


@pytest.mark.parametrize("port", ["peer", "client"])
def test_a_certificate_of_another_ca(cluster: ClusterProcesses, certificates: Path, port: str) -> None:
    """A certificate with the right role and name, that somebody else has signed."""
    context = ssl.create_default_context(cafile=str(certificates / "ours" / "ca.crt"))
    context.check_hostname = False
    stranger = owner(certificates / "other", "node-2" if port == "peer" else "client")
    context.load_cert_chain(stranger.certificate, stranger.key)
    assert "unknown ca" in shaken(getattr(cluster.nodes[1], port), context).lower().replace("_", " ")
    logged(cluster.nodes[1], port, "its certificate is not one of our CA")


def test_a_client_that_trusts_another_ca(cluster: ClusterProcesses, certificates: Path) -> None:
    """It does not talk to servers that its own CA does not know, and says so."""
    with pytest.raises(rsm.Unreachable, match="its certificate is not one of our CA") as caught:
        rsm.connect(Board, [cluster.nodes[1].client], tls=owner(certificates / "other", "client"), timeout_seconds=2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["client", "operator", "node-3"])
def test_the_wrong_owner_at_the_port_of_members(cluster: ClusterProcesses, certificates: Path, name: str) -> None:
    """A good hello of member 2 with the certificate of a client, an administrator, or of another member."""
    node = cluster.nodes[1]
    hello = PeerHello(
        cluster.cluster_id, 0, "board", ((1, schema_digest(Board.definition)),), "", 2, "x:1", os.urandom(8)
    )
    context = owner(certificates / "ours", name).client_context()
    host, _, port = node.peer.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=10) as plain,
        context.wrap_socket(plain) as connection,
    ):
        connection.sendall(encode_frame(FrameKind.HELLO, encode_peer_hello(hello)))
        parser = FrameParser(PEER_MESSAGE_BYTES_MAX)
        while (frame := parser.next_frame()) is None:
            data = connection.recv(65536)
            assert data
            parser.feed(data)
        assert frame[0] == FrameKind.REFUSAL
        reason = parse_refusal(frame[1])
        assert reason.startswith("wrong role: node 2 needs a certificate of role 'peer' and name 'node-2'")
    logged(node, "peer", "wrong role: node 2 needs a certificate of role 'peer' and name 'node-2'")


def test_only_an_administrator_changes_the_cluster(
    cluster: ClusterProcesses, certificates: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`rsm member` wants the role; the certificate of a client reads and writes, and no more."""
    words = ["member", "transfer"]
    for address in cluster.addresses:
        words += ["--address", address]

    def run(name: str) -> int:
        files = owner(certificates / "ours", name)
        return main([*words, "--tls-ca", files.ca, "--tls-cert", files.certificate, "--tls-key", files.key])

    assert run("client") == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "admin" in told
    assert run("operator") == 0


def test_the_other_side_of_a_refusal_is_an_error_of_ours(cluster: ClusterProcesses, certificates: Path) -> None:
    """A client with a certificate of another CA, but the right CA to trust, gets one of rsm's errors, in one line."""
    ours, other = owner(certificates / "ours", "client"), owner(certificates / "other", "client")
    mixed = TlsOptions(ours.ca, other.certificate, other.key)
    with pytest.raises(RsmError) as caught:
        rsm.connect(Board, [cluster.nodes[1].client], tls=mixed, timeout_seconds=2)
    assert isinstance(caught.value, rsm.Unreachable)
    assert "\n" not in str(caught.value)
    assert "does not know the CA that signed our certificate" in str(caught.value)
