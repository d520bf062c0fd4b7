"""The replica: applies committed entries one after another, and decides everything that follows from them.

Theory of operation. `apply(entry)` is a function of the state and the entry alone. A batch first moves the log's clock,
then drops expired keys, ends expired sessions and fires due timers, then runs its commands in order. Each command runs
in its own rollback scope. At a hash point (every `HASH_INTERVAL_ENTRIES` indexes, and where a batch asks for one) the
replica computes its state root, scrubs a few buckets, and remembers the root for `rsm.confirmed` entries to compare
with.

The output record, `Applied`, names everything that the shell has to do: answer the callers, publish the events, log the
failures. Nothing in it may be shown to anyone before the entry is committed and durable; the shell sees to that.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes, DivergenceError, InvalidCommand, ReleaseMissing, UnknownFormat
from rsm.limits import HASH_INTERVAL_ENTRIES, KEY_LENGTH_MAX, ROOTS_KEPT, TIMERS_PER_ENTRY_MAX
from rsm.machine.definition import Definition, QuerySpec
from rsm.machine.machine import StateMachine, containers_of, keep_scalars, open_view, successor
from rsm.machine.values import fingerprint
from rsm.replica import keys
from rsm.replica.agreement import Agreement
from rsm.replica.answer import Answer, Status
from rsm.replica.batch import ACTIVATE, PIPELINE, Batch, decode_batch
from rsm.replica.compatibility import check_schema
from rsm.replica.events import EventRing
from rsm.replica.executor import Executor, Failure
from rsm.replica.sessions import Session, SessionTable
from rsm.replica.system import System
from rsm.replica.system_commands import LEADER_COMMANDS, SESSION_COMMANDS
from rsm.state.leaf import digest128, encode, hash64
from rsm.state.store import Store

# Session ends and timers of an entry take the positions before its commands, rising: identities of events rise too.
POSITION_BEFORE: Final = -2 * TIMERS_PER_ENTRY_MAX - 1

MALFORMED = Answer(Status.INVALID, encode(("malformed item", -1)))
UNKNOWN_COMMAND = Answer(Status.INVALID, encode(("unknown command", -1)))
NO_SESSION = Answer(Status.SESSION_EXPIRED, b"")


class Applied(msgspec.Struct, frozen=True):
    """What one entry did. `answers` align with the batch's items; `root` is set at hash points.

    Publish nothing of it before the entry is committed and durable.
    """

    index: int
    answers: list[Answer]
    failures: list[Failure]
    root: bytes | None


class Difference(msgspec.Struct, frozen=True):
    """A confirmed root that is not ours."""

    index: int
    root: bytes
    confirmed: bytes
    good_index: int  # the last one before it at which they were the same, 0 if none was compared


class Replica:
    """One copy of a machine. Not thread-safe: one thread applies, queries run between entries."""

    machine: StateMachine
    definition: Definition  # of the release in force: the log selects it
    store: Store
    executor: Executor

    def __init__(self, machine_class: type[StateMachine]) -> None:
        self.newest: Definition = machine_class.definition  # it and the releases before it that it ships
        self.system = System()
        self.sessions = SessionTable()
        self.ring = EventRing()
        self._own_containers = {**containers_of(self.system), "rsm.sessions": self.sessions}
        self.adopt(machine_class())
        self.index = 0
        self.term = 0
        self.schema: dict[str, Any] | None = None  # as the log last declared it
        self.roots: dict[int, bytes] = {}  # the last ROOTS_KEPT hash points
        self.confirmed_index = 0  # a quorum had one root here, as far as this process has seen it in the log
        self.compared_index = 0  # and that root was ours
        self.agreement = Agreement()
        self.is_lone = True  # nobody else has a copy: what differs stops it. Else it is noted in the next two
        self.difference: Difference | None = None  # the first confirmed root that is not ours
        self.fault = ""  # what a scrub found changed behind the containers' back

    def adopt(self, machine: StateMachine, store: Store | None = None) -> None:
        """Go on with this machine, of whichever release, beside the same system state."""
        self.machine, self.definition = machine, type(machine).definition
        self.store = store or Store({**containers_of(machine), **self._own_containers})
        self.executor = self._make_executor()
        self._specs = self.definition.commands

    def _make_executor(self) -> Executor:
        return Executor(self.machine, self.system, self.store)

    # --- entries --------------------------------------------------------------------------------------------------

    def apply(self, entry: Entry, batch: Batch | None = None) -> Applied:
        """Apply the next committed entry. `batch` is what its payload decodes to, from a leader that made it of that.

        `ReleaseMissing`: it needs a release that is not here; nothing was applied, and nothing will be until it is.
        `DivergenceError` and `BadBytes` mean that this replica must stop; so does any other exception that comes out.
        """
        if entry.index != self.index + 1:
            raise DivergenceError(f"entry {entry.index} was handed to a replica that has applied {self.index}")
        answers: list[Answer] = []
        is_hash_point = entry.index % HASH_INTERVAL_ENTRIES == 0
        if entry.kind == RecordKind.BATCH:
            if batch is None:
                batch = decode_batch(entry.payload)
            is_hash_point = is_hash_point or batch.is_hash_point
            target = self._release_for(entry.index, batch)
            answers = self._apply_batch(entry.index, batch)
            if target is not None:
                self._upgrade(entry.index, target)
        elif entry.kind == RecordKind.CONFIGURATION:
            self.store.begin()
            self.system.configuration = entry.payload
            self.store.end()
        elif entry.kind != RecordKind.NOOP:
            raise BadBytes(f"entry {entry.index} is of kind {entry.kind}, which no log may hold")
        self.index, self.term = entry.index, entry.term
        failures, self.executor.failures = self.executor.failures, []
        return Applied(entry.index, answers, failures, self._take_root() if is_hash_point else None)

    # --- releases -------------------------------------------------------------------------------------------------

    def _release_for(self, index: int, batch: Batch) -> Definition | None:
        """What must be here before a batch is applied: the release that a new log begins under, or the one that the
        batch moves the machine to, which is the result.
        """
        if not self.system.machine_version and batch.machine_version != self.definition.version:
            self.adopt(self.release(batch.machine_version, f"the log begins at entry {index}").owner())
        if not batch.is_upgrade:
            return None
        version, schema = upgrade_of(index, batch)
        target = self.release(version, f"entry {index} moves the machine on")
        check_schema(target, self.definition.name, version, schema)
        # One release at a time: a migration knows the release before it, and no other.
        return target if target.previous is self.definition else None

    @property
    def next_release(self) -> Definition | None:
        """The shipped release that follows the one in force, None if there is none."""
        return next((one for one in self.newest.releases() if one.previous is self.definition), None)

    def release(self, version: int, what: str) -> Definition:
        """The release of a machine version; `ReleaseMissing` if it is not shipped here, beginning with `what`."""
        found = self.newest.release(version)
        if found is None:
            shipped = [one.version for one in self.newest.releases()]
            have = f"{shipped[-1]} to {shipped[0]}" if len(shipped) > 1 else f"{shipped[0]}"
            advice = "upgrade this node" if version > shipped[0] else "run a release that still ships it"
            raise ReleaseMissing(
                f"{what} under version {version} of {self.newest.name!r}, this release has {have}: {advice}", version
            )
        return found

    def try_migration(self, target: Definition) -> str:
        """Run a release's migration on the state as it is, and take everything back: what it raises, as a traceback,
        or an empty text. An upgrade whose migration raises is better not logged: who does not ship that release could
        not pass it, though the one before stays in force.
        """
        store = self.store
        try:
            machine = successor(target.owner, self.machine)
            store = Store({**containers_of(machine), **self._own_containers})
            store.begin()
            try:
                keep_scalars(machine, self.machine)
                machine.migrate_state(self.machine)
            finally:
                store.rollback(0)
                store.end()
        except Exception:
            return traceback.format_exc()
        return ""

    def _upgrade(self, index: int, target: Definition) -> None:
        """Go over to a newer release, or stay as it was if its migration raises."""
        machine = successor(target.owner, self.machine)
        store = Store({**containers_of(machine), **self._own_containers})
        failures = self.executor.failures
        store.begin()
        try:
            keep_scalars(machine, self.machine)
            machine.migrate_state(self.machine)
            self.system.machine_version = target.version
        except (MemoryError, RecursionError):
            raise
        except Exception:
            failures.append(Failure(index, 0, "migrate_state", traceback.format_exc()))
            store.rollback(0)
            store.end()
            return
        store.end()
        self.adopt(machine, store)
        self.executor.failures = failures
        self.schema = target.schema()

    def _apply_batch(self, index: int, batch: Batch) -> list[Answer]:
        system, executor, store = self.system, self.executor, self.store
        if system.machine_version and batch.machine_version != system.machine_version:
            raise DivergenceError(
                f"entry {index} was written under machine version {batch.machine_version}, "
                f"but {system.machine_version} is active"
            )
        context = executor.context
        store.begin()
        if batch.stamp > system.clock:
            system.clock = batch.stamp
        self.agreement.pass_time(index, batch.stamp)
        context.index, context.now, context.position = index, system.clock, POSITION_BEFORE
        executor.event_bytes = executor.result_bytes = 0
        keys.expire(system)
        self._end_expired_sessions()
        executor.fire_due_timers()
        answers = [self._item(position, item) for position, item in enumerate(batch.items)]
        events = executor.events
        if answers or events:
            system.digest = digest128(system.digest + encode((answers, events)))
        if events:
            self.ring.extend(events)
            system.event_count = self.ring.newest
            events.clear()
        store.end()
        return answers

    def _item(self, position: int, item: Any) -> Answer:
        """One command: find its session, run it if it is the session's next, remember the answer."""
        if type(item) is not list or not 6 <= len(item) <= 7:
            return MALFORMED
        if self.store.has_arrays:
            self.store.begin_command()
        number, sequence, lowest, name, version, values = item if len(item) == 6 else item[:6]
        if (
            type(number) is not int
            or type(sequence) is not int
            or type(lowest) is not int
            or type(name) is not str
            or type(version) is not int
        ):
            return MALFORMED
        try:
            packed = encode(values)
        except (TypeError, ValueError, OverflowError):
            return MALFORMED
        session = self.sessions.get(number)
        context = self.executor.context
        context.position, context.session, context.step = position, number, 0
        if session is None:
            if number != 0:
                return NO_SESSION
            leader_command = LEADER_COMMANDS.get(name)
            if leader_command is None:
                refuse_later_release(name)
                return NO_SESSION
            return leader_command(self, values)
        context.principal = session.principal
        spec = self._specs.get(name)
        if spec is not None and version == spec.version:
            mark = hash64(packed, spec.fingerprint_seed)
        elif spec is not None and version in spec.chains:  # what the client sent, not what becomes of it
            mark = hash64(packed, spec.chains[version].fingerprint_seed)
        else:
            mark = fingerprint(name, version, packed)
        if session.touched_at != context.index:
            self.sessions.touch(session, context.index, context.now)
        if sequence != session.next_sequence:
            return session.earlier(sequence, mark)
        if len(item) == 6:
            if spec is not None:
                answer = self.executor.run(spec, version, packed)
            else:
                answer = self._run_system(session, name, values)
        elif type(item[6]) is str and 0 < len(item[6]) <= KEY_LENGTH_MAX and (spec is not None or name == PIPELINE):
            answer = keys.run_once(
                self.system,
                session.principal,
                item[6],
                mark,
                lambda: (
                    self._run_system(session, name, values)
                    if spec is None
                    else self.executor.run(spec, version, packed)
                ),
            )
        else:
            answer = MALFORMED
        session.remember(mark, answer, lowest)
        return answer

    def _run_system(self, session: Session, name: str, values: Any) -> Answer:
        system_command = SESSION_COMMANDS.get(name)
        if system_command is None:
            refuse_later_release(name)
            return UNKNOWN_COMMAND
        return system_command(self, session, values)

    def _end_expired_sessions(self) -> None:
        for _ in range(TIMERS_PER_ENTRY_MAX):
            number = self.sessions.expired(self.system.clock)
            if number is None:
                return
            self.executor.context.position += 1
            self.end_session(number)

    def end_session(self, number: int) -> None:
        """End a session: its handler runs, then it is gone."""
        self.executor.end_session(number, self.sessions[number].principal)
        self.sessions.end(number)

    # --- roots ----------------------------------------------------------------------------------------------------

    def root(self) -> bytes:
        """The state root as of now: 16 bytes over every container, sessions, timers, clock, counters and answers."""
        return digest128(encode((self.definition.name, self.definition.version, self.store.digests())))

    def _take_root(self) -> bytes:
        root = self.roots[self.index] = self.root()
        if len(self.roots) > ROOTS_KEPT:
            del self.roots[min(self.roots)]
        if not self.fault:
            try:
                self.store.scrub()
            except DivergenceError as error:
                if self.is_lone:
                    raise
                self.fault = str(error)
        return root

    def compare_root(self, index: int, root: bytes) -> None:
        """Compare a confirmed root with ours. If they differ, a lone machine gets a `DivergenceError`, a node of a
        cluster notes it in `difference`. One that we no longer keep is not compared.
        """
        ours = self.roots.get(index)
        if ours is None:
            return
        if ours == root:
            self.compared_index = max(self.compared_index, index)
        elif not self.is_lone:
            self.difference = self.difference or Difference(index, ours, root, self.compared_index)
        else:
            raise DivergenceError(
                f"the state root at index {index} is {ours.hex()}, but the log says {root.hex()}: "
                f"the handlers, or what they read besides log and state, are not those that wrote the log"
            )

    # --- reads ----------------------------------------------------------------------------------------------------

    def next_due(self) -> int | None:
        """The log time at which a timer or a session's end is due next, or None; never later than the truth."""
        timer = self.system.timers.first()
        dues = (self.sessions.next_due(), None if timer is None else timer[0], self.agreement.deadline)
        return min((due for due in dues if due is not None), default=None)

    def query(self, name: str, values: list[Any]) -> bytes:
        """Run a query on the state as it is: MessagePack of its result."""
        spec, args = self._query(name, values)
        return encode(spec.handler(self.machine, *args))

    def stream(self, name: str, values: list[Any]) -> Iterator[bytes]:
        """Run a generator query on the state as it is now: MessagePack of each item.

        Entries may be applied between two items; all items come from the index at which the stream was opened. Close
        it, or read it to its end. `LimitExceeded` if too much changes meanwhile.
        """
        spec, args = self._query(name, values)
        machine, close = open_view(self.machine)
        return _stream(spec.handler(machine, *args), close)

    def _query(self, name: str, values: list[Any]) -> tuple[QuerySpec, tuple[Any, ...]]:
        spec = self.definition.queries.get(name)
        if spec is None:
            raise InvalidCommand(f"{self.definition.name} has no query {name!r}")
        return spec, spec.signature.decode(spec.signature.encode(values))


def _stream(items: Iterator[Any], close: Callable[[], None]) -> Iterator[bytes]:
    try:
        for item in items:
            yield encode(item)
    finally:
        close()


def upgrade_of(index: int, batch: Batch) -> tuple[int, dict[str, Any]]:
    """Machine version and schema that an upgrade's batch names; `BadBytes` if it names none."""
    for item in batch.items:
        if type(item) is list and len(item) == 6 and item[:4] == [0, 0, 0, ACTIVATE] and type(item[5]) is list:
            values = item[5]
            if len(values) == 4 and type(values[1]) is int and type(values[2]) is dict:
                return values[1], values[2]
    raise BadBytes(f"entry {index} is an upgrade and names no version")


def refuse_later_release(name: str) -> None:
    """Raise `UnknownFormat` for a system command of a later release: this one stops, it never skips or guesses."""
    if name.startswith("rsm.") and name not in LEADER_COMMANDS and name not in SESSION_COMMANDS:
        raise UnknownFormat(f"system command {name!r} is not known to this release: a later one wrote the log")
