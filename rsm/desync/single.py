"""A replay in this process, against what was recorded: `replay`.

Only one side is there, so a difference is known as closely as roots were recorded: the first that differs, the last
that agreed, and the commands between. A bundle that a node wrote tells more: what each of its commands did there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from rsm.desync.evidence import evidence_of
from rsm.desync.finding import Finding
from rsm.desync.keeping import keep, not_kept
from rsm.desync.recorded_roots import LOG, REPLAY, Mismatch, RecordedRoots, commands_between, who_differs
from rsm.desync.recording import Recording
from rsm.desync.replaying import Progress, Side, Unreplayable, check_class
from rsm.errors import StorageError, UnknownFormat, WrongMachine
from rsm.machine.machine import StateMachine
from rsm.replica.naming import Names

__all__ = ["names_of", "replay"]


def names_of(machine: str, version: int, schema: dict[str, Any]) -> Names:
    """The names of a class's commands and fields."""
    names = Names()
    names.declare(machine, version, schema)
    return names


def replay(
    recording: Recording,
    machine_class: type[StateMachine],
    *,
    start: int | str | None = None,
    reference: str = "",
    bundle: Callable[[int], str] | None = None,
    beat: Callable[[int], None] = lambda _: None,
) -> Finding:
    """Run the recording under the class and compare every recorded root.

    `bundle` gives the directory to write a difference into, from its index; None: none is written. `beat` is told each
    index. `BadBytes` for damage in the log, `StorageError`.
    """
    try:
        check_class(recording, machine_class)
        side = Side(recording, machine_class, start=start)
    except (Unreplayable, WrongMachine, UnknownFormat) as error:
        is_damaged = recording.is_damaged or (isinstance(error, Unreplayable) and error.is_damaged)
        more = [reason for reason in recording.unchecked if reason not in str(error)]
        return Finding(verdict="unchecked", unchecked=(str(error), *more), is_damaged=is_damaged)
    return _Replay(recording, machine_class, side, reference, bundle).run(beat)


class _Replay:
    def __init__(
        self,
        recording: Recording,
        machine_class: type[StateMachine],
        side: Side,
        reference: str,
        bundle: Callable[[int], str] | None,
    ) -> None:
        self.recording = recording
        self.machine_class = machine_class
        self.side = side
        self.reference = reference
        self.bundle = bundle
        self.roots = RecordedRoots(recording, side.start)
        definition = machine_class.definition
        self.names = names_of(definition.name, definition.version, definition.schema())

    def run(self, beat: Callable[[int], None]) -> Finding:
        side = self.side
        try:
            while True:
                progress = side.step(beat)
                mismatch = self.roots.check(progress)
                if mismatch is not None:
                    return self._differs(mismatch)
                if progress.fault or progress.stop is not None:
                    return self._stopped(progress)
                if progress.is_end:
                    return self._ended(progress)
        except (Unreplayable, WrongMachine, UnknownFormat) as error:
            return Finding(
                verdict="unchecked",
                checked_to_index=self.roots.checked_to,
                unchecked=(str(error), *self.recording.unchecked),
                **self._extent(),
            )

    def _extent(self) -> dict[str, Any]:
        side = self.side
        return {"replayed_from": side.start, "replayed_commands": side.commands, "is_damaged": side.is_damaged}

    def _ended(self, progress: Progress) -> Finding:
        reasons = [*progress.unchecked, *self.roots.reasons(progress.index)]
        notes, evidence = evidence_of(self.recording, self.machine_class, self.side.start, self.names)
        return Finding(
            verdict="unchecked" if reasons else "agree",
            checked_to_index=self.roots.checked_to,
            unchecked=tuple(reasons),
            notes=notes,
            evidence=evidence,
            **self._extent(),
        )

    def _stopped(self, progress: Progress) -> Finding:
        """The recording goes on where this code does not."""
        index, reason = progress.stop or (progress.index, progress.fault)
        what = f"entry {index} cannot be applied: {reason}" if progress.stop else reason
        return Finding(
            verdict="desync",
            kind="apply",
            first_bad_index=index,
            minority=(REPLAY,),
            checked_to_index=self.roots.checked_to,
            unchecked=tuple(progress.unchecked),
            good_index=self.roots.checked_to,
            commands=commands_between(self.recording, index - 1, index, self.names) if progress.stop else (),
            notes=(what,),
            **self._extent(),
        )

    def _differs(self, mismatch: Mismatch) -> Finding:
        index, good, own, expected = mismatch
        commands = commands_between(self.recording, good, index, self.names)
        notes = [
            f"{expected.where} has root {expected.root.hex()} at index {index}, this code {own.hex()}",
            f"the last root that agreed is that of index {good}"
            if self.roots.compared
            else f"no root before it was recorded (after index {good})",
        ]
        known: dict[str, Any] = {}
        if len(commands) == 1:
            only = commands[0]
            known = {
                "first_bad_index": only["index"],
                "first_bad_command": only["position"],
                "command": {name: only[name] for name in ("name", "version", "values")},
            }
        extent = self._extent()
        more, evidence = evidence_of(self.recording, self.machine_class, self.side.start, self.names)
        minority = who_differs(self.recording, mismatch, REPLAY)
        is_borne_out = minority != REPLAY
        is_snapshot = expected.is_snapshot or (expected.where.startswith("the snapshot") and is_borne_out)
        if is_borne_out:
            notes.append("the log says that a quorum had the root of this code there")
        finding = Finding(
            **{
                "verdict": "desync",
                "kind": "snapshot" if is_snapshot else "apply",
                "first_bad_index": index,
                "minority": (minority,),
                "checked_to_index": good,
                "unchecked": tuple(self.side.unchecked + self.recording.unchecked),
                "good_index": good,
                "commands": commands,
                "notes": (*notes, *more),
                "evidence": evidence,
                **extent,
                **known,
            }
        )
        if is_borne_out:  # a test that loads the bundle is to expect the majority's root
            mismatch = mismatch._replace(own=expected.root, expected=expected._replace(root=own))
        return self._kept(finding, mismatch)

    def _kept(self, finding: Finding, mismatch: Mismatch) -> Finding:
        """With a bundle, if one is wanted: the state where all was well, and the entries from there."""
        if self.bundle is None:
            return finding
        index, good, own, expected = mismatch
        executed = self.side.commands
        side = self.side
        if not side.rewind(good):
            side = Side(self.recording, self.machine_class, start=self.side.start)
            side.run_to(good)
            executed = 0
        definition = self.machine_class.definition
        try:
            path = keep(
                self.recording,
                self.bundle(index),
                machine=definition.name,
                version=definition.version,
                reference=self.reference,
                good=good,
                bad=index,
                snapshot=side.snapshot() if good else None,
                from_index=good,
                expected={index: expected.root} | ({good: side.replica.root()} if good else {}),
                found={index: own},
                verdict={"kind": finding.kind, "first_bad_index": finding.first_bad_index, "sources": [LOG, REPLAY]},
            )
        except StorageError as error:  # a full disk, say: the difference is worth more than the bundle
            return not_kept(finding, error)
        return msgspec.structs.replace(finding, bundle=path, reexecuted=side.commands - executed)
