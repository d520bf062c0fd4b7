"""A supervisor for the processes of a local cluster, in the spirit of Erlang's.

The core, `Restarts`, decides and does nothing: told that a child ended at a time, it answers what to do. A child that
crashed is started again after a pause that doubles; one that crashes as soon as it runs uses up the restarts of the
window, and then everything stops: to go on restarting would only hide the fault. A child that *refused* (exit code 1 or
2: damage was found, or usage, configuration or directory are wrong) would refuse again, so it stays down, and its last
words are shown. One that ended with 0 was asked to, and stays down too.

The shell, `Supervisor`, starts, watches and ends processes. It has no thread: its owner calls `tick`, from a thread
that lives as long as the children may. Each child has its own process group, so that Ctrl-C reaches the supervisor
only, which then ends all in good order; where the system can, a child is killed when the supervisor dies in whatever
way.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal

import msgspec

from rsm.errors import CallerError
from rsm.limits import (
    CHILD_LOG_BYTES_SHOWN,
    CHILD_STOP_SECONDS_MAX,
    RESTART_PAUSE_SECONDS_MAX,
    RESTART_PAUSE_SECONDS_MIN,
    RESTART_WINDOW_SECONDS,
    RESTARTS_MAX,
)

__all__ = [
    "Child",
    "Event",
    "GiveUp",
    "Policy",
    "Restart",
    "Restarts",
    "StayDown",
    "Supervisor",
    "ending",
    "last_lines",
]

# Exit codes with which a program of ours says that another try would end alike.
REFUSALS: Final = frozenset({1, 2})


# --- the core ---------------------------------------------------------------------------------------------------------


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How many restarts of all children together, in which window, after which pauses."""

    restarts_max: int = RESTARTS_MAX
    window_seconds: float = RESTART_WINDOW_SECONDS
    pause_seconds_min: float = RESTART_PAUSE_SECONDS_MIN
    pause_seconds_max: float = RESTART_PAUSE_SECONDS_MAX

    def __post_init__(self) -> None:
        if not 0 < self.pause_seconds_min <= self.pause_seconds_max or self.restarts_max < 0:
            raise CallerError("a policy needs pauses above 0, the longest last, and restarts from 0")
        if self.restarts_max * self.pause_seconds_max >= self.window_seconds:
            raise CallerError("with pauses as long as these a child that always dies would never be given up")


class Restart(msgspec.Struct, frozen=True):
    """Start it again after this pause."""

    pause_seconds: float


class StayDown(msgspec.Struct, frozen=True):
    """Leave it. `is_refusal`: not because it was asked to end."""

    is_refusal: bool


class GiveUp(msgspec.Struct, frozen=True):
    """Stop everything."""

    reason: str


Decision = Restart | StayDown | GiveUp


class Restarts:
    """What to do when a child ends."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._recent: deque[float] = deque()  # when restarts were decided, within the window
        self._pauses: dict[str, tuple[float, float]] = {}  # child -> its last pause, and when it was decided

    def ended(self, name: str, code: int, now: float) -> Decision:
        """A child ended with this code (negative: by a signal); `now` never falls."""
        if code == 0 or code in REFUSALS:
            return StayDown(is_refusal=code != 0)
        policy = self.policy
        while self._recent and now - self._recent[0] > policy.window_seconds:
            self._recent.popleft()
        if len(self._recent) >= policy.restarts_max:
            return GiveUp(
                f"{name} {ending(code)} after {len(self._recent)} restarts in {policy.window_seconds:g} seconds"
            )
        self._recent.append(now)
        pause, decided = self._pauses.get(name, (0.0, now))
        is_first = not pause or now - decided > policy.window_seconds
        pause = policy.pause_seconds_min if is_first else min(2 * pause, policy.pause_seconds_max)
        self._pauses[name] = pause, now
        return Restart(pause)


def ending(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with exit code {code}"
    with contextlib.suppress(ValueError):
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


# --- the shell --------------------------------------------------------------------------------------------------------


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A process to run. What it prints goes to the end of the file `log_path`; `environment` is added to ours."""

    name: str
    argv: Sequence[str]
    log_path: str
    environment: Mapping[str, str] = {}
    directory: str | None = None


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something to tell. `last_lines` of its log, where a child failed."""

    child: str
    kind: Literal["started", "ended", "restarting", "refused", "gave_up"]
    text: str
    last_lines: str = ""


class _Running:
    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.start_at: float | None = 0.0  # None: not to be started
        self.code: int | None = None


class Supervisor:
    """Runs children until it is stopped or gives up. Call `tick` every tenth of a second; a context manager that
    stops.
    """

    def __init__(
        self, children: Sequence[Child], policy: Policy | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if len({child.name for child in children}) != len(children):
            raise CallerError("children must have different names")
        self.failure: str | None = None  # why it gave up
        self._restarts = Restarts(Policy() if policy is None else policy)
        self._clock = clock
        self._running = {child.name: _Running(child) for child in children}

    def pid(self, name: str) -> int | None:
        """The process of a child, None while it is down."""
        process = self._running[name].process
        return None if process is None else process.pid

    def exit_code(self, name: str) -> int | None:
        """The last exit code of a child, None if it never ended."""
        return self._running[name].code

    @property
    def is_over(self) -> bool:
        """Whether nothing runs and nothing will."""
        return all(running.process is None and running.start_at is None for running in self._running.values())

    def tick(self) -> list[Event]:
        """Start what is due, look who ended; returns what happened."""
        events: list[Event] = []
        for running in self._running.values():
            process = running.process
            if process is not None and process.poll() is not None:
                running.process, running.code = None, process.returncode
                events += self._ended(running, process.returncode)
            if self.failure is not None:
                self.stop()
                break
            if running.process is None and running.start_at is not None and running.start_at <= self._clock():
                events.append(self._start(running))
        return events

    def _start(self, running: _Running) -> Event:
        child = running.child
        running.start_at = None
        with open(child.log_path, "ab") as log:
            # Of its own process group: a Ctrl-C on the terminal is the supervisor's to pass on.
            running.process = subprocess.Popen(
                child.argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=child.directory,
                env={**os.environ, **child.environment},
                preexec_fn=_die_with(os.getpid()),
                process_group=0,
            )
        return Event(child=child.name, kind="started", text=f"started as process {running.process.pid}")

    def _ended(self, running: _Running, code: int) -> list[Event]:
        name, now = running.child.name, self._clock()
        decision = self._restarts.ended(name, code, now)
        if isinstance(decision, Restart):
            running.start_at = now + decision.pause_seconds
            text = f"{ending(code)}; starts again in {decision.pause_seconds:g} seconds"
            return [Event(child=name, kind="restarting", text=text)]
        if isinstance(decision, StayDown) and not decision.is_refusal:
            return [Event(child=name, kind="ended", text=ending(code))]
        lines = last_lines(running.child.log_path)
        if isinstance(decision, StayDown):
            text = f"{ending(code)}, and would do so again: it stays down"
            return [Event(child=name, kind="refused", text=text, last_lines=lines)]
        self.failure = decision.reason
        return [Event(child=name, kind="gave_up", text=f"giving up: {decision.reason}", last_lines=lines)]

    def stop(self, *, grace_seconds: float = CHILD_STOP_SECONDS_MAX) -> None:
        """End all: ask (SIGTERM), wait, then kill. Returns when they are gone. May be called twice."""
        for running in self._running.values():
            running.start_at = None
            self._signal(running, signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        for running in self._running.values():
            process = running.process
            if process is None:
                continue
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._signal(running, signal.SIGKILL)
                process.wait()
            running.process, running.code = None, process.returncode

    def _signal(self, running: _Running, number: int) -> None:
        # `poll` first, so that a number that the system has given to somebody else by now is never signalled.
        if running.process is not None and running.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                running.process.send_signal(number)

    def __enter__(self) -> Supervisor:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def last_lines(path: str) -> str:
    """The end of a child's log, from the beginning of a line."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - CHILD_LOG_BYTES_SHOWN))
            data = file.read(CHILD_LOG_BYTES_SHOWN)
    except OSError:
        return ""
    if size > CHILD_LOG_BYTES_SHOWN:
        data = data.partition(b"\n")[2]
    return data.decode("utf-8", "backslashreplace").strip()


PR_SET_PDEATHSIG: Final = 1


def _die_with(parent: int) -> Callable[[], None] | None:
    """What a child does before it becomes its program, so that the kernel kills it when its parent dies."""
    if not sys.platform.startswith("linux"):
        return None
    try:
        prctl = ctypes.CDLL(None, use_errno=True).prctl
    except (OSError, AttributeError):
        return None

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the line above
            os._exit(1)

    return arrange
