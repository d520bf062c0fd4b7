"""How the tests of `replay` call it: in this process, in children that kill themselves, and stopped half-way."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from demos.orderbook.__main__ import main
from demos.orderbook.formats import Source, detect
from demos.orderbook.replay import Job, replay

ROOT = Path(__file__).resolve().parent.parent.parent


class Called(NamedTuple):
    """What a call of the program gave."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON document that it must be."""
        found: dict[str, Any] = json.loads(self.out)
        return found


def call(*arguments: object) -> Called:
    """Run `python -m demos.orderbook replay ...` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["replay", *map(str, arguments)])
    return Called(code, out.getvalue(), err.getvalue())


class Stopped(Exception):
    """Raised by a replay that is stopped half-way."""


def run_until(path: Path, directory: Path, number: int, stop: Callable[[], None], window: int) -> None:
    """Replay a file and call `stop` when message `number` has been applied; up to `window` more are on their way."""

    def advance(applied: int) -> None:
        if applied >= number:
            stop()

    with Source(path) as source:
        for _ in replay(Job(str(path), detect(path), str(directory), window), source, advance):
            pass


def stop_half_way(path: Path, directory: Path, number: int) -> None:
    """Replay a file up to message `number` or a little further, and close the machine in good order."""

    def stop() -> None:
        raise Stopped

    with contextlib.suppress(Stopped):
        run_until(path, directory, number, stop, 64)
        raise AssertionError("the replay came to its end")


def kill_half_way(*jobs: tuple[Path, Path, int, int]) -> Iterator[int]:
    """Replay each (file, directory, number, window) in a process that gets SIGKILL there; yields the wait statuses."""
    lines = "\n".join(json.dumps([str(path), str(directory), *numbers]) for path, directory, *numbers in jobs)
    child = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("killed_replay.py"))],
        input=lines,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=120,
        check=False,
    )
    assert child.returncode == 0, child.stderr
    return map(int, child.stdout.split())
