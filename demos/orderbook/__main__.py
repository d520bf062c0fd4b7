"""`python -m demos.orderbook`: replay recorded markets, run an exchange, or watch the shows."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Final

USAGE: Final = """\
usage: python -m demos.orderbook COMMAND ...

Commands:
  replay FILE   run a recorded market through a durable machine, message by message, and check it
  show          a generated market on three nodes: leader killed, a follower emptied, drawn in the terminal
  exchange      a market on a cluster with its public face: a page, Kraken's feed, ITCH 5.0 with GLIMPSE
  upgrade       an exchange on three nodes goes from version 1 to 3 under load, and an unsafe release is found

python -m demos.orderbook COMMAND --help says more.
"""
# What the extra `demos` brings.
EXTRA: Final = frozenset({"numpy", "starlette", "uvicorn", "websockets"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands; returns the exit code."""
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or [""]
    if name in ("replay", "show", "exchange", "upgrade"):
        # Imported when called: each has dependencies of its own.
        try:
            module = importlib.import_module(f"demos.orderbook.{name}")
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in EXTRA:
                raise
            sys.stderr.write(f"{name}: it needs {missing}: pip install '.[demos]', in the clone\n")
            return 2
        return int(module.main(rest))
    if name in ("-h", "--help"):
        sys.stdout.write(USAGE)
        return 0
    sys.stderr.write(
        f"orderbook: no command {name!r}: replay, show, exchange or upgrade (--help says more)\n" if name else USAGE
    )
    return 2


if __name__ == "__main__":
    sys.exit(main())
