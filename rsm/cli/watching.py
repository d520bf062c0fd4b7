"""Looking at a running cluster again and again, as `rsm status --watch` and `rsm desync watch` do."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rsm.cli.errors import UNCHECKED
from rsm.cli.output import print_json_line
from rsm.client.survey import Survey, survey
from rsm.client.tool import Access

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["WATCH_SECONDS", "Look", "watching"]

# How often a watched cluster is asked unless told otherwise, and how long a node may then take: one that hangs must not
# hold up the others.
WATCH_SECONDS: Final = 1.0
WATCH_ANSWER_SECONDS: Final = 1.0


class Look(NamedTuple):
    """What to make of each survey: the exit code if it was the last, a JSON document, a table for a terminal, which
    takes the place of the one before, or lines to print.
    """

    code: Callable[[Survey], int]
    document: Callable[[Survey], Any]
    draw: Callable[[Survey], Table]
    write: Callable[[Survey], None]


def watching(access: Access, look: Look, *, as_json: bool, seconds: float) -> int:
    """Ask every so many seconds until interrupted; the exit code is that of the last answers."""
    code = UNCHECKED
    live = None
    try:
        if not as_json and sys.stdout.isatty():
            from rich.live import Live

            live = Live(auto_refresh=False)
            live.start()
        while True:
            found = survey(access, seconds=WATCH_ANSWER_SECONDS)
            code = look.code(found)
            if as_json:
                print_json_line(look.document(found))
            elif live is not None:
                live.update(look.draw(found), refresh=True)
            else:
                look.write(found)
            sys.stdout.flush()
            time.sleep(seconds)
    except KeyboardInterrupt:
        return code
    finally:
        if live is not None:
            live.stop()
