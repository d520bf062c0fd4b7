"""`/feed`: the machine's events for browsers, by one subscription of the gateway's own, however many listen.

A browser first gets `head` with an index: every event behind that index comes to it, in order. So a page reads the
state with `GET /queries/...?at_least=INDEX` and leaves out events up to the index that it was given with it. A gap, be
it here or between gateway and node, is a `skip`, and a second `head` follows a subscription that has ended: either way
read the state again.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from starlette.websockets import WebSocket

from rsm.client.observing.observe import observe_async
from rsm.client.observing.observed import Update
from rsm.client.observing.observer import Observer
from rsm.gateway.arguments import Forms
from rsm.gateway.connecting import Connection
from rsm.gateway.problems import Problem
from rsm.gateway.requests import wants_strings
from rsm.gateway.shapes import shown
from rsm.gateway.sockets import Browser, Sockets, message
from rsm.limits import FEED_PART_BYTES, GATEWAY_EVENTS_PER_MESSAGE, GATEWAY_RETRY_SECONDS, TOPICS_MAX
from rsm.machine.outcome import Event
from rsm.node.log import describe, logger

__all__ = ["Feed"]


class Listener:
    """A browser and what it wants to hear."""

    def __init__(self, browser: Browser, topics: tuple[str, ...], *, strings: bool) -> None:
        self.browser = browser
        self.wants = topics, strings


class News:
    """An event and its topic; its text is made once, for all browsers that want the same."""

    def __init__(self, topic: str, event: Event) -> None:
        self.topic = topic
        self.event = event
        self._texts: dict[bool, msgspec.Raw] = {}

    def text(self, *, strings: bool) -> msgspec.Raw:
        """As JSON; `strings`: large integers as text."""
        if strings not in self._texts:
            event = self.event
            identity = {"index": event.index, "position": event.position, "step": event.step, "number": event.number}
            told = identity | {"topic": self.topic, "value": shown(event.value, strings=strings)}
            self._texts[strings] = msgspec.Raw(msgspec.json.encode(told))
        return self._texts[strings]


class Feed:
    """The subscription, and who listens. It begins with the first listener, and ends with the last."""

    def __init__(self, forms: Forms, connection: Connection, sockets: Sockets) -> None:
        self._definition = forms.definition
        self._topic_of = connection.machine.topic_of
        self._connection = connection
        self._sockets = sockets
        self._listeners: set[Listener] = set()
        self._following: asyncio.Task[None] | None = None
        self._observer: Observer[Any] | None = None

    async def serve(self, websocket: WebSocket) -> None:
        """`WS /feed?topics=a,b/`."""
        async with self._sockets.admitted(websocket) as browser:
            parameters = websocket.query_params
            topics = tuple(sorted({topic for topic in parameters.get("topics", "").split(",") if topic}))
            if len(topics) > TOPICS_MAX:
                raise Problem("bad-request", f"at most {TOPICS_MAX} topics; a/ has all that begin so", field="topics")
            listener = Listener(browser, topics, strings=wants_strings(parameters))
            await websocket.accept()
            self._listeners.add(listener)
            try:
                if self._observer is not None:
                    browser.put(self._head(self._observer))
                if self._following is None:
                    self._following = asyncio.create_task(self._follow())
                await browser.serve()
            finally:
                self._listeners.discard(listener)
                if not self._listeners:
                    await self.close()

    async def close(self) -> None:
        """End the subscription; who listens is sent away by the server."""
        following, self._following = self._following, None
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    # --- the subscription ---------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """Pass on what comes, as long as somebody listens."""
        while True:
            try:
                await self._subscribe()
            except Exception as error:  # whatever it is, those who listen go on
                logger.warning("the feed has ended and is begun again", error=describe(error))
            await asyncio.sleep(GATEWAY_RETRY_SECONDS)

    async def _subscribe(self) -> None:
        connection = self._connection
        observer = await observe_async(
            connection.machine,
            connection.addresses,
            events_only=True,
            principal=connection.principal,
            tls=connection.tls,
            timeout_seconds=connection.timeout_seconds,
        )
        self._observer = observer
        try:
            # Said again after a subscription that has ended: what was emitted in between is not known.
            self._tell(self._head(observer))
            while update := await observer.next_async():
                await self._pass_on(observer, update)
        finally:
            if self._observer is observer:
                self._observer = None
            await asyncio.to_thread(observer.close)

    def _head(self, observer: Observer[Any]) -> str:
        index = observer.index or observer.status.applied_index
        return message("head", machine=self._definition.name, version=self._definition.version, index=index)

    def _tell(self, text: str) -> None:
        for listener in self._listeners:
            listener.browser.put(text)

    async def _pass_on(self, observer: Observer[Any], first: Update) -> None:
        """An update, and with it all others that are here already: each message costs every browser a write."""
        events: list[Event] = []
        update: Update | None = first
        while update is not None:
            if update.snapshot:
                await self._publish(events)
                events = []
                self._tell(message("skip", reason="the gateway was too slow for its cluster", index=update.index))
            events += update.events
            update = await observer.next_async(0) if len(events) < GATEWAY_EVENTS_PER_MESSAGE else None
        await self._publish(events)
        await asyncio.sleep(0)  # others have a turn, however much there is

    async def _publish(self, events: list[Event]) -> None:
        """In messages of a bounded size: an entry may have emitted more than may wait for a browser."""
        part: list[News] = []
        part_bytes = 0
        for number, event in enumerate(events, 1):
            part.append(News(self._topic(event), event))
            part_bytes += len(bytes(part[-1].text(strings=False)))
            if part_bytes >= FEED_PART_BYTES or number % GATEWAY_EVENTS_PER_MESSAGE == 0 or number == len(events):
                self._tell_events(part)
                part, part_bytes = [], 0
                await asyncio.sleep(0)  # whoever can take it does, before the next one comes

    def _tell_events(self, part: list[News]) -> None:
        texts: dict[Any, str | None] = {}
        for listener in self._listeners:
            wants = listener.wants
            if wants not in texts:
                topics, strings = wants
                kept = [one.text(strings=strings) for one in part if not topics or _matches(one.topic, topics)]
                texts[wants] = message("events", index=part[-1].event.index, events=kept) if kept else None
            text = texts[wants]
            if text is not None:
                listener.browser.put(text)

    def _topic(self, event: Event) -> str:
        try:
            return str(self._topic_of(event.value))
        except Exception:  # a slip of the machine's, or an event of another release: of no topic, as on a node
            return ""


def _matches(topic: str, topics: tuple[str, ...]) -> bool:
    return any(topic == wanted or (wanted.endswith("/") and topic.startswith(wanted)) for wanted in topics)
