"""The members' port over real sockets: messages in order, links that heal, and offenders that are told and kept out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import AsyncIterator
from typing import Any, cast

import msgspec
import pytest

from rsm.codec import cbor
from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError
from rsm.limits import HANDSHAKES_MAX, PEER_BEATS_MISSED_MAX, SEND_BUFFER_BYTES_MAX
from rsm.node.network import transport as transport_module
from rsm.node.network.handshake import PeerHello, encode_peer_hello, parse_refusal
from rsm.node.network.tls import TlsOptions
from rsm.node.network.transport import PeerTransport
from rsm.node.network.wire import HEAD_BYTES, FrameKind, decode_head, encode_frame, payload_of
from rsm.raft.messages import AppendEntries, Message, PreVote, SnapshotAck, SnapshotChunk, TimeoutNow, encode_message
from tests.unit.node.sockets import Loop, both_loops, raw, read_all, resident_bytes, run, until
from tests.unit.node.test_framing import GIBIBYTE_HEAD

HELLO = PeerHello(bytes(15) + b"\x01", 3, "bank", ((1, bytes(16)),), "c0de", 1, "127.0.0.1:0", b"run-0001")


def hello_of(node_id: int, **changes: Any) -> PeerHello:
    """What a member of the tests' cluster says."""
    return msgspec.structs.replace(HELLO, **({"node_id": node_id, "instance": b"run-%04d" % node_id} | changes))


class Node:
    """A transport that remembers what it was told."""

    def __init__(
        self,
        node_id: int,
        *,
        port: int = 0,
        tls: TlsOptions | None = None,
        members: tuple[int, ...] = (1, 2, 3),
        strict_code: bool = False,
        **changes: Any,
    ) -> None:
        self.received: list[tuple[int, Message]] = []
        self.links: list[tuple[str, int]] = []
        self.members = set(members)
        self.transport = PeerTransport(
            hello=hello_of(node_id, **changes),
            listen=("127.0.0.1", port),
            tls=tls,
            on_message=lambda peer, message: self.received.append((peer, message)),
            on_connected=lambda peer: self.links.append(("up", peer)),
            on_disconnected=lambda peer: self.links.append(("down", peer)),
            is_member=lambda node: node in self.members,
            random=random.Random(node_id),
            code_must_match=strict_code,
        )

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.transport.port}"

    def knows(self, **addresses: str) -> None:
        """Set the peers: knows(n2="host:port")."""
        self.transport.set_peers({int(name[1:]): address for name, address in addresses.items()})


@contextlib.asynccontextmanager
async def started(*nodes: Node) -> AsyncIterator[None]:
    """Nodes that listen, and are closed in the end."""
    try:
        for node in nodes:
            await node.transport.start()
        yield
    finally:
        for node in nodes:
            await node.transport.close()


@contextlib.asynccontextmanager
async def pair(**options: Any) -> AsyncIterator[tuple[Node, Node]]:
    """Nodes 1 and 2, connected both ways."""
    first, second = Node(1, **options), Node(2, **options)
    async with started(first, second):
        first.knows(n1=first.address, n2=second.address)
        second.knows(n1=first.address, n2=second.address)
        await until(lambda: first.links and second.links)
        yield first, second


def append(number: int, size: int = 0) -> AppendEntries:
    """A message that can be told from others."""
    entries = (Entry(1, 1, RecordKind.BATCH, os.urandom(size // 2) + bytes(size // 2)),) if size else ()
    return AppendEntries(1, 0, 0, number, 0, 0, entries)


def numbers(node: Node) -> list[int]:
    """The numbers of the `append`s that a node received."""
    return [message.commit_index for _, message in node.received if isinstance(message, AppendEntries)]


async def talk(first: Node, second: Node, number: int) -> None:
    """A message each way, and both arrive."""
    assert first.transport.send(2, append(number))
    assert second.transport.send(1, append(number))
    await until(lambda: numbers(first)[-1:] == [number] and numbers(second)[-1:] == [number])


@both_loops
def test_messages_arrive_in_order(loop: Loop) -> None:
    """Thousands of messages of all sizes, sent in turns, arrive whole and in the order in which they were sent."""

    async def main() -> None:
        async with pair() as (first, second):
            sent: list[Message] = []
            for number in range(2000):
                sent.append(append(number, 200_000 if number % 100 == 0 else number % 3 * 500))
                assert first.transport.send(2, sent[-1])
                if number % 50 == 0:
                    await asyncio.sleep(0)
            sent += [PreVote(3, 2, 1), TimeoutNow(3), SnapshotChunk(3, 64, 0, (bytes(50_000), b"x"), True)]
            sent.append(SnapshotAck(3, 64, 1))
            for message in sent[-4:]:
                assert first.transport.send(2, message)
            await until(lambda: len(second.received) == len(sent))
            assert second.received == [(1, message) for message in sent]
            assert first.received == []
            outgoing, incoming = first.transport.stats[2], second.transport.stats[1]
            assert outgoing.messages_out == incoming.messages_in == len(sent)
            assert outgoing.bytes_out == incoming.bytes_in
            # The half of zeros in every entry went as next to nothing.
            assert outgoing.bytes_out < 0.7 * sum(len(encode_message(message)) for message in sent)
            assert outgoing.connected_seconds is not None
            assert outgoing.hello == second.transport.hello

    run(loop, main)


@both_loops
def test_messages_of_one_turn_leave_together_or_when_told(loop: Loop) -> None:
    """What is sent waits for the end of the loop's turn, or for `flush`."""

    async def main() -> None:
        async with pair() as (first, second):
            before = first.transport.stats[2].bytes_out
            for number in range(3):
                assert first.transport.send(2, append(number))
            assert first.transport.stats[2].bytes_out == before
            first.transport.flush()
            assert first.transport.stats[2].bytes_out > before
            assert first.transport.send(2, append(3))
            await until(lambda: numbers(second) == [0, 1, 2, 3])

    run(loop, main)


@both_loops
def test_nothing_is_sent_to_those_who_are_not_there(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """`send` says that it dropped the message; the log says once that a member cannot be reached, and why."""

    async def main() -> None:
        node = Node(1)
        async with started(node):
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                node.knows(n2=f"127.0.0.1:{unused.getsockname()[1]}", n3="nonsense")
                await asyncio.sleep(0.3)
            assert not node.transport.send(2, append(1))
            assert not node.transport.send(9, append(1))
            assert node.transport.stats[2].messages_dropped == 1
            assert node.links == []

    run(loop, main)
    assert len(caplog.messages) == 2
    assert "node=2" in caplog.text
    assert "reason='connection refused'" in caplog.text
    assert "'nonsense' is not an address" in caplog.text


@both_loops
def test_a_link_heals_when_the_peer_is_back(loop: Loop) -> None:
    """A peer that went away and came back on its address is connected again; owners hear up and down in turns."""

    async def main() -> None:
        async with pair() as (first, second):
            await talk(first, second, 1)
            port = second.transport.port
            await second.transport.close()
            await until(lambda: first.links == [("up", 2), ("down", 2)])
            assert not first.transport.send(2, append(2))
            assert second.links == [("up", 1)]  # who closes hears nothing any more
            again = Node(2, port=port)
            again.transport.hello = hello_of(2)
            async with started(again):
                again.knows(n1=first.address)
                await until(lambda: first.links[2:] == [("up", 2)] and again.links)
                await talk(first, again, 3)
                assert first.transport.stats[2].connections == 2

    run(loop, main)


@both_loops
def test_peers_are_dropped_and_moved(loop: Loop) -> None:
    """`set_peers` closes what is not wanted any more, and dials a member anew whose address has changed."""

    async def main() -> None:
        moved = Node(2)
        async with pair() as (first, second), started(moved):
            first.knows(n2=moved.address)
            await until(lambda: first.links == [("up", 2), ("down", 2), ("up", 2)])
            assert first.transport.send(2, append(5))
            await until(lambda: numbers(moved) == [5])
            assert numbers(second) == []
            first.members.discard(2)
            first.knows()
            await until(lambda: first.links[3:] == [("down", 2)] and ("down", 1) in second.links)
            assert not first.transport.send(2, append(6))
            assert first.transport.incoming == {}
            assert first.transport.stats == {}

    run(loop, main)


@pytest.mark.parametrize("host", ["x" * 64 + ".example", "a..b", "10.0.0.1.%"])
def test_a_name_that_no_host_has_is_told_and_dialed_again(host: str, caplog: pytest.LogCaptureFixture) -> None:
    """The link says once what is wrong with it, and goes on; the other links do not notice."""

    async def main() -> None:
        async with pair() as (first, second):
            first.knows(n2=second.address, n3=f"{host}:1")
            task = first.transport._links[3].task
            await until(lambda: any("peer not connected" in message for message in caplog.messages))
            await asyncio.sleep(0.15)
            assert not task.done()
            await talk(first, second, 1)

    run(asyncio.new_event_loop, main)
    assert sum("peer not connected" in message for message in caplog.messages) == 1


def test_whatever_goes_wrong_with_a_link_it_is_dialed_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody has foreseen is logged with its traceback once, and the member is reached when it is over."""

    async def main() -> None:
        first, second = Node(1), Node(2)
        split, failures = transport_module.split_address, iter(range(3))

        def broken(address: str) -> tuple[str, int]:
            if address == second.address and next(failures, None) is not None:
                raise ZeroDivisionError("not foreseen")
            return split(address)

        monkeypatch.setattr(transport_module, "split_address", broken)
        async with started(first, second):
            first.knows(n2=second.address)
            second.knows(n1=first.address)
            await until(lambda: first.links and second.links)
            await talk(first, second, 1)

    run(asyncio.new_event_loop, main)
    told = [message for message in caplog.messages if "peer not connected" in message]
    assert len(told) == 1
    assert "Traceback" in told[0]


def test_an_owner_that_raises_is_dialed_for_again() -> None:
    """An exception of the owner's goes to the loop's handler, and the link heals all the same."""
    problems: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: problems.append(context["exception"]))
        async with pair() as (first, second):
            first.transport.on_disconnected = lambda peer: 1 // 0
            for connection in list(second.transport.incoming.values()):
                connection.close("cut by the test", at_once=True)
            await until(lambda: first.links == [("up", 2), ("up", 2)])

    run(asyncio.new_event_loop, main)
    assert [type(problem) for problem in problems] == [ZeroDivisionError]


def test_a_beat_that_fails_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Signs of life go on whatever happens to one connection: without them the others would all be given up."""
    monkeypatch.setattr(transport_module, "PEER_BEAT_SECONDS", 0.02)
    beats: list[int] = []

    class Broken:
        def beat(self) -> None:
            beats.append(1)
            raise ZeroDivisionError("not foreseen")

        def close(self, reason: str) -> None:
            pass

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        node = Node(1)
        async with started(node):
            node.transport.incoming[2] = cast(Any, Broken())
            await until(lambda: len(beats) >= 3)
            del node.transport.incoming[2]

    run(asyncio.new_event_loop, main)


async def offend(node: Node, payload: bytes, kind: FrameKind = FrameKind.HELLO) -> str:
    """Say this to a node's port, and return the reason of its refusal."""
    async with raw(node.transport.port) as (reader, writer):
        writer.write(encode_frame(kind, payload, group_id=3))
        answer = await read_all(reader)
        head = decode_head(answer[:HEAD_BYTES], bytes_max=4096)
        assert head.kind is FrameKind.REFUSAL
        assert len(answer) == HEAD_BYTES + head.stored_bytes
        return parse_refusal(payload_of(head, answer[HEAD_BYTES:]))


@both_loops
@pytest.mark.parametrize(
    ("payload", "words"),
    [
        (encode_peer_hello(hello_of(3, cluster_id=bytes(16))), "another cluster: this is 0"),
        (encode_peer_hello(hello_of(3, machine="shop")), "another machine: this is 'bank', the other side is 'shop'"),
        (encode_peer_hello(hello_of(3, group_id=4)), "another group: this is 3, the other side is of 4"),
        (encode_peer_hello(hello_of(1, instance=b"run-9999")), "two nodes with one id: node 1 is at"),
        (encode_peer_hello(hello_of(2, instance=b"run-9999")), "two nodes with one id: node 2 is connected from"),
        (encode_peer_hello(hello_of(9)), "not a member: node 9"),
        (
            encode_peer_hello(hello_of(3, protocol=(2, 7))),
            "no common protocol: the other side speaks 2 to 7, this one 1",
        ),
        (cbor.encode({"protocol": [1, 1], "role": "client"}), "wrong role: this port is for peer, not 'client'"),
        (b"\xff", "no hello: bad CBOR"),
    ],
    ids=["cluster", "machine", "group", "our id", "a peer's id", "stranger", "protocol", "client", "noise"],
)
def test_offenders_are_told_and_logged(
    loop: Loop, payload: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Who does not belong here reads why, one line says the same with his address, and the others talk on."""

    async def main() -> None:
        async with pair() as (first, second):
            caplog.clear()
            reason = await offend(first, payload)
            assert reason.startswith(words)
            await talk(first, second, 1)
            lines.extend(caplog.messages)

    lines: list[str] = []
    run(loop, main)
    assert len(lines) == 1
    assert "event='connection refused' port='peer' remote='127.0.0.1:" in lines[0]
    assert words in lines[0].replace('reason="', "reason='").replace("\\'", "'")


@both_loops
def test_the_one_who_is_refused_logs_why(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """A node of another machine logs, once, what it was told, and goes on trying with growing pauses."""

    async def main() -> None:
        first, stranger = Node(1), Node(2, machine="shop")
        async with started(first, stranger):
            stranger.knows(n1=first.address)
            await until(lambda: "peer not connected" in caplog.text)
            await asyncio.sleep(0.4)
            assert stranger.links == []
            assert first.transport.limiter.refused < 8

    run(loop, main)
    told = [message for message in caplog.messages if "peer not connected" in message]
    assert len(told) == 1
    assert "refused: another machine: this is 'bank', the other side is 'shop'" in told[0]


@both_loops
def test_the_dialed_must_be_whom_we_meant(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """Wrong addresses, one of another member and one of our own, are named; nothing is sent there."""

    async def main() -> None:
        first, second = Node(1), Node(2)
        async with started(first, second):
            first.knows(n3=second.address, n2=first.address)
            await until(lambda: caplog.text.count("peer not connected") >= 2)
            assert first.links == []
            assert not first.transport.send(3, append(1))

    run(loop, main)
    assert "another node: node 3 was expected there, it is node 2" in caplog.text
    assert "an address of another member leads back to node 1 itself" in caplog.text


@both_loops
def test_a_restarted_peer_takes_the_place_of_its_silent_past(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old connection that says nothing makes way for another run of the node; the same run may always redial."""
    monkeypatch.setattr(transport_module, "PEER_BEAT_SECONDS", 0.05)

    async def main() -> None:
        node = Node(1)
        async with started(node), raw(node.transport.port) as (reader, writer):
            writer.write(encode_frame(FrameKind.HELLO, encode_peer_hello(hello_of(2)), group_id=3))
            await until(lambda: 2 in node.transport.incoming)
            async with raw(node.transport.port) as (_, same):
                same.write(encode_frame(FrameKind.HELLO, encode_peer_hello(hello_of(2)), group_id=3))
                await read_all(reader)  # the first one is closed
                assert "two nodes" in await offend(node, encode_peer_hello(hello_of(2, instance=b"run-0009")))
                await asyncio.sleep(0.2)
                async with raw(node.transport.port) as (_, other):
                    hello = encode_peer_hello(hello_of(2, instance=b"run-0009"))
                    other.write(encode_frame(FrameKind.HELLO, hello, group_id=3))
                    await until(lambda: node.transport.incoming[2].hello.instance == b"run-0009")  # type: ignore[union-attr]  # set before it is listed
                    other.write(encode_frame(FrameKind.MESSAGE, encode_message(append(4)), group_id=3))
                    await until(lambda: numbers(node) == [4])

    run(loop, main)


@both_loops
def test_a_dead_link_is_noticed_and_a_silent_one_is_not_dead(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that nobody uses stay up by their beats; one whose other end says nothing is closed in both ways."""
    monkeypatch.setattr(transport_module, "PEER_BEAT_SECONDS", 0.02)

    async def main() -> None:
        async with pair() as (first, second):
            await asyncio.sleep(0.02 * (PEER_BEATS_MISSED_MAX + 10))
            assert first.links == [("up", 2)]
            assert first.transport.stats[2].messages_in == first.transport.stats[2].messages_out == 0
            assert second.transport.incoming[1].is_open
            timer = second.transport._beat_timer
            assert timer is not None
            timer.cancel()
            await until(lambda: ("down", 2) in first.links)

    run(loop, main)


class Deaf(asyncio.Protocol):
    """Member 3 says hello and reads no more."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(encode_frame(FrameKind.HELLO, encode_peer_hello(hello_of(3)), group_id=3))

    def data_received(self, data: bytes) -> None:
        self.transport.pause_reading()


@both_loops
def test_a_peer_that_does_not_read_costs_a_bounded_buffer(loop: Loop) -> None:
    """Messages for it are dropped once the buffer is full, the other peers hear everything, and memory is bounded."""

    async def main() -> None:
        deaf = Deaf()
        server = await asyncio.get_running_loop().create_server(lambda: deaf, "127.0.0.1", 0)
        async with pair() as (first, second):
            first.knows(n2=second.address, n3=f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await until(lambda: ("up", 3) in first.links)
            message = append(1, 1 << 20)
            before = resident_bytes()
            accepted = 0
            for _ in range(300):
                accepted += first.transport.send(3, message)
                await asyncio.sleep(0)
            grown = resident_bytes() - before
            refused = not first.transport.send(3, message)
            await talk(first, second, 7)
            dropped = first.transport.stats[3].messages_dropped
        server.close()
        deaf.transport.close()
        assert refused
        assert dropped == 301 - accepted
        assert grown < SEND_BUFFER_BYTES_MAX + (48 << 20)

    run(loop, main)


@both_loops
@pytest.mark.parametrize(
    "data", [os.urandom(1 << 20), GIBIBYTE_HEAD, b"GET / HTTP/1.1\r\n\r\n"], ids=["random", "gibibyte", "http"]
)
def test_bad_bytes_at_the_port_harm_nobody(loop: Loop, data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever strangers send, before a hello or after a right one, costs them their connection and nobody else his."""

    async def main() -> None:
        async with pair() as (first, second):
            caplog.clear()
            for start in (b"", encode_frame(FrameKind.HELLO, encode_peer_hello(hello_of(3)), group_id=3)):
                async with raw(first.transport.port) as (reader, writer):
                    writer.write(start + data)
                    await read_all(reader)
            await talk(first, second, 1)
            assert 3 not in first.transport.incoming
            assert first.transport.limiter.handshakes == 0

    run(loop, main)
    assert 1 <= caplog.text.count("connection refused") <= 2


@both_loops
def test_a_message_that_cannot_be_read_ends_the_connection(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """A whole frame with nonsense in it is refused by the decoder; a client's request has no place between members."""

    async def main() -> None:
        node = Node(1)
        async with started(node):
            hello = encode_frame(FrameKind.HELLO, encode_peer_hello(hello_of(2)), group_id=3)
            for kind, payload in (
                (FrameKind.MESSAGE, cbor.encode([999])),
                (FrameKind.MESSAGE, b"\xff"),
                (FrameKind.REQUEST, cbor.encode([1])),
                (FrameKind.HELLO, encode_peer_hello(hello_of(2))),
            ):
                async with raw(node.transport.port) as (reader, writer):
                    writer.write(hello + encode_frame(kind, payload, group_id=3))
                    await read_all(reader)
            assert node.received == []

    run(loop, main)
    assert "message kind 999 is not known to this release" in caplog.text
    assert "bad CBOR" in caplog.text
    assert "a frame of kind REQUEST, where a message was due" in caplog.text
    assert "a frame of kind HELLO, where a message was due" in caplog.text


@both_loops
def test_half_open_connections_leave_the_members_talking(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """Five hundred connections that say nothing: bounded in number and memory, and members still come and talk."""

    async def main() -> None:
        async with pair() as (first, second):
            before = resident_bytes()
            sockets = []
            for number in range(500):
                sockets.append(socket.create_connection(("127.0.0.1", first.transport.port)))
                if number % 20 == 0:
                    await talk(first, second, number + 1)
            await until(lambda: first.transport.limiter.handshakes == HANDSHAKES_MAX)
            third = Node(3)
            async with started(third):
                third.knows(n1=first.address)
                first.knows(n2=second.address, n3=third.address)
                await until(lambda: third.links and ("up", 3) in first.links)
            await talk(first, second, 1000)
            grown = resident_bytes() - before
            assert grown < 16 << 20
            for one in sockets:
                one.close()
            await until(lambda: first.transport.limiter.handshakes == 0)

    run(loop, main)
    refused = [message for message in caplog.messages if "connection" in message and "refused" in message]
    assert 1 <= len(refused) <= 8


def test_a_port_in_use_is_one_clear_line() -> None:
    """Two nodes on one port: the second is told which address and why."""

    async def main() -> None:
        first = Node(1)
        async with started(first):
            second = Node(2, port=first.transport.port)
            with pytest.raises(
                CallerError, match=f"^cannot listen for peers on {first.address}: address already in use$"
            ):
                await second.transport.start()

    run(asyncio.new_event_loop, main)


def test_pauses_double_with_jitter_up_to_a_bound() -> None:
    """The pauses before redialing grow from 25-50 ms to 1-2 s, and differ from node to node."""

    async def main() -> None:
        one, other = Node(1).transport, Node(2).transport
        for attempts, longest in ((0, 0.05), (1, 0.1), (3, 0.4), (6, 2.0), (1000, 2.0)):
            pauses = [one.pause(attempts) for _ in range(50)]
            assert all(longest / 2 <= pause <= longest for pause in pauses)
            assert len(set(pauses)) > 40
            assert one.pause(attempts) != other.pause(attempts)

    run(asyncio.new_event_loop, main)


def test_other_code_is_logged_and_accepted(caplog: pytest.LogCaptureFixture) -> None:
    """Members whose code differs under one version talk, and each says once that they differ."""

    async def main() -> None:
        first, second = Node(1), Node(2, code="beef")
        async with started(first, second):
            first.knows(n2=second.address)
            second.knows(n1=first.address)
            await until(lambda: first.links and second.links)
            await talk(first, second, 1)

    run(asyncio.new_event_loop, main)
    assert sum("other code under the same version" in message for message in caplog.messages) == 2


def test_other_code_is_refused_where_it_must_match(caplog: pytest.LogCaptureFixture) -> None:
    """With `strict_code` of one of the two there is no connection; members of other releases are let in."""

    async def main() -> None:
        first, second = Node(1, strict_code=True), Node(2, code="beef")
        third = Node(3, code="beef", releases=((2, b"\x02" * 16), (1, bytes(16))))
        async with started(first, second, third):
            first.knows(n2=second.address, n3=third.address)
            third.knows(n1=first.address)
            await until(lambda: ("up", 3) in first.links and ("up", 1) in third.links)
            assert first.transport.send(3, append(1))
            await until(lambda: numbers(third) == [1])
            await until(lambda: any("other code under the same version" in message for message in caplog.messages))
            assert ("up", 2) not in first.links

    run(asyncio.new_event_loop, main)
    assert any("version 1 of 'bank' is c0de here and beef there" in message for message in caplog.messages)
