"""Reading the documents and sources as a reader does: fenced blocks, links, headings, and comments on constants."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Block:
    """A fenced block: `language` and `marks` are the words after the fence; `line` is that of its first line."""

    document: str
    line: int
    language: str
    marks: tuple[str, ...]
    text: str

    @property
    def file_name(self) -> str | None:
        """The name of the file that the block shows, when its first line is a comment with a file name."""
        named = re.match(r"# (\w+\.py)\n", self.text)
        return named[1] if named else None

    @property
    def place(self) -> str:
        """Where the block stands, for messages."""
        return f"{self.document}:{self.line}"


def documents(root: Path = ROOT) -> list[Path]:
    """The documents that the tests hold to the code: the README and everything in docs."""
    return [root / "README.md", *sorted((root / "docs").glob("*.md"))]


def blocks(document: Path, root: Path = ROOT) -> Iterator[Block]:
    """The fenced blocks of a document, in order. A fence that is never closed is an error."""
    name = document.relative_to(root).as_posix()
    fence: tuple[int, list[str]] | None = None
    lines: list[str] = []
    for number, line in enumerate(document.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("```"):
            if fence is None:
                fence, lines = (number + 1, line[3:].split()), []
            else:
                first, words = fence
                text = "".join(f"{row}\n" for row in lines)
                yield Block(name, first, words[0] if words else "", tuple(words[1:]), text)
                fence = None
        elif fence is not None:
            lines.append(line)
    if fence is not None:
        raise ValueError(f"{name}:{fence[0]}: the fence is never closed")


def prose(document: Path) -> str:
    """The text of a document with fenced blocks and code spans blanked, line for line."""
    rows, inside = [], False
    for line in document.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = not inside
            rows.append("")
        else:
            rows.append("" if inside else re.sub(r"`[^`]*`", "", line))
    return "\n".join(rows)


def anchors(document: Path) -> set[str]:
    """The anchors that a document's headings make, as GitHub spells them."""
    found, inside = set(), False
    for line in document.read_text(encoding="utf-8").splitlines():
        inside ^= line.startswith("```")
        if not inside and (heading := re.match(r"#+ +(.*)", line)):
            words = re.sub(r"[^\w\- ]", "", heading[1].strip().lower())
            found.add(words.replace(" ", "-"))
    return found


def comment_above(source: str, name: str) -> str:
    """The comment lines directly above the top-level assignment of `name`, without section rules."""
    lines = source.splitlines()
    for node in ast.parse(source).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            above = []
            for line in reversed(lines[: node.lineno - 1]):
                if not line.startswith("#") or line.startswith("# ---"):
                    break
                above.insert(0, line.lstrip("# "))
            return " ".join(above).strip()
    return ""
