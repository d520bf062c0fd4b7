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

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any, Literal, get_args

from rsm.codec.record import Entry
from rsm.errors import CallerError, Closed, InvalidCommand, RsmError, SessionExpired, StorageError, WrongMachine
from rsm.limits import (
    BATCH_COMMANDS_MAX,
    FULL_DISK_RETRY_SECONDS,
    IDLE_HASH_SECONDS,
    QUERY_SLICE_ITEMS,
    SEGMENT_BYTES,
    SEGMENT_BYTES_MIN,
    SNAPSHOT_LOG_BYTES,
    TICK_SECONDS_MIN,
)
from rsm.machine.machine import StateMachine
from rsm.machine.outcome import ClientStats, Reading, Status
from rsm.node.clock import LogClock
from rsm.node.log import describe, logger
from rsm.node.opening.recovery import recover
from rsm.node.snapshotting.snapshotter import Snapshotter
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.disk import Disk, OsDisk
from rsm.node.storage.journal import Journal
from rsm.node.storage.root_book import RootBook
from rsm.node.submissions import Submission, Submissions, join_items
from rsm.raft.engine import Ready
from rsm.raft.solo import SoloEngine
from rsm.replica.answer import Answer, decode, raise_answer
from rsm.replica.answer import Status as AnswerStatus
from rsm.replica.batch import (
    ACTIVATE,
    CLOSE_SESSION,
    CONFIRMED,
    FLAG_HASH_POINT,
    FLAG_UPGRADE,
    OPEN_SESSION,
    Batch,
    encode_call,
    join_batch,
    join_item,
)
from rsm.replica.events import RawEvent
from rsm.replica.replica import Replica
from rsm.state.leaf import digest128

Durability = Literal["fsync", "os"]
SECOND = 10**9
IDLE_SECONDS_MAX = 3600.0  # a sleep ends early when anything happens; this is only its length when nothing does
FIRST_COMMANDS_PER_BATCH = 1000


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
    """A machine opened in this process. Thread-safe. Its directory is locked until it is closed or the process ends."""

    replica: Replica
    journal: Journal
    directory: MachineDirectory
    _engine: SoloEngine
    _clock: LogClock
    _snapshotter: Snapshotter
    _book: RootBook
    timeout_seconds: float | None = None  # a disk answers, or fails

    def __init__(
        self,
        machine: type[StateMachine],
        path: str,
        *,
        durability: Durability = "fsync",
        snapshot_log_bytes: int = SNAPSHOT_LOG_BYTES,
        disk: Disk | None = None,
    ) -> None:
        if durability not in get_args(Durability):
            raise CallerError(f"durability must be one of {', '.join(get_args(Durability))}, not {durability!r}")
        if type(snapshot_log_bytes) is not int or snapshot_log_bytes < 1:
            raise CallerError(f"snapshot_log_bytes must be an int from 1, not {snapshot_log_bytes!r}")
        self.submissions = Submissions()
        self._durability = durability
        self._snapshot_log_bytes = snapshot_log_bytes
        self._state_lock = threading.Lock()
        self._event_waiters: list[Callable[[], None]] = []
        self._failure: BaseException | None = None
        self._closing = False
        self._closing_session = 0  # ended as the last thing
        self._unconfirmed: list[tuple[int, bytes]] = []
        self._hash_by: float | None = None  # when an open hash interval is closed at the latest, if nothing happens
        self._tick_from = 0.0  # not before this does the runner write an entry for timers alone
        self._retry_at = 0.0  # the disk was full: not before this does the runner write of its own accord
        opened: Future[None] = Future()
        self._thread = threading.Thread(
            target=self._run,
            args=(machine, path, OsDisk() if disk is None else disk, opened),
            name=f"rsm-{machine.definition.name}",
            daemon=True,
        )
        self._thread.start()
        try:
            opened.result()
        except BaseException:
            self._closing = True  # an interrupt of this thread: have the runner stop where it is
            self.submissions.wake()
            self._thread.join()
            raise

    # --- for callers ----------------------------------------------------------------------------------------------

    def submit(self, submission: Submission) -> None:
        """Queue a command; it is told the answer, or the failure."""
        self.submissions.put(submission)

    def call(self, name: str, values: list[Any], session: int = 0) -> Answer:
        """Run one of the system's own commands and wait for its answer."""
        waiter = Waiter(session, encode_call(name, 1, values))
        self.submit(waiter)
        return waiter.wait()

    def open_session(self, principal: str, ttl: int) -> int:
        """Open a session through the log; `ttl` in nanoseconds, 0 for as long as the process lives. Its number."""
        answer = self.call(OPEN_SESSION, [principal, ttl])
        if answer.status != AnswerStatus.OK:
            raise_answer(answer, "session")
        number: int = decode(answer.body)
        return number

    def close_session(self, number: int) -> None:
        """End a session through the log."""
        self.call(CLOSE_SESSION, [number])

    def query(self, name: str, values: list[Any], reading: Reading) -> tuple[int, bytes]:
        """Run a query on the latest applied state, whatever less would do: its index, MessagePack of the result."""
        with self._reading():
            return self.replica.index, self.replica.query(name, values)

    def query_later(self, name: str, values: list[Any], reading: Reading, reply: Any) -> None:
        """The same, told to `reply`; nothing has to wait here."""
        try:
            reply.finish(self.query(name, values, reading))
        except Exception as error:
            reply.fail(error)

    def stream(self, name: str, values: list[Any], reading: Reading) -> Iterator[list[bytes]]:
        """Run a generator query on the latest applied state: slices of items, all from one index; commands go on
        between.
        """
        with self._reading():
            items = self.replica.stream(name, values)
            # The first slice at once: it fixes the index, and a stream that has begun closes its view when it is
            # dropped.
            first = list(islice(items, QUERY_SLICE_ITEMS))
        return self._slices(first, items)

    def _slices(self, taken: list[bytes], items: Iterator[bytes]) -> Iterator[list[bytes]]:
        while taken:
            yield taken
            with self._reading():
                taken = list(islice(items, QUERY_SLICE_ITEMS))

    def events_after(self, number: int, limit: int) -> list[tuple[int, RawEvent]]:
        """Up to `limit` events after `number`; `EventsGap` if some are gone."""
        with self._reading():
            return self.replica.ring.after(number, limit)

    def events_later(self, after: int, limit: int, reply: Any, *, wait: bool) -> None:
        """Tell `reply` the events after a number. With `wait`, when there are none, that it is time to look again."""
        try:
            found = self.events_after(after, limit)
            if found or not wait:
                reply.finish(found)
                return
            self.when_events(lambda: reply.finish([]))
            if self.events_after(after, 1):
                reply.finish([])
        except Exception as error:
            reply.fail(error)

    def watch_later(self, name: str, values: list[Any], seen: bytes, reply: Any, *, wait: bool) -> None:
        """Tell `reply` the index and the result of a query, if its digest is not `seen`; else the index alone, with
        `wait` after the next commands: then it is time to look again.
        """
        try:
            found = self._look(name, values, seen)
            if found[1] is not None or not wait:
                reply.finish(found)
                return
            self.when_events(lambda: reply.finish((found[0], None)))
            with self._reading():
                has_moved = self.replica.index != found[0]
            if has_moved:  # before it was known that somebody waits
                reply.finish((found[0], None))
        except Exception as error:
            reply.fail(error)

    def _look(self, name: str, values: list[Any], seen: bytes) -> tuple[int, bytes | None]:
        spec = self.replica.definition.queries.get(name)
        if spec is not None and spec.is_stream:
            raise InvalidCommand(f"query {name} gives one item after another: it cannot be watched")
        index, packed = self.query(name, values, Reading())
        return index, None if digest128(packed) == seen else packed

    def cursor_later(self, session: int, name: str | None, skip_gap: bool, reply: Any) -> None:
        """`cursor`, told to `reply`."""
        try:
            reply.finish(self.cursor(session, name, skip_gap=skip_gap))
        except Exception as error:
            reply.fail(error)

    def cursor(self, session: int, name: str | None, *, skip_gap: bool = False) -> int:
        """The number of the last event that a cursor of the session's principal has handled; for no name, the last one
        that is gone.

        With `skip_gap`, a cursor that points before the oldest event kept is moved there.
        """
        with self._reading():
            gone = self.replica.ring.oldest - 1
            handled = gone if name is None else self._handled(session, name)
            return max(handled, gone) if skip_gap else handled

    def _handled(self, session: int, name: str) -> int:
        found = self.replica.sessions.get(session)
        if found is None:
            raise SessionExpired("events: the session has ended")
        return self.replica.system.cursors.get((found.principal, name), 0)

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

    @property
    def schema(self) -> dict[str, Any]:
        """The machine's schema, as the log declares it."""
        return self.replica.schema or {}

    def look_again(self) -> None:
        """Nothing to do: it is looked at where it is."""

    def log_time(self) -> int:
        """The log's time as the last batch left it, in nanoseconds."""
        return self.replica.system.clock

    def stats(self) -> ClientStats:
        """Nothing: there is no network here."""
        return ClientStats()

    def status(self) -> Status:
        """Where the machine stands, or where it stood when it was closed."""
        if self._failure is not None:
            raise self._closed()
        with self._locked():
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
        """End the session, take a last root, make everything durable, let go of the directory. May be called twice.

        Commands that were sent before are answered, later ones get `Closed`. If the machine fails while it closes, so
        does this, with `Closed`.
        """
        if threading.current_thread() is self._thread:
            raise CallerError("a handler cannot close its own machine")
        was_open = self.is_open
        if was_open:
            self._closing_session = session
        self._closing = True
        self.submissions.wake()
        self._thread.join()
        if was_open and self._failure is not None:
            raise self._closed()

    @property
    def is_open(self) -> bool:
        """Whether commands are taken."""
        return not self._closing and self._failure is None

    def _check_open(self) -> None:
        if not self.is_open:
            raise self._closed()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """The state stands still inside."""
        if threading.get_ident() == self._thread.ident:
            raise CallerError("a handler cannot ask its own machine through a client: read its state directly")
        with self._state_lock:
            yield

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        """The state stands still inside, and is whole."""
        with self._locked():
            self._check_open()  # once it has the lock: a failure may have left the state half changed
            yield

    def _closed(self) -> BaseException:
        failure = self._failure
        error = Closed("the machine is closed" if failure is None else f"the machine has stopped: {describe(failure)}")
        error.__cause__ = failure
        return error

    # --- the runner -----------------------------------------------------------------------------------------------

    def _run(self, machine: type[StateMachine], path: str, disk: Disk, opened: Future[None]) -> None:
        try:
            self._open(machine, path, disk)
        except (KeyboardInterrupt, SystemExit) as error:
            # From a handler, since signals reach the main thread only: not to be taken for one of the caller's.
            closed = Closed(f"{path}: could not be opened: {describe(error)}")
            closed.__cause__ = error
            opened.set_exception(closed)
            return
        except BaseException as error:
            opened.set_exception(error)
            return
        self.submissions.consumer_ident = threading.get_ident()
        opened.set_result(None)
        try:
            while not self._closing:
                taken = self.submissions.take(self._idle_seconds(), BATCH_COMMANDS_MAX - len(self._unconfirmed))
                if taken:
                    self._step(taken, 0)
                else:
                    self._tend()
                self._snapshotter.advance()
            self._finish()
        except BaseException as error:
            self._failure = error
            logger.critical(
                "the machine has stopped",
                error=describe(error),
                exc_info=None if isinstance(error, RsmError) else error,
            )
        finally:
            self._closing = True
            self.submissions.refuse(self._closed)
            self._release()
            while taken := self.submissions.take(0):
                self._fail(taken, self._closed())
            self._notify_events()

    def _open(self, machine: type[StateMachine], path: str, disk: Disk) -> None:
        """Recover; then, before anyone else, announce schema and version where the log lacks them and end dead
        sessions.
        """
        # Only whole segments are dropped: none may be larger than what a snapshot is taken for.
        segment_bytes = max(SEGMENT_BYTES_MIN, min(SEGMENT_BYTES, self._snapshot_log_bytes))
        recovered = recover(machine, path, disk, lambda: self._closing, segment_bytes=segment_bytes)
        self.replica, self.journal, self.directory = recovered.replica, recovered.journal, recovered.directory
        self._book = self.directory.open_roots()
        for index, root in sorted(self.replica.roots.items()):
            self._book.note(index, root)
        self._engine = SoloEngine(recovered.term, self.journal.last_index)
        self._clock = LogClock(self.replica.system.clock)
        self._snapshotter = Snapshotter(
            self.replica,
            self.journal,
            recovered.snapshots,
            log_bytes=self._snapshot_log_bytes,
            tail_bytes=recovered.tail_bytes,
            wake=self.submissions.wake,
        )
        try:
            first = self._first_commands()
            for start in range(0, len(first), FIRST_COMMANDS_PER_BATCH):
                refused = self._step(first[start : start + FIRST_COMMANDS_PER_BATCH], 0)
                if refused is not None:
                    raise refused
            self._move_on()
        except BaseException:
            self._release()
            raise

    def _first_commands(self) -> list[Submission]:
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
        return first

    def _move_on(self) -> None:
        """To the newest release that the class ships: nobody else has to have it."""
        while (target := self.replica.next_release) is not None:
            call = encode_call(ACTIVATE, 1, [target.name, target.version, target.schema(), b""])
            refused = self._step([], 0)
            raised = "" if refused is not None else self.replica.try_migration(target)
            if raised:
                logger.error("migrate_state raises; nothing was logged", version=target.version, traceback=raised)
            elif refused is None:
                refused = self._step([Submission(0, call)], FLAG_UPGRADE | FLAG_HASH_POINT)
            if refused is not None:
                raise refused
            if self.replica.definition is not target:
                raise WrongMachine(
                    f"{self.directory.path}: migrate_state of version {target.version} raised (see the log); version "
                    f"{self.replica.definition.version} stays in force: open it with that release, or mend this one"
                )
            logger.info("the machine has moved on", version=target.version, index=self.replica.index)

    def _idle_seconds(self) -> float:
        """How long nothing needs to be done if nobody asks for anything."""
        if self._snapshotter.is_producing:
            return self._snapshotter.rest_seconds
        now = time.monotonic()
        wait = 0.0 if self._snapshotter.wants_hash_point else IDLE_SECONDS_MAX
        if self._hash_by is not None:
            wait = min(wait, self._hash_by - now)
        due = self.replica.next_due()
        if due is not None:
            wait = min(wait, max((due - self._clock.now()) / SECOND, self._tick_from - now))
        return max(wait, self._retry_at - now, 0.0)

    def _tend(self) -> None:
        """Nothing to do for callers: let time pass in the log where something is due, close an open hash interval."""
        now = time.monotonic()
        if now < self._retry_at:
            return
        due = self.replica.next_due()
        is_hash_due = self._hash_by is not None and self._hash_by <= now and not self._snapshotter.is_producing
        if is_hash_due or self._snapshotter.wants_hash_point:
            self._step([], FLAG_HASH_POINT)
            if self._unconfirmed:
                self._step([], 0)
        elif due is not None and due <= self._clock.now() and self._tick_from <= now:
            self._tick_from = now + TICK_SECONDS_MIN
            self._step([], 0)
            if not self._unconfirmed:
                self._begin_hash_interval()

    def _begin_hash_interval(self) -> None:
        if self._hash_by is None:
            self._hash_by = time.monotonic() + IDLE_HASH_SECONDS

    def _finish(self) -> None:
        """The last words: what still waits, the end of the session, a hash point, and its confirmation."""
        self.submissions.refuse(self._closed)
        while taken := self.submissions.take(0, BATCH_COMMANDS_MAX - len(self._unconfirmed)):
            self._step(taken, 0)
        session = self._closing_session
        # If the disk is full, the session is ended when the directory is opened next.
        self._step([Submission(0, encode_call(CLOSE_SESSION, 1, [session]))] if session else [], FLAG_HASH_POINT)
        self._step([], 0)
        self._snapshotter.stop()

    def _step(self, taken: list[Submission], flags: int) -> StorageError | None:
        """One batch, from bytes to answers. Returns why, if the disk would not take it: then nothing was logged."""
        try:
            if self._snapshotter.wants_hash_point:
                flags |= FLAG_HASH_POINT
            confirmations = [join_item(0, 0, 0, encode_call(CONFIRMED, 1, list(root))) for root in self._unconfirmed]
            items, decoded = join_items(self.replica.sessions, taken)
            version, stamp = self.replica.definition.version, self._clock.now()
            payload = join_batch(version, stamp, flags, confirmations + items)
            batch = None if decoded is None or confirmations else Batch(version, stamp, flags, decoded)
            self._engine.propose(payload)
            try:
                ready = self._persist()
            except StorageError as error:
                if not self.journal.is_usable:
                    raise
                self._refuse(taken, error)
                return error
            self._unconfirmed.clear()
            for entry in ready.committed:
                self._apply(entry, batch if entry.payload is payload else None, taken, len(confirmations))
        except BaseException as error:
            # Those who have their answers keep them.
            self._fail(taken, error)
            raise
        if self._event_waiters:
            self._notify_events()
        return None

    def _apply(self, entry: Entry, batch: Batch | None, taken: list[Submission], confirmations: int) -> None:
        with self._state_lock:
            try:
                applied = self.replica.apply(entry, batch)
            except BaseException as error:
                self._failure = error  # before the lock is free: no query may see what is half done
                raise
        for submission, answer in zip(taken, applied.answers[confirmations:], strict=True):
            submission.index = applied.index
            submission.complete(answer)
        for failure in applied.failures:
            logger.error(
                "handler_failed",
                index=failure.index,
                position=failure.position,
                name=failure.name,
                traceback=failure.traceback,
            )
        if applied.root is not None:
            self._hash_by = None
            self._unconfirmed.append((applied.index, applied.root))
            self._book.note(applied.index, applied.root)
            self._snapshotter.at_hash_point()
        elif taken:
            self._begin_hash_interval()

    def _refuse(self, taken: list[Submission], error: StorageError) -> None:
        """The disk is full: say so to whoever waits, and let some time pass before writing of our own accord."""
        logger.error("commands were refused, nothing was logged", error=str(error))
        self._retry_at = time.monotonic() + FULL_DISK_RETRY_SECONDS
        self._fail(taken, error)
        self._snapshotter.refuse(error)

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
        if not isinstance(error, RsmError):
            # A KeyboardInterrupt in a handler must not become one of its caller's.
            failure, error = error, Closed(f"the machine has stopped: {describe(error)}")
            error.__cause__ = failure
        for submission in taken:
            submission.fail(error)

    def _notify_events(self) -> None:
        with self._state_lock:
            waiters, self._event_waiters = self._event_waiters, []
        for notify in waiters:
            notify()

    def _release(self) -> None:
        """Close files and let go of the lock, whatever state the rest is in."""
        self._snapshotter.abandon(self._closed())
        for close in (self._book.close, self.journal.close, self.directory.close):
            try:
                close()
            except BaseException as error:  # whatever it is, the rest is closed too
                logger.error("while closing", error=describe(error))
                self._failure = self._failure or error
