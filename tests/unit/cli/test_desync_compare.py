"""`rsm desync compare`: exit codes, one clear line for bad input, the document of --json, the report for people."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import msgspec
import pytest

import rsm
from tests.machines import Bank
from tests.unit.cli.samples import run, sample_entries, write_log
from tests.unit.desync.logs import book, copy, make, release, replaced, rewrite, snapshots, write_book
from tests.unit.desync.test_compare import items_changed

KEYS = {"verdict", "kind", "first_bad_index", "first_bad_command", "command", "paths", "minority", "checked_to_index"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("made") / "n1")


@pytest.fixture
def n1(made: Path, tmp_path: Path) -> Path:
    """A machine that ran, for one test."""
    return Path(shutil.copytree(made, tmp_path / "n1"))


def test_agreement(n1: Path) -> None:
    """Exit code 0, and a document with every field that scripts may read."""
    n2 = copy(n1, "n2")
    ran = run("desync", "compare", n1, n2)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[-1].startswith("agree: the logs are one up to index ")
    ran = run("desync", "compare", n1, n2, "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert set(document) >= KEYS | {"unchecked"}
    assert (document["verdict"], document["kind"], document["unchecked"]) == ("agree", None, [])


def test_a_difference_of_the_logs(n1: Path) -> None:
    """Exit code 1, both commands side by side, and who is in the minority."""
    n2 = rewrite(n1, "n2", replaced(77, lambda payload: items_changed(payload, 0, {5: [3, 999, 1]})))
    n3 = copy(n1, "n3")
    ran = run("desync", "compare", n1, n2, n3)
    assert ran.code == 1
    assert "price=999" in ran.out
    assert f"minority: {n2} (different, which is not to say wrong)" in ran.out
    assert "desync: log at index 77" in ran.out.splitlines()[-1]
    document = json.loads(run("desync", "compare", n1, n2, n3, "--json").out)
    assert (document["kind"], document["first_bad_index"], document["first_bad_command"]) == ("log", 77, 0)
    assert document["command"]["values"].keys() == {"number", "price", "quantity"}
    assert document["minority"] == [str(n2)]
    assert "no majority" in run("desync", "compare", n1, n2).out


def test_a_difference_of_the_roots(n1: Path) -> None:
    """Exit code 1, the roots by source."""
    n2 = copy(n1, "n2")
    write_book(n2, [(index, bytes(16) if index > 64 else root) for index, root in book(n1).items()])
    ran = run("desync", "compare", n1, n2)
    assert ran.code == 1
    assert bytes(16).hex() in ran.out
    assert "(confirmed):" in ran.out


def test_an_export_carries_the_roots(n1: Path, tmp_path: Path) -> None:
    """`log export` writes the roots beside the piece; the name must be free for both."""
    assert run("log", "export", n1, tmp_path / "piece", "--from", 50).code == 0
    assert (tmp_path / "piece.roots").exists()
    ran = run("desync", "compare", n1, tmp_path / "piece")
    assert ran.code == 0
    assert "own root" in ran.out
    assert run("log", "export", tmp_path / "piece", tmp_path / "smaller", "--to", 80).code == 0
    assert (tmp_path / "smaller.roots").stat().st_size == 64
    (tmp_path / "taken.roots").write_text("mine")
    ran = run("log", "export", n1, tmp_path / "taken")
    assert ran.code == 2
    assert "taken.roots: it exists already" in ran.err
    assert not (tmp_path / "taken").exists()


def test_what_cannot_be_compared(n1: Path, tmp_path: Path) -> None:
    """Other machines, no common index: exit code 3. Damage: 1. Each with its reason, and none agrees."""
    with rsm.open(Bank, tmp_path / "bank") as bank:
        bank.deposit("ann", 1)
    ran = run("desync", "compare", n1, release(tmp_path / "bank"))
    assert ran.code == 3
    assert "different machines" in ran.out
    for name, span in (("a", ("--to", 50)), ("b", ("--from", 60))):
        run("log", "export", n1, tmp_path / name, *span)
    ran = run("desync", "compare", tmp_path / "a", tmp_path / "b", "--json")
    assert (ran.code, json.loads(ran.out)["verdict"]) == (3, "unchecked")
    n2 = copy(n1, "n2")
    file = snapshots(n2)[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 4
    file.write_bytes(data)
    ran = run("desync", "compare", n1, n2)
    assert ran.code == 1
    assert f"unchecked: {file}: offset" in ran.out
    assert "agree" not in ran.out


def test_wrong_usage(n1: Path, tmp_path: Path) -> None:
    """One log, no log, and a file that never was one: exit code 2 and one line."""
    (tmp_path / "notes.txt").write_text("notes of somebody, which are no log at all and long enough to be read as one")
    (tmp_path / "empty").mkdir()
    for paths in ((n1,), (n1, tmp_path / "absent"), (n1, tmp_path / "notes.txt"), (n1, tmp_path / "empty")):
        ran = run("desync", "compare", *paths)
        assert (ran.code, ran.out) == (2, ""), paths
        assert len(ran.err.splitlines()) == 1


def test_values_of_any_kind_are_printed(tmp_path: Path) -> None:
    """Bytes, pipelines with references and keys: in the report and as valid JSON."""
    for index in (3, 5, 7):
        entries = sample_entries()
        changed = items_changed(entries[index - 1].payload, 0, {1: 1_000})
        others = [msgspec.structs.replace(one, payload=changed) if one.index == index else one for one in entries]
        paths = (write_log(tmp_path / f"a{index}", entries), write_log(tmp_path / f"b{index}", others))
        ran = run("desync", "compare", *paths)
        assert ran.code == 1
        assert f"desync: log at index {index}" in ran.out
        document = json.loads(run("desync", "compare", *paths, "--json").out)
        assert document["command"]["name"] in ("order", "rsm.pipeline")
