"""A shop with everything that the gateway has to spell; a one-node cluster of it and a gateway, as processes."""

from __future__ import annotations

import contextlib
import enum
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import rsm
from rsm.node.supervisor import _die_with
from tests.document_reader import PROGRAM
from tests.documents import ROOT

# How long a process may take to say that it serves; machines that test are busy.
SECONDS_MAX = 60.0


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Line(rsm.Struct):
    """One line of an order."""

    item: str
    quantity: Annotated[int, rsm.Meta(gt=0)]


class Receipt(rsm.Struct):
    """What became of an order."""

    order_id: int
    side: Side
    lines: tuple[Line, ...]
    mark: bytes


class Ordered(rsm.Struct, tag="ordered"):
    receipt: Receipt


class Noted(rsm.Struct, tag="noted"):
    text: str


class Shop(rsm.StateMachine, name="shop", version=1, event=Ordered | Noted):
    """Orders and notes."""

    orders: rsm.Map[int, Receipt]
    notes: rsm.Map[str, str]

    @staticmethod
    def topic_of(event: Ordered | Noted) -> str:
        if isinstance(event, Noted):
            return f"notes/{event.text[:1]}"
        return "orders"

    @rsm.command(version=1)
    def order(
        self, ctx: rsm.Context, side: Side, lines: tuple[Line, ...], mark: bytes = b"\x00", limit: int | None = None
    ) -> Receipt:
        """Place an order.

        It is rejected without lines.
        """
        if not lines:
            ctx.reject("an order needs a line")
        if limit is not None and sum(line.quantity for line in lines) > limit:
            ctx.reject("above the limit")
        receipt = Receipt(ctx.new_id(), side, lines, mark)
        self.orders[receipt.order_id] = receipt
        ctx.emit(Ordered(receipt))
        return receipt

    @rsm.command(version=1, name="note")
    def write_note(self, ctx: rsm.Context, name: Annotated[str, rsm.Meta(pattern="(?a)^\\w+$")], text: str) -> int:
        """Keep a note."""
        self.notes[name] = self.notes.get(name, "") + text
        ctx.emit(Noted(text))
        return len(self.notes[name])

    @rsm.command(version=1)
    def largest(self, ctx: rsm.Context, value: int) -> tuple[int, dict[str, int]]:
        """Integers as they came."""
        return value, {"it": value}

    @rsm.command(version=1)
    def fail(self, ctx: rsm.Context) -> None:
        """Raise."""
        raise RuntimeError("a secret of the machine")

    @rsm.query
    def note_of(self, name: str) -> str | None:
        """A note."""
        return self.notes.get(name)

    @rsm.query
    def receipt(self, order_id: int) -> Receipt | None:
        return self.orders.get(order_id)

    @rsm.query
    def all_notes(self, first: str = "") -> Iterator[tuple[str, str]]:
        """Every note."""
        for name, text in self.notes.items():
            if name >= first:
                yield name, text

    @rsm.query
    def broken(self, how: str) -> int:
        """A query that is wrong in its result, or raises."""
        if how == "raises":
            raise RuntimeError("a secret of the machine")
        return how  # type: ignore[return-value]


MACHINE = "tests.unit.gateway.stage:Shop"


class Program:
    """A process of `rsm`; `wait_for` reads what it prints."""

    def __init__(self, directory: Path, *words: str) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            cwd=directory,
            env=os.environ | {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(directory / "state")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=_die_with(os.getpid()),
        )

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Until it prints a line that matches."""
        stdout = self.process.stdout
        assert stdout is not None
        timer = threading.Timer(SECONDS_MAX, self.process.kill)
        timer.start()
        try:
            for line in stdout:
                self.lines.append(line)
                if found := re.search(pattern, line):
                    return found
        finally:
            timer.cancel()
        raise AssertionError(f"no line with {pattern!r}: {''.join(self.lines)}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Stop it; its exit code. All that it printed is in `lines`."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            rest, _ = self.process.communicate(timeout=SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self.lines += rest.splitlines(keepends=True)
        return self.process.returncode


@contextlib.contextmanager
def running(directory: Path, *words: str) -> Iterator[Program]:
    """A program that is stopped at the end of the block."""
    program = Program(directory, *words)
    try:
        yield program
    finally:
        program.end()
        assert program.process.stdout is not None
        program.process.stdout.close()


@contextlib.contextmanager
def cluster(directory: Path) -> Iterator[str]:
    """One node; its address for clients."""
    words = ("cluster", "up", "--machine", MACHINE, "--dir", "cluster", "--nodes", "1")
    with running(directory, *words) as program:
        address = program.wait_for(r"clients (\S+),")[1]
        program.wait_for("leads")
        yield address


@contextlib.contextmanager
def gateway(directory: Path, address: str, *, port: int = 0) -> Iterator[tuple[Program, str]]:
    """A gateway process; it, and its URL."""
    with running(directory, "gateway", "--machine", MACHINE, "--listen", f"127.0.0.1:{port}", address) as program:
        yield program, program.wait_for(r"serves (http://\S+)/ ")[1]
