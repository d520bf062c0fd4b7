"""The book of roots: what a replica had, kept in a ring, and never a reason for it to stop."""

from __future__ import annotations

from pathlib import Path

import pytest

import rsm
from rsm.codec.record import HEADER_BYTES
from rsm.errors import CallerError, UnknownFormat
from rsm.limits import ROOT_BOOK_RECORDS_MAX
from rsm.node.storage import root_book
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.root_book import BOOK_NAME, RootBook, RootRecord, copy_roots, read_roots
from rsm.testing.disk import FaultDisk
from tests.machines import Bank
from tests.unit.codec.test_record import sealed

DISK = OsDisk()


def root(number: int) -> bytes:
    """A root of its own for each number."""
    return number.to_bytes(16, "big")


def noted(directory: Path) -> list[tuple[int, bytes]]:
    """What a book holds."""
    return [(record.index, record.root) for record in read_roots(DISK, str(directory / BOOK_NAME))[0]]


def write(directory: Path, *pairs: tuple[int, bytes]) -> None:
    """One run of a replica."""
    book = RootBook(DISK, str(directory))
    for pair in pairs:
        book.note(*pair)
    book.close()


def test_a_replay_writes_only_what_differs(tmp_path: Path) -> None:
    """Equal roots are written once; one that differs from the first time stays beside it."""
    write(tmp_path)
    assert not (tmp_path / BOOK_NAME).exists()
    write(tmp_path, (64, root(1)), (128, root(2)))
    write(tmp_path, (64, root(1)), (128, root(2)), (192, root(3)))
    assert noted(tmp_path) == [(64, root(1)), (128, root(2)), (192, root(3))]
    write(tmp_path, (64, root(1)), (128, root(9)), (192, root(3)))
    write(tmp_path, (128, root(9)))
    assert noted(tmp_path) == [(64, root(1)), (128, root(2)), (192, root(3)), (128, root(9))]


def test_it_is_a_ring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest records are kept, over restarts, and the file does not grow."""
    assert ROOT_BOOK_RECORDS_MAX * HEADER_BYTES == 1024 * 1024
    monkeypatch.setattr(root_book, "ROOT_BOOK_RECORDS_MAX", 10)
    for start in range(0, 40, 4):
        write(tmp_path, *((index, root(index)) for index in range(start + 1, start + 5)))
    assert noted(tmp_path) == [(index, root(index)) for index in range(31, 41)]
    assert (tmp_path / BOOK_NAME).stat().st_size == 10 * HEADER_BYTES


def test_torn_and_damaged_records_are_passed_over(tmp_path: Path) -> None:
    """A short end, zeros and a flipped bit cost one record each; damage is told by its offset."""
    write(tmp_path, *((index, root(index)) for index in range(1, 7)))
    path = tmp_path / BOOK_NAME
    data = bytearray(path.read_bytes())
    data[HEADER_BYTES + 40] ^= 1
    data[3 * HEADER_BYTES : 4 * HEADER_BYTES] = bytes(HEADER_BYTES)
    path.write_bytes(data[:-10])
    records, damaged = read_roots(DISK, str(path))
    assert [record.index for record in records] == [1, 3, 5]
    assert damaged == [HEADER_BYTES, 5 * HEADER_BYTES]
    write(tmp_path, (7, root(7)))
    assert read_roots(DISK, str(path))[0][-1] == RootRecord(6, 7, root(7))


def test_the_book_of_a_newer_release_is_left_alone(tmp_path: Path) -> None:
    """It is neither read nor written over."""
    write(tmp_path, (64, root(1)))
    path = tmp_path / BOOK_NAME
    data = bytes(sealed(kind=200))
    path.write_bytes(data)
    with pytest.raises(UnknownFormat, match="offset 0"):
        read_roots(DISK, str(path))
    write(tmp_path, (128, root(2)))
    assert path.read_bytes() == data


def test_a_disk_that_takes_nothing_does_not_stop_it() -> None:
    """Where there is no room, roots are lost and nothing else is; later ones are noted again."""
    disk = FaultDisk()
    book = RootBook(disk, "/absent")
    book.note(1, root(1))
    disk.mkdir("/absent")
    book.note(2, root(2))
    book.close()
    assert read_roots(disk, "/absent/roots")[0] == [RootRecord(1, 2, root(2))]


def test_a_range_is_copied(tmp_path: Path) -> None:
    """Only the indexes asked for, numbered anew; no file for none, and nothing is written over."""
    write(tmp_path, *((index, root(index)) for index in range(1, 7)))
    source, target = str(tmp_path / BOOK_NAME), str(tmp_path / "piece")
    assert copy_roots(DISK, source, target, 3, 4) == 2
    assert read_roots(DISK, target) == ([RootRecord(1, 3, root(3)), RootRecord(2, 4, root(4))], [])
    with pytest.raises(CallerError, match="exists already"):
        copy_roots(DISK, source, target, 3, 4)
    assert copy_roots(DISK, source, str(tmp_path / "none"), 10, 20) == 0
    assert not (tmp_path / "none").exists()


def test_a_book_in_use_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Oldest note first, also where the ring has gone round; what cannot be read is not there."""
    monkeypatch.setattr(root_book, "ROOT_BOOK_RECORDS_MAX", 10)
    monkeypatch.setattr(root_book, "ROOT_BOOK_PART_RECORDS", 4)
    book = RootBook(DISK, str(tmp_path))
    assert list(book.read(1, 99)) == []
    for last in (3, 10, 17, 20, 24):
        for index in range(max((at for at, _ in noted(tmp_path)), default=0) + 1 if last > 3 else 1, last + 1):
            book.note(index, root(index))
        parts = list(book.read(2, 22))
        assert max(map(len, parts)) <= 4
        assert [index for part in parts for index, _ in part] == list(range(max(2, last - 9), min(last, 22) + 1))
    assert [one for part in book.read(20, 20) for one in part] == [(20, root(20))]
    (tmp_path / BOOK_NAME).unlink()
    assert list(book.read(1, 99)) == []
    book.close()


def test_an_embedded_machine_keeps_its_roots(tmp_path: Path) -> None:
    """Each hash point of each run is there once, and is what the log confirmed."""
    for run in range(3):
        with rsm.open(Bank, tmp_path / "bank") as bank:
            for number in range(70):
                bank.deposit("ann", number + run)
    found = noted(tmp_path / "bank")
    indexes = [index for index, _ in found]
    assert indexes == sorted(set(indexes))
    assert len(indexes) >= 6
