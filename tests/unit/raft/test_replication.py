"""How a leader's log gets onto the others: what a follower takes, says and cuts, and what a leader counts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rsm.raft.progress
import rsm.raft.replication
from rsm.codec.record import Entry, RecordKind
from rsm.errors import DivergenceError
from rsm.raft.messages import AppendEntries, AppendReply, RequestVote
from rsm.raft.progress import Stage
from tests.unit.raft.bench import Bench, append, batch, settle
from tests.unit.raft.network import ELECTION, HEARTBEAT, configuration_of

# --- following --------------------------------------------------------------------------------------------------------

TERMS = st.lists(st.integers(1, 4), max_size=8).map(sorted)


def entries_of(terms: list[int], after: int = 0) -> list[Entry]:
    """The entries that `Bench` makes of these terms, behind an index."""
    return [batch(index, term) for index, term in enumerate(terms, 1) if index > after]


@given(TERMS, TERMS, st.data())
def test_a_follower_cuts_nothing_that_agrees_and_keeps_nothing_that_conflicts(
    mine: list[int], leaders: list[int], data: st.DataObject
) -> None:
    """Whatever slices of the leader's log arrive, in whatever order: agreeing entries stay, and what is acknowledged is
    the leader's, durable, and never less than before.
    """
    bench = Bench(terms=mine)
    agreeing = 0
    # Log matching holds of any two logs: behind the first difference, equal terms at an index do not occur.
    while agreeing < min(len(mine), len(leaders)) and mine[agreeing] == leaders[agreeing]:
        agreeing += 1
    theirs = leaders[:agreeing] + [9] * (len(leaders) - agreeing)
    acknowledged = 0
    for _ in range(data.draw(st.integers(1, 6))):
        previous = data.draw(st.integers(0, len(theirs)))
        last = data.draw(st.integers(previous, len(theirs)))
        message = append(
            9,
            (previous, theirs[previous - 1] if previous else 0),
            *entries_of(theirs[:last], previous),
            commit=data.draw(st.integers(0, agreeing)),
            start=len(theirs) + 1,
        )
        bench.receive(2, message)
        assert [term for _, term in bench.log[:agreeing]] == mine[:agreeing]
        for reply in bench.replies():
            assert reply.match_index >= acknowledged
            acknowledged = reply.match_index
            assert (
                bench.log[:acknowledged] == [(entry.index, entry.term) for entry in entries_of(theirs)][:acknowledged]
            )
    assert all(cut > agreeing for cut in bench.truncated)
    assert bench.applied == entries_of(theirs)[: len(bench.applied)]


def test_a_shorter_message_cuts_no_entry_behind_it() -> None:
    """An old message that ends before the log does leaves the rest alone (fault E1)."""
    bench = Bench(terms=[1, 1, 1, 1])
    bench.receive(2, append(1, (1, 1), batch(2, 1)))
    assert bench.log == [(1, 1), (2, 1), (3, 1), (4, 1)]


def test_a_leader_that_contradicts_what_is_committed_is_not_believed() -> None:
    """It would be a divergence, and ends the node before anything is cut. Entries that are known to be committed are
    not even compared.
    """
    bench = Bench(terms=[1, 1])
    bench.receive(2, append(1, (2, 1), commit=2))
    bench.receive(2, append(1, (0, 0), batch(1, 1, b"other"), batch(2, 1)))
    assert (bench.log, bench.truncated) == ([(1, 1), (2, 1)], [])
    with pytest.raises(DivergenceError, match="contradicts"):
        bench.engine.replication._cut_from(2)


def test_an_entry_is_acknowledged_when_it_is_durable_and_not_before() -> None:
    """Neither the receipt nor the write is enough (fault E4)."""
    bench = Bench(terms=[1])
    bench.receive(2, append(1, (1, 1), batch(2, 1)), sync=False)
    assert bench.replies() == []
    bench.sync()
    bench.flush()
    assert [(reply.accepted, reply.match_index) for reply in bench.replies()] == [(True, 2)]


def test_a_follower_applies_when_it_has_acknowledged() -> None:
    """What comes with the news of a commit is on its way to the disk first; each sync lets what was committed by then
    go, however much more is written meanwhile, so that a stream of entries holds up none of them for ever.
    """
    bench = Bench(terms=[1])
    bench.receive(2, append(1, (1, 1), batch(2, 1), commit=1), sync=False)
    assert bench.applied == []
    bench.receive(2, append(1, (2, 1), batch(3, 1), commit=1), sync=False)
    bench.journal.sync()
    bench.engine.durable(2)  # the sync began before entry 3 was written
    bench.receive(2, append(1, (3, 1), batch(4, 1), commit=2), sync=False)
    assert [entry.index for entry in bench.applied] == [1]
    bench.sync()
    bench.flush(sync=False)
    assert [entry.index for entry in bench.applied] == [1, 2]
    bench.receive(2, append(1, (4, 1), commit=4), sync=False)
    assert [entry.index for entry in bench.applied] == [1, 2, 3, 4]


def test_a_message_without_entries_has_a_follower_apply_though_its_disk_hangs() -> None:
    """It tells of a commit for which somebody waits, or is a heartbeat: a sync that hangs stops no reader for ever."""
    bench = Bench(terms=[1])
    bench.receive(2, append(1, (1, 1), batch(2, 1), commit=1), sync=False)
    assert bench.applied == []
    bench.receive(2, append(1, (2, 1), commit=2), sync=False)
    assert [entry.index for entry in bench.applied] == [1]


def test_a_leader_applies_what_is_committed_whatever_it_writes() -> None:
    """Its clients wait for the answers."""
    bench = Bench(terms=[1])
    bench.elect(2)
    bench.acknowledge(2, 2)
    bench.engine.propose(b"one")
    bench.flush()
    bench.engine.propose(b"two")
    bench.flush(sync=False)
    bench.acknowledge(2, 3, sync=False)
    assert bench.journal.durable_index == 3 < bench.engine.last_index
    assert [entry.index for entry in bench.applied] == [1, 2, 3]


def test_what_was_there_before_is_acknowledged_only_when_the_leader_has_spoken_of_it() -> None:
    """A durable tail of an earlier term may not be the leader's."""
    bench = Bench(terms=[1, 1, 1])
    bench.receive(2, append(2, (1, 1)))
    assert [reply.match_index for reply in bench.replies()] == [1]
    bench.receive(3, append(3, (0, 0)))
    assert [reply.match_index for reply in bench.replies()] == [0]


def test_heartbeats_are_answered_while_a_sync_is_stalled() -> None:
    """A slow disk delays acknowledgements, and does not make the member look dead; nor does it hold back barriers."""
    bench = Bench(terms=[1])
    bench.receive(2, append(1, (1, 1), batch(2, 1)), sync=False)
    bench.receive(2, append(1, (2, 1), round_number=7), sync=False)
    assert [(reply.match_index, reply.round) for reply in bench.replies()] == [(1, 7)]


def test_a_heartbeat_carries_no_entries() -> None:
    """One that did would be answered only when they are durable, and a member with a stalled disk would never be heard:
    its leader would step down.
    """
    leader = Bench()
    leader.elect(2, 3)
    leader.take(AppendEntries)
    leader.wait(0.3)
    heartbeats = leader.take(AppendEntries)
    assert len(heartbeats) >= 4
    assert all(message.entries == () for _, message in heartbeats)


def test_a_leader_outlives_its_followers_slow_disks() -> None:
    """Two followers whose syncs stall from the first entry of the term on answer all the same."""
    leader = Bench(1)
    followers = {number: Bench(number) for number in (2, 3)}
    leader.elect(2, 3)
    for _ in range(60):
        leader.wait(0.05)
        for receiver, message in leader.take(AppendEntries):
            followers[receiver].now = leader.now
            followers[receiver].receive(1, message, sync=False)
        for number, follower in followers.items():
            for reply in follower.replies():
                leader.receive(number, reply)
    assert leader.engine.is_leader


def test_a_stale_durable_index_acknowledges_nothing() -> None:
    """A sync may end after a conflicting tail was cut here and before the journal is: its index is that of the tail."""
    bench = Bench(terms=[1, 1, 1])
    bench.engine.receive(2, append(2, (1, 1), batch(2, 2), batch(3, 2)), 0.0)
    bench.engine.durable(bench.journal.durable_index)
    assert bench.engine.replication.acknowledged_index == 1
    bench.flush(sync=False)
    assert [reply.match_index for reply in bench.replies()] == [1]
    bench.sync()
    bench.flush()
    assert [reply.match_index for reply in bench.replies()] == [3]


def test_a_commit_index_reaches_only_to_what_is_known_to_be_the_leaders() -> None:
    """A heartbeat in the snapshot stage says nothing of the log, whatever it has committed."""
    bench = Bench(terms=[1, 1, 1])
    bench.receive(2, append(2, (0, 0), commit=3))
    assert bench.engine.commit_index == 0
    bench.receive(2, append(2, (2, 1), commit=3))
    assert bench.engine.commit_index == 2


def test_a_cut_configuration_is_no_longer_in_force() -> None:
    """The configuration is the latest in the log: when its entry is cut, the one before it counts again."""
    bench = Bench(terms=[1])
    four = configuration_of(1, 2, 3, 4)
    bench.receive(2, append(1, (1, 1), Entry(2, 1, RecordKind.CONFIGURATION, four.encode())))
    assert bench.engine.configuration == four
    bench.receive(3, append(2, (1, 1), batch(2, 2)))
    assert bench.engine.configuration == configuration_of(1, 2, 3)


def test_who_had_a_vote_at_an_index() -> None:
    """By the last configuration up to there; of what lies before a snapshot, the oldest that is known tells most."""
    bench = Bench(1, configuration_of(1, 2, 3))
    four = configuration_of(1, 2, 3, 4)
    bench.receive(2, append(1, (0, 0), batch(1, 1), Entry(2, 1, RecordKind.CONFIGURATION, four.encode()), batch(3, 1)))
    assert [bench.engine.voters_at(index) for index in (0, 1, 2, 3)] == [(1, 2, 3)] * 2 + [(1, 2, 3, 4)] * 2
    bench.journal.reset(10, 2, four)
    bench.engine.installed(10, 2, four)
    assert bench.engine.voters_at(1) == (1, 2, 3, 4)


def test_a_configuration_in_the_place_of_another_is_followed() -> None:
    """Two configurations may have had the same index, one after the other."""
    bench = Bench(terms=[1])
    alone, five = configuration_of(1), configuration_of(1, 2, 3, 4, 5)
    bench.receive(2, append(1, (1, 1), Entry(2, 1, RecordKind.CONFIGURATION, alone.encode())))
    bench.receive(3, append(2, (1, 1), Entry(2, 2, RecordKind.CONFIGURATION, five.encode())))
    assert bench.engine.configuration == five
    bench.elect(2)
    assert not bench.engine.is_leader


# --- the meeting point ------------------------------------------------------------------------------------------------


def round_trips(leader: Bench, follower: Bench) -> int:
    """Deliver between the two until the follower has the leader's log; how many probes that took."""
    probes = 0
    for _ in range(200):
        if follower.log == leader.log:
            return probes
        probes += leader.engine.replication.progress[2].stage is Stage.PROBE
        leader.flush()
        for receiver, message in leader.take(AppendEntries):
            if receiver == 2:
                follower.receive(1, message)
        for reply in follower.replies():
            leader.receive(2, reply)
    raise AssertionError("the logs do not meet")


@given(TERMS, TERMS)
def test_the_logs_meet_in_as_many_round_trips_as_terms_differ(mine: list[int], theirs: list[int]) -> None:
    """Each rejection skips a whole conflicting term, so each of those costs one round trip at most (fault E3)."""
    agreeing = 0
    while agreeing < min(len(mine), len(theirs)) and mine[agreeing] == theirs[agreeing]:
        agreeing += 1
    # Odd terms here, even ones there: no entry behind the first difference is the same.
    mine = [2 * term for term in mine]
    theirs = [2 * term for term in theirs[:agreeing]] + [2 * term + 1 for term in theirs[agreeing:]]
    leader = Bench(1, terms=mine, term=20)
    follower = Bench(2, terms=theirs, term=20)
    leader.elect(2, 3)
    differing = len(set(theirs[agreeing:]))
    assert round_trips(leader, follower) <= differing + 2
    assert all(cut > agreeing for cut in follower.truncated)


def test_stale_rejections_do_no_harm() -> None:
    """Rejections that come again, late, in any order, do not drive the leader back behind what matches, nor forward."""
    leader = Bench(1, terms=[1, 1, 1, 1, 1, 1])
    leader.elect(2, 3)
    leader.acknowledge(2, 0, accepted=False, previous_index=6, hint_index=4)
    progress = leader.engine.replication.progress[2]
    assert (progress.stage, progress.next_index) == (Stage.PROBE, 4)
    leader.acknowledge(2, 0, accepted=False, previous_index=6, hint_index=4)
    assert progress.next_index == 4
    leader.acknowledge(2, 3)
    assert (progress.stage, progress.match_index) == (Stage.REPLICATE, 3)
    leader.acknowledge(2, 0, accepted=False, previous_index=3, hint_index=1)
    leader.acknowledge(2, 0, accepted=False, previous_index=2, hint_index=1)
    assert (progress.stage, progress.match_index) == (Stage.REPLICATE, 3)
    leader.acknowledge(2, 0, accepted=False, previous_index=6, hint_index=2)
    assert progress.next_index >= 4


def test_who_reconnects_may_have_lost_everything() -> None:
    """What a member acknowledged in an earlier connection counts no more, and it is found where it stands now."""
    leader, follower = Bench(1, terms=[1, 1, 1]), Bench(2, terms=[1, 1, 1])
    leader.elect(2, 3)
    round_trips(leader, follower)
    assert leader.engine.replication.progress[2].match_index == 4
    empty = Bench(2, is_recovering=True)
    leader.engine.disconnected(2)
    assert leader.engine.replication.progress[2].match_index == 0
    leader.wait(0.2)
    assert round_trips(leader, empty) <= 2
    assert empty.log == leader.log


def test_the_leader_waits_for_a_follower_that_does_not_acknowledge(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes on their way are bounded; heartbeats still go, and acknowledgements open the way again."""
    monkeypatch.setattr(rsm.raft.replication, "APPEND_MESSAGE_BYTES_MAX", 100)
    monkeypatch.setattr(rsm.raft.progress, "FOLLOWER_BYTES_IN_FLIGHT_MAX", 1000)
    leader = Bench(1)
    leader.elect(2, 3)
    leader.acknowledge(2, 1)
    leader.take(AppendEntries)
    for _ in range(100):
        leader.engine.propose(bytes(50))
    leader.flush()
    sent = [message for receiver, message in leader.take(AppendEntries) if receiver == 2]
    assert all(sum(len(entry.payload) for entry in message.entries) <= 100 for message in sent)
    assert 1000 <= sum(len(entry.payload) for message in sent for entry in message.entries) < 1000 + 100
    leader.wait(0.1)
    assert any(receiver == 2 and not message.entries for receiver, message in leader.take(AppendEntries))
    leader.acknowledge(2, sent[0].entries[-1].index)
    assert [len(message.entries) for receiver, message in leader.take(AppendEntries) if receiver == 2] == [2]


# --- counting ---------------------------------------------------------------------------------------------------------


def test_only_an_entry_of_the_own_term_is_committed_by_counting() -> None:
    """Entries of earlier terms are committed with the first one of this term (dissertation, figure 3.7)."""
    leader = Bench(1, terms=[1, 1])
    leader.elect(2, 3)
    leader.acknowledge(2, 2)
    assert leader.engine.commit_index == 0
    leader.acknowledge(2, 3)
    assert leader.engine.commit_index == 3


def test_a_leader_counts_itself_when_its_own_disk_has_the_entry() -> None:
    """One acknowledgement of two followers is a majority only with the leader's own sync (fault E4)."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.engine.propose(b"x")
    leader.flush(sync=False)
    leader.engine.receive(2, reply_of(2, leader.engine.term), 0.0)
    assert leader.engine.commit_index == 1  # its first entry, which it synced when it was elected
    leader.sync()
    assert leader.engine.commit_index == 2


def reply_of(match: int, term: int) -> AppendReply:
    """Everything up to `match` is durable."""
    return AppendReply(term, True, match, match, 0, 0, False, 0, b"", 0)


def test_two_followers_commit_without_the_leaders_disk() -> None:
    """A majority is a majority; the leader applies it when its own disk has it too."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.engine.propose(b"x")
    leader.flush(sync=False)
    for number in (2, 3):
        leader.engine.receive(number, reply_of(2, leader.engine.term), 0.0)
    assert leader.engine.commit_index == 2
    leader.flush(sync=False)
    assert [entry.index for entry in leader.applied] == [1]
    leader.sync()
    leader.flush()
    assert [entry.index for entry in leader.applied] == [1, 2]


def test_the_configuration_that_counts_is_the_latest_in_the_log() -> None:
    """An added voter counts before its entry is committed; a majority is one of the new configuration."""
    leader = Bench(1, configuration_of(1, 2, learners=(3,)))
    leader.elect(2)
    leader.acknowledge(2, 1)
    leader.engine.change(configuration_of(1, 2, 3))
    leader.flush()
    assert leader.engine.commit_index == 1
    leader.acknowledge(3, 2)
    assert leader.engine.commit_index == 2


def test_learners_count_for_nothing() -> None:
    """They follow the log; neither commits nor reads wait for them or are helped by them."""
    leader = Bench(1, configuration_of(1, 2, learners=(3, 4, 5)))
    leader.elect(2)
    token = object()
    leader.engine.read(token)
    leader.flush()
    for number in (3, 4, 5):
        leader.acknowledge(number, 1, round=9)
    assert (leader.engine.commit_index, leader.reads) == (0, [])
    leader.acknowledge(2, 1, round=9)
    assert (leader.engine.commit_index, leader.reads) == (1, [(token, 1)])


def test_a_recovering_member_counts_for_nothing() -> None:
    """Neither its acknowledgements nor its echoes: it may have promised otherwise, and forgotten."""
    leader = Bench(1)
    leader.elect(2, 3)
    token = object()
    leader.engine.read(token)
    leader.flush()
    leader.acknowledge(2, 1, round=9, is_recovering=True)
    assert (leader.engine.commit_index, leader.reads) == (0, [])
    leader.acknowledge(2, 1, round=9)
    assert (leader.engine.commit_index, leader.reads) == (1, [(token, 1)])


def test_a_leader_that_removes_itself_does_not_count_itself_and_goes_when_it_is_out() -> None:
    """It leads until its removal is committed by the others (dissertation, 4.2.2), and tells a learner's like of it."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.acknowledge(2, 1)
    leader.engine.change(configuration_of(2, 3))
    leader.flush()
    leader.acknowledge(2, 2)
    assert (leader.engine.commit_index, leader.engine.is_leader) == (1, True)
    leader.acknowledge(3, 2)
    assert (leader.engine.commit_index, leader.engine.is_leader) == (2, False)
    leader.wait(5.0)
    assert not leader.engine.is_candidate


def test_a_leader_that_removes_itself_applies_its_removal_whatever_it_writes() -> None:
    """Who asked for it waits for that, and so do those whose commands are committed with it."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.acknowledge(2, 1)
    leader.engine.change(configuration_of(2, 3))
    leader.flush()
    leader.engine.propose(b"on its way to the disk")
    leader.flush(sync=False)
    leader.acknowledge(2, 2, sync=False)
    leader.acknowledge(3, 2, sync=False)
    assert (leader.engine.commit_index, leader.engine.is_leader) == (2, False)
    assert [entry.index for entry in leader.applied] == [1, 2]


def test_a_removed_member_is_told_once_that_it_is_out() -> None:
    """Otherwise it would ask for votes for ever. Then there is silence."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.acknowledge(2, 1)
    leader.engine.change(configuration_of(1, 2))
    leader.flush()
    leader.take(AppendEntries)
    leader.acknowledge(2, 2)
    assert [message.commit_index for receiver, message in leader.take(AppendEntries) if receiver == 3] == [2]
    leader.wait(0.5)
    assert 3 not in [receiver for receiver, _ in leader.take(AppendEntries)]


# --- recovering -------------------------------------------------------------------------------------------------------


def long_up(bench: Bench) -> Bench:
    """The same member, long enough after its start for any leader of before to have heard of the next one."""
    bench.now += 2 * ELECTION[1]
    return bench


def test_a_recovering_member_does_not_count_for_a_leader_that_it_may_have_replaced() -> None:
    """Before its loss it may have elected another one, of whom this leader has not heard: it would commit what that one
    overwrites. One that it votes for now is the last one that it elects.
    """
    bench = Bench(2, terms=[1], is_recovering=True)
    bench.receive(1, append(1, (1, 1), commit=1, start=1))
    assert bench.is_marked
    bench.now += 2 * ELECTION[1]
    bench.receive(1, append(1, (1, 1), commit=1, start=1))
    assert not bench.is_marked
    bench = Bench(2, terms=[1], is_recovering=True)
    bench.receive(3, RequestVote(2, 1, 1, False))
    bench.receive(3, append(2, (1, 1), batch(2, 2), commit=1, start=2))
    assert not bench.is_marked


def test_a_leader_does_not_lead_by_the_word_of_recovering_members() -> None:
    """They may have elected another one: without a majority of others it steps down."""
    leader = Bench(1)
    leader.elect(2, 3)
    for _ in range(30):
        leader.wait(HEARTBEAT)
        leader.acknowledge(2, 0, is_recovering=True)
    assert not leader.engine.is_leader


def test_a_recovering_member_has_to_reach_what_was_committed_in_this_term_too() -> None:
    """It may have acknowledged it before its loss. Were it to vote again at the leader's first entry, it could make a
    leader of a member that lacks committed entries.
    """
    bench = long_up(Bench(2, terms=[1, 1], is_recovering=True))
    message = append(1, (2, 1), commit=4, start=1)
    bench.receive(1, message)
    assert bench.is_marked
    bench.receive(1, append(1, (2, 1), batch(3, 1), commit=4, start=1))
    assert bench.is_marked
    bench.receive(1, append(1, (3, 1), batch(4, 1), commit=4, start=1), sync=False)
    assert bench.is_marked
    bench.sync()
    bench.flush()
    assert not bench.is_marked
    assert [(reply.match_index, reply.is_recovering) for reply in bench.replies()][-1] == (4, False)


def test_a_recovering_member_has_to_reach_the_start_of_the_leaders_term() -> None:
    """What earlier terms have committed lies before that, whether this leader knows it for committed or not."""
    bench = long_up(Bench(2, terms=[1, 1], is_recovering=True))
    bench.receive(1, append(3, (2, 1), commit=1, start=4))
    assert bench.is_marked
    bench.receive(1, append(3, (2, 1), batch(3, 1), batch(4, 3), commit=1, start=4))
    assert not bench.is_marked


def test_another_leader_sets_another_goal() -> None:
    """A new term begins anew: what the last leader had said about the goal is void."""
    bench = long_up(Bench(2, terms=[1, 1], is_recovering=True))
    bench.receive(1, append(3, (2, 1), commit=9, start=3))
    bench.receive(3, append(4, (2, 1), commit=2, start=5))
    bench.receive(3, append(4, (2, 1), batch(3, 4), commit=2, start=5))
    assert bench.is_marked
    bench.receive(3, append(4, (3, 4), batch(4, 4), batch(5, 4), commit=2, start=5))
    assert not bench.is_marked


# --- snapshots --------------------------------------------------------------------------------------------------------


def test_who_needs_what_is_no_longer_logged_waits_for_a_snapshot() -> None:
    """It is named in `ready` until it has one; meanwhile it gets heartbeats that say nothing of its log."""
    leader = Bench(1, base=10, terms=[1, 1])
    leader.elect(2, 3)
    leader.acknowledge(2, 0, accepted=False, previous_index=12, hint_index=4)
    assert leader.snapshots == [2]
    leader.take(AppendEntries)
    leader.wait(0.3)
    heartbeats = [message for receiver, message in leader.take(AppendEntries) if receiver == 2]
    assert heartbeats
    assert {(message.previous_index, message.previous_term, message.entries) for message in heartbeats} == {(0, 0, ())}
    leader.acknowledge(2, 0, previous_index=0)
    assert leader.snapshots == [2]
    leader.engine.snapshot_ended(2, 10)
    leader.flush()
    assert leader.snapshots == []
    leader.acknowledge(2, 10)
    assert leader.engine.replication.progress[2].stage is Stage.REPLICATE


def test_a_snapshot_that_failed_is_offered_again() -> None:
    """The member still needs it."""
    leader = Bench(1, base=10)
    leader.elect(2, 3)
    leader.acknowledge(2, 0, accepted=False, previous_index=10, hint_index=1)
    leader.engine.snapshot_ended(2, 0)
    leader.wait(0.2)
    assert leader.snapshots == [2]


def test_an_installed_snapshot_is_committed_verified_and_durable() -> None:
    """The member acknowledges it, and goes on behind it."""
    bench = Bench(2, terms=[1, 1])
    bench.receive(1, append(3, (0, 0), commit=20, start=15))
    bench.replies()
    bench.journal.reset(10, 2, configuration_of(1, 2, 3))
    bench.engine.installed(10, 2, configuration_of(1, 2, 3))
    bench.receive(1, append(3, (10, 2), batch(11, 2), commit=20, start=15))
    assert [reply.match_index for reply in bench.replies()] == [11]
    assert [entry.index for entry in bench.applied] == [11]


def test_a_log_that_reaches_to_a_snapshot_does_not_need_it() -> None:
    """Installing it would forget entries behind it that were acknowledged; a conflicting log takes it."""
    bench = Bench(2, base=3, terms=[1, 1, 2])
    assert [bench.engine.holds(*at) for at in ((2, 1), (3, 1), (5, 1), (6, 2))] == [True] * 4
    assert [bench.engine.holds(*at) for at in ((6, 3), (7, 2))] == [False] * 2


# --- a full disk ------------------------------------------------------------------------------------------------------


def test_a_follower_whose_disk_refused_committed_entries_takes_them_later() -> None:
    """It knows that they are committed, and does not take that for having them."""
    bench = Bench(2, terms=[1, 1])
    bench.journal.is_full = True
    bench.receive(1, append(1, (2, 1), batch(3, 1), batch(4, 1), commit=4))
    assert bench.log == [(1, 1), (2, 1)]
    bench.replies()
    bench.receive(1, append(1, (4, 1), batch(5, 1), commit=5))
    assert [(reply.accepted, reply.hint_index) for reply in bench.replies()] == [(False, 3)]
    bench.receive(1, append(1, (2, 1), batch(3, 1), commit=5))
    bench.journal.is_full = False
    bench.receive(1, append(1, (2, 1), batch(3, 1), batch(4, 1), batch(5, 1), commit=5))
    assert [entry.index for entry in bench.applied] == [1, 2, 3, 4, 5]
    assert [reply.match_index for reply in bench.replies()][-1] == 5


def test_a_leader_whose_disk_is_full_leads_no_longer() -> None:
    """Its proposals never were in its log, and others hold an election; it does not stand until it may again."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.journal.is_full = True
    leader.engine.propose(b"x")
    leader.flush()
    assert (leader.engine.is_leader, leader.engine.last_index, leader.engine.may_lead) == (False, 1, False)
    leader.wait(3.0)
    assert not leader.engine.is_candidate
    leader.journal.is_full, leader.engine.may_lead = False, True
    leader.elect(2, 3)
    assert leader.engine.is_leader


def test_a_refused_configuration_is_not_in_force() -> None:
    """It never was in the log."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.acknowledge(2, 1)
    leader.journal.is_full = True
    leader.engine.change(configuration_of(1, 2, 3, 4))
    leader.flush()
    assert leader.engine.configuration == configuration_of(1, 2, 3)


# --- all together -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_any_two_logs_become_one(seed: int) -> None:
    """Followers with random logs end with the leader's, and apply it."""
    chance = random.Random(seed)
    common = sorted(chance.choices(range(1, 5), k=chance.randint(0, 20)))
    tails = [[6 + 2 * chance.randint(0, 3) + odd for _ in range(chance.randint(0, 20))] for odd in (0, 1)]
    benches = {
        1: Bench(1, terms=common + sorted(tails[0]), term=20),
        2: Bench(2, terms=common + sorted(tails[1]), term=20),
        3: Bench(3, terms=common[: len(common) // 2], term=20),
    }
    benches[1].elect(2, 3)
    for _ in range(20):
        benches[1].wait(0.1)
        settle(benches)
    assert benches[1].log == benches[2].log == benches[3].log
    assert benches[1].applied == benches[2].applied == benches[3].applied
    assert len(benches[1].applied) == len(benches[1].log)
