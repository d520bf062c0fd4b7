"""Files are read in order with bounded memory, gzip or not, and every failure is one line with file and place."""

from __future__ import annotations

import gzip
import os
import random
import tracemalloc
from pathlib import Path

import pytest

from demos.orderbook.formats import Format, FormatError, Source, TornTail, UnknownFormat, Unreadable, detect, read
from demos.orderbook.formats.source import LINE_BYTES_MAX, READ_BYTES, quoted

FLOW = b"seq,type,side,ioc,qty,order_id,price_ticks\n0,N,0,0,41,487,33402\n"
EXAMPLES = {
    Format.KRAKEN: b'wss://ws.kraken.com <-> 1618678132.38\n1618678133.2: {"event":"heartbeat"}\n',
    Format.FLOW: FLOW,
    Format.FLOW_CASES: b'{"one": {"orders": [[0, 0, 1, 0, 10, 1, 100]], "reports": ["0,0,1,1,100,10"]}}',
    Format.ITCH: bytes.fromhex("000c 5300 0000 000a 0a60 aadb 934f"),
    Format.LOBSTER: b"34200.004241176,1,16113575,18,5853300,1\n",
}


def write(directory: Path, content: bytes, name: str = "input") -> Path:
    path = directory / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", list(Format))
def test_each_format_is_known_by_its_content(tmp_path: Path, kind: Format, packed: bool) -> None:
    """The name says nothing; the content decides, compressed or not, and the reader of that format accepts it."""
    content = EXAMPLES[kind]
    path = write(tmp_path, gzip.compress(content) if packed else content, "misleading.itch50.csv")
    assert detect(path) is kind
    with Source(path) as source:
        records = list(read(source, kind))
    assert len(records) == (0 if kind is Format.KRAKEN else 1)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "is empty"),
        (b"name,messages\n", "begins with 'name,messages\\n': none of the formats"),
        (bytes(4096), "begins with '\\x00"),
        (b"\x00\x0dS", "none of the formats"),
        (b"{}", "none of the formats"),
        (b"34200.004241176,1,16113575,18,5853300\n", "none of the formats"),
    ],
)
def test_unknown_content_is_one_clear_error(tmp_path: Path, content: bytes, what: str) -> None:
    """What fits nothing is named with file, place and beginning, on one line."""
    path = write(tmp_path, content)
    with pytest.raises(UnknownFormat) as caught:
        detect(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: byte 0: ")
    assert what in text
    assert "\n" not in text


def test_what_cannot_be_opened_is_unreadable(tmp_path: Path) -> None:
    """A missing file, a directory, a pipe and a forbidden name are errors of one class, and a pipe does not hang."""
    os.mkfifo(tmp_path / "pipe")
    for path, what in [
        (tmp_path / "missing", "No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        (tmp_path / "nul\0", "null byte"),
    ]:
        with pytest.raises(Unreadable, match=what) as caught:
            Source(path)
        assert caught.value.position is None


def test_lines_have_numbers_and_no_line_ends(tmp_path: Path) -> None:
    """Lines split at any chunk border come back whole, with or without carriage returns and a last newline."""
    lines = [b"x" * length for length in (0, 1, READ_BYTES - 2, READ_BYTES, 3, 2 * READ_BYTES + 1, 5)]
    for end, tail in ((b"\n", b""), (b"\n", b"\n"), (b"\r\n", b"\r\n")):
        with Source(write(tmp_path, end.join(lines) + tail)) as source:
            assert list(source.lines()) == list(enumerate(lines, 1))


def test_an_endless_line_is_refused_before_it_fills_memory(tmp_path: Path) -> None:
    """A gzip bomb without a newline, 64 MiB in 64 kB, costs a few lines' worth of memory and names its line."""
    path = write(tmp_path, gzip.compress(FLOW + bytes(64 * 1024 * 1024)))
    tracemalloc.start()
    try:
        with Source(path) as source, pytest.raises(FormatError, match=f"line 3: .*{LINE_BYTES_MAX}"):
            for _ in source.lines():
                pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * LINE_BYTES_MAX


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    """Reading a file of 100 thousand rows takes no more memory than a few chunks."""
    path = tmp_path / "flow.csv"
    with open(path, "wb") as file:
        file.write(FLOW)
        for base in range(100):
            file.write(b"".join(b"%d,N,0,0,41,487,33402\n" % (base * 1000 + seq) for seq in range(2, 1002)))
    tracemalloc.start()
    try:
        with Source(path) as source:
            count = sum(1 for _ in read(source, Format.FLOW))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 100_001
    assert peak < 16 * READ_BYTES < path.stat().st_size // 2


@pytest.mark.parametrize("packed", [False, True])
def test_progress_rises_to_the_size_of_the_file(tmp_path: Path, packed: bool) -> None:
    """`bytes_read` never falls, moves before the end, and ends at `bytes_total`, in bytes on disk."""
    numbers = random.Random(1)
    rows = b"".join(b"%d,N,0,0,%d,487,33402\n" % (seq, numbers.randrange(10**12)) for seq in range(2, 30_000))
    path = write(tmp_path, gzip.compress(FLOW + rows) if packed else FLOW + rows)
    seen = []
    with Source(path) as source:
        assert source.bytes_total == path.stat().st_size
        for _ in read(source, Format.FLOW):
            seen.append(source.bytes_read)
        assert seen == sorted(seen)
        assert seen[0] < seen[len(seen) // 2] < seen[-1]
        assert source.bytes_read == source.bytes_total


def test_a_cut_gzip_file_gives_its_whole_lines_first(tmp_path: Path) -> None:
    """A download that broke off is reported as torn, after everything before the cut."""
    rows = b"".join(b"%d,N,0,0,%d,487,33402\n" % (seq, seq * 7919) for seq in range(2, 20_000))
    packed = gzip.compress(FLOW + rows)
    path = write(tmp_path, packed[: len(packed) // 2])
    assert detect(path) is Format.FLOW
    seen: list[object] = []
    with Source(path) as source, pytest.raises(TornTail, match="gzip stream ends too early"):
        seen.extend(read(source, Format.FLOW))
    assert 1_000 < len(seen) < 20_000


def test_a_damaged_gzip_file_is_named(tmp_path: Path) -> None:
    """A flipped bit inside, a bad checksum, rubbish behind the magic and rubbish behind the end are format errors."""
    packed = gzip.compress(FLOW + os.urandom(2000))
    damaged = bytearray(packed)
    damaged[-6] ^= 1
    for content in (bytes(damaged), b"\x1f\x8b" + b"rubbish", packed + b"rubbish", packed[:10] + b"\xff" * 40):
        path = write(tmp_path, content)
        with Source(path) as source, pytest.raises(FormatError, match="gzip stream"):
            for _ in source.chunks():
                pass


def test_damage_after_a_good_beginning_is_left_to_the_reader(tmp_path: Path) -> None:
    """A short gzip file cut at its end is still recognised; one without a readable byte is an error at once."""
    packed = gzip.compress(FLOW)
    assert detect(write(tmp_path, packed[:-1])) is Format.FLOW
    with pytest.raises(FormatError, match="byte 0: the gzip stream"):
        detect(write(tmp_path, b"\x1f\x8b" + b"rubbish" * 10))
    with pytest.raises(TornTail, match="byte 0: the gzip stream ends too early"):
        detect(write(tmp_path, packed[:11]))


def test_quotes_are_printable_and_short() -> None:
    """An error text quotes control bytes escaped, and only the beginning of much."""
    assert quoted(b"\x1b[2J\n") == "'\\x1b[2J\\n'"
    assert len(quoted(bytes(10_000))) < 300
