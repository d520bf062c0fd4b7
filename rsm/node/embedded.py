"""The embedded runtime: one machine, one process, durable, no network.

Theory of operation. Callers encode their commands and queue them; one runner thread takes whatever waits, joins it into
a batch, proposes it to the solo engine, appends it to the journal and syncs it, and only then applies it and gives the
answers. While one batch is being synced the next one collects: under load a single `fdatasync` carries a thousand
commands, and a lone caller waits for one.

The runner is a thread of its own so that nothing a caller does to its own thread (an interrupt from the keyboard, a
deep stack, a locale) can reach into a handler. Queries run in the caller's thread, under the lock that also guards
`apply`.

Whatever goes wrong outside a handler is fatal: the runner stops, every waiting caller gets the cause, later ones
`Closed`. Only a full disk at append is not: the journal takes the entry back, its callers get `StorageError`, and
nothing was logged.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Literal

from rsm.errors import Closed, RsmError, StorageError
from rsm.limits import BATCH_COMMANDS_MAX, IDLE_HASH_SECONDS, QUERY_SLICE_ITEMS, SNAPSHOT_LOG_BYTES
from rsm.machine.machine import StateMachine
from rsm.machine.outcome import Status
from rsm.node.clock import LogClock
from rsm.node.disk import Disk, OsDisk
from rsm.node.log import logger
from rsm.node.recovery import Recovered, recover
from rsm.node.snapshotter import Snapshotter
from rsm.node.submissions import Submission, Submissions
from rsm.raft.engine import Ready
from rsm.raft.solo import SoloEngine
from rsm.replica.answer import Answer
from rsm.replica.batch import (
    ACTIVATE,
    CLOSE_SESSION,
    CONFIRMED,
    FLAG_HASH_POINT,
    ITEM_HEAD,
    encode_call,
    encode_uint,
    join_batch,
    join_item,
)
from rsm.replica.events import RawEvent

Durability = Literal["fsync", "os"]
SECOND = 10**9


class Waiter(Submission):
    """A system command whose caller waits."""

    def __init__(self, session: int, call: bytes) -> None:
        super().__init__(session, call)
        self._done = threading.Event()
        self._answer: Answer | None = None
        self._error: BaseException | None = None

    def complete(self, answer: Answer) -> None:
        self._answer = answer
        self._done.set()

    def fail(self, error: BaseException) -> None:
        self._error = error
        self._done.set()

    def wait(self) -> Answer:
        """The answer, when it is there."""
        self._done.wait()
        if self._answer is None:
            raise self._error or Closed("the machine is closed")
        return self._answer


class Embedded:
    """A machine opened in this process. Thread-safe; `close` it, or its directory stays locked with the process."""

    def __init__(
        self,
        machine: type[StateMachine],
        path: str,
        *,
        durability: Durability = "fsync",
        snapshot_log_bytes: int = SNAPSHOT_LOG_BYTES,
        disk: Disk | None = None,
    ) -> None:
        recovered: Recovered = recover(machine, path, OsDisk() if disk is None else disk)
        self.replica = recovered.replica
        self.journal = recovered.journal
        self.directory = recovered.directory
        self.submissions = Submissions()
        self._durability = durability
        self._engine = SoloEngine(recovered.term, self.journal.last_index)
        self._clock = LogClock(self.replica.system.clock)
        self._state_lock = threading.Lock()
        self._event_waiters: list[Callable[[], None]] = []
        self._failure: BaseException | None = None
        self._closing = False
        self._unconfirmed: list[tuple[int, bytes]] = []
        self._dirty_since_hash = False
        self._snapshotter = Snapshotter(
            self.replica, self.journal, recovered.snapshots, snapshot_log_bytes, self._state_lock, self.submissions.wake
        )
        self._run_first(recovered)
        self._thread = threading.Thread(target=self._run, name=f"rsm-{self.replica.definition.name}", daemon=True)
        self._thread.start()

    # --- for callers ----------------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> None:
        """Queue a command; it is told the answer, or the failure."""
        self.submissions.put(submission)

    def call(self, name: str, values: list[Any], session: int = 0) -> Answer:
        """Run one of the system's own commands and wait for its answer."""
        waiter = Waiter(session, encode_call(name, 1, values))
        self.submit(waiter)
        return waiter.wait()

    def query(self, name: str, values: list[Any]) -> bytes:
        """Run a query on the latest applied state: MessagePack of the result."""
        self._check_open()
        with self._state_lock:
            return self.replica.query(name, values)

    def stream(self, name: str, values: list[Any]) -> Iterator[list[bytes]]:
        """Run a generator query on the latest state: slices of items, all from one index; commands go on between."""
        self._check_open()
        with self._state_lock:
            items = self.replica.stream(name, values)
            # The first slice at once: it fixes the index, and a stream that has begun closes its view when it is
            # dropped.
            first = list(islice(items, QUERY_SLICE_ITEMS))
        return self._slices(first, items)

    def _slices(self, taken: list[bytes], items: Iterator[bytes]) -> Iterator[list[bytes]]:
        while taken:
            yield taken
            with self._state_lock:
                taken = list(islice(items, QUERY_SLICE_ITEMS))

    def events_after(self, number: int, limit: int) -> list[tuple[int, RawEvent]]:
        """Up to `limit` events after `number`; `EventsGap` if some are gone."""
        self._check_open()
        with self._state_lock:
            return self.replica.ring.after(number, limit)

    def cursor(self, name: str | None) -> int:
        """The number of the last event that a named cursor has handled; for no name, the last one that is gone."""
        with self._state_lock:
            oldest = self.replica.ring.oldest - 1
            return oldest if name is None else self.replica.system.cursors.get(name, 0)

    def when_events(self, notify: Callable[[], None]) -> None:
        """Call `notify` once, from the runner's thread, when there are new events or the machine stops."""
        with self._state_lock:
            self._event_waiters.append(notify)
        if not self._thread.is_alive():
            self._notify_events()

    def snapshot(self) -> int:
        """Write a snapshot at a new hash point and drop the log before it; returns its index."""
        self._check_open()
        return self._snapshotter.request()

    def log_time(self) -> int:
        """The log's time as the last batch left it, in nanoseconds."""
        return self.replica.system.clock

    def status(self) -> Status:
        """Where the machine stands, or where it stood when it was closed."""
        if self._failure is not None:
            raise self._closed()
        with self._state_lock:
            replica = self.replica
            root_index = max(replica.roots, default=0)
            return Status(
                machine=replica.definition.name,
                version=replica.definition.version,
                index=replica.index,
                log_time=replica.system.clock,
                root_index=root_index,
                root=replica.roots.get(root_index, b"").hex(),
                sessions=len(replica.sessions),
                timers=len(replica.system.timers),
                log_bytes=self.journal.stored_bytes,
                snapshot_index=self._snapshotter.last_index,
            )

    def close(self, session: int = 0) -> None:
        """End the session, take a last root, make everything durable, let go of the directory. May be called twice."""
        if self._thread.is_alive() and not self._closing:
            if session:
                self.call(CLOSE_SESSION, [session])
            self._closing = True
            self.submissions.wake()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def is_open(self) -> bool:
        """Whether commands are taken."""
        return not self._closing and self._failure is None

    def _check_open(self) -> None:
        if not self.is_open:
            raise self._closed()

    def _closed(self) -> BaseException:
        error = Closed(
            "the machine is closed" if self._failure is None else f"the machine has stopped: {self._failure}"
        )
        error.__cause__ = self._failure
        return error

    # --- the runner -----------------------------------------------------------------------------------------------

    def _run_first(self, recovered: Recovered) -> None:
        """Before anyone else: announce schema and version where the log does not know them, end dead sessions."""
        replica, definition = self.replica, self.replica.definition
        first: list[Submission] = []
        schema = definition.schema()
        if replica.schema != schema or replica.system.machine_version != definition.version:
            seed = replica.system.seed or secrets.token_bytes(16)
            values = [definition.name, definition.version, schema, seed]
            first.append(Submission(0, encode_call(ACTIVATE, 1, values)))
        # Sessions without a time to live belong to the process that opened them, and that process is gone.
        for number in sorted(number for number, session in replica.sessions.items() if session.ttl == 0):
            first.append(Submission(0, encode_call(CLOSE_SESSION, 1, [number])))
        try:
            while first:
                self._step(first[:1000], 0)
                del first[:1000]
        except BaseException:
            self._release()
            raise

    def _run(self) -> None:
        try:
            while not self._closing:
                taken = self.submissions.take(self._idle_seconds(), BATCH_COMMANDS_MAX - len(self._unconfirmed))
                if taken:
                    self._step(taken, 0)
                else:
                    self._tend()
                self._snapshotter.advance(is_idle=not taken)
            self._finish()
        except BaseException as error:
            self._failure = error
            logger.critical("the machine has stopped", error=str(error), exc_info=not isinstance(error, RsmError))
        finally:
            self._closing = True
            for submission in self.submissions.refuse(self._closed):
                submission.fail(self._closed())
            self._release()
            self._notify_events()

    def _idle_seconds(self) -> float:
        if self._snapshotter.is_producing:
            return 0.0
        wait = IDLE_HASH_SECONDS if self._dirty_since_hash else 3600.0
        due = self.replica.next_due()
        if due is not None:
            wait = min(wait, max(0.0, (due - self._clock.now()) / SECOND))
        return wait

    def _tend(self) -> None:
        """Nobody waits: let time pass in the log where something is due, and close an open hash interval."""
        due = self.replica.next_due()
        if self._snapshotter.wants_hash_point or (self._dirty_since_hash and not self._snapshotter.is_producing):
            self._step([], FLAG_HASH_POINT)
            if self._unconfirmed:
                self._step([], 0)
        elif due is not None and due <= self._clock.now():
            self._step([], 0)
            self._dirty_since_hash = not self._unconfirmed

    def _finish(self) -> None:
        """The last words: what still waits, then a hash point, and its confirmation."""
        while taken := self.submissions.take(0, BATCH_COMMANDS_MAX - len(self._unconfirmed)):
            self._step(taken, 0)
        self._step([], FLAG_HASH_POINT)
        self._step([], 0)
        self._snapshotter.stop()

    def _step(self, taken: list[Submission], flags: int) -> None:
        """One batch, from bytes to answers."""
        if self._snapshotter.wants_hash_point:
            flags |= FLAG_HASH_POINT
        confirmations = [join_item(0, 0, 0, encode_call(CONFIRMED, 1, list(root))) for root in self._unconfirmed]
        items = confirmations + self._join(taken)
        payload = join_batch(self.replica.definition.version, self._clock.now(), flags, items)
        self._engine.propose(payload)
        try:
            ready = self._persist()
        except BaseException as error:
            self._fail(taken, error)
            if isinstance(error, StorageError) and self.journal.is_usable:
                logger.error("commands were refused, nothing was logged", error=str(error))
                return
            raise
        self._unconfirmed.clear()
        for entry in ready.committed:
            try:
                with self._state_lock:
                    applied = self.replica.apply(entry)
            except BaseException as error:
                self._fail(taken, error)
                raise
            self._dirty_since_hash = bool(taken) or (self._dirty_since_hash and applied.root is None)
            if applied.root is not None:
                self._dirty_since_hash = False
                self._unconfirmed.append((applied.index, applied.root))
                self._snapshotter.at_hash_point()
            for submission, answer in zip(taken, applied.answers[len(confirmations) :], strict=True):
                submission.complete(answer)
            for failure in applied.failures:
                logger.error(
                    "handler_failed",
                    index=failure.index,
                    position=failure.position,
                    name=failure.name,
                    traceback=failure.traceback,
                )
        if self._event_waiters:
            self._notify_events()

    def _join(self, taken: list[Submission]) -> list[bytes]:
        """Items for submissions. A session's numbers go on from where the log stands; all before them are answered."""
        heads: dict[int, tuple[bytes, bytes]] = {}
        firsts: dict[int, int] = {}
        sequences: dict[int, int] = {}
        items = []
        for submission in taken:
            number = submission.session
            sequence = sequences.get(number)
            if sequence is None:
                session = self.replica.sessions.get(number)
                sequence = 0 if number == 0 else 1 if session is None else session.next_sequence
                firsts[number] = sequence
                heads[number] = (ITEM_HEAD + encode_uint(number), encode_uint(sequence))
            sequences[number] = sequence + 1 if number else 0
            if submission.key is None:
                head, lowest = heads[number]
                items.append(head + encode_uint(sequence) + lowest + submission.call)
            else:
                items.append(join_item(number, sequence, firsts[number], submission.call, submission.key))
        return items

    def _persist(self) -> Ready:
        ready = self._engine.ready()
        try:
            self.journal.append(ready.persist)
        except StorageError:
            for entry in reversed(ready.persist):
                self._engine.withdraw(entry)
            raise
        if self._durability == "fsync":
            self._engine.durable(self.journal.sync())
        else:
            self._engine.durable(self.journal.last_index)
        return self._engine.ready()

    def _fail(self, taken: list[Submission], error: BaseException) -> None:
        for submission in taken:
            submission.fail(error)

    def _notify_events(self) -> None:
        with self._state_lock:
            waiters, self._event_waiters = self._event_waiters, []
        for notify in waiters:
            notify()

    def _release(self) -> None:
        """Close files and let go of the lock, whatever state the rest is in."""
        self._snapshotter.abandon()
        for close in (self.journal.close, self.directory.close):
            try:
                close()
            except RsmError as error:
                logger.error("while closing", error=str(error))
