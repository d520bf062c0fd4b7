"""What the durable machine is held to: the flow's own story, and the checks that compare the two.

A `Story` is a flow with everything that an undisturbed exchange on plain containers says to it: the answer to each
command, and each report in order. A cluster trades several at once, in different markets.

Since every command but a few of the operator's makes a report, the reports that a machine holds tell after which
command of the flow it stands; then its whole survey must be that of a plain desk after the same commands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from demos.orderbook.desk import Answer, Desk
from demos.orderbook.flowgen import Command, Flow, Step
from demos.orderbook.records import Report
from demos.orderbook.survey import Exchange, Survey, difference, survey


class Check(NamedTuple):
    """One thing that had to be so, and what was found."""

    name: str
    held: bool
    found: str


class CheckFailed(Exception):
    """A check did not hold; the show is over."""


class Story:
    """A flow and what it makes. `ends[n]`: how many reports the first n commands make."""

    def __init__(self, flow: Flow) -> None:
        self.desk = flow.desk
        self.instruments = flow.instruments
        self.principals = flow.traders
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

    def survey(self, exchange: Exchange) -> Survey:
        """What an exchange holds of this flow's markets and traders."""
        return survey(exchange, self.instruments, [name for name in dict.fromkeys(self.principals) if name])

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
            self._desk.run(self._story.principals[command.trader], command.name, command.values)
        self._at = count
        return self._story.survey(self._desk)


class Audit:
    """The checks of one show, in order; the first that does not hold raises `CheckFailed`."""

    def __init__(self, *stories: Story) -> None:
        self.stories = stories
        self.checks: list[Check] = []
        self.compared: set[range] = set()  # of reports

    @property
    def story(self) -> Story:
        """The one flow of a single process."""
        (story,) = self.stories
        return story

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

    def sent_again(self, first: Sequence[int], answers: Sequence[Sequence[Answer]], what: str) -> None:
        """Commands that had been applied and were sent again got their first answers: of each story those from its
        number `first` on.
        """
        wrong = [
            (again, start + number)
            for start, again, story in zip(first, answers, self.stories, strict=True)
            for number, answer in enumerate(again)
            if answer != story.answers[start + number]
        ]
        count = sum(map(len, answers))
        self.check(
            "once each",
            not wrong and count > 0,
            f"{count:,} were sent again under their keys, {what}: each got its first answer, none ran twice",
            f"command {wrong[0][1]:,}, sent again, was answered otherwise than before" if wrong else "none was sent",
        )

    def answered(self, answers: Sequence[Sequence[Answer]]) -> None:
        """Every command of every story was answered, and as the undisturbed exchange answers it."""
        given, due = sum(map(len, answers)), sum(len(story.answers) for story in self.stories)
        strange = (
            f"command {number:,} was answered {ours}, not {its}"
            for mine, story in zip(answers, self.stories, strict=True)
            for number, (ours, its) in enumerate(zip(mine, story.answers, strict=False))
            if ours != its
        )
        wrong = next(strange, "" if given == due else f"{given:,} answers for {due:,} commands")
        self.check("same answers", not wrong, f"{given:,} of {due:,} equal", wrong)

    def same_books(self, held: Sequence[Survey]) -> str:
        """The books at the end are the stories'; returns their digest."""
        ours = [story.survey(story.desk) for story in self.stories]
        where = next(filter(None, map(difference, held, ours)), "")
        digest = hashlib.sha256("".join(survey.digest for survey in held).encode()).hexdigest()
        live, trades = sum(survey.live for survey in held), sum(survey.trades for survey in held)
        self.check(
            "same books",
            [survey.digest for survey in held] == [survey.digest for survey in ours],
            f"{live:,} orders, all levels, {trades:,} trades: sha256 {digest[:12]} in both",
            where,
        )
        return digest

    def same_reports(self, reports: Sequence[Sequence[Report]], repeated: int, found: str) -> None:
        """Reports, by story, each to be its last ones."""
        wrong = next(
            (
                f"the last {len(made):,} reports are not the flow's last of {len(story.reports):,}"
                for made, story in zip(reports, self.stories, strict=True)
                if not made or story.reports[-len(made) :] != made
            ),
            f"{repeated} reports came twice or out of order" if repeated else "",
        )
        self.check("same reports", not wrong, found, wrong)

    def ended(self, reports: Sequence[Report], repeated: int, held: Survey) -> str:
        """The books and the reports at the end are the story's; returns the digest of the books."""
        digest = self.same_books([held])
        self._note(reports, len(self.story.reports))
        self.same_reports([reports], repeated, self._covered())
        return digest

    def reopened(self, reports: Sequence[Report], held: Survey, seconds: float) -> None:
        """The snapshot opens to the same books and reports."""
        ours = self.story.survey(self.story.desk)
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
