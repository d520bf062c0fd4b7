"""Who may put a command into a session's queue now, and who must wait for room, or is told so.

Small commands are bounded by their number alone, as in the embedded runtime, so that nearly all of them pass without a
lock; large ones also by their bytes. A thread waits until answers make room, a running event loop gets `Busy`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from rsm.client.remote.sending import ClientSession, Sender
from rsm.errors import Busy
from rsm.limits import BYTES_IN_FLIGHT_MAX
from rsm.node.submissions import SMALL_COMMAND_BYTES, Submission

__all__ = ["Admission"]

# A thread looks again after this long, should it have missed that there is room.
LOOK_AGAIN_SECONDS = 0.05


class Admission:
    """The way into the sessions' queues. `push` is for any thread, `make_room` for whoever has answers."""

    def __init__(self, sender: Sender, check_open: Callable[[], None]) -> None:
        """`check_open` raises when nothing is taken any more."""
        self._sender = sender
        self._check_open = check_open
        self._room = threading.Condition()
        self._waiting = 0

    def push(self, session: ClientSession, submission: Submission) -> None:
        """Queue a command."""
        size = len(submission.call)
        if size <= SMALL_COMMAND_BYTES:
            try:
                self._sender.push(session, submission)
            except Busy:
                self._push_when_there_is_room(session, submission)
            return
        with self._room:
            while session.large_bytes_waiting + size > BYTES_IN_FLIGHT_MAX and session.large_bytes_waiting:
                self._wait("bytes of commands are on their way")
            session.large_bytes += size
        self._push_when_there_is_room(session, submission)

    def _push_when_there_is_room(self, session: ClientSession, submission: Submission) -> None:
        with self._room:
            while True:
                try:
                    self._sender.push(session, submission)
                except Busy:
                    self._wait("commands are on their way")
                else:
                    return

    def _wait(self, what: str) -> None:
        """With the lock: until answers came in."""
        self._check_open()
        if _in_event_loop():
            raise Busy(f"too many {what}", retry_seconds=0.01)
        self._waiting += 1
        try:
            self._room.wait(LOOK_AGAIN_SECONDS)
        finally:
            self._waiting -= 1

    def make_room(self) -> None:
        """Answers came in, or nothing is taken any more: let those who wait look again."""
        if self._waiting:
            with self._room:
                self._room.notify_all()


def _in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
