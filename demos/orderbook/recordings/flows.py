"""Replaying order flows: the machine matches, and its events must give the recorded report stream byte for byte."""

from __future__ import annotations

import os
from typing import Any, Final

import rsm
from demos.orderbook.formats import Source, flow
from demos.orderbook.formats.flow import CANCEL, NEW, FlowRow, ManifestRow
from demos.orderbook.machine import OrderBook
from demos.orderbook.recordings.pump import Check, CheckFailed, Recording, WrongDirectory
from demos.orderbook.recordings.report_stream import ReportGroups, ReportStream
from demos.orderbook.records import IOC, Report
from demos.orderbook.reports import NoLine, lines

INSTRUMENT: Final = 1
SYMBOL: Final = "FLOW"
MANIFEST: Final = "MANIFEST.csv"


class FlowReplay(Recording[OrderBook, FlowRow]):
    """One flow. Its report stream is kept at `path`; `expected` is what the manifest says of it, if there is one."""

    machine = OrderBook

    def __init__(self, path: str, expected: ManifestRow | None) -> None:
        self._path = path
        self._stream: ReportStream | None = None
        self.expected = expected
        self._awaiting: int | None = None  # the message that has been answered, but whose reports may go on

    def begin(self, client: OrderBook, done: int) -> None:
        self._stream = ReportStream(self._path)
        if client.market(INSTRUMENT) is None:
            client.list_instrument(INSTRUMENT, SYMBOL, requeue=True)
        self._groups = ReportGroups(client)
        self._past_first = done - len(self._groups.past) + 1
        if self._past_first > 1 and self._groups.past:
            # Older events are gone, perhaps some of this message's too.
            self._past_first += 1
            del self._groups.past[0]

    @property
    def stream(self) -> ReportStream:
        """The report stream so far; there is one from `begin` on."""
        if self._stream is None:
            raise ValueError("the replay has not begun")
        return self._stream

    def close(self) -> None:
        """Close the report stream."""
        if self._stream is not None:
            self._stream.close()

    def skip(self, number: int, record: FlowRow) -> None:
        if record.seq <= self.stream.kept:
            return
        if number < self._past_first:
            raise WrongDirectory(
                f"{self.stream.path}: ends with message {self.stream.kept}, and the machine no longer keeps the events"
                f" of message {record.seq}: start again in an empty directory"
            )
        self._write(record.seq, self._groups.past[number - self._past_first])

    def send(self, client: OrderBook, number: int, record: FlowRow) -> rsm.Pending[Any]:
        _, kind, side, ioc, quantity, order_id, price = record
        if kind == NEW:
            flags = IOC if ioc else 0
            return client.place.send(order_id, INSTRUMENT, side, quantity, price, flags, 0, 0, number)
        if kind == CANCEL:
            return client.cancel.send(order_id, number)
        return client.modify.send(order_id, quantity, price, number)

    def settled(self, number: int, record: FlowRow) -> None:
        seq, self._awaiting = self._awaiting, None
        if seq is not None:
            self._write(seq, self._groups.take())
        self._awaiting = record.seq

    def finish(self, client: OrderBook) -> None:
        if self._awaiting is not None:
            self._write(self._awaiting, self._groups.take_last())
        self.stream.sync()

    def checks(self, applied: int, read: int) -> list[Check]:
        if self.expected is None:
            return []
        _, messages, reports, sha256 = self.expected
        is_equal = (self.stream.lines, self.stream.sha256) == (reports, sha256)
        return [Check("messages", "applied", applied, messages), Check("report streams", "equal", int(is_equal), 1)]

    def book(self, client: OrderBook) -> dict[str, Any]:
        orders, levels = client.counts()
        bid, ask = client.best(INSTRUMENT)
        tape = client.statistics(INSTRUMENT)
        traded = {} if tape is None else {"trades": tape.trades, "volume": tape.volume, "last": tape.last}
        return {"orders": orders, "levels": levels, "bid": bid, "ask": ask, **traded}

    def _write(self, seq: int, reports: list[Report]) -> None:
        try:
            self.stream.add(lines(seq, reports))
        except NoLine as error:
            raise CheckFailed(str(error)) from error


def expected_of(path: str) -> ManifestRow | None:
    """What the manifest beside a flow says of it; None if there is none, or it does not name the flow.

    Raises `FormatError` for a damaged manifest.
    """
    directory, file = os.path.split(path)
    manifest = os.path.join(directory, MANIFEST)
    name = file.removesuffix(".gz").removesuffix(".csv").removesuffix(".orders")
    if not os.path.exists(manifest):
        return None
    with Source(manifest) as source:
        return next((row for row in flow.read_manifest(source) if row.name == name), None)
