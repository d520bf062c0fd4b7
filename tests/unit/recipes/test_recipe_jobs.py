"""The job queue of docs/recipes.md: no job is lost, and none is done by two."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from rsm.replica.answer import decode
from rsm.testing.disk import Survival
from rsm.testing.simulator import simulate
from tests.cluster_stage import Call, Stage
from tests.machines import Log, contents
from tests.unit.recipes.recipes import ATTEMPTS_MAX, Jobs

WORKERS = 3
SECOND = 10**9


class Queue:
    """What the queue should be, on plain Python: numbers in order, leases with their ends, and what became of each."""

    def __init__(self) -> None:
        self.waiting: list[int] = []
        self.leases: dict[int, tuple[int, int, int]] = {}  # number -> (end, token, worker)
        self.attempts: Counter[int] = Counter()
        self.done: list[int] = []
        self.failed: list[int] = []

    def back(self, number: int) -> None:
        """A lease has ended without an answer."""
        del self.leases[number]
        if self.attempts[number] < ATTEMPTS_MAX:
            self.waiting.insert(0, number)
        else:
            self.failed.append(number)

    def pass_time(self, now: int) -> None:
        """Leases end in the order of their ends."""
        for end, _, number in sorted((end, token, number) for number, (end, token, _) in self.leases.items()):
            if end <= now:
                self.back(number)

    def end(self, worker: int) -> None:
        """A worker is gone."""
        for number in sorted(number for number, lease in self.leases.items() if lease[2] == worker):
            self.back(number)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enqueue", "take", "take", "ack", "ack late", "wait", "end"]),
        st.integers(0, WORKERS - 1),
        st.integers(1, 4),
    ),
    max_size=60,
)


def compare(log: Log, model: Queue) -> None:
    """The machine is what the model is: each job in one place."""
    state = contents(log.replica)
    assert [job.number for _, job in state["waiting"]] == model.waiting
    assert {number: lease.token for number, lease in state["taken"].items()} == {
        number: token for number, (_, token, _) in model.leases.items()
    }
    assert sorted(state["failed"]) == sorted(model.failed)
    assert len(log.replica.system.timers) == len(model.leases)


@given(STEPS)
def test_nothing_is_lost_and_no_job_is_done_by_two(steps: list[tuple[str, int, int]]) -> None:
    """Against a plain model: an answer counts while its lease lasts; what nobody answers comes back, then fails."""
    log, model = Log(Jobs), Queue()
    workers = [log.open() for _ in range(WORKERS)]
    ever: list[tuple[int, int]] = []  # (number, token) of all leases there ever were
    enqueued: list[int] = []
    for action, worker, seconds in steps:
        if action == "wait":
            log.tick(seconds)
        model.pass_time(log.now)
        if action == "enqueue":
            number = log.run(workers[worker], "enqueue", f"work {len(enqueued)}")
            enqueued.append(number)
            model.waiting.append(number)
        elif action == "take":
            taken = log.run(workers[worker], "take", seconds)
            assert (taken is None) == (not model.waiting)
            if taken is not None:
                number, token, _ = taken
                assert number == model.waiting.pop(0)
                assert token > max((before for _, before in ever), default=0)
                ever.append((number, token))
                model.attempts[number] += 1
                model.leases[number] = (log.now + seconds * SECOND, token, worker)
        elif action.startswith("ack") and ever:
            number, token = ever[-seconds % len(ever)] if action == "ack late" else ever[-1]
            is_ours = number in model.leases and model.leases[number][1] == token
            assert (log.send(workers[worker], "ack", number, token, "fine").status == 0) == is_ours
            if is_ours:
                del model.leases[number]
                model.done.append(number)
        elif action == "end":
            log.close(workers[worker])
            workers[worker] = log.open()
            model.end(worker)
        compare(log, model)
    places = [*model.waiting, *model.leases, *model.done, *model.failed]
    assert sorted(places) == sorted(enqueued)
    told = [(what, number) for what, number, _ in log.values_of_events()]
    assert Counter(told) == Counter([("done", n) for n in model.done] + [("failed", n) for n in model.failed])
    assert log.replayed().root() == log.replica.root()


def test_a_job_that_kills_its_workers_is_set_aside() -> None:
    """It goes to the front each time, and after the last attempt it is among the failed, with an event."""
    log = Log(Jobs)
    session = log.open()
    bad, good = log.run(session, "enqueue", "bad"), log.run(session, "enqueue", "good")
    for _ in range(ATTEMPTS_MAX):
        assert log.run(session, "take", 1)[0] == bad
        log.tick(1)
    assert log.values_of_events() == [["failed", bad, "bad"]]
    assert log.run(session, "take", 1)[0] == good
    answer = log.send(session, "expire", good)
    assert (answer.status != 0, decode(answer.body)[0]) == (True, "this is for timers")


def test_a_worker_that_crashes_on_a_cluster_whose_leader_crashes() -> None:
    """Its jobs come back when its session ends or its lease, under whichever leader; a late answer is rejected."""
    stage = Stage(Jobs)
    stage.start()
    owner, dead, slow = stage.session(), stage.session(ttl_seconds=4), stage.session()
    numbers = [stage.do(owner, "enqueue", f"work {number}") for number in range(3)]
    assert stage.do(dead, "take", 3600)[0] == numbers[0]
    number, token, _ = stage.do(slow, "take", 5)
    assert number == numbers[1]
    stage.crash(stage.leads, Survival.REORDERED)
    stage.run(7)
    stage.start()
    taken = [stage.do(owner, "take", 60) for _ in range(3)]
    assert sorted(one[0] for one in taken) == numbers
    assert stage.do(owner, "take", 60) is None
    item = slow.item("ack", number, token, "late")
    late = stage.settled(lambda: Call(item)).answers[0]
    assert decode(late.body)[0] == f"job {number}: the lease of token {token} has ended"
    for one in taken:
        stage.do(owner, "ack", one[0], one[1], "done")
    stage.settle()
    assert [decode(node.replica.query("counts", [])) for node in stage.members.values()] == [[0, 0, 0]] * 3


def test_it_keeps_its_word_under_all_faults_together() -> None:
    """A simulated cluster, partitions, crashes and retries: exactly once, equal roots, nothing acknowledged lost."""

    def workload(chance: random.Random, number: int) -> tuple[str, list[Any]]:
        which = chance.random()
        if which < 0.4:
            return "enqueue", [f"work {number}"]
        return ("take", [chance.randint(1, 2)]) if which < 0.7 else ("ack", [chance.randint(1, 60)] * 2 + ["fine"])

    result = simulate(Jobs, seed=4, seconds=4.0, workload=workload)
    assert result.violations == ()
    assert result.passed
