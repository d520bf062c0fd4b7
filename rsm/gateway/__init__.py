"""The gateway: a machine's commands, queries and feed for browsers and whatever else speaks HTTP and JSON.

`rsm.gateway.app(machine, addresses)` is an ASGI application; `rsm gateway` serves it. It needs the extra `gateway`.
"""

from __future__ import annotations

try:
    import starlette  # noqa: F401  # only to say what is missing
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "the gateway needs starlette, uvicorn and websockets: pip install 'rsm-toolkit[gateway]'", name=error.name
    ) from error

from rsm.gateway.application import app

__all__ = ["app"]
