"""Events and timers through a client: at least once, in order, with a cursor in the log, across restarts."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.replica import events as events_module
from tests.machines import SECOND, Everything


def test_events_have_rising_identities_and_are_read_from_the_oldest(tmp_path: Path) -> None:
    """Without a name, each reading starts at the oldest event kept; identities never repeat and always rise."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        for number in range(20):
            machine.tell(f"t{number}", 30)
        with machine.pipeline() as steps:
            steps.tell("p", 2)
            steps.tell("q", 2)
        for _ in range(3):
            machine.later(0, "again x")
        deadline = time.monotonic() + 5
        while machine.status().timers and time.monotonic() < deadline:
            time.sleep(0.01)
        seen = list(machine.events())
        identities = [event.identity for event in seen]
        assert identities == sorted(set(identities))
        assert [event.value[1] for event in seen[:30]] == list(range(30))
        assert list(machine.events()) == seen
    with rsm.open(Everything, tmp_path / "m") as machine:
        assert list(machine.events())[: len(seen)] == seen


def test_a_named_cursor_goes_on_where_it_stopped_and_repeats_what_was_not_finished(tmp_path: Path) -> None:
    """The cursor moves after a chunk was handled: whoever stops inside one sees it again; at least once."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        machine.tell("x", 700)
        assert len(list(machine.events("a"))) == 700
        assert list(machine.events("a")) == []
        reader = machine.events("b")
        first = [next(reader) for _ in range(300)]
        reader.close()
        rest = list(machine.events("b"))
        numbers = [event.value[1] for event in first] + [event.value[1] for event in rest]
        assert set(numbers) == set(range(700))
        assert rest[0].value[1] == 256
        machine.tell("y", 1)
    with rsm.open(Everything, tmp_path / "m") as machine:
        assert [event.value for event in machine.events("a") if event.value[0] != "ended"] == [["y", 0]]
        assert machine.snapshot()
    with rsm.open(Everything, tmp_path / "m") as machine:
        assert [event.value[0] for event in machine.events("a")] == ["ended"]


def test_following_from_a_thread_and_from_asyncio(tmp_path: Path) -> None:
    """Two consumers that wait see every event, in order, as it comes, and end with Closed."""
    seen: dict[str, list[int]] = {"thread": [], "loop": []}
    ends: list[BaseException] = []

    with rsm.open(Everything, tmp_path / "m") as machine:

        def follow() -> None:
            try:
                for event in machine.events("thread", follow=True):
                    if event.value[0] == "n":
                        seen["thread"].append(event.index)
            except BaseException as error:
                ends.append(error)

        async def follow_async() -> None:
            async for event in machine.events_async("loop"):
                if event.value[0] == "n":
                    seen["loop"].append(event.index)

        def run_loop() -> None:
            try:
                asyncio.run(follow_async())
            except BaseException as error:
                ends.append(error)

        threads = [threading.Thread(target=follow), threading.Thread(target=run_loop)]
        for thread in threads:
            thread.start()
        for _ in range(100):
            machine.tell("n", 3)
        deadline = time.monotonic() + 10
        while any(len(found) < 300 for found in seen.values()) and time.monotonic() < deadline:
            time.sleep(0.01)
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    assert [type(end) for end in ends] == [rsm.Closed] * 2
    assert len(seen["thread"]) == len(seen["loop"]) == 300
    assert seen["thread"] == seen["loop"] == sorted(seen["thread"])


def test_a_cursor_that_is_too_old_says_so_and_can_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """EventsGap names the oldest event there is; `skip_gap` begins there, and the cursor is good again."""
    monkeypatch.setattr(events_module, "EVENTS_KEPT", 100)
    with rsm.open(Everything, tmp_path / "m") as machine:
        machine.tell("x", 50)
        assert len(list(machine.events("late"))) == 50
        machine.tell("y", 180)
        with pytest.raises(rsm.EventsGap, match="events 51 to 130") as caught:
            list(machine.events("late"))
        assert caught.value.oldest_index == 131
        assert [event.value for event in machine.events()] == [["y", number] for number in range(80, 180)]
        assert len(list(machine.events("late", skip_gap=True))) == 100
        assert list(machine.events("late")) == []


def test_the_ring_is_bounded_in_bytes_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many large events push out old ones; one beyond the bound leaves an empty ring, not a crash."""
    monkeypatch.setattr(events_module, "EVENT_BYTES_KEPT", 1000)
    ring = events_module.EventRing()
    ring.extend(events_module.RawEvent(1, 0, 0, number, bytes(300)) for number in range(10))
    assert (ring.oldest, ring.newest) == (8, 10)
    ring.extend([events_module.RawEvent(2, 0, 0, 0, bytes(2000))])
    assert (ring.oldest, ring.newest) == (12, 11)
    assert ring.after(11, 10) == []
    with pytest.raises(rsm.EventsGap):
        ring.after(10, 10)


def test_a_command_cannot_emit_what_has_no_bounds(tmp_path: Path) -> None:
    """Too many events, or one too large: the handler fails and nothing is emitted."""

    class Loud(rsm.StateMachine, name="loud", version=1):
        @rsm.command()
        def shout(self, ctx: rsm.Context, size: int, times: int) -> None:
            for _ in range(times):
                ctx.emit(bytes(size))

    with rsm.open(Loud, tmp_path / "m") as loud:
        for size, times in ((2 << 20, 1), (0, 65_537)):
            with pytest.raises(rsm.HandlerFailed):
                loud.shout(size, times)
        loud.shout(1, 1)
        assert len(list(loud.events())) == 1


def test_an_idle_machine_fires_timers_in_time(tmp_path: Path) -> None:
    """Nobody sends anything; the timers fire in order, not early and not late."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        start = machine.status().log_time
        for delay in (0.15, 0.05, 0.1):
            machine.later(int(delay * SECOND), f"{delay}")
        events: list[Any] = []
        for event in machine.events(follow=True):
            events.append(event.value)
            if len(events) == 3:
                break
        assert [value[1] for value in events] == ["0.05", "0.1", "0.15"]
        for value in events:
            late = value[2] - start - int(float(value[1]) * SECOND)
            assert 0 <= late < SECOND // 2


def test_timers_survive_a_restart_and_those_that_came_due_meanwhile_fire(tmp_path: Path) -> None:
    """A timer belongs to the log, not to the process; a snapshot carries it; a cancelled one stays cancelled."""
    with rsm.open(Everything, tmp_path / "m") as machine:
        machine.later(SECOND // 5, "soon")
        never = machine.later(SECOND // 5, "never")
        machine.later(3600 * SECOND, "far")
        machine.unschedule(never)
        machine.snapshot()
    time.sleep(0.25)
    with rsm.open(Everything, tmp_path / "m") as machine:
        rung = next(event.value for event in machine.events(follow=True) if event.value[0] == "ring")
        assert rung[1] == "soon"
        assert machine.status().timers == 1
        assert [event.value[1] for event in machine.events() if event.value[0] == "ring"] == ["soon"]


def test_a_cursor_is_its_principal_s(tmp_path: Path) -> None:
    """Two consumers that chose one name do not move each other's cursor, as they do not share keys."""
    with rsm.open(Everything, str(tmp_path / "m"), principal="ann") as ann:
        bob = ann.session(principal="bob")
        ann.tell("a", 3)
        assert len(list(ann.events("mine"))) == 3
        assert len(list(bob.events("mine"))) == 3
        assert list(ann.session(principal="ann").events("mine")) == []
        bob.tell("b", 2)
        assert len(list(bob.events("mine"))) == 2
        bob.close()
        with pytest.raises(rsm.SessionExpired):
            list(bob.events("mine"))
        assert [event.value[0] for event in ann.events("mine")] == ["b", "b", "ended"]
