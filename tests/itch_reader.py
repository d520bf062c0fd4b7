"""A reader of ITCH 5.0 over SoupBinTCP and GLIMPSE that knows nothing of this project: written from the specification.

It keeps the order book that the messages describe, order by order, each level's orders in their time priority, and
counts what a reader counts: messages by type, gaps, heartbeats. It raises on all that a correct feed does not do: an
unknown reference, a reference that is added while it is live, more shares executed than there are, a wrong length.
"""

from __future__ import annotations

import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

HEARTBEAT_SECONDS = 1.0
LENGTHS = {
    "S": 12, "R": 39, "H": 25, "A": 36, "F": 40, "E": 31, "C": 36, "X": 23, "D": 19, "U": 35, "P": 44, "Q": 40, "B": 19,
}  # fmt: skip


class FeedError(AssertionError):
    """The feed said something that cannot be."""


class Order:
    """A live order. `price` has four decimals."""

    def __init__(self, locate: int, side: str, shares: int, price: int) -> None:
        self.locate, self.side, self.shares, self.price = locate, side, shares, price

    @property
    def level(self) -> tuple[int, str, int]:
        return self.locate, self.side, self.price


class ItchBook:
    """What the messages so far add up to."""

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.levels: dict[tuple[int, str, int], dict[int, None]] = {}
        self.stocks: dict[int, str] = {}
        self.states: dict[int, str] = {}
        self.counts: Counter[str] = Counter()
        self.traded: Counter[int] = Counter()  # shares printed, by locate
        self.timestamp = 0

    def apply(self, message: bytes) -> None:
        kind = message[:1].decode("ascii")
        if len(message) != LENGTHS.get(kind):
            raise FeedError(f"a message of type {kind!r} with {len(message)} bytes")
        locate = struct.unpack_from(">H", message, 1)[0]
        self.timestamp = int.from_bytes(message[5:11], "big")
        self.counts[kind] += 1
        getattr(self, f"_on_{kind}", lambda *_: None)(locate, message)

    def _on_R(self, locate: int, message: bytes) -> None:
        self.stocks[locate] = message[11:19].decode("ascii").rstrip()

    def _on_H(self, locate: int, message: bytes) -> None:
        self.states[locate] = message[19:20].decode("ascii")

    def _on_A(self, locate: int, message: bytes) -> None:
        ref, side, shares, stock, price = struct.unpack_from(">Q c I 8s I", message, 11)
        if stock.decode("ascii").rstrip() != self.stocks.get(locate):
            raise FeedError(f"{stock!r} is not what locate {locate} stands for")
        self._add(ref, Order(locate, side.decode("ascii"), shares, price))

    def _on_E(self, locate: int, message: bytes) -> None:
        ref, shares, _ = struct.unpack_from(">Q I Q", message, 11)
        self._reduce(ref, shares)
        self.traded[locate] += shares

    def _on_C(self, locate: int, message: bytes) -> None:
        ref, shares, _, printable, _ = struct.unpack_from(">Q I Q c I", message, 11)
        self._reduce(ref, shares)
        self.traded[locate] += shares if printable == b"Y" else 0

    def _on_X(self, _: int, message: bytes) -> None:
        ref, shares = struct.unpack_from(">Q I", message, 11)
        if shares >= self._live(ref).shares:
            raise FeedError(f"{shares} shares of {ref} cancelled in part, and there are {self._live(ref).shares}")
        self._reduce(ref, shares)

    def _on_D(self, _: int, message: bytes) -> None:
        self._remove(struct.unpack_from(">Q", message, 11)[0])

    def _on_U(self, _: int, message: bytes) -> None:
        old, new, shares, price = struct.unpack_from(">Q Q I I", message, 11)
        order = self._live(old)
        self._remove(old)
        self._add(new, Order(order.locate, order.side, shares, price))

    def _on_P(self, locate: int, message: bytes) -> None:
        self.traded[locate] += struct.unpack_from(">I", message, 20)[0]

    def _on_Q(self, locate: int, message: bytes) -> None:
        self.traded[locate] += struct.unpack_from(">Q", message, 11)[0]

    def _live(self, ref: int) -> Order:
        order = self.orders.get(ref)
        if order is None:
            raise FeedError(f"order {ref} is not known")
        return order

    def _add(self, ref: int, order: Order) -> None:
        if ref in self.orders:
            raise FeedError(f"order {ref} is added while it is live")
        if order.side not in "BS" or not order.shares or not order.price:
            raise FeedError(f"order {ref} has no side, shares or price")
        self.orders[ref] = order
        self.levels.setdefault(order.level, {})[ref] = None

    def _reduce(self, ref: int, shares: int) -> None:
        order = self._live(ref)
        if not 0 < shares <= order.shares:
            raise FeedError(f"{shares} shares of order {ref} are gone, and there were {order.shares}")
        order.shares -= shares
        if not order.shares:
            self._remove(ref)

    def _remove(self, ref: int) -> None:
        order = self._live(ref)
        del self.orders[ref]
        queue = self.levels[order.level]
        del queue[ref]
        if not queue:
            del self.levels[order.level]

    def queue(self, locate: int, side: str) -> list[tuple[int, int, int]]:
        """(reference, price, shares) of a side: best price first, then first come."""
        prices = sorted((key[2] for key in self.levels if key[:2] == (locate, side)), reverse=side == "B")
        return [(ref, price, self.orders[ref].shares) for price in prices for ref in self.levels[locate, side, price]]


class Soup:
    """A SoupBinTCP connection. `next` is the number of the next sequenced message."""

    def __init__(self, host: str, port: int, *, session: str = "", sequence: int = 1, seconds: float = 15.0) -> None:
        self._socket = socket.create_connection((host, port), timeout=seconds)
        self._data = b""
        self._is_closed = threading.Event()
        self.heartbeats = 0
        self.session = ""
        self.next = 0
        self.rejected = ""
        login = "reader".ljust(6) + "".ljust(10) + session.rjust(10) + str(sequence).rjust(20)
        self._socket.sendall(struct.pack(">H", 1 + len(login)) + b"L" + login.encode("ascii"))
        kind, payload = self._packet()
        if kind == b"A":
            self.session = payload[:10].decode("ascii").strip()
            self.next = int(payload[10:30])
        elif kind == b"J":
            self.rejected = payload.decode("ascii")
            self.close()
        else:
            raise FeedError(f"a login was answered with {kind!r}")
        # A client that says nothing for fifteen seconds is taken for gone.
        threading.Thread(target=self._beat, daemon=True).start()

    def _beat(self) -> None:
        while not self._is_closed.wait(HEARTBEAT_SECONDS):
            try:
                self.say(b"R")
            except OSError:
                return

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        """(number, message) until the session ends; `ConnectionError` if the server is gone, `TimeoutError`."""
        while True:
            kind, payload = self._packet()
            if kind == b"S":
                self.next += 1
                yield self.next - 1, payload
            elif kind == b"H":
                self.heartbeats += 1
            elif kind == b"Z":
                return
            elif kind != b"+":
                raise FeedError(f"a packet of type {kind!r}")

    def _packet(self) -> tuple[bytes, bytes]:
        length = struct.unpack(">H", self._read(2))[0]
        content = self._read(length)
        return content[:1], content[1:]

    def _read(self, count: int) -> bytes:
        while len(self._data) < count:
            more = self._socket.recv(65536)
            if not more:
                self.close()
                raise ConnectionError("the server has closed the connection")
            self._data += more
        taken, self._data = self._data[:count], self._data[count:]
        return taken

    def say(self, kind: bytes) -> None:
        """A packet without payload."""
        self._socket.sendall(b"\0\x01" + kind)

    def close(self) -> None:
        self._is_closed.set()
        self._socket.close()


def glimpse(host: str, port: int) -> tuple[ItchBook, int]:
    """The book of a GLIMPSE snapshot, and the number of the first message that is not in it."""
    book, following = ItchBook(), 0
    soup = Soup(host, port)
    if soup.rejected:
        raise ConnectionError(f"GLIMPSE rejects the login: {soup.rejected}")
    try:
        for _, message in soup:
            if message[:1] == b"G":
                following = int(message[1:21])
            elif following:
                raise FeedError("a message behind the end of the snapshot")
            else:
                book.apply(message)
    finally:
        soup.close()
    if not following:
        raise FeedError("the snapshot has no end")
    return book, following


def expected_queue(machine: Any, instrument: int, side: int, scale: int) -> list[tuple[int, int, int]]:
    """What `queue` must say, from the exchange's own queries."""
    found = []
    for ref, price, _ in machine.resting(instrument, side):
        order = machine.order(ref)
        if price and not order.trigger:
            found.append((ref, price * scale, order.quantity))
    return found
