"""The feed of a node: what it applies, sent to its observers as it happens.

Theory of operation. Whatever is applied is announced here (`applied`), which costs an append. The first announcement
after a quiet time has it sent in the loop's next turn; under load everything that came meanwhile goes together, every
`FEED_INTERVAL_SECONDS`, and where sending takes long because so many observe, after a rest that is longer. A frame is
encoded and compressed once, and the same bytes are handed to every observer.

| an observer is | and gets                                                        | until                             |
|----------------|-----------------------------------------------------------------|-----------------------------------|
| live           | each frame as it is made                                        | its buffer is full, or time is up |
| behind, full   | nothing; if it takes too little, its connection is closed       | its buffer has room               |
| behind         | kept frames, else parts of the log made for it, or events       | it has caught up: it is live      |
| behind, lost   | SKIP, then a snapshot in parts; of events, SKIP                 | it is where the log goes on       |

Those who are behind are looked after in turns: one of them gets one part in a turn of the loop, and then all rest for
longer than that took. So an observer that stops costs its buffer, one that is slow its own parts, and none of them a
commit. What is sent is applied, hence committed: it is never taken back, whoever leads.

A node that must not show its state ends every subscription with the reason. One that hears of no leader ends them, too,
soon after they began: what it has it may show, but somewhere else there may be more. What another replica takes over,
a snapshot or a healed state, is read from the log like any other part.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from rsm.codec.record import Entry
from rsm.errors import BadBytes, Busy, CallerError, RsmError, StorageError
from rsm.limits import (
    FEED_ALIVE_SECONDS,
    FEED_BUFFER_BYTES_MAX,
    FEED_CROWDED_SECONDS_MAX,
    FEED_FLUSH_REST_SECONDS_MAX,
    FEED_FLUSH_SECONDS_MAX,
    FEED_INTERVAL_SECONDS,
    FEED_REST_FACTOR,
    FEED_REST_SECONDS_MAX,
    FEED_SLICE_SECONDS,
    FEED_SNAPSHOT_TAKEN_BYTES_MIN,
    FEED_STALL_SECONDS_MAX,
    OBSERVERS_MAX,
)
from rsm.node.feed.entries import LogFeed
from rsm.node.feed.events import EventFeed, EventObserver
from rsm.node.feed.frames import Alive, FeedHead, encode_feed
from rsm.node.feed.node import FeedNode
from rsm.node.feed.observer import FeedConnection, Observer, Work
from rsm.node.feed.snapshots import SnapshotSupply
from rsm.node.log import describe, logger
from rsm.node.network import protocol
from rsm.node.network.wire import FrameKind, encode_frame

__all__ = ["FeedSource"]


class FeedSource:
    """The observers of one node. Everything happens on the loop's thread. `seconds`: what the node spent applying
    before it was made.
    """

    def __init__(self, node: FeedNode, seconds: float = 0.0) -> None:
        self.observers: dict[Observer, None] = {}
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._supply = SnapshotSupply(node, seconds)
        self._log = LogFeed(node, self._supply)
        self._events = EventFeed(node)
        self._behind: dict[Observer, None] = {}
        self._flush_from = 0.0  # not before; so long lasts the rest after the one before
        self._flush_timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._pump_timer: asyncio.TimerHandle | asyncio.Handle | None = None
        self._tick_timer: asyncio.TimerHandle | None = None
        self._gone_bytes = 0  # sent to those who are gone

    # --- figures -----------------------------------------------------------------------------------------------------

    @property
    def bytes_total(self) -> int:
        """Bytes of frames handed to observers so far."""
        return self._gone_bytes + sum(observer.bytes for observer in self.observers)

    @property
    def skips_total(self) -> int:
        """How often an observer was skipped forward so far."""
        return self._log.skips + self._events.skips

    # --- subscriptions -----------------------------------------------------------------------------------------------

    def observe(self, connection: FeedConnection, request_id: int, request: protocol.Observe) -> Observer:
        """Begin a subscription. Whatever `RsmError` is raised is its answer."""
        refusal = self._node.refusal()
        if refusal is not None:
            raise refusal
        if len(self.observers) >= OBSERVERS_MAX:
            raise Busy(f"{OBSERVERS_MAX} observers are connected to this node", retry_seconds=1.0)
        if connection.send_buffer_bytes > FEED_BUFFER_BYTES_MAX:  # each subscription begins with a frame
            raise Busy("what was sent on this connection is not read", retry_seconds=1.0)
        now, replica = self._loop.time(), self._node.replica
        observer: Observer
        if request.mode == 1:
            after = replica.ring.newest if request.snapshot else request.after
            observer = events = EventObserver(connection, request_id, after, now)
            self._events.add(events, request.topics)
        else:
            if request.topics:
                raise CallerError("topics are of events: a subscription of the log gets all of it")
            if not request.snapshot and request.after and not request.chain:
                raise CallerError("to go on behind an entry takes its command chain")
            observer = Observer(connection, request_id, request.after, now)
            observer.chain = request.chain if request.after else b""
            if request.snapshot:
                observer.wait_for_snapshot(request.after, now)
        self.observers[observer] = None
        observer.send(encode_frame(FrameKind.FEED, encode_feed(self._head())))
        self._fall_behind([observer])
        if self._tick_timer is None:
            self._tick_timer = self._loop.call_later(FEED_ALIVE_SECONDS / 2, self._guarded, self._tick)
        return observer

    def _head(self) -> FeedHead:
        replica = self._node.replica
        return FeedHead(
            cluster_id=self._node.cluster_id,
            group_id=self._node.group_id,
            machine=replica.definition.name,
            version=replica.definition.version,
            applied=replica.index,
            first=self._node.first_index,
            events=replica.ring.newest,
            hash_milliseconds=round(self._node.hash_seconds * 1000),
        )

    def end(self, observer: Observer, error: RsmError | None = None) -> None:
        """End a subscription; with an error, its observer is told. May be called twice."""
        if observer not in self.observers:
            return
        del self.observers[observer]
        self._behind.pop(observer, None)
        self._gone_bytes += observer.bytes
        if isinstance(observer, EventObserver):
            self._events.remove(observer)
        else:
            self._log.live.pop(observer, None)
            self._log.release(observer)
            if all(isinstance(other, EventObserver) for other in self.observers):
                self._log.forget()
        if error is not None:
            observer.connection.answer(protocol.encode_failure(observer.request_id, error))

    def close(self) -> None:
        """The node ends; its connections are closed by their owner."""
        for observer in list(self.observers):
            self.end(observer)
        self._stop_timers()

    def _stop_timers(self) -> None:
        for timer in (self._flush_timer, self._pump_timer, self._tick_timer):
            if timer is not None:
                timer.cancel()
        self._flush_timer = self._pump_timer = self._tick_timer = None

    # --- what happens ------------------------------------------------------------------------------------------------

    def applied(self, entry: Entry, root: bytes | None, seconds: float) -> None:
        """An entry was applied, with this root if it is a hash point, in so many seconds."""
        self._supply.applied(entry.index, is_hash_point=root is not None, seconds=seconds)
        if self.observers:
            self._log.applied(entry, root)
            self._schedule()

    def swapped(self) -> None:
        """Another replica has taken the place of the one there was."""
        self._log.forget()
        if self.observers:
            self._schedule()

    def _schedule(self) -> None:
        if self._flush_timer is None:
            if self._flush_from <= self._loop.time():
                self._flush_timer = self._loop.call_soon(self._guarded, self._flush)
            else:
                self._flush_timer = self._loop.call_at(self._flush_from, self._guarded, self._flush)

    def _guarded(self, work: Callable[[], None]) -> None:
        """Whatever goes wrong here is the observers' misfortune, and not the node's."""
        try:
            refusal = self._node.refusal()
            if refusal is not None:
                self._end_all(refusal)
            work()
        except Exception as error:
            logger.exception("the feed has failed; its observers have to begin anew", error=describe(error))
            self._stop_timers()
            self._log.forget()
            self._end_all(Busy("the feed has failed, see the node's log", retry_seconds=1.0))

    def _end_all(self, error: RsmError) -> None:
        for observer in list(self.observers):
            self.end(observer, error)

    def _flush(self) -> None:
        self._flush_timer = None
        began = time.perf_counter()
        until = began + FEED_FLUSH_SECONDS_MAX
        if self.observers:
            self._fall_behind(self._log.flush(until) if self._log.live or self._log.index is not None else [])
            self._fall_behind(self._events.flush(until))
        took = time.perf_counter() - began
        rest = min(took * FEED_REST_FACTOR, FEED_FLUSH_REST_SECONDS_MAX)
        self._flush_from = self._loop.time() + max(FEED_INTERVAL_SECONDS, took + rest)

    def _tick(self) -> None:
        self._tick_timer = None
        if not self.observers:
            return
        if self._node.is_cut_off:
            self._end_all(self._node.elsewhere("this node hears of no leader"))
            return
        self._fall_behind(self._events.reassure(time.perf_counter() + FEED_FLUSH_SECONDS_MAX))
        alive = encode_frame(FrameKind.FEED, encode_feed(Alive(self._node.replica.index)))
        for observer in self.observers:
            if observer.is_quiet and not observer.is_full:
                observer.send(alive)
            observer.is_quiet = True
        self._tick_timer = self._loop.call_later(FEED_ALIVE_SECONDS / 2, self._guarded, self._tick)

    # --- those who are behind ----------------------------------------------------------------------------------------

    def _fall_behind(self, observers: list[Observer]) -> None:
        for observer in observers:
            self._behind[observer] = None
        if self._behind and self._pump_timer is None:
            self._pump_timer = self._loop.call_soon(self._guarded, self._pump)

    def _pump(self) -> None:
        """Look after one of those who are behind: the first that can be helped. It goes to the end of the queue."""
        self._pump_timer = None
        began, did = time.perf_counter(), Work.NOTHING
        for observer in list(self._behind):
            del self._behind[observer]
            self._behind[observer] = None
            did = max(did, self._help(observer))
            if did is Work.PART or time.perf_counter() - began > FEED_SLICE_SECONDS:
                break
        if not self._behind:
            return
        rest = FEED_INTERVAL_SECONDS
        if did is not Work.NOTHING:
            rest = min((time.perf_counter() - began) * FEED_REST_FACTOR, FEED_REST_SECONDS_MAX)
        self._pump_timer = self._loop.call_later(rest, self._guarded, self._pump)

    def _help(self, observer: Observer) -> Work:
        now, connection = self._loop.time(), observer.connection
        if observer.is_full:
            # While it holds a snapshot, some bytes now and then are not enough; where others wait for that, it has less
            # time as well.
            holds = observer.transfer is not None
            seconds_max = FEED_CROWDED_SECONDS_MAX if holds and self._log.is_crowded else FEED_STALL_SECONDS_MAX
            if observer.stalled_seconds(now, FEED_SNAPSHOT_TAKEN_BYTES_MIN if holds else 1) > seconds_max:
                logger.warning("an observer takes too little; it is cut off", remote=connection.remote)
                self.end(observer)
                connection.close("it takes too little of the feed", at_once=True)
            return Work.NOTHING
        observer.drained()
        try:
            if isinstance(observer, EventObserver):
                did = self._events.step(observer)
                is_live = observer in observer.channel.live
            else:
                did = self._log.step(observer, now)
                is_live = observer in self._log.live
        except (BadBytes, StorageError) as error:
            logger.error("the feed cannot be read", error=describe(error))
            self.end(observer, self._node.elsewhere("this node cannot read its log or its snapshot"))
            return Work.CHEAP
        except RsmError as error:
            self.end(observer, error)
            return Work.CHEAP
        if is_live:
            self._behind.pop(observer, None)
        return did
