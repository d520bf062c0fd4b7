"""The pump: reads records, sends them as numbered commands with many in flight, and settles the answers in order.

While a batch is being synced to the disk the next one must already wait, or every command would cost a sync of its own.
So up to `WINDOW` commands are on their way; when so many are, the older half is settled before more are sent. Memory is
bounded by the window whatever the file's size.
"""

from __future__ import annotations

import abc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, ClassVar, Final, Generic, NamedTuple, TypeVar

import rsm
from demos.orderbook.formats import FormatError, Source
from demos.orderbook.numbered import Numbered

M = TypeVar("M", bound=Numbered)
R = TypeVar("R")

# Commands on their way at once: four full batches of the log, so that one always waits while another is synced.
WINDOW: Final = 4096


class CheckFailed(Exception):
    """A message that did not do what it should, in one line with its place."""


class WrongDirectory(Exception):
    """The directory does not go with the recording: it holds the replay of another one, or not all of this one."""


class Check(NamedTuple):
    """What was checked: so many did what their verb says (`equal`, `applied`), of so many."""

    name: str
    verb: str
    equal: int
    of: int


class Recording(abc.ABC, Generic[M, R]):
    """One kind of recording: how a record becomes a command, and what its answer proves."""

    machine: ClassVar[Any]
    # Of `Source.position`.
    unit: ClassVar[str] = "line"

    def begin(self, client: M, done: int) -> None:
        """Before the first record; the machine has applied `done` messages already."""

    def skip(self, number: int, record: R) -> None:
        """A record that was applied by an earlier run."""

    @abc.abstractmethod
    def send(self, client: M, number: int, record: R) -> rsm.Pending[Any]:
        """Send a record as the sender's command `number`."""

    def settled(self, number: int, record: R) -> None:
        """The command took effect. `CheckFailed` if it should not have."""

    def failed(self, number: int, record: R) -> None:
        """The command was rejected; it is the last one looked at."""

    def finish(self, client: M) -> None:
        """After the last answer, whether or not all went well."""

    @abc.abstractmethod
    def checks(self, applied: int, read: int) -> list[Check]:
        """What was checked, when `applied` of the `read` messages took effect."""

    @abc.abstractmethod
    def book(self, client: M) -> dict[str, Any]:
        """The book as it stands, as a document."""


class Sent(NamedTuple, Generic[R]):
    """A command on its way, and where its record lies in the file."""

    number: int
    position: int
    record: R
    pending: rsm.Pending[Any]


class Pump(Generic[M, R]):
    """One pass of records through a machine. Messages `read` so far, and `applied` of them, earlier runs included."""

    def __init__(
        self,
        recording: Recording[M, R],
        client: M,
        done: int,
        source: Source,
        advance: Callable[[int], None],
        window: int = WINDOW,
    ) -> None:
        self._recording = recording
        self._client = client
        self._source = source
        self._advance = advance
        self._window = window
        self._in_flight: deque[Sent[R]] = deque()
        self.done = done
        self.applied = done
        self.read = 0

    def run(self, records: Iterator[R]) -> None:
        """Send every record that the machine has not had; `advance` is told the number of each that took effect.

        Raises `CheckFailed` at the first message that did not take effect, and `FormatError` where the reader does,
        after all messages before that place have been settled.
        """
        damage: FormatError | None = None
        try:
            for record in records:
                self.read += 1
                if self.read <= self.done:
                    self._recording.skip(self.read, record)
                else:
                    self._send(record)
        except FormatError as error:
            damage = error
        self._settle(0)
        if damage is not None:
            raise damage

    def _send(self, record: R) -> None:
        number, position = self.read, self._source.position
        try:
            pending = self._recording.send(self._client, number, record)
        except (rsm.InvalidCommand, rsm.LimitExceeded) as error:
            self._settle(0)
            raise self._failed(position, number, record, error) from error
        self._in_flight.append(Sent(number, position, record, pending))
        if len(self._in_flight) >= self._window:
            self._settle(self._window // 2)

    def _settle(self, left: int) -> None:
        """Take answers, oldest first, until at most `left` are on their way."""
        in_flight, settled, advance = self._in_flight, self._recording.settled, self._advance
        while len(in_flight) > left:
            number, position, record, pending = in_flight.popleft()
            try:
                pending.result()
            except (rsm.Rejected, rsm.InvalidCommand) as error:
                self._drain()
                raise self._failed(position, number, record, error) from error
            self.applied = number
            try:
                settled(number, record)
            except CheckFailed:
                self._drain()
                raise
            advance(number)

    def _drain(self) -> None:
        """Wait for what was sent behind a failure. Behind a rejected command the numbers have a gap: nothing passes."""
        while self._in_flight:
            with suppress(rsm.Rejected, rsm.InvalidCommand):
                self._in_flight.popleft().pending.result()

    def _failed(self, position: int, number: int, record: R, error: Exception) -> CheckFailed:
        self.read = number
        self._recording.failed(number, record)
        return CheckFailed(f"{self._source.path}: {self._recording.unit} {position}: message {number}: {error}")
