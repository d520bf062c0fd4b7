"""`python -m demos.rts_lockstep`: host a match, join one, watch bots, play a log back, plant the deer bug."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Final

USAGE: Final = """\
usage: python -m demos.rts_lockstep COMMAND ...

Commands:
  host          start a match on this machine, with a page to play it and a line for the others to join
  join ADDRESS  enter a match from this or another machine: as a player with its token, or to look on
  bots N        a match of N scripted players in N processes, to its result, in the terminal
  replay LOG    play a recorded match back, every state root checked, with a page to scrub through it
  desync        plant the deer bug in one client, and watch it be named and healed

python -m demos.rts_lockstep COMMAND --help says more.
"""
COMMANDS: Final = {
    "host": "hosting",
    "join": "joining",
    "bots": "watching",
    "replay": "replaying",
    "desync": "desyncing",
}

# What the extra `demos` brings.
EXTRA: Final = frozenset({"numpy", "starlette", "uvicorn", "websockets"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands; returns the exit code."""
    name, *rest = (sys.argv[1:] if arguments is None else list(arguments)) or [""]
    if name in COMMANDS:
        # Imported when called: each has dependencies of its own.
        try:
            module = importlib.import_module(f"demos.rts_lockstep.commands.{COMMANDS[name]}")
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
    known = ", ".join(COMMANDS)
    sys.stderr.write(f"rts_lockstep: no command {name!r}: {known} (--help says more)\n" if name else USAGE)
    return 2


if __name__ == "__main__":
    sys.exit(main())
