"""What the source of a bundle did otherwise than the code that replays it now.

A node that differs leaves traces of its commands and its state. The first command that did not do the same here is the
one. If all did the same and yet the state is another, it was not a command: memory or the disk changed it, or something
went around the containers.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from rsm.codec.record import RecordKind
from rsm.desync.bisect import SYSTEM, Done, path_differences
from rsm.desync.blame import plain_replica
from rsm.desync.bundle import Bundle
from rsm.desync.finding import Finding, PathDifference
from rsm.desync.paths import answer_value, leaf_path, leaf_values, plain
from rsm.desync.recorded_roots import REPLAY, command_at
from rsm.desync.recording import Recording
from rsm.desync.replaying import Side
from rsm.errors import RsmError
from rsm.limits import DIFFERENT_LEAVES_MAX, PATHS_SHOWN_MAX
from rsm.machine.machine import StateMachine
from rsm.replica.naming import Names
from rsm.replica.replica import Replica
from rsm.replica.snapshot import Restoring, read_manifest
from rsm.replica.trace import CommandTrace, PackedTrace, TracingReplica, pack
from rsm.state.diff import differences
from rsm.state.leaf import ABSENT, encode

__all__ = ["evidence_of"]

Evidence = tuple[tuple[str, ...], Finding | None]
NOTHING: Final[Evidence] = (), None


def evidence_of(recording: Recording, machine: type[StateMachine], start: int, names: Names) -> Evidence:
    """Remarks, and where the source of a bundle and this code part; nothing if it is no bundle. `CorruptFile`."""
    bundle = recording.bundle
    if bundle is None:
        return NOTHING
    return _Evidence(recording, bundle, machine, start, names).find()


class _Evidence:
    def __init__(
        self, recording: Recording, bundle: Bundle, machine: type[StateMachine], start: int, names: Names
    ) -> None:
        self.recording = recording
        self.bundle = bundle
        self.machine = machine
        self.start = start
        self.names = names
        self.source = f"node {bundle.head.node}" if bundle.head.node else "the source of the bundle"

    def find(self) -> Evidence:
        """Traces first, since they name a command; then the state."""
        theirs = list(self.bundle.traces())
        state_index = self.bundle.head.state_index if self.bundle.has_state else 0
        if not theirs and not state_index:
            return NOTHING
        wanted = {(trace.index, trace.position) for trace in theirs}
        ours: dict[tuple[int, int], CommandTrace] = {}

        def take(trace: CommandTrace) -> None:
            if (trace.index, trace.position) in wanted:
                ours[trace.index, trace.position] = trace

        replica = TracingReplica(self.machine, take)
        replica.is_lone = False
        side = Side(self.recording, self.machine, start=self.start, replica=replica)
        try:
            side.run_to(state_index or self.bundle.head.to_index)
        except RsmError:
            raise
        except Exception as error:  # the user's code; as far as it came is compared
            return (f"what {self.source} did cannot be compared: {error}",), None
        for other in theirs:
            mine = ours.get((other.index, other.position))
            if mine is not None and encode(pack(mine)) != encode(other):
                return self._remarks(other.index), self._parted(replica, mine, other)
        # Where it was disputed: the roots that it had may all be a majority's, as when a scrub has found it.
        good, traced_to = self.bundle.head.good_index, self.bundle.traced_to
        disputed = min((index for index in self.bundle.expected if index > good), default=state_index)
        remarks: tuple[str, ...] = ()
        if ours and traced_to < disputed:
            remarks = (f"every command up to index {traced_to} did what it did at {self.source}; its trace ends there",)
        elif ours:
            remarks = (f"every command did what it did at {self.source}",)
        paths = self._state_paths(replica) if replica.index == state_index else ()
        if not paths:
            return remarks, None
        if ours and traced_to >= disputed:
            remarks = (*remarks, "and its state is another: something else than a command changed it")
        found = Finding(
            verdict="desync",
            kind="apply",
            first_bad_index=disputed,
            paths=paths,
            minority=(self.source,),
            checked_to_index=good,
        )
        return remarks, found

    def _remarks(self, parted: int) -> tuple[str, ...]:
        """The traces are of a second run, which need not have left the majority where the first did."""
        good = self.bundle.head.good_index
        if parted > good:
            return ()
        return (
            f"{self.source} had the majority's root at index {good}; running its log again, it left it at index "
            f"{parted}: its code is not what it was, or not deterministic",
        )

    def _state_paths(self, ours: Replica) -> tuple[PathDifference, ...]:
        """The states at one index, leaf by leaf."""
        theirs = plain_replica(self.machine)
        records: Iterator[tuple[RecordKind, bytes]] = self.bundle.state()
        restoring = Restoring(theirs, read_manifest(next(records, None)))
        for kind, payload in records:
            restoring.add(kind, payload)
        # Not finished: that would refuse a state that is not what its own sums say, which is what is looked for here.
        found = []
        for path, left, right in differences(theirs.store, ours.store, limit=DIFFERENT_LEAVES_MAX):
            sides = ((self.source, left), (REPLAY, right))
            found.append(PathDifference(path, {name: plain(value) for name, value in sides if value is not ABSENT}))
        found.sort(key=lambda difference: difference.path.startswith(SYSTEM))
        return tuple(found[:PATHS_SHOWN_MAX])

    def _parted(self, replica: Replica, mine: CommandTrace, other: PackedTrace) -> Finding:
        left: Done = (
            _leaves(replica, other),
            {},
            answer_value(other.name, other.status, other.body),
            [_event(event) for event in other.events],
        )
        right: Done = (
            _leaves(replica, pack(mine)),
            {},
            answer_value(mine.name, mine.status, mine.body),
            [_event(event) for event in mine.events],
        )
        command = command_at(self.recording, mine.index, mine.position, self.names) if mine.position >= 0 else None
        return Finding(
            verdict="desync",
            kind="apply",
            first_bad_index=mine.index,
            first_bad_command=mine.position,
            command=command or {"name": mine.name, "version": 0, "values": {}},
            paths=path_differences(self.source, REPLAY, left, right),
            minority=(self.source,),
            checked_to_index=mine.index - 1,
        )


def _event(packed: bytes) -> Any:
    return plain(msgspec.msgpack.decode(packed))


def _leaves(replica: Replica, trace: PackedTrace) -> dict[str, dict[str, Any]]:
    """Leaf -> path -> plain value of what a trace wrote, with the types of the class where they fit."""
    found: dict[str, dict[str, Any]] = {}
    for container, packed in trace.writes:
        ledger = replica.store.ledgers.get(container)
        parts = msgspec.msgpack.decode(packed)
        leaf_key, value = _hashable(parts[0]), (parts[1] if len(parts) == 2 else ABSENT)
        if ledger is not None and len(parts) == 2:
            try:
                ((leaf_key, value),) = ledger.decode_leaves(b"\x91" + packed)
            except Exception:  # of another schema: then without its names
                leaf_key, value = _hashable(parts[0]), parts[1]
        path = leaf_path(container, leaf_key, nested=ledger is not None and ledger.nested)
        found[path] = leaf_values(ledger, container, leaf_key, value)
    return found


def _hashable(key: Any) -> Any:
    return tuple(_hashable(part) for part in key) if type(key) is list else key
