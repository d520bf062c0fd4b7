"""Differences that are planted into nodes of a simulation, and what must then hold of verdicts and quarantine.

A plant makes one node's state another than the log's: by a write that its sums know of, by one behind their back, by
its record of answers, or by a bug in its code. From then on the node is *tainted*, until a root of it is right again.
What it tells clients meanwhile, before it finds out, may be wrong; that is the one thing no cluster can help, and the
only thing that is left out of what clients are judged by.

What is right is known from a replica of the canonical log, which is no part of any node.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rsm.limits import EVIDENCE_KEPT
from rsm.machine.machine import StateMachine
from rsm.node.member import Member
from rsm.node.storage.bundles import HEAD
from rsm.replica.agreement import Case
from rsm.replica.replica import Replica
from rsm.state.containers import Map
from rsm.testing.probe import BuggyProbe, Probe
from rsm.testing.process import PATH, Process
from rsm.testing.schedule import FaultKind

if TYPE_CHECKING:
    from rsm.testing.stage import Stage

__all__ = ["Plants"]

# From a plant on, in a cluster that is whole: a hash interval of an idle leader, a scrub, and what reports take.
FIND_SECONDS: Final = 4.0
UNPLANTED: Final = "nobody differs without a plant"
VERDICT: Final = "a verdict has a majority"
EVIDENCE: Final = "evidence is kept"
SHOWN: Final = "nothing of a state in doubt is shown"


class Plant(msgspec.Struct):
    """One difference. `replica`: the one it was planted into; `index`: where that stood."""

    kind: FaultKind
    index: int
    at: float
    replica: Any
    is_found: bool = False


class Plants:
    """Plants, and watches what comes of it. `ever`: nodes that were tainted at some time."""

    def __init__(self, stage: Stage, machine: type[StateMachine]) -> None:
        self.tainted: dict[int, Plant] = {}
        self.ever: set[int] = set()
        self.counts: Counter[str] = Counter()
        self.doubtful: set[int] = set()  # requests that a tainted node answered
        self._stage = stage
        self._truth = Replica(machine)
        self._truth.is_lone = False
        self._true_roots: dict[int, bytes] = {}
        self._standings: dict[int, tuple[int, str]] = {}  # by node: its process, and how that stood
        self._failing: set[int] = set()  # nodes whose disk failed while they wrote evidence
        self._evidence: dict[int, set[str]] = {}
        self._cases: dict[int, tuple[str, int]] = {}

    # --- planting -----------------------------------------------------------------------------------------------------

    def plant(self, process: Process, kind: FaultKind, chance: random.Random) -> bool:
        """Make a node differ; False if it cannot be now. One at a time: two of three would be the majority."""
        member = process.member
        if member is None or self.tainted or member.agreeing.standing != "well":
            return False
        replica = member.replica
        if kind is FaultKind.BUG and self._stage.machine is not Probe:
            kind = FaultKind.ALTER
        if kind is FaultKind.ALTER_UNTRACKED and not _alter_untracked(replica, chance):
            kind = FaultKind.ALTER
        if kind is FaultKind.ALTER and not _alter(replica, chance):
            kind = FaultKind.ALTER_DIGEST
        if kind is FaultKind.ALTER_DIGEST:
            replica.store.begin()
            replica.system.digest = chance.randbytes(16)
            replica.store.end()
        if kind is FaultKind.BUG:
            process.machine = BuggyProbe
        self.tainted[process.node] = Plant(kind, replica.index, self._stage.queue.now, replica)
        self.ever.add(process.node)
        self.counts["planted"] += 1
        self._stage.note("planted", process.node, kind.value, replica.index)
        return True

    def mended(self, process: Process) -> None:
        """A node's bug is removed; its next process has the right code."""
        process.machine = None
        plant = self.tainted.get(process.node)
        if plant is not None:
            plant.index = self._stage.judge.last_index

    def wiped(self, node: int) -> None:
        """Nothing of a node is left."""
        self.tainted.pop(node, None)
        self._evidence.pop(node, None)
        self._standings.pop(node, None)

    def is_tainted(self, node: int) -> bool:
        """Whether this node's state may be another than the log's."""
        return node in self.tainted

    # --- what is right ------------------------------------------------------------------------------------------------

    def true_root(self, index: int) -> bytes | None:
        """The root that the log gives at an index; None where there is none, or nobody has applied that much yet."""
        judge = self._stage.judge
        while self._truth.index < min(index, judge.last_index):
            applied = self._truth.apply(judge.entries[self._truth.index])
            if self._stage.versions is not None:
                self._stage.versions.applied(applied.index, self._truth.system.machine_version)
            if applied.root is not None:
                self._true_roots[applied.index] = applied.root
        difference = self._truth.difference
        if difference is not None:
            self._truth.difference = None
            judge.broken(
                VERDICT, f"{difference.confirmed.hex()} is confirmed, the log gives {difference.root.hex()}", []
            )
        return self._true_roots.get(index)

    # --- watching -----------------------------------------------------------------------------------------------------

    def look(self, process: Process) -> None:
        """Something happened to a node."""
        member, node = process.member, process.node
        if member is None:
            return
        standing = member.agreeing.standing
        starts, before = self._standings.get(node, (0, "well"))
        if starts != process.starts:
            before = "well"
        if standing != before:
            self._stood(process, member, before)
        self._standings[node] = process.starts, standing
        if standing == "quarantined" and self._stage.operator.is_failing(process):
            self._failing.add(node)
        for case in member.replica.agreement.cases.values():
            mark = case.state, len(case.words)
            if self._cases.get(case.index) != mark:
                self._cases[case.index] = mark
                self._judge(node, case)
        if node in self.tainted and standing == "well":
            self._may_be_right(process, member)

    def _stood(self, process: Process, member: Member, before: str) -> None:
        node, agreeing = process.node, member.agreeing
        self._stage.note("stands", node, agreeing.standing, agreeing.reason[:200])
        broken = self._stage.judge.broken
        plant = self.tainted.get(node)
        if agreeing.standing == "outdated" and self._stage.versions is not None:
            return  # looked at there
        if before == "well":
            if plant is None:
                broken(UNPLANTED, f"it is {agreeing.standing}: {agreeing.reason}", [node], member.applied_index)
                return
            if not plant.is_found:
                plant.is_found = True
                self.counts["found"] += 1
        if agreeing.standing in ("healing", "out") and before not in ("healing", "out"):
            self._see_evidence(process, member)
        if agreeing.standing == "well":
            self.counts["healed"] += 1
        elif agreeing.standing == "out":
            self.counts["out"] += 1

    def _see_evidence(self, process: Process, member: Member) -> None:
        node, path = process.node, member.agreeing.evidence
        was_failing = node in self._failing or self._stage.operator.is_failing(process)
        self._failing.discard(node)
        if path and process.disk.exists(os.path.join(path, HEAD)):
            self._evidence.setdefault(node, set()).add(path)
            self.counts["evidence"] = self.counts["evidence"] + 1
        elif not was_failing and len(self._evidence.get(node, ())) < EVIDENCE_KEPT:
            self._stage.judge.broken(EVIDENCE, f"there is none: {member.agreeing.reason}", [node], member.applied_index)

    def _judge(self, node: int, case: Case) -> None:
        broken = self._stage.judge.broken
        if not self.ever:
            broken(UNPLANTED, f"node {node} has a case: {case.words}", [node], case.index)
        if case.state != "decided":
            return
        claims = [word.claim for word in case.words.values()]
        if claims.count((case.root, case.version, case.schema)) < case.quorum:
            broken(VERDICT, f"decided by {claims}", sorted(case.words), case.index)
        wrong = sorted(set(case.minority) - self.ever)
        if wrong:
            broken(VERDICT, "in the minority, and nothing was planted there", wrong, case.index)
        true_root = self.true_root(case.index)
        if true_root not in (None, case.root):
            broken(VERDICT, f"the majority's root is {case.root.hex()}, the log gives another", [], case.index)

    def _may_be_right(self, process: Process, member: Member) -> None:
        plant, replica = self.tainted[process.node], member.replica
        index = max(replica.roots, default=0)
        if process.machine is not None or index <= plant.index or index > self._stage.judge.last_index:
            return
        if plant.kind is FaultKind.ALTER_UNTRACKED and replica is plant.replica:
            return  # its sums do not know
        if replica.roots[index] == self.true_root(index):
            if not plant.is_found:
                self.counts["faded"] += 1  # it was written over, or its process ended first
            del self.tainted[process.node]
            self._stage.note("right again", process.node, index)

    def answers(self, process: Process, answer: tuple[Any, ...]) -> None:
        """A node tells a client something."""
        if answer[0] not in ("answers", "value") or process.member is None:
            return
        if process.member.agreeing.standing != "well":
            self._stage.judge.broken(
                SHOWN, f"a node that is {process.member.agreeing.standing} answers", [process.node]
            )
        if process.node in self.tainted:
            self.doubtful.add(answer[1])

    # --- the end ------------------------------------------------------------------------------------------------------

    def overdue(self, since: float) -> str:
        """Who should have been found by now, in a cluster that has been whole since a time; an empty text if nobody."""
        now = self._stage.queue.now
        late = [
            f"node {node}: {plant.kind.value} at index {plant.index}"
            for node, plant in self.tainted.items()
            if not plant.is_found and plant.kind is not FaultKind.BUG and now - max(plant.at, since) > FIND_SECONDS
        ]
        return "; ".join(late)

    def unsettled(self) -> str:
        """What is not as it has to be in the end, an empty text if everything is: nodes are well, or out for a bug."""
        found = []
        for node in self._stage.configuration().ids:
            process = self._stage.processes[node]
            member = process.member
            if member is None:
                found.append(f"node {node} is down")
                continue
            standing, is_buggy = member.agreeing.standing, process.machine is not None
            index = max(member.replica.roots, default=0)
            is_right = standing == "well" and member.replica.roots.get(index) in (None, self.true_root(index))
            if not is_right and not (is_buggy and standing == "out"):
                found.append(f"node {node} is {standing}: {member.agreeing.reason}")
            elif node in self.tainted and not is_buggy:
                found.append(f"node {node} still differs")
            for case in member.replica.agreement.cases.values():
                gone = [number for number in case.out if self._is_present(number)]
                if standing == "well" and gone:
                    found.append(f"node {node} has nodes {gone} as out since index {case.index}")
        return "; ".join(found)

    def _is_present(self, node: int) -> bool:
        """Whether a node is a voter of whom more can be expected."""
        process = self._stage.processes.get(node)
        if process is None or self._stage.configuration().get(node) is None:
            return False
        return process.machine is None and node in self._stage.configuration().voters

    def check_evidence(self) -> None:
        """What was written is still there."""
        for node, paths in sorted(self._evidence.items()):
            disk = self._stage.processes[node].disk
            for path in sorted(paths):
                if not disk.exists(os.path.join(path, HEAD)):
                    self._stage.judge.broken(EVIDENCE, f"{os.path.relpath(path, PATH)} is gone", [node])


def _maps(replica: Replica) -> list[Any]:
    """The machine's maps of texts to numbers that are not empty."""
    return [
        container
        for name, container in sorted(replica.store.containers.items())
        if type(container) is Map and not name.startswith("rsm.") and container and _is_plain(container)
    ]


def _is_plain(container: Any) -> bool:
    key, value = next(iter(container.items()))
    return type(key) is str and type(value) is int


def _alter(replica: Replica, chance: random.Random) -> bool:
    maps = _maps(replica)
    if not maps:
        return False
    container = chance.choice(maps)
    key = chance.choice(sorted(container))
    replica.store.begin()
    container[key] += 1 + chance.randrange(1000)
    replica.store.end()
    return True


def _alter_untracked(replica: Replica, chance: random.Random) -> bool:
    maps = _maps(replica)
    if not maps:
        return False
    container = chance.choice(maps)
    key = chance.choice(sorted(container))
    dict.__setitem__(container, key, container[key] + 1 + chance.randrange(1000))
    return True
