"""Requests and answers survive the wire; what is none is refused, and errors come back as what they were."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm import errors
from rsm.codec import cbor
from rsm.errors import BadBytes, Busy, EventsGap, InvalidCommand, NotLeader, Rejected, RsmError, UnknownFormat
from rsm.limits import BATCH_COMMANDS_MAX, EVENTS_PER_ANSWER_MAX
from rsm.node.network import protocol
from rsm.node.network.protocol import AnswerStatus, Consistency
from rsm.replica.answer import Answer
from rsm.replica.batch import encode_call, join_item

REQUESTS = [
    protocol.OpenSession(60 * 10**9),
    protocol.CloseSession(7),
    protocol.Query("balance", ["ann", 1, None, b"x"], Consistency.AT_LEAST, 12),
    protocol.Stream("all", [], Consistency.STALE, 0),
    protocol.Next(),
    protocol.Cancel(),
    protocol.Events(3, 10, 500),
    protocol.Cursor("c", True),
    protocol.Cursor(None, False),
    protocol.Status(),
    protocol.Snapshot(),
    protocol.Change("add_learner", 4, "h:1", "h:2"),
    protocol.Transfer(0),
    protocol.Export(1, 0),
    protocol.Roots(1, 128),
]


@pytest.mark.parametrize("request_made", REQUESTS, ids=lambda request: type(request).__name__)
def test_requests_survive_the_wire(request_made: protocol.Request) -> None:
    """Every kind of request decodes to itself, with its id."""
    assert protocol.decode_request(protocol.encode_request(2**40, request_made)) == (2**40, request_made)


def items(count: int, session: int = 5) -> bytes:
    """Commands, encoded one behind the other."""
    return b"".join(join_item(session, n + 1, 1, encode_call("push", 1, [n, "x"])) for n in range(count))


@pytest.mark.parametrize("wants_confirmation", [False, True])
@pytest.mark.parametrize("count", [1, 23, 24, 255, 256, BATCH_COMMANDS_MAX])
@pytest.mark.parametrize("request_id", [0, 23, 24, 255, 256, 65536, 2**32, 2**63 - 1])
def test_the_bytes_of_commands_are_found_behind_the_heads(
    count: int, request_id: int, wants_confirmation: bool
) -> None:
    """The items come out as the bytes that went in, whatever the lengths of the heads before them."""
    payload = protocol.encode_commands(request_id, count, items(count), wants_confirmation=wants_confirmation)
    found, commands = protocol.decode_request(payload)
    assert found == request_id
    assert isinstance(commands, protocol.Commands)
    assert commands.wants_confirmation == wants_confirmation
    assert commands.items == items(count)
    assert [item[:4] for item in commands.decoded] == [[5, n + 1, 1, "push"] for n in range(count)]


@pytest.mark.parametrize(
    "payload",
    [
        b"\x83\x01\x18\x05\x81" + items(1),  # the id in two bytes, where one would do
        b"\x83\x01\x05\x98\x01" + items(1),  # the count
        b"\x83\x18\x01\x05\x81" + items(1),  # the kind
        b"\x98\x03\x01\x05\x81" + items(1),  # the array's head
        cbor.encode([1, 5, []]),
        cbor.encode([1, 5, 5]),
        cbor.encode([1, 5]),
        cbor.encode([1, 5, [1], 2]),
        protocol.encode_commands(5, BATCH_COMMANDS_MAX + 1, items(BATCH_COMMANDS_MAX + 1)),
    ],
)
def test_commands_in_another_form_are_refused_with_their_id(payload: bytes) -> None:
    """Heads that are not in shortest form would make the bytes of the items be looked for in the wrong place."""
    found, error = protocol.decode_request(payload)
    assert found == 5
    assert isinstance(error, BadBytes)


@pytest.mark.parametrize(
    "fields",
    [
        [2, 5, 0],
        [2, 5, -1],
        [2, 5, 2**62],
        [2, 5, "60"],
        [2, 5],
        [2, 5, 1, 1],
        [3, 5, 0],
        [4, 5, "balance", "ann", 0, 0],
        [4, 5, "balance", [], 3, 0],
        [4, 5, "balance", [], 0, -1],
        [8, 5, 0, 0, 0],
        [8, 5, 0, EVENTS_PER_ANSWER_MAX + 1, 0],
        [8, 5, 0, 1, 10**9],
        [9, 5, "", False],
        [9, 5, "x" * 256, False],
        [9, 5, None, 1],
        [12, 5, "replace", 1, "a", "b"],
        [12, 5, "add", 0, "a", "b"],
        [13, 5, 2**31],
        [14, 5, -1, 0],
    ],
)
def test_fields_out_of_range_or_of_another_type_are_refused_with_their_id(fields: list[Any]) -> None:
    """Every field has a type and bounds; what does not fit is answered with an error, and decodes to no request."""
    found, error = protocol.decode_request(cbor.encode(fields))
    assert found == 5
    assert isinstance(error, BadBytes)


def test_unknown_kinds_are_told_from_bad_ones() -> None:
    """A kind of a later release is answered as such; what has no id cannot be answered at all."""
    found, error = protocol.decode_request(cbor.encode([99, 5, "later"]))
    assert found == 5
    assert isinstance(error, UnknownFormat)
    for nonsense in ([], [1], {"a": 1}, 5, ["1", 5], [1, "5"], [1, -1], [True, 5]):
        with pytest.raises(BadBytes):
            protocol.decode_request(cbor.encode(nonsense))


@given(st.binary(max_size=60))
def test_no_bytes_raise_anything_else(payload: bytes) -> None:
    """Random bytes are a request, an error to answer with, or `BadBytes`; the same for answers."""
    for decode in (protocol.decode_request, protocol.decode_answer):
        with contextlib.suppress(BadBytes, UnknownFormat):
            decode(payload)


@given(st.lists(st.tuples(st.integers(0, 8), st.binary(max_size=300)), max_size=40), st.integers(0, 2**63 - 1))
def test_answers_to_commands_survive_the_wire(pairs: list[tuple[int, bytes]], index: int) -> None:
    """The quick way of encoding gives what the plain one would, and decodes to the same answers."""
    answers = [Answer(status, body) for status, body in pairs]
    payload = protocol.encode_answers(9, index, answers)
    assert payload == protocol.encode_answer(9, AnswerStatus.OK, index, [list(pair) for pair in pairs])
    request_id, status, fields = protocol.decode_answer(payload)
    assert (request_id, status) == (9, AnswerStatus.OK)
    assert protocol.decode_answers(fields, len(answers)) == (index, answers)


@pytest.mark.parametrize("fields", [[], [1], [1, [[0]]], [1, [[0, "x"]]], ["1", [[0, b""]]], [1, [[0, b""], [0, b""]]]])
def test_answers_that_do_not_fit_their_commands_are_refused(fields: list[Any]) -> None:
    """Another number of answers, or something else in their place, is bad bytes and never half taken."""
    with pytest.raises(BadBytes):
        protocol.decode_answers(fields, 1)


@pytest.mark.parametrize(
    "error",
    [
        NotLeader("elsewhere", 3, "h:7"),
        NotLeader(),
        Busy("full", 0.25),
        EventsGap("gone", 17),
        InvalidCommand("bad", "price"),
        InvalidCommand("bad"),
        Rejected("no", 2),
        Rejected("no"),
        errors.HandlerFailed("raised"),
        errors.CorruptFile("/x", 5, "torn"),
        errors.SessionExpired("unknown"),
        errors.DivergenceError("differs"),
        errors.StorageError("full"),
        errors.Closed("over"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_come_back_as_what_they_were(error: RsmError) -> None:
    """Class, text and what the class carries cross the wire."""
    request_id, status, fields = protocol.decode_answer(protocol.encode_failure(4, error))
    again = protocol.error_of(status, fields)
    assert request_id == 4
    assert type(again) is type(error)
    if isinstance(error, NotLeader):
        assert isinstance(again, NotLeader)
        assert again.address == error.address
    else:
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_every_public_error_has_a_way_across_the_wire() -> None:
    """A class that is added to the tree must not fail to be made again from what is sent of it."""
    special: dict[str, tuple[Any, ...]] = {
        "EventsGap": ("x", 1),
        "Busy": ("x", 1.0),
        "CorruptFile": ("x", 1, "y"),
    }
    for name in errors.__all__:
        error = getattr(errors, name)(*special.get(name, ("x",)))
        _, status, fields = protocol.decode_answer(protocol.encode_failure(1, error))
        assert type(protocol.error_of(status, fields)) is type(error), name


def test_foreign_errors_and_long_texts_are_cut_to_size() -> None:
    """An exception of somebody else's comes as `RsmError` with its text; no text fills a frame, or fails to encode."""
    for error in (ValueError("x" * 10**6), RsmError("\ud800" + "y" * 10**6)):
        payload = protocol.encode_failure(1, error)
        assert len(payload) < 8192
        _, status, fields = protocol.decode_answer(payload)
        assert type(protocol.error_of(status, fields)) is RsmError


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        (AnswerStatus.REDIRECT, []),
        (AnswerStatus.REDIRECT, [5]),
        (AnswerStatus.BUSY, ["x"]),
        (AnswerStatus.ERROR, ["Busy", "x"]),
        (AnswerStatus.ERROR, ["EventsGap", "x"]),
        (AnswerStatus.ERROR, ["EventsGap", "x", "y"]),
        (AnswerStatus.ERROR, [1]),
        (AnswerStatus.OK, []),
    ],
)
def test_errors_that_cannot_be_read_are_bad_bytes(status: AnswerStatus, fields: list[Any]) -> None:
    """A server that says nonsense gets no exception out of its client's reader."""
    assert type(protocol.error_of(status, fields)) is BadBytes


def test_an_unknown_error_class_is_the_common_base() -> None:
    """A later release may have errors that this one does not know: the text is kept."""
    error = protocol.error_of(AnswerStatus.ERROR, ["Later", "text", 5])
    assert type(error) is RsmError
    assert str(error) == "Later: text"
