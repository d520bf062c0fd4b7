"""A process of the show as its parent sees it: started, listened to, killed, and never left behind."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import msgspec

from demos.exits import DemoFailed
from demos.orderbook.messages import Said

# What lies unread between the processes: so little that the one cannot run far ahead of what the other knows of it.
PIPE_BYTES = 8 * 1024
ROOT = Path(__file__).resolve().parents[2]


def environment() -> dict[str, str]:
    """Ours, with this package and the library importable."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path}


class ServiceFailed(DemoFailed):
    """A process ended on its own, and not well; what it said last."""


class Life:
    """One process that runs a module of this package.

    Iterating gives what it says, in order, until it ends. A line that was cut short was never said.
    """

    def __init__(self, module: str, *arguments: object) -> None:
        self._module = module
        self._complaints = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the life is over
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"demos.orderbook.{module}", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._complaints,
            pipesize=PIPE_BYTES,
            env=environment(),
        )
        self._decode = msgspec.json.Decoder(Said).decode

    def __iter__(self) -> Iterator[Said]:
        output = self.process.stdout
        if output is None:
            return
        for line in output:
            if line.endswith(b"\n"):
                yield self._decode(line)

    def go_on(self) -> None:
        """To one that waits for it: do so."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended: its listener finds that out
                self.process.stdin.write(b"\n")
                self.process.stdin.flush()

    def end_input(self) -> None:
        """Say no more: who works until then comes to an end."""
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()

    def kill(self) -> None:
        """SIGKILL: it has no say in it."""
        self.process.kill()

    def wait(self) -> int:
        """Its exit code, below zero for a signal."""
        return self.process.wait()

    def finish(self) -> None:
        """Wait for its end; `ServiceFailed` with its last words if that was not a good one."""
        code = self.wait()
        if code:
            self._complaints.seek(0)
            lines = self._complaints.read().decode("utf-8", "replace").strip().splitlines()
            raise ServiceFailed(lines[-1] if lines else f"the process of {self._module} ended with exit code {code}")

    def __enter__(self) -> Life:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        self._complaints.close()
