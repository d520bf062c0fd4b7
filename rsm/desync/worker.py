"""The parent's end of a child process that runs one side: requests, answers, time-outs, and what it said when it died.

Two workers run at the same time when both are sent a request before the first answer is awaited.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import msgspec

from rsm.desync.blame import Detail
from rsm.desync.child import LENGTH
from rsm.desync.environments import Setting
from rsm.desync.replaying import Progress, Unreplayable
from rsm.errors import BadBytes, CallerError, RsmError, UnknownFormat, WrongMachine
from rsm.limits import CHILD_FRAME_BYTES_MAX, CHILD_LOG_BYTES_SHOWN, CHILD_SILENCE_SECONDS_MAX

__all__ = ["Worker", "WorkerDied", "WorkerHung"]

T = TypeVar("T")
END_SECONDS_MAX: Final = 2.0
NO_MODULE: Final = "No module named"


class WorkerDied(CallerError):
    """The process ended in the middle of its work."""


class WorkerHung(WorkerDied):
    """The process said nothing for too long, and was killed."""


class Worker:
    """One side in a process of its own. A context manager; `open` first."""

    def __init__(self, setting: Setting, *, silence_seconds_max: float = CHILD_SILENCE_SECONDS_MAX) -> None:
        """Start the process. `CallerError` if the interpreter cannot be run."""
        self.name = setting.name
        self.setting = setting
        self.index = 0  # as far as it has said that it is
        self._silence_seconds_max = silence_seconds_max
        self._asked: dict[str, Any] = {}  # by `open`
        self._restarts: list[int] = []  # places that are still to come, in order
        self._is_due = False  # at the first of these: not before the next step, since this one may be looked at
        self._failure: RsmError | None = None
        self._start()

    def _start(self) -> None:
        self._words = b""
        setting = self.setting
        try:
            self._process = subprocess.Popen(
                setting.command,
                env=setting.environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise Unreplayable(f"{setting.command[0]}: cannot be run: {error.strerror}") from error
        if self._process.stdin is None or self._process.stdout is None or self._process.stderr is None:
            raise Unreplayable(f"{setting.command[0]}: cannot be run: it has no pipes")
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        self._listener = threading.Thread(target=self._listen, args=(self._process.stderr.fileno(),), daemon=True)
        self._listener.start()

    def _listen(self, descriptor: int) -> None:
        """Keep the last of what it prints; whatever it prints must be taken, or it would stop."""
        with contextlib.suppress(OSError):
            while data := os.read(descriptor, 65_536):
                self._words = (self._words + data)[-CHILD_LOG_BYTES_SHOWN:]

    # --- requests -------------------------------------------------------------------------------------------------

    def open(
        self, path: str, start: int | str | None, *, stops: tuple[int, ...] = (), restarts: bool = False
    ) -> dict[str, Any]:
        """Load the class and the recording; what the child says of itself.

        A step ends behind each index in `stops`; with `restarts` the next one is another process's, which has nothing
        but a snapshot of the one before, as on a node that is started again there.
        `Unreplayable`, `WrongMachine`, `BadBytes`, `UnknownFormat`, `WorkerDied`.
        """
        self._asked = {
            "reference": self.setting.reference,
            "path": os.path.abspath(path),
            "start": start,
            "stops": list(stops),
            "last_on_path": list(self.setting.last_on_path),
            "restarts": restarts,
        }
        return self._open(None)

    def _open(self, saved: str | None) -> dict[str, Any]:
        asked = dict(self._asked)
        restarts = asked.pop("restarts")
        if saved is None:
            self._restarts = sorted(asked["stops"]) if restarts else []
        self.send("open", saved=saved, **asked)
        return self.receive(dict[str, Any])

    def again(self) -> None:
        """Begin anew, as `open` did, in a new process."""
        self.close()
        self._start()
        self._is_due, self._failure = False, None
        self._open(None)

    def _restart(self) -> None:
        """Go on from a snapshot, in a new process."""
        del self._restarts[0]
        self._is_due = False
        with tempfile.TemporaryDirectory(prefix="rsm-replay-") as directory:
            saved = os.path.join(directory, "state")
            self.save(saved)
            self.close()
            self._start()
            try:
                self._open(saved)
            except BadBytes as error:
                what = f"its snapshot of index {self.index} cannot be restored: {error}"
                raise Unreplayable(f"{self.name}: {what}") from error

    def begin_step(self, *, record: bool = False, states: bool = False) -> None:
        """Have it do a step; `end_step` waits for it, and tells if there was no way to go on in another process.

        `states`: see `Recorder.takes_states`; a child of a release before that passes over it.
        """
        if self._is_due:
            try:
                self._restart()
            except RsmError as error:
                self._failure = error
                return
        self.send("step", record=record, states=states)

    def end_step(self) -> Progress:
        """What the step came to."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        progress = self.receive(Progress)
        self.index = progress.index
        ends = progress.is_end or progress.stop is not None
        self._is_due = bool(self._restarts) and self._restarts[0] <= progress.index and not ends
        return progress

    def rewind(self, to: int | None = None) -> tuple[bool, int]:
        """See `Side.rewind`; also how many commands it has executed by then."""
        self._is_due = False
        self.send("rewind", to=to)
        return self.receive(tuple[bool, int])

    def digests(self) -> bytes:
        """See `Recorder.digests`."""
        self.send("digests")
        return self.receive(bytes)

    def detail(self, number: int) -> Detail:
        """See `Recorder.detail`."""
        self.send("detail", number=number)
        return self.receive(Detail)

    def sums(self) -> dict[str, bytes]:
        """See `Side.sums`."""
        self.send("sums")
        return self.receive(dict[str, bytes])

    def leaves(self, buckets: dict[str, list[int]]) -> dict[str, Any]:
        """See `Side.leaves`."""
        self.send("leaves", buckets=buckets)
        return self.receive(dict[str, Any])

    def save(self, path: str) -> None:
        """See `Side.save`."""
        self.send("save", path=path)
        self.receive(type(None))

    # --- frames ---------------------------------------------------------------------------------------------------

    def send(self, name: str, **values: Any) -> None:
        """One request."""
        data = msgspec.msgpack.encode({"name": name, "values": values})
        view = memoryview(LENGTH.pack(len(data)) + data)
        try:
            while view:
                view = view[os.write(self._to, view) :]
        except OSError:
            raise self._died() from None

    def receive(self, shape: type[T]) -> T:
        """The answer to the oldest request that has none yet."""
        while True:
            (size,) = LENGTH.unpack(self._read(LENGTH.size))
            if size > CHILD_FRAME_BYTES_MAX:
                raise WorkerDied(f"{self.name}: sent a frame of {size} bytes, which none may have")
            data = self._read(size)
            try:
                frame = msgspec.msgpack.decode(data, type=dict[str, msgspec.Raw])
                if "beat" in frame:
                    self.index = msgspec.msgpack.decode(frame["beat"], type=int)
                    continue
                if "error" in frame:
                    kind = msgspec.msgpack.decode(frame["error"], type=str)
                    raise self._error(kind, msgspec.msgpack.decode(frame["text"], type=str))
                return msgspec.msgpack.decode(frame["result"], type=shape)
            except (msgspec.MsgspecError, KeyError) as error:
                raise WorkerDied(f"{self.name}: its answer cannot be read: {error}") from error

    def _error(self, kind: str, text: str) -> Exception:
        if kind == "bytes":
            return BadBytes(text)
        if kind == "format":
            return UnknownFormat(f"{self.name}: {text}")
        if kind == "wrong_machine":
            return WrongMachine(f"{self.name}: {text}")
        return Unreplayable(f"{self.name}: {text}")

    def _read(self, count: int) -> bytes:
        data = b""
        until = time.monotonic() + self._silence_seconds_max
        while len(data) < count:
            ready, _, _ = select.select([self._from], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                self.kill()
                where = f" after index {self.index}" if self.index else ""
                raise WorkerHung(f"{self.name}: said nothing for {self._silence_seconds_max:g} seconds{where}")
            more = os.read(self._from, count - len(data))
            if not more:
                raise self._died()
            data += more
        return data

    def _died(self) -> Exception:
        """What to raise when the pipe has ended."""
        try:
            code = self._process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        self._listener.join(END_SECONDS_MAX)
        lines = self._words.decode("utf-8", "replace").strip().splitlines()
        last = f": {' '.join(lines[-1].split())}" if lines else ""
        if (NO_MODULE in last and "'rsm" in last) or ("cannot import" in last and "rsm." in last):
            return Unreplayable(f"{self.name}: has no rsm that can replay{last}")
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        where = f" after index {self.index}" if self.index else ""
        return WorkerDied(f"{self.name}: the process {how}{where}{last}")

    def kill(self) -> None:
        """End the process at once."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(0.2)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._listener.join(END_SECONDS_MAX)
        if self._process.stderr is not None:
            self._process.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
