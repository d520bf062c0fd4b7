"""Logs to look at: small ones with fixed bytes, made without the runtime, and the machine that they belong to."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rsm.cli.main import main
from rsm.codec.cbor import Reference
from rsm.codec.record import Entry, RecordKind
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.segment import SegmentReader
from rsm.replica import batch

MACHINE = """
from __future__ import annotations
import rsm

class Shop(rsm.StateMachine, name="shop", version=2):
    stock: rsm.Map[str, int]
    waiting: rsm.Table[str, rsm.Queue[int]]
    sold: int

    @rsm.command(version=2)
    def order(self, ctx: rsm.Context, item: str, quantity: int, mark: bytes = b"") -> int:
        self.stock[item] = self.stock.get(item, 0) - quantity
        self.waiting[item].push(quantity)
        self.sold += quantity
        print("a handler prints")
        return quantity

    @rsm.upcast("order", from_version=1)
    def order_1(item: str, quantity: int) -> tuple[str, int, bytes]:
        return item, quantity, b""

    @rsm.query
    def left(self, item: str) -> int:
        return self.stock.get(item, 0)

print("the module prints")
"""
SCHEMA: dict[str, Any] = {
    "commands": {
        "order": {
            "1": [["item", "str"], ["quantity", "int"]],
            "2": [["item", "str"], ["quantity", "int"], ["mark", "bytes"]],
        },
        "close": {"1": []},
    },
    "queries": {"left": [["item", "str"]]},
    "state": {"sold": ["scalar", "int"]},
    "event": "",
}
STAMP = 1_700_000_000_123_456_789
DISK = OsDisk()


def call(name: str, version: int, *values: Any, session: int = 7, sequence: int = 1, key: str | None = None) -> bytes:
    """One encoded item."""
    return batch.join_item(session, sequence, sequence, batch.encode_call(name, version, list(values)), key)


ACTIVATION = call(batch.ACTIVATE, 1, "shop", 2, SCHEMA, bytes(16), session=0, sequence=0)


def entry(index: int, *items: bytes, term: int = 1, flags: int = 0) -> Entry:
    """A batch, one millisecond of log time after the one before."""
    payload = batch.join_batch(2, STAMP + index * 1_000_000, flags, list(items))
    return Entry(index, term, RecordKind.BATCH, payload)


def sample_entries() -> list[Entry]:
    """Eight entries with everything that a log can hold."""
    pipeline = [["order", 2, ["tea", 1, b""]], ["order", 2, ["tea", Reference(0, ()), b"\x01"]]]
    return [
        entry(1, ACTIVATION),
        entry(2, call(batch.OPEN_SESSION, 1, "ann", 0, session=0)),
        entry(3, call("order", 2, "tea", 100, b"\xab\xcd"), call("order", 1, "100", 5, sequence=2)),
        Entry(4, 2, RecordKind.NOOP, b""),
        entry(5, call("order", 2, "milk", 100, b"", sequence=3, key="k-1"), term=2, flags=batch.FLAG_HASH_POINT),
        entry(6, call(batch.CONFIRMED, 1, 5, b"\x11" * 16, session=0), term=2),
        entry(7, call(batch.PIPELINE, 1, *pipeline, sequence=4), call("close", 1, sequence=5), term=2),
        entry(8, term=2),
    ]


def write_log(path: Path, entries: Sequence[Entry], *, segment_bytes: int = 1 << 20, machine: str = "shop") -> Path:
    """A machine's directory with these entries in its log."""
    with (
        MachineDirectory.create(DISK, str(path), machine=machine, cluster_id=bytes(range(16))) as directory,
        directory.open_journal(segment_bytes=segment_bytes) as journal,
    ):
        for one in entries:
            journal.append([one])
            journal.sync()
    # The lock file still names this process, which lives: readers would wait for it to finish writing.
    (path / "lock").write_text("0\n")
    return path


def segments(path: Path) -> list[Path]:
    """The segment files of a machine's directory."""
    return sorted((path / "log").glob("*.log"))


def offsets(segment: Path) -> list[int]:
    """Where each record of a segment begins, the head first, and where the last one ends."""
    file = DISK.open(str(segment), writable=False)
    try:
        reader = SegmentReader(file, last=True)
        first = reader.end
        ends = [frame.end for frame in reader]
    finally:
        file.close()
    return [0, first, *ends]


class Ran(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str


def run(*arguments: object) -> Ran:
    """Run the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


def save_machine(directory: Path, name: str) -> None:
    """Write the module with the machine; a name of its own for each test, since modules stay imported."""
    (directory / f"{name}.py").write_text(MACHINE, encoding="utf-8")
