"""The public face of an exchange whose leader is killed: an independent ITCH reader goes on, and holds the book."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import rsm
from demos.orderbook.flowgen import INSTRUMENTS, TRADERS, Flow
from demos.orderbook.machine import OrderBook
from demos.orderbook.records import BUY, SELL
from tests.itch_reader import ItchBook, Soup, glimpse

# Processes enough for the whole machine: not beside another cluster.
pytestmark = pytest.mark.xdist_group("cluster")

pytest.importorskip("uvicorn", reason="needs starlette and uvicorn (the extra `demos`)")

SECONDS_MAX = 60.0
LINES = 5
# Of the flow, whose opening auction is longer the longer it is.
COMMANDS_MAX = 2_000
# Within the collar of the first market, and far from where it trades.
MARK_PRICE = 16_600


class Face:
    """A process of `python -m demos.orderbook exchange`, and where it says that it listens."""

    def __init__(self, root: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "demos.orderbook", "exchange", *arguments],
            cwd=root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: dict[str, str] = {}
        for line in islice(self.process.stdout or (), LINES):
            self.lines[line[1:16].strip()] = line[16:].strip()
        assert len(self.lines) == LINES, "the exchange did not start"

    def address(self, name: str) -> tuple[str, int]:
        host, port = self.lines[name].split()[0].rsplit(":", 1)
        return host, int(port)

    def close(self) -> int:
        self.process.terminate()
        code = self.process.wait(SECONDS_MAX)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextlib.contextmanager
def face(root: Path, *arguments: str) -> Iterator[Face]:
    made = Face(root, *arguments)
    try:
        yield made
        assert made.close() == 0
    finally:
        if made.process.poll() is None:
            made.close()


class Traders:
    """The flow's traders, as clients of the cluster."""

    def __init__(self, addresses: list[str]) -> None:
        self.clients: list[Any] = [
            rsm.connect(OrderBook, addresses, principal=name, timeout_seconds=SECONDS_MAX) for name in TRADERS
        ]
        self._steps = Flow(11).steps(COMMANDS_MAX)
        self._marks = 0

    def trade(self, commands: int) -> None:
        """So many commands, a few hundred on their way at a time; all are answered in the end."""
        flying: deque[Any] = deque()
        for step in islice(self._steps, commands):
            client = self.clients[step.command.trader]
            flying.append(getattr(client, step.command.name).send(*step.command.values))
            if len(flying) > 200:
                finish(flying.popleft())
        while flying:
            finish(flying.popleft())
        # The last event is an order that rests, so that whoever has its message has them all.
        self._marks += 1
        self.clients[1].place(10**12 + self._marks, 1, BUY, 1, MARK_PRICE)

    def close(self) -> None:
        for client in self.clients:
            client.close()


def finish(pending: Any) -> None:
    with contextlib.suppress(rsm.Rejected):
        pending.result(SECONDS_MAX)


def kill_leader(directory: Path, addresses: list[str]) -> int:
    """SIGKILL to the process of the node that leads; its number."""
    done = subprocess.run(
        [sys.executable, "-m", "rsm", "status", "--json", *addresses], capture_output=True, timeout=30, check=True
    )
    leader = next(node["node_id"] for node in json.loads(done.stdout)["nodes"] if node["role"] == "leader")
    os.kill(int((directory / f"node-{leader}" / "lock").read_text()), signal.SIGKILL)
    return int(leader)


def catch_up(soup: Soup, book: ItchBook, following: int, machine: Any) -> int:
    """Read until the book is that of the exchange, which stands still; returns the number of the last message."""
    expected = queues(machine)
    orders = sum(map(len, expected))
    for number, message in soup:
        if number >= following:
            book.apply(message)
        # An event has two messages, and the exchange's last one is an order that rests.
        if number % 2 == 0 and len(book.orders) == orders and number >= following and seen(book) == expected:
            return number
    raise AssertionError("the session has ended")


def queues(machine: Any) -> list[Any]:
    shown = {order.order_id: order.quantity for name in TRADERS for order in machine.open_orders(name)}
    return [
        [
            (ref, price * 10 ** (4 - market.decimals), shown[ref])
            for ref, price, _ in machine.resting(market.number, side)
        ]
        for market in INSTRUMENTS
        for side in (BUY, SELL)
    ]


def seen(book: ItchBook) -> list[Any]:
    return [book.queue(market.number, letter) for market in INSTRUMENTS for letter in "BS"]


def test_a_reader_survives_the_leader_and_another_face_serves_the_same_session(root: Path, tmp_path: Path) -> None:
    """Joined through GLIMPSE in mid-session; the leader dies while orders flow; the reader ends with the query's book.

    Then a face of another process, which begins with a snapshot of the log, continues that session by its numbers.
    """
    directory = tmp_path / "cluster"
    with face(root, "--nodes", "3", "--rate", "0", "--dir", str(directory)) as first:
        addresses = first.lines["nodes"].split()
        traders = Traders(addresses)
        try:
            traders.trade(400)
            standing_at(first, 1)  # its first look at the log may take it a while
            soup = Soup(*first.address("ITCH 5.0"), sequence=0, seconds=SECONDS_MAX)
            traders.trade(100)
            book, following = glimpse(*first.address("GLIMPSE"))
            assert len(book.orders) > 50
            kill_leader(directory, addresses)
            traders.trade(500)
            last = catch_up(soup, book, following, traders.clients[0])
            assert book.counts["E"] > 0

            with face(root, "--addresses", *addresses) as second:
                other, beginning = standing_at(second, last + 1)
                assert beginning == last + 1
                assert seen(other) == seen(book)
                late = Soup(*second.address("ITCH 5.0"), session=soup.session, sequence=beginning, seconds=SECONDS_MAX)
                assert (late.session, late.next) == (soup.session, beginning)
                traders.trade(200)
                end = catch_up(soup, book, last + 1, traders.clients[0])
                again = Soup(*first.address("ITCH 5.0"), session=late.session, sequence=beginning)
                messages = [[message for _, message in islice(one, end - last)] for one in (late, again)]
                assert messages[0] == messages[1]
                again.close()
                late.close()
            soup.close()
        finally:
            traders.close()


def test_an_exchange_that_is_started_again_on_its_directory_goes_on(root: Path, tmp_path: Path) -> None:
    """The cluster that it made, with its one node: the same session at the number where it was, and the same book."""
    directory = str(tmp_path / "cluster")
    with face(root, "--nodes", "1", "--rate", "0", "--dir", directory) as first:
        traders = Traders(first.lines["nodes"].split())
        try:
            book, following = standing_at(first, 1)
            traders.trade(100)
            soup = Soup(*first.address("ITCH 5.0"), sequence=following, seconds=SECONDS_MAX)
            last = catch_up(soup, book, following, traders.clients[0])
            soup.close()
        finally:
            traders.close()
    with face(root, "--rate", "0", "--dir", directory) as second:
        other, beginning = standing_at(second, last + 1)
        assert beginning == last + 1
        assert seen(other) == seen(book)


def standing_at(other: Face, following: int) -> tuple[ItchBook, int]:
    """The snapshot of a face that has only just begun, once it has come so far in the log."""
    deadline = time.monotonic() + SECONDS_MAX
    while time.monotonic() < deadline:
        with contextlib.suppress(ConnectionError):  # it rejects logins until it knows where it is
            book, number = glimpse(*other.address("GLIMPSE"))
            if number >= following:
                return book, number
        time.sleep(0.1)
    raise AssertionError(f"the face does not come to message {following}")
