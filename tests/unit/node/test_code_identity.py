"""The digest of a machine's code: what belongs to the machine changes it, and nothing else does."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from rsm.node.agreement.code_identity import code_digest, code_files

MACHINE = """import json

import rsm
{imports}

class Shop(rsm.StateMachine, name="shop", version=1):
    total: int
"""


def files_of(directory: Path, module: str, monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], str]:
    """Names and digest of the machine in a module below a directory."""
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(directory))
        patch.setattr(sys, "modules", dict(sys.modules))
        importlib.invalidate_caches()
        machine = importlib.import_module(module).Shop
        return set(code_files(machine)), code_digest(machine)


def test_a_module_beside_the_machine_belongs_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine in no package has its prices in a file beside it, and theirs in another; libraries do not count."""
    digests = set()
    for name, price in (("one", 1), ("same", 1), ("other", 2)):
        (tmp_path / name / "tables").mkdir(parents=True)
        (tmp_path / name / "flat_shop.py").write_text(MACHINE.format(imports="import flat_prices"))
        (tmp_path / name / "flat_prices.py").write_text("from tables import small\nimport flat_shop\n")
        (tmp_path / name / "tables" / "__init__.py").write_text("")
        (tmp_path / name / "tables" / "small.py").write_text(f"PRICE = {price}\n")
        files, digest = files_of(tmp_path / name, "flat_shop", monkeypatch)
        assert files == {"", "flat_prices", "tables", "tables.small"}
        digests.add(digest)
    assert len(digests) == 2


def test_a_package_is_looked_into_and_nothing_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a package imports from elsewhere is a library to it."""
    (tmp_path / "packed").mkdir()
    (tmp_path / "packed" / "__init__.py").write_text("")
    (tmp_path / "packed" / "prices.py").write_text("PRICE = 1\n")
    (tmp_path / "packed" / "shop.py").write_text(MACHINE.format(imports="import beside\nfrom . import prices"))
    (tmp_path / "beside.py").write_text("")
    assert files_of(tmp_path, "packed.shop", monkeypatch)[0] == {"", "packed", "packed.prices"}


def test_installed_modules_are_libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that is installed as a module of its own does not answer for what is installed beside it."""
    place = tmp_path / "site-packages"
    place.mkdir()
    (place / "lone_shop.py").write_text(MACHINE.format(imports="import lone_library"))
    (place / "lone_library.py").write_text("")
    assert files_of(place, "lone_shop", monkeypatch)[0] == {""}
