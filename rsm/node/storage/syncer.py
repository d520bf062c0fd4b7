"""A thread that syncs, for an event loop that must not wait for a disk.

An executor would do, with a future and two more turns of the loop for each sync; a lone command waits for all of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Callable

__all__ = ["Syncer"]


class Syncer:
    """Runs `sync` in its thread whenever it is asked, and tells `done` on the loop: seconds, and what was raised."""

    def __init__(self, sync: Callable[[], None], done: Callable[[float, BaseException | None], None]) -> None:
        self._sync = sync
        self._done = done
        self._loop = asyncio.get_running_loop()
        self._asked: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="rsm-sync", daemon=True)
        self._thread.start()

    def ask(self) -> None:
        """Sync once more; ask again only after `done`."""
        self._asked.put(True)

    def stop(self) -> None:
        """Wait for the sync under way, if there is one, and end the thread."""
        self._asked.put(False)
        self._thread.join()

    def _run(self) -> None:
        while self._asked.get():
            began = time.perf_counter()
            error: BaseException | None = None
            try:
                self._sync()
            except BaseException as failure:  # it is the owner's to judge
                error = failure
            with contextlib.suppress(RuntimeError):  # the loop has closed
                self._loop.call_soon_threadsafe(self._done, time.perf_counter() - began, error)
