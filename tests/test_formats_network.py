"""docs/formats.md is true, third part: what nodes and clients send, and what a cluster adds to log and directory.

Its tables are those of the code, and its examples are made anew.
"""

from __future__ import annotations

import re

import cbor2
import msgspec
import pytest
from xxhash import xxh3_64_intdigest

from rsm.codec.cbor import encode
from rsm.codec.chain import ZERO_CHAIN
from rsm.codec.record import Entry, RecordKind
from rsm.node.feed.frames import _KINDS as FEED_FRAMES
from rsm.node.feed.frames import (
    Alive,
    FeedHead,
    FeedKind,
    Skip,
    decode_feed,
    encode_entries,
    encode_events,
    encode_feed,
)
from rsm.node.network.handshake import ClientHello, PeerHello, ServerHello
from rsm.node.network.protocol import _KINDS as REQUESTS
from rsm.node.network.protocol import (
    AnswerStatus,
    Consistency,
    OpenSession,
    RequestKind,
    decode_request,
    encode_answers,
    encode_commands,
    encode_request,
)
from rsm.node.network.wire import HEAD_BYTES, FrameKind, encode_frame
from rsm.raft import messages
from rsm.raft.configuration import Configuration, Member
from rsm.raft.messages import AppendEntries, decode_message, encode_message
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import encode_call, join_item
from rsm.replica.events import RawEvent
from rsm.replica.system import System
from rsm.state.leaf import encode as pack
from tests.formats_reader import rows
from tests.machines import Log
from tests.test_formats_doc import NETWORK_EXAMPLES, bytes_of, example

FRAME = [
    (int(offset), int(size), name)
    for offset, size, name in rows("## Frames on a connection", r"^\| (\d+) \| (\d+) \| `(\w+)` \|")
]
FRAME_KINDS = {int(number): name for name, number in rows("## Frames on a connection", r"^\| `([A-Z]+)` \| (\d+) \|")}
MESSAGES = rows("### Messages between members", r"^\| `(\w+)` \| (\d+) \|([^|\n]*)\|")
MEMBERS = Configuration((Member(1, "a:7100", "a:7110"), Member(2, "b:7100", "b:7110", False, True)))
APPEND = AppendEntries(3, 7, 2, 6, 0, 8, (Entry(8, 3, RecordKind.NOOP, b""),))
DEPOSIT = join_item(1, 2, 1, encode_call("deposit", 1, ["ann", 100]))
ROOT = bytes.fromhex("ba122d019df40c34c0f200f7462c2921")
EXAMPLES = {
    "configuration": MEMBERS.encode(),
    "refusal": encode_frame(FrameKind.REFUSAL, encode(["no"])),
    "append": encode_message(APPEND),
    "request": encode_commands(5, 1, DEPOSIT),
    "answer": encode_answers(5, 7, [Answer(Status.OK, pack(600))]),
    "entries": encode_entries([Entry(7, 3, RecordKind.NOOP, b"")], [(7, ROOT)], ZERO_CHAIN),
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_in_hex(name: str) -> None:
    """Each example is what the code writes now."""
    assert set(EXAMPLES) == set(NETWORK_EXAMPLES)
    assert bytes_of(example("hex", name)).hex(" ") == EXAMPLES[name].hex(" ")


@pytest.mark.parametrize("compress", [False, True])
def test_a_frame_cut_by_the_table_gives_its_fields(compress: bool) -> None:
    """The head's fields follow each other without a gap, and each has the value that the page says."""
    end = 0
    for offset, size, name in FRAME:
        assert offset == end, name
        end += size
    assert end == HEAD_BYTES
    payload = b"abc" * 5_000
    data = encode_frame(FrameKind.MESSAGE, payload, group_id=7, compress=compress)
    head = {name: int.from_bytes(data[offset : offset + size], "little") for offset, size, name in FRAME}
    stored = data[HEAD_BYTES:]
    assert (len(stored) < len(payload)) == compress
    assert head == {
        "magic": 0x7772,
        "protocol": 1,
        "kind": 3,
        "flags": int(compress),
        "reserved": 0,
        "group_id": 7,
        "stored_bytes": len(stored),
        "raw_bytes": len(payload),
        "checksum": xxh3_64_intdigest(stored) & 0xFFFFFFFF,
    }


def test_numbers_of_frames_requests_answers_and_consistencies() -> None:
    """The page's tables and the enumerations are the same."""
    assert {kind.value: kind.name for kind in FrameKind} == FRAME_KINDS
    for heading, enumeration in (
        ("### Requests of clients", (*RequestKind, *Consistency)),
        ("### Answers to clients", tuple(AnswerStatus)),
        ("### The feed", tuple(FeedKind)),
    ):
        found = rows(heading, r"^\| `([A-Z_]+)` \| (\d+) \|")
        assert [(name, int(number)) for name, number in found] == [(one.name, one.value) for one in enumeration]


def test_messages_are_numbered_and_ordered_as_the_page_says() -> None:
    """Each kind of message has the number and the fields of its row, in the order in which they are written."""
    found = {name: (int(number), re.findall(r"`(\w+)`", fields)) for name, number, fields in MESSAGES}
    assert list(found) == [kind.__name__ for kind in messages._KINDS]
    for name, (number, fields) in found.items():
        kind = getattr(messages, name)
        assert messages._NUMBER_OF[kind] == number
        assert list(kind.__struct_fields__) == ["term", *fields]
    assert cbor2.loads(encode_message(APPEND))[:7] == [4, 3, 7, 2, 6, 0, 8]
    assert decode_message(encode_message(APPEND)) == APPEND


def test_the_types_of_message_fields() -> None:
    """The table of types names each field that is not an integer, with its type."""
    listed = dict(rows("### Messages between members", r"^\| ([a-z][^|`]*(?:`[^|`]*`)?) \|([^|\n]*)\|$"))
    spoken = {
        "true or false": "bool",
        "bytes": "bytes",
        "array of bytes": "tuple[bytes, ...]",
        "array of `[term, kind, payload]`": "tuple[Entry, ...]",
        "map": "dict[str, bytes]",
        "text": "str",
        "array of two integers": "tuple[int, int]",
    }
    fields = {}
    for kind in messages._KINDS:
        for field in msgspec.structs.fields(kind):
            fields[field.name] = kind.__annotations__.get(field.name, "int")
    said = {
        name: spoken[type_]
        for type_, cell in listed.items()
        if type_ in spoken
        for name in re.findall(r"`(\w+)`", cell)
    }
    said.pop("previous_index")  # named in a remark
    assert said == {name: kind for name, kind in fields.items() if kind != "int"}


def test_requests_are_written_as_the_page_says() -> None:
    """Each request but commands has as many fields as its row names, and is an array of kind, id and fields."""
    table = dict(rows("### Requests of clients", r"^\| `([A-Z_]+)` \| \d+ \| ([^|]*) \|"))
    for kind, record in REQUESTS.items():
        said = table[RequestKind(kind).name]
        said = said.replace("`add`, `add_learner` or `remove`", "action").replace(", or 0 for any", "")
        count = 0 if said.startswith("none") else len(said.split(","))
        assert count == len(record.__struct_fields__), record
    assert cbor2.loads(encode_request(9, OpenSession(10**9))) == [2, 9, 10**9]
    assert decode_request(encode_request(9, OpenSession(10**9))) == (9, OpenSession(10**9))


def test_frames_of_the_feed_are_written_as_the_page_says() -> None:
    """Each kind has the fields of its row, in that order, and a head is a map with the keys of its table."""
    found = rows("### The feed", r"^\| `([A-Z]+)` \| (\d+) \|([^|\n]*)\|")
    for name, number, fields in found:
        if FeedKind[name] is not FeedKind.HEAD:
            assert list(FEED_FRAMES[int(number)].__struct_fields__) == re.findall(r"`(\w+)`", fields), name
    keys = dict(rows("### The feed", r"^\| `([a-z_]+)` \| ([^|\n]*) \|"))
    for name in ("entries", "roots", "chain"):
        assert keys.pop(name)
    assert keys.keys() == set(FeedHead.__struct_fields__)
    head = FeedHead(b"c" * 16, 0, "bank", 1, 7, 2, 3, 1000)
    assert cbor2.loads(encode_feed(head)) == [0, msgspec.structs.asdict(head)]
    assert decode_feed(encode_feed(head)) == head
    for frame, written in ((Skip("too slow"), [4, "too slow"]), (Alive(7), [5, 7])):
        assert cbor2.loads(encode_feed(frame)) == written
        assert decode_feed(encode_feed(frame)) == frame
    events = cbor2.loads(encode_events(4, 6, 7, [(5, RawEvent(7, -3, 0, 2, b"x"))]))
    assert events == [3, 4, 6, 7, [[5, 7, -3, 0, 2, b"x"]]]


def test_hellos_have_the_fields_of_the_page() -> None:
    """A cell is empty exactly where a side's hello has no such field."""
    table = rows("### Hellos", r"^\| `(\w+)` \|([^|]*)\|([^|]*)\|([^|]*)\|")
    for column, hello in ((1, PeerHello), (2, ClientHello), (3, ServerHello)):
        assert {row[0] for row in table if row[column].strip()} == set(hello.__struct_fields__)


def test_a_configuration_is_kept_in_the_state() -> None:
    """The scalar holds the entry's payload; the members are the arrays of the page, by rising number."""
    assert System().configuration == b""
    log = Log()
    log.apply(Entry(len(log.entries) + 1, 1, RecordKind.CONFIGURATION, MEMBERS.encode()))
    assert log.replica.system.configuration == MEMBERS.encode()
    assert cbor2.loads(MEMBERS.encode()) == [
        1,
        [[1, "a:7100", "a:7110", True, False], [2, "b:7100", "b:7110", False, True]],
    ]
    assert list(Member.__struct_fields__) == ["id", "peer_address", "client_address", "is_voter", "is_joining"]
