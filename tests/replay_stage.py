"""Logs and checkouts for tests of replays: a small shop, healthy or with a line changed, and a log of it on a disk."""

from __future__ import annotations

import importlib.util
import sys
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.codec.record import Entry
from rsm.desync.environments import Setting, hostile
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.segment import SegmentHead, encode_entry, encode_head, segment_name
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.replica.batch import CONFIRMED
from rsm.replica.replica import Replica
from rsm.replica.snapshot import parts
from tests.machines import Log

CLUSTER = bytes(range(16))
SHOP = """from __future__ import annotations

import time

import rsm


class Counter:
    def __init__(self) -> None:
        self.seen = 0
        self.words = {}


class Shop(rsm.StateMachine, name="shop", version=1):
    stock: rsm.Map[str, int]
    total: int
    last: str
    sold: rsm.Queue[int]

    def setup(self) -> None:
        self.helper = Counter()

    @rsm.command()
    def add(self, ctx: rsm.Context, item: str, count: int) -> int:
        self.stock[item] = self.stock.get(item, 0) + count
        self.total += count
        return self.stock[item]

    @rsm.command()
    def sell(self, ctx: rsm.Context, item: str, count: int) -> int:
        left = self.stock.get(item, 0) - count
        if left < 0:
            ctx.reject("sold out")
        self.stock[item] = left
        self.total -= count
        self.sold.push(count)
        ctx.emit((item, count))
        return left

    @rsm.command()
    def label(self, ctx: rsm.Context, words: str) -> str:
        self.last = sorted(set(words.split()))[0]
        return self.last

    @rsm.query
    def left(self, item: str) -> int:
        return self.stock.get(item, 0)
"""
ITEMS = ("apple", "pear", "plum", "quince")


def checkout(directory: Path, *changes: tuple[str, str], text: str = SHOP) -> Path:
    """A directory with the module `shop`, some of its text replaced; each piece must be there once."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "shop.py").write_text(text, encoding="utf-8")
    return directory


def shop_of(directory: Path) -> Any:
    """The class of a checkout, in this process, under a module name of its own."""
    name = f"shop_{uuid.uuid4().hex}"
    spec = importlib.util.spec_from_file_location(name, directory / "shop.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.Shop


class ShopLog(Log):
    """A log of a shop that confirms its own roots one entry after each hash point."""

    def __init__(self, machine: Any, *, confirms: bool = True) -> None:
        self.confirms = confirms
        super().__init__(machine)
        self.session = self.open("ann")

    def apply(self, entry: Entry) -> Any:
        """Apply an entry, and confirm the root before it, if it had one."""
        applied = super().apply(entry)
        if applied.root is not None and self.confirms:
            self.lead(CONFIRMED, applied.index, applied.root)
        return applied

    def trade(self, commands: int) -> ShopLog:
        """So many commands, one an entry, always the same."""
        for number in range(commands):
            item = ITEMS[number % 4]
            if number % 7 == 3:
                self.send(self.session, "sell", item, number % 3 + 1)
            elif number % 11 == 5:
                self.send(self.session, "label", "delta alpha charlie bravo echo foxtrot golf hotel")
            else:
                self.send(self.session, "add", item, number % 5 + 1)
        return self


def few_settings(patch: pytest.MonkeyPatch) -> None:
    """Hostile replays try another run, other hash seeds and two restarts only: each setting is a process."""

    def few(reference: str) -> tuple[Setting, list[Setting]]:
        base, variants = hostile(reference)
        names = [one.name.partition("=")[0] for one in variants[:3]]
        assert names == ["another run", "PYTHONHASHSEED", "PYTHONHASHSEED"]
        return base, variants[:3]

    patch.setattr("rsm.desync.hostile.hostile", few)
    patch.setattr("rsm.desync.hostile.HOSTILE_RESTARTS", 2)


def write_segment(
    path: Path, entries: Iterable[Entry], first: int = 1, before: tuple[int, bytes] = (0, ZERO_CHAIN)
) -> None:
    """One segment file with these entries, as `rsm log export` writes it."""
    term, chain = before
    data = encode_head(SegmentHead(CLUSTER, 0, first, term, chain, True))
    for entry in entries:
        chain = next_chain(chain, entry.index, entry.term, entry.kind, entry.payload)
        data += encode_entry(entry, chain, 0, compress=True)
    path.write_bytes(data)


def chain_at(entries: Iterable[Entry], index: int) -> bytes:
    """The chain of a log at an index."""
    chain = ZERO_CHAIN
    for entry in entries:
        if entry.index > index:
            break
        chain = next_chain(chain, entry.index, entry.term, entry.kind, entry.payload)
    return chain


def write_machine(path: Path, log: Log, *, snapshots: Iterable[int] = (), first: int = 1) -> Path:
    """The directory of a machine: its log from `first` on, and snapshots at hash points."""
    (path / "log").mkdir(parents=True)
    before = (1, chain_at(log.entries, first - 1)) if first > 1 else (0, ZERO_CHAIN)
    write_segment(path / "log" / segment_name(first), log.entries[first - 1 :], first, before)
    files = SnapshotFiles(OsDisk(), str(path / "snapshots"))
    for index in snapshots:
        replica = Replica(log.machine)
        for entry in log.entries[:index]:
            replica.apply(entry)
        with files.begin(index, replica.term) as writer:
            for kind, payload in parts(replica, chain_at(log.entries, index)):
                writer.add(kind, payload)
            writer.commit()
    return path
