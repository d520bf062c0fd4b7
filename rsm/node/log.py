"""The local log: structlog's key-value events, handed to the standard library's logger "rsm".

A library must not print by itself; applications see warnings and errors on standard error unless they configure more.
structlog is imported when something is logged: it would take a third of the time of `import rsm`.
"""

from __future__ import annotations

import functools
import logging
from typing import Any, Final

from rsm.errors import RsmError
from rsm.limits import LINES_LOGGED_PER_SECOND


def describe(error: BaseException) -> str:
    """One line about an error: its text if it is ours, else with the name of its type, which may be all there is."""
    if isinstance(error, RsmError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def render(wrapped: Any, method: str, event: Any) -> str:
    """Key-value pairs on one line; a traceback below them, as text."""
    import structlog

    trace = event.pop("traceback", "") or event.pop("exception", "")
    pairs = structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True)(wrapped, method, event)
    return f"{pairs}\n{trace}".rstrip()


@functools.cache
def processors() -> list[Any]:
    """What an event goes through. A node's process exchanges the last step (rsm.node.telemetry)."""
    import structlog

    return [
        structlog.stdlib.filter_by_level,
        structlog.stdlib.add_log_level,
        structlog.processors.format_exc_info,
        render,
    ]


class _Logger:
    """structlog's logger, made when it is first used."""

    def __getattr__(self, name: str) -> Any:
        return getattr(_made(), name)


@functools.cache
def _made() -> Any:
    import structlog

    return structlog.wrap_logger(
        logging.getLogger("rsm"), wrapper_class=structlog.stdlib.BoundLogger, processors=processors()
    )


logger: Any = _Logger()

SECOND: Final = 1.0


class Seldom:
    """Keeps lines that others cause from filling the log: in a second each kind is logged once, the rest is counted.

    ::

        passed_over = seldom.turn("query_failed", now)
        if passed_over is not None:
            logger.error("query_failed", passed_over=passed_over)

    It needs no timer: what was passed over is told with the next line that is logged.
    """

    def __init__(self, lines_max: int = LINES_LOGGED_PER_SECOND) -> None:
        """`lines_max`: in a second, of different kinds."""
        self._lines_max = lines_max
        self._kinds: set[str] = set()  # logged in the second that runs
        self._until = 0.0
        self._passed_over = 0

    def turn(self, kind: str, now: float) -> int | None:
        """None: pass this line over. Else log it, and say that so many others were passed over before it.

        `now`: seconds of a clock that does not go back.
        """
        if now >= self._until:
            self._kinds.clear()
            self._until = now + SECOND
        if kind in self._kinds or len(self._kinds) >= self._lines_max:
            self._passed_over += 1
            return None
        self._kinds.add(kind)
        passed_over, self._passed_over = self._passed_over, 0
        return passed_over
