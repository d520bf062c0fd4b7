"""A bank to fail with: its directory, what is said about it, logs made by an enemy, and a disk that fails."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from xxhash import xxh3_64_intdigest

import rsm
from rsm.cli.main import main
from rsm.client.proxy import Proxy, open_session
from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry, RecordKind
from rsm.node.embedded import Embedded
from rsm.node.storage.segment import SegmentHead, encode_entry, encode_head
from rsm.testing.disk import FaultDisk
from tests.formats_reader import FRAME

DATA = "bank-data"
LOG = f"{DATA}/log/{1:020}.log"
Cents = Annotated[int, rsm.Meta(gt=0)]


class Bank(rsm.StateMachine, name="bank", version=1):
    """The bank of the README, with ways to fail."""

    balances: rsm.Map[str, int]

    @rsm.command(version=1)
    def deposit(self, ctx: rsm.Context, to: str, amount: Cents) -> int:
        self.balances[to] = self.balances.get(to, 0) + amount
        return self.balances[to]

    @rsm.command(version=1)
    def divide(self, ctx: rsm.Context, by: int) -> int:
        self.balances["ann"] = 0
        return 100 // by

    @rsm.command(version=1)
    def descend(self, ctx: rsm.Context, depth: int) -> int:
        return depth and self.nested(depth)

    def nested(self, depth: int) -> int:
        return 1 + self.nested(depth - 1) if depth else 0

    @rsm.query
    def balance(self, who: str) -> int:
        return self.balances.get(who, 0)


def said(call: Callable[[], Any]) -> str:
    """The type and text of the error that a call raises."""
    with pytest.raises((rsm.RsmError, TimeoutError)) as caught:
        call()
    text = f"{type(caught.value).__name__}: {caught.value}"
    assert "\n" not in text
    return text


class Stage:
    """A directory to fail in: `bank-data` holds 1,000 cents of ann's, in ten deposits, and is closed."""

    def __init__(self, directory: Path, log: pytest.LogCaptureFixture) -> None:
        self.directory = directory
        self.log = log
        with self.open() as bank:
            for _ in range(10):
                bank.deposit("ann", 100)

    def open(self, machine: Any = Bank, path: str = DATA, **options: Any) -> Any:
        return rsm.open(machine, self.directory / path, **options)

    def opening(self, machine: Any = Bank, path: str = DATA) -> str:
        return said(lambda: self.open(machine, path).close())

    def flip(self, path: str, offset: int) -> None:
        """Flip a bit of a byte; a negative offset counts from the end."""
        file = self.directory / path
        data = bytearray(file.read_bytes())
        data[offset] ^= 1
        file.write_bytes(data)

    def logged(self, event: str) -> str:
        """The lines of the local log about an event."""
        lines = [record.getMessage() for record in self.log.records if f"event={event!r}" in record.getMessage()]
        assert lines
        return "\n".join(lines)

    def cli(self, *words: str, code: int = 1) -> str:
        """The first line that the program says, which must end with this code."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.chdir(self.directory), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            assert main(words) == code
        return (out.getvalue() + err.getvalue()).splitlines()[0]


def foreign_log(payload: bytes, **header: int) -> bytes:
    """A log of one record, whole and well-chained; fields of its header are replaced before it is checksummed."""
    entry = Entry(1, 1, RecordKind.BATCH, payload)
    chain = next_chain(ZERO_CHAIN, 1, 1, RecordKind.BATCH, payload)
    record = bytearray(encode_entry(entry, chain, 0, compress=False))
    for offset, size, field in FRAME:
        if field in header:
            record[offset : offset + size] = header[field].to_bytes(size, "little")
    record[60:64] = (xxh3_64_intdigest(bytes(record[:60])) & 0xFFFFFFFF).to_bytes(4, "little")
    return encode_head(SegmentHead(bytes(16), 0, 1, 0, ZERO_CHAIN, True)) + record


@contextlib.contextmanager
def on(disk: FaultDisk, **options: Any) -> Iterator[Any]:
    """The bank on a disk that fails."""
    runtime = Embedded(Bank, DATA, disk=disk, **options)
    client = Proxy(runtime, Bank.definition, open_session(runtime, "", 0), owns_runtime=True)
    try:
        yield client
    finally:
        with contextlib.suppress(rsm.Closed):
            client.close()
