"""Which versions of commands and of the machine still occur: in logs, in snapshots, in timers, with live clients.

Read as it lies there, without the code of the machine, one entry in memory at a time. A log says by whom a version was
sent and under which machine version; a snapshot which timers wait and which sessions live. What a log or snapshot does
not say is a reason in `unchecked`: nothing is taken for gone because nobody looked.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from rsm.codec.record import Entry, RecordKind
from rsm.errors import BadBytes
from rsm.limits import SESSIONS_MAX, USAGE_VERSIONS_MAX
from rsm.replica.batch import ACTIVATE, CLOSE_SESSION, OPEN_SESSION, PIPELINE, decode_batch
from rsm.replica.naming import SYSTEM_PREFIX, is_item, is_step
from rsm.replica.snapshot import Manifest, decode_chunk, read_manifest

__all__ = ["LogUse", "SourceUse", "UsedVersion", "rows_of"]

TIMERS: Final = "rsm.timers"
SESSIONS: Final = "rsm.sessions"
SCALARS: Final = "rsm.scalars"
SESSION_IDS: Final = "session_ids"


class UsedVersion(msgspec.Struct):
    """How one command version occurs in a log under one machine version. `last_stamp`: log time, nanoseconds."""

    count: int = 0
    first_index: int = 0
    last_index: int = 0
    last_stamp: int = 0


class LogUse(msgspec.Struct):
    """The entries of a log, by machine version: first and last index."""

    first_index: int
    last_index: int


class _Session:
    """A session as far as the log tells; `used`: what it sent of the machine's commands."""

    __slots__ = ("last_active", "ttl", "used")

    def __init__(self, ttl: int, last_active: int) -> None:
        self.ttl = ttl
        self.last_active = last_active
        self.used: set[tuple[str, int]] = set()


class SourceUse:
    """One source: a machine's directory, a piece of a log, a snapshot, or a node.

    `used`: by (command, version, machine version). `timers`: how many wait, by (command, version), of the last snapshot
    and of the machine versions in `snapshots`. `made`: the versions in which timers may have been made behind it, each
    command's newest as it was declared. `in_force`: the machine version at the end, 0 if nothing says it; `own`: the
    newest version of each command then. `live`: of each session that lives, what it sent; `silent`: how many of them
    sent nothing.
    """

    def __init__(self, name: str, *, serves: bool) -> None:
        self.name = name
        self.serves = serves  # it has clients, or may have them again
        self.used: dict[tuple[str, int, int], UsedVersion] = {}
        self.machine_versions: dict[int, LogUse] = {}
        self.snapshots: dict[str, tuple[int, int]] = {}  # path -> machine version, index
        self.timers: dict[tuple[str, int], int] = {}
        self.timers_under = 0
        self.made: set[tuple[str, int]] = set()
        self.own: dict[str, int] = {}
        self.machine = ""
        self.in_force = 0
        self.unchecked: list[str] = []
        self.is_damaged = False
        self.clock = 0
        self.first_index = 0
        self.last_index = 0
        self._sessions: dict[int, _Session] = {}
        self._sent: dict[int, set[tuple[str, int]]] = {}
        self._ended: set[int] = set()
        self._session_ids = 0
        self._snapshot_index = 0
        self._knows_sessions = False

    # --- snapshots ------------------------------------------------------------------------------------------------

    def add_snapshot(self, path: str, records: Iterable[tuple[RecordKind, bytes]], *, is_newest: bool) -> None:
        """Read a snapshot; timers and sessions of the newest one only. Before the log. `BadBytes`."""
        stream = iter(records)
        manifest = read_manifest(next(stream, None))
        if not is_newest:
            self.snapshots[path] = (manifest.version, manifest.index)
            return
        timers: dict[tuple[str, int], int] = {}
        for _, payload in stream:
            name, buckets = decode_chunk(payload)
            if name in (TIMERS, SESSIONS, SCALARS):
                for _, leaves in buckets:
                    try:
                        self._add_leaves(name, msgspec.msgpack.decode(leaves), timers)
                    except (msgspec.MsgspecError, TypeError, ValueError, LookupError) as error:
                        raise BadBytes(f"the leaves of {name} cannot be read: {error}") from error
        self.snapshots[path] = (manifest.version, manifest.index)
        self._take_over(manifest, timers)

    def _add_leaves(self, container: str, leaves: Any, timers: dict[tuple[str, int], int]) -> None:
        for key, value in leaves:
            if container == TIMERS:
                name, version = value[:2]
                timers[str(name), int(version)] = timers.get((str(name), int(version)), 0) + 1
            elif container == SESSIONS:
                self._sessions[int(key)] = _Session(int(value[1]), int(value[2]))
            elif key == SESSION_IDS:
                self._session_ids = int(value)

    def _take_over(self, manifest: Manifest, timers: dict[tuple[str, int], int]) -> None:
        self.machine = manifest.machine
        self.timers, self.timers_under = timers, manifest.version
        self._snapshot_index = manifest.index
        self._knows_sessions = True
        self._declare(manifest.version, manifest.schema)

    # --- logs -----------------------------------------------------------------------------------------------------

    def add_entry(self, entry: Entry) -> None:
        """Count one entry; in order. `BadBytes` for a batch that is none."""
        if not self.first_index:
            self.first_index = entry.index
            if entry.index == 1 and not self._snapshot_index:
                self._knows_sessions = True
        self.last_index = entry.index
        if entry.kind is not RecordKind.BATCH:
            return
        batch = decode_batch(entry.payload)
        version = batch.machine_version
        seen = self.machine_versions.get(version)
        if seen is None:
            self.machine_versions[version] = LogUse(entry.index, entry.index)
        else:
            seen.last_index = entry.index
        self.clock = max(self.clock, batch.stamp)
        for item in batch.items:
            if is_item(item):
                self._add_item(entry.index, version, item)

    def _add_item(self, index: int, machine_version: int, item: list[Any]) -> None:
        session, _, _, name, version, values = item[:6]
        if name == PIPELINE:
            for step in values if type(values) is list else ():
                if is_step(step):
                    self._count(index, machine_version, session, step[0], step[1])
        elif not name.startswith(SYSTEM_PREFIX):
            self._count(index, machine_version, session, name, version)
        elif session == 0 and type(values) is list:
            self._add_statement(index, name, values)
        known = self._sessions.get(session)
        if known is not None:
            known.last_active = self.clock

    def _count(self, index: int, machine_version: int, session: int, name: str, version: int) -> None:
        key = (name, version, machine_version)
        used = self.used.get(key)
        if used is None:
            if len(self.used) >= USAGE_VERSIONS_MAX:
                self.leave(f"more than {USAGE_VERSIONS_MAX:,} different command versions: not all were counted")
                return
            used = self.used[key] = UsedVersion(0, index)
        used.count += 1
        used.last_index, used.last_stamp = index, self.clock
        if len(self._sent) < SESSIONS_MAX or session in self._sent:
            self._sent.setdefault(session, set()).add((name, version))

    def _add_statement(self, index: int, name: str, values: list[Any]) -> None:
        """What the leader says: schemas, and sessions that open and end, behind the snapshot."""
        if name == ACTIVATE and len(values) >= 3 and type(values[1]) is int and type(values[2]) is dict:
            self.machine = values[0] if type(values[0]) is str else self.machine
            if index > self._snapshot_index:
                self._declare(values[1], values[2])
        elif index <= self._snapshot_index:
            return
        elif name == OPEN_SESSION and len(values) == 2 and type(values[1]) is int:
            self._session_ids += 1
            if len(self._sessions) < SESSIONS_MAX:
                self._sessions[self._session_ids] = _Session(values[1], self.clock)
        elif name == CLOSE_SESSION and len(values) == 1:
            self._sessions.pop(values[0], None)
            self._ended.add(values[0])

    def _declare(self, version: int, schema: dict[str, Any]) -> None:
        """From here on the code makes timers of the newest versions in this schema."""
        self.in_force = version
        self.own = {}
        commands = schema.get("commands")
        for name, versions in commands.items() if type(commands) is dict else ():
            numbers = [int(text) for text in versions if str(text).isdecimal()] if type(versions) is dict else []
            if numbers:
                self.own[str(name)] = max(numbers)
        self.made.update(self.own.items())

    # --- nodes ----------------------------------------------------------------------------------------------------

    def add_status(self, timers: int, sessions: int) -> None:
        """What a node says of itself, after its log was read."""
        if not timers:
            self.timers, self.made = {}, set(self.own.items())
        elif not self._snapshot_index and self.first_index > 1:
            self.leave(
                f"{timers} timers wait there, some perhaps from before index {self.first_index}: name the node's "
                f"directory too, whose snapshots hold them"
            )
        if not self._knows_sessions:
            silent = sessions - len(self._sent.keys() - self._ended)
            if silent > 0:
                many = "1 live session" if silent == 1 else f"{silent:,} live sessions"
                self.leave(f"of {many} nothing is in the log from index {self.first_index} on")

    # --- what it comes to -----------------------------------------------------------------------------------------

    def leave(self, reason: str) -> None:
        """Something of it was not looked at."""
        text = reason if reason.startswith(self.name) else f"{self.name}: {reason}"
        if text not in self.unchecked:
            self.unchecked.append(text)

    def finish(self, *, is_open: bool, tells_status: bool = False) -> None:
        """After all of it was read. `is_open`: its process runs, so sessions without a time to live are alive.

        `tells_status`: `add_status` was called.
        """
        behind = self._snapshot_index + 1
        if self.serves and self.first_index > behind and not tells_status:
            lacking = "1" if self.first_index == 2 else f"{behind} to {self.first_index - 1}"
            self.leave(f"timers and sessions of entries {lacking} are in no snapshot here")
        for number in [number for number, one in self._sessions.items() if not self._lives(one, is_open)]:
            del self._sessions[number]
        for number, session in self._sessions.items():
            session.used = self._sent.get(number, set())

    def _lives(self, session: _Session, is_open: bool) -> bool:
        return session.last_active + session.ttl > self.clock if session.ttl else is_open

    @property
    def live(self) -> list[set[tuple[str, int]]]:
        """Of each session that lives, what it sent."""
        if not self.serves:
            return []
        if not self._knows_sessions:
            return [used for number, used in self._sent.items() if number not in self._ended]
        return [session.used for session in self._sessions.values()]

    @property
    def silent(self) -> int:
        """Sessions that live and sent nothing that was looked at."""
        return sum(not used for used in self.live)


class _Row(msgspec.Struct, array_like=True):
    index: int
    term: int
    kind: RecordKind
    payload: bytes


def rows_of(parts: Iterable[Any]) -> Iterable[Entry]:
    """The entries of what a node exports. `BadBytes` if it is no log."""
    for part in parts:
        try:
            rows = msgspec.convert(part[1], list[_Row], strict=True)
        except (TypeError, LookupError, msgspec.ValidationError) as error:
            raise BadBytes(f"a part of a log cannot be read: {error}") from error
        for row in rows:
            yield Entry(row.index, row.term, row.kind, row.payload)
