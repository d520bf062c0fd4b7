"""The report stream of a flow, made from the machine's events and kept in a file that survives its writer.

The machine keeps only its last events, so a replay that goes on after a kill cannot get the early ones again: what they
became is in the file. The file needs no book-keeping of its own. Its lines carry their message numbers, so it says
itself how far it goes; its last message may be torn, so that one is cut off when the file is opened and made again from
events. The file is synced now and then: it must never lag further behind the machine than the machine keeps events.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Final

import rsm
from demos.orderbook.machine import OrderBook
from demos.orderbook.records import PhaseChanged, Report
from demos.orderbook.reports import Digest

# Lines between two syncs: a quarter of the events that a machine keeps (65,536), and a line is an event.
SYNC_LINES: Final = 16_384

_LINE: Final = re.compile(rb"[0-5],(\d{1,19}),[\d,]*\n")


class ReportStream:
    """A report stream in a file. `kept` is the number of the last message in it when it was opened, -1 for none."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.kept = -1
        self._digest = Digest()
        self._size = 0
        self._read(path)
        # Closed by close(); "a" makes the file if there is none, and the mode would not let us write elsewhere.
        self._file = open(path, "ab")  # noqa: SIM115
        self._file.truncate(self._size)
        self._synced = self.lines

    @property
    def lines(self) -> int:
        """How many reports there are."""
        return self._digest.lines

    @property
    def sha256(self) -> str:
        """The digest of the stream so far."""
        return self._digest.hexdigest()

    def add(self, lines: list[str]) -> None:
        """Add the lines of the next message."""
        with self._named():
            self._file.write(self._digest.add(lines))
        if self.lines - self._synced >= SYNC_LINES:
            self.sync()

    def sync(self) -> None:
        """Have everything so far on the disk."""
        with self._named():
            self._file.flush()
            os.fdatasync(self._file.fileno())
        self._synced = self.lines

    def close(self) -> None:
        """Close the file."""
        with self._named():
            self._file.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Errors of an open file do not say which one it is."""
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, self.path) from error

    def _read(self, path: str) -> None:
        """Take over what an earlier run left, without its last message."""
        if not os.path.exists(path):
            return
        group: list[str] = []
        message = -1
        with open(path, "rb") as file:
            for line in file:
                found = _LINE.fullmatch(line)
                if found is None or int(found[1]) < message:
                    break
                if int(found[1]) != message:
                    self._take_over(message, group)
                    message, group = int(found[1]), []
                group.append(line[:-1].decode("ascii"))

    def _take_over(self, message: int, group: list[str]) -> None:
        if group:
            self._size += len(self._digest.add(group))
            self.kept = message


class ReportGroups:
    """The reports in a machine's events, grouped by command, in the order of the log.

    Every command of a flow reports something, so the groups are those of the messages one by one. What operators did to
    markets is left out.
    """

    def __init__(self, client: OrderBook) -> None:
        self._client = client
        # Of the event handed out last.
        self._after = (0, 0, 0, 0)
        # What the machine still had when it was opened; `take` gives what comes after.
        self.past: list[list[Report]] = []
        for _, group in groupby(_reports(client.events()), key=_command):
            self.past.append([])
            for event in group:
                self.past[-1].append(event.value)
                self._after = event.identity
        self._stream = self._new_events()
        self._ahead: rsm.Event | None = None

    def take(self) -> list[Report]:
        """The reports of the next command. The command after it must have been answered, or this waits for it."""
        first = next(self._stream) if self._ahead is None else self._ahead
        group = [first.value]
        self._after = first.identity
        for event in self._stream:
            if _command(event) != _command(first):
                self._ahead = event
                break
            group.append(event.value)
            self._after = event.identity
        return group

    def take_last(self) -> list[Report]:
        """The reports of the next command, which has been answered, whether or not others came after it."""
        new = (event for event in _reports(self._client.events()) if event.identity > self._after)
        _, group = next(groupby(new, key=_command), (None, ()))
        return [event.value for event in group]

    def _new_events(self) -> Iterator[rsm.Event]:
        after = self._after
        return (event for event in _reports(self._client.events(follow=True)) if event.identity > after)


def _command(event: rsm.Event) -> tuple[int, int]:
    """Which command an event is of."""
    return event.index, event.position


def _reports(events: Iterator[rsm.Event]) -> Iterator[rsm.Event]:
    return (event for event in events if not isinstance(event.value, PhaseChanged))
