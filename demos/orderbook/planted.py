"""The exchange with a way to break one process of it: SIGUSR1 changes one character of the matching in memory.

    rsm cluster up --machine demos.orderbook.planted:OrderBook ...      # then: kill -USR1 PID

From then on that process takes `remaining <= last_quantity` where the others take `<`: an order that is filled to the
last share stays in the book, with nothing left of it. Its files, its version and the digest of its code are those of
the others, as after a bad patch, a bad core or a flipped bit: only what it computes is not. A new process is sound.
"""

from __future__ import annotations

import inspect
import signal
import textwrap
from typing import Final

from demos.orderbook import matching
from demos.orderbook.machine import OrderBook

__all__ = ["BROKEN", "SOUND", "OrderBook", "plant"]

SOUND: Final = "remaining < last_quantity"
BROKEN: Final = "remaining <= last_quantity"


def plant(*_: object) -> None:
    """Put the bug in. Safe between two bytecodes: a call that runs goes on as it was."""
    source = textwrap.dedent(inspect.getsource(matching.Matching._take))
    if source.count(SOUND) != 1:
        raise LookupError(f"the matching has no line with {SOUND!r} any more, or several")
    made: dict[str, object] = {}
    exec(compile(source.replace(SOUND, BROKEN), "matching.py with a bug", "exec"), vars(matching), made)
    matching.Matching._take = made["_take"]  # type: ignore[assignment,method-assign]


signal.signal(signal.SIGUSR1, plant)
