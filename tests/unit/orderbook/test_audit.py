"""The show's checks find what they are there for: each passes on the truth, and fails on the smallest untruth."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

import rsm
from demos.orderbook.audit import Audit, CheckFailed, Replay, Story
from demos.orderbook.cluster import Document, NodeLine
from demos.orderbook.cluster_board import ClusterBoard
from demos.orderbook.cluster_trial import STAGES, ClusterTrial
from demos.orderbook.flowgen import Flow
from demos.orderbook.news import FIRMS, NUMBERS_APART, Events
from demos.orderbook.records import Report, Traded
from demos.orderbook.survey import Survey

COMMANDS = 1_500


@pytest.fixture(scope="module")
def stories() -> list[Story]:
    """The flows of three firms, as the show of a cluster has them."""
    made = []
    for place, (name, instruments) in enumerate(FIRMS.items()):
        flow = Flow(5 + place, instruments, [name] * 7, place * NUMBERS_APART)
        story = Story(flow)
        for step in flow.steps(COMMANDS):
            story.add(step)
        made.append(story)
    return made


def fails(check: Callable[[], object]) -> str:
    """Run a check that must fail; what it says."""
    with pytest.raises(CheckFailed) as failure:
        check()
    return str(failure.value)


def test_answers(stories: list[Story]) -> None:
    """One answer that is missing, and one that is another, are found."""
    answers = [list(story.answers) for story in stories]
    Audit(*stories).answered(answers)
    assert "4,499 answers for 4,500" in fails(
        lambda: Audit(*stories).answered([answers[0], answers[1], answers[2][:-1]])
    )
    answers[1][700] = 12_345
    assert "command 700 was answered 12345" in fails(lambda: Audit(*stories).answered(answers))


def test_answers_to_what_was_sent_again(stories: list[Story]) -> None:
    """A command that ran again is answered otherwise; and nothing sent is nothing shown."""
    first = [COMMANDS - 100] * 3
    again = [story.answers[-100:] for story in stories]
    Audit(*stories).sent_again(first, again, "")
    assert "none was sent" in fails(lambda: Audit(*stories).sent_again(first, [[], [], []], ""))
    again[2] = [*again[2][:-1], 12_345]
    assert f"command {COMMANDS - 1:,}" in fails(lambda: Audit(*stories).sent_again(first, again, ""))


def books(stories: list[Story], *, without: int | None = None, twice: int | None = None) -> list[Survey]:
    """The surveys of exchanges that ran the flows, but for one command of the first firm."""
    held = [story.survey(story.desk) for story in stories]
    tampered = Story(Flow(5, FIRMS["alder"], ["alder"] * 7))
    for number, command in enumerate(stories[0].commands):
        tampered.commands += [command] * (0 if number == without else 2 if number == twice else 1)
    held[0] = Replay(tampered).survey_after(len(tampered.commands))
    return held


def test_books(stories: list[Story]) -> None:
    """A command that was lost, and one that took effect twice, are found in the books."""
    commands = stories[0].commands
    resting = stories[0].desk.open_orders("alder")[-1].order_id
    lost = next(n for n, command in enumerate(commands) if command.name == "place" and command.values[0] == resting)
    halving = max(n for n, command in enumerate(commands) if command.name == "uncross")
    Audit(*stories).same_books(books(stories))
    assert "ACME" in fails(lambda: Audit(*stories).same_books(books(stories, without=lost)))
    Audit(*stories).same_books(books(stories, twice=lost))  # its number is taken: refused, and told in the reports
    assert "ACME" in fails(lambda: Audit(*stories).same_books(books(stories, without=halving)))


def test_reports(stories: list[Story]) -> None:
    """One report missing, one twice, two exchanged: each is found; so is an event that comes again."""
    mixed = [report for group in zip(*(story.reports[:900] for story in stories), strict=True) for report in group]
    mixed += [report for story in stories for report in story.reports[900:]]

    def check(reports: list[Report], numbers: list[int] | None = None) -> None:
        events = Events()
        for number, report in zip(numbers or range(1, len(reports) + 1), reports, strict=True):
            events.take(rsm.Event(number, 0, 0, 0, report))
        found = [events.of(story) for story in stories]
        assert sum(map(len, found)) == len(reports)
        Audit(*stories).same_reports(found, events.repeated, "")

    check(mixed)
    assert "same reports" in fails(lambda: check([*mixed[:500], *mixed[501:]]))
    assert "same reports" in fails(lambda: check([*mixed[:500], mixed[499], *mixed[500:]]))
    trade = next(n for n, report in enumerate(stories[0].reports) if isinstance(report, Traded))
    swapped = list(mixed)
    swapped[3 * trade], swapped[3 * trade - 3] = swapped[3 * trade - 3], swapped[3 * trade]
    assert "same reports" in fails(lambda: check(swapped))
    numbers = [*range(1, len(mixed)), len(mixed) - 1]
    assert "1 reports came twice" in fails(lambda: check(mixed, numbers))


NODE = NodeLine("", role="follower", commit_index=9, applied_index=9, root_index=8, root="ab" * 16)


@pytest.mark.parametrize(
    ("nodes", "desync", "words"),
    [
        ([NODE] * 3, [], ""),
        (
            [NODE, NODE, msgspec.structs.replace(NODE, root="cd" * 16)],
            [],
            "abababababababab at 8, cdcdcdcdcdcdcdcd at 8",
        ),
        ([NODE] * 3, ["node 2: differs"], "node 2: differs"),
        ([msgspec.structs.replace(NODE, root="")] * 3, [], "none at 8"),
    ],
)
def test_roots(nodes: list[NodeLine], desync: list[str], words: str, tmp_path: Path) -> None:
    """Three nodes at one index must say one root, and none may have found a difference."""
    board = ClusterBoard(Console(file=io.StringIO()), "", "", STAGES)
    trial = ClusterTrial(1, 5_000, 1_000, tmp_path, tmp_path, board)
    trial.news.document = Document(nodes, desync)
    if words:
        assert words in fails(trial._same_roots)
    else:
        trial._same_roots()
        assert trial.facts["root"] == "ab" * 16
