"""Messages between members: one connection for each ordered pair, dialed by the one who sends.

A message that cannot be sent now is dropped and `send` says so: Raft sends again what matters, and a queue of old
heartbeats would help nobody. What is sent arrives in order, at most once. Members that cannot be reached are dialed
again after a pause that doubles, with jitter, so that a restarted one is not met by all others in the same moment; one
that dials us is dialed back at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Callable

import msgspec

from rsm.errors import CallerError
from rsm.limits import (
    DIAL_SECONDS_MAX,
    LINGER_SECONDS,
    LISTEN_BACKLOG,
    PEER_BEAT_SECONDS,
    PEER_COMPRESS_BYTES_MIN,
    REDIAL_SECONDS_MAX,
    REDIAL_SECONDS_MIN,
    SEND_BUFFER_BYTES_MAX,
)
from rsm.node.log import describe, logger
from rsm.node.network.addresses import split_address
from rsm.node.network.connections import ConnectionLimiter, shorten
from rsm.node.network.handshake import PeerHello
from rsm.node.network.peer_link import Incoming, Outgoing, PeerStats
from rsm.node.network.tls import TlsOptions
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.raft.messages import AppendEntries, Message, SnapshotChunk, encode_message

__all__ = ["PeerStats", "PeerTransport"]

COMPRESSED: tuple[type[Message], ...] = (AppendEntries, SnapshotChunk)


class PeerTransport:
    """The members' port of a node, and its connections to the others. Lives on one loop; callbacks come from it.

    `on_message(peer, message)`; `on_connected(peer)` and `on_disconnected(peer)` tell of our own connection to that
    peer, over which `send` goes, in turns. `is_member(node)` says who may talk to us, and is asked at each handshake.
    An exception that a callback raises goes to the loop's exception handler.
    """

    def __init__(
        self,
        *,
        hello: PeerHello,
        listen: tuple[str, int],
        tls: TlsOptions | None,
        on_message: Callable[[int, Message], None],
        on_connected: Callable[[int], None],
        on_disconnected: Callable[[int], None],
        is_member: Callable[[int], bool],
        random: random.Random,
        code_must_match: bool = False,
    ) -> None:
        """`hello` may be replaced later, for handshakes to come. `CallerError` if the files of `tls` cannot be used."""
        self.hello = hello
        self.listen = listen
        self.on_message = on_message
        self.on_connected = on_connected
        self.on_disconnected = on_disconnected
        self.is_member = is_member
        self.code_must_match = code_must_match
        self.limiter = ConnectionLimiter("peer")
        self.incoming: dict[int, Incoming] = {}
        self._random = random
        self._server_tls = None if tls is None else tls.server_context()
        self._client_tls = None if tls is None else tls.client_context()
        self._links: dict[int, _Link] = {}
        self._server: asyncio.Server | None = None
        self._beat_timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def port(self) -> int:
        """The port that is listened on; what the system chose, if `listen` said 0."""
        if self._server is None:
            return self.listen[1]
        number: int = self._server.sockets[0].getsockname()[1]
        return number

    async def start(self) -> None:
        """Listen. `CallerError` if that address cannot be had."""
        loop = asyncio.get_running_loop()
        host, port = self.listen
        try:
            self._server = await loop.create_server(
                lambda: Incoming(self, self._server_tls), host, port, backlog=LISTEN_BACKLOG
            )
        except OSError as error:
            raise CallerError(f"cannot listen for peers on {host}:{port}: {_os_reason(error)}") from error
        self._beat_timer = loop.call_later(PEER_BEAT_SECONDS, self._beat)

    def set_peers(self, addresses: dict[int, str]) -> None:
        """Who is to be connected, and where: new ones are dialed, others dropped. We ourselves may be among them."""
        for peer, link in list(self._links.items()):
            if addresses.get(peer) != link.stats.address:
                del self._links[peer]
                link.stop()
        for peer, address in addresses.items():
            if peer not in self._links and peer != self.hello.node_id and not self._is_closed:
                self._links[peer] = _Link(self, peer, address)
        for peer, connection in list(self.incoming.items()):
            if not self.is_member(peer):
                connection.close("it is not a member any more")

    def send(self, peer: int, message: Message) -> bool:
        """Send, in order; False if it was dropped: not connected, or too much waits already."""
        link = self._links.get(peer)
        return link is not None and link.send(message)

    def flush(self) -> None:
        """Hand over what was sent. Without this it happens at the end of the loop's turn, some microseconds later."""
        for link in self._links.values():
            if link.connection is not None:
                link.connection.flush()

    def is_connected(self, peer: int) -> bool:
        """Whether our connection to this member is up."""
        link = self._links.get(peer)
        return link is not None and link.connection is not None

    @property
    def stats(self) -> dict[int, PeerStats]:
        """What went to and came from each member of `set_peers`."""
        return {peer: link.snapshot(self.incoming.get(peer)) for peer, link in self._links.items()}

    async def close(self) -> None:
        """Stop listening and close all connections; what was sent before is handed over, if the others read it."""
        self._is_closed = True
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        if self._server is not None:
            self._server.close()
        links = list(self._links.values())
        self._links.clear()
        for link in links:
            link.stop()
        self.limiter.close("this node is stopping")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(2 * LINGER_SECONDS):
                await asyncio.gather(*(link.task for link in links), return_exceptions=True)
                while self.limiter.established or self.limiter.handshakes:
                    await asyncio.sleep(0.01)

    # --- for connections ----------------------------------------------------------------------------------------------

    def greeted(self, hello: PeerHello) -> None:
        """A member has dialed us: it is up, so there is no use in waiting to dial it."""
        link = self._links.get(hello.node_id)
        if link is not None:
            link.wake.set()

    def is_current(self, hello: PeerHello) -> bool:
        """Whether this is the process that our own connection to the member leads to, as far as there is one."""
        link = self._links.get(hello.node_id)
        if link is None or link.connection is None or link.connection.hello is None:
            return True
        return link.connection.hello.instance == hello.instance

    def departed(self, connection: Incoming, hello: PeerHello) -> None:
        """A member's connection is closed."""
        link = self._links.get(hello.node_id)
        if link is not None:
            link.stats.messages_in += connection.messages_in
            link.stats.bytes_in += connection.bytes_in

    def dialing(self, link: _Link) -> Outgoing:
        """A connection to be."""
        return Outgoing(self, link.peer, self._client_tls, link.connected)

    def pause(self, attempts: int) -> float:
        """Seconds to wait after so many attempts that failed one behind the other."""
        longest: float = min(REDIAL_SECONDS_MAX, REDIAL_SECONDS_MIN * 2.0 ** min(attempts, 16))
        return longest * (0.5 + self._random.random() / 2)

    def tell(self, callback: Callable[[int], None], peer: int) -> None:
        """Call the owner, who wants to hear nothing once it has closed us."""
        if not self._is_closed:
            callback(peer)

    def _beat(self) -> None:
        # First of all: whatever goes wrong with one connection, the others must be heard of.
        self._beat_timer = asyncio.get_running_loop().call_later(PEER_BEAT_SECONDS, self._beat)
        outgoing = [link.connection for link in self._links.values() if link.connection is not None]
        for connection in [*self.incoming.values(), *outgoing]:
            connection.beat()


class _Link:
    """Our side of one member: dials it, again and again, until `stop`."""

    def __init__(self, transport: PeerTransport, peer: int, address: str) -> None:
        self.transport = transport
        self.peer = peer
        self.stats = PeerStats(address)
        self.connection: Outgoing | None = None  # while it is up and has shaken hands
        self.wake = asyncio.Event()
        self._dialed: Outgoing | None = None  # while it is up
        self._is_stopped = False
        self._trouble = ""  # what was logged last, so that it is logged once
        self.task = asyncio.get_running_loop().create_task(self._run())

    def send(self, message: Message) -> bool:
        """See `PeerTransport.send`."""
        connection = self.connection
        if connection is None or not connection.is_open or connection.send_buffer_bytes > SEND_BUFFER_BYTES_MAX:
            self.stats.messages_dropped += 1
            return False
        payload = encode_message(message)
        compress = len(payload) >= PEER_COMPRESS_BYTES_MIN and isinstance(message, COMPRESSED)
        group_id = self.transport.hello.group_id
        connection.send(encode_frame(FrameKind.MESSAGE, payload, group_id=group_id, compress=compress))
        self.stats.messages_out += 1
        return True

    def snapshot(self, incoming: Incoming | None) -> PeerStats:
        """The totals, with those of the connections that are up."""
        stats = msgspec.structs.replace(self.stats)
        if incoming is not None:
            stats.messages_in += incoming.messages_in
            stats.bytes_in += incoming.bytes_in
            stats.hello = incoming.hello
        if self.connection is not None:
            stats.bytes_out += self.connection.bytes_out
            stats.connected_seconds = asyncio.get_running_loop().time() - self.connection.since
            stats.hello = self.connection.hello
        return stats

    def stop(self) -> None:
        """Dial no more, and close what is up. The owner hears of it in the loop's next turn."""
        self._is_stopped = True
        if self.connection is not None:
            asyncio.get_running_loop().call_soon(self.transport.tell, self.transport.on_disconnected, self.peer)
            self.connection = None
        if self._dialed is not None:
            self._dialed.close("this node needs it no more")
        else:
            self.task.cancel()

    def connected(self, connection: Outgoing) -> None:
        """Hands are shaken."""
        if self._is_stopped:
            return
        self.connection = connection
        self.stats.connections += 1
        self._trouble = ""
        logger.info("peer connected", node=self.peer, address=self.stats.address)
        self.transport.tell(self.transport.on_connected, self.peer)

    async def _run(self) -> None:
        attempts = 0
        while not self._is_stopped:
            self.wake.clear()
            unforeseen: Exception | None = None
            try:
                reason = await self._dial()
            except Exception as error:  # a member that is dialed no more would be lost without a word
                reason, unforeseen = describe(error), error
            self.stats.bytes_out += 0 if self._dialed is None else self._dialed.bytes_out
            self._dialed = None
            if self._is_stopped:
                return
            attempts += 1
            if self.connection is not None:
                attempts = 0
                self.connection = None
                logger.warning("peer disconnected", node=self.peer, address=self.stats.address, reason=reason)
                # Not from here: an exception of the owner's would end the dialing.
                asyncio.get_running_loop().call_soon(self.transport.tell, self.transport.on_disconnected, self.peer)
            elif reason != self._trouble:
                self._trouble = reason
                logger.warning(
                    "peer not connected",
                    node=self.peer,
                    address=self.stats.address,
                    reason=reason,
                    exc_info=unforeseen,
                )
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.transport.pause(attempts)):
                    await self.wake.wait()

    async def _dial(self) -> str:
        """Connect, and return when that is over, with the reason."""
        loop = asyncio.get_running_loop()
        try:
            host, port = split_address(self.stats.address)
            async with asyncio.timeout(DIAL_SECONDS_MAX):
                _, self._dialed = await loop.create_connection(lambda: self.transport.dialing(self), host, port)
        except TimeoutError:
            return f"no answer within {DIAL_SECONDS_MAX:g} seconds"
        except OSError as error:
            return _os_reason(error)
        except (CallerError, ValueError) as error:  # among others, a host name that none can be
            return describe(error)
        return shorten(await self._dialed.ended)


def _os_reason(error: OSError) -> str:
    if isinstance(error, socket.gaierror) or not error.errno:
        return error.strerror or describe(error)
    return os.strerror(error.errno).lower()
