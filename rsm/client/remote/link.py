"""One connection of a client: the hello, requests out, answers back to those who wait for them.

Everything runs on the client's loop. A connection that is lost tells everybody who waits on it once; what then becomes
of their requests is theirs to decide.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, Final, Protocol

from rsm.errors import BadBytes, CallerError, RsmError, UnknownFormat, Unreachable, WrongMachine
from rsm.limits import ANSWER_FRAME_BYTES_MAX, CLIENT_CONNECT_SECONDS_MAX
from rsm.node.log import describe
from rsm.node.network import protocol
from rsm.node.network.addresses import split_address
from rsm.node.network.framing import FrameProtocol
from rsm.node.network.handshake import (
    WRONG_CLUSTER,
    WRONG_MACHINE,
    WRONG_ROLE,
    WRONG_SCHEMA,
    ClientHello,
    ServerHello,
    check_server,
    encode_client_hello,
    parse_refusal,
    parse_server_hello,
)
from rsm.node.network.protocol import AnswerStatus
from rsm.node.network.tls import ROLE_PEER
from rsm.node.network.wire import HTTP_ANSWER, FrameKind, encode_frame

__all__ = ["Link", "Waiter", "WrongPort", "dial"]

# Refusals that another address of the same cluster would not change.
_NOT_OURS: Final = (WRONG_CLUSTER, WRONG_MACHINE, WRONG_SCHEMA)


class WrongPort(Unreachable):
    """Somebody listens there, but not for clients; it is nothing that time changes."""


class Waiter(Protocol):
    """Who waits for the answers to a request."""

    # Whether a node that works answers at once; if it does not, it is taken for dead.
    is_prompt: bool

    def answered(self, status: AnswerStatus, fields: list[Any]) -> bool:
        """One answer; True if more will come."""

    def lost(self, reason: str) -> None:
        """None will come: the connection is gone."""


class Link(FrameProtocol):
    """A connection to one node."""

    def __init__(self, address: str, hello: ClientHello, tls: ssl.SSLContext | None) -> None:
        super().__init__(None, server_side=False, tls=tls)
        self.address = address
        self.server: ServerHello | None = None
        self.greeted: asyncio.Future[ServerHello] = self._loop.create_future()
        self.gone: asyncio.Future[str] = self._loop.create_future()
        self._hello = hello
        self._waiters: dict[int, Waiter] = {}
        self._last_id = 0
        self._prompt = 0  # waiters that expect an answer soon
        self._heard_at = 0.0  # when a frame last came in, or the first of these was sent

    @property
    def leads(self) -> bool:
        """Whether the node said in its hello that it leads."""
        server = self.server
        return server is not None and bool(server.leader) and server.leader[0] == server.node_id

    @property
    def leader_address(self) -> str:
        """Where it said that the leader is, or empty."""
        leader = () if self.server is None else self.server.leader
        return str(leader[1]) if leader else ""

    # --- requests -----------------------------------------------------------------------------------------------------

    def request(self, request: protocol.Request, waiter: Waiter) -> int:
        """Send a request; its id. On a link that is closed, the waiter is told so in the loop's next turn."""
        return self._send(lambda request_id: protocol.encode_request(request_id, request), waiter)

    def commands(self, count: int, items: bytes, waiter: Waiter, *, wants_confirmation: bool = False) -> int:
        """Send commands that are encoded one behind the other."""
        self._last_id = request_id = self._last_id + 1
        payload = protocol.encode_commands(request_id, count, items, wants_confirmation=wants_confirmation)
        return self._hand_over(request_id, payload, waiter)

    def _send(self, encode: Any, waiter: Waiter) -> int:
        self._last_id = request_id = self._last_id + 1
        return self._hand_over(request_id, encode(request_id), waiter)

    def _hand_over(self, request_id: int, payload: bytes, waiter: Waiter) -> int:
        if self.is_open:
            self._waiters[request_id] = waiter
            if waiter.is_prompt:
                if not self._prompt:
                    self._heard_at = self._loop.time()
                self._prompt += 1
            self.send(encode_frame(FrameKind.REQUEST, payload))
        else:
            self._loop.call_soon(waiter.lost, "the connection is closed")
        return request_id

    def follow_up(self, request_id: int, request: protocol.Next | protocol.Cancel) -> None:
        """Say more about a request that is open."""
        if isinstance(request, protocol.Cancel):
            self._forget(request_id)
        self.send(encode_frame(FrameKind.REQUEST, protocol.encode_request(request_id, request)))

    # --- frames -------------------------------------------------------------------------------------------------------

    def opened(self) -> None:
        """Connected: the client speaks first."""
        self.send(encode_frame(FrameKind.HELLO, encode_client_hello(self._hello)))

    def frame_received(self, kind: FrameKind, payload: bytes) -> None:
        """The server's hello or refusal, then answers."""
        try:
            if kind == FrameKind.ANSWER and self.server is not None:
                self._answered(payload)
            elif kind == FrameKind.HELLO and self.server is None:
                hello = parse_server_hello(payload)
                check_server(hello, self.owner)
                self.server = hello
                self.establish(ANSWER_FRAME_BYTES_MAX)
                if not self.greeted.done():
                    self.greeted.set_result(hello)
            elif kind == FrameKind.REFUSAL:
                self._refused(parse_refusal(payload))
            else:
                raise BadBytes(f"a frame of kind {kind.name} has no place here")
        except (BadBytes, UnknownFormat) as error:
            self.fault(str(error))

    def _answered(self, payload: bytes) -> None:
        request_id, status, fields = protocol.decode_answer(payload)
        waiter = self._waiters.get(request_id)
        self._heard_at = self._loop.time()
        if waiter is not None and not waiter.answered(status, fields):
            self._forget(request_id)

    def _forget(self, request_id: int) -> None:
        waiter = self._waiters.pop(request_id, None)
        if waiter is not None and waiter.is_prompt:
            self._prompt -= 1

    @property
    def silent_seconds(self) -> float:
        """For how long the node has said nothing while answers are due."""
        return self._loop.time() - self._heard_at if self._prompt else 0.0

    def _refused(self, reason: str) -> None:
        error: RsmError = Unreachable(f"{self.address}: refused: {reason}")
        is_a_node = self.owner is None or self.owner.role == ROLE_PEER
        if is_a_node and reason.startswith(_NOT_OURS):
            error = WrongMachine(f"{self.address}: {reason}")
        elif is_a_node and reason.startswith(WRONG_ROLE):
            error = WrongPort(f"{self.address}: refused: {reason}")
        if not self.greeted.done():
            self.greeted.set_exception(error)
        self.close(reason)

    def closed(self, reason: str) -> None:
        """Tell everybody who waits."""
        if not self.greeted.done():
            kind = WrongPort if reason == HTTP_ANSWER else Unreachable
            self.greeted.set_exception(kind(f"{self.address}: {reason}"))
        self.greeted.exception()  # looked at, whether or not anybody waits for it
        if not self.gone.done():
            self.gone.set_result(reason)
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters.values():
            waiter.lost(reason)


async def dial(address: str, hello: ClientHello, tls: ssl.SSLContext | None) -> Link:
    """Connect and shake hands. `Unreachable` or `WrongMachine` in one line; `CallerError` for what is no address."""
    host, port = split_address(address)
    loop = asyncio.get_running_loop()
    link: Link | None = None
    try:
        async with asyncio.timeout(CLIENT_CONNECT_SECONDS_MAX):
            _, link = await loop.create_connection(lambda: Link(address, hello, tls), host, port)
            server = await asyncio.shield(link.greeted)
    except TimeoutError:
        error: RsmError = Unreachable(f"{address}: no answer within {CLIENT_CONNECT_SECONDS_MAX:g} seconds")
    except (OSError, ValueError) as failure:
        error = Unreachable(f"{address}: {_reason(failure)}")
    except RsmError as failure:
        error = failure
    except asyncio.CancelledError:
        if link is not None:
            link.close("not wanted any more", at_once=True)
        raise
    else:
        if hello.machine and server.machine != hello.machine:
            error = WrongMachine(f"{address} runs {server.machine!r}, not {hello.machine!r}")
        elif hello.cluster_id and server.cluster_id != hello.cluster_id:
            error = WrongMachine(f"{address} is of another cluster")
        else:
            return link
    if link is not None:
        link.close(str(error), at_once=True)
    raise error


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens there"
    return getattr(error, "strerror", None) or describe(error)


def check_addresses(addresses: object) -> tuple[str, ...]:
    """Addresses as `host:port`, from a list of them or from text with commas; `CallerError`."""
    if isinstance(addresses, str):
        addresses = [part.strip() for part in addresses.split(",") if part.strip()]
    try:
        found = tuple(dict.fromkeys(addresses))  # type: ignore[call-overload]  # whatever it is, we look
    except TypeError:
        found = ()
    if not found or not all(isinstance(address, str) for address in found):
        raise CallerError(f"addresses are host:port, at least one, not {addresses!r:.80}")
    for address in found:
        split_address(address)
    return found
