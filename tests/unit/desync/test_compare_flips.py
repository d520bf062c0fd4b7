"""A copy of a log with one byte flipped, anywhere, never agrees with the original."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rsm.desync.compare import compare
from rsm.node.storage.root_book import ROOTS_SUFFIX, copy_roots
from rsm.node.storage.scan import export
from tests.unit.desync.logs import DISK, copy, entries, make


class Pair:
    """An original, its copy, and the files of the copy that a comparison reads."""

    def __init__(self, directory: Path) -> None:
        self.original = make(directory / "n1", 70, snapshot_at=50)
        self.copy = copy(self.original, "n2")
        read = [self.copy / "identity", self.copy / "roots"]
        read += [*(self.copy / "log").iterdir(), *(self.copy / "snapshots").iterdir()]
        self.files = {str(path.relative_to(self.copy)): path.read_bytes() for path in read}
        self.last = entries(self.original)[-1].index


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    return Pair(tmp_path_factory.mktemp("flips"))


@settings(max_examples=2 * settings.default.max_examples)
@given(data=st.data())
def test_one_flipped_byte_never_agrees(pair: Pair, data: st.DataObject) -> None:
    """Wherever it lies in log, snapshot, book or identity, and whichever of its bits change; in either order."""
    name = data.draw(st.sampled_from(sorted(pair.files)))
    content = pair.files[name]
    at = data.draw(st.integers(0, len(content) - 1))
    changed = bytearray(content)
    changed[at] ^= data.draw(st.integers(1, 255))
    path = pair.copy / name
    path.write_bytes(changed)
    sides = [str(pair.original), str(pair.copy)]
    if data.draw(st.booleans()):
        sides.reverse()
    try:
        found = compare(DISK, sides)
        assert found.finding.verdict != "agree"
        assert found.is_damaged or found.finding.verdict == "desync" or found.finding.unchecked
    finally:
        path.write_bytes(content)


@given(length=st.integers(0, 10**6))
def test_a_log_that_was_cut_never_agrees_beyond_the_cut(pair: Pair, length: int) -> None:
    """At a record's end it is a shorter log; anywhere else that is told; and never is more said to be compared."""
    path = next((pair.copy / "log").iterdir())
    content = path.read_bytes()
    path.write_bytes(content[: length % len(content)])
    try:
        found = compare(DISK, [str(pair.original), str(pair.copy)])
        assert found.finding.verdict in ("agree", "unchecked")
        if found.finding.verdict == "agree":
            assert found.finding.checked_to_index == entries(pair.copy)[-1].index < pair.last
    finally:
        path.write_bytes(content)


def test_each_byte_of_an_exported_piece_counts(pair: Pair, tmp_path: Path) -> None:
    """A short piece of the log and its book, byte for byte."""
    for name in "ab":
        export(DISK, str(pair.original), str(tmp_path / name), 60, 68)
        copy_roots(DISK, str(pair.original / "roots"), str(tmp_path / name) + ROOTS_SUFFIX, 60, 68)
    sides = [str(tmp_path / "a"), str(tmp_path / "b")]
    shutil.copy(tmp_path / "b", tmp_path / "kept")
    assert compare(DISK, sides).finding.verdict == "agree"
    for file in (tmp_path / "b", tmp_path / f"b{ROOTS_SUFFIX}"):
        content = file.read_bytes()
        for at in range(len(content)):
            file.write_bytes(content[:at] + bytes((content[at] ^ 1,)) + content[at + 1 :])
            assert compare(DISK, sides).finding.verdict != "agree", (file, at)
        file.write_bytes(content)
