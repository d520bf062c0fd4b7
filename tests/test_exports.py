"""The public face is one list: `rsm/__init__.py` re-exports sorted names, each of which says what it is."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path

import pytest

import rsm
from tests.documents import ROOT, comment_above

FACE = ROOT / "rsm" / "__init__.py"


def order(name: str) -> tuple[int, list[tuple[int, str]]]:
    """How names sort, as ruff's RUF022 has it: constants, classes, functions; digits inside a name by value."""
    group = 0 if name.isupper() else 1 if name[:1].isupper() else 2
    return group, [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", name)]


def foreign_statements(source: str) -> list[str]:
    """What stands in `source` besides a docstring, imports of names from rsm or msgspec, and `__all__`."""
    found = []
    for position, node in enumerate(ast.parse(source).body):
        match node:
            case ast.Expr(value=ast.Constant(value=str())) if position == 0:
                continue
            case ast.ImportFrom(module="__future__"):
                continue
            case ast.ImportFrom(module=str(module)) if module.split(".")[0] in ("rsm", "msgspec"):
                continue
            case ast.ImportFrom(level=1):
                continue
            case ast.Assign(targets=[ast.Name(id="__all__")]):
                continue
        found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


def origin(module: str, name: str) -> tuple[str, str]:
    """Follow the re-exports of `name` in `module` to the module that defines it, and its name there."""
    file = importlib.import_module(module).__file__
    if file is None or not module.startswith("rsm"):
        return module, name
    package = module if file.endswith("__init__.py") else module.rpartition(".")[0]
    for node in ast.parse(Path(file).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    base = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
                    return origin(".".join([*base, *([node.module] if node.module else [])]), alias.name)
    return module, name


def undocumented(name: str) -> str | None:
    """Why the public `name` does not say what it is, or None when it does."""
    value = getattr(rsm, name)
    if callable(value):
        text = value.__dict__.get("__doc__") if isinstance(value, type) else value.__doc__
        return None if text and text.strip() else f"{name} has no docstring"
    module, original = origin("rsm", name)
    file = importlib.import_module(module).__file__
    if file is None or not comment_above(Path(file).read_text(encoding="utf-8"), original):
        return f"{name} has no comment above it in {module}"
    return None


def test_the_face_only_re_exports() -> None:
    """`rsm/__init__.py` is a docstring, imports of names, and `__all__`."""
    assert foreign_statements(FACE.read_text(encoding="utf-8")) == []


def test_the_list_is_what_is_imported() -> None:
    """`__all__` holds each imported name once, in order, nothing private, and every name exists."""
    imported = {
        alias.asname or alias.name
        for node in ast.parse(FACE.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.module != "__future__"
        for alias in node.names
    }
    assert list(rsm.__all__) == sorted(set(rsm.__all__), key=order)
    assert set(rsm.__all__) == imported
    assert [name for name in rsm.__all__ if name.startswith("_") or not hasattr(rsm, name)] == []


def test_every_public_name_says_what_it_is() -> None:
    """A class or function has a docstring of its own; a constant has a comment where it is defined."""
    assert len(rsm.__all__) > 10
    assert [reason for name in rsm.__all__ if (reason := undocumented(name))] == []


@pytest.mark.parametrize(
    "statement",
    ["import os", "VALUE = 1", "def helper(): ...", "from os import path", "if True:\n    from rsm import errors"],
)
def test_a_planted_statement_is_found(statement: str) -> None:
    """The rule that the face only re-exports bites."""
    imports = "from __future__ import annotations\nfrom rsm.errors import Busy\n"
    source = f'"""Face."""\n{imports}{statement}\n__all__ = ["Busy"]\n'
    assert len(foreign_statements(source)) == 1


def test_names_sort_by_kind_then_alphabet() -> None:
    """The order is the one that the linter writes, so the two cannot contradict each other."""
    assert sorted(["open", "command", "Set", "SECOND", "Map", "MILLISECOND"], key=order) == [
        "MILLISECOND",
        "SECOND",
        "Map",
        "Set",
        "command",
        "open",
    ]


def test_a_comment_counts_only_directly_above() -> None:
    """A section rule, or a comment with a gap, documents no constant."""
    source = "# --- section ---\nA = 1\n# far\n\nB = 2\n# why\nC = 3\n"
    assert [comment_above(source, name) for name in "ABC"] == ["", "", "why"]
