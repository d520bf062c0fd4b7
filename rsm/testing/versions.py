"""Releases in a simulation: nodes that run different ones, upgrades at any moment, and what must then hold.

Nodes begin under the first release of the machine. Now and then one is started again with another release, mostly a
newer one; or all are, one after the other, as an operator does it; and a leader is asked to put a version in force,
also one that does not exist, or that is long past. What clients send are the first release's commands.

Which version is in force where is known from a replica of the canonical log, which is no part of any node.
"""

from __future__ import annotations

import bisect
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rsm.codec.record import RecordKind
from rsm.errors import ReleaseMissing
from rsm.machine.machine import StateMachine
from rsm.node.member import Member
from rsm.replica.batch import decode_batch
from rsm.replica.replica import upgrade_of
from rsm.testing.process import Process

if TYPE_CHECKING:
    from rsm.testing.stage import Stage

__all__ = ["Versions"]

ROLL_SECONDS: Final = 0.6  # between one node's restart and the next one's
ONE_VERSION: Final = "one version is in force at an index"
OUTDATED: Final = "who waits for an upgrade needs one"
PROMISED: Final = "a version that was put in force is"
IN_ORDER: Final = "versions follow one another"


class Versions:
    """Gives nodes other releases, asks for upgrades, and watches what comes of it. `releases`: oldest first."""

    def __init__(self, stage: Stage, machine: type[StateMachine]) -> None:
        self.releases: list[type[StateMachine]] = [one.owner for one in reversed(machine.definition.releases())]
        self.counts: Counter[str] = Counter()
        self._stage = stage
        self._flips: list[tuple[int, int]] = []  # (index, version) from which on another one is in force, rising
        self._seen: dict[int, tuple[int, int, str]] = {}  # by node: its process, where that stood, and how
        self._promises: list[tuple[int, int]] = []  # (index, version) that somebody was told, to be looked at later
        self._unproven: dict[int, int] = {}  # by node: the entry that it cannot apply, as it says

    @property
    def newest(self) -> type[StateMachine]:
        """What every node runs in the end."""
        return self.releases[-1]

    # --- what is right ------------------------------------------------------------------------------------------------

    def applied(self, index: int, version: int) -> None:
        """The canonical log was applied up to an index, and this version is in force behind it."""
        before = self._flips[-1][1] if self._flips else 0
        if version == before:
            return
        numbers = [0, *(release.definition.version for release in self.releases)]
        # A log begins under whatever release its first leader has.
        if version not in numbers or (before and numbers.index(version) != numbers.index(before) + 1):
            self._stage.judge.broken(IN_ORDER, f"from {before} to {version}", [], index)
        self._flips.append((index, version))
        if before:
            self.counts["flips"] += 1

    def in_force(self, index: int) -> int:
        """The version that is in force behind an index that is committed; 0 before there is one."""
        self._stage.plants.true_root(index)
        place = bisect.bisect_right(self._flips, (index, 1 << 31))
        return self._flips[place - 1][1] if place else 0

    # --- what happens -------------------------------------------------------------------------------------------------

    def change(self, process: Process, chance: random.Random) -> None:
        """Choose a node's next release."""
        process.release = chance.choice((self.newest, self.newest, *self.releases))
        self._stage.note("release", process.node, process.release.definition.version)

    def ask(self, version: int) -> None:
        """Ask the leader to put a version in force."""
        stage = self._stage
        leader = stage.leader()
        if leader is None or stage.network.is_paused(leader):
            return

        def done(index: int) -> None:
            stage.note("upgraded", version, index)
            self._promises.append((index, version))

        def fail(error: Exception) -> None:
            stage.note("not upgraded", version, type(error).__name__, str(error)[:120])
            self.counts["refused"] += 1

        self.counts["asked"] += 1
        stage.processes[leader].call(lambda member: member.upgrade(version, done, fail))

    def draw(self, chance: random.Random) -> int:
        """A version to ask for: mostly one that there is."""
        numbers = [release.definition.version for release in self.releases]
        return chance.choice((*numbers[1:], *numbers[1:], numbers[0], numbers[-1] + 1))

    def may_stop(self, process: Process, error: Exception) -> bool:
        """Whether a node rightly refuses to start: its snapshot is of a version that its release does not ship."""
        if not isinstance(error, ReleaseMissing) or process.release is None:
            return False
        shipped = [one.version for one in process.release.definition.releases()]
        is_right = self.in_force(self._stage.judge.last_index) not in shipped and error.version not in shipped
        self.counts["refused to start"] += is_right
        process.release = self.newest  # its operator has read the line
        return is_right

    # --- watching -----------------------------------------------------------------------------------------------------

    def look(self, process: Process, member: Member) -> None:
        """Something happened to a node."""
        node, standing = process.node, member.agreeing.standing
        seen = process.starts, member.applied_index, standing
        last = self._stage.judge.last_index
        if node in self._unproven and last >= self._unproven[node]:
            self._prove(node, self._unproven.pop(node))
        if self._seen.get(node) == seen:
            return
        was = self._seen.get(node, (0, 0, ""))
        self._seen[node] = seen
        if standing == "outdated" and (was[0], was[2]) != (process.starts, standing):
            self.counts["outdated"] += 1
            self._unproven[node] = member.applied_index + 1
        if 0 < member.applied_index <= last:
            ours, right = member.replica.system.machine_version, self.in_force(member.applied_index)
            if ours != right or (ours and member.replica.definition.version != ours):
                self._stage.judge.broken(
                    ONE_VERSION,
                    f"{ours} (class of {member.replica.definition.version}), the log gives {right}",
                    [node],
                    member.applied_index,
                )
        for index, version in [one for one in self._promises if one[0] <= last]:
            self._promises.remove((index, version))
            if self.in_force(index) != version:
                self._stage.judge.broken(
                    PROMISED, f"somebody was told that {version} is, {self.in_force(index)} is", [], index
                )

    def _prove(self, node: int, index: int) -> None:
        """The entry that a node did not apply is an upgrade, or begins the log, under a version that it has not."""
        process, entry = self._stage.processes[node], self._stage.judge.entries[index - 1]
        member = process.member
        if member is None or member.agreeing.standing != "outdated":
            return
        shipped = [one.version for one in member.replica.newest.releases()]
        needed = 0
        if entry.kind is RecordKind.BATCH:
            batch: Any = decode_batch(entry.payload)
            needed = upgrade_of(index, batch)[0] if batch.is_upgrade else batch.machine_version
        if needed in shipped or not needed:
            self._stage.judge.broken(OUTDATED, f"it ships {shipped}, the entry needs {needed}", [node], index)

    # --- the end ------------------------------------------------------------------------------------------------------

    def unsettled(self) -> str:
        """Which nodes are not well under the newest release, an empty text if all are."""
        wanted = self.newest.definition.version
        found = []
        for node in self._stage.configuration().ids:
            member = self._stage.processes[node].member
            if member is None:
                found.append(f"node {node} is down")
            elif member.agreeing.standing != "well" or member.replica.system.machine_version != wanted:
                found.append(
                    f"node {node} is {member.agreeing.standing} under version {member.replica.system.machine_version}"
                )
        return "; ".join(found)
