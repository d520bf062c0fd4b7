"""Logs to compare: of a real machine, copied, and changed in one place with chains and sums that fit."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

import rsm
from rsm.codec.record import HEADER_BYTES, Entry, RecordKind, encode_record
from rsm.node.storage.directory import MachineDirectory, read_identity
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.root_book import RootRecord, read_roots
from rsm.node.storage.scan import scan
from rsm.node.storage.snapshots import SnapshotWriter, read_snapshot
from rsm.replica.snapshot import Manifest, decode_manifest
from rsm.state.leaf import digest128, encode

DISK = OsDisk()


class Order(rsm.Struct, frozen=True):
    """A record kept in state."""

    price: int
    quantity: int


class Shop(rsm.StateMachine, name="shop", version=1):
    """A small machine."""

    sold: int
    orders: rsm.Map[int, Order]
    lines: rsm.Table[str, rsm.Queue[int]]

    @rsm.command()
    def order(self, ctx: rsm.Context, number: int, price: int, quantity: int) -> int:
        self.orders[number] = Order(price, quantity)
        self.lines["all"].push(number)
        self.sold += quantity
        return self.sold


def make(path: Path, commands: int = 150, *, snapshot_at: int | None = 100) -> Path:
    """The directory of a machine that ran; about as many entries as commands."""
    with rsm.open(Shop, path) as shop:
        for number in range(commands):
            if number == snapshot_at:
                shop.snapshot()
            shop.order(number % 20, 100 + number, 1)
    return release(path)


def release(path: Path) -> Path:
    """The lock file still names this process, which lives: nobody has the directory open any more."""
    (path / "lock").write_text("0\n")
    return path


def copy(path: Path, name: str) -> Path:
    """A copy beside the original."""
    return Path(shutil.copytree(path, path.parent / name))


def entries(path: Path) -> list[Entry]:
    """All entries of a log."""
    return [scanned.entry for scanned in scan(DISK, str(path))]


def rewrite(path: Path, name: str, change: Callable[[Entry], Iterable[Entry]], *, keep_rest: bool = True) -> Path:
    """A copy of a machine whose log holds what `change` makes of each entry, with a chain that fits."""
    target = path.parent / name
    identity = read_identity(DISK, str(path))
    with (
        MachineDirectory.create(DISK, str(target), machine=identity.machine, cluster_id=identity.cluster_id) as made,
        made.open_journal() as journal,
    ):
        for entry in entries(path):
            journal.append(list(change(entry)))
    if keep_rest:
        shutil.copytree(path / "snapshots", target / "snapshots", dirs_exist_ok=True)
        shutil.copy(path / "roots", target / "roots")
    return release(target)


def replaced(index: int, payload: Callable[[bytes], bytes]) -> Callable[[Entry], Iterable[Entry]]:
    """A change of one entry's payload."""

    def change(entry: Entry) -> Iterable[Entry]:
        yield msgspec.structs.replace(entry, payload=payload(entry.payload)) if entry.index == index else entry

    return change


def book(path: Path) -> dict[int, bytes]:
    """The last root of each index in a book."""
    return {record.index: record.root for record in read_roots(DISK, str(path / "roots"))[0]}


def write_book(path: Path, roots: Iterable[tuple[int, bytes]]) -> None:
    """Write a book anew."""
    records = [RootRecord(number, *pair) for number, pair in enumerate(roots, 1)]
    data = [encode_record(RecordKind.ROOT, b"", index=one.index, term=one.number, chain=one.root) for one in records]
    assert all(len(record) == HEADER_BYTES for record in data)
    (path / "roots").write_bytes(b"".join(data))


def snapshots(path: Path) -> list[Path]:
    """The snapshot files of a machine, by index."""
    return sorted((path / "snapshots").glob("*.snapshot"))


def rewrite_snapshot(file: Path, change: Callable[[Manifest, list[Any]], Manifest]) -> Manifest:
    """Write a snapshot anew: `change` gets the manifest and the chunks, and may change the chunks in place."""
    records = list(read_snapshot(DISK, str(file)))
    chunks = [payload for _, payload in records[1:]]
    manifest = change(decode_manifest(records[0][1]), chunks)
    file.unlink()
    with SnapshotWriter(DISK, str(file), int(file.name[:20]), manifest.term, 0) as writer:
        writer.add(RecordKind.MANIFEST, manifest.encode())
        for payload in chunks:
            writer.add(RecordKind.CHUNK, payload)
        writer.commit()
    return manifest


def with_root(manifest: Manifest) -> Manifest:
    """The manifest with the root that its sums make."""
    digests = [(name, kind, schema, digest128(sums)) for name, (kind, schema, sums) in sorted(manifest.state.items())]
    root = digest128(encode((manifest.machine, manifest.version, digests)))
    roots = [(index, root if index == manifest.index else old) for index, old in manifest.roots]
    return manifest._replace(root=root, roots=roots)
