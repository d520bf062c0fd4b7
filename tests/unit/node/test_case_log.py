"""Every node tells of a dispute, its verdict and the return, once each."""

from __future__ import annotations

import pytest

from rsm.node.agreement.case_log import CaseLog
from rsm.replica.agreement import Agreement, Word
from tests.unit.node.test_agreeing import alter, cases, filled


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[str]:
    return [text for text in caplog.messages if text.startswith((f"event='{event}'", f'event="{event}"'))]


def test_each_step_is_told_once_on_every_node(caplog: pytest.LogCaptureFixture) -> None:
    """Three nodes, one of which differs: three lines of each kind, with who and where; it tells the rest itself."""
    stage, ann = filled()
    bad = stage.follower()
    alter(stage.members[bad])
    stage.do(ann, "put", "more", 1)
    stage.until(
        lambda: (
            all(cases(stage, n) for n in stage.members)
            and all(case.returned for n in stage.members for case in cases(stage, n).values())
        ),
        60,
    )
    stage.run(2)
    assert len(lines(caplog, "dispute")) == 3
    verdicts = lines(caplog, "verdict")
    assert len(verdicts) == 3
    assert all(f"differ=[{bad}]" in line and "codes='all the same'" in line for line in verdicts)
    returned = lines(caplog, "returned")
    assert len(returned) == 3
    assert all(f"of_node={bad}" in line for line in returned)
    for event in ("quarantined", "healed", "evidence"):
        assert len(lines(caplog, event)) == 1, event
    assert [stage.members[n].case_log.disputes for n in stage.members] == [1, 1, 1]


def test_only_what_goes_forward_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A healed replica may be behind the one before it: what it says again is not told again."""
    told = CaseLog()
    word = Word(b"a" * 16, b"", 1, b"s" * 16, "code", "")
    other = Word(b"b" * 16, b"", 1, b"s" * 16, "other", "")

    def run(words: dict[int, Word]) -> None:
        agreement = Agreement()
        agreement.dispute(64, (1, 2, 3), 65)
        told.look(agreement)
        for number, said in words.items():
            agreement.attest(64, number, said, 66)
            told.look(agreement)

    run({1: word, 2: word})
    assert len(lines(caplog, "verdict")) == 1
    run({1: word, 2: word, 3: other})
    assert len(lines(caplog, "verdict")) == 2  # that node 3 differs is new
    assert "differ=[3]" in lines(caplog, "verdict")[1]
    assert len(lines(caplog, "dispute")) == 1
    told.look(Agreement())
    run({})
    assert (len(lines(caplog, "dispute")), told.disputes) == (2, 2)
