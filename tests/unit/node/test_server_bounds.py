"""What a client may not do to a node: hold its state for ever, stop its loop, fill its log, or go beyond its role."""

from __future__ import annotations

import random
import socket
from typing import Any

import pytest

from rsm.codec import cbor
from rsm.limits import CLIENT_FRAME_ITEMS_MAX, COMMAND_BYTES_MAX, STREAMS_PER_CONNECTION_MAX
from rsm.node.network import protocol
from rsm.node.network.certificates import init_certificates
from rsm.node.network.protocol import AnswerStatus, Consistency
from rsm.node.network.tls import TlsOptions
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.node.requests import Read, Request
from rsm.node.serving.serving import Streaming
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import encode_call, join_item
from tests.client_service import Nodes
from tests.machines import SECOND
from tests.raw_client import Raw, fill, greeted, push, until

OK, MORE, BUSY, ERROR, REDIRECT = (
    AnswerStatus.OK,
    AnswerStatus.MORE,
    AnswerStatus.BUSY,
    AnswerStatus.ERROR,
    AnswerStatus.REDIRECT,
)
STREAM = protocol.Stream("all_words", [], Consistency.LINEARIZABLE, 0)


def streams(nodes: Nodes) -> set[Streaming]:
    """Those that are open on the node."""
    return set(nodes.server.streams)


def views(nodes: Nodes) -> list[Any]:
    """What writes have to keep for those who read older state."""
    overlays: list[Any] = nodes.log.replica.store.ledgers["words"].overlays
    return [one for one in overlays if not one.is_broken]  # a closed one is taken out by the next


# --- streams ----------------------------------------------------------------------------------------------------------


def test_a_node_has_so_many_streams_open_and_no_more(raw: Raw, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many connections a client has, the views that it holds are bounded; one that ends makes room."""
    monkeypatch.setattr("rsm.node.serving.serving.STREAMS_MAX", STREAMS_PER_CONNECTION_MAX + 2)
    fill(raw, 600)
    for _ in range(STREAMS_PER_CONNECTION_MAX):
        raw.request(STREAM)
        assert raw.answer()[1] == MORE
    other = greeted(nodes)
    ids = [other.request(STREAM) for _ in range(3)]
    assert [other.answer()[1] for _ in ids] == [MORE, MORE, BUSY]
    other.request(protocol.Export(1, 0))
    assert other.answer()[1] == BUSY
    other.request(protocol.Cancel(), ids[0])
    other.request(STREAM)
    assert other.answer()[1] == MORE
    other.socket.close()
    until(lambda: len(streams(nodes)) == STREAMS_PER_CONNECTION_MAX)


def test_a_stream_that_nobody_goes_on_with_is_ended(raw: Raw, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while without a credit its view is let go and its client is told; one that is used goes on."""
    monkeypatch.setattr("rsm.node.serving.serving.STREAM_IDLE_SECONDS_MAX", 0.3)
    fill(raw, 3000)
    used = greeted(nodes)
    used_id = used.request(STREAM)
    assert used.answer()[1] == MORE
    idle_id = raw.request(STREAM)
    assert raw.answer()[1] == MORE
    assert len(views(nodes)) == 2
    raw.socket.settimeout(0.05)
    for _ in range(11):
        try:
            request_id, status, fields = raw.answer()
            break
        except TimeoutError:
            used.request(protocol.Next(), used_id)
            assert used.answer()[1] == MORE
    assert (request_id, status, fields[0]) == (idle_id, ERROR, "LimitExceeded")
    assert "no part was asked for" in fields[1]
    assert [stream._request_id for stream in nodes.do(lambda: list(streams(nodes)))] == [used_id]
    assert len(views(nodes)) == 1
    used.socket.close()
    until(lambda: not views(nodes))


# --- frames -----------------------------------------------------------------------------------------------------------


def query(value_bytes: bytes) -> bytes:
    """A query whose one value is this."""
    return b"\x86\x04\x05\x64word\x81" + value_bytes + b"\x00\x00"


def test_a_compressed_frame_is_refused_unread(nodes: Nodes, raw: Raw) -> None:
    """A client compresses nothing: a frame of kilobytes would become one of megabytes."""
    payload = query(cbor.encode("x" * 100_000))
    raw.send(FrameKind.REQUEST, payload)
    assert raw.answer()[:2] == (5, OK)
    raw.socket.sendall(encode_frame(FrameKind.REQUEST, payload, compress=True))
    assert raw.frame() is None
    other = greeted(nodes)
    other.ask(protocol.Status())
    other.socket.close()


@pytest.mark.parametrize("inside", [b"\x80", b"\xa0", b"\x00", b"\xda\x00\x72\x73\x6d\x82\x00\x80"])
def test_a_frame_of_too_many_values_is_not_decoded(raw: Raw, monkeypatch: pytest.MonkeyPatch, inside: bytes) -> None:
    """It is measured first, since a byte can become a hundred; the connection stays."""
    count = CLIENT_FRAME_ITEMS_MAX + 1
    payload = query(b"\x9a" + count.to_bytes(4, "big") + inside * count)
    monkeypatch.setattr("rsm.codec.cbor.decode", lambda *_, **__: pytest.fail("it was decoded"))
    request_id, refused = protocol.decode_request(payload)
    assert (request_id, type(refused).__name__) == (5, "LimitExceeded")
    assert "values" in str(refused)


def test_large_frames_of_few_values_are_welcome(raw: Raw) -> None:
    """The measure is of values and not of bytes: text in any script, and bytes, may be as long as a command may."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    text = "\u0436" * (COMMAND_BYTES_MAX // 2 - 100)
    _, status, fields = raw.commands([join_item(number, 1, 1, encode_call("put", 1, [text, 1]))])
    assert (status, fields[1][0][0]) == (OK, Status.OK)
    noise = random.Random(1).randbytes(COMMAND_BYTES_MAX - 100)
    _, status, fields = raw.commands([join_item(number, 2, 1, encode_call("put", 1, [noise, 1]))])
    assert (status, fields[1][0][0]) == (OK, Status.INVALID)


def test_each_command_of_a_frame_is_within_the_bound_of_one(raw: Raw, nodes: Nodes) -> None:
    """A frame holds two commands of a megabyte, but none that is longer than that."""
    [_, number] = raw.ask(protocol.OpenSession(60 * SECOND))
    entries = len(nodes.log.entries)
    long = join_item(number, 2, 1, encode_call("put", 1, ["x" * (COMMAND_BYTES_MAX + 2000), 1]))
    _, status, fields = raw.commands([push(number, 1), long])
    assert (status, fields[0]) == (ERROR, "LimitExceeded")
    assert len(nodes.log.entries) == entries
    half = "y" * (COMMAND_BYTES_MAX * 9 // 10)
    items = [join_item(number, n, 1, encode_call("put", 1, [half + str(n), 1])) for n in (1, 2)]
    assert raw.commands(items)[1] == OK


# --- sessions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session", [0, False, True, None, 1.0, "1"])
def test_what_is_no_session_owns_nothing(raw: Raw, nodes: Nodes, session: Any) -> None:
    """Session 0 is the leader's own: a command in it is never handed on, not even one by one with a client's name."""
    raw.ask(protocol.OpenSession(60 * SECOND))
    handed_on: list[Request] = []
    nodes.do(lambda: setattr(nodes.services[0], "submit", handed_on.append))
    number = b"\xf9\x3c\x00" if session == 1.0 and type(session) is float else cbor.encode_plain([session])[1:]
    item = b"\x86" + number + b"\x01\x01" + encode_call("push", 1, [1, "x"])
    _, status, fields = raw.commands([item])
    assert (status, fields[0]) == (ERROR, "BadBytes") or fields[1] == [[Status.SESSION_EXPIRED, b""]]
    assert handed_on == []


def test_a_session_is_unknown_only_behind_a_barrier(raw: Raw, nodes: Nodes) -> None:
    """A deposed leader does not know of new sessions: it asks the others before it says that one has ended."""
    service = nodes.services[0]
    barriers: list[Read] = []
    nodes.do(lambda: setattr(service, "read", barriers.append))
    raw.ids += 1
    raw.send(FrameKind.REQUEST, protocol.encode_commands(raw.ids, 1, push(1, 1)))
    close_id = raw.request(protocol.CloseSession(1))
    until(lambda: len(barriers) == 2)
    assert [barrier.consistency for barrier in barriers] == ["linearizable", "linearizable"]
    entries = len(nodes.log.entries)
    # Meanwhile the session comes into being, as it does when this node hears what its successor has committed.
    other = greeted(nodes)
    assert other.ask(protocol.OpenSession(60 * SECOND))[1] == 1
    nodes.do(lambda: barriers[0].run(nodes.log.replica))
    _, status, fields = raw.answer()
    assert (status, fields[1][0][0]) == (OK, Status.OK)
    assert len(nodes.log.entries) == entries + 2
    nodes.do(lambda: barriers[1].run(nodes.log.replica))
    assert raw.answer() == (close_id, OK, [entries + 3])
    # And one that is unknown behind it has ended.
    raw.ids += 1
    raw.send(FrameKind.REQUEST, protocol.encode_commands(raw.ids, 1, push(9, 1)))
    until(lambda: len(barriers) == 3)
    nodes.do(lambda: barriers[2].run(nodes.log.replica))
    assert protocol.decode_answers(raw.answer()[2], 1) == (0, [Answer(Status.SESSION_EXPIRED, b"")])
    other.socket.close()


# --- reads of what is not applied yet ---------------------------------------------------------------------------------


def test_early_reads_are_bounded_and_answered_by_index(raw: Raw, nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many wait and no more; a look costs those that are due, however many wait for later indexes."""
    monkeypatch.setattr("rsm.node.serving.server.EARLY_READS_MAX", 3)
    monkeypatch.setattr("rsm.node.serving.server.EARLY_READ_SECONDS_MAX", 1.0)
    word = ("word", ["a"], Consistency.AT_LEAST)
    ids = [raw.request(protocol.Query(*word, index)) for index in (2**40, 3, 2)]
    raw.request(protocol.Query(*word, 2))
    assert raw.answer()[1:] == (BUSY, ["3 reads wait for an index that is not applied here", 50])
    other = greeted(nodes)
    [_, number] = other.ask(protocol.OpenSession(60 * SECOND))
    assert raw.answer()[:2] == (ids[2], OK)
    assert other.commands([push(number, 1)])[1] == OK
    assert raw.answer()[:2] == (ids[1], OK)
    assert raw.answer()[:2] == (ids[0], BUSY)
    assert not nodes.server._early
    other.socket.close()


# --- the log and the texts ------------------------------------------------------------------------------------------


def test_queries_that_fail_fill_no_log(raw: Raw, caplog: pytest.LogCaptureFixture) -> None:
    """One traceback a second for each of them; the clients are answered all the same."""
    for _ in range(50):
        raw.request(protocol.Query("spoil", ["map"], Consistency.LINEARIZABLE, 0))
        assert raw.answer()[2][0] == "HandlerFailed"
    lines = [record for record in caplog.records if "query_failed" in record.getMessage()]
    assert 1 <= len(lines) <= 5


def test_what_goes_wrong_inside_is_told_to_the_log_only(
    raw: Raw, nodes: Nodes, caplog: pytest.LogCaptureFixture
) -> None:
    """An exception that is not ours may say anything: its text goes to no client, and to the log once a second."""
    nodes.do(lambda: setattr(nodes.services[0], "error", OSError(5, "cannot read", "/secret/place")))
    for _ in range(20):
        raw.request(protocol.Transfer(0))
        _, status, fields = raw.answer()
        assert (status, fields) == (ERROR, ["RsmError", "internal error, see the node's log"])
    lines = [record for record in caplog.records if "a request failed" in record.getMessage()]
    assert 1 <= len(lines) <= 3
    assert "/secret/place" in lines[0].getMessage()


# --- roles ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TlsOptions]:
    """One of each role."""
    place = str(tmp_path_factory.mktemp("certificates"))
    ca, *owners = init_certificates(place, nodes=1, clients=["ann"], admins=["root"], observers=["eve"])
    return {made.name: TlsOptions(ca.certificate, made.certificate, made.key) for made in owners}


# Who may have each of these.
RIGHTS: list[tuple[protocol.Request, set[str]]] = [
    (protocol.Status(), {"ann", "root", "eve", "node-1"}),
    (protocol.Query("word", ["a"], Consistency.LINEARIZABLE, 0), {"ann", "root", "eve"}),
    (protocol.Events(0, 1, 0), {"ann", "root", "eve"}),
    (protocol.Watch("word", ["a"], bytes(16), 0), {"ann", "root", "eve"}),
    (protocol.OpenSession(60 * SECOND), {"ann", "root"}),
    (protocol.CloseSession(77), {"ann", "root"}),
    (protocol.Snapshot(), {"root"}),
    (protocol.Export(1, 1), {"root"}),
    (protocol.Roots(1, 1), {"root"}),
    (protocol.Change("remove", 1, "", ""), {"root"}),
    (protocol.Transfer(0), {"root"}),
]


@pytest.mark.parametrize("owner", ["ann", "root", "eve", "node-1"])
def test_a_role_has_its_rights_and_no_others(certificates: dict[str, TlsOptions], owner: str) -> None:
    """Clients write, observers read, administrators do all; a node's certificate is for nodes, and sees the status."""
    nodes = Nodes(1, tls=certificates["node-1"].server_context())
    raw = greeted(nodes, tls=certificates[owner].client_context())
    for request, allowed in RIGHTS:
        raw.request(request)
        _, status, fields = raw.answer()
        assert (status in (OK, MORE)) == (owner in allowed), (request, fields)
        if owner not in allowed:
            assert fields[0] == "CallerError"
            assert "role" in fields[1]
    raw.socket.close()
    nodes.close()


@pytest.mark.parametrize("owner", ["eve", "node-1"])
def test_commands_without_the_right_are_not_even_decoded(certificates: dict[str, TlsOptions], owner: str) -> None:
    """Whoever may not write is told so by the kind of the request, whatever is in it."""
    nodes = Nodes(1, tls=certificates["node-1"].server_context())
    raw = greeted(nodes, tls=certificates[owner].client_context())
    for payload in (protocol.encode_commands(5, 1, push(1, 1)), b"\x83\x01\x05\xff"):
        raw.send(FrameKind.REQUEST, payload)
        request_id, status, fields = raw.answer()
        assert (request_id, status, fields[0]) == (5, ERROR, "CallerError")
        assert "write nothing here" in fields[1]
    raw.socket.close()
    nodes.close()


def test_nobody_has_a_right_before_the_hello(nodes: Nodes) -> None:
    """The rights of a connection are given by its hello, and are none until then."""
    server = nodes.services[0].server
    assert server is not None
    host, _, port = nodes.addresses[0].rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5):
        until(lambda: nodes.do(lambda: len(server.limiter._shaking)) == 1)
        connection: Any = nodes.do(lambda: next(iter(server.limiter._shaking)))
        assert [connection.is_admin, connection.may_write, connection.may_read] == [False] * 3
