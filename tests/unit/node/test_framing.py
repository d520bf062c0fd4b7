"""Frames on a socket: any split of the stream gives the same frames, and nothing from outside can hurt the loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.codec import cbor
from rsm.errors import BadBytes, UnknownFormat
from rsm.limits import HELLO_BYTES_MAX, REASON_CHARACTERS_MAX, SEND_BUFFER_BYTES_MAX
from rsm.node.network.connections import ConnectionLimiter, shorten
from rsm.node.network.frame_parser import FrameParser
from rsm.node.network.framing import FrameProtocol
from rsm.node.network.wire import HEAD_BYTES, FrameKind, encode_frame
from tests.unit.node.sockets import Loop, both_loops, raw, read_all, run, until

GIBIBYTE_HEAD = bytes.fromhex("727701030000000000000000" + "00000040" + "00000040" + "00000000")


class Recorder(FrameProtocol):
    """A connection that remembers what it was told."""

    def __init__(self, limiter: ConnectionLimiter | None, **options: Any) -> None:
        super().__init__(limiter, **options)
        self.frames: list[tuple[FrameKind, bytes]] = []
        self.reasons: list[str] = []
        self.on_frame: Callable[[FrameKind, bytes], None] = lambda kind, payload: None

    def frame_received(self, kind: FrameKind, payload: bytes) -> None:
        self.frames.append((kind, payload))
        self.on_frame(kind, payload)

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)


class Port:
    """A listening port of `Recorder`s."""

    def __init__(self, **options: Any) -> None:
        limits = {key: options.pop(key) for key in ("connections_max", "handshakes_max") if key in options}
        self.limiter = ConnectionLimiter("test", **limits)
        self.options = options
        self.made: list[Recorder] = []

    def make(self) -> Recorder:
        self.made.append(Recorder(self.limiter, server_side=True, **self.options))
        return self.made[-1]

    async def __aenter__(self) -> Port:
        self.server = await asyncio.get_running_loop().create_server(self.make, "127.0.0.1", 0, backlog=1024)
        self.port: int = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        self.limiter.close("the test is over")
        await until(lambda: not self.limiter.handshakes and not self.limiter.established)

    async def dial(self, **options: Any) -> Recorder:
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(
            lambda: Recorder(None, server_side=False, **options), "127.0.0.1", self.port
        )
        return made


def parse(parser: FrameParser, pieces: list[bytes]) -> list[tuple[FrameKind, bytes]]:
    """All frames in these pieces."""
    frames = []
    for piece in pieces:
        parser.feed(piece)
        while (frame := parser.next_frame()) is not None:
            frames.append(frame)
    return frames


def buffered(parser: FrameParser) -> int:
    """Bytes that were fed and not given out yet."""
    return len(parser._data) - parser._offset


FRAMES = st.lists(
    st.tuples(st.sampled_from(FrameKind), st.binary(max_size=300) | st.binary(max_size=3).map(lambda part: part * 999)),
    max_size=8,
)


@given(FRAMES, st.lists(st.integers(0, 20_000), max_size=12), st.booleans())
def test_any_split_gives_the_same_frames(
    frames: list[tuple[FrameKind, bytes]], cuts: list[int], compress: bool
) -> None:
    """However the network cuts the stream, the frames are the ones that were sent, and nothing stays behind."""
    stream = b"".join(encode_frame(kind, payload, compress=compress) for kind, payload in frames)
    places = sorted({0, len(stream), *(cut % (len(stream) + 1) for cut in cuts)})
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    parser = FrameParser(4096)
    assert parse(parser, pieces) == frames
    assert buffered(parser) == 0


@given(FRAMES, st.binary(min_size=1, max_size=64), st.integers(0, 10_000), st.integers(1, 200))
def test_damage_is_found_or_harmless(
    frames: list[tuple[FrameKind, bytes]], noise: bytes, place: int, step: int
) -> None:
    """Overwritten bytes end the stream with one of two errors; the frames before them are untouched."""
    stream = bytearray(b"".join(encode_frame(kind, payload) for kind, payload in frames))
    start = place % (len(stream) + 1)
    stream[start : start + len(noise)] = noise
    parser = FrameParser(4096)
    found: list[tuple[FrameKind, bytes]] = []
    with contextlib.suppress(BadBytes, UnknownFormat):
        for offset in range(0, len(stream), step):
            parser.feed(bytes(stream[offset : offset + step]))
            while (frame := parser.next_frame()) is not None:
                found.append(frame)
            assert buffered(parser) <= 4096 + HEAD_BYTES + step
    whole = 0
    for number, (_, payload) in enumerate(frames):
        whole += HEAD_BYTES + len(payload)
        if whole <= start:
            assert found[number] == frames[number]


def test_a_frame_above_the_bound_is_refused_by_its_head() -> None:
    """The length is compared before anything is kept: a head of 1 GiB costs 24 bytes."""
    parser = FrameParser(1 << 20)
    parser.feed(GIBIBYTE_HEAD)
    with pytest.raises(BadBytes, match="1073741824 bytes exceeds the bound of 1048576"):
        parser.next_frame()


def test_the_parser_keeps_no_more_than_the_unfinished_frame() -> None:
    """One byte of a next frame at the end of a large read does not keep that read in memory."""
    stream = b"".join(encode_frame(FrameKind.MESSAGE, bytes(1000)) for _ in range(200))
    parser = FrameParser(1 << 20)
    assert len(parse(parser, [stream + stream[:1]])) == 200
    assert buffered(parser) == 1
    assert len(parser._data) == 1


def test_the_bound_and_the_group_may_change_between_two_frames() -> None:
    """A hello and a long message in one read: the second is measured by the bound that the first brought."""
    parser = FrameParser(100)
    long = encode_frame(FrameKind.MESSAGE, bytes(500), group_id=7)
    parser.feed(encode_frame(FrameKind.HELLO, b"hello") + long + long.replace(b"\x07", b"\x08", 1))
    assert parser.next_frame() == (FrameKind.HELLO, b"hello")
    parser.bytes_max, parser.group_id = 500, 7
    assert parser.next_frame() == (FrameKind.MESSAGE, bytes(500))
    with pytest.raises(BadBytes, match="a frame of group 8; this is group 7"):
        parser.next_frame()


def test_texts_from_outside_fit_into_one_line() -> None:
    """Control characters and length are taken out of what a stranger says."""
    assert shorten("a\nb\x1b[31m") == "a?b?[31m"
    assert len(shorten("x" * 10_000)) == REASON_CHARACTERS_MAX + 3


@both_loops
def test_frames_arrive_in_order_and_small_ones_travel_together(loop: Loop) -> None:
    """Thousands of small frames of one turn leave in few writes, and arrive as they were sent, between long ones."""

    async def main() -> None:
        async with Port() as port:
            client = await port.dial()
            client.send(encode_frame(FrameKind.HELLO, b"who"))
            await until(lambda: port.made and port.made[0].frames)
            server = port.made[0]
            server.establish(1 << 20)
            payloads = [b"%d" % number * (50_000 if number % 500 == 0 else 1) for number in range(3000)]
            for payload in payloads:
                client.send(encode_frame(FrameKind.REQUEST, payload))
            assert client.bytes_out < 100  # nothing but the hello has left within this turn
            await until(lambda: len(server.frames) == 3001)
            assert [payload for _, payload in server.frames[1:]] == payloads
            assert server.bytes_in == client.bytes_out
            assert (server.frames_in, client.frames_out) == (3001, 3001)
            client.close("enough")
            await until(lambda: server.reasons)
            assert (client.reasons, server.reasons) == (["enough"], ["the other side closed it"])
            client.send(b"nobody hears this")

    run(loop, main)


@both_loops
@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\nHost: example\r\n\r\n", "not an rsm frame"),
        (os.urandom(100_000).replace(b"r", b"s"), "not an rsm frame"),
        (GIBIBYTE_HEAD, "exceeds the bound of 4096"),
        (encode_frame(FrameKind.HELLO, bytes(HELLO_BYTES_MAX + 1)), "exceeds the bound of 4096"),
        (encode_frame(FrameKind.HELLO, b"x" * 40, group_id=4)[:-1] + b"y", "does not match its checksum"),
        (b"rw\x09" + bytes(21), "protocol 9; this release speaks 1 to 1"),
        (encode_frame(FrameKind.HELLO, b"", group_id=9), "a frame of group 9; this is group 4"),
    ],
    ids=["http", "random", "gibibyte", "long hello", "checksum", "protocol", "group"],
)
def test_bad_bytes_end_the_connection_with_one_line(
    loop: Loop, data: bytes, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever arrives, the connection is closed, one line says why and from where, and the loop never hears of it."""

    async def main() -> None:
        async with Port(group_id=4) as port, raw(port.port) as (reader, writer):
            writer.write(data)
            assert await read_all(reader) == b""
            await until(lambda: port.made[0].reasons)
            assert words in port.made[0].reasons[0]
            assert port.made[0].frames == []

    run(loop, main)
    assert len(caplog.messages) == 1
    assert words in caplog.messages[0]
    assert "remote='127.0.0.1:" in caplog.messages[0]


@both_loops
def test_a_handshake_has_a_deadline(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """Who connects and says nothing is cut off in time; who has shaken hands may be silent."""

    async def main() -> None:
        async with Port(handshake_seconds=0.2) as port, raw(port.port) as (reader, _):
            client = await port.dial()
            client.establish(100)
            await until(lambda: len(port.made) == 2)
            port.made[1].establish(100)
            assert await read_all(reader) == b""
            await asyncio.sleep(0.2)
            assert (port.made[0].reasons, port.made[1].reasons) == ([port.made[0].reasons[0]], [])
            assert client.is_open

    run(loop, main)
    assert "no handshake within 0.2 seconds" in caplog.text


@both_loops
def test_half_open_connections_do_not_keep_others_out(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """Handshakes are bounded and the oldest goes first, so somebody who speaks gets through; the log stays short."""

    async def main() -> None:
        async with Port(handshakes_max=10) as port:
            sockets = [socket.create_connection(("127.0.0.1", port.port)) for _ in range(100)]
            await until(lambda: len(port.made) == 100)
            client = await port.dial()
            client.send(encode_frame(FrameKind.HELLO, b"here I am"))
            await until(lambda: port.made[-1].frames)
            port.made[-1].establish(100)
            assert port.limiter.handshakes <= 10
            assert port.limiter.established == 1
            await until(lambda: sum(bool(one.reasons) for one in port.made) == 91)
            assert client.is_open
            for one in sockets:
                one.close()

    run(loop, main)
    assert len(caplog.messages) == 2
    assert "too many connections that have not shaken hands" in caplog.messages[0]
    assert "count=90" in caplog.messages[1]


@both_loops
def test_connections_have_a_bound(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """Beyond the bound of a port a connection is closed at once, before a byte of it is read."""

    async def main() -> None:
        async with Port(connections_max=2) as port:
            first, second = await port.dial(), await port.dial()
            await until(lambda: len(port.made) == 2)
            for one in port.made:
                one.establish(100)
            third = await port.dial()
            await until(lambda: third.reasons)
            assert port.made[2].reasons == []
            assert not port.made[2].is_open
            assert first.is_open
            second.close("to make room")
            await until(lambda: port.limiter.established == 1)
            fourth = await port.dial()
            await asyncio.sleep(0.05)
            assert fourth.is_open

    run(loop, main)
    assert len(caplog.messages) == 1
    assert "too many connections" in caplog.messages[0]


@both_loops
def test_a_refusal_reaches_the_one_who_was_refused(loop: Loop, caplog: pytest.LogCaptureFixture) -> None:
    """Even while more of his bytes are on their way, he reads why; then the connection ends."""

    async def main() -> None:
        async with Port() as port:
            client = await port.dial()
            client.send(encode_frame(FrameKind.HELLO, b"let me in"))
            await until(lambda: port.made and port.made[0].frames)
            for _ in range(50):
                client.send(encode_frame(FrameKind.REQUEST, bytes(100_000)))
            port.made[0].refuse("a reason\nwith two lines")
            await until(lambda: client.frames)
            assert client.frames[0][0] is FrameKind.REFUSAL
            assert cbor.decode(client.frames[0][1], bytes_max=1000) == ["a reason?with two lines"]
            await until(lambda: port.made[0].reasons)
            assert port.made[0].reasons == ["a reason\nwith two lines"]
            assert len(port.made[0].frames) == 1

    run(loop, main)
    assert len(caplog.messages) == 1


@both_loops
def test_a_pause_holds_frames_back(loop: Loop) -> None:
    """While reading is paused no frame is handed over, and memory holds what was read before at most."""

    async def main() -> None:
        async with Port() as port:
            client = await port.dial()
            client.send(encode_frame(FrameKind.HELLO, b""))
            await until(lambda: port.made and port.made[0].frames)
            server = port.made[0]
            server.establish(1 << 20)
            server.on_frame = lambda kind, payload: server.pause_reading()
            for number in range(200):
                client.send(encode_frame(FrameKind.REQUEST, b"%d" % number + bytes(100_000)))
            for number in range(1, 6):
                await until(lambda number=number: len(server.frames) == number + 1)  # type: ignore[misc]  # bound above
                await asyncio.sleep(0.01)
                assert len(server.frames) == number + 1
                assert buffered(server._parser) < 1_000_000
                server.resume_reading()
            server.on_frame = lambda kind, payload: None
            server.resume_reading()
            await until(lambda: len(server.frames) == 201)
            assert [int(payload[:3].rstrip(b"\0")) for _, payload in server.frames[1:]] == list(range(200))

    run(loop, main)


@both_loops
def test_a_pause_holds_from_the_first_byte(loop: Loop) -> None:
    """A connection that is paused as soon as it is made takes in no more than one read, whatever the loop does."""

    class Paused(Recorder):
        def opened(self) -> None:
            self.pause_reading()

    async def main() -> None:
        made: list[Paused] = []

        def make() -> Paused:
            made.append(Paused(ConnectionLimiter("test"), server_side=True))
            return made[-1]

        server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
        async with raw(server.sockets[0].getsockname()[1]) as (_, writer):
            frame = encode_frame(FrameKind.HELLO, bytes(HELLO_BYTES_MAX))
            for _ in range(4000):
                writer.write(frame)
            await asyncio.sleep(0.2)
            assert made[0].frames == []
            assert buffered(made[0]._parser) <= 1 << 20
            made[0].resume_reading()
            await until(lambda: len(made[0].frames) == 4000)
        server.close()
        made[0].close("the test is over")
        await until(lambda: made[0].reasons)

    run(loop, main)


@both_loops
def test_bytes_for_somebody_who_does_not_read_are_counted(loop: Loop) -> None:
    """What waits to be sent is known to the byte, and closing does not wait for ever."""

    async def main() -> None:
        async with Port() as port, raw(port.port) as (_, writer):
            writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport of a socket can
            await until(lambda: port.made)
            server = port.made[0]
            frame = encode_frame(FrameKind.ANSWER, bytes(1 << 20))
            sent = 0
            while server.send_buffer_bytes + len(frame) <= SEND_BUFFER_BYTES_MAX // 2 and sent < 100:
                server.send(frame)
                sent += 1
                await asyncio.sleep(0)
            in_kernel = sent * len(frame) - server.send_buffer_bytes
            assert 0 <= in_kernel < 8 << 20
            assert server._pending_bytes > server.send_buffer_bytes // 2
            server.close("too slow")
            await until(lambda: server.reasons)
            assert server.send_buffer_bytes == 0

    run(loop, main)
