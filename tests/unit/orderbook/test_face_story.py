"""The ITCH session tells the book: an independent reader of its messages holds the same orders in the same queues."""

from __future__ import annotations

import random
from typing import Any

import pytest

from demos.orderbook.desk import Desk
from demos.orderbook.face.exchange_face import ExchangeFace
from demos.orderbook.face.resting import RestingBook
from demos.orderbook.face.story import sequence_of
from demos.orderbook.flowgen import INSTRUMENTS, Flow
from demos.orderbook.records import BUY, CLOSED, CONTINUOUS, IOC, MARKET, SELL, Traded
from tests.face_stage import DeskMachine
from tests.itch_reader import ItchBook, expected_queue

SCALES = {instrument.number: 10 ** (4 - instrument.decimals) for instrument in INSTRUMENTS}


class Stage:
    """A desk, a face that follows it entry by entry, and a reader that gets what the face sends."""

    def __init__(self, desk: Desk | None = None) -> None:
        self.desk = Desk() if desk is None else desk
        self.machine = DeskMachine(self.desk)
        self.face = ExchangeFace()
        self.face.load(self.machine, 0, 0, 0)
        self.reader = ItchBook()
        self.number = self.index = 0
        self._read = self.face.session.next

    def entry(self, *commands: tuple[str, str, tuple[Any, ...]]) -> None:
        """One log entry of several commands."""
        begun = len(self.desk.reports)
        for principal, name, values in commands:
            self.desk.run(principal, name, values)
        self.settle(self.desk.reports[begun:])

    def settle(self, reports: list[Any]) -> None:
        self.index += 1
        self.number += len(reports)
        self.face.apply(self.machine, reports, self.number, self.index, 1_700_000_000 * 10**9 + self.index)
        for message in self.messages():
            self.reader.apply(message)

    def messages(self) -> list[bytes]:
        found = []
        while self._read < self.face.session.next:
            data, self._read = self.face.session.read(self._read, 1 << 20)
            while data:
                length = int.from_bytes(data[:2], "big")
                assert data[2:3] == b"S"
                found.append(data[3 : 2 + length])
                data = data[2 + length :]
        return found

    def check(self) -> None:
        """The reader's book, the face's and the machine's are one."""
        assert self.face.session.next == sequence_of(self.number) + 1
        for instrument in self.machine.markets:
            scale = SCALES.get(instrument, 1)
            for side, letter in ((BUY, "B"), (SELL, "S")):
                expected = expected_queue(self.machine, instrument, side, scale)
                assert self.reader.queue(instrument, letter) == expected
                depth = [row[:2] for row in self.desk.depth(instrument, side, 1000) if row[0] != MARKET]
                assert self.face.book.side(instrument, side).best(1000) == depth
        fresh = RestingBook()
        fresh.load(self.machine, self.machine.markets)
        assert fresh.orders == self.face.book.orders


@pytest.mark.parametrize("seed", range(3))
def test_the_messages_of_a_generated_day_are_the_book(seed: int) -> None:
    """6,000 commands in entries of 1 to 60: icebergs, stops, auctions, modifications; equal after every few entries."""
    stage, dice = Stage(), random.Random(seed)
    flow = Flow(seed)
    entry_left = 0
    begun = 0
    stage.desk = flow.desk
    stage.machine = DeskMachine(flow.desk)
    stage.face.load(stage.machine, 0, 0, 0)
    for number, _ in enumerate(flow.steps(6_000)):
        if not entry_left:
            stage.settle(flow.desk.reports[begun:])
            begun = len(flow.desk.reports)
            entry_left = dice.choice((1, 1, 3, 20, 60))
            if not number % 20:
                stage.check()
        entry_left -= 1
    stage.settle(flow.desk.reports[begun:])
    stage.check()
    traded = [report for report in flow.desk.reports if isinstance(report, Traded)]
    assert len(traded) > 500
    volumes = {number: flow.desk.statistics(number).volume for number in SCALES}  # type: ignore[union-attr]
    assert dict(stage.reader.traded) == volumes
    assert {"A", "D", "E", "U", "X", "Q", "H", "R", "C"} <= set(stage.reader.counts)
    assert "P" not in stage.reader.counts  # no entry had to be told by its net changes


def listed(stage: Stage, phase: int = CONTINUOUS) -> None:
    stage.entry(("", "list_instrument", (9, "TEST", phase)))


def test_an_iceberg_shows_its_next_slice_behind_the_others() -> None:
    """The tip is executed, and the same reference shows again at the end of its level."""
    stage = Stage()
    listed(stage)
    stage.entry(("a", "place", (1, 9, SELL, 30, 100, 0, 10)), ("b", "place", (2, 9, SELL, 5, 100)))
    stage.check()
    assert stage.reader.queue(9, "S") == [(1, 100, 10), (2, 100, 5)]
    stage.entry(("c", "place", (3, 9, BUY, 10, 100)))
    stage.check()
    assert stage.reader.queue(9, "S") == [(2, 100, 5), (1, 100, 10)]
    assert stage.reader.counts["E"] == 1


def test_an_order_that_only_takes_is_never_shown() -> None:
    """One that takes and is over, and one whose rest is cancelled, leave executions of the makers and no orders."""
    stage = Stage()
    listed(stage)
    stage.entry(("a", "place", (1, 9, SELL, 30, 100)))
    stage.entry(("b", "place", (2, 9, BUY, 10, 100)), ("b", "place", (3, 9, BUY, 40, 100, IOC)))
    stage.check()
    assert (stage.reader.counts["A"], stage.reader.counts["E"], stage.reader.traded[9]) == (1, 2, 30)


def test_a_cross_is_printed_once_and_its_orders_are_reduced_in_silence() -> None:
    """One Q with the volume; executions of both sides are not printable; what is left stays in its place."""
    stage = Stage()
    listed(stage, CLOSED)
    stage.entry(("", "start_auction", (9,)))
    assert stage.reader.states[9] == "Q"
    stage.entry(("a", "place", (1, 9, SELL, 30, 100)), ("b", "place", (2, 9, BUY, 20, 101)))
    stage.entry(("b", "place", (3, 9, BUY, 5, MARKET)), ("a", "place", (4, 9, SELL, 40, 100, 0, 4)))
    stage.check()
    stage.entry(("", "uncross", (9,)))
    stage.check()
    assert stage.reader.states[9] == "T"
    assert (stage.reader.counts["Q"], stage.reader.traded[9]) == (1, 25)


def test_an_id_that_lives_twice_in_one_entry_is_told_by_its_end() -> None:
    """A sell order dies and its id comes back as a buy order and as an iceberg, all in one entry."""
    stage = Stage()
    listed(stage)
    stage.entry(("a", "place", (1, 9, SELL, 30, 100)))
    stage.entry(("a", "cancel", (1,)), ("a", "place", (1, 9, BUY, 7, 90)))
    stage.check()
    stage.entry(
        ("a", "cancel", (1,)),
        ("a", "place", (1, 9, SELL, 50, 100)),
        ("b", "place", (2, 9, BUY, 50, 100)),
        ("a", "place", (1, 9, SELL, 50, 100, 0, 5)),
        ("b", "place", (3, 9, BUY, 12, 100)),
    )
    stage.check()
    stage.entry(
        ("a", "cancel", (1,)),
        ("a", "place", (1, 9, SELL, 50, 100)),
        ("b", "place", (2, 9, BUY, 50, 100)),
        ("a", "place", (1, 9, SELL, 50, 200, 0, 0, 90)),  # now it is a stop: the book alone does not say so
    )
    stage.check()
    assert stage.reader.traded[9] == 112


def test_every_event_has_two_places_whatever_it_is() -> None:
    """Refusals and reports that need no message are places, too: numbers follow from the log alone."""
    stage = Stage()
    before = stage.face.session.next
    stage.entry(("a", "cancel", (77,)))
    listed(stage)
    stage.entry(("a", "place", (1, 9, SELL, 30, 100, IOC)))
    assert stage.number == 4
    assert stage.face.session.next == before + 8
    assert stage.reader.counts == {"S": 6, "R": 1, "H": 1}


def test_numbers_beyond_the_fields_of_itch_are_cut_or_not_shown() -> None:
    """More shares than 32 bits show as the most there can be, and a price beyond them does not show."""
    stage = Stage()
    listed(stage)
    stage.entry(("a", "place", (1, 9, SELL, 2**32 + 5, 100)), ("a", "place", (2, 9, SELL, 10, 2**33)))
    assert stage.reader.queue(9, "S") == [(1, 100, 2**32 - 1)]
    stage.entry(("b", "place", (3, 9, BUY, 3, 100)))
    assert (stage.reader.queue(9, "S"), stage.reader.traded[9]) == ([(1, 100, 2**32 - 1)], 3)
    stage.entry(("b", "place", (4, 9, BUY, 10, 100)))
    assert (stage.reader.queue(9, "S"), stage.reader.traded[9]) == ([(1, 100, 2**32 - 8)], 10)


def test_a_symbol_that_itch_cannot_write_does_not_end_the_session() -> None:
    """Anybody who may list a market may name it so: eight characters of ASCII are left of it."""
    stage = Stage()
    stage.entry(("", "list_instrument", (9, "\u00c9CLAIR-LONG", CONTINUOUS)))
    stage.entry(("a", "place", (1, 9, SELL, 30, 100)))
    assert stage.reader.stocks == {9: "?CLAIR-L"}
    assert stage.reader.queue(9, "S") == [(1, 100, 30)]


def test_another_face_that_begins_anywhere_sends_the_same_messages() -> None:
    """From a state in the middle, with nothing but the number of its last event: the rest is equal, byte by byte."""
    flow, dice = Flow(5), random.Random(5)
    machine = DeskMachine(flow.desk)
    faces = [ExchangeFace()]
    faces[0].load(machine, 0, 0, 0)
    begun, index = 0, 0
    for number, _ in enumerate(flow.steps(3_000)):
        if dice.random() < 0.1:
            index += 1
            for face in faces:
                face.apply(machine, flow.desk.reports[begun:], len(flow.desk.reports), index, index)
            begun = len(flow.desk.reports)
            if number > 700 * len(faces) and len(faces) < 4:
                faces.append(ExchangeFace())
                faces[-1].load(machine, begun, index, index)
    sessions = [face.session for face in faces]
    assert len({session.next for session in sessions}) == 1
    for session in sessions[1:]:
        assert sessions[0].first < session.first < session.next
        assert read_all(sessions[0], session.first) == read_all(session, session.first)
    assert len({face.glimpse() for face in faces}) == 1


def read_all(session: Any, sequence: int) -> bytes:
    found = b""
    while sequence < session.next:
        data, sequence = session.read(sequence, 1 << 20)
        found += data
    return found
