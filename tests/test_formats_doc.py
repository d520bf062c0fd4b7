"""The byte tables of docs/formats.md are the formats: records are cut up by the tables and compared, field by field."""

from __future__ import annotations

import re
from hashlib import blake2b

import pytest
from xxhash import xxh3_64_intdigest

from rsm.codec.cbor import REFERENCE_TAG, encode
from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import HEADER_BYTES, RecordKind, encode_record
from tests.documents import ROOT

TEXT = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
CHAIN = bytes(range(16))


def rows(heading: str, pattern: str) -> list[tuple[str, ...]]:
    """The table rows below a heading, up to the next heading of that depth, that match `pattern`."""
    _, found, section = TEXT.partition(f"\n{heading}\n")
    assert found, f"docs/formats.md has no {heading}"
    depth = heading.split()[0]
    section = re.split(rf"^{depth} ", section, flags=re.MULTILINE)[0]
    return re.findall(pattern, section, flags=re.MULTILINE)


def frame_fields() -> list[tuple[int, int, str]]:
    """The table of the record frame as (offset, size, field)."""
    found = rows("## The record frame", r"^\| (\d+) \| (\d+) \| `(\w+)` \|")
    return [(int(offset), int(size), field) for offset, size, field in found]


def test_the_frame_has_no_gap() -> None:
    """The fields of the header follow each other without gap or overlap, and fill it."""
    end = 0
    for offset, size, field in frame_fields():
        assert offset == end, field
        end += size
    assert end == HEADER_BYTES


@pytest.mark.parametrize("compress", [False, True])
def test_a_record_cut_by_the_table_gives_its_fields(compress: bool) -> None:
    """Each field of a written record stands where the table says, with the value and checksum that it says."""
    payload = b"abc" * 5_000
    record = encode_record(
        RecordKind.BATCH, payload, index=2**40 + 1, term=2**33 + 2, group_id=7, chain=CHAIN, compress=compress
    )
    header, stored = record[:HEADER_BYTES], record[HEADER_BYTES:]
    assert (len(stored) < len(payload)) == compress
    read = {field: header[offset : offset + size] for offset, size, field in frame_fields()}
    assert read.pop("chain") == CHAIN
    assert {field: int.from_bytes(data, "little") for field, data in read.items()} == {
        "magic": 0x6D72,
        "format": 1,
        "kind": 2,
        "flags": int(compress),
        "reserved": 0,
        "group_id": 7,
        "stored_bytes": len(stored),
        "raw_bytes": len(payload),
        "index": 2**40 + 1,
        "term": 2**33 + 2,
        "payload_checksum": xxh3_64_intdigest(stored),
        "header_checksum": xxh3_64_intdigest(header[:60]) & 0xFFFFFFFF,
    }


def test_the_kinds_are_the_kinds() -> None:
    """The table of kinds and the enumeration are the same."""
    found = rows("## The record frame", r"^\| `(\w+)` \| (\d+) \|")
    assert {name: int(number) for name, number in found} == {kind.name: kind.value for kind in RecordKind}


def test_the_chain_is_the_hash_of_the_table() -> None:
    """The chain is BLAKE2b-128 over the fields in the table's order and sizes, from zero bytes on."""
    sizes = rows("## The hash chain", r"^\| (\d+) \| (\d+) \|")
    assert sizes == [("0", "16"), ("16", "8"), ("24", "8"), ("32", "1")]
    image = bytes(16) + (1).to_bytes(8, "little") + (3).to_bytes(8, "little") + b"\x02payload"
    assert not any(ZERO_CHAIN)
    assert next_chain(ZERO_CHAIN, 1, 3, 2, b"payload") == blake2b(image, digest_size=16).digest()


def test_map_keys_are_sorted_length_first() -> None:
    """A one-byte key comes before a three-byte key whose bytes are smaller, as the document says."""
    assert encode({1000: 1, -1: 2}) == bytes.fromhex("a2 20 02 1903e8 01")
    assert f"tag: {REFERENCE_TAG}," in TEXT
