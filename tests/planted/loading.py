"""Checkouts of a planted machine: a directory with `planted_machine.py`, and copies of it loaded side by side.

Each node of a cluster in one process gets a module of its own, so that module variables and caches are as separate as
in processes. What differs between checkouts is one line of the source, or the release of the library beside it.
"""

from __future__ import annotations

import importlib.util
import shutil
import sys
from itertools import count
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MODULE = "planted_machine"
LIBRARY = "planted_fees"
_copies = count(1)


def checkout(directory: Path, module: str, change: tuple[str, str] | None = None, library: str = "old") -> Path:
    """Write a checkout: the source of a machine, with one line changed if told so, and a release of the library."""
    directory.mkdir(parents=True)
    source = (HERE / "machines" / f"{module}.py").read_text()
    if change is not None:
        assert source.count(change[0]) == 1, change
        source = source.replace(*change)
    (directory / f"{MODULE}.py").write_text(source)
    if f"import {LIBRARY}" in source:
        shutil.copy(HERE / "libraries" / library / f"{LIBRARY}.py", directory)
    return directory


def load(directory: Path, name: str) -> Any:
    """The class of that name from a checkout, in a module that nobody else has."""
    path = directory / f"{MODULE}.py"
    spec = importlib.util.spec_from_file_location(f"{MODULE}_{next(_copies)}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(directory))
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(directory))
        sys.modules.pop(LIBRARY, None)
    return getattr(module, name)


def forget() -> None:
    """Take the copies out of the list of modules again."""
    for name in [name for name in sys.modules if name.startswith(f"{MODULE}_")]:
        del sys.modules[name]
