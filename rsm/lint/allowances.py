"""Allowances: `# rsm: allow[CODE] reason`, for the line, or before a `def` or `class` for all of it."""

from __future__ import annotations

import ast
import bisect
import re
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from rsm.limits import LINT_ALLOWANCES_MAX
from rsm.lint.rules import CODES
from rsm.lint.scene import Found
from rsm.lint.sources import Comment, Source

__all__ = ["Allowance", "allowances"]

SPEAKS: Final = re.compile(r"#\s*rsm:\s*allow\b(.*)", re.DOTALL)
GRAMMAR: Final = re.compile(r"\[\s*([^\[\]]*?)\s*\](.*)", re.DOTALL)
DEFINITIONS: Final = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Allowance(NamedTuple):
    """One comment: what it allows on which lines, and whether it is well formed."""

    line: int
    column: int
    codes: tuple[str, ...]
    unknown: tuple[str, ...]  # what is no code that can be allowed
    reason: str
    first: int
    last: int

    def covers(self, found: Found) -> bool:
        """Whether a finding lies where this allows its code."""
        return found.code in self.codes and found.line <= self.last and found.last_line >= self.first

    def misuse(self, used: Collection[str]) -> Iterator[tuple[str, str]]:
        """What is wrong with it, as (code, message). `used` are the codes that it has allowed."""
        for name in self.unknown:
            yield "RSM902", f"{name!r} is no code that can be allowed"
        if not self.codes:
            return
        if not self.reason:
            yield "RSM901", f"the allowance of {', '.join(self.codes)} gives no reason"
        for code in self.codes:
            if code not in used:
                yield "RSM903", f"there is no {code} here to allow"


def allowances(source: Source) -> tuple[list[Allowance], bool]:
    """The allowances of a file, by line, and whether these are all of them."""
    found: list[Allowance] = []
    lines: _Lines | None = None
    for line, comment in sorted(source.comments.items()):
        spoken = SPEAKS.search(comment.text)
        if spoken is None:
            continue
        if len(found) == LINT_ALLOWANCES_MAX:
            return found, False
        first = last = line
        if comment.is_alone:
            lines = lines or _Lines(source.tree)
            first, last = lines.below(line)
        found.append(_read(line, comment, spoken[1], first, last))
    return found, True


def _read(line: int, comment: Comment, text: str, first: int, last: int) -> Allowance:
    written = GRAMMAR.match(text.lstrip())
    if written is None:
        return Allowance(line, comment.column, (), ("rsm: allow" + text[:40],), "", first, last)
    names = tuple(name.strip() for name in written[1].split(","))
    codes = tuple(name for name in names if name in CODES and not name.startswith("RSM9"))
    unknown = tuple(name for name in names if name not in codes)
    return Allowance(line, comment.column, codes, unknown, written[2].strip(" \t-:"), first, last)


class _Lines:
    """Where the statements of a file stand."""

    def __init__(self, tree: ast.Module) -> None:
        starts = []
        self.inside: set[int] = set()  # lines in the middle of a simple statement
        for node in ast.walk(tree):
            if isinstance(node, DEFINITIONS):
                first = min([node.lineno, *(one.lineno for one in node.decorator_list)])
                starts.append((first, node.end_lineno or node.lineno))
            elif isinstance(node, ast.stmt):
                starts.append((node.lineno, _head_end(node)))
                if not hasattr(node, "body"):
                    self.inside.update(range(node.lineno + 1, (node.end_lineno or 0) + 1))
        self.starts = sorted(starts)

    def below(self, line: int) -> tuple[int, int]:
        """First and last line of what a comment that has this line to itself speaks of.

        That is the statement below: all of a definition, else its head. Within a statement it is the next line.
        """
        place = bisect.bisect_left(self.starts, (line + 1, 0))
        if line in self.inside or place == len(self.starts):
            return line + 1, line + 1
        return self.starts[place]


def _head_end(node: ast.stmt) -> int:
    body = getattr(node, "body", None)
    if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
        return max(node.lineno, body[0].lineno - 1)
    return node.end_lineno or node.lineno
