"""Reading source files: bounded in number, bytes and depth, and never more than their syntax tree."""

from __future__ import annotations

import ast
import io
import os
import stat
import tokenize
import warnings
from collections.abc import Iterator
from typing import Final, NamedTuple

from rsm.limits import LINT_BYTES_MAX, LINT_DEPTH_MAX, LINT_FILE_BYTES_MAX, LINT_FILES_MAX

__all__ = ["Comment", "Reader", "Source", "Unreadable", "python_files"]

SKIPPED: Final = frozenset({"__pycache__", "node_modules", "build", "dist", "site-packages"})


class Comment(NamedTuple):
    """A comment: its column (from 1), its text, and whether it has the line to itself."""

    column: int
    text: str
    is_alone: bool


class Source:
    """One file: its tree, and the comments that may be allowances."""

    def __init__(self, path: str, shown: str, tree: ast.Module, comments: dict[int, Comment]) -> None:
        self.path = path
        self.shown = shown
        self.tree = tree
        self.comments = comments  # by line


class Reader:
    """Reads files once each. What cannot be read is in `unchecked`, with its reason."""

    def __init__(self) -> None:
        self.unchecked: list[str] = []
        self.files = 0
        self.bytes = 0
        self._read: dict[str, Source | None] = {}

    def read(self, path: str) -> Source | None:
        """The source at a path, or None if it cannot be read or parsed."""
        path = os.path.realpath(path)
        if path not in self._read:
            shown = show(path)
            try:
                self._read[path] = self._source(path, shown)
            except Unreadable as reason:
                self._read[path] = None
                self.note(f"{shown}: {reason}")
        return self._read[path]

    def note(self, reason: str) -> None:
        """Remember a reason why something was not checked."""
        if reason not in self.unchecked and len(self.unchecked) < LINT_FILES_MAX:
            self.unchecked.append(reason)

    def _source(self, path: str, shown: str) -> Source:
        if self.files >= LINT_FILES_MAX:
            raise Unreadable(f"not read: {LINT_FILES_MAX} files have been")
        self.files += 1
        try:
            if not stat.S_ISREG(os.stat(path).st_mode):
                raise Unreadable("no regular file")
            with open(path, "rb") as file:
                data = file.read(LINT_FILE_BYTES_MAX + 1)
        except OSError as error:
            raise Unreadable(error.strerror or str(error)) from None
        if len(data) > LINT_FILE_BYTES_MAX:
            raise Unreadable(f"longer than {LINT_FILE_BYTES_MAX} bytes")
        self.bytes += len(data)
        if self.bytes > LINT_BYTES_MAX:
            raise Unreadable(f"not read: {LINT_BYTES_MAX} bytes of source have been")
        tree = parse(data)
        if depth(tree) > LINT_DEPTH_MAX:
            raise Unreadable(f"nested more than {LINT_DEPTH_MAX} deep")
        return Source(path, shown, tree, dict(comments(data)))


class Unreadable(Exception):
    """Why a file cannot be checked."""


def show(path: str) -> str:
    """A path as findings show it: relative to the working directory where it lies in it."""
    relative = os.path.relpath(path)
    return path if relative.startswith(os.pardir) else relative


def parse(data: bytes) -> ast.Module:
    """The tree of a file; `Unreadable` with the line where it is no Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes and comparisons, which are not ours to judge
            return ast.parse(data)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise Unreadable(f"{where}no Python: {error.msg}") from None
    except ValueError as error:
        raise Unreadable(f"no Python: {error}") from None
    except (RecursionError, MemoryError):
        raise Unreadable("nested too deeply to be read") from None


def depth(tree: ast.AST) -> int:
    """How deep the tree is nested, counted up to one more than the bound. Chains of `elif` and long sums are flat."""
    level: list[ast.AST] = [tree]
    deep = 0
    while level and deep <= LINT_DEPTH_MAX:
        deep += 1
        below: list[ast.AST] = []
        # It grows while it is gone through: an `elif` is on the level of its `if`, and so is each part of a long sum.
        for node in level:
            for child in ast.iter_child_nodes(node):
                is_elif = isinstance(child, ast.If) and isinstance(node, ast.If) and child in node.orelse
                is_sum = isinstance(child, ast.BinOp) and isinstance(node, ast.BinOp) and child is node.left
                (level if is_elif or is_sum else below).append(child)
        level = below
    return deep


def comments(data: bytes) -> Iterator[tuple[int, Comment]]:
    """The comments that speak to rsm, by line."""
    if b"rsm:" not in data:
        return
    try:
        for token in tokenize.tokenize(io.BytesIO(data).readline):
            if token.type == tokenize.COMMENT and "rsm:" in token.string:
                column = token.start[1]
                yield token.start[0], Comment(column + 1, token.string, not token.line[:column].strip())
    except (tokenize.TokenError, SyntaxError, ValueError):
        return  # the parser has read it; what tokenize cannot has no comments for us


def python_files(directory: str) -> Iterator[str]:
    """Every Python file below a directory, in order, without what belongs to tools and environments."""
    for where, below, names in os.walk(directory):
        below[:] = sorted(
            name
            for name in below
            if name not in SKIPPED
            and not name.startswith(".")
            and not os.path.exists(os.path.join(where, name, "pyvenv.cfg"))
        )
        for name in sorted(names):
            if name.endswith(".py"):
                yield os.path.join(where, name)
