"""What a tool came to, in a form that a table can show and a test can compare."""

from __future__ import annotations

from typing import Any, NamedTuple

TOOLS = ("lint", "strict", "live", "compare", "replay")
NO = "no"
UNCHECKED = "not run here"
PATHS_SHOWN = 2


class Seen(NamedTuple):
    """Of one tool, about one fault. `what`: a rule, a kind, a way of replaying; empty if the tool found nothing."""

    what: str = ""
    index: int | None = None
    paths: tuple[str, ...] = ()
    who: str = ""

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
        parts += [f"`{path}`" for path in self.paths[:PATHS_SHOWN]]
        more = len(self.paths) - PATHS_SHOWN
        return ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def codes(found: Any) -> str:
    """The rules of findings, each once, in the order of their codes."""
    return " ".join(f"`{code}`" for code in sorted({one.code for one in found}))
