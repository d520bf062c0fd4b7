"""A replay under settings that must not matter, each by itself: which of them makes the machine differ.

All processes run the same code on the same recording. The first one has a fixed hash seed and is otherwise as it is
here; each other one differs from it in one thing. One differs in nothing: if that one comes out otherwise, the code
reads something that changes from run to run, and the rest cannot be told apart. The last one ends at some places, and
another process goes on from its snapshot, as nodes do that are started again.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from rsm.desync.bisect import FROM_RUN_TO_RUN, Opened, compare
from rsm.desync.environments import Setting, hostile
from rsm.desync.finding import Finding
from rsm.desync.recorded_roots import REPLAY, Mismatch, RecordedRoots, who_differs
from rsm.desync.recording import Recording
from rsm.desync.replaying import Progress, Unreplayable
from rsm.desync.worker import Worker, WorkerDied
from rsm.errors import UnknownFormat, WrongMachine
from rsm.limits import HOSTILE_PROCESSES_MAX, HOSTILE_RESTARTS

__all__ = ["RELOADED", "replay_hostile"]

RELOADED: Final = "restored from snapshots"
SEED: Final = 20_210_418  # of the places; any will do, but the same each time


class _Variant:
    """One run, and what came of it."""

    def __init__(self, setting: Setting, restarts: tuple[int, ...] = ()) -> None:
        self.setting = setting
        self.restarts = restarts
        self.differs_at: int | None = None  # the first index known to differ
        self.unchecked = ""

    @property
    def differs(self) -> bool:
        """Whether it came out otherwise than the first run."""
        return self.differs_at is not None


class _Base:
    """The first run: its roots, which the others must have."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.roots: dict[int, bytes] = {}
        self.mismatch: Mismatch | None = None
        self.last: Progress | None = None
        self.start = 0
        self.checked_to = 0
        self.commands = 0
        self.compared = False


def replay_hostile(
    recording: Recording,
    reference: str,
    *,
    start: int | str | None = None,
    bundle: Callable[[int], str] | None = None,
    beat: Callable[[int], None] = lambda _: None,
) -> Finding:
    """Run the recording under each setting; the finding names the causes, and details of the first of them.

    `Unreplayable`, `WrongMachine`, `BadBytes`, `UnknownFormat` where not even the first run was possible.
    """
    base_setting, settings = hostile(reference)
    base = _Base(base_setting)
    variants = [_Variant(setting) for setting in settings]
    _run(recording, start, base, variants[: HOSTILE_PROCESSES_MAX - 1], beat)
    if base.last is None:
        raise Unreplayable(f"{recording.path}: nothing was replayed")
    rest = variants[HOSTILE_PROCESSES_MAX - 1 :]
    restarts = _places(base.start, base.last.index)
    if restarts:
        variants.append(_Variant(base_setting._replace(name=RELOADED), restarts))
        rest.append(variants[-1])
    for at in range(0, len(rest), HOSTILE_PROCESSES_MAX):
        _run(recording, start, base, rest[at : at + HOSTILE_PROCESSES_MAX], beat, has_base=False)
    finding = _details(recording, start, base, variants, bundle, beat)
    notes = [] if not restarts else [f"in another process, from a snapshot, after {', '.join(map(str, restarts))}"]
    tried = ", ".join(variant.setting.name for variant in variants)
    return msgspec.structs.replace(finding, notes=(*finding.notes, f"tried: {tried}", *notes))


def _places(start: int, last: int) -> tuple[int, ...]:
    between = range(start + 1, last)
    chance = random.Random(SEED)
    return tuple(sorted(chance.sample(between, min(HOSTILE_RESTARTS, len(between)))))


def _run(
    recording: Recording,
    start: int | str | None,
    base: _Base,
    variants: Sequence[_Variant],
    beat: Callable[[int], None],
    *,
    has_base: bool = True,
) -> None:
    """Some of the runs, at the same time, in step."""
    with contextlib.ExitStack() as processes:
        leading: Worker | None = None
        roots: RecordedRoots | None = None
        if has_base:
            leading = processes.enter_context(Worker(base.setting))
            base.start = leading.open(recording.path, start)["start"]
            roots = RecordedRoots(recording, base.start)
        running: list[tuple[_Variant, Worker]] = []
        for variant in variants:
            try:
                worker = processes.enter_context(Worker(variant.setting))
                worker.open(recording.path, start, stops=variant.restarts, restarts=True)
                running.append((variant, worker))
            except (Unreplayable, WorkerDied) as error:
                variant.unchecked = str(error)
        while leading is not None or running:
            for worker in ([leading] if leading is not None else []) + [worker for _, worker in running]:
                with contextlib.suppress(WorkerDied, Unreplayable):  # told again by `end_step`
                    worker.begin_step()
            if leading is not None and roots is not None:
                progress = leading.end_step()
                _lead(base, roots, progress)
                beat(progress.index)
                if progress.is_end or progress.stop is not None:
                    leading = None
            running = [pair for pair in running if _goes_on(base, *pair)]


def _lead(base: _Base, roots: RecordedRoots, progress: Progress) -> None:
    base.roots.update(progress.roots)
    base.last = progress
    base.commands += progress.commands
    if base.mismatch is None:
        base.mismatch = roots.check(progress)
        base.checked_to, base.compared = roots.checked_to, roots.compared


def _goes_on(base: _Base, variant: _Variant, worker: Worker) -> bool:
    """One step of a variant against the first run's; False when it is done."""
    try:
        progress = worker.end_step()
    except (Unreplayable, WorkerDied, WrongMachine, UnknownFormat) as error:
        variant.unchecked = str(error)
        return False
    base_stop = None if base.last is None else base.last.stop
    # A step that ended where it was to be started again has a root that the first run did not take.
    different = [index for index, root in progress.roots if base.roots.get(index, root) != root]
    if progress.stop != base_stop:
        if progress.stop is not None:
            different.append(progress.stop[0])
        if base_stop is not None and progress.index >= base_stop[0]:  # it went on where the first run could not
            different.append(base_stop[0])
    if progress.fault and base.last is not None and not base.last.fault:
        different.append(progress.index)
    if different:
        variant.differs_at = min(different)
        return False
    return not (progress.is_end or progress.stop is not None)


def _details(
    recording: Recording,
    start: int | str | None,
    base: _Base,
    variants: Sequence[_Variant],
    bundle: Callable[[int], str] | None,
    beat: Callable[[int], None],
) -> Finding:
    different = [variant for variant in variants if variant.differs]
    reasons = tuple(variant.unchecked for variant in variants if variant.unchecked)
    if different and different[0] is variants[0]:  # the rest differs because nothing is ever the same
        different = different[:1]
    notes: tuple[str, ...] = ()
    if base.mismatch is not None:
        mismatch = base.mismatch
        notes = (
            f"{mismatch.expected.where} has root {mismatch.expected.root.hex()} at index {mismatch.index}, this code "
            f"{mismatch.own.hex()} under {base.setting.environment['PYTHONHASHSEED']} as PYTHONHASHSEED",
        )
    if not different:
        return _same(recording, base, reasons, notes)
    first = different[0]
    with Worker(base.setting) as left, Worker(first.setting) as right:
        one = Opened(left, left.open(recording.path, start, stops=first.restarts))
        other = Opened(right, right.open(recording.path, start, stops=first.restarts, restarts=True))
        finding = compare(recording, one, other, bundle=bundle, beat=beat, against_recorded=False)
    if finding.verdict != "desync" and first.differs_at is not None:
        # It came out as the first run this time, so the setting is not what makes it differ.
        good = max((index for index in base.roots if index < first.differs_at), default=base.start)
        return Finding(
            verdict="desync",
            kind="apply",
            first_bad_index=first.differs_at,
            checked_to_index=good,
            good_index=good,
            causes=(variants[0].setting.name,),
            unchecked=(*finding.unchecked, *reasons),
            notes=(FROM_RUN_TO_RUN, *notes),
            replayed_from=base.start,
            replayed_commands=base.commands,
            is_damaged=finding.is_damaged,
        )
    return msgspec.structs.replace(
        finding,
        causes=tuple(variant.setting.name for variant in different),
        unchecked=(*finding.unchecked, *reasons),
        notes=(*finding.notes, *notes),
    )


def _same(recording: Recording, base: _Base, reasons: tuple[str, ...], notes: tuple[str, ...]) -> Finding:
    """No setting made a difference; the recorded roots may still be others."""
    last = base.last
    extent: dict[str, Any] = {
        "replayed_from": base.start,
        "replayed_commands": base.commands,
        "is_damaged": last is not None and last.is_damaged,
    }
    if base.mismatch is not None:
        return Finding(
            verdict="desync",
            kind="snapshot" if base.mismatch.expected.is_snapshot else "apply",
            first_bad_index=base.mismatch.index,
            minority=(who_differs(recording, base.mismatch, REPLAY),),
            checked_to_index=base.mismatch.good,
            good_index=base.mismatch.good,
            unchecked=reasons,
            notes=notes,
            **extent,
        )
    if last is not None and last.stop is not None:
        what = f"{recording.path}: no run can apply entry {last.stop[0]}: {last.stop[1]}"
        return Finding(verdict="unchecked", checked_to_index=base.checked_to, unchecked=(what, *reasons), **extent)
    if last is not None and last.fault:
        return Finding(
            verdict="desync",
            kind="apply",
            first_bad_index=last.index,
            minority=(REPLAY,),
            checked_to_index=base.checked_to,
            good_index=base.checked_to,
            unchecked=reasons,
            notes=(*notes, last.fault),
            **extent,
        )
    left = (*reasons, *(last.unchecked if last is not None else ()))
    if not base.compared:
        notes = (*notes, "no root was recorded for what was replayed: the runs were compared with each other only")
    return Finding(
        verdict="unchecked" if left else "agree",
        checked_to_index=max(base.roots, default=0),
        unchecked=left,
        notes=notes,
        **extent,
    )
