"""The local log: structlog's key-value events, handed to the standard library's logger "rsm".

A library must not print by itself; applications see warnings and errors on standard error unless they configure more.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

from rsm.errors import RsmError


def describe(error: BaseException) -> str:
    """One line about an error: its text if it is ours, else with the name of its type, which may be all there is."""
    if isinstance(error, RsmError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def render(wrapped: Any, method: str, event: Any) -> str:
    """Key-value pairs on one line; a traceback below them, as text."""
    trace = event.pop("traceback", "") or event.pop("exception", "")
    pairs = structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True)(wrapped, method, event)
    return f"{pairs}\n{trace}".rstrip()


# What an event goes through. A node's process exchanges the last step (rsm.node.telemetry).
PROCESSORS: list[Any] = [
    structlog.stdlib.filter_by_level,
    structlog.stdlib.add_log_level,
    structlog.processors.format_exc_info,
    render,
]

logger: Any = structlog.wrap_logger(
    logging.getLogger("rsm"), wrapper_class=structlog.stdlib.BoundLogger, processors=PROCESSORS
)
