"""What every node's local log tells of disputes: that there is one, how it ended, and who is back; each of it once.

The cases are a fold over the replicated log, so all nodes tell the same, whoever was concerned. A node that starts
again tells what its log still holds.
"""

from __future__ import annotations

from typing import Final

import msgspec

from rsm.node.log import logger
from rsm.replica.agreement import Agreement, Case, CaseState

__all__ = ["CaseLog"]

# A replica that takes the place of another may be behind it for a moment: only what goes forward is told.
STAGES: Final[dict[CaseState, int]] = {"attesting": 0, "reexecuting": 1, "undecided": 2, "decided": 3}


class _Told(msgspec.Struct):
    """What was told of one case. `mark` changes whenever there may be more to tell."""

    mark: tuple[CaseState, int, int]
    stage: int = -1
    minority: set[int] = msgspec.field(default_factory=set)
    returned: set[int] = msgspec.field(default_factory=set)


class CaseLog:
    """One node's. `disputes` counts those that it has seen since its start."""

    def __init__(self) -> None:
        self.disputes = 0
        self._told: dict[int, _Told] = {}

    def look(self, agreement: Agreement) -> None:
        """Entries were applied: tell what is new. Cheap while nothing is."""
        for case in agreement.cases.values():
            mark = (case.state, len(case.words), len(case.returned))
            told = self._told.get(case.index)
            if told is None:
                self.disputes += 1
                told = self._told[case.index] = _Told(mark)
                logger.error("dispute", index=case.index, voters=list(case.voters))
            elif told.mark == mark:
                continue
            told.mark = mark
            self._tell(case, told)
        for index in [index for index in self._told if index not in agreement.cases]:
            del self._told[index]

    def _tell(self, case: Case, told: _Told) -> None:
        stage = STAGES[case.state]
        roots = {number: word.root.hex() for number, word in sorted(case.words.items())}
        if case.state == "decided" and set(case.minority) - told.minority:
            told.minority |= set(case.minority)
            codes = {number: word.code for number, word in sorted(case.words.items())}
            logger.error(
                "verdict",
                index=case.index,
                differ=list(case.minority),
                root=case.root.hex(),
                roots=roots,
                codes=codes if len(set(codes.values())) > 1 else "all the same",
            )
        elif case.state == "decided" and told.stage < stage:
            logger.warning("verdict", index=case.index, differ=[], root=case.root.hex(), roots=roots)
        elif case.state == "undecided" and told.stage < stage:
            logger.error("no verdict: no majority has one root", index=case.index, roots=roots)
        elif case.state == "reexecuting" and told.stage < stage:
            logger.error("no majority yet: all run the log again", index=case.index, roots=roots)
        told.stage = max(told.stage, stage)
        for number in sorted(set(case.returned) - told.returned):
            told.returned.add(number)
            logger.warning("returned", of_node=number, index=case.index, at_index=case.returned[number])
