"""Who is told of answers inside a remote client, and passes them on in another form."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from rsm.client.remote.sending import ClientSession, Sender
from rsm.client.runtime import Reply
from rsm.replica.events import RawEvent

__all__ = ["EVENTS_ANSWER", "EventsReply", "First", "InPassing", "Noting", "Reopening", "Told"]

# (number, index, position, step, number within the step, MessagePack of the value) of each.
EVENTS_ANSWER = tuple[list[tuple[int, int, int, int, int, bytes]]]


class Noting:
    """A query's reply; the client notes which state it has seen."""

    def __init__(self, saw: Callable[[int], None], reply: Reply[tuple[int, bytes]]) -> None:
        self._saw = saw
        self._reply = reply
        self.fail = reply.fail

    def finish(self, value: tuple[int, bytes]) -> None:
        self._saw(value[0])
        self._reply.finish(value)


class EventsReply:
    """Events as the rest of the house has them."""

    def __init__(self, reply: Reply[list[tuple[int, RawEvent]]]) -> None:
        self._reply = reply
        self.fail = reply.fail

    def finish(self, value: Any) -> None:
        self._reply.finish([(number, RawEvent(*event)) for number, *event in value[0]])


class First:
    """The only field of an answer."""

    def __init__(self, reply: Reply[Any]) -> None:
        self._reply = reply
        self.fail = reply.fail

    def finish(self, value: Any) -> None:
        self._reply.finish(value[0])


class InPassing:
    """A status that is asked for in passing."""

    def __init__(self, note: Callable[[dict[str, Any]], None]) -> None:
        self._note = note

    def finish(self, value: Any) -> None:
        self._note(value[0])

    def fail(self, error: BaseException) -> None:
        """The next one will do."""


class Told:
    """Somebody on the loop waits until a call is over, however it ends."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    def finish(self, value: Any) -> None:
        self.told.set()

    def fail(self, error: BaseException) -> None:
        self.told.set()


class Reopening:
    """A session that goes on as another."""

    def __init__(self, sender: Sender, session: ClientSession) -> None:
        self._sender = sender
        self._session = session

    def finish(self, value: tuple[int, int]) -> None:
        self._sender.reopened(self._session, value[1])

    def fail(self, error: BaseException) -> None:
        """Those that wait hear why; the next command tries again."""
        self._session.is_opening = False
        self._session.core.fail_all(error, sent=False)
