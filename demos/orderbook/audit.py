"""What the durable machine is held to: the flow's own story, and the checks that compare the two.

A `Story` is a flow with everything that an undisturbed exchange on plain containers says to it: the answer to each
command, and each report in order. Since every command but a few of the operator's makes a report, the reports that a
machine holds tell after which command of the flow it stands; then its whole survey must be that of a plain desk after
the same commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from demos.orderbook.desk import Answer, Desk
from demos.orderbook.flowgen import TRADERS, Command, Step
from demos.orderbook.records import Report
from demos.orderbook.survey import Survey, difference, survey


class Check(NamedTuple):
    """One thing that had to be so, and what was found."""

    name: str
    held: bool
    found: str


class CheckFailed(Exception):
    """A check did not hold; the show is over."""


class Story:
    """A flow and what it makes. `ends[n]`: how many reports the first n commands make."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.commands: list[Command] = []
        self.answers: list[Answer] = []
        self.ends = [0]

    @property
    def reports(self) -> list[Report]:
        """Every report, in order."""
        return self.desk.reports

    def add(self, step: Step) -> None:
        """Take in the next command; the desk has just run it."""
        self.commands.append(step.command)
        self.answers.append(step.answer)
        self.ends.append(len(self.desk.reports))

    def write(self, path: Path) -> None:
        """Write the commands for the process that will trade them."""
        path.write_bytes(msgspec.msgpack.encode(self.commands))


class Replay:
    """A plain desk that follows the story, as far as it is told."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._desk = Desk()
        self._at = 0

    def survey_after(self, count: int) -> Survey:
        """The survey after the first `count` commands; `count` must not fall from call to call."""
        for command in self._story.commands[self._at : count]:
            self._desk.run(TRADERS[command.trader], command.name, command.values)
        self._at = count
        return survey(self._desk)


class Audit:
    """The checks of one show, in order; the first that does not hold raises `CheckFailed`."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.checks: list[Check] = []
        self.compared: set[range] = set()  # of reports

    def check(self, name: str, held: bool, found: str, otherwise: str = "") -> None:
        """Note one check; `otherwise` is said instead if it does not hold."""
        self.checks.append(Check(name, held, found if held else otherwise or found))
        if not held:
            raise CheckFailed(f"{name}: {otherwise or found}")

    # --- after the kill -----------------------------------------------------------------------------------------------

    def recovered(
        self, reports: Sequence[Report], repeated: int, held: Survey, replay: Replay, acknowledged: int
    ) -> int:
        """Compare what was recovered with the flow's beginning; returns how many commands that is."""
        story = self.story
        candidates = self._places(reports)
        if not candidates:
            strange = self._first_strange(reports) or "its reports are those of no beginning of the flow"
            self.check("nothing lost or doubled", False, strange)
        self.check(
            "nothing was lost",
            candidates[-1] >= acknowledged,
            f"all {acknowledged:,} acknowledged commands were recovered",
            f"what was recovered ends after command {candidates[-1]:,} of the flow, "
            f"but {acknowledged:,} were acknowledged",
        )
        # More than one only where commands make no report: then the books decide.
        for count in candidates:
            where = difference(held, replay.survey_after(count)) if count >= acknowledged else "too early"
            if not where:
                break
        self.check(
            "nothing was doubled",
            not where and not repeated,
            f"books and {self._amount(reports, story.ends[count])} are those of the first {count:,} commands, "
            "no more and no less",
            where or f"{repeated} events came twice or out of order",
        )
        self._note(reports, story.ends[count])
        return count

    def _places(self, reports: Sequence[Report]) -> list[int]:
        """After which commands of the flow a machine may stand that holds these reports as its last ones."""
        ends, story = self.story.ends, self.story.reports
        return [
            count
            for count, end in enumerate(ends)
            if end >= len(reports) > 0 and story[end - 1] == reports[-1] and story[end - len(reports) : end] == reports
        ]

    def _first_strange(self, reports: Sequence[Report]) -> str:
        """Where reports leave the story, in words, as far as that can be told: when they begin with it."""
        story = self.story.reports
        if not reports or story[0] != reports[0]:
            return ""
        for number, (ours, its) in enumerate(zip(story, reports, strict=False)):
            if ours != its:
                return f"report {number:,} is {its} where the flow makes {ours}"
        return ""

    # --- at the end ---------------------------------------------------------------------------------------------------

    def sent_again(self, answers: Sequence[Answer], first: int, recovered: int, acknowledged: int) -> None:
        """The commands that were applied before and sent again got their first answers."""
        again = range(first, recovered)
        wrong = [number for number in again if answers[number - first] != self.story.answers[number]]
        self.check(
            "once each",
            not wrong,
            f"{len(again):,} were sent again under their keys, {recovered - acknowledged:,} of them in doubt: each got "
            "its first answer, none ran twice",
            f"command {min(wrong, default=0):,}, sent again, was answered otherwise than before",
        )

    def answered(self, answers: Sequence[Answer]) -> None:
        """Every answer that was given is the undisturbed exchange's."""
        wrong = next(
            (n for n, pair in enumerate(zip(answers, self.story.answers, strict=False)) if pair[0] != pair[1]), None
        )
        self.check(
            "same answers",
            wrong is None and len(answers) == len(self.story.answers),
            f"{len(answers):,} of {len(self.story.answers):,} equal",
            f"{len(answers):,} answers for {len(self.story.answers):,} commands"
            if wrong is None
            else f"command {wrong:,} was answered {answers[wrong]}, not {self.story.answers[wrong]}",
        )

    def ended(self, reports: Sequence[Report], repeated: int, held: Survey) -> str:
        """The books and the reports at the end are the story's; returns the digest of the books."""
        ours = survey(self.story.desk)
        where = difference(held, ours)
        self.check(
            "same books",
            held.digest == ours.digest,
            f"{held.live:,} orders, all levels, {held.trades:,} trades: sha256 {held.digest[:12]} in both",
            where,
        )
        self._note(reports, len(self.story.reports))
        self.check(
            "same reports",
            self.story.reports[-len(reports) :] == reports and not repeated,
            self._covered(),
            f"the last {len(reports):,} reports are not the flow's, or {repeated} came twice",
        )
        return held.digest

    def reopened(self, reports: Sequence[Report], held: Survey, seconds: float) -> None:
        """The snapshot opens to the same books and reports."""
        ours = survey(self.story.desk)
        self.check(
            "same from the snapshot",
            held.digest == ours.digest and self.story.reports[-len(reports) :] == reports,
            f"opened in {seconds:.2f} s: the books and {len(reports):,} reports again",
            difference(held, ours) or "its reports are not the flow's",
        )

    # --- how much was compared ----------------------------------------------------------------------------------------

    def _note(self, reports: Sequence[Report], end: int) -> None:
        self.compared.add(range(end - len(reports), end))

    @staticmethod
    def _amount(reports: Sequence[Report], end: int) -> str:
        return f"all {end:,} reports" if len(reports) == end else f"the last {len(reports):,} reports"

    def _covered(self) -> str:
        """How many of the story's reports were compared, before and after the kill."""
        compared, at = 0, 0
        for part in sorted(self.compared, key=lambda part: part.start):
            compared += max(0, part.stop - max(part.start, at))
            at = max(at, part.stop)
        total = len(self.story.reports)
        if compared == total:
            return f"all {total:,} of the day, in order, none twice"
        return f"the {compared:,} of {total:,} that the machine still kept at the kill and at the end, none twice"
