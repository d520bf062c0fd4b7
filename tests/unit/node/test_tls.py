"""TLS on the members' port: whom it lets in, what it tells the others, and that its limits hold before it begins."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from rsm.errors import BadBytes, CallerError
from rsm.limits import HANDSHAKES_MAX
from rsm.node.network.certificates import init_certificates
from rsm.node.network.handshake import encode_peer_hello
from rsm.node.network.tls import Owner, TlsOptions, TlsSession, check_listen, owner_of
from rsm.node.network.wire import FrameKind, encode_frame
from tests.unit.node.sockets import Loop, both_loops, raw, read_all, run, until
from tests.unit.node.test_framing import Port
from tests.unit.node.test_transport import Node, append, hello_of, numbers, started, talk


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates of this cluster's CA, and in `other` of another one."""
    directory = tmp_path_factory.mktemp("certificates")
    init_certificates(str(directory), nodes=3, clients=["ann"], admins=["operator"])
    init_certificates(str(directory / "other"), nodes=3)
    return directory


def options(directory: Path, name: str, ca: Path | None = None) -> TlsOptions:
    """The files of one owner."""
    return TlsOptions(str((ca or directory) / "ca.crt"), str(directory / f"{name}.crt"), str(directory / f"{name}.key"))


async def connect_with(node: Node, context: ssl.SSLContext) -> str:
    """Dial with this context, say a right hello of member 2, and return what comes back or how it broke."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", node.transport.port, ssl=context)
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    try:
        writer.write(encode_frame(FrameKind.HELLO, encode_peer_hello(hello_of(2)), group_id=3))
        return (await asyncio.wait_for(reader.read(4096), 5)).decode("latin-1")
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    finally:
        writer.transport.abort()


@both_loops
def test_members_talk_over_tls(loop: Loop, certificates: Path) -> None:
    """Two members with certificates of one CA talk both ways, long messages included, also after a restart."""

    async def main() -> None:
        first, second = Node(1, tls=options(certificates, "node-1")), Node(2, tls=options(certificates, "node-2"))
        async with started(first, second):
            first.knows(n2=second.address)
            second.knows(n1=first.address)
            await until(lambda: first.links and second.links)
            assert second.transport.incoming[1].owner == Owner("peer", "node-1")
            await talk(first, second, 1)
            for number in range(2, 30):
                assert first.transport.send(2, append(number, 600_000))
            await until(lambda: numbers(second) == list(range(1, 30)), 10)
            again = Node(2, port=0, tls=options(certificates, "node-2"))
            await second.transport.close()
            async with started(again):
                again.knows(n1=first.address)
                first.knows(n2=again.address)
                await until(lambda: first.links[-1] == ("up", 2) and len(first.links) == 3 and again.links)
                await talk(first, again, 50)

    run(loop, main)


@both_loops
@pytest.mark.parametrize(
    ("who", "words"),
    [
        ("nobody", "it showed no certificate"),
        ("stranger", "its certificate is not one of our CA: "),
        ("ann", "needs a certificate of role 'peer' and name 'node-2'; this one is of role 'client' and name 'ann'"),
        ("operator", "this one is of role 'admin' and name 'operator'"),
        ("node-3", "this one is of role 'peer' and name 'node-3'"),
        ("plaintext", "it does not speak TLS"),
        ("old", "it does not speak TLS 1.3"),
    ],
)
def test_the_wrong_certificate_is_refused_with_a_logged_reason(
    loop: Loop, who: str, words: str, certificates: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """No certificate, another CA's, another role, another member's, no TLS, an old TLS: out, and the log says why."""

    async def main() -> None:
        node = Node(1, tls=options(certificates, "node-1"))
        async with started(node):
            if who == "plaintext":
                async with raw(node.transport.port) as (reader, writer):
                    writer.write(encode_frame(FrameKind.HELLO, encode_peer_hello(hello_of(2)), group_id=3))
                    await read_all(reader)
            else:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname = False
                context.load_verify_locations(certificates / "ca.crt")
                if who == "old":
                    context.maximum_version = ssl.TLSVersion.TLSv1_2
                if who != "nobody":
                    directory, name = (certificates / "other", "node-2") if who == "stranger" else (certificates, who)
                    name = "node-2" if who == "old" else name
                    context.load_cert_chain(directory / f"{name}.crt", directory / f"{name}.key")
                await connect_with(node, context)
            await until(lambda: node.transport.limiter.refused)
            assert node.transport.incoming == {}

    run(loop, main)
    lines = [message for message in caplog.messages if "connection refused" in message]
    assert len(lines) == 1
    assert words in lines[0].replace("\\'", "'")
    assert "port='peer' remote='127.0.0.1:" in lines[0]


@both_loops
def test_the_one_who_dials_checks_too(loop: Loop, certificates: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A member of another CA, or with another member's certificate, is not talked to, and both sides say why."""

    async def main() -> None:
        first = Node(1, tls=options(certificates, "node-1"))
        other = Node(2, tls=options(certificates / "other", "node-2"))
        third = Node(3, tls=options(certificates, "node-2"))
        async with started(first, other, third):
            first.knows(n2=other.address, n3=third.address)
            await until(lambda: caplog.text.count("peer not connected") >= 2)
            assert first.links == []

    run(loop, main)
    text = caplog.text.replace("\\'", "'")
    assert "node=2" in text
    assert "its certificate is not one of our CA" in text
    assert "node 3 needs a certificate of role 'peer' and name 'node-3'; this one is of role 'peer'" in text
    assert "does not know the CA that signed our certificate" in text  # at the other


@both_loops
def test_half_open_tls_connections_are_counted_from_the_first(loop: Loop, certificates: Path) -> None:
    """The bound on handshakes holds before TLS has begun, and members still get through."""

    async def main() -> None:
        first, second = Node(1, tls=options(certificates, "node-1")), Node(2, tls=options(certificates, "node-2"))
        async with started(first, second):
            sockets = [
                socket.create_connection(("127.0.0.1", first.transport.port)) for _ in range(HANDSHAKES_MAX + 50)
            ]
            for one in sockets[::2]:
                one.send(b"\x16\x03\x01\x02\x00")
            await until(lambda: first.transport.limiter.handshakes == HANDSHAKES_MAX)
            first.knows(n2=second.address)
            second.knows(n1=first.address)
            await until(lambda: first.links and second.links)
            await talk(first, second, 1)
            assert first.transport.limiter.handshakes < HANDSHAKES_MAX
            for one in sockets:
                one.close()

    run(loop, main)


def test_a_session_shakes_hands_in_pieces_of_any_size(certificates: Path) -> None:
    """Byte by byte the same comes through as in one piece, in both directions, and noise ends it with one error."""
    server = TlsSession(options(certificates, "node-1").server_context(), server_side=True)
    client = TlsSession(options(certificates, "ann").client_context(), server_side=False)
    assert client.receive(b"") == b""
    for _ in range(4):
        for sender, receiver in ((client, server), (server, client)):
            for byte in sender.take():
                assert receiver.receive(bytes([byte])) == b""
    assert client.is_shaken
    assert server.is_shaken
    assert (server.owner, client.owner) == (Owner("client", "ann"), Owner("peer", "node-1"))
    for sender, receiver in ((client, server), (server, client)):
        sender.send(bytes(100_000))
        data = sender.take()
        assert sum(len(receiver.receive(data[start : start + 777])) for start in range(0, len(data), 777)) == 100_000
    with pytest.raises(BadBytes, match=r"^(TLS: |it does not speak TLS)"):
        server.receive(bytes(100))


def test_a_client_port_knows_its_client(certificates: Path) -> None:
    """Any role of this CA may connect where no role is asked for, and the owner is known when it does."""

    async def main() -> None:
        for name, owner in (("ann", Owner("client", "ann")), ("operator", Owner("admin", "operator"))):
            async with Port(tls=options(certificates, "node-1").server_context()) as port:
                client = await port.dial(tls=options(certificates, name).client_context())
                await until(lambda client=client: client.is_open)  # type: ignore[misc]  # bound above
                client.send(encode_frame(FrameKind.HELLO, b"hello"))
                await until(lambda port=port: port.made[0].frames)  # type: ignore[misc]  # bound above
                assert port.made[0].owner == owner
                assert client.owner == Owner("peer", "node-1")

    run(asyncio.new_event_loop, main)


@pytest.mark.parametrize(
    ("subject", "owner"),
    [
        ([("organizationalUnitName", "peer"), ("commonName", "node-1")], Owner("peer", "node-1")),
        ([("commonName", "node-1")], None),
        ([("organizationalUnitName", "peer")], None),
        ([("organizationalUnitName", "king"), ("commonName", "node-1")], None),
        ([("organizationalUnitName", "peer"), ("organizationalUnitName", "admin"), ("commonName", "x")], None),
        ([("organizationalUnitName", "peer"), ("commonName", "node-1"), ("commonName", "node-2")], None),
        ([], None),
    ],
)
def test_a_certificate_names_one_role_and_one_owner(subject: list[tuple[str, str]], owner: Owner | None) -> None:
    """Two roles, two names, none, or a role that nobody knows are not guessed about."""
    certificate: dict[str, Any] = {"subject": tuple((field,) for field in subject)}
    if owner is not None:
        assert owner_of(certificate) == owner
        return
    with pytest.raises(BadBytes, match="has no role of rsm"):
        owner_of(certificate)


def test_files_that_cannot_be_used_are_named(certificates: Path, tmp_path: Path) -> None:
    """A missing file, one of another kind, and a key of somebody else are one line each."""
    good = options(certificates, "node-1")
    (tmp_path / "text").write_text("hello")
    for changes, words in (
        ({"ca": str(tmp_path / "none")}, f"cannot use the CA {tmp_path / 'none'}: No such file or directory"),
        ({"ca": str(tmp_path / "text")}, f"cannot use the CA {tmp_path / 'text'}: "),
        ({"key": str(certificates / "node-2.key")}, "key values mismatch"),
        ({"certificate": str(tmp_path / "text")}, "cannot use the certificate"),
    ):
        fields = {"ca": good.ca, "certificate": good.certificate, "key": good.key} | changes
        with pytest.raises(CallerError) as caught:
            TlsOptions(**fields).server_context()
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


def test_plaintext_stays_on_this_machine(certificates: Path) -> None:
    """Without TLS a port listens on loopback, or where somebody has said that it may."""
    tls = options(certificates, "node-1")
    for address in ("127.0.0.1:7001", "localhost:7001", "[::1]:7001", "127.9.9.9:1"):
        check_listen(address, None, False)
    for address in ("0.0.0.0:7001", "10.0.0.7:7001", "[::]:7001", "127.example.com:7001", "host:7001"):
        check_listen(address, tls, False)
        check_listen(address, None, True)
        with pytest.raises(CallerError, match="can be reached by other machines: give it TLS"):
            check_listen(address, None, False)
