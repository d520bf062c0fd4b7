"""Comparing logs, and the roots and snapshots beside them, without the code of the machine.

Theory of operation. The chain behind an index stands for everything up to it, so two logs are compared by one look at
the last index that both hold; if they part there, the first bad index is found by bisection. Below it the logs are one,
so the roots recorded there must be too: if not, applying differs, or a snapshot does. Every byte was verified before,
while the sources were read (`rsm.desync.sources`).

| what differs | kind |
|---|---|
| the chains; the entry where they part holds other commands | `log` |
| the chains; that entry holds the same commands in other bytes | `codec` |
| the roots of one index, where the chains agree | `apply` |
| a snapshot: from the roots of its own source, from its own manifest, or from the chain of the log | `snapshot` |

Who is in the minority differs from most, or from what a quorum confirmed. Without either, all are listed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from rsm.desync.finding import Finding
from rsm.desync.kept_evidence import KeptEvidence, kept_evidence
from rsm.desync.parting import EntryDifference, compare_entries
from rsm.desync.roots import RootDifference, Roots, count_roots
from rsm.desync.runs import Runs
from rsm.desync.snapshot_paths import SnapshotDifference, compare_snapshots
from rsm.desync.sources import Snapshot, Source, read_source
from rsm.errors import BadBytes, CallerError, StorageError
from rsm.limits import COMPARED_FILES_MAX, COMPARED_LOGS_MAX
from rsm.node.storage.disk import Disk

__all__ = ["Comparison", "Side", "compare"]


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One source, as far as it was read: what its log holds, how many own roots and snapshots it has."""

    source: str
    first_index: int
    last_index: int
    roots: int
    snapshots: int
    in_use: bool


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """What was found, and what a report says besides.

    `finding` is the first difference; `what` says it in words; `further` are others, such as a snapshot that was taken
    of a state that differs already. `roots` are those of the first bad index, by source, in hexadecimal; `confirmed` is
    what the log says a quorum had there. Up to `logs_compared_to` and `roots_compared_to` the logs, and the roots, were
    compared and are equal. `buckets` are those in which two snapshots of one index differ.
    `has_more_paths`: there are paths that differ and are not listed. `is_damaged`: some of it could not be read because
    its bytes are damaged.
    """

    finding: Finding
    sides: tuple[Side, ...]
    what: str = ""
    further: tuple[str, ...] = ()
    roots: dict[str, tuple[str, ...]] = {}
    confirmed: str | None = None
    logs_compared_to: int = 0
    roots_compared_to: int = 0
    buckets: dict[str, list[int]] = {}
    has_more_paths: bool = False
    has_majority: bool = True
    is_damaged: bool = False


class _Problem(msgspec.Struct, kw_only=True):
    """A difference, before it is known whether it is the first one."""

    index: int
    kind: Any
    what: str
    minority: tuple[str, ...]
    has_majority: bool = True
    command: dict[str, Any] | None = None
    position: int | None = None
    roots: dict[str, tuple[bytes, ...]] = {}
    confirmed: bytes | None = None
    good_index: int = 0


def compare(disk: Disk, paths: Sequence[str], *, advance: Callable[[int], None] = lambda _: None) -> Comparison:
    """Compare two or more logs. `advance` is told how many bytes were read, piece by piece.

    `CallerError` for fewer than two or more than `COMPARED_LOGS_MAX`; `StorageError` if one is no log at all.
    """
    if not 2 <= len(paths) <= COMPARED_LOGS_MAX:
        raise CallerError(f"name from 2 to {COMPARED_LOGS_MAX} logs to compare, not {len(paths)}")
    with contextlib.ExitStack() as files:
        runs = Runs()
        files_max = COMPARED_FILES_MAX // len(paths)
        sources = [
            read_source(disk, path, name, runs, files, files_max=files_max, advance=advance)
            for path, name in zip(paths, _named(paths), strict=True)
        ]
        return _Judge(disk, sources).judge()


def _named(paths: Sequence[str]) -> list[str]:
    names: list[str] = []
    for path in paths:
        name = path.rstrip("/") or path
        seen = sum(one == name or one.startswith(f"{name} (") for one in names)
        names.append(f"{name} ({seen + 1})" if seen else name)
    return names


class _Judge:
    def __init__(self, disk: Disk, sources: list[Source]) -> None:
        self._disk = disk
        self._sources = sources
        self._unchecked = [reason for source in sources for reason in source.unchecked]
        self._problems: list[_Problem] = []
        self._checked_to = 0
        self._parting: int | None = None  # the first index at which logs differ
        self._roots: Roots | None = None

    def judge(self) -> Comparison:
        readable = [source for source in self._sources if source.last_index > 0]
        for source in self._sources:
            if source.last_index == 0 and not source.unchecked:
                self._unchecked.append(f"{source.name}: the log holds no entries")
        if len(readable) < 2:
            self._unchecked.append("nothing was compared: there are not two logs with entries")
        elif self._is_one_machine(readable):
            try:
                self._compare_chains(readable)
            except BadBytes as error:  # what was whole a moment ago was overwritten: a follower cut its log
                self._unchecked.append(f"a log changed while it was read, compare once more: {error}")
                self._checked_to = 0
                return self._result()
            self._compare_snapshots(readable)
            self._compare_roots(readable)
        return self._result()

    def _is_one_machine(self, sources: list[Source]) -> bool:
        for what, of in (
            ("machine", {source.name: ", ".join(sorted(source.machines)) for source in sources if source.machines}),
            ("group", {source.name: str(source.group_id) for source in sources}),
        ):
            if len(set(of.values())) > 1:
                listed = "; ".join(f"{name} is of {value}" for name, value in of.items())
                self._unchecked.append(f"nothing was compared: these are logs of different {what}s: {listed}")
                return False
        return True

    # --- chains ------------------------------------------------------------------------------------------------------

    def _compare_chains(self, sources: list[Source]) -> None:
        self._connect(sources)
        agreeing = sources
        while (index := self._first_parting(agreeing)) is not None:
            if self._leave_tails(agreeing, index):
                continue
            if self._parting is None:
                self._parting = index
                self._checked_to = min(self._checked_to, index - 1)
            groups = _groups(agreeing, index)
            if not self._note_parting(index, groups):
                return
            largest = max(groups, key=len)
            if 2 * len(largest) <= sum(map(len, groups)):
                return
            out = {source.name for group in groups if group is not largest for source in group}
            agreeing = [source for source in agreeing if source.name not in out]

    def _leave_tails(self, sources: list[Source], index: int) -> bool:
        """Whether there were logs that end in what was perhaps never committed; the end of these is left out.

        Raft lets a member that led once keep entries of its term until a later leader overwrites them. So the side of
        the earlier term differs only if something says that it applied the entry.
        """
        holders = [source for source in sources if source.first_index <= index <= source.last_index]
        terms = {source.name: source.entry_at(index).term for source in holders}
        newest = max(terms.values(), default=0)
        tails = [
            source
            for source in holders
            if terms[source.name] < newest and source.applied_index < index and source.first_index < index
        ]
        for source in tails:
            source.leave(
                f"its entries from {index} on, of term {terms[source.name]}, are others than those of term {newest}; "
                "nothing says that they were committed, so they are not compared"
            )
            self._unchecked.append(source.unchecked[-1])
            source.end_at(index - 1)
        if tails:
            self._checked_to = min(self._checked_to, index - 1)
        return bool(tails)

    def _connect(self, sources: list[Source]) -> None:
        """Which logs have an index in common with which; all that are connected are compared, however they overlap."""
        pieces: list[list[Source]] = []
        for source in sources:
            touching = [piece for piece in pieces if any(_common(source, other) for other in piece)]
            pieces = [piece for piece in pieces if piece not in touching]
            pieces.append([source, *(other for piece in touching for other in piece)])
        if len(pieces) == 1:
            self._checked_to = min(source.last_index for source in sources)
            return
        texts = [
            " and ".join(f"{source.name} ({source.first_index} to {source.last_index})" for source in piece)
            for piece in pieces
        ]
        self._unchecked.append(f"no index in common: {'; '.join(texts)}")

    def _first_parting(self, sources: list[Source]) -> int | None:
        """The first index at which two logs are known to differ."""
        found: int | None = None
        for position, one in enumerate(sources):
            for other in sources[:position]:
                common = _common(one, other)
                if common is None or (found is not None and common[0] >= found):
                    continue
                low, high = common
                if found is not None:
                    high = min(high, found)
                if one.chain_at(high) == other.chain_at(high):
                    continue
                # The chains agree at an index or they do not, and then never again: that is a bisection.
                good = low - 1
                while high - good > 1:
                    middle = (good + high) // 2
                    if one.chain_at(middle) == other.chain_at(middle):
                        good = middle
                    else:
                        high = middle
                found = high
        return found

    def _note_parting(self, index: int, groups: list[list[Source]]) -> bool:
        """Whether it was a difference, and not two logs that never had anything to do with each other."""
        holders = [source for group in groups for source in group]
        largest = max(groups, key=len)
        has_majority = 2 * len(largest) > len(holders)
        # Equal clusters begin alike; so logs of different ones that differ from the start are not copies of each other.
        if len({source.cluster_id for source in holders}) > 1:
            self._unchecked.append(
                f"not copies of one log: at index {index} "
                + ", ".join(f"{source.name} is of cluster {source.cluster_id.hex()}" for source in holders)
            )
            return False
        left, right = groups[0][0], groups[1][0]
        if has_majority:
            left = largest[0]
            right = next(group for group in groups if group is not largest)[0]
        minority = tuple(
            source.name for source in self._sources if source in holders and not (has_majority and source in largest)
        )
        problem = _Problem(
            index=index, kind="log", what="", minority=minority, has_majority=has_majority, good_index=index - 1
        )
        if not all(source.first_index <= index for source in (left, right)):
            later = max(left, right, key=lambda source: source.first_index)
            problem.what = f"the logs part at or before index {index}, behind which {later.name} begins"
            self._unchecked.append(
                f"where the logs part lies before {later.name} begins: the entry is not in both of them"
            )
            self._problems.append(problem)
            return True
        found = compare_entries(left.entry_at(index), right.entry_at(index), left.names(index), right.names(index))
        _fill(problem, found, left, right)
        self._problems.append(problem)
        return True

    # --- roots and snapshots ------------------------------------------------------------------------------------------

    def _last_common(self) -> int:
        """Up to here, whatever the sources hold is one log."""
        if self._parting is not None:
            return self._parting - 1
        return max(source.last_index for source in self._sources)

    def _compare_roots(self, sources: list[Source]) -> None:
        last = self._last_common()
        if not self._checked_to:
            return
        roots = self._roots = Roots(sources, last, self._checked_to)
        for name in dict.fromkeys(name for found in roots.differences for name in found.differing):
            of_name = [found for found in roots.differences if name in found.differing]
            self._note_roots(of_name[0], roots)
        if not roots.compared_to and not (0 < roots.first_confirmation <= self._checked_to):
            self._unchecked.append("no root is recorded that could be compared: whether applying agrees is not known")

    def _note_roots(self, found: RootDifference, roots: Roots) -> None:
        if any(problem.index == found.index and problem.kind == found.kind for problem in self._problems):
            return
        good = max((index for index in roots.indexes if index < found.index), default=0)
        several = [name for name, own in found.roots.items() if len(own) > 1 and name in found.differing]
        what = f"the roots at index {found.index} differ"
        if found.kind == "snapshot":
            what = f"the snapshot of index {found.index} is not the state that its source had there"
        elif several:
            what += f"; {', '.join(several)} had more than one there"
        differing = {name for later in roots.differences for name in later.differing}
        minority, has_majority = found.differing, found.expected is not None
        if has_majority:
            minority = tuple(source.name for source in self._sources if source.name in differing)
        elif several and len({own[-1] for own in found.roots.values()}) == 1:
            minority, has_majority = tuple(several), True  # they have given it up for what the others have
        self._problems.append(
            _Problem(
                index=found.index,
                kind=found.kind,
                what=what,
                minority=minority,
                has_majority=has_majority,
                roots=found.roots,
                confirmed=roots.confirmed.get(found.index),
                good_index=good,
            )
        )

    def _compare_snapshots(self, sources: list[Source]) -> None:
        last = self._last_common()
        for source in sources:
            for snapshot in source.snapshots:
                manifest = snapshot.manifest
                what = None
                if snapshot.fault is not None:
                    what = f"{snapshot.path}: its contents do not fit its manifest: {snapshot.fault}"
                else:
                    chain = self._chain_of(source, manifest.index, last)
                    if chain is not None and chain != manifest.chain:
                        what = f"{snapshot.path}: it continues another log: the log has another chain there"
                if what is not None:
                    self._problems.append(
                        _Problem(
                            index=manifest.index,
                            kind="snapshot",
                            what=what,
                            minority=(source.name,),
                            good_index=manifest.index - 1,
                        )
                    )

    def _chain_of(self, source: Source, index: int, last: int) -> bytes | None:
        if source.holds(index):
            return source.chain_at(index)
        others = (other for other in self._sources if other.holds(index) and index <= last)
        return next((other.chain_at(index) for other in others), None)

    # --- the result ---------------------------------------------------------------------------------------------------

    def _result(self) -> Comparison:
        problems = sorted(self._problems, key=lambda problem: problem.index)
        sides = tuple(
            Side(
                source=source.name,
                first_index=source.first_index,
                last_index=source.last_index,
                roots=count_roots(source),
                snapshots=len(source.snapshots),
                in_use=source.is_in_use,
            )
            for source in self._sources
        )
        is_damaged = any(source.is_damaged for source in self._sources)
        compared_to = self._roots.compared_to if self._roots is not None else 0
        if not problems:
            verdict: Any = "unchecked" if self._unchecked else "agree"
            finding = Finding(verdict=verdict, checked_to_index=self._checked_to, unchecked=tuple(self._unchecked))
            return Comparison(
                finding=finding,
                sides=sides,
                logs_compared_to=self._checked_to,
                roots_compared_to=compared_to,
                is_damaged=is_damaged,
            )
        first, *others = problems
        kept = self._kept(first)
        difference = self._snapshot_difference(first) or self._kept_difference(first, kept)
        if kept and first.command is None:
            ((_, evidence),) = kept.items()
            first.position, first.command = evidence.position, evidence.command
        finding = Finding(
            verdict="desync",
            kind=first.kind,
            first_bad_index=first.index,
            first_bad_command=first.position,
            command=first.command,
            paths=() if difference is None else difference.paths,
            minority=self._minority(problems),
            checked_to_index=min(self._checked_to, first.index - 1),
            unchecked=tuple(self._unchecked),
            good_index=first.good_index,
            blame=tuple(blame for evidence in kept.values() for blame in evidence.blame),
        )
        return Comparison(
            finding=finding,
            sides=sides,
            what=first.what,
            further=tuple(problem.what for problem in others),
            roots={name: tuple(root.hex() for root in roots) for name, roots in first.roots.items()},
            confirmed=None if first.confirmed is None else first.confirmed.hex(),
            logs_compared_to=self._checked_to,
            roots_compared_to=self._roots_good_to(compared_to),
            buckets={} if difference is None else difference.buckets,
            has_more_paths=difference is not None and difference.has_more,
            has_majority=first.has_majority,
            is_damaged=is_damaged,
        )

    def _roots_good_to(self, compared_to: int) -> int:
        """The last index up to which all roots that could be compared are equal."""
        if self._roots is None or not self._roots.differences:
            return compared_to
        first = self._roots.differences[0].index
        return max((index for index in self._roots.indexes if index < min(first, compared_to + 1)), default=0)

    def _minority(self, problems: list[_Problem]) -> tuple[str, ...]:
        """Who differs from the majority, here or further on; without a majority, all who differ from each other."""
        if not problems[0].has_majority:
            return problems[0].minority
        differing = {name for problem in problems if problem.has_majority for name in problem.minority}
        return tuple(source.name for source in self._sources if source.name in differing)

    def _snapshot_difference(self, first: _Problem) -> SnapshotDifference | None:
        """The paths in which two snapshots of one index differ, one of each side; the earliest such index."""
        if first.kind not in ("apply", "snapshot"):
            return None
        taken: dict[int, dict[str, Snapshot]] = {}
        for source in self._sources:
            for snapshot in source.snapshots:
                if snapshot.manifest.index >= first.index:
                    taken.setdefault(snapshot.manifest.index, {})[source.name] = snapshot
        for _, by_name in sorted(taken.items()):
            pair = _pair(by_name, first.minority)
            if pair is not None:
                with contextlib.suppress(BadBytes, StorageError):  # compacted away meanwhile, or damaged: told already
                    return compare_snapshots(self._disk, pair)
        return None

    def _kept(self, first: _Problem) -> dict[str, KeptEvidence]:
        """What the one source that differs has kept of that, by its name."""
        if first.kind != "apply" or len(first.minority) != 1:
            return {}
        (name,) = first.minority
        source = next(source for source in self._sources if source.name == name)
        evidence = kept_evidence(self._disk, source, first.index)
        return {} if evidence is None else {name: evidence}

    def _kept_difference(self, first: _Problem, kept: dict[str, KeptEvidence]) -> SnapshotDifference | None:
        """The paths in which a state that was given up differs from a snapshot of its index, whoever has one."""
        for name, evidence in kept.items():
            index = evidence.state.manifest.index
            others = [source.name for source in self._sources if source.name != name]
            for source in sorted(self._sources, key=lambda source: source.name == name):
                for snapshot in source.snapshots:
                    if snapshot.manifest.index == index:
                        with contextlib.suppress(BadBytes, StorageError):
                            return compare_snapshots(self._disk, {others[0]: snapshot, name: evidence.state})
        return None


def _pair(by_name: dict[str, Snapshot], minority: tuple[str, ...]) -> dict[str, Snapshot] | None:
    """Two snapshots with different roots, the first of the majority if there is one."""
    names = sorted(by_name, key=lambda name: name in minority)
    for position, name in enumerate(names):
        for other in names[position + 1 :]:
            if by_name[name].manifest.root != by_name[other].manifest.root:
                return {name: by_name[name], other: by_name[other]}
    return None


def _common(one: Source, other: Source) -> tuple[int, int] | None:
    """The first and the last index at which both chains are known."""
    low = max(one.before.index, other.before.index, 1)
    high = min(one.last_index, other.last_index)
    return (low, high) if low <= high else None


def _groups(sources: list[Source], index: int) -> list[list[Source]]:
    """The sources that hold an index, by their chains there."""
    groups: dict[bytes, list[Source]] = {}
    for source in sources:
        if source.holds(index):
            groups.setdefault(source.chain_at(index), []).append(source)
    return list(groups.values())


def _fill(problem: _Problem, found: EntryDifference, left: Source, right: Source) -> None:
    """Put what differs in an entry into the problem."""
    problem.kind, problem.position = found.kind, found.position
    problem.what = f"{found.what} at index {problem.index}: {left.name} and {right.name}"
    if any(call is not None for call in found.calls):
        call = found.calls[0] or found.calls[1] or {}
        by_source = dict(zip((left.name, right.name), found.calls, strict=True))
        problem.command = {**call, "by_source": by_source}
    if found.confirmed is not None:
        index, one, other = found.confirmed
        problem.index, problem.position, problem.command = index, None, None
        problem.roots = {left.name: (one,), right.name: (other,)}
        problem.what = f"{found.what}, in the entries at index {problem.good_index + 1}"
        problem.good_index = index - 1
