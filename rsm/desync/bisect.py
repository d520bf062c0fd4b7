"""Two sides run one recording, step by step; where they part is narrowed to a command, to paths, and to source lines.

Theory of operation. Both sides run in steps of some hundred commands, and their roots are compared behind each. Where
these differ first, both are taken back to the last point at which they agreed (see `rsm.desync.rewinding`) and run from
there once more, now recording what each command does; the first command that did not do the same on both sides is the
one. So one step is run twice, however long the log is. Afterwards both go on to the next recorded root, which tells
which of them the log bears out.

A side whose state is not all declared may come out otherwise the second time. Then both begin anew and record from the
start, which shows the same fault in its own history, if it shows at all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from rsm.desync.blame import FIRST_STATE, MIGRATION, Detail
from rsm.desync.finding import Blame, Finding, PathDifference
from rsm.desync.keeping import keep, not_kept
from rsm.desync.recorded_roots import LOG, Mismatch, RecordedRoots, command_at, commands_between, who_differs
from rsm.desync.recording import Recording
from rsm.desync.replaying import Progress, Unreplayable
from rsm.desync.worker import Worker
from rsm.errors import StorageError
from rsm.limits import BUCKETS, HASH_INTERVAL_ENTRIES, PATHS_SHOWN_MAX
from rsm.node.storage.snapshots import read_snapshot
from rsm.replica.naming import Names
from rsm.replica.replica import POSITION_BEFORE
from rsm.replica.trace import PackedTrace

__all__ = ["FROM_RUN_TO_RUN", "SYSTEM", "Done", "Opened", "compare", "path_differences"]

DIGEST_BYTES: Final = 8
MISSING: Final = object()
SYSTEM: Final = "rsm."
STATES_PROTOCOL: Final = 2
FROM_RUN_TO_RUN: Final = (
    "another run came out otherwise: the code reads something that changes from run to run, such as a clock, random "
    "numbers or addresses"
)
JUDGE_ENTRIES_MAX: Final = 4 * HASH_INTERVAL_ENTRIES

# What a command did: leaf -> path -> value as it left them, the same as it found them, its answer, its events.
Done = tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]], Any, list[Any]]


class Opened(NamedTuple):
    """A worker, and what it said when it was opened."""

    worker: Worker
    said: dict[str, Any]


class _Parted(NamedTuple):
    """Where the roots of both sides differ first, and the last index at which they did not."""

    good: int
    bad: int
    left: Progress
    right: Progress

    def roots(self) -> tuple[bytes | None, bytes | None]:
        """Of both sides at `bad`; None for one that did not get there."""
        return dict(self.left.roots).get(self.bad), dict(self.right.roots).get(self.bad)


def _compare_roots(left: Progress, right: Progress, good: int) -> _Parted | None:
    before = good
    for (index, one), (other_index, other) in zip(left.roots, right.roots, strict=False):
        if index != other_index or one != other:
            return _Parted(good, min(index, other_index), left, right)
        good = index
    stops = [progress.stop[0] for progress in (left, right) if progress.stop is not None]
    if left.stop != right.stop:
        return _Parted(good, min(stops), left, right)
    if left.fault != right.fault:
        return _Parted(before, left.index, left, right)  # no root shows it
    return None


def compare(
    recording: Recording,
    left: Opened,
    right: Opened,
    *,
    bundle: Callable[[int], str] | None = None,
    beat: Callable[[int], None] = lambda _: None,
    against_recorded: bool = True,
) -> Finding:
    """Run both to the end of the log, or to the first difference. Errors of the sides come through.

    `against_recorded`: recorded roots count too; else the two are compared with each other only.
    """
    return _Comparison(recording, left, right, bundle, beat, against_recorded).run()


class _Comparison:
    def __init__(
        self,
        recording: Recording,
        left: Opened,
        right: Opened,
        bundle: Callable[[int], str] | None,
        beat: Callable[[int], None],
        against_recorded: bool,
    ) -> None:
        self.against_recorded = against_recorded
        self.recording = recording
        self.left, self.right = left.worker, right.worker
        self.said = left.said
        # What one side does not know of must not be counted at the other.
        self.has_states = min(left.said["protocol"], right.said["protocol"]) >= STATES_PROTOCOL
        self.start: int = left.said["start"]
        self.names = Names()
        self.names.declare(left.said["machine"], left.said["version"], left.said["schema"])
        self.bundle = bundle
        self.beat = beat
        self.roots = RecordedRoots(recording, self.start)
        self.commands = 0
        self.reexecuted = 0

    # --- roots ----------------------------------------------------------------------------------------------------

    def step(self, *, record: bool = False) -> tuple[Progress, Progress]:
        """One step of both, at the same time."""
        self.left.begin_step(record=record, states=self.has_states)
        self.right.begin_step(record=record, states=self.has_states)
        return self.left.end_step(), self.right.end_step()

    def run(self) -> Finding:
        good = self.start
        while True:
            one, other = self.step()
            self.commands += one.commands
            self.beat(one.index)
            parted = _compare_roots(one, other, good)
            mismatch = self.roots.check(one) if self.against_recorded else None
            if mismatch is not None and (parted is None or mismatch.index < parted.bad):
                return self._both_differ(mismatch)
            if parted is not None:
                return self._find(parted)
            good = one.roots[-1][0] if one.roots else good
            if one.stop is not None:
                index, reason = one.stop
                what = f"{self.recording.path}: neither side can apply entry {index}: {reason}"
                return self._finding("unchecked", good, unchecked=(what, *one.unchecked), is_damaged=one.is_damaged)
            if one.fault:
                return self._finding(
                    "desync", good, kind="apply", first_bad_index=one.index, good_index=good, notes=(one.fault,)
                )
            if one.is_end:
                reasons = tuple(one.unchecked)
                notes: tuple[str, ...] = ()
                if self.against_recorded and not self.roots.compared:
                    notes = ("no root was recorded for what was replayed: the two were compared with each other only",)
                verdict = "unchecked" if reasons else "agree"
                is_damaged = one.is_damaged or other.is_damaged
                return self._finding(verdict, good, unchecked=reasons, notes=notes, is_damaged=is_damaged)

    def _finding(self, verdict: str, checked_to: int, **fields: Any) -> Finding:
        extent = {"replayed_from": self.start, "replayed_commands": self.commands}
        return Finding(**{"verdict": verdict, "checked_to_index": checked_to, **extent, **fields})

    def _both_differ(self, mismatch: Mismatch) -> Finding:
        index, good, own, expected = mismatch
        note = (
            f"{expected.where} has root {expected.root.hex()} at index {index}; "
            f"{self.left.name} and {self.right.name} both have {own.hex()}"
        )
        return self._finding(
            "desync",
            good,
            kind="snapshot" if expected.is_snapshot else "apply",
            first_bad_index=index,
            minority=(who_differs(self.recording, mismatch, LOG),),
            good_index=good,
            commands=commands_between(self.recording, good, index, self.names),
            notes=(note,),
        )

    # --- the command ----------------------------------------------------------------------------------------------

    def _find(self, parted: _Parted) -> Finding:
        with tempfile.TemporaryDirectory(prefix="rsm-replay-") as directory:
            saved: str | None = None
            notes: list[str] = []
            if self._rewind(parted.good):
                if self.bundle is not None and parted.good:
                    saved = os.path.join(directory, "state")
                    try:
                        self.left.save(saved)
                    except Unreplayable:  # no room there: the bundle begins where the replay did
                        saved = None
                again = self._record_step(parted)
            else:
                again = None
            if again is None:
                again = self._record_all()
                notes.append(
                    "the difference depends on what happened before: there is state outside of the declared containers"
                    if again is not None and (again.bad, again.roots()) == (parted.bad, parted.roots())
                    else FROM_RUN_TO_RUN
                )
                saved = None
            if again is None:
                finding = self._unlocated(parted)
            else:
                parted = again
                finding = self._located(parted)
            minority = self._judge(parted) if again is not None else ()
            finding = msgspec.structs.replace(
                finding, notes=(*notes, *finding.notes), minority=minority, reexecuted=self.reexecuted
            )
            return self._kept(finding, parted, saved)

    def _rewind(self, good: int) -> bool:
        (is_back, executed), (other_is_back, _) = self.left.rewind(good), self.right.rewind(good)
        self.reexecuted += executed - self.commands
        return is_back and other_is_back

    def _record_step(self, parted: _Parted) -> _Parted | None:
        """The step once more, recorded; None unless both sides came to the same roots as the first time."""
        one, other = self.step(record=True)
        self.reexecuted += one.commands
        again = _compare_roots(one, other, parted.good)
        if again is None or again.bad != parted.bad or again.roots() != parted.roots():
            return None
        return again

    def _record_all(self) -> _Parted | None:
        self.left.again()
        self.right.again()
        good = self.start
        while True:
            one, other = self.step(record=True)
            self.reexecuted += one.commands
            self.beat(one.index)
            parted = _compare_roots(one, other, good)
            if parted is not None:
                return parted
            if one.is_end or one.stop is not None:
                return None
            good = one.roots[-1][0] if one.roots else good

    def _located(self, parted: _Parted) -> Finding:
        ours, theirs = self.left.digests(), self.right.digests()
        count = min(len(ours), len(theirs)) // DIGEST_BYTES
        number = _first_difference(ours, theirs, count)
        if number is None and len(ours) == len(theirs):
            return self._untraced(parted)
        number = count if number is None else number
        left = self.left.detail(number) if number * DIGEST_BYTES < len(ours) else None
        right = self.right.detail(number) if number * DIGEST_BYTES < len(theirs) else None
        one = left or right
        if one is None:
            return self._untraced(parted)
        index, position = one.trace.index, one.trace.position
        command = command_at(self.recording, index, position, self.names) if position >= 0 else None
        paths: tuple[PathDifference, ...] = ()
        blame: tuple[Blame, ...] = ()
        if left is not None and right is not None:
            paths = path_differences(self.left.name, self.right.name, _side(left), _side(right))
            blame = self._blame(left, right)
            if not paths and one.trace.name in (FIRST_STATE, MIGRATION):  # a large one: as it was a little later
                paths = self._state_paths()
        return self._finding(
            "desync",
            index - 1,
            kind="apply",
            first_bad_index=index,
            first_bad_command=position,
            command=command or {"name": one.trace.name, "version": 0, "values": {}},
            paths=paths,
            blame=blame,
            good_index=parted.good,
            notes=(*self._stop_notes(parted), *_outside_of_commands(one.trace), *_different_before(left, right)),
        )

    def _stop_notes(self, parted: _Parted) -> tuple[str, ...]:
        return tuple(
            f"{worker.name}: entry {progress.stop[0]} cannot be applied: {progress.stop[1]}"
            for worker, progress in ((self.left, parted.left), (self.right, parted.right))
            if progress.stop is not None
        ) + tuple(
            f"{worker.name}: {progress.fault}"
            for worker, progress in ((self.left, parted.left), (self.right, parted.right))
            if progress.fault
        )

    def _untraced(self, parted: _Parted) -> Finding:
        """Every command did the same, and yet the roots differ: the states are compared leaf by leaf."""
        finding = self._unlocated(parted)
        notes = (
            *self._stop_notes(parted),
            "every command did the same on both sides: something else changed the state",
        )
        return msgspec.structs.replace(finding, paths=self._state_paths(), notes=notes)

    def _state_paths(self) -> tuple[PathDifference, ...]:
        """The leaves in which the states differ as they are now."""
        ours, theirs = self.left.sums(), self.right.sums()
        buckets = {name: _different_buckets(ours[name], theirs[name]) for name in ours.keys() & theirs.keys()}
        buckets = {name: numbers for name, numbers in sorted(buckets.items()) if numbers}
        if not buckets:  # the sums do not know of what was changed behind the containers' back
            buckets = {name: list(range(BUCKETS)) for name in sorted(ours) if not name.startswith(SYSTEM)}
        try:
            one, other = self.left.leaves(buckets), self.right.leaves(buckets)
        except Unreplayable:  # too much for a frame
            return ()
        return _differences(self.left.name, self.right.name, one, other)

    def _unlocated(self, parted: _Parted) -> Finding:
        return self._finding(
            "desync",
            parted.good,
            kind="apply",
            first_bad_index=parted.bad,
            good_index=parted.good,
            commands=commands_between(self.recording, parted.good, parted.bad, self.names),
        )

    def _blame(self, left: Detail, right: Detail) -> tuple[Blame, ...]:
        """The first thing that one did and the other did not, with the line on both sides."""
        marks: list[dict[str, list[bytes]]] = [{}, {}]
        for side, detail in zip(marks, (left, right), strict=True):
            for step in detail.steps:
                side.setdefault(step.what, []).append(step.mark)
        for what in dict.fromkeys(step.what for detail in (left, right) for step in detail.steps):
            one, other = (side.get(what, []) for side in marks)
            if one == other:
                continue
            place = next((n for n, pair in enumerate(zip(one, other, strict=False)) if pair[0] != pair[1]), None)
            place = min(len(one), len(other)) if place is None else place
            return (_blame(self.left.name, left, what, place), _blame(self.right.name, right, what, place))
        return ()

    # --- who, and evidence ----------------------------------------------------------------------------------------

    def _judge(self, parted: _Parted) -> tuple[str, ...]:
        """Which side is not borne out by what was recorded: both go on to the next recorded root."""
        one, other = parted.left, parted.right
        for worker, progress, its_peer in ((self.left, one, other), (self.right, other, one)):
            if progress.stop is not None and progress.stop != its_peer.stop:
                return (worker.name,)  # the log goes on where it does not
            if progress.fault and not its_peer.fault:
                return (worker.name,)
        ours = RecordedRoots(self.recording, parted.bad - 1)
        theirs = RecordedRoots(self.recording, parted.bad - 1)
        while True:
            verdict, other_verdict = _is_borne_out(ours, one), _is_borne_out(theirs, other)
            if verdict is not None and other_verdict is not None:
                break
            if one.is_end or one.stop or other.stop or one.index - parted.bad > JUDGE_ENTRIES_MAX:
                return ()
            one, other = self.step()
            self.beat(one.index)
        if verdict == other_verdict:
            return ()
        return (self.right.name,) if verdict else (self.left.name,)

    def _kept(self, finding: Finding, parted: _Parted, saved: str | None) -> Finding:
        if self.bundle is None:
            return finding
        expected, found = parted.roots()
        if finding.minority == (self.left.name,):
            expected, found = found, expected
        recording = self.recording
        source: str | None
        if saved is not None:
            source, from_index = saved, parted.good
        else:
            source, from_index = recording.snapshots.get(self.start), self.start
        try:
            path = keep(
                recording,
                self.bundle(finding.first_bad_index or parted.bad),
                machine=self.said["machine"],
                version=self.said["version"],
                reference=self.left.setting.reference,
                good=parted.good,
                bad=parted.bad,
                snapshot=None if source is None or not from_index else read_snapshot(recording.disk, source),
                from_index=from_index,
                expected={} if expected is None else {parted.bad: expected},
                found={} if found is None else {parted.bad: found},
                verdict={
                    "kind": finding.kind,
                    "first_bad_index": finding.first_bad_index,
                    "first_bad_command": finding.first_bad_command,
                    "command": finding.command,
                    "sources": [self.left.name, self.right.name],
                },
            )
        except StorageError as error:
            return not_kept(finding, error)
        return msgspec.structs.replace(finding, bundle=path)


def _is_borne_out(roots: RecordedRoots, progress: Progress) -> bool | None:
    """Whether a side has the next recorded root; None while there was none to compare."""
    behind = [pair for pair in progress.roots if pair[0] > roots.start]
    difference = progress.difference if progress.difference and progress.difference[0] > roots.start else None
    if roots.check(msgspec.structs.replace(progress, roots=behind, difference=difference)) is not None:
        return False
    return True if roots.compared else None


def _outside_of_commands(trace: PackedTrace) -> tuple[str, ...]:
    """Where it was if not in a command of the batch."""
    position = trace.position
    if trace.name == FIRST_STATE:
        return ("it differs in the state that the machine begins with",)
    if trace.name == MIGRATION:
        return ("it differs in migrate_state, at the end of this entry",)
    if position >= 0:
        return ()
    what = (
        "in the clock and the expired keys of its batch"
        if position == POSITION_BEFORE
        else "in a timer or a session's end"
    )
    return (f"it differs {what}, before the batch's commands",)


def _different_before(left: Detail | None, right: Detail | None) -> tuple[str, ...]:
    """What the command found otherwise on the two sides: then it is not the first thing that differs."""
    if left is None or right is None:
        return ()
    leaves = [leaf for leaf, value in left.before.items() if leaf in right.before and value != right.before[leaf]]
    if not leaves:
        return ()
    return (f"{leaves[0]} was different before this command already, and no command had made it so",)


def _first_difference(ours: bytes, theirs: bytes, count: int) -> int | None:
    """The first of `count` digests that is not the same: by halves, since all behind it may or may not differ."""
    size = DIGEST_BYTES
    if ours[: count * size] == theirs[: count * size]:
        return None
    low, high = 0, count  # the first `low` are equal, among the first `high` one is not
    while high - low > 1:
        middle = (low + high) // 2
        if ours[low * size : middle * size] == theirs[low * size : middle * size]:
            low = middle
        else:
            high = middle
    return low


def _different_buckets(ours: bytes, theirs: bytes) -> list[int]:
    return [at for at in range(BUCKETS) if ours[8 * at : 8 * at + 8] != theirs[8 * at : 8 * at + 8]]


def _side(detail: Detail) -> Done:
    return detail.after, detail.before, detail.answer, detail.events


def path_differences(name: str, other_name: str, left: Done, right: Done) -> tuple[PathDifference, ...]:
    """The paths at which two sides of a command differ, the machine's own first; then events and the result.

    A side is what it wrote (leaf -> path -> value), what was there before, its answer and its events. A leaf that only
    one side wrote is at the other what it was.
    """
    ours: dict[str, Any] = {}
    theirs: dict[str, Any] = {}
    for leaf in dict.fromkeys([*left[0], *right[0]]):
        before = left[1].get(leaf) or right[1].get(leaf) or {}
        ours |= left[0].get(leaf, before)
        theirs |= right[0].get(leaf, before)
    found = list(_differences(name, other_name, ours, theirs))
    for number in range(max(len(left[3]), len(right[3]))):
        sides = ((name, left[3]), (other_name, right[3]))
        values = {one: events[number] for one, events in sides if number < len(events)}
        if len(values) < 2 or values[name] != values[other_name]:
            found.append(PathDifference(f"event/{number}", values))
    if left[2] != right[2]:
        found.append(PathDifference("result", {name: left[2], other_name: right[2]}))
    return tuple(found)


def _differences(
    name: str, other_name: str, ours: dict[str, Any], theirs: dict[str, Any]
) -> tuple[PathDifference, ...]:
    found = []
    for path in dict.fromkeys([*ours, *theirs]):
        one, other = ours.get(path, MISSING), theirs.get(path, MISSING)
        if one is not other and (type(one) is not type(other) or one != other):
            values = {source: value for source, value in ((name, one), (other_name, other)) if value is not MISSING}
            found.append(PathDifference(path, values))
    # What the system keeps differs as a consequence.
    found.sort(key=lambda difference: difference.path.startswith(SYSTEM))
    return tuple(found[:PATHS_SHOWN_MAX])


def _blame(name: str, detail: Detail, what: str, place: int) -> Blame:
    """The step of this name; where there is none, the line at which the handler ended without it."""
    steps = [step for step in detail.steps if step.what == what]
    step = steps[place] if place < len(steps) else detail.steps[-1]
    return Blame(name, step.file, step.line, step.text, step.what, step.value)
