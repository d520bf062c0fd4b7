"""The client port: hellos, requests and answers on real sockets, and clients that do what they must not."""

from __future__ import annotations

import random
import time
from typing import Any

import pytest

import rsm
from rsm.codec import cbor
from rsm.limits import (
    CLIENT_FRAME_BYTES_MAX,
    PRINCIPAL_LENGTH_MAX,
    REQUESTS_IN_FLIGHT_MAX,
    STREAMS_PER_CONNECTION_MAX,
)
from rsm.node.network import protocol
from rsm.node.network.handshake import ServerHello, parse_refusal, parse_server_hello
from rsm.node.network.protocol import AnswerStatus, Consistency
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.batch import encode_call, join_item
from tests.client_service import Nodes
from tests.machines import SECOND, Everything
from tests.raw_client import Raw, fill, greeted, push, until

OK, MORE, BUSY, ERROR, REDIRECT = (
    AnswerStatus.OK,
    AnswerStatus.MORE,
    AnswerStatus.BUSY,
    AnswerStatus.ERROR,
    AnswerStatus.REDIRECT,
)


def test_the_hello_says_who_leads_and_who_belongs(nodes: Nodes) -> None:
    """A client learns cluster, node, machine, leader and members from the first frame."""
    connection = Raw(nodes.addresses[0], machine="everything")
    frame = connection.frame()
    assert frame is not None
    hello = parse_server_hello(frame[1])
    address = nodes.addresses[0]
    assert hello == ServerHello(1, b"c" * 16, 1, "everything", 1, (1, address), ((1, address),))
    connection.socket.close()


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        ({"machine": "bank"}, "another machine"),
        ({"cluster_id": b"d" * 16}, "another cluster"),
        ({"protocol": (7, 9)}, "no common protocol"),
        ({"role": "peer"}, "wrong role"),
        ({"principal": "p" * (PRINCIPAL_LENGTH_MAX + 1)}, "principal"),
    ],
)
def test_strangers_are_refused_with_a_reason(nodes: Nodes, hello: dict[str, Any], reason: str) -> None:
    """Another machine, cluster, protocol or role gets one line that says so, and the connection is closed."""
    connection = Raw(nodes.addresses[0], **hello)
    frame = connection.frame()
    assert frame is not None
    assert frame[0] == FrameKind.REFUSAL
    assert reason in parse_refusal(frame[1])
    connection.socket.close()


def test_commands_of_a_frame_are_answered_by_a_frame(raw: Raw, nodes: Nodes) -> None:
    """256 commands travel in one request and come back as one answer, in order, with the index of their entry."""
    index, number = raw.ask(protocol.OpenSession(60 * SECOND))
    assert (index, number) == (2, 1)
    _, status, fields = raw.commands([push(number, n + 1) for n in range(256)])
    assert status == OK
    index, answers = protocol.decode_answers(fields, 256)
    assert index == 3
    assert answers == [Answer(Status.OK, b"\x00")] * 256
    assert nodes.server.commands == 256
    raw.ask(protocol.CloseSession(number))
    _, status, fields = raw.commands([push(number, 257)])
    assert protocol.decode_answers(fields, 1)[1][0].status == Status.SESSION_EXPIRED


def test_the_items_handed_over_are_the_client_s_own_bytes(raw: Raw, nodes: Nodes) -> None:
    """What goes into the log is what the client encoded, and `decoded` is what that decodes to."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    seen: list[Any] = []
    submit = nodes.services[0].submit

    def spy(request: Any) -> None:
        seen.append((request.items, request.decoded, request.principal))
        submit(request)

    nodes.do(lambda: setattr(nodes.services[0], "submit", spy))
    items = [push(number, 1), push(number, 2)]
    raw.commands(items)
    assert seen == [(b"".join(items), [cbor.decode(item, bytes_max=1000) for item in items], "")]


@pytest.mark.parametrize(
    "item",
    [
        b"\x05",
        b"\x80",
        join_item(0, 0, 0, encode_call("rsm.open_session", 1, ["", 0])),
        join_item(1, 1, 1, encode_call("rsm.later_release", 1, [])),
        join_item(1, 1, 1, encode_call("rsm.open_session", 1, ["", 0])),
        cbor.encode([1, 1, 1, 5, 1, []]),
        cbor.encode(["1", 1, 1, "push", 1, []]),
        cbor.encode([-1, 1, 1, "push", 1, []]),
        cbor.encode([1, 1, 1, "push", 1, [], "key", "more"]),
    ],
)
def test_items_that_would_harm_reach_no_log(raw: Raw, nodes: Nodes, item: bytes) -> None:
    """Session 0, the system's names and malformed items are refused whole; the connection stays."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    assert number == 1
    entries = len(nodes.log.entries)
    _, status, fields = raw.commands([push(1, 1), item])
    assert (status, fields[0]) == (ERROR, "BadBytes")
    assert len(nodes.log.entries) == entries
    assert raw.commands([push(1, 1)])[1] == OK


def test_sessions_belong_to_their_principal(nodes: Nodes) -> None:
    """Nobody sends in, or closes, the session of another principal."""
    ann, bob = greeted(nodes, principal="ann"), greeted(nodes, principal="bob")
    [_, number] = ann.ask(protocol.OpenSession(60 * SECOND))
    assert bob.commands([push(number, 1)])[1:] == (ERROR, ["CallerError", "session 1 belongs to somebody else"])
    bob.request(protocol.CloseSession(number))
    assert bob.answer()[1] == ERROR
    assert ann.commands([push(number, 1)])[1] == OK
    other = bob.ask(protocol.OpenSession(60 * SECOND))[1]
    assert bob.commands([push(other, 1), push(number, 2)])[1] == ERROR
    for connection in (ann, bob):
        connection.socket.close()


def test_who_does_not_lead_says_who_does(raw: Raw, nodes: Nodes) -> None:
    """Commands and linearizable reads are sent on; stale reads and status are answered by any node."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    nodes.do(lambda: setattr(nodes.services[0], "leads", False))
    nodes.do(lambda: setattr(nodes.services[0], "leader", (2, "elsewhere:1")))
    assert raw.commands([push(number, 1)])[1:] == (REDIRECT, ["elsewhere:1"])
    for request in (
        protocol.OpenSession(SECOND),
        protocol.CloseSession(number),
        protocol.Query("word", ["a"], Consistency.LINEARIZABLE, 0),
        protocol.Cursor(None, False),
        protocol.Snapshot(),
    ):
        raw.request(request)
        assert raw.answer()[1:] == (REDIRECT, ["elsewhere:1"])
    assert raw.ask(protocol.Query("word", ["a"], Consistency.STALE, 0))[0] == 2
    assert raw.ask(protocol.Status())[0]["machine"] == "everything"


def test_queries_answer_or_say_why_not(raw: Raw) -> None:
    """Results are MessagePack; unknown queries, bad values and raising handlers are errors; the connection stays."""
    assert raw.ask(protocol.Query("word", ["a"], Consistency.LINEARIZABLE, 0)) == [1, b"\xc0"]
    for name, values, error in (
        ("nope", [], "InvalidCommand"),
        ("word", [5], "InvalidCommand"),
        ("word", [], "InvalidCommand"),
        ("spoil", ["map"], "HandlerFailed"),
    ):
        raw.request(protocol.Query(name, values, Consistency.LINEARIZABLE, 0))
        _, status, fields = raw.answer()
        assert (status, fields[0]) == (ERROR, error)


def test_reads_of_an_index_wait_for_it_but_not_for_ever(raw: Raw, monkeypatch: pytest.MonkeyPatch) -> None:
    """A read of at least an index is answered once that is applied; one of an index that never comes gets Busy."""
    monkeypatch.setattr("rsm.node.serving.server.EARLY_READ_SECONDS_MAX", 0.2)
    early = raw.request(protocol.Query("word", ["a"], Consistency.AT_LEAST, 2))
    stream = raw.request(protocol.Stream("all_words", [], Consistency.AT_LEAST, 2))
    never = raw.request(protocol.Query("word", ["a"], Consistency.AT_LEAST, 2**62))
    session = raw.request(protocol.OpenSession(60 * SECOND))
    answers = {request_id: (status, fields) for request_id, status, fields in (raw.answer() for _ in range(5))}
    assert answers[session][1][0] == 2
    assert answers[early] == (OK, [2, b"\xc0"])
    assert answers[stream] == (OK, [])
    assert answers[never][0] == BUSY


def test_other_requests_are_answered(raw: Raw, nodes: Nodes) -> None:
    """Snapshot, membership and leadership reach the node; the log is exported in parts, one a credit."""
    assert raw.ask(protocol.Snapshot()) == [1]
    assert raw.ask(protocol.Change("add", 4, "h:1", "h:2")) == [1]
    assert raw.ask(protocol.Transfer(3)) == [3]
    raw.ask(protocol.OpenSession(SECOND))
    request_id = raw.request(protocol.Export(1, 0))
    parts = []
    while (answer := raw.answer())[1] == MORE:
        parts.append(answer[2])
        raw.request(protocol.Next(), request_id)
    assert answer == (request_id, OK, [])
    assert [part[0] for part in parts] == [{"machine": "everything"}, None]
    assert [part[1][0][0] for part in parts] == [1, 2]
    raw.request(protocol.Export(50, 0))
    assert raw.answer()[2][0] == "CallerError"


def test_a_stream_gives_a_part_for_each_credit(raw: Raw) -> None:
    """The request is the first credit, each NEXT one more; between them other requests are answered."""
    fill(raw, 1000)
    request_id = raw.request(protocol.Stream("all_words", [], Consistency.LINEARIZABLE, 0))
    index, items = raw.answer()[2]
    assert index == 4
    found = list(items)
    while True:
        raw.ask(protocol.Status())
        raw.request(protocol.Next(), request_id)
        _, status, fields = raw.answer()
        if status == OK:
            break
        found += fields[1]
        if len(fields[1]) < 256:
            assert raw.answer()[:2] == (request_id, OK)
            break
    assert [decode(item) for item in found] == [[f"k{n:05}", n] for n in range(1000)]
    raw.request(protocol.Next(), request_id)  # of a stream that is over: nothing
    raw.ask(protocol.Status())


def test_streams_are_bounded_and_end_with_their_connection(raw: Raw, nodes: Nodes) -> None:
    """Too many streams get Busy; a cancelled one makes room; a closed connection holds no views of the state."""
    fill(raw, 1000)
    stream = protocol.Stream("all_words", [], Consistency.LINEARIZABLE, 0)
    ids = []
    for _ in range(STREAMS_PER_CONNECTION_MAX):
        ids.append(raw.request(stream))
        assert raw.answer()[1] == MORE
    raw.request(stream)
    assert raw.answer()[1] == BUSY
    raw.request(stream, ids[0])
    assert raw.answer()[2][0] == "BadBytes"
    raw.request(protocol.Cancel(), ids[0])
    raw.request(stream)
    assert raw.answer()[1] == MORE
    limiter = nodes.server.limiter
    [connection] = nodes.do(lambda: list(limiter._established))
    assert len(connection.streams) == STREAMS_PER_CONNECTION_MAX
    raw.socket.close()
    until(lambda: not connection.streams)


def test_events_wait_until_there_are_some(raw: Raw, nodes: Nodes) -> None:
    """A long poll is answered when events come, when its time is over, or not at all once it is cancelled."""
    assert raw.ask(protocol.Events(0, 10, 0)) == [[]]
    began = time.monotonic()
    assert raw.ask(protocol.Events(0, 10, 100)) == [[]]
    assert time.monotonic() - began >= 0.09
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    polls = [raw.request(protocol.Events(0, 10, 20_000)) for _ in range(3)]
    raw.request(protocol.Cancel(), polls[1])
    raw.ids += 1
    item = join_item(number, 1, 1, encode_call("tell", 1, ["a", 2]))
    raw.send(FrameKind.REQUEST, protocol.encode_commands(raw.ids, 1, item))
    answers = {request_id: (status, fields) for request_id, status, fields in (raw.answer() for _ in range(3))}
    assert set(answers) == {polls[0], polls[2], raw.ids}
    [events] = answers[polls[0]][1]
    assert [(event[0], event[4], decode(event[5])) for event in events] == [(1, 0, ["a", 0]), (2, 1, ["a", 1])]
    assert raw.ask(protocol.Events(1, 10, 20_000))[0][0][0] == 2
    assert nodes.do(lambda: dict(nodes.server._polls)) == {}


def doubt(nodes: Nodes, *, leads: bool) -> None:
    """Let the node be in doubt of its state."""

    def change() -> None:
        service = nodes.services[0]
        service.in_doubt = "this node is suspect: its root differs"
        service.leader = (1 if leads else 2, "elsewhere:1")

    nodes.do(change)


@pytest.mark.parametrize("leads", [False, True])
def test_a_node_in_doubt_gives_no_events(raw: Raw, nodes: Nodes, leads: bool) -> None:
    """Neither to who asks now nor to who waits already: they are sent to the leader, or told to come again."""
    raw.ask(protocol.OpenSession(60 * SECOND))
    waiting = raw.request(protocol.Events(0, 10, 20_000))
    raw.ask(protocol.Status())
    doubt(nodes, leads=leads)
    nodes.do(nodes.services[0].notify)
    expected = BUSY if leads else REDIRECT
    assert raw.answer()[:2] == (waiting, expected)
    asked = raw.request(protocol.Events(0, 10, 0))
    found, status, fields = raw.answer()
    assert (found, status) == (asked, expected)
    assert fields == (["this node is suspect: its root differs", 100] if leads else ["elsewhere:1"])


def test_a_node_in_doubt_ends_its_streams(raw: Raw, nodes: Nodes) -> None:
    """One that is open ends with a clear error at its next part, none begins; the log can be exported all the same."""
    fill(raw, 1000)
    stream = protocol.Stream("all_words", [], Consistency.LINEARIZABLE, 0)
    request_id = raw.request(stream)
    assert raw.answer()[1] == MORE
    doubt(nodes, leads=True)
    raw.request(protocol.Next(), request_id)
    found, status, fields = raw.answer()
    assert (found, status, fields[0]) == (request_id, ERROR, "Unreachable")
    assert fields[1].startswith("all_words: the stream ends here, begin it again elsewhere: this node is suspect")
    raw.request(stream)
    assert raw.answer()[1] == REDIRECT
    assert nodes.do(lambda: len(nodes.server.streams)) == 0
    exported = raw.request(protocol.Export(1, 0))
    assert raw.answer()[:2] == (exported, MORE)


def test_a_node_in_doubt_lets_no_read_wait(raw: Raw, nodes: Nodes) -> None:
    """It may never apply what a read waits for, so the reader is sent on at once."""
    doubt(nodes, leads=False)
    began = time.monotonic()
    raw.request(protocol.Query("word", ["a"], Consistency.AT_LEAST, 10**6))
    assert raw.answer()[1:] == (REDIRECT, ["elsewhere:1"])
    raw.request(protocol.Query("word", ["a"], Consistency.STALE, 0))
    assert raw.answer()[1] == REDIRECT
    raw.request(protocol.Cursor("c", False))
    assert raw.answer()[1] == REDIRECT
    assert time.monotonic() - began < 0.9


def test_commands_may_ask_to_be_confirmed(raw: Raw, nodes: Nodes) -> None:
    """Their request is of another kind and of the same shape; the node is told, and the rest is the same."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    raw.ids += 1
    payload = protocol.encode_commands(raw.ids, 1, push(number, 1), wants_confirmation=True)
    raw.send(FrameKind.REQUEST, payload)
    _, status, fields = raw.answer()
    assert (status, protocol.decode_answers(fields, 1)[1]) == (OK, [Answer(Status.OK, b"\x00")])
    assert nodes.services[0].confirmed == 1
    raw.commands([push(number, 2)])
    assert nodes.services[0].confirmed == 1


def test_a_gap_in_the_events_is_told(raw: Raw) -> None:
    """Events that are gone are an error with the number from which there are some."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    for sequence in (1, 2):
        raw.commands([join_item(number, sequence, 1, encode_call("tell", 1, ["a", 65_536]))])
    raw.request(protocol.Events(0, 10, 20_000))
    _, status, fields = raw.answer()
    error = protocol.error_of(status, fields)
    assert isinstance(error, rsm.EventsGap)
    assert error.oldest_index == 65_537
    assert raw.ask(protocol.Cursor(None, False)) == [65_536]


def test_unknown_kinds_leave_the_connection_open(raw: Raw) -> None:
    """A request of a later release is answered as an unknown format; the next one is answered as ever."""
    raw.send(FrameKind.REQUEST, cbor.encode([99, 5, "later"]))
    assert raw.answer()[:2] == (5, ERROR)
    raw.ask(protocol.Status())


@pytest.mark.parametrize(
    "sent",
    [
        encode_frame(FrameKind.REQUEST, b"\xff"),
        encode_frame(FrameKind.REQUEST, cbor.encode({"a": 1})),
        encode_frame(FrameKind.MESSAGE, b"\x80"),
        encode_frame(FrameKind.REQUEST, b"\x00" * (CLIENT_FRAME_BYTES_MAX + 1)),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["cbor", "map", "message", "large", "http"],
)
def test_nonsense_ends_the_connection_and_hurts_nobody_else(nodes: Nodes, raw: Raw, sent: bytes) -> None:
    """What is no request closes its own connection; others are served on."""
    other = greeted(nodes)
    try:
        other.socket.sendall(sent)
        assert other.frame() is None
    except (ConnectionResetError, BrokenPipeError):
        pass
    other.socket.close()
    raw.ask(protocol.Status())


def test_random_frames_raise_nothing(nodes: Nodes, raw: Raw) -> None:
    """Mutated requests are answered or cut off, whatever they hold; the node serves on and its log holds no harm."""
    generator = random.Random(7)
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    seeds = [protocol.encode_request(1, protocol.Query("word", ["a"], Consistency.LINEARIZABLE, 0))]
    seeds.append(protocol.encode_commands(2, 3, b"".join(push(number, n + 1) for n in range(3))))
    seeds.append(protocol.encode_request(3, protocol.Events(0, 5, 1)))
    for _ in range(300):
        payload = bytearray(generator.choice(seeds))
        for _ in range(generator.randrange(1, 4)):
            payload[generator.randrange(len(payload))] = generator.randrange(256)
        other = greeted(nodes)
        other.send(FrameKind.REQUEST, bytes(payload))
        other.socket.close()
    raw.ask(protocol.Query("word", ["a"], Consistency.LINEARIZABLE, 0))


def test_a_connection_with_too_many_open_requests_is_not_read_from(raw: Raw, nodes: Nodes) -> None:
    """Beyond the bound the server stops reading; when answers go out it goes on, and nothing is lost."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    before = nodes.services[0].requests
    nodes.do(lambda: setattr(nodes.services[0], "holds", True))
    count = REQUESTS_IN_FLIGHT_MAX + 50
    held: list[Any] = []
    nodes.do(lambda: setattr(nodes.services[0], "submit", held.append))
    for sequence in range(count):
        raw.ids += 1
        raw.send(FrameKind.REQUEST, protocol.encode_commands(raw.ids, 1, push(number, sequence + 1)))
    until(lambda: len(held) == REQUESTS_IN_FLIGHT_MAX)
    time.sleep(0.05)
    assert len(held) == REQUESTS_IN_FLIGHT_MAX
    assert nodes.services[0].requests == before
    nodes.do(lambda: [one.complete(5, [Answer(Status.OK, b"")]) for one in list(held)])
    until(lambda: len(held) == count)
    nodes.do(lambda: [one.complete(5, [Answer(Status.OK, b"")]) for one in held])  # those of before: no second answer
    assert len({raw.answer()[0] for _ in range(count)}) == count
    raw.ask(protocol.Status())


def test_a_client_that_does_not_read_is_cut_off(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that nobody reads are kept up to a bound; then the connection goes, and others are served on."""
    monkeypatch.setattr("rsm.node.serving.server.SEND_BUFFER_BYTES_MAX", 1 << 20)
    other = greeted(nodes)
    [_, number] = other.ask(protocol.OpenSession(60 * SECOND))
    other.commands([join_item(number, 1, 1, encode_call("tell", 1, ["x" * 10_000, 500]))])
    lazy = greeted(nodes)
    limiter = nodes.server.limiter
    for _ in range(20):
        lazy.request(protocol.Events(0, 500, 0))  # nearly five megabytes each
    until(lambda: nodes.do(lambda: limiter.established) == 1)
    other.ask(protocol.Status())
    for connection in (lazy, other):
        connection.socket.close()


def test_answers_after_the_client_has_gone_go_nowhere(raw: Raw, nodes: Nodes) -> None:
    """A request whose client has closed is applied all the same, and its answer harms nobody."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    nodes.do(lambda: setattr(nodes.services[0], "slow_seconds", 0.1))
    raw.send(FrameKind.REQUEST, protocol.encode_commands(9, 1, push(number, 1)))
    raw.request(protocol.Query("word", ["a"], Consistency.LINEARIZABLE, 0))
    time.sleep(0.05)
    raw.socket.close()
    until(lambda: nodes.do(lambda: len(nodes.log.entries)) == 3)
    other = greeted(nodes)
    other.ask(protocol.Status())
    other.socket.close()


def test_two_servers_cannot_have_one_port(nodes: Nodes) -> None:
    """A port in use is an OSError at start, not a server that nobody reaches."""
    running = nodes.services[0].server
    with pytest.raises(OSError, match="in use"):
        nodes.start(0)
    nodes.services[0].server = running


def test_the_machine_of_these_tests_is_what_they_think() -> None:
    """The names that the tests send are commands and queries of the machine."""
    assert {"push", "put", "tell"} <= set(Everything.definition.commands)
    assert {"word", "all_words", "spoil"} <= set(Everything.definition.queries)
