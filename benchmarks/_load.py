"""The child's side of a measurement: orders on stdin, answers on stdout, latencies in a file.

All processes read the same monotonic clock, so that one window of time holds for all clients. Commands are sent before
it begins and until it ends; those answered within it count. What is in flight at the end is waited for.
"""

from __future__ import annotations

import json
import queue
import sys
import threading
import time
import traceback
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

now = time.monotonic

ANSWER_SECONDS_MAX = 60.0
# A pause shorter than this costs more than to send early.
PAUSE_SECONDS = 0.001


class Recorder:
    """Counts answers, and keeps the latencies of those that came within the window."""

    def __init__(self, begins: float, ends: float) -> None:
        self.begins = begins
        self.ends = ends
        self.latencies = array("d")
        self.commands = 0
        self.failed = 0

    def done(self, sent_at: float, answered_at: float) -> None:
        """A command was answered."""
        self.commands += 1
        if self.begins <= answered_at < self.ends:
            self.latencies.append(answered_at - sent_at)

    def report(self, path: str) -> dict[str, Any]:
        """Write the latencies (doubles, seconds) to a file; the rest is the answer."""
        Path(path).write_bytes(self.latencies.tobytes())
        return {"commands": self.commands, "failed": self.failed, "in_window": len(self.latencies)}


def serve(**handlers: Callable[..., dict[str, Any]]) -> None:
    """Answer each order until stdin ends; `ready` with nothing. An order that fails is answered with its error."""
    handlers.setdefault("ready", dict)
    for line in sys.stdin:
        values = json.loads(line)
        try:
            answer = handlers[values.pop("do")](**values)
        except Exception:
            answer = {"error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)


class Pacer:
    """Sends commands at a steady rate, whether or not earlier ones are answered, until it is stopped.

    A command's latency runs from when it was due: one that was held up by the one before counts its whole wait. Two
    threads: one sends, one waits for the oldest command in flight.
    """

    def __init__(self, send: Callable[[], Any], commands_per_second: float, in_flight_max: int) -> None:
        self._send = send
        self._interval = 1 / commands_per_second
        self._room = threading.Semaphore(in_flight_max)
        self._sent: queue.SimpleQueue[tuple[float, Any] | None] = queue.SimpleQueue()
        self._latencies = array("d")
        self._failed = 0
        self._is_over = threading.Event()
        self._threads = [threading.Thread(target=self._make), threading.Thread(target=self._collect)]
        for thread in self._threads:
            thread.start()

    def _make(self) -> None:
        due = now()
        while not self._is_over.is_set():
            due += self._interval
            if (wait := due - now()) > PAUSE_SECONDS:
                time.sleep(wait)
            if self._room.acquire(timeout=ANSWER_SECONDS_MAX):
                self._sent.put((due, self._send()))
        self._sent.put(None)

    def _collect(self) -> None:
        while (sent := self._sent.get()) is not None:
            due, pending = sent
            try:
                pending.result(ANSWER_SECONDS_MAX)
                self._latencies.append(now() - due)
            except Exception:
                self._failed += 1
                traceback.print_exc()
            self._room.release()

    def report(self, path: str) -> dict[str, Any]:
        """What was answered since the last report; latencies in a file as `Recorder` writes them."""
        found, self._latencies = self._latencies, array("d")
        Path(path).write_bytes(found.tobytes())
        return {"commands": len(found), "failed": self._failed}

    def stop(self) -> None:
        """Send no more, and wait for what is in flight."""
        self._is_over.set()
        for thread in self._threads:
            thread.join(ANSWER_SECONDS_MAX)
