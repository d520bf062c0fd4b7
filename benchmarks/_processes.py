"""Child processes of the benchmarks: started in groups of their own, asked by JSON lines, ended by their id.

Whatever becomes of the benchmark, its children end: it stops them itself, a child that reads lines ends with its
stdin, and on Linux the kernel kills what is left when the benchmark dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from _common import ROOT

STOP_SECONDS_MAX = 5.0
ANSWER_SECONDS_MAX = 60.0
# How much of a child's stderr an error shows.
ERROR_CHARACTERS_MAX = 2000
PR_SET_PDEATHSIG = 1
CLOCK_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ChildFailed(RuntimeError):
    """A child ended, or did not answer in time."""


class Child:
    """One process in a group of its own; what it says on stderr (and on stdout, unless it talks) goes to a file."""

    def __init__(self, name: str, arguments: Sequence[str], directory: Path, *, talks: bool = False) -> None:
        self.name = name
        self.arguments = list(arguments)
        self._log = directory / f"{name}.stderr"
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self.arguments,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else log,
                stderr=log,
                bufsize=0,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "benchmarks")))},
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self._unread = b""

    @property
    def pid(self) -> int:
        """Its id; its group has the same."""
        return self.process.pid

    def tell(self, action: str, **values: Any) -> None:
        """Ask for something; `hear` gets the answer."""
        line = json.dumps({"do": action} | values) + "\n"
        with self._failing("took no order"):
            assert self.process.stdin is not None
            self.process.stdin.write(line.encode())

    def hear(self, seconds_max: float = ANSWER_SECONDS_MAX) -> dict[str, Any]:
        """The answer to the oldest question."""
        assert self.process.stdout is not None
        descriptor, deadline = self.process.stdout.fileno(), time.monotonic() + seconds_max
        while b"\n" not in self._unread:
            ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
            data = os.read(descriptor, 1 << 16) if ready else b""
            if not data:
                raise ChildFailed(f"{self.name} {'ended' if ready else 'did not answer'}: {self.last_words()}")
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise ChildFailed(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, action: str, *, seconds_max: float = ANSWER_SECONDS_MAX, **values: Any) -> dict[str, Any]:
        """Tell and hear."""
        self.tell(action, **values)
        return self.hear(seconds_max)

    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        with contextlib.suppress(OSError):
            return self._log.read_text(encoding="utf-8", errors="replace")[-ERROR_CHARACTERS_MAX:].strip()
        return ""

    @contextlib.contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ChildFailed(f"{self.name} {what} ({error}): {self.last_words()}") from None

    def signal(self, number: int) -> None:
        """Send a signal to its group, if it still runs."""
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def stop(self, *, politely: bool = True) -> None:
        """End it and its group, with force if it does not go by itself."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        for number in (signal.SIGTERM, signal.SIGKILL) if politely else (signal.SIGKILL,):
            self.signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS_MAX)
                return


def _die_with_parent() -> None:
    """Between fork and exec: the kernel kills this process when its parent dies."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def stop_all(children: Sequence[Child]) -> None:
    """End all: asked together, so that their ends take no longer than the slowest one's."""
    for child in children:
        child.signal(signal.SIGTERM)
    for child in children:
        child.stop()


@contextlib.contextmanager
def ending_by_signal() -> Iterator[None]:
    """SIGTERM ends the benchmark as an exception, so that everything is cleaned up."""

    def end(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def processor_seconds(pids: Sequence[int]) -> float:
    """Processor time that these processes have used in all their threads, from /proc."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / CLOCK_TICKS_PER_SECOND


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in use, from /proc."""
    return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES


def directory_bytes(path: Path, pattern: str = "*") -> int:
    """What the files below a directory take; files may come and go meanwhile."""
    total = 0
    for found in path.rglob(pattern):
        with contextlib.suppress(OSError):
            total += found.stat().st_size if found.is_file() else 0
    return total


def until(condition: Any, what: str, seconds_max: float, every_seconds: float = 0.05) -> Any:
    """Wait until a condition holds; its value."""
    deadline = time.monotonic() + seconds_max
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise ChildFailed(f"{what}: not within {seconds_max} s")
        time.sleep(every_seconds)
    return found
