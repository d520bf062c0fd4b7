"""What several statuses say together: who differs is named with roots, code and evidence; who is back is history."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rsm.client.findings import desyncs, history, warnings
from rsm.node.status import CaseStatus, MemberStatus, NodeStatus, state_of
from tests.unit.node.test_telemetry import STATUS

A, B, C = "aa" * 16, "bb" * 16, "cc" * 16
MEMBERS = tuple(MemberStatus(number, f"p{number}:1", f"c{number}:1") for number in (1, 2, 3))


def status(number: int, **fields: Any) -> NodeStatus:
    same: dict[str, Any] = {
        "node_id": number,
        "members": MEMBERS,
        "root_index": 64,
        "root": A,
        "roots": ((32, A), (64, A)),
        "code_digest": "1" * 64,
        "applied_index": 70,
        "desync": "",
        "unchecked": (),
    }
    return msgspec.structs.replace(STATUS, **(same | fields))


def case(**fields: Any) -> CaseStatus:
    same: dict[str, Any] = {
        "index": 64,
        "state": "decided",
        "root": A,
        "minority": (2,),
        "out": (2,),
        "roots": {"1": A, "2": B, "3": A},
        "codes": {"1": "1" * 64, "2": "2" * 64, "3": "1" * 64},
    }
    return CaseStatus(**(same | fields))


def test_nothing_differs() -> None:
    """Three well nodes: no line at all."""
    three = [status(number) for number in (1, 2, 3)]
    assert (desyncs(three), warnings(three), history(three)) == ([], [], [])


def test_a_verdict_names_node_index_roots_code_and_evidence() -> None:
    """Everything that an operator needs, in lines; what the node itself says stands first."""
    said = f"quarantined: its state root at index 64 is {B}, a majority has {A}"
    bad = status(2, standing="quarantined", desync=said, evidence="/d/evidence/64-bbbbbbbb", code_digest="2" * 64)
    three = [status(1, verdicts=(case(),)), bad, status(3, verdicts=(case(),))]
    assert desyncs(three) == [
        f"node 2: {said}",
        f"verdict at index 64: node 2 differs from the majority: node 1, 3: {A}; node 2: {B}",
        "node 2 runs other code: 22222222... instead of 11111111...",
        "evidence of node 2: rsm desync replay /d/evidence/64-bbbbbbbb --machine MODULE:CLASS",
    ]
    assert warnings(three) == []
    assert state_of(bad) == "quarantined"


def test_who_has_returned_is_history() -> None:
    """No desync any more; the evidence is still named. Who was removed is history too."""
    back = case(out=())
    three = [status(1, verdicts=(back,)), status(2, verdicts=(back,), evidence="/e"), status(3, verdicts=(back,))]
    assert desyncs(three) == []
    assert history(three) == ["node 2 differed at index 64, and has returned; evidence: /e"]
    again = status(2, verdicts=(back,), standing="out", desync="out: x", applied_index=65)
    assert history([three[0], again, three[2]]) == []
    assert desyncs([three[0], again, three[2]])[1].startswith("verdict at index 64: node 2 differs")
    two = tuple(member for member in MEMBERS if member.id != 2)
    removed = [status(number, verdicts=(case(),), members=two) for number in (1, 3)]
    assert desyncs(removed) == []
    assert history(removed) == ["node 2 differed at index 64, and is no member any more"]


def test_the_newest_word_counts() -> None:
    """A node that stands still has an old view of the case; the one that has applied most has the last."""
    old = status(2, verdicts=(case(state="attesting", roots={}, out=()),), applied_index=66)
    assert desyncs([old, status(1, verdicts=(case(out=()),))]) == []
    assert desyncs([old]) == ["the state roots at index 64 are disputed, no verdict yet"]


@pytest.mark.parametrize("is_over", [False, True])
def test_no_majority(is_over: bool) -> None:
    """Three roots and nobody in the minority is a desync until something later is confirmed."""
    none = case(state="undecided", root="", minority=(), out=(), roots={"1": A, "2": B, "3": C}, codes={})
    said = "the nodes' states differ at index 64, and no majority has the same one"
    fields = {"verdicts": (none,)} | ({"confirmed_index": 65} if is_over else {"desync": said})
    found = desyncs([status(number, **fields) for number in (1, 2, 3)])
    expected = [
        f"node 1, 2, 3: {said}",
        f"no majority has one state root at index 64: node 1: {A}; node 2: {B}; node 3: {C}",
    ]
    assert found == ([] if is_over else expected)


def test_roots_that_nobody_has_noticed() -> None:
    """All roots that statuses have in common are compared: the first difference is told. Other versions are not."""
    other = status(2, roots=((32, B), (64, B)), root=B)
    text = f"the state roots at index 32 differ: {A}: node 1, 3; {B}: node 2 (and at 1 later ones)"
    assert desyncs([status(1), other, status(3)]) == [text]
    assert desyncs([status(1), status(2, roots=((31, B),), root_index=63, root=B)]) == []
    assert desyncs([status(1), status(2, roots=((32, B),), root=B, version=STATUS.version + 1)]) == []


def test_other_code_under_one_version_is_a_warning() -> None:
    """It is no difference yet; nodes of another version may have other code."""
    three = [status(1), status(2, code_digest="2" * 64), status(3)]
    line = "node 2 runs other code: 22222222... instead of 11111111..., under the same machine version"
    assert warnings(three) == [line]
    assert desyncs(three) == []
    three[1] = status(2, code_digest="2" * 64, version=STATUS.version + 1)
    assert warnings(three) == []
    three[1] = status(2, code_digest="")
    assert warnings(three) == []


def test_a_verdict_without_sense_is_no_traceback() -> None:
    """Whatever a node says of its cases is shown or passed over."""
    odd = case(roots={"x": A, "2": ""}, codes={"y": "1"}, out=(2, 9), faults={"2": "a scrub found it"})
    assert desyncs([status(1, verdicts=(odd,))]) == [
        "verdict at index 64: node 2 differs from the majority: node 2: unknown",
        "node 2: a scrub found it",
    ]


@pytest.mark.parametrize(
    ("fields", "state"),
    [({}, "well"), ({"unchecked": ("why",)}, "unchecked"), ({"standing": "out", "unchecked": ("why",)}, "out")],
)
def test_the_state_in_one_word(fields: dict[str, Any], state: str) -> None:
    """A standing other than well says more than that something was not checked."""
    assert state_of(status(1, **fields)) == state
