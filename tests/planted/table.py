"""The table "Which tool finds what" of docs/determinism.md: made from a run, kept between two marks of the page."""

from __future__ import annotations

from pathlib import Path

from tests.planted.faults import FAULTS
from tests.planted.seen import TOOLS, UNCHECKED

PAGE = Path(__file__).resolve().parents[2] / "docs" / "determinism.md"
BEGIN = "<!-- planted faults: made by `python -m tests.planted --write` -->"
END = "<!-- end of planted faults -->"
HEAD = ("fault", *TOOLS)

Rows = dict[str, dict[str, str]]  # title of the fault -> tool -> text of the cell


def render(rows: Rows) -> str:
    """The table as Markdown."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    lines += [f"| {' | '.join([title, *(cells[tool] for tool in TOOLS)])} |" for title, cells in rows.items()]
    return "\n".join(lines)


def read(page: str) -> Rows:
    """The table that a page shows."""
    text = page.partition(BEGIN)[2].partition(END)[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]
    return {title: dict(zip(TOOLS, rest, strict=True)) for title, *rest in cells}


def merged(run: Rows, shown: Rows) -> Rows:
    """The rows of a run; what could not be run here stays as it is shown."""
    rows: Rows = {}
    for fault in FAULTS:
        old, new = shown.get(fault.title, {}), run.get(fault.title, {})
        cells = {tool: new.get(tool, UNCHECKED) for tool in TOOLS}
        rows[fault.title] = {
            tool: old.get(tool, UNCHECKED) if cell == UNCHECKED else cell for tool, cell in cells.items()
        }
    return rows


def replaced(page: str, rows: Rows) -> str:
    """The page with this table in it."""
    head, begin, rest = page.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise LookupError(f"{PAGE}: the marks of the table are missing")
    return f"{head}{BEGIN}\n\n{render(rows)}\n\n{END}{tail}"
