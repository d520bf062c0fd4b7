"""`rsm schema show` says the same of a class and of a log that it wrote."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.unit.cli.samples import entry, run, sample_entries, save_machine, write_log
from tests.unit.schemas.shops import SHOP

MODULE = "schema_shop"


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with the machine's module in it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    save_machine(tmp_path, MODULE)
    return tmp_path


def test_a_class_shows_all_that_names_its_bytes() -> None:
    """Commands with every version's fields, upcasters, queries, containers; the working directory is importable."""
    ran = run("schema", "show", f"{MODULE}:Shop", "--json")
    document = json.loads(ran.out)
    assert ran.code == 0
    assert (document["machine"], document["version"]) == ("shop", 2)
    assert document["commands"] == {
        "order": {
            "1": [["item", "str"], ["quantity", "int"]],
            "2": [["item", "str"], ["quantity", "int"], ["mark", "bytes"]],
        }
    }
    assert (document["upcasters"], document["steps"]) == ({"order": [1]}, {"order": {"1": "v2"}})
    assert document["queries"] == {"left": [["item", "str"]]}
    assert set(document["state"]) == {"stock", "waiting", "sold"}
    shown = run("schema", "show", f"{MODULE}:Shop").out
    assert "order  v1 to v2" in shown
    assert "waiting  table   str -> queue int" in shown


def test_a_class_shows_where_steps_lead(directory: Path) -> None:
    """A split names the commands that it leads to, a drop nothing; neither has a version of its own to lead to."""
    (directory / "stepping_shop.py").write_text(SHOP, encoding="utf-8")
    shown = run("schema", "show", "stepping_shop:Shop").out
    assert "swap  v1 to put v2, sell v1, nothing" in shown
    assert "put   v2 to v3" in shown


def test_a_log_shows_what_it_declares(directory: Path) -> None:
    """The last activation is the schema; a later one replaces it."""
    log = write_log(directory / "shop", sample_entries())
    document = json.loads(run("schema", "show", log, "--json").out)
    assert (document["machine"], document["version"]) == ("shop", 2)
    assert document["upcasters"] == {"order": [1]}
    assert set(document["commands"]) == {"order", "close"}
    assert "order  v2  (item: str, quantity: int, mark: bytes)" in run("schema", "show", log).out


def test_a_log_that_declares_nothing(directory: Path) -> None:
    """A log without an activation has no schema to show, and says so."""
    log = write_log(directory / "shop", [entry(1)])
    ran = run("schema", "show", log)
    assert (ran.code, ran.err) == (2, f"rsm: {log}: this piece of a log declares no schema\n")
