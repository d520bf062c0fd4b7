"""A digest of the code that a machine is: what its class is written in, and what that imports from its own package, or
from its own directory if it is in none.

Two nodes with the same digest run the same lines, whatever their files are called; it says nothing of libraries. It is
taken of the source as it lies on the disk when the node starts, so code that was changed in a running process keeps it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from types import ModuleType

from rsm.limits import CODE_MODULES_MAX
from rsm.machine.machine import StateMachine

__all__ = ["code_digest", "code_files"]

DIGEST_CHARACTERS = 16
LIBRARIES = ("site-packages", "dist-packages")


def code_digest(machine: type[StateMachine]) -> str:
    """Hexadecimal, 16 characters; empty where there is no source to read (an interactive class, a frozen program)."""
    files = code_files(machine)
    if not files:
        return ""
    digest = hashlib.sha256()
    for name, source in sorted(files.items()):
        digest.update(f"{name}\0{len(source)}\0".encode() + source)
    return digest.hexdigest()[:DIGEST_CHARACTERS]


def code_files(machine: type[StateMachine]) -> dict[str, bytes]:
    """Source of each module by name: the class's, relative to its package, and what it imports from there."""
    found: dict[str, bytes] = {}
    seen: set[str] = set()
    package = machine.__module__.partition(".")[0]
    home = _home(machine.__module__)
    waiting = [machine.__module__]
    while waiting and len(found) < CODE_MODULES_MAX:
        name = waiting.pop()
        path = _path(name)
        if path is None or path in seen or (source := _source(path)) is None:
            continue
        seen.add(path)
        # A program's own module has another name when it is imported: the same machine, the same digest.
        found["" if name == machine.__module__ else name] = source
        for imported in _imports(name, source):
            first = imported.partition(".")[0]
            if first == package or (home is not None and _home(first) == home and first != "rsm"):
                waiting.append(imported)
    return found


def _home(name: str) -> str | None:
    """The directory in which a module or package lies that is in no other one; None for libraries."""
    path = None if "." in name else _path(name)
    if path is None:
        return None
    directory, file = os.path.split(path)
    home = os.path.dirname(directory) if file == "__init__.py" else directory
    return None if os.path.basename(home) in LIBRARIES else home


def _path(name: str) -> str | None:
    module: ModuleType | None = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if path is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, ValueError, AttributeError):
            return None
        path = None if spec is None else spec.origin
    return os.path.abspath(path) if path is not None and path.endswith(".py") else None


def _source(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return None


def _imports(name: str, source: bytes) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    module = sys.modules.get(name)
    package = getattr(module, "__package__", None) or name.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, base] if base else above)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)
