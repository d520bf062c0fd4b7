"""The ITCH session and GLIMPSE over sockets: joining, coming back, gaps, slow readers, logins that are not served."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from demos.orderbook.face import itch_server
from demos.orderbook.face.story import sequence_of
from demos.orderbook.flowgen import INSTRUMENTS
from demos.orderbook.records import BUY, SELL
from tests.face_stage import FaceStage
from tests.itch_reader import ItchBook, Soup, expected_queue, glimpse

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def shared_stage() -> Iterator[FaceStage]:
    with FaceStage(seed=3) as stage:
        stage.trade(1_500)
        yield stage


@pytest.fixture
def stage(shared_stage: FaceStage) -> Iterator[FaceStage]:
    """It has no reader at first; its session may begin anywhere."""
    yield shared_stage
    deadline = time.monotonic() + 10.0
    while shared_stage.call(lambda: shared_stage.servers.itch.clients):
        assert time.monotonic() < deadline, "a connection is still served"
        time.sleep(0.01)


@pytest.fixture
def own_stage() -> Iterator[FaceStage]:
    """For what spoils a session."""
    with FaceStage(seed=3) as stage:
        stage.trade(1_500)
        yield stage


def read(soup: Soup, book: ItchBook, until: int) -> None:
    """Apply messages up to a number."""
    for number, message in soup:
        book.apply(message)
        if number >= until:
            return


def last(stage: FaceStage) -> int:
    return stage.call(lambda: stage.face.session.next - 1)


def check(stage: FaceStage, book: ItchBook) -> None:
    """The reader holds what the machine's queries say."""
    for market in INSTRUMENTS:
        for side, letter in ((BUY, "B"), (SELL, "S")):
            expected = expected_queue(stage.machine, market.number, side, 10 ** (4 - market.decimals))
            assert expected
            assert book.queue(market.number, letter) == expected


def test_a_reader_joins_in_mid_session_through_glimpse(stage: FaceStage) -> None:
    """Live feed first, then the snapshot; what is older than it is dropped, the rest is applied."""
    soup = Soup(HOST, stage.ports.itch, sequence=0)
    stage.trade(200)
    book, following = glimpse(HOST, stage.ports.glimpse)
    stage.trade(300)
    end = last(stage)
    for number, message in soup:
        if number >= following:
            book.apply(message)
        if number == end:
            break
    assert soup.next == end + 1 > following
    check(stage, book)
    soup.close()


def test_a_reader_comes_back_at_its_number_and_gets_the_same_messages(own_stage: FaceStage) -> None:
    """From message 1 in one go, or in three connections: byte by byte the same; the session is named in the login."""
    stage = own_stage
    whole = Soup(HOST, stage.ports.itch, sequence=1)
    end = last(stage)
    messages = [message for _, message in zip(range(end), (message for _, message in whole), strict=False)]
    again: list[bytes] = []
    while len(again) < end:
        soup = Soup(HOST, stage.ports.itch, session=whole.session, sequence=len(again) + 1)
        assert soup.next == len(again) + 1
        for number, message in soup:
            again.append(message)
            if number in (end, end // 3, 2 * end // 3):
                break
        soup.close()
    assert messages == again
    book = ItchBook()
    for message in messages:
        book.apply(message)
    check(stage, book)
    whole.close()


def test_a_gap_is_seen_and_closed_by_a_snapshot(stage: FaceStage) -> None:
    """The face is skipped forward in the log: a reader is cut, sees at its login what it missed, and joins again."""
    book, following = glimpse(HOST, stage.ports.glimpse)
    soup = Soup(HOST, stage.ports.itch, sequence=following)
    stage.skip(200)
    stage.trade(50)
    with pytest.raises(ConnectionError):
        read(soup, book, 10**9)
    again = Soup(HOST, stage.ports.itch, session=soup.session, sequence=soup.next)
    assert again.next > soup.next, "the login says how far the gap reaches"
    fresh, following = glimpse(HOST, stage.ports.glimpse)
    assert following >= again.next
    stage.trade(100)
    for number, message in again:
        if number >= following:
            fresh.apply(message)
        if number == last(stage):
            break
    check(stage, fresh)
    again.close()


def test_sequence_numbers_are_those_of_the_log_s_events(stage: FaceStage) -> None:
    """Message 2n is the last of event n."""
    assert last(stage) == sequence_of(len(stage.flow.desk.reports))
    assert glimpse(HOST, stage.ports.glimpse)[1] == last(stage) + 1


def test_a_reader_that_stops_is_cut_and_stalls_nobody(own_stage: FaceStage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It logs in at 1 and takes nothing: the others get everything meanwhile, and it is gone in the end."""
    stage = own_stage
    monkeypatch.setattr(itch_server, "STALL_SECONDS_MAX", 1.0)
    stage.call(lambda: stage.face.session.append([b"S" + bytes(11)] * 400_000))  # more than its socket takes
    lazy = socket.create_connection((HOST, stage.ports.itch))
    login = "lazy".ljust(6) + " " * 20 + "1".rjust(20)
    lazy.sendall(b"\0\x2fL" + login.encode())
    reader = Soup(HOST, stage.ports.itch, sequence=last(stage) + 1)
    before = time.monotonic()
    stage.trade(300)
    end = last(stage)
    for number, _ in reader:
        if number == end:
            break
    assert time.monotonic() - before < 5.0
    deadline = time.monotonic() + 10.0
    while stage.call(lambda: stage.servers.itch.cut) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert stage.call(lambda: stage.servers.itch.clients) == 1
    lazy.close()
    reader.close()


def test_an_idle_session_sends_heartbeats_and_ends_with_z(own_stage: FaceStage) -> None:
    """A second of silence is broken by the server; when the exchange closes, the session ends in good order."""
    stage = own_stage
    soup = Soup(HOST, stage.ports.itch, sequence=0)
    time.sleep(1.3)
    soup.say(b"R")
    stage.call(stage.face.session.end)
    assert list(soup) == []
    assert soup.heartbeats >= 1
    soup.close()


def test_logins_that_cannot_be_served_are_rejected(stage: FaceStage) -> None:
    """Another session, or a message that is not there yet; and whoever speaks something else is hung up on."""
    for session, sequence in (("OTHER", 1), ("", last(stage) + 2)):
        assert Soup(HOST, stage.ports.itch, session=session, sequence=sequence).rejected == "S"
    assert Soup(HOST, stage.ports.glimpse, session="OTHER").rejected == "S"


NAMES = b"L" + b"reader".ljust(16) + b" " * 10


@pytest.mark.parametrize(
    "packet",
    [
        b"GE",  # as a length it is more than a client may send
        b"\0\0",
        b"\0\1R",
        b"\0\5Lshort",
        b"\0\x2f" + NAMES + b"12x".rjust(20),
        b"\0\x2f" + NAMES + b"-1".rjust(20),
        b"\0\x2f" + NAMES + b"\xb2".rjust(20),
        b"\0\x2f" + NAMES + b"1 2".rjust(20),
    ],
)
def test_whoever_speaks_something_else_is_hung_up_on(stage: FaceStage, packet: bytes) -> None:
    """Lengths, types and logins that are none: the connection is closed, at both servers, and nothing is sent."""
    for port in (stage.ports.itch, stage.ports.glimpse):
        with socket.create_connection((HOST, port), timeout=5.0) as other:
            other.sendall(packet)
            assert other.recv(100) == b""


def test_numbers_at_the_ends_of_what_a_login_can_name(stage: FaceStage) -> None:
    """Twenty digits are beyond the end; what is long gone is answered with the oldest message there is."""
    assert Soup(HOST, stage.ports.itch, sequence=10**20 - 1).rejected == "S"
    stage.skip(100)
    stage.trade(20)
    soup = Soup(HOST, stage.ports.itch, sequence=1)
    assert soup.next == stage.call(lambda: stage.face.session.first) > 1
    assert next(iter(soup))[0] == soup.next - 1
    soup.close()


def test_while_the_state_is_in_doubt_nothing_is_served_and_whoever_read_sees_a_gap(stage: FaceStage) -> None:
    """Readers are cut, logins rejected at both servers; the session begins again behind the next event."""
    soup = Soup(HOST, stage.ports.itch, sequence=0)
    position = last(stage) + 1
    glimpse(HOST, stage.ports.glimpse)  # which the servers keep for the next one
    stage.call(lambda: stage.face.halt("index 7: another root"))
    with pytest.raises(ConnectionError):
        next(iter(soup))
    stage.skip(0)  # the state is right now, and no event has come yet
    for port in (stage.ports.itch, stage.ports.glimpse):
        assert Soup(HOST, port, sequence=0).rejected == "S"
    stage.run("alder", "cancel", 10**13)
    again = Soup(HOST, stage.ports.itch, sequence=position)
    assert again.next == position + 2
    book, following = glimpse(HOST, stage.ports.glimpse)
    assert following == again.next
    stage.trade(100)
    read(again, book, last(stage))
    check(stage, book)
    again.close()


def test_an_address_that_is_taken_is_named(stage: FaceStage) -> None:
    """Of three ports the error says which one."""
    from demos.orderbook.face.web import listener

    with pytest.raises(OSError, match=f"cannot listen at {HOST}:{stage.ports.http}: "):
        listener(HOST, stage.ports.http)


def test_what_is_kept_is_bounded_and_the_newest() -> None:
    """The store drops its oldest entries; a reader of what is gone is told so."""
    from demos.orderbook.face.session import FellBehind, Session

    with FaceStage(seed=1) as stage:
        session = stage.call(lambda: Session("S", bytes_kept=10_000))

        def fill() -> None:
            session.begin(1)
            for _ in range(2_000):
                session.append([b"x" * 20] * 3)

        stage.call(fill)
        assert session.next == 6_001
        assert 6_001 - session.first <= 10_000 // 23 + 3 * 256 + 3
        with pytest.raises(FellBehind):
            session.read(session.first - 1, 1000)
        data, following = session.read(session.first + 1, 1)
        assert (len(data), following) == (46, session.first + 3)
