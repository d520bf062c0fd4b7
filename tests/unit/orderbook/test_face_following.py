"""From an observer's updates to the face: what is shown while, and after, the observer differs from its cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

import msgspec
import pytest

import rsm
from demos.orderbook.desk import Desk
from demos.orderbook.face.exchange_face import ExchangeFace
from demos.orderbook.face.following import follow
from demos.orderbook.records import CONTINUOUS, SELL
from tests.face_stage import DeskMachine

OPEN = rsm.Desync(index=3, root=b"1", expected=b"2", source="here", reason="index 3: another root", good_index=2)


class ScriptedObserver:
    """An observer whose updates are a desk's commands, one an entry; `seen` is how the face stood after each."""

    def __init__(self, face: ExchangeFace, verdict: Literal["observer", "node"]) -> None:
        self.face = face
        self.verdict = verdict
        self.desk = Desk()
        self.machine = DeskMachine(self.desk)
        self.event_number = 0
        self.seen: list[tuple[str, int, int]] = []

    async def __aenter__(self) -> ScriptedObserver:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def __aiter__(self) -> AsyncIterator[rsm.Update]:
        commands: list[tuple[str, tuple[int | str, ...]]] = [("list_instrument", (9, "TEST", CONTINUOUS))]
        commands += [("place", (number, 9, SELL, 10, 100 + number)) for number in range(1, 7)]
        for index, (name, values) in enumerate(commands, 1):
            begun = len(self.desk.reports)
            self.desk.run("ann", name, values)
            self.event_number = len(self.desk.reports)
            events = tuple(
                rsm.Event(index, 0, 0, place, report) for place, report in enumerate(self.desk.reports[begun:])
            )
            settled = msgspec.structs.replace(OPEN, verdict=self.verdict)
            desync = {3: OPEN, 5: settled}.get(index)
            is_snapshot = desync is settled and self.verdict == "observer"
            yield rsm.Update(
                index, index, () if is_snapshot else events, snapshot=is_snapshot, desync=desync,
                event_number=self.event_number,
            )  # fmt: skip
            session = self.face.session
            self.seen.append((self.face.trouble, session.first, session.next))


@pytest.mark.parametrize("verdict", ["observer", "node"])
def test_nothing_is_served_from_a_difference_until_it_is_settled(
    verdict: Literal["observer", "node"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Entries of a state in doubt are not told; whoever was wrong, the session goes on behind a gap, and is right."""
    face = ExchangeFace()
    observer = ScriptedObserver(face, verdict)

    async def observe_async(*_: object, **__: object) -> ScriptedObserver:
        return observer

    monkeypatch.setattr(rsm, "observe_async", observe_async)
    asyncio.run(follow(face, ["127.0.0.1:1"]))
    assert [trouble for trouble, _, _ in observer.seen] == ["", "", OPEN.reason, OPEN.reason, "", "", ""]
    (_, _, before), (_, _, halted), settled, after = (observer.seen[place] for place in (1, 2, 4, 6))
    assert halted == 0
    assert before < settled[1] == settled[2] < after[2]
    assert face.book.side(9, SELL).best(10) == [row[:2] for row in observer.desk.depth(9, SELL, 10)]
