"""What one thread has received and another has not used yet: a queue of bounded bytes.

Who puts waits while it is full, which is how a slow consumer holds up its connection and nothing else. Who takes never
waits here: it looks, and if there is nothing to do it waits for news, in a thread or in an event loop. What comes in
between the look and the wait is not missed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Inbox"]

T = TypeVar("T")


class Inbox(Generic[T]):
    """Items with their sizes. Thread-safe."""

    def __init__(self, bytes_max: int) -> None:
        """An item that is larger than `bytes_max` is taken in alone."""
        self._bytes_max = bytes_max
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._has_news = False
        self._notify: Callable[[], None] | None = None
        self.is_closed = False

    def put(self, item: T, size_bytes: int) -> bool:
        """Add an item, once there is room; False if the inbox was closed meanwhile."""
        with self._changed:
            while self._items and self._bytes + size_bytes > self._bytes_max and not self.is_closed:
                self._changed.wait()
            if self.is_closed:
                return False
            self._items.append((item, size_bytes))
            self._bytes += size_bytes
        self.wake()
        return True

    def take(self) -> T | None:
        """The next item, None if there is none now."""
        with self._changed:
            if not self._items:
                return None
            item, size_bytes = self._items.popleft()
            self._bytes -= size_bytes
            self._changed.notify_all()
            return item

    def look(self) -> None:
        """From here on, what comes is news."""
        self._has_news = False

    def wake(self) -> None:
        """Something has happened that the consumer waits for."""
        with self._changed:
            self._has_news = True
            notify, self._notify = self._notify, None
            self._changed.notify_all()
        if notify is not None:
            notify()

    def wait(self, seconds: float | None) -> bool:
        """Wait for news since `look`; False if there is none in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._has_news, seconds)

    def when_news(self, notify: Callable[[], None]) -> None:
        """Call `notify` once, in any thread, when there is news since `look`: now, if there is."""
        with self._changed:
            if not self._has_news:
                self._notify = notify
                return
        notify()

    def close(self) -> None:
        """Take in nothing more; who waits is woken."""
        self.is_closed = True
        self.wake()
