"""The supervisor: what it decides, without a process; and that real processes start, restart, end and are told of."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rsm.errors import CallerError
from rsm.node.supervisor import (
    Child,
    Event,
    GiveUp,
    Policy,
    Restart,
    Restarts,
    StayDown,
    Supervisor,
    ending,
    last_lines,
)
from tests.documents import ROOT

QUICK = Policy(restarts_max=3, window_seconds=10.0, pause_seconds_min=0.02, pause_seconds_max=0.05)


# --- decisions --------------------------------------------------------------------------------------------------------


def test_the_pause_doubles_up_to_its_bound() -> None:
    """A child that crashes again and again waits longer each time, and is given up when the restarts are used."""
    restarts = Restarts(Policy(restarts_max=5, window_seconds=60, pause_seconds_min=1, pause_seconds_max=4))
    decisions = [restarts.ended("a", -9, float(now)) for now in range(6)]
    assert decisions[:5] == [Restart(1), Restart(2), Restart(4), Restart(4), Restart(4)]
    assert decisions[5] == GiveUp("a was killed by SIGKILL after 5 restarts in 60 seconds")


def test_a_child_that_ran_well_begins_anew() -> None:
    """After a window without a crash both the pause and the count are as at first."""
    restarts = Restarts(Policy(restarts_max=2, window_seconds=60, pause_seconds_min=1, pause_seconds_max=4))
    assert [restarts.ended("a", 3, now) for now in (0.0, 1.0)] == [Restart(1), Restart(2)]
    assert [restarts.ended("a", 3, now) for now in (100.0, 101.0)] == [Restart(1), Restart(2)]
    assert isinstance(restarts.ended("a", 3, 102.0), GiveUp)


def test_the_children_share_the_intensity_and_not_the_pause() -> None:
    """Crashes of different children count together, but each child has its own pause."""
    restarts = Restarts(Policy(restarts_max=2, window_seconds=60, pause_seconds_min=1, pause_seconds_max=4))
    assert restarts.ended("a", -9, 0.0) == Restart(1)
    assert restarts.ended("b", -9, 0.0) == Restart(1)
    assert isinstance(restarts.ended("c", -9, 0.0), GiveUp)


@pytest.mark.parametrize("code", [1, 2])
def test_a_refusal_is_not_repeated(code: int) -> None:
    """Damage and wrong usage would be found again: the child stays down, and the others' restarts are not used up."""
    restarts = Restarts(QUICK)
    assert restarts.ended("a", code, 0.0) == StayDown(is_refusal=True)
    assert restarts.ended("b", 0, 0.0) == StayDown(is_refusal=False)
    assert all(isinstance(restarts.ended("c", -9, 0.0), Restart) for _ in range(QUICK.restarts_max))


@given(
    ends=st.lists(st.tuples(st.floats(0, 30), st.sampled_from("abc"), st.sampled_from([3, -9, -11, 70])), max_size=60),
    restarts_max=st.integers(0, 5),
)
def test_never_more_restarts_than_the_window_allows(ends: list[tuple[float, str, int]], restarts_max: int) -> None:
    """Whatever crashes when: in no window are there more restarts than allowed, and it gives up only when they are
    used."""
    policy = Policy(restarts_max=restarts_max, window_seconds=60.0, pause_seconds_min=0.5, pause_seconds_max=8.0)
    restarts = Restarts(policy)
    now, made = 0.0, []
    for pause, name, code in ends:
        now += pause
        decision = restarts.ended(name, code, now)
        recent = [then for then in made if now - then <= policy.window_seconds]
        if isinstance(decision, Restart):
            assert policy.pause_seconds_min <= decision.pause_seconds <= policy.pause_seconds_max
            made.append(now)
            assert len(recent) < restarts_max
        else:
            assert isinstance(decision, GiveUp)
            assert len(recent) == restarts_max


@given(life=st.floats(0, 0.9))
def test_a_child_that_always_dies_is_given_up(life: float) -> None:
    """With the defaults a child that dies soon after each start is given up in the end, however the pauses grow."""
    restarts = Restarts(Policy())
    now = 0.0
    for _ in range(Policy().restarts_max + 1):
        decision = restarts.ended("a", -11, now)
        now += life + (decision.pause_seconds if isinstance(decision, Restart) else 0)
    assert isinstance(decision, GiveUp)


@pytest.mark.parametrize(
    "fields",
    [
        {"pause_seconds_max": 6.0},
        {"pause_seconds_min": 0.0},
        {"pause_seconds_min": 9.0},
        {"restarts_max": -1},
    ],
)
def test_a_policy_that_cannot_work(fields: dict[str, float]) -> None:
    """A policy under which a crashing child would be restarted for ever is refused."""
    with pytest.raises(CallerError):
        Policy(**fields)  # type: ignore[arg-type]  # the values are the point


@pytest.mark.parametrize(
    ("code", "text"),
    [(3, "ended with exit code 3"), (-9, "was killed by SIGKILL"), (-250, "was killed by signal 250")],
)
def test_endings_in_words(code: int, text: str) -> None:
    """A code is told as what it means."""
    assert ending(code) == text


# --- processes --------------------------------------------------------------------------------------------------------


def child(directory: Path, name: str, code: str) -> Child:
    """A tiny Python program as a child."""
    return Child(name=name, argv=[sys.executable, "-c", code], log_path=str(directory / f"{name}.log"))


SLEEP = "import time; print('up', flush=True); time.sleep(60)"


def watch(supervisor: Supervisor, until: Callable[[], bool], seconds: float = 10.0) -> list[Event]:
    """Tick until something is so; fail after these seconds."""
    events: list[Event] = []
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, events
        events += supervisor.tick()
        time.sleep(0.01)
    return events


def is_alive(pid: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_killed_child_is_started_again(tmp_path: Path) -> None:
    """Killed with -9, it runs again as another process, its log goes on, and stopping ends it."""
    with Supervisor([child(tmp_path, "a", SLEEP)], QUICK) as supervisor:
        supervisor.tick()
        first = supervisor.pid("a")
        assert first is not None
        os.kill(first, signal.SIGKILL)
        events = watch(supervisor, lambda: supervisor.pid("a") not in (None, first))
        assert [event.kind for event in events] == ["restarting", "started"]
        assert events[0].text == "was killed by SIGKILL; starts again in 0.02 seconds"
        second = supervisor.pid("a")
        watch(supervisor, lambda: (tmp_path / "a.log").read_text().count("up") >= 1)
    assert second is not None
    assert not is_alive(second)
    assert (supervisor.is_over, supervisor.exit_code("a")) == (True, -signal.SIGTERM)


def test_a_crash_loop_stops_everything_loudly(tmp_path: Path) -> None:
    """After the allowed restarts all children are ended, the cause is named, and the end of the log is there."""
    crash = "import os; print('I am about to fail', flush=True); os.abort()"
    with Supervisor([child(tmp_path, "good", SLEEP), child(tmp_path, "bad", crash)], QUICK) as supervisor:
        supervisor.tick()
        good = supervisor.pid("good")
        assert good is not None
        events = watch(supervisor, lambda: supervisor.failure is not None)
        assert supervisor.failure == "bad was killed by SIGABRT after 3 restarts in 10 seconds"
        assert not is_alive(good)
        assert supervisor.is_over
        assert supervisor.tick() == []
    last = events[-1]
    assert (last.child, last.kind) == ("bad", "gave_up")
    assert last.last_lines.endswith("I am about to fail")


def test_a_child_that_refuses_stays_down(tmp_path: Path) -> None:
    """Exit code 2 is told with the child's own words, once; the others go on."""
    refuse = "import sys; print('rsm: no such directory', file=sys.stderr); sys.exit(2)"
    with Supervisor([child(tmp_path, "good", SLEEP), child(tmp_path, "bad", refuse)], QUICK) as supervisor:
        events = watch(supervisor, lambda: supervisor.exit_code("bad") is not None)
        for _ in range(20):
            events += supervisor.tick()
            time.sleep(0.01)
        assert [event.kind for event in events] == ["started", "started", "refused"]
        assert events[-1].last_lines == "rsm: no such directory"
        assert supervisor.failure is None
        assert supervisor.pid("good") is not None
        assert not supervisor.is_over


def test_a_child_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    """One that ignores SIGTERM, and one that is stopped, are killed when the time is over."""
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    supervisor = Supervisor([child(tmp_path, "deaf", deaf), child(tmp_path, "stopped", SLEEP)], QUICK)
    watch(supervisor, lambda: all("up" in last_lines(str(tmp_path / f"{name}.log")) for name in ("deaf", "stopped")))
    stopped = supervisor.pid("stopped")
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    supervisor.stop(grace_seconds=0.3)
    assert supervisor.exit_code("deaf") == -signal.SIGKILL
    assert supervisor.exit_code("stopped") in (-signal.SIGKILL, -signal.SIGTERM)  # the kernel may wake it to die
    supervisor.stop()


PARENT = """
import sys, time
from rsm.node.supervisor import Child, Supervisor
sleep = [sys.executable, "-c", "import time; time.sleep(60)"]
supervisor = Supervisor([Child(name="a", argv=sleep, log_path=sys.argv[1])])
supervisor.tick()
print(supervisor.pid("a"), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs Linux's parent-death signal")
def test_children_die_with_the_supervisor(tmp_path: Path) -> None:
    """A supervisor that is killed with -9 leaves no child behind."""
    words = [sys.executable, "-c", PARENT, str(tmp_path / "a.log")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 5
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_children_need_names_of_their_own(tmp_path: Path) -> None:
    """Two children of one name are refused."""
    with pytest.raises(CallerError, match="different names"):
        Supervisor([child(tmp_path, "a", SLEEP), child(tmp_path, "a", SLEEP)])


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    """The end of a long log begins at a line; a missing one is empty."""
    path = tmp_path / "log"
    assert last_lines(str(path)) == ""
    path.write_text("".join(f"line {number}\n" for number in range(10_000)))
    lines = last_lines(str(path)).splitlines()
    assert lines[-1] == "line 9999"
    assert lines[0] == f"line {10_000 - len(lines)}"
    assert 100 < len(lines) < 1000
