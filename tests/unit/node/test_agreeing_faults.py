"""A difference between states, with everything else that can go wrong at the same time."""

from __future__ import annotations

import os
from typing import Any

import pytest

import rsm
from rsm.desync.finding import Finding
from rsm.desync.recording import Recording
from rsm.desync.single import replay
from rsm.errors import Closed, NotLeader
from rsm.limits import REEXECUTE_SECONDS, SNAPSHOTS_KEPT, SUSPECT_SECONDS_MAX, UNCHECKED_SECONDS_MAX
from rsm.node.agreement import evidence as evidence_room
from rsm.node.member import Member
from rsm.node.snapshotting.snapshotter import Snapshotter, drop_older
from rsm.raft.messages import Attest, TimeoutNow
from rsm.replica.replica import Difference, Replica
from rsm.replica.snapshot import parts
from rsm.testing.disk import FaultDisk, Survival
from tests.cluster_stage import PATH, Call, Look, Stage, member
from tests.divergence import Buggy, alter, cases, evidence, filled, heal, is_healed, standing
from tests.machines import Everything

LEAD = ["follower", "leader"]


def pick(stage: Stage, who: str) -> int:
    return stage.leader().node_id if who == "leader" else stage.follower()


def buggy(*numbers: int, nodes: int = 3) -> tuple[Stage, Any]:
    """A stage on which these nodes have a bug that nobody has run into yet."""
    stage = Stage(nodes=nodes)
    stage.machine_of = dict.fromkeys(numbers, Buggy)
    stage.start()
    ann = stage.session("ann")
    stage.do(ann, "put", "good", 1)
    stage.settle()
    return stage, ann


def run_into_it(stage: Stage, ann: Any, bad: int) -> None:
    """Until the node has found out that it is its code."""
    assert stage.do(ann, "put", "bad", 5) is None
    stage.until(lambda: standing(stage, bad) == "out", 30)


# --- a bug ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", LEAD)
def test_a_bug_on_one_node_keeps_it_out_until_it_is_removed(who: str) -> None:
    """It runs into it again whenever it runs the log again; the cluster serves on; with the right code it is back."""
    stage, ann = buggy(2)
    if (stage.leads == 2) != (who == "leader"):
        stage.leader().transfer(0 if stage.leads == 2 else 2, lambda _: None, lambda _: None)
        stage.until(lambda: stage.leads and (stage.leads == 2) == (who == "leader"))
    run_into_it(stage, ann, 2)
    assert stage.leader().node_id != 2
    assert "its code" in stage.members[2].agreeing.reason
    (case,) = cases(stage, stage.leads).values()
    assert case.minority == case.out == (2,)
    for part in ("bundle.json", "trace", "state"):
        assert len(evidence(stage, 2, part)) == 1
    for number in range(200):
        assert stage.do(ann, "put", "more", number) == (number - 1 if number else None)
    assert standing(stage, 2) == "out"
    assert stage.members[2].journal.last_index == stage.leader().journal.last_index

    for _ in range(2):
        stage.kill(2)
        stage.start(2)
        stage.until(lambda: standing(stage, 2) == "out", 30)
        stage.run(2)
    assert len(evidence(stage, 2)) == len(cases(stage, stage.leads)) == 1

    stage.kill(2)
    del stage.machine_of[2]
    stage.start(2)
    heal(stage, 2)
    for number in stage.members:
        look = stage.look("word", "bad", to=number, consistency="stale")
        stage.until(lambda look=look: look.is_over)  # type: ignore[misc]  # a bound default
        assert look.seen == 5


def test_a_bug_that_strikes_again_further_on_is_found_on_the_way_back() -> None:
    """What happened once is mended; what its code does later on the way back keeps it out, and nothing of it shows."""
    stage, ann = buggy(3)
    stage.lose = lambda _sender, _receiver, message: isinstance(message, Attest)
    alter(stage.members[3], "good")
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: standing(stage, 3) == "suspect")
    stage.lose = lambda _sender, _receiver, _message: False
    stage.do(ann, "put", "bad", 5)
    stage.until(lambda: standing(stage, 3) == "out", 30)
    assert not stage.failures
    stage.run(5)
    assert standing(stage, 3) == "out"


def test_a_node_that_is_out_does_not_fill_its_disk(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It logs while there is room, since others may need that, and votes for ever; then it waits for a snapshot, which
    it gets as soon as the others have cut their logs behind its own. Nobody else is held up.
    """
    spare = 40_000
    monkeypatch.setattr("rsm.node.member.FREE_BYTES_MIN", spare)
    stage = Stage(snapshot_log_bytes=60_000, segment_bytes_min=16_384)
    stage.machine_of = {2: Buggy}
    stage.start()
    ann = stage.session("ann")
    run_into_it(stage, ann, 2)
    disk, out = stage.disks[2], stage.members[2]
    disk.space_bytes = disk.used_bytes() + 2 * spare
    last = out.journal.last_index
    free = []
    for number in range(200):
        if standing(stage, 2) != "out":
            break
        stage.do(ann, "put", "long" * 1000, number)
        free.append(disk.free_bytes(PATH))
    assert out.journal.first_index > last + 5  # it went on for a while, and then a snapshot came
    assert spare > min(free) > spare / 4  # of the rest the snapshot took its part
    assert any("keeps its whole log" in text for text in caplog.messages)
    stage.settle()
    assert standing(stage, 2) == "well"
    assert disk.free_bytes(PATH) > spare


def retold(stage: Stage, number: int) -> Finding:
    """What the evidence of a node says under the right code."""
    (head,) = evidence(stage, number)
    return replay(Recording(stage.disks[number], os.path.join(PATH, os.path.dirname(head))), Everything)


def test_a_bug_that_came_later_is_traced_from_where_the_second_run_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log run again by today's code parts before the node did: the evidence has that command, with its path."""

    class Patched(Everything, name="everything", version=1):
        is_patched = False

        @rsm.command()
        def put(self, ctx: rsm.Context, key: str, value: int) -> int | None:
            old = self.words.get(key)
            self.words[key] = value + 1 if key == "bad" and type(self).is_patched else value
            self.count += 1
            return old

    stage = Stage()
    stage.machine_of = {2: Patched}
    stage.start()
    ann = stage.session("ann")
    first = stage.submit(Call(ann.item("put", "bad", 1)))
    stage.settle()
    for number in range(20):
        stage.do(ann, "put", "more", number)
    stage.settle()
    assert stage.members[2].replica.compared_index > first.index
    monkeypatch.setattr(Patched, "is_patched", True)
    stage.do(ann, "put", "bad", 2)
    stage.until(lambda: standing(stage, 2) == "out", 30)

    finding = retold(stage, 2)
    assert finding.verdict == "agree"
    theirs = finding.evidence
    assert theirs is not None
    assert (theirs.first_bad_index, theirs.first_bad_command, theirs.minority) == (first.index, 0, ("node 2",))
    assert [path.path for path in theirs.paths] == ["words/'bad'"]
    assert theirs.paths[0].values == {"node 2": 2, "replay": 1}
    assert any("its code is not what it was" in note for note in finding.notes)


def test_a_log_that_cannot_be_run_again_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """The code of today breaks where that of then did not: a new start would not help, and nobody says so."""

    class Broken(Everything, name="everything", version=1):
        is_patched = False

        @rsm.command()
        def put(self, ctx: rsm.Context, key: str, value: int) -> int | None:
            if key == "bad" and type(self).is_patched:
                raise MemoryError("only here")
            old = self.words.get(key)
            self.words[key] = value
            self.count += 1
            return old

    stage = Stage()
    stage.machine_of = {2: Broken}
    stage.start()
    ann = stage.session("ann")
    stage.do(ann, "put", "bad", 1)
    stage.settle()
    monkeypatch.setattr(Broken, "is_patched", True)
    alter(stage.members[2], "bad")
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: standing(stage, 2) == "out", 30)
    reason = stage.members[2].agreeing.reason
    assert "it cannot run the log from a confirmed snapshot: it is its code: entry" in reason
    assert "MemoryError: only here" in reason
    assert "fetches one" not in reason


def test_what_agreed_behind_the_first_difference_says_nothing() -> None:
    """A state may have the majority's root again further on: evidence begins before the first that it had not."""
    replica = Replica(Everything)
    replica.compared_index = 192
    assert evidence_room._good_index(replica, 256) == 192
    assert evidence_room._good_index(replica, 128) == 0
    replica.difference = Difference(128, b"", b"", 64)
    assert evidence_room._good_index(replica, 256) == evidence_room._good_index(replica, 128) == 64


def test_evidence_does_not_begin_with_a_snapshot_of_the_state_in_doubt() -> None:
    """Of one that was taken behind the last confirmed root nobody knows whether it is right: this one is not."""
    stage, ann = buggy(2)
    good = stage.members[2].replica.compared_index
    stage.do(ann, "put", "bad", 5)
    stage.until(lambda: stage.members[2].replica.index >= stage.leader().replica.index)
    assert stage.members[2].replica.compared_index == good
    assert standing(stage, 2) == "well"
    write_snapshot(stage.members[2])
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: standing(stage, 2) == "out", 30)
    finding = retold(stage, 2)
    assert finding.verdict == "agree"
    assert finding.evidence is not None
    assert finding.evidence.command == {"name": "put", "version": 1, "values": {"key": "bad", "value": 5}}
    assert [path.path for path in finding.evidence.paths] == ["words/'bad'"]


def test_evidence_begins_with_an_older_snapshot_where_the_newest_cannot_be_read() -> None:
    """It is longer, and says the same."""
    stage, ann = buggy(2)
    stage.settle()
    damaged = write_snapshot(stage.members[2])
    (name,) = [name for name in stage.files(2, "snapshots/") if f"{damaged}." in name]
    stage.damage(name, 2, 8 * 200)
    stage.do(ann, "put", "more", 0)
    stage.until(lambda: stage.members[2].replica.compared_index >= damaged)
    run_into_it(stage, ann, 2)
    assert len(evidence(stage, 2)) == 1
    finding = retold(stage, 2)
    assert (finding.verdict, finding.replayed_from) == ("agree", 0)
    assert finding.evidence is not None
    assert [path.path for path in finding.evidence.paths] == ["words/'bad'"]


def test_a_trace_that_was_cut_off_accuses_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there was no room for the command that did it, nothing else is said to have done it."""
    monkeypatch.setattr(evidence_room, "TRACE_BYTES_MAX", 400)
    stage, ann = buggy(2)
    for number in range(20):
        stage.submit(Call(ann.item("put", f"{number}", number)))
    run_into_it(stage, ann, 2)
    finding = retold(stage, 2)
    assert finding.evidence is not None
    assert finding.evidence.command is None
    assert "words/'bad'" in [path.path for path in finding.evidence.paths]
    assert any("did what it did at node 2; its trace ends there" in note for note in finding.notes)
    assert not any("something else than a command" in note for note in finding.notes)


def test_the_trace_of_an_earlier_time_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Started again, a node finds its evidence, whole: nothing of it is written anew by other code of today."""
    stage, ann = buggy(2)
    run_into_it(stage, ann, 2)
    before = [stage.disks[2].contents(os.path.join(PATH, path)) for path in stage.files(2, "evidence/")]

    def traced(*_: object) -> None:
        raise AssertionError("it is there")

    monkeypatch.setattr(evidence_room, "add_trace", traced)
    stage.kill(2)
    stage.start(2)
    stage.until(lambda: standing(stage, 2) == "out", 30)
    assert [stage.disks[2].contents(os.path.join(PATH, path)) for path in stage.files(2, "evidence/")] == before


# --- no majority ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("nodes", "bad"), [(2, (2,)), (4, (3, 4)), (4, (1, 2))])
def test_without_a_majority_what_happened_once_is_decided_by_running_again(nodes: int, bad: tuple[int, ...]) -> None:
    """One against one and two against two: the log says which state is right, and nobody is down meanwhile."""
    stage, ann = filled(nodes)
    for number in bad:
        alter(stage.members[number], "key 1")
    stage.do(ann, "put", "more", 1)
    heal(stage, *bad)
    (case,) = cases(stage, 1).values()
    assert any(word.rerun for word in case.words.values())


@pytest.mark.parametrize(("nodes", "bad"), [(2, (2,)), (4, (3, 4))])
def test_without_a_majority_a_bug_is_an_alarm_and_nobody_stops(nodes: int, bad: tuple[int, ...]) -> None:
    """Nobody can say whose code is right: undecided, told, and served on."""
    stage, ann = buggy(*bad, nodes=nodes)
    stage.do(ann, "put", "bad", 5)
    stage.until(lambda: any(case.state == "undecided" for case in cases(stage, 1).values()), REEXECUTE_SECONDS * 2)
    stage.run(3)
    assert len(cases(stage, 1)) == 1
    for number in stage.members:
        assert standing(stage, number) == "well"
        assert "no majority has the same one" in stage.members[number].agreeing.alarm
    assert stage.do(ann, "put", "more", 1) is None
    assert not stage.failures


def test_a_rerun_does_not_begin_with_a_snapshot_of_the_state_in_doubt() -> None:
    """One that was taken after the last confirmed root says nothing; with it, nothing could be decided."""
    stage, ann = filled(2)
    bad = stage.follower()
    alter(stage.members[bad], "key 1")
    write_snapshot(stage.members[bad])
    stage.do(ann, "put", "more", 1)
    heal(stage, bad)


# --- elections --------------------------------------------------------------------------------------------------------


def test_a_node_that_is_out_wins_an_election_and_hands_over() -> None:
    """Its log is the longest, so only it can win; it replicates it and leaves the rest to the other."""
    stage, ann = buggy(1)
    run_into_it(stage, ann, 1)
    stage.until(lambda: stage.leads in (2, 3))
    other = stage.leads
    last = 5 - other
    stage.partition((last,), (1, other))
    for number in range(20):
        stage.do(ann, "put", "more", number)
    stage.until(lambda: stage.members[1].journal.durable_index == stage.members[other].journal.last_index)
    stage.crash(other)
    stage.partition()
    stage.until(lambda: stage.leads == last, 10)
    assert stage.do(ann, "put", "more", 20) == 19
    assert standing(stage, 1) == "out"
    stage.start(other)
    stage.settle(2, 3)


def test_a_leader_that_healed_is_not_held_to_what_it_was() -> None:
    """It could not hand over: what was said against its state is of a state that is gone."""
    stage, ann = filled()
    bad = stage.leader().node_id
    node = stage.members[bad]
    stage.lose = lambda _sender, _receiver, message: isinstance(message, TimeoutNow)
    alter(node)
    stage.submit(Call(ann.item("put", "more", 1)), bad)
    stage.until(lambda: standing(stage, bad) == "suspect")
    stage.until(lambda: standing(stage, bad) == "well", 60)
    assert node.is_leader
    for _ in range(400):
        stage.step()
        assert standing(stage, bad) == "well"
    assert node.agreeing.may_show


def test_the_others_are_elected_while_one_is_out_however_often() -> None:
    """Its vote counts, its leadership passes: after each change there is soon a leader that takes commands."""
    stage, ann = buggy(2)
    run_into_it(stage, ann, 2)
    for number in range(4):
        crashed = stage.leader().node_id
        stage.crash(crashed)
        stage.do(ann, "put", "more", number)
        stage.start(crashed)
        stage.settle(1, 3)
    assert standing(stage, 2) == "out"


def test_the_leader_crashes_between_dispute_and_verdict() -> None:
    """The next one hears the words again."""
    stage, ann = filled()
    bad = stage.follower()
    stage.lose = lambda _sender, _receiver, message: isinstance(message, Attest)
    alter(stage.members[bad])
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: cases(stage, stage.leads))
    stage.lose = lambda _sender, _receiver, _message: False
    leader = stage.leads
    stage.crash(leader)
    stage.run(0.5)
    stage.start(leader)
    heal(stage, bad)


def test_a_verdict_that_does_not_come_is_not_waited_for_for_ever() -> None:
    """A suspect heals itself by what a quorum confirmed, when nobody lets it say its word."""
    stage, ann = filled()
    bad = stage.follower()
    stage.lose = lambda sender, _receiver, message: isinstance(message, Attest) and sender == bad
    alter(stage.members[bad])
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: standing(stage, bad) == "suspect")
    stage.until(lambda: standing(stage, bad) not in ("suspect", "well"), SUSPECT_SECONDS_MAX + 1)
    stage.until(lambda: standing(stage, bad) == "well")
    stage.settle()
    assert evidence(stage, bad)


# --- crashes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bug", [False, True])
@pytest.mark.parametrize("survival", [Survival.NOTHING, Survival.TORN])
@pytest.mark.parametrize("at", ["suspect", "quarantined", "healing", "later"])
def test_a_node_that_differs_crashes_at_any_point(at: str, survival: Survival, bug: bool) -> None:
    """Before, in and after its evidence, while it heals: started again, it is where it was, or well."""
    stage, ann = buggy(*((3,) if bug else ()))
    if not bug:
        alter(stage.members[3], "good")
    stage.do(ann, "put", "bad", 1)
    if at == "later":
        stage.until(lambda: standing(stage, 3) in ("out", "healing"))
        stage.run(1.0)
    else:
        stage.until(lambda: standing(stage, 3) == at)
    stage.crash(3, survival)
    stage.do(ann, "put", "more", 1)
    stage.start(3)
    if bug:
        stage.until(lambda: standing(stage, 3) == "out", 30)
        assert len(evidence(stage, 3)) == len(evidence(stage, 3, "trace")) == 1
        assert len(cases(stage, 1)) == 1
        stage.settle(1, 2)
    else:
        stage.until(lambda: all(not case.out for case in cases(stage, 1).values()), 30)
        stage.settle()


@pytest.mark.parametrize("writes", range(1, 16, 2))
def test_the_power_goes_in_the_middle_of_the_evidence(writes: int) -> None:
    """Wherever it is cut off, an unfinished one is no bundle, and a whole one is written the next time."""
    stage, ann = buggy(3)
    stage.do(ann, "put", "bad", 1)
    stage.until(lambda: standing(stage, 3) == "quarantined")
    stage.disks[3].cut_at_write = stage.disks[3].writes + writes
    stage.run(2.0)
    stage.failures.clear()
    stage.crash(3, Survival.TORN, writes)
    stage.start(3)
    stage.until(lambda: standing(stage, 3) == "out", 30)
    assert len(evidence(stage, 3)) == len(evidence(stage, 3, "trace")) == 1
    assert [path for path in stage.files(3, "evidence/") if path.endswith(".tmp")] == []


def test_healing_goes_on_while_commands_come() -> None:
    """What is committed meanwhile does not make it begin again, however much there is to run."""
    stage, ann = filled()
    for number in range(300):
        stage.do(ann, "put", "k" * 2000, number)
    stage.settle()
    bad = stage.follower()
    alter(stage.members[bad])
    number = 0
    until = stage.now + 20
    while not is_healed(stage, bad):
        number += 1
        stage.do(ann, "put", "more", number)
        assert stage.now < until
    heal(stage, bad)
    assert len(evidence(stage, bad)) == 1


# --- who else may differ ----------------------------------------------------------------------------------------------


def with_learner() -> tuple[Stage, Any]:
    stage, ann = filled()
    stage.disks[4] = type(stage.disks[1])()
    stage.start(4)
    stage.leader().change("add_learner", member(4), lambda _: None, lambda _: None)
    stage.settle()
    return stage, ann


@pytest.mark.parametrize("tracked", [True, False])
def test_a_learner_that_differs_heals_by_itself(tracked: bool) -> None:
    """It is not asked, and nobody disputes anything with it; what a quorum confirmed is enough."""
    stage, ann = with_learner()
    alter(stage.members[4], "key 1", tracked=tracked)
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: stage.do(ann, "put", "more", 1) and evidence(stage, 4), 60)
    stage.until(lambda: standing(stage, 4) == "well")
    stage.settle()
    assert stage.members[4].replica.query("word", ["key 1"]) == b"\x01"
    assert cases(stage, 1) == cases(stage, 4) == {}


def test_a_node_that_lags_is_named_when_it_comes_to_a_hash_point() -> None:
    """Its difference is of a time when it was away."""
    stage, ann = filled()
    bad = stage.follower()
    stage.partition((bad,), tuple({1, 2, 3} - {bad}))
    alter(stage.members[bad])
    for number in range(150):
        stage.do(ann, "put", "more", number)
    stage.partition()
    heal(stage, bad)


def test_a_node_that_lags_behind_the_log_gets_another_state() -> None:
    """A confirmed snapshot takes the place of the one that differs, and it is well."""
    stage, ann = filled(segment_bytes_min=1_000, snapshot_log_bytes=2_000)
    bad = stage.follower()
    stage.partition((bad,), tuple({1, 2, 3} - {bad}))
    alter(stage.members[bad])
    for number in range(300):
        stage.do(ann, "put", "more", number)
    stage.run(3)
    assert stage.leader().journal.first_index > stage.members[bad].journal.last_index
    stage.partition()
    stage.settle()
    assert standing(stage, bad) == "well"


def write_snapshot(node: Member, index: int = 0) -> int:
    """A snapshot of a node's state, wherever it stands; its index."""
    replica = node.replica
    roots = dict(replica.roots)
    replica.roots[replica.index] = replica.root()
    with node.snapshot_files.begin(replica.index, replica.term) as writer:
        for kind, payload in parts(replica, node.journal.chain_at(replica.index)):
            writer.add(kind, payload)
        writer.commit()
    replica.roots = roots
    return replica.index


def test_a_snapshot_of_a_state_that_differs_is_set_aside() -> None:
    """One that it took at the bad index, before the verdict: it is no snapshot any more."""
    stage, ann = filled()
    bad = stage.follower()
    alter(stage.members[bad])
    taken = stage.members[bad].snapshots.ask()
    stage.members[bad].leading.bind_snapshots(lambda: False)
    stage.do(ann, "put", "more", 1)
    stage.until(taken.done)
    heal(stage, bad)
    assert len(stage.files(bad, ".unreadable")) == 1
    assert taken.result() not in stage.members[bad].snapshot_files.indexes()


def test_an_older_snapshot_of_a_state_that_differed_already_is_set_aside_too() -> None:
    """Nobody knows since when it differed: healing goes further back, and what it passed over is not offered later."""
    stage, ann = filled()
    bad = stage.follower()
    good = write_snapshot(stage.members[bad])
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: stage.members[bad].applied_index == stage.leader().applied_index)
    alter(stage.members[bad])
    index = write_snapshot(stage.members[bad])
    stage.do(ann, "put", "more", 2)
    heal(stage, bad)
    assert min(cases(stage, bad)) > index
    assert stage.members[bad].snapshot_files.indexes() == [good]


@pytest.mark.parametrize("survival", [Survival.NOTHING, Survival.TORN])
def test_a_node_restored_from_a_state_that_differs_is_found_again(survival: Survival) -> None:
    """It crashed when it had taken a snapshot of it and before the verdict was known to it."""
    stage, ann = filled()
    bad = stage.follower()
    alter(stage.members[bad])
    stage.members[bad].leading.bind_snapshots(lambda: False)
    taken = stage.members[bad].snapshots.ask()
    stage.do(ann, "put", "more", 1)
    stage.until(taken.done)
    stage.crash(bad, survival)
    stage.do(ann, "put", "more", 2)
    stage.start(bad)
    stage.until(lambda: evidence(stage, bad))
    stage.until(lambda: standing(stage, bad) == "well")
    stage.until(lambda: all(not case.out for case in cases(stage, bad).values()))
    stage.settle()
    assert len(stage.files(bad, ".unreadable")) == 1


def test_without_a_snapshot_that_can_be_read_a_new_start_fetches_one() -> None:
    """All it could begin from is damaged: it says so, stays out, and heals when it is started again."""
    stage, ann = filled(segment_bytes_min=1_000, snapshot_log_bytes=2_000)
    for number in range(300):
        stage.do(ann, "put", "more", number)
    stage.settle()
    bad = stage.follower()
    node = stage.members[bad]
    assert node.journal.first_index > 1
    for index in node.snapshot_files.indexes():
        stage.damage(f"snapshots/{index:020d}.snapshot", bad, -100)
    alter(node)
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: standing(stage, bad) == "out")
    assert "no snapshot" in node.agreeing.reason
    stage.kill(bad)
    stage.start(bad)
    heal(stage, bad)


# --- members ----------------------------------------------------------------------------------------------------------


def test_a_node_joins_while_a_case_is_open() -> None:
    """It learns of it like everyone else, has no word in it, and is well."""
    stage, ann = filled(segment_bytes_min=1_000, snapshot_log_bytes=2_000)
    for number in range(200):
        stage.do(ann, "put", "more", number)
    bad = stage.follower()
    stage.lose = lambda _sender, _receiver, message: isinstance(message, Attest)
    alter(stage.members[bad])
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: cases(stage, stage.leads))
    stage.disks[4] = type(stage.disks[1])()
    stage.start(4)
    stage.leader().change("add", member(4), lambda _: None, lambda _: None)
    stage.until(lambda: 4 in stage.leader().configuration.voters)
    stage.lose = lambda _sender, _receiver, _message: False
    heal(stage, bad)
    (case,) = cases(stage, 4).values()
    assert case.voters == (1, 2, 3)


@pytest.mark.parametrize("action", ["add", "remove"])
def test_those_are_asked_who_had_a_vote_there(action: str) -> None:
    """One that differs is cut off before it has reported that, and the members change: what the others had at that
    index is for its voters to say. Where one of them is gone, running the log again makes the majority.
    """
    stage, ann = filled(3 if action == "add" else 4)
    leader, bad = stage.leader().node_id, stage.follower()
    others = [number for number in stage.members if number != bad]
    alter(stage.members[bad])
    stage.lose = lambda sender, _receiver, _message: sender == bad
    before = max(stage.members[bad].replica.roots)
    stage.do(ann, "put", "more", 1)
    stage.until(lambda: max(stage.members[bad].replica.roots) > before)
    index, voters = max(stage.members[bad].replica.roots), stage.leader().configuration.voters
    stage.partition((bad,), tuple(others))
    subject = 5 if action == "add" else next(number for number in others if number != leader)
    if action == "add":
        stage.disks[5] = FaultDisk()
        stage.start(5)
        stage.partition((bad,), (*others, 5))
    done: list[int] = []
    stage.leader().change(action, member(subject), done.append, lambda _: None)  # type: ignore[arg-type]  # one of them
    stage.until(lambda: done)
    if action == "remove":
        stage.kill(subject)
    stage.lose = lambda _sender, _receiver, _message: False
    stage.partition()
    stage.until(lambda: is_healed(stage, bad), 120)
    assert stage.leader().configuration.voters != voters
    case = cases(stage, stage.leader().node_id)[index]
    assert (case.voters, case.state, case.minority) == (voters, "decided", (bad,))
    assert sorted(case.words) == [number for number in voters if action == "add" or number != subject]


@pytest.mark.parametrize("delay_seconds", [0.0, 0.02, 0.3])
@pytest.mark.parametrize("action", ["add", "remove"])
def test_states_differ_while_the_members_change(action: str, delay_seconds: float) -> None:
    """Whoever the voters are by then, the one that differs is named, and it alone."""
    stage, ann = filled(4)
    bad, third = [number for number in stage.members if number != stage.leader().node_id][:2]
    if action == "add":
        stage.disks[5] = type(stage.disks[1])()
        stage.start(5)
    alter(stage.members[bad])
    stage.do(ann, "put", "more", 1)
    stage.run(delay_seconds)
    subject = member(5) if action == "add" else member(third)
    stage.leader().change(action, subject, lambda _: None, lambda _: None)  # type: ignore[arg-type]  # one of them
    if action == "remove":
        stage.until(lambda: third not in stage.leader().configuration.ids)
        stage.kill(third)
        del stage.disks[third]
    heal(stage, bad)


# --- evidence ---------------------------------------------------------------------------------------------------------


def test_a_full_disk_takes_no_evidence_and_it_heals_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """Evidence is worth much, a node that serves is worth more; it says that there is none."""
    stage, ann = filled()
    for number in range(100):
        stage.do(ann, "put", f"{number} {'long' * 100}", number)
    stage.settle()
    bad = stage.follower()
    alter(stage.members[bad])
    stage.disks[bad].space_bytes = stage.disks[bad].used_bytes() + 6_000
    stage.do(ann, "put", "more", 1)
    heal(stage, bad)
    assert any("evidence could not be written" in text for text in caplog.messages)
    assert evidence(stage, bad) == []
    assert stage.files(bad, "evidence/") == []
    assert not stage.members[bad].agreeing.evidence


def test_evidence_is_bounded_and_the_first_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that differs again and again does not fill its disk; how it began stays there."""
    monkeypatch.setattr(evidence_room, "EVIDENCE_KEPT", 2)
    stage, ann = filled()
    bad = stage.follower()
    kept: dict[str, bytes] = {}
    for number in range(4):
        alter(stage.members[bad], value=1000 + number)
        before = len(cases(stage, bad))
        stage.do(ann, "put", "more", number)
        stage.until(lambda before=before: len(cases(stage, bad)) > before)  # type: ignore[misc]  # a bound default
        heal(stage, bad)
        found = {path: stage.disks[bad].contents(f"data/{path}") for path in evidence(stage, bad)}
        assert found.items() >= kept.items()
        kept = found
    assert len(kept) == 2


def test_a_state_that_cannot_be_written_down_does_not_stop_the_node() -> None:
    """Memory may hold anything: what is no value at all gives no evidence, and is healed."""
    stage, ann = filled()
    bad = stage.follower()
    words: Any = stage.members[bad].replica.store.containers["words"]
    dict.__setitem__(words, "key 1", object())
    stage.do(ann, "put", "more", 1)
    heal(stage, bad)


# --- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", LEAD)
def test_nothing_of_a_state_in_doubt_is_shown(who: str) -> None:
    """From the suspicion on, reads fail and commands are answered by others; then it shows the right state again."""
    stage, ann = filled()
    bad = pick(stage, who)
    alter(stage.members[bad], "key 1")
    stage.do(ann, "put", "key 2", 2)
    node = stage.members[bad]
    looks: list[tuple[bool, Look]] = []
    for _ in range(600):
        shows = node.agreeing.may_show
        for consistency, index in (("stale", 0), ("at_least", 0), ("at_least", 10**6)):
            look = stage.look("word", "key 1", to=bad, consistency=consistency, index=index)
            looks.append((shows, look))
        stage.step()
    assert is_healed(stage, bad)
    doubted = [look for shows, look in looks if not shows]
    assert doubted
    for look in doubted:
        assert isinstance(look.error, NotLeader)
        assert look.at_index is None
    assert looks[0][1].seen == 999
    assert {look.seen for _, look in looks[-30:] if look.is_over} == {1}


def test_a_leader_in_doubt_gives_no_answers_any_more() -> None:
    """Commands that were on their way when it found out are committed, and answered by the next leader once."""
    stage, ann = filled()
    bad = stage.leader().node_id
    node = stage.members[bad]
    alter(node, "key 1", 777)
    calls: list[tuple[bool, Call]] = []
    for _ in range(2000):
        if not node.is_leader:
            break
        calls.append((node.agreeing.may_show, stage.submit(Call(ann.item("put", "key 3", 3)), bad)))
        stage.step()
        if not node.agreeing.may_show:
            assert not any(call.answers for shows, call in calls if not shows)
    heal(stage, bad)
    assert not any(call.answers for shows, call in calls if not shows)
    late = [call for _, call in calls if isinstance(call.error, NotLeader)]
    assert late


def test_a_fresh_cluster_reads_at_once_and_a_restarted_node_in_time() -> None:
    """A new node has nothing to compare; one that ran before waits for a first root, and not for ever."""
    stage = Stage()
    stage.start()
    look = stage.look("word", "a", consistency="stale", to=stage.follower())
    assert look.at_index is not None
    ann = stage.session()
    stage.do(ann, "put", "a", 1)
    alone = stage.follower()
    stage.kill(alone)
    stage.partition((alone,), tuple({1, 2, 3} - {alone}))
    stage.start(alone)
    look = stage.look("word", "a", consistency="stale", to=alone)
    assert not look.is_over
    stage.until(lambda: look.is_over, UNCHECKED_SECONDS_MAX + 0.5)
    assert look.at_index is not None
    assert stage.members[alone].agreeing.unchecked


def test_files_are_those_of_the_class() -> None:
    """The planted bug is of the same machine: its snapshots and logs are read by the right code."""
    assert Buggy.definition.name == Everything.definition.name
    assert Buggy.definition.schema() == Everything.definition.schema()


# --- snapshots that are not believed ----------------------------------------------------------------------------------


def test_a_snapshot_that_is_being_written_when_its_state_is_not_believed_any_more_is_set_aside() -> None:
    """Its writer, a thread, has everything already and cannot be held; what it commits does not count."""
    stage, _ = filled()
    node = stage.members[stage.follower()]
    node.replica.roots[node.replica.index] = node.replica.root()
    snapshots = Snapshotter(
        node.replica, node.journal, node.snapshot_files, log_bytes=0, tail_bytes=0, wake=lambda: None
    )
    taken = snapshots.ask()
    snapshots.at_hash_point()
    while snapshots.is_producing:
        snapshots.advance()
    snapshots.rebind(node.replica)
    snapshots.stop()
    assert isinstance(taken.exception(), Closed)
    assert node.snapshot_files.indexes() == []
    assert len(stage.files(node.node_id, ".unreadable")) == 1
    taken = snapshots.ask()
    snapshots.at_hash_point()
    snapshots.stop()
    assert node.snapshot_files.indexes() == [taken.result()]


def test_the_log_before_a_snapshot_stays_until_that_is_confirmed(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the state turns out to be another than the majority's, only the log can give the right one."""
    stage, _ = filled()
    node = stage.members[stage.follower()]
    dropped: list[int] = []
    monkeypatch.setattr(node.journal, "compact_to", dropped.append)
    index = write_snapshot(node)
    assert node.replica.compared_index < index
    drop_older(node.snapshot_files, node.journal, node.replica, 0)
    assert dropped == []
    node.replica.compared_index = index
    drop_older(node.snapshot_files, node.journal, node.replica, 0)
    assert dropped == [index]


def test_the_oldest_snapshot_stays_while_a_restarted_node_has_compared_nothing() -> None:
    """It was kept for having been confirmed; the newer ones may be of a state that differs."""
    stage, ann = filled()
    node = stage.members[stage.follower()]
    node.replica.compared_index = 0
    written = []
    for number in range(4):
        written.append(write_snapshot(node))
        stage.do(ann, "put", "more", number)
        stage.until(lambda: node.applied_index >= stage.leader().applied_index)
    node.replica.compared_index = 0
    drop_older(node.snapshot_files, node.journal, node.replica, 0)
    assert node.snapshot_files.indexes() == [written[0], *written[-SNAPSHOTS_KEPT:]]


def test_snapshots_that_nobody_confirms_do_not_fill_the_disk() -> None:
    """Two nodes that differ for good go on, and no root is ever confirmed: the last confirmed and the newest stay."""
    stage, ann = buggy(2, nodes=2)
    for node in stage.members.values():
        write_snapshot(node)
    stage.do(ann, "put", "good", 2)
    last = stage.leader().applied_index
    stage.until(lambda: all(node.replica.compared_index >= last for node in stage.members.values()))
    good = {number: node.snapshot_files.indexes() for number, node in stage.members.items()}
    stage.do(ann, "put", "bad", 5)
    for number in range(6):
        asked = [node.snapshots.ask() for node in stage.members.values()]
        stage.do(ann, "put", "more", number)
        stage.until(lambda asked=asked: all(one.done() for one in asked))  # type: ignore[misc]  # a bound default
    for number, node in stage.members.items():
        indexes = node.snapshot_files.indexes()
        assert indexes[:1] == good[number][:1]
        assert len(indexes) == 1 + SNAPSHOTS_KEPT
        assert node.journal.first_index == 1
