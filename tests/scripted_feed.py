"""A feed server that sends what a test scripts, frame by frame, to see what an observer makes of it.

A script is a function that is given the subscription and a way to send payloads; when it returns the connection is
closed, unless it waits. `log` is a real log with its chains, from which right frames can be made.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import rsm
from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.limits import CLIENT_FRAME_BYTES_MAX
from rsm.node.feed.frames import FeedHead, encode_entries, encode_feed
from rsm.node.network import protocol
from rsm.node.network.frame_parser import FrameParser
from rsm.node.network.handshake import ServerHello, encode_server_hello
from rsm.node.network.protocol import Observe
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.replica.batch import FLAG_HASH_POINT
from tests.machines import Log

CLUSTER = b"c" * 16


class Subscription:
    """One that was asked for. `send` frames; `error` ends it with an answer."""

    def __init__(self, feed: ScriptedFeed, connection: socket.socket, number: int, asked: Observe) -> None:
        self.feed = feed
        self.asked = asked
        self._connection = connection
        self._number = number

    def send(self, *payloads: bytes) -> None:
        """Frames of the feed."""
        for payload in payloads:
            self._connection.sendall(encode_frame(FrameKind.FEED, payload, compress=True))

    def error(self, error: BaseException) -> None:
        """The answer that says why there are no more."""
        self._connection.sendall(encode_frame(FrameKind.ANSWER, protocol.encode_failure(self._number, error)))

    def wait(self) -> None:
        """Until the observer leaves."""
        with contextlib.suppress(OSError):
            while self._connection.recv(1024):
                pass


def all_of_it(subscription: Subscription) -> None:
    """The script of a node: everything behind what was asked for, and then silence."""
    feed = subscription.feed
    last = len(feed.log.entries)
    subscription.send(feed.head())
    if subscription.asked.after < last:
        subscription.send(feed.entries(subscription.asked.after + 1, last))
    subscription.wait()


class ScriptedFeed:
    """A port. `script` may be changed at any time; what was asked is in `asked`."""

    def __init__(self, machine: type[rsm.StateMachine], script: Callable[[Subscription], None]) -> None:
        self.machine = machine
        self.log = Log(machine)
        self.session = self.log.open("ann")
        self.script = script
        self.cluster_id = CLUSTER
        self.asked: list[Observe] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listening.getsockname()[1]}"
        self._connections: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def do(self, name: str, *values: Any, is_hash_point: bool = False) -> int:
        """A command in the log; its index."""
        self.log.send(self.session, name, *values)
        if is_hash_point:
            self.log.entry([], FLAG_HASH_POINT)
        return len(self.log.entries)

    # --- payloads -----------------------------------------------------------------------------------------------------

    def head(self, **changes: Any) -> bytes:
        """The first frame."""
        definition, log = self.machine.definition, self.log
        fields: dict[str, Any] = {
            "cluster_id": self.cluster_id,
            "group_id": 0,
            "machine": definition.name,
            "version": definition.version,
            "applied": len(log.entries),
            "first": 1,
            "events": log.replica.ring.newest,
            "hash_milliseconds": 1000,
        }
        return encode_feed(FeedHead(**fields | changes))

    def entries(self, first: int, last: int, *, roots: dict[int, bytes] | None = None, chain: bytes = b"") -> bytes:
        """Entries of the log with their roots."""
        entries = self.log.entries[first - 1 : last]
        own = self.log.replica.roots if roots is None else roots
        found = [(entry.index, own[entry.index]) for entry in entries if entry.index in own]
        return encode_entries(entries, found, chain or self.chain(last))

    def chain(self, index: int) -> bytes:
        """The command chain at an index."""
        chain = ZERO_CHAIN
        for entry in self.log.entries[:index]:
            chain = next_chain(chain, entry.index, entry.term, entry.kind, entry.payload)
        return chain

    # --- connections --------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self._connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        parser = FrameParser(CLIENT_FRAME_BYTES_MAX)
        with contextlib.suppress(OSError), contextlib.closing(connection):
            for kind, payload in _frames(connection, parser):
                if kind is FrameKind.HELLO:
                    name, version = self.machine.definition.name, self.machine.definition.version
                    hello = ServerHello(1, self.cluster_id, 1, name, version, (), ())
                    connection.sendall(encode_frame(FrameKind.HELLO, encode_server_hello(hello)))
                    continue
                number, asked = protocol.decode_request(payload)
                assert isinstance(asked, Observe)
                self.asked.append(asked)
                self.script(Subscription(self, connection, number, asked))
                return

    def close(self) -> None:
        """Close the port and all connections."""
        self._listening.close()
        self.cut()

    def cut(self) -> None:
        """Cut all connections."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _frames(connection: socket.socket, parser: FrameParser) -> Iterator[tuple[FrameKind, bytes]]:
    while data := connection.recv(65536):
        parser.feed(data)
        while (frame := parser.next_frame()) is not None:
            yield frame


def parts_of(data: bytes, size: int) -> Sequence[tuple[int, bytes]]:
    """Offsets and pieces."""
    return [(start, data[start : start + size]) for start in range(0, len(data), size)]
