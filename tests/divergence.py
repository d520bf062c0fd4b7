"""Planting a difference into one node of a stage (`tests.cluster_stage`), and seeing what the others make of it."""

from __future__ import annotations

from typing import Any

import rsm
from rsm.node.member import Member
from rsm.replica.agreement import Case
from tests.cluster_stage import Session, Stage
from tests.machines import Everything


class Buggy(Everything, name="everything", version=1):
    """The machine with a bug: the key "bad" gets another value than the one that was put."""

    @rsm.command()
    def put(self, ctx: rsm.Context, key: str, value: int) -> int | None:
        old = self.words.get(key)
        self.words[key] = value + 1 if key == "bad" else value
        self.count += 1
        return old


def alter(node: Member, key: str = "a", value: int = 999, *, tracked: bool = True) -> None:
    """Change a node's state, and nobody else's: with its sums as an unequal handler would, or behind their back."""
    words: Any = node.replica.store.containers["words"]
    if tracked:
        node.replica.store.begin()
        words[key] = value
        node.replica.store.end()
    else:
        dict.__setitem__(words, key, value)


def filled(nodes: int = 3, **options: Any) -> tuple[Stage, Session]:
    """A stage on which ten keys were put, and a session that did it."""
    stage = Stage(nodes=nodes, **options)
    stage.start()
    ann = stage.session("ann")
    for number in range(10):
        stage.do(ann, "put", f"key {number}", number)
    stage.settle()
    return stage, ann


def cases(stage: Stage, number: int) -> dict[int, Case]:
    """The cases that a node knows."""
    return stage.members[number].replica.agreement.cases


def standing(stage: Stage, number: int) -> str:
    """A node's standing; empty while it is down."""
    return stage.members[number].agreeing.standing if number in stage.members else ""


def is_healed(stage: Stage, *bad: int) -> bool:
    """Whether everybody knows that these nodes, and no others, differed and have returned; and all are well."""
    if any(standing(stage, number) != "well" for number in stage.members):
        return False
    for number in stage.members:
        known = cases(stage, number).values()
        if not known or any(case.is_open or case.out for case in known):
            return False
        if {node for case in known for node in case.minority} != set(bad):
            return False
    return True


def heal(stage: Stage, *bad: int, seconds: float = 60.0) -> None:
    """Until it is so, and all have the same state; nobody stopped on the way."""
    stage.until(lambda: is_healed(stage, *bad), seconds)
    stage.settle()
    assert not stage.failures
    known = [list(cases(stage, number).values()) for number in stage.members]
    assert all(one == known[0] for one in known)


def evidence(stage: Stage, number: int, part: str = "bundle.json") -> list[str]:
    """A node's files of evidence with this name."""
    return [path for path in stage.files(number, "evidence/") if path.endswith(f"/{part}")]
