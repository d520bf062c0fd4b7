"""What a tool came to, in a form that a table can show and a test can compare."""

from __future__ import annotations

from typing import Any, NamedTuple

TOOLS = ("lint", "strict", "live", "compare", "replay")
NO = "no"
UNCHECKED = "not run here"
PATHS_SHOWN = 2


class Seen(NamedTuple):
    """Of one tool, about one fault. `what`: a rule, a kind, a way of replaying; empty if the tool found nothing.

    `index` is a hash point where roots were compared, else the entry; `command` the entry that the evidence names.
    """

    what: str = ""
    index: int | None = None
    paths: tuple[str, ...] = ()
    who: str = ""
    command: int | None = None  # where that is not the index found

    @property
    def text(self) -> str:
        """The cell of the table."""
        if not self.what:
            return NO
        parts = [self.what]
        if self.index is not None:
            parts.append(f"index {self.index}")
        if self.who:
            parts.append(self.who)
        if self.command is not None:
            parts.append(f"command {self.command}")
        parts += [f"`{path}`" for path in self.paths[:PATHS_SHOWN]]
        more = len(self.paths) - PATHS_SHOWN
        return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def codes(found: Any) -> str:
    """The rules of findings, each once, in the order of their codes."""
    return " ".join(f"`{code}`" for code in sorted({one.code for one in found}))
