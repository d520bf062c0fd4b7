"""What a leader makes of the roots that members report with their replies: who agrees, who differs, who is back."""

from __future__ import annotations

from typing import NamedTuple

from rsm.node.log import logger
from rsm.raft.cluster import ClusterEngine
from rsm.replica.replica import Replica

__all__ = ["Comparison", "Found"]


class Found(NamedTuple):
    """What to state. `confirmed`: the newest hash point at which a quorum has one root, if it is new, and the root;
    `disputed`: the oldest at which two differ, if that is not known yet; `returned`: nodes that differed, and an index
    at which they have what a quorum has.
    """

    confirmed: tuple[int, bytes] | None
    disputed: int | None
    returned: list[tuple[int, int]]


class Comparison:
    """The reports of one leadership, for the hash points that its replica still knows."""

    def __init__(self, node_id: int) -> None:
        self._node_id = node_id
        self._reports: dict[int, dict[int, bytes]] = {}  # by index and node
        self._confirmed_to = 0
        self._told: set[tuple[int, bytes]] = set()  # which differences are in the local log
        self.contradiction = ""  # a quorum has one root, and this leader another
        self.contradicted_index = 0

    def begin(self, confirmed_index: int) -> None:
        """A leadership begins."""
        self._reports.clear()
        self._told.clear()
        self._confirmed_to = confirmed_index
        self.contradiction, self.contradicted_index = "", 0

    def absolve(self) -> None:
        """What this leader had is not held against it any more: its state is another one, or a verdict was for it."""
        self.contradiction, self.contradicted_index = "", 0
        self._forget(self._node_id)

    def _forget(self, number: int) -> None:
        for reports in self._reports.values():
            reports.pop(number, None)

    def compare(self, engine: ClusterEngine, replica: Replica) -> Found:
        """Take in what members have reported by now."""
        voters, roots = engine.configuration.voters, replica.roots
        for number in voters:
            progress = engine.progress(number)
            if number == self._node_id:
                index = max(roots, default=0)
                root = roots.get(index, b"")
            else:
                index, root = (0, b"") if progress is None else (progress.root_index, progress.root)
            if not index:  # it has started anew, or is in doubt of itself: what it reported was of another state
                self._forget(number)
            if index in roots:
                self._reports.setdefault(index, {})[number] = root
                if number != self._node_id and self._node_id in voters:
                    self._reports[index][self._node_id] = roots[index]
        for index in [index for index in self._reports if index not in roots]:
            del self._reports[index]
        confirmed = self._confirmed(engine.configuration.quorum, roots)
        return Found(confirmed, self._disputed(replica), self._returned(engine.configuration.quorum, replica))

    def _confirmed(self, quorum: int, roots: dict[int, bytes]) -> tuple[int, bytes] | None:
        for index in sorted(self._reports, reverse=True):
            root = majority(self._reports[index], quorum)
            if root is None:
                continue
            if root != roots[index]:
                self.contradicted_index = index
                self.contradiction = (
                    f"its state root at index {index} is {roots[index].hex()}, a majority has {root.hex()}"
                )
            if index <= self._confirmed_to:
                return None
            self._confirmed_to = index
            return index, root
        return None

    def _disputed(self, replica: Replica) -> int | None:
        agreement = replica.agreement
        if any(case.is_open for case in agreement.cases.values()):
            return None
        # Where there was no majority, there will be none at the next hash point: not before something is confirmed.
        undecided = max((case.index for case in agreement.cases.values() if case.state == "undecided"), default=0)
        if undecided and undecided >= replica.confirmed_index:
            return None
        out = agreement.out()
        for index in sorted(self._reports):
            reports = {number: root for number, root in self._reports[index].items() if number not in out}
            if len(set(reports.values())) > 1 and index not in agreement.cases:
                self._tell(index, reports)
                return index
        return None

    def _returned(self, quorum: int, replica: Replica) -> list[tuple[int, int]]:
        returned = []
        for number, case_index in sorted(replica.agreement.out().items()):
            for index in sorted(self._reports, reverse=True):
                root = self._reports[index].get(number)
                if index > case_index and root is not None and root == majority(self._reports[index], quorum):
                    returned.append((number, index))
                    for earlier in [at for at in self._reports if at < index]:
                        self._reports[earlier].pop(number, None)  # of the state that it no longer has
                    break
        return returned

    def _tell(self, index: int, reports: dict[int, bytes]) -> None:
        for number, root in sorted(reports.items()):
            if (number, root) not in self._told:
                self._told.add((number, root))
                logger.error("roots differ", index=index, of_node=number, root=root.hex())


def majority(reports: dict[int, bytes], quorum: int) -> bytes | None:
    """The root that a quorum has, if there is one."""
    roots = list(reports.values())
    return next((root for root in roots if roots.count(root) >= quorum), None)
