"""`rsm log export ADDR`: the log of a running node in a file that is whole, or no file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rsm.codec.chain import ZERO_CHAIN, next_chain
from rsm.node.storage.root_book import ROOTS_SUFFIX, read_roots
from tests.unit.cli.nodes import Nodes
from tests.unit.cli.samples import DISK, run, sample_entries, write_log

HEAD = {
    "cluster_id": bytes(range(16)),
    "group_id": 0,
    "first_index": 1,
    "previous_term": 0,
    "previous_chain": ZERO_CHAIN,
}


def rows() -> list[list[Any]]:
    """The sample log as a node sends it."""
    found, chain = [], ZERO_CHAIN
    for entry in sample_entries():
        chain = next_chain(chain, entry.index, entry.term, entry.kind, entry.payload)
        found.append([entry.index, entry.term, int(entry.kind), entry.payload, chain])
    return found


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """A node that exports the sample log in two parts."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with Nodes(1) as one:
        one.exports = [(HEAD, rows()[:3]), (None, rows()[3:])]
        yield one


def test_the_file_is_the_nodes_log(node: Nodes, tmp_path: Path) -> None:
    """It holds what the node's own directory does, verifies, and the range was passed on."""
    address = node.addresses[0]
    piece = tmp_path / "piece.log"
    ran = run("log", "export", address, piece)
    assert (ran.code, ran.out) == (0, f"{piece}: 8 entries\n")
    assert run("log", "verify", piece).code == 0
    log = write_log(tmp_path / "shop", sample_entries())
    assert run("log", "cat", piece, "--all", "--json").out == run("log", "cat", log, "--all", "--json").out
    ran = run("log", "export", address, tmp_path / "other.log", "--from", 1, "--to", 8, "--json")
    assert json.loads(ran.out)["entries"] == 8
    assert node.nodes[0].exported == [(0, 0), (1, 8)]


def test_roots_come_along(node: Nodes, tmp_path: Path) -> None:
    """Those of the entries, in a book beside the file: a comparison of two exports compares them, too."""
    roots = {5: b"\x11" * 16, 7: b"\x22" * 16}
    node.roots = [[], [[4, bytes(16)]], [[at, root] for at, root in roots.items()], [[9, bytes(16)]]]
    for name in ("one", "same"):
        assert run("log", "export", node.addresses[0], tmp_path / name, "--from", 1, "--to", 8).code == 0
    records, damaged = read_roots(DISK, str(tmp_path / f"one{ROOTS_SUFFIX}"))
    assert ([(record.index, record.root) for record in records], damaged) == ([(4, bytes(16)), *roots.items()], [])
    document = json.loads(run("desync", "compare", tmp_path / "one", tmp_path / "same", "--json").out)
    assert (document["verdict"], document["roots_compared_to_index"]) == ("agree", 7)
    node.roots = [[[4, bytes(16)], [5, roots[5]], [7, b"\x33" * 16]]]
    assert run("log", "export", node.addresses[0], tmp_path / "other").code == 0
    ran = run("desync", "compare", tmp_path / "one", tmp_path / "other", "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["kind"], document["first_bad_index"]) == (1, "apply", 7)
    assert run("log", "export", node.addresses[0], tmp_path / "other").code == 2


@pytest.mark.parametrize(
    "parts",
    [[[[5, b"short"]]], [[[5, b"\x11" * 16, 1]]], [[["5", b"\x11" * 16]]], [7], [[[5, b"\x11" * 16]] * 9000] * 2],
)
def test_without_its_roots_there_is_no_file(node: Nodes, parts: list[Any], tmp_path: Path) -> None:
    """What are no roots, or more than a node can have: exit code 1, and nothing is left behind."""
    node.roots = parts
    ran = run("log", "export", node.addresses[0], tmp_path / "piece.log")
    assert (ran.code, ran.out) == (1, "")
    assert "roots" in ran.err
    assert not list(tmp_path.glob("piece*"))


def test_an_export_never_overwrites(node: Nodes, tmp_path: Path) -> None:
    """A file that is there stays as it is."""
    (tmp_path / "piece.log").write_text("mine")
    ran = run("log", "export", node.addresses[0], tmp_path / "piece.log")
    assert ran.code == 2
    assert (tmp_path / "piece.log").read_text() == "mine"


def changed(place: int, field: int, value: Any) -> list[list[Any]]:
    found = rows()
    found[place][field] = value
    return found


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([(HEAD, changed(2, 3, b"\x00"))], "entry 3 does not follow entry 2"),
        ([(HEAD, changed(2, 4, bytes(16)))], "entry 3 does not follow entry 2"),
        ([(HEAD, rows()[:2] + rows()[3:])], "entry 4 does not follow entry 2"),
        ([(HEAD, changed(1, 2, 9))], "a IDENTITY record has no place in a log"),
        ([(HEAD, changed(1, 2, 99))], "cannot be read"),
        ([(None, rows())], "cannot be read"),
        ([({"first_index": 1}, rows())], "cannot be read"),
        ([(HEAD, [[1, 2]])], "cannot be read"),
        ([], "sent no part"),
    ],
)
def test_what_is_no_whole_log_is_no_file(node: Nodes, parts: list[Any], words: str, tmp_path: Path) -> None:
    """A changed, missing or malformed entry is found on the way: exit code 1, and nothing is left behind."""
    node.exports = parts
    ran = run("log", "export", node.addresses[0], tmp_path / "piece.log")
    assert (ran.code, ran.out) == (1, "")
    assert words in ran.err
    assert not list(tmp_path.glob("piece*"))


def test_nobody_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address where nobody listens is 3; a path that is not there is no address."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert run("log", "export", "127.0.0.1:1", tmp_path / "piece.log").code == 3
    assert run("log", "export", "nothing", tmp_path / "piece.log").code == 2
    assert not (tmp_path / "piece.log").exists()
