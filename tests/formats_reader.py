"""Reads what rsm writes as docs/formats.md tells it, with no code of rsm: what this cannot read, the page leaves open.

Byte positions come from the page's own tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import cbor2
import lz4.frame
import msgspec
from xxhash import xxh3_64_intdigest, xxh3_128_digest

from tests.documents import ROOT

PAGE_FILE = ROOT / "docs" / "formats.md"
TEXT = PAGE_FILE.read_text(encoding="utf-8")
HEADER_BYTES = 64
END_MARK = b"\xa5"
SECTOR_BYTES = 512
BUCKETS = 1024
SLOT_BYTES = 4096
ENTRY_KINDS = ("BATCH", "NOOP", "CONFIGURATION")

pack = msgspec.msgpack.Encoder(order="deterministic").encode
unpack = msgspec.msgpack.decode


class NotGood(Exception):
    """No whole, good record begins here; `end` is where it would end."""

    def __init__(self, what: str, end: int) -> None:
        super().__init__(what)
        self.end = end


def rows(heading: str, pattern: str) -> list[Any]:
    """The table rows below a heading of the page, up to the next heading, that match `pattern`."""
    _, found, section = TEXT.partition(f"\n{heading}\n")
    if not found:
        raise ValueError(f"no heading {heading}")
    section = re.split(r"^#+ ", section, flags=re.MULTILINE)[0]
    return re.findall(pattern, section, flags=re.MULTILINE)


def names(heading: str) -> list[str]:
    """The names in code in the first column of the table below a heading."""
    return [name for cell in rows(heading, r"^\| (`[^|]*`) \|") for name in re.findall(r"`([^`]+)`", cell)]


FRAME = [
    (int(offset), int(size), name)
    for offset, size, name in rows("## The record frame", r"^\| (\d+) \| (\d+) \| `(\w+)` \|")
]
KINDS = {int(number): name for name, number in rows("## The record frame", r"^\| `(\w+)` \| (\d+) \|")}


@dataclass
class Record:
    """One record: its header's fields, its payload uncompressed, and the offset behind it."""

    header: dict[str, Any]
    payload: bytes
    end: int

    @property
    def fields(self) -> Any:
        """The payload as CBOR."""
        return cbor2.loads(self.payload)


@dataclass
class Segment:
    """A segment, as far as it can be read; `verdict` is "end", "torn" or "corrupt", and `offset` where that is."""

    head: dict[str, Any]
    entries: list[Record] = field(default_factory=list)
    verdict: str = "end"
    offset: int = 0


def read_record(data: bytes, offset: int = 0, *, mark: bytes = b"") -> Record:
    """The record at an offset, with the mark behind it; `NotGood` if there is none."""
    raw = data[offset : offset + HEADER_BYTES]
    header: dict[str, Any] = {name: raw[start : start + size] for start, size, name in FRAME}
    header = {name: cut if name == "chain" else int.from_bytes(cut, "little") for name, cut in header.items()}
    if (
        len(raw) < HEADER_BYTES
        or header["header_checksum"] != xxh3_64_intdigest(raw[:60]) & 0xFFFFFFFF
        or (header["magic"], header["format"], header["reserved"]) != (0x6D72, 1, 0)
        or header["flags"] > 1
        or header["kind"] not in KINDS
    ):
        raise NotGood("header", offset + HEADER_BYTES)
    header["kind"] = KINDS[header["kind"]]
    stop = offset + HEADER_BYTES + header["stored_bytes"]
    stored = data[offset + HEADER_BYTES : stop]
    whole = len(stored) == header["stored_bytes"] and xxh3_64_intdigest(stored) == header["payload_checksum"]
    if not whole or data[stop : stop + len(mark)] != mark:
        raise NotGood("payload or mark", stop + len(mark))
    payload = lz4.frame.decompress(stored) if header["flags"] else stored
    if len(payload) != header["raw_bytes"]:
        raise NotGood("length", stop + len(mark))
    return Record(header, payload, stop + len(mark))


def chain_after(chain: bytes, number: int, record: Record) -> bytes:
    """The hash chain after a record."""
    (kind,) = (value for value, name in KINDS.items() if name == record.header["kind"])
    image = chain + number.to_bytes(8, "little") + record.header["term"].to_bytes(8, "little") + bytes([kind])
    return blake2b(image + record.payload, digest_size=16).digest()


def read_segment(data: bytes, *, last: bool = True) -> Segment:
    """A segment up to its end, or to where it is torn or corrupt."""
    try:
        first = read_record(data, mark=END_MARK)
    except NotGood:
        return Segment({}, [], "corrupt", 0)
    head = first.fields
    segment = Segment(head)
    offset = first.end
    index, term, chain = head["first_index"] - 1, head["previous_term"], head["previous_chain"]
    while offset < len(data):
        try:
            record = read_record(data, offset, mark=END_MARK)
        except NotGood as error:
            segment.verdict, segment.offset = judge(data, offset, error.end, last), offset
            return segment
        header = record.header
        chain = chain_after(chain, header["index"], record)
        if (
            header["kind"] not in ENTRY_KINDS
            or (header["index"], header["group_id"], header["chain"]) != (index + 1, head["group_id"], chain)
            or header["term"] < term
        ):
            segment.verdict, segment.offset = "corrupt", offset
            return segment
        index, term = header["index"], header["term"]
        segment.entries.append(record)
        offset = record.end
    segment.offset = offset
    return segment


def judge(data: bytes, offset: int, end: int, last: bool) -> str:
    """What it is that begins at an offset and is no good record: the page's table, row by row."""
    data_end = len(data.rstrip(b"\0"))
    if not last:
        return "corrupt"
    if data_end <= offset:
        return "end"
    if len(data) < end:
        return "torn"
    return "torn" if any(boundary >= data_end for boundary in range(0, end, SECTOR_BYTES)) else "corrupt"


@dataclass
class Snapshot:
    """A snapshot: its manifest, and the leaves of each container by bucket."""

    manifest: dict[str, Any]
    leaves: dict[str, dict[int, list[Any]]]

    def root(self) -> bytes:
        """The state root, from the leaves alone."""
        containers = []
        for name, (kind, schema, _) in sorted(self.manifest["state"].items()):
            containers.append((name, kind, schema, xxh3_128_digest(self.sums(name, kind, schema))))
        return xxh3_128_digest(pack((self.manifest["machine"], self.manifest["version"], containers)))

    def sums(self, name: str, kind: str, schema: str) -> bytes:
        """The bucket sums of a container, from its leaves; each must lie in its bucket."""
        seed = xxh3_64_intdigest(pack((name, kind, schema)))
        sums = [0] * BUCKETS
        for bucket, leaves in self.leaves.get(name, {}).items():
            for leaf_key, value in leaves:
                key = leaf_key[0] if kind == "table" else leaf_key
                if xxh3_64_intdigest(pack(key)) % BUCKETS != bucket:
                    raise ValueError(f"{name}: {leaf_key} does not lie in bucket {bucket}")
                sums[bucket] = (sums[bucket] + xxh3_64_intdigest(pack((leaf_key, value)), seed)) % 2**64
        return b"".join(each.to_bytes(8, "little") for each in sums)

    def values(self, name: str) -> dict[Any, Any]:
        """A container as a dict; keys that are arrays become tuples."""
        pairs = [pair for leaves in self.leaves.get(name, {}).values() for pair in leaves]
        return {tuple(key) if type(key) is list else key: value for key, value in pairs}


def read_snapshot(data: bytes) -> Snapshot:
    """A whole snapshot, its chain checked."""
    records = list(snapshot_records(data))
    manifest, *chunks, end = records
    kinds = [record.header["kind"] for record in records]
    if kinds != ["MANIFEST", *["CHUNK"] * len(chunks), "END"] or end.fields != {"records": len(chunks) + 1}:
        raise ValueError("not a manifest, chunks and an end")
    leaves: dict[str, dict[int, list[Any]]] = {}
    for chunk in chunks:
        container, buckets = chunk.fields
        for bucket, packed in buckets:
            leaves.setdefault(container, {}).setdefault(bucket, []).extend(unpack(packed))
    return Snapshot(manifest.fields, leaves)


def snapshot_records(data: bytes) -> Iterator[Record]:
    """The records of a snapshot, in order."""
    chain, offset, number = bytes(16), 0, 0
    while offset < len(data):
        record = read_record(data, offset)
        chain = chain_after(chain, number, record)
        if chain != record.header["chain"]:
            raise ValueError(f"record {number} breaks the chain")
        yield record
        offset, number = record.end, number + 1
