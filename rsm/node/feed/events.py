"""Events as a feed: numbered, by topic, each frame encoded once for all who asked for the same topics.

Events are read from the ring that every replica keeps, so nothing is gathered here: a channel remembers up to which
number its observers have them. Numbers that a channel's topics leave out are covered by the next frame that it sends,
at the latest by the one that says that the node is alive.

A machine says what an event is about (`topic_of`). It is asked on the node, when the event is sent, and never when it
is applied: what it says is no part of the state, and it may be changed without a new version.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from rsm.errors import EventsGap
from rsm.limits import EVENTS_KEPT, EVENTS_PER_ANSWER_MAX, FEED_PART_BYTES, KEY_LENGTH_MAX
from rsm.node.feed.frames import Skip, encode_events, encode_feed
from rsm.node.feed.node import FeedNode
from rsm.node.feed.observer import Observer, Work
from rsm.node.log import Seldom, logger
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.replica.events import RawEvent

__all__ = ["EventFeed"]

Numbered = tuple[int, RawEvent]


class EventObserver(Observer):
    """An observer of events."""

    channel: Channel


class Channel:
    """Those who asked for the same topics (none: all). `position` is the number that the live ones are told up to,
    `scanned` the one up to which there is nothing more for them.
    """

    def __init__(self, topics: tuple[str, ...], position: int) -> None:
        self.topics = topics
        self.position = self.scanned = position
        self.live: dict[EventObserver, None] = {}
        self.members = 0
        self._topics = frozenset(topics)

    def wants(self, topic: str) -> bool:
        """Whether an event of this topic is for them."""
        return not self._topics or not self._topics.isdisjoint(_names(topic))


class EventFeed:
    """Observers of events, by their topics."""

    def __init__(self, node: FeedNode) -> None:
        self.skips = 0
        self._node = node
        self._channels: dict[tuple[str, ...], Channel] = {}
        self._by_name: dict[str, dict[Channel, None]] = {}  # a topic or a branch: who asked for it
        self._seldom = Seldom()

    # --- who observes ------------------------------------------------------------------------------------------------

    def add(self, observer: EventObserver, topics: list[str]) -> None:
        """Somebody begins, behind `observer.position`."""
        key = tuple(sorted(set(topics)))
        channel = self._channels.get(key)
        if channel is None:
            channel = self._channels[key] = Channel(key, self._node.replica.ring.newest)
            for name in key:
                self._by_name.setdefault(name, {})[channel] = None
        channel.members += 1
        observer.channel = channel

    def remove(self, observer: EventObserver) -> None:
        """Somebody ends."""
        channel = observer.channel
        channel.live.pop(observer, None)
        channel.members -= 1
        if not channel.members:
            del self._channels[channel.topics]
            for name in channel.topics:
                del self._by_name[name][channel]
                if not self._by_name[name]:
                    del self._by_name[name]

    # --- what happens ------------------------------------------------------------------------------------------------

    def flush(self, until: float) -> list[Observer]:
        """Send new events to those who are live; those who have to catch up from here on, as do those whose turn does
        not come `until` then.
        """
        ring = self._node.replica.ring
        late: list[Observer] = []
        waiting: dict[Channel, list[Numbered]] = {}
        for channel in self._channels.values():
            if not channel.live:
                channel.position = channel.scanned = ring.newest  # those who catch up have positions of their own
            elif channel.scanned + 1 < ring.oldest:
                late += channel.live  # each is told so as it catches up
                channel.live.clear()
                channel.position = channel.scanned = ring.newest
            elif channel.scanned < ring.newest:
                waiting[channel] = []
        if not waiting:
            return late
        for number, raw in ring.after(min(channel.scanned for channel in waiting), EVENTS_KEPT):
            for channel in self._wanted_by(number, raw):
                if channel in waiting and channel.scanned < number:
                    waiting[channel].append((number, raw))
        for channel, chosen in waiting.items():
            channel.scanned = ring.newest
            for run, last in _runs(chosen, ring.newest):  # numbers that are left over go with the next frame
                late += self._send(channel, last, run, until)
        return late

    def _wanted_by(self, number: int, raw: RawEvent) -> dict[Channel, None]:
        everything = self._channels.get(())
        found: dict[Channel, None] = {} if everything is None else {everything: None}
        if self._by_name:
            for name in _names(self._topic_of(number, raw)):
                found |= self._by_name.get(name, {})
        return found

    def _send(self, channel: Channel, last: int, chosen: list[Numbered], until: float) -> list[Observer]:
        frame = self._frame(channel.position + 1, last, chosen)
        late: list[Observer] = []
        for observer in list(channel.live):
            if observer.is_full or time.perf_counter() > until:
                del channel.live[observer]
                late.append(observer)
            else:
                observer.send(frame)
                observer.position = last
        channel.position = last
        return late

    def reassure(self, until: float) -> list[Observer]:
        """Tell those who have heard nothing that what happened was not for them; those who have to catch up now."""
        late = self.flush(until)
        for channel in self._channels.values():
            if channel.position < channel.scanned and any(observer.is_quiet for observer in channel.live):
                late += self._send(channel, channel.scanned, [], until)
        return late

    def _topic_of(self, number: int, raw: RawEvent) -> str:
        machine = self._node.replica.machine
        try:
            return str(machine.topic_of(machine.definition.decode_event(raw.packed)))
        except Exception:
            # A slip of the machine's, or an event of a release whose types this one has not: of no topic.
            passed_over = self._seldom.turn("topic_of", time.monotonic())
            if passed_over is not None:
                logger.exception("an event has no topic", index=raw.index, number=number, passed_over=passed_over)
            return ""

    def _frame(self, first: int, last: int, chosen: list[Numbered]) -> bytes:
        payload = encode_events(first, last, self._node.replica.index, chosen)
        return encode_frame(FrameKind.FEED, payload, compress=True)

    # --- those who are behind ----------------------------------------------------------------------------------------

    def step(self, observer: EventObserver) -> Work:
        """Hand the next events to an observer that is behind and has room; it may become live."""
        channel, ring = observer.channel, self._node.replica.ring
        if not channel.live:
            channel.position = channel.scanned = ring.newest
        if observer.position == channel.position:
            channel.live[observer] = None
            return Work.CHEAP
        if observer.position > channel.position:
            return Work.NOTHING  # it comes from a node that was further, or numbers wait for their frame
        try:
            limit = min(EVENTS_PER_ANSWER_MAX, channel.position - observer.position)
            found = ring.after(observer.position, limit)
        except EventsGap as gap:
            self.skips += 1
            observer.send(encode_frame(FrameKind.FEED, encode_feed(Skip(str(gap)))))
            observer.position = gap.oldest_index - 1
            return Work.CHEAP
        if channel.topics:
            chosen = [(number, raw) for number, raw in found if channel.wants(self._topic_of(number, raw))]
        else:
            chosen = found
        run, last = next(_runs(chosen, found[-1][0]), ([], found[-1][0]))
        observer.send(self._frame(observer.position + 1, last, run))
        observer.position = last
        return Work.PART


def _names(topic: str) -> Iterator[str]:
    """Under what a topic may be asked for: itself, and the branches above it. No name is longer than one may be."""
    if len(topic) <= KEY_LENGTH_MAX:
        yield topic
    end = topic.find("/", 0, KEY_LENGTH_MAX)
    while end >= 0:
        yield topic[: end + 1]
        end = topic.find("/", end + 1, KEY_LENGTH_MAX)


def _runs(chosen: list[Numbered], last: int) -> Iterator[tuple[list[Numbered], int]]:
    """Events in runs of so many bytes, and the number that each run reaches to, the last one to `last`."""
    start = size = 0
    for position, (_, raw) in enumerate(chosen):
        size += len(raw.packed)
        if size > FEED_PART_BYTES and position > start:
            yield chosen[start:position], chosen[position - 1][0]
            start, size = position, len(raw.packed)
    if chosen:
        yield chosen[start:], last
