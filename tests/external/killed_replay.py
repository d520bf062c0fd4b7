"""A program: for each line [file, directory, message, window] on stdin, a process that dies by SIGKILL in a replay.

The processes are forked, so that the imports are paid once. Prints the wait status of each.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, os.getcwd())

from tests.external.replaying import run_until


def die() -> None:
    """End as a power cut ends a process: nothing is flushed, nothing is closed."""
    os.kill(os.getpid(), signal.SIGKILL)


for line in sys.stdin:
    path, directory, number, window = json.loads(line)
    child = os.fork()
    if not child:
        run_until(Path(path), Path(directory), number, die, window)
        os._exit(0)
    print(os.waitpid(child, 0)[1])
