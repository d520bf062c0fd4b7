"""How long `rsm desync compare` takes for two logs of one history, beside reading and hashing their bytes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from _common import median, progress
from _traffic import DISK, STAMP, write_log
from xxhash import xxh3_128

from rsm.codec.record import Entry, RecordKind
from rsm.desync.compare import compare
from rsm.limits import HASH_INTERVAL_ENTRIES, READ_BYTES
from rsm.replica.batch import CONFIRMED, encode_call, join_batch, join_item

SESSION = 7
# So many different commands, again and again: encoding a million would take longer than comparing them.
CALLS = [encode_call("place", 1, ["BUY", 10_000 + number, 17, "ann"]) for number in range(50)]


def orders(commands: int, commands_per_entry: int) -> Iterator[Entry]:
    """Entries of orders, and the confirmations that a machine would write. Nobody applies them."""
    first, last = 1, commands // commands_per_entry
    for index in range(1, last + 1):
        items = [
            join_item(SESSION, number, first, CALLS[number % len(CALLS)])
            for number in range(first, first + commands_per_entry)
        ]
        first += commands_per_entry
        if index > 1 and (index % HASH_INTERVAL_ENTRIES == 1 or index == last):
            items.insert(0, join_item(0, 0, 0, encode_call(CONFIRMED, 1, [index - 1, bytes(16)])))
        yield Entry(index, 1, RecordKind.BATCH, join_batch(1, STAMP + index, 0, items))


def measure_comparing(directory: Path, scale: Any) -> dict[str, Any]:
    """A log and its copy, in entries of several sizes."""
    return {
        "what": "two logs of one history, every byte verified, by `rsm.desync.compare` in this process",
        "aim_seconds": 5.0,
        "commands": scale.compared_commands,
        "rounds": scale.compare_rounds,
        "levels": [_level(directory, scale, count) for count in scale.compared_commands_per_entry],
    }


def _level(directory: Path, scale: Any, commands_per_entry: int) -> dict[str, Any]:
    progress(f"writing two logs of {scale.compared_commands:,} commands, {commands_per_entry:,} an entry")
    paths = [directory / f"{commands_per_entry}-{name}" for name in ("a", "b")]
    write_log(paths[0], "book", orders(scale.compared_commands, commands_per_entry))
    shutil.copytree(*paths)
    seconds, reading = [], []
    for _ in range(scale.compare_rounds):
        began = time.perf_counter()
        size = sum(map(_read, paths))
        reading.append(time.perf_counter() - began)
        began = time.perf_counter()
        found = compare(DISK, [str(path) for path in paths]).finding
        seconds.append(time.perf_counter() - began)
        if found.verdict != "agree":
            raise RuntimeError(f"the copies do not agree: {found}")
    for path in paths:
        shutil.rmtree(path)
    ratios = [ours / least for ours, least in zip(seconds, reading, strict=True)]
    progress(f"compared in {median(seconds)} s, {median(ratios)} times what reading and hashing takes")
    return {
        "commands_per_entry": commands_per_entry,
        "both_logs_bytes": size,
        "compare_seconds": median(seconds, 3),
        "reading_and_hashing_seconds": median(reading, 3),
        "to_reading_ratio": median(ratios),
    }


def _read(path: Path) -> int:
    """Read and hash all of a log: what nobody could do without."""
    size, digest = 0, xxh3_128()
    for file in sorted((path / "log").iterdir()):
        with file.open("rb") as opened:
            while data := opened.read(READ_BYTES):
                size += len(data)
                digest.update(data)
    return size
