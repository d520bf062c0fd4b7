"""docs/formats.md is true, first part: its tables are those of the code, and its examples are made anew.

That it explains real files is shown in test_formats_files.py, what is sent in test_formats_network.py.
"""

from __future__ import annotations

import enum
import json
import re
from hashlib import blake2b
from typing import Annotated, Literal

import pytest
from msgspec import Meta
from xxhash import xxh3_64_intdigest

from rsm import limits
from rsm.codec.cbor import REFERENCE_TAG, Reference, encode
from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry, RecordKind, encode_record
from rsm.machine.random import Random
from rsm.machine.values import fingerprint
from rsm.node.network.protocol import Consistency, RequestKind
from rsm.node.storage.segment import SegmentHead, encode_entry, encode_head
from rsm.replica import batch, system_commands
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import encode_call, join_batch, join_item
from rsm.replica.system import System
from rsm.state.leaf import bucket_of, container_seed, digest128, leaf_hash
from rsm.state.leaf import encode as pack
from rsm.state.types import describe
from tests.documents import blocks
from tests.formats_reader import FRAME, HEADER_BYTES, KINDS, PAGE_FILE, TEXT, names, read_record, rows
from tests.machines import Bank, Point

CHAIN = bytes(range(16))


def test_the_frame_has_no_gap() -> None:
    """The fields of the header follow each other without gap or overlap, and fill it."""
    end = 0
    for offset, size, name in FRAME:
        assert offset == end, name
        end += size
    assert end == HEADER_BYTES


@pytest.mark.parametrize("compress", [False, True])
def test_a_record_cut_by_the_table_gives_its_fields(compress: bool) -> None:
    """Each field of a written record stands where the table says, with the value and checksum that it says."""
    payload = b"abc" * 5_000
    data = encode_record(
        RecordKind.BATCH, payload, index=2**40 + 1, term=2**33 + 2, group_id=7, chain=CHAIN, compress=compress
    )
    stored = data[HEADER_BYTES:]
    assert (len(stored) < len(payload)) == compress
    record = read_record(data)
    assert (record.payload, record.end) == (payload, len(data))
    assert record.header == {
        "magic": 0x6D72,
        "format": 1,
        "kind": "BATCH",
        "flags": int(compress),
        "reserved": 0,
        "group_id": 7,
        "stored_bytes": len(stored),
        "raw_bytes": len(payload),
        "index": 2**40 + 1,
        "term": 2**33 + 2,
        "chain": CHAIN,
        "payload_checksum": xxh3_64_intdigest(stored),
        "header_checksum": xxh3_64_intdigest(data[:60]) & 0xFFFFFFFF,
    }


def test_the_kinds_and_statuses_are_those_of_the_code() -> None:
    """The tables of kinds and statuses and the enumerations are the same."""
    assert {kind.value: kind.name for kind in RecordKind} == KINDS
    statuses = rows("## Answers", r"^\| `(\w+)` \| (\d+) \|")
    assert {name: int(number) for name, number in statuses} == {status.name: status.value for status in Status}


def test_the_system_commands_are_those_of_the_code() -> None:
    """Every command of the system is in the table, with who may send it, and nothing else is."""
    found = dict(rows("### The system's commands", r"^\| `(rsm\.\w+)` \| (\w+) \|"))
    leader = dict.fromkeys(system_commands.LEADER_COMMANDS, "leader")
    assert found == leader | dict.fromkeys(system_commands.SESSION_COMMANDS, "session")
    constants = {value for value in vars(batch).values() if type(value) is str and re.fullmatch(r"rsm\.\w+", value)}
    assert set(found) == constants - {batch.__name__, "rsm.replica"}


def test_the_system_state_is_that_of_the_code() -> None:
    """The tables of the system's containers and scalars and its class are the same."""
    listed = names("### The system's state")
    containers = {name for name in listed if name.startswith("rsm.")}
    scalars = {name for name in listed if not name.startswith("rsm.")}
    definition = System.definition
    assert containers == {f"rsm.{spec.name}" for spec in definition.containers} | {"rsm.scalars", "rsm.sessions"}
    assert scalars == set(definition.scalars)


def test_the_chain_is_the_hash_of_the_table() -> None:
    """The chain is BLAKE2b-128 over the fields in the table's order and sizes, from zero bytes on."""
    sizes = rows("## The hash chain", r"^\| (\d+) \| (\d+) \|")
    assert sizes == [("0", "16"), ("16", "8"), ("24", "8"), ("32", "1")]
    image = bytes(16) + (1).to_bytes(8, "little") + (3).to_bytes(8, "little") + b"\x02payload"
    assert not any(ZERO_CHAIN)
    assert next_chain(ZERO_CHAIN, 1, 3, 2, b"payload") == blake2b(image, digest_size=16).digest()


def test_map_keys_are_sorted_length_first() -> None:
    """A one-byte key comes before a three-byte key whose bytes are smaller, as the page says."""
    assert encode({1000: 1, -1: 2}) == bytes.fromhex("a2 20 02 1903e8 01")
    assert f"tag: {REFERENCE_TAG}," in TEXT


def test_the_bounds_that_the_page_names_exist() -> None:
    """Each name in capitals with underscores is a bound of rsm.limits."""
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", TEXT))
    named -= {one.name for enumeration in (Status, RequestKind, Consistency) for one in enumeration}
    assert "SEGMENT_BYTES" in named
    assert [name for name in sorted(named) if not hasattr(limits, name)] == []


# --- examples ---------------------------------------------------------------------------------------------------------


def example(language: str, name: str) -> str:
    """The text of one example of the page."""
    (found,) = (block.text for block in blocks(PAGE_FILE) if (block.language, block.marks) == (language, (name,)))
    return found


def bytes_of(text: str) -> bytes:
    """The bytes of an example in hex, without its remarks."""
    return bytes.fromhex("".join(line.partition("#")[0] for line in text.splitlines()))


STAMP = 1_700_000_000 * 10**9
ITEMS = [
    join_item(1, 1, 1, encode_call("deposit", 1, ["ann", 500]), "invoice-17"),
    join_item(1, 2, 1, encode_call("deposit", 1, ["ann", 100])),
]
PAYLOAD = join_batch(1, STAMP, 0, ITEMS)
ENTRY = Entry(3, 1, RecordKind.BATCH, PAYLOAD)
HEAD = SegmentHead(CHAIN, 0, 1, 0, ZERO_CHAIN, True)
NETWORK_EXAMPLES = ("answer", "append", "configuration", "entries", "refusal", "request")  # in test_formats_network.py
HEX_EXAMPLES = {
    "header": encode_entry(ENTRY, next_chain(ZERO_CHAIN, 3, 1, RecordKind.BATCH, PAYLOAD), 0, compress=False)[:64],
    "identity": encode({"format": 1, "cluster_id": CHAIN, "group_id": 0, "machine": "bank"}),
    "vote": encode({"vote": None}),
    "segment": encode_head(HEAD)[HEADER_BYTES:-1],
    "batch": PAYLOAD,
    "reference": encode(Reference(0, ("order_id",))),
    "result": pack(600),
    "rejection": pack(("no", -1)),
    "chunk": encode(["balances", [[bucket_of("ann"), pack([("ann", 600)])]]]),
    "end": encode({"records": 12}),
    "root": encode_record(
        RecordKind.ROOT, b"", index=64, term=1, chain=bytes.fromhex("ba122d019df40c34c0f200f7462c2921")
    ),
}


@pytest.mark.parametrize("name", HEX_EXAMPLES)
def test_examples_in_hex(name: str) -> None:
    """Each example is what the code writes now."""
    assert bytes_of(example("hex", name)).hex(" ") == HEX_EXAMPLES[name].hex(" ")


def leaf_example() -> str:
    schema = Bank.definition.state_schema()["balances"][1]
    seed, bucket = container_seed("balances", "map", schema), bucket_of("ann")
    hashed = leaf_hash("ann", 600, seed)
    digest = digest128(bytes(8 * bucket) + hashed.to_bytes(8, "little") + bytes(8 * (limits.BUCKETS - bucket - 1)))
    root = digest128(pack(("bank", 1, [("balances", "map", schema, digest)])))
    shown = {
        "encoding": pack(("ann", 600)).hex(),
        "bucket": bucket,
        "seed": f"{seed:#018x}",
        "hash": f"{hashed:#018x}",
        "digest": digest.hex(),
        "root": root.hex(),
    }
    return "".join(f"{name:14} {value}\n" for name, value in shown.items())


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


TYPES = {"Annotated": Annotated, "Literal": Literal, "Meta": Meta, "Point": Point, "Side": Side}


def types_example() -> str:
    """The types that the page shows, each with its text."""
    shown = [line.split("  ")[0] for line in example("text", "types").splitlines()]
    return "".join(f"{declared:33} {describe(eval(declared, TYPES))}\n" for declared in shown)


def random_example() -> str:
    stream = Random.named(bytes(16), 3, 0, 0, "dice")
    return f"{stream.u64()}\n{stream.u64()}\n"


TEXT_EXAMPLES = {
    "leaf": leaf_example(),
    "fingerprint": f"{fingerprint('deposit', 1, pack(['ann', 500])):#018x}\n",
    "digest": digest128(pack(([Answer(0, pack(500)), Answer(0, pack(600))], []))).hex() + "\n",
    "random": random_example(),
    "types": types_example(),
}


@pytest.mark.parametrize("name", TEXT_EXAMPLES)
def test_examples_in_text(name: str) -> None:
    """Each example is what the code computes now."""
    assert example("text", name) == TEXT_EXAMPLES[name]


def test_the_example_of_a_schema() -> None:
    """It is the one that the bank of the tests declares."""
    assert json.loads(example("json", "schema")) == Bank.definition.schema()


def test_every_example_is_checked() -> None:
    """No block of the page stands there without a test that makes it."""
    known = [*HEX_EXAMPLES, *TEXT_EXAMPLES, "schema", *NETWORK_EXAMPLES]
    assert sorted(" ".join(block.marks) for block in blocks(PAGE_FILE)) == sorted(known)
