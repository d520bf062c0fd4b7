"""Who leads: pre-votes, votes, weak votes, stickiness, transfers, and what becomes of reads when leadership ends."""

from __future__ import annotations

import msgspec
import pytest

from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError
from rsm.limits import TRANSFER_SECONDS_MAX
from rsm.raft.configuration import Member
from rsm.raft.messages import AppendEntries, AppendReply, Message, PreVote, RequestVote, TimeoutNow, VoteReply
from tests.unit.raft.bench import Bench, append, batch, group, settle
from tests.unit.raft.network import ELECTION, configuration_of


def votes(bench: Bench) -> list[VoteReply]:
    """Its answers to candidates since the last call."""
    return [message for _, message in bench.take(VoteReply)]


# --- elections --------------------------------------------------------------------------------------------------------


def test_a_group_elects_one_leader_and_commits() -> None:
    """Three members, of whom nobody has led before."""
    benches = group(1, 2, 3, is_recovering=True)
    for _ in range(60):
        for bench in benches.values():
            bench.wait(0.05)
        settle(benches)
    assert sum(bench.engine.is_leader for bench in benches.values()) == 1
    assert {bench.engine.commit_index for bench in benches.values()} == {1}
    assert not any(bench.is_marked for bench in benches.values())


def test_one_that_is_alone_leads_at_once() -> None:
    """A group of one needs nobody, counts its own disk only, and is no longer recovering when its first entry is
    durable there.
    """
    bench = Bench(1, configuration_of(1), is_recovering=True)
    bench.wait(2 * ELECTION[1])
    assert bench.engine.is_leader
    assert (bench.engine.commit_index, bench.is_marked) == (1, False)


def test_nobody_enters_a_term_that_it_could_not_win() -> None:
    """One that is cut off asks again and again, and its term stays: it deposes nobody when it comes back."""
    bench = Bench(1, term=5)
    bench.wait(30.0)
    asked = bench.take(PreVote)
    assert len(asked) > 10
    assert {message.term for _, message in asked} == {6}
    assert bench.engine.term == 5


def test_a_pre_vote_changes_nothing_at_the_one_who_is_asked() -> None:
    """Neither its term nor its vote; and it may be promised to several."""
    bench = Bench(1, term=5)
    bench.wait(0.3)
    bench.receive(2, PreVote(9, 0, 0))
    bench.receive(3, PreVote(9, 0, 0))
    assert [(vote.term, vote.granted) for vote in votes(bench)] == [(9, True), (9, True)]
    assert (bench.engine.term, bench.term, bench.vote) == (5, 5, None)


def test_a_vote_is_on_the_disk_before_it_is_given() -> None:
    """Term and vote come with the reply in one `ready`, and before it by its order; then nobody else gets one."""
    bench = Bench(1)
    bench.wait(0.3)
    bench.engine.receive(2, RequestVote(7, 0, 0, False), bench.now)
    ready = bench.engine.ready()
    assert ready.hard_state == (7, 2)
    assert [(receiver, message) for receiver, message in ready.messages if isinstance(message, VoteReply)] == [
        (2, VoteReply(7, False, True, False, 0))
    ]
    bench.receive(3, RequestVote(7, 9, 7, False))
    bench.receive(2, RequestVote(7, 0, 0, False))
    assert [vote.granted for vote in votes(bench)] == [False, True]


@pytest.mark.parametrize("is_pre", [True, False])
@pytest.mark.parametrize(
    ("last", "granted"), [((3, 2), True), ((2, 3), True), ((4, 2), True), ((2, 2), False), ((9, 1), False)]
)
def test_only_a_log_that_is_as_complete_gets_a_vote(is_pre: bool, last: tuple[int, int], granted: bool) -> None:
    """The later last term wins, and of equal ones the longer log (dissertation, 3.6.1)."""
    bench = Bench(1, terms=[1, 2, 2])
    bench.wait(0.3)
    bench.receive(2, PreVote(7, *last) if is_pre else RequestVote(7, *last, False))
    assert [vote.granted for vote in votes(bench)] == [granted]


def test_a_late_vote_of_an_earlier_ballot_counts_for_nothing() -> None:
    """It is of another term, or of the pre-vote (fault E2)."""
    bench = Bench(1, configuration_of(1, 2, 3, 4, 5))
    bench.elect()
    assert bench.engine.term == 0
    bench.receive(2, VoteReply(1, True, True, False, 0))
    bench.receive(3, VoteReply(1, True, True, False, 0))
    assert (bench.engine.term, bench.engine.is_candidate) == (1, True)
    for voter in (2, 3, 4, 5):
        bench.receive(voter, VoteReply(1, True, True, False, 0))
    assert not bench.engine.is_leader
    bench.receive(2, VoteReply(1, False, True, False, 0))
    bench.receive(2, VoteReply(1, False, True, False, 0))
    assert not bench.engine.is_leader
    bench.receive(3, VoteReply(1, False, True, False, 0))
    assert bench.engine.is_leader


def test_votes_of_those_who_do_not_vote_are_not_counted() -> None:
    """Learners, strangers and removed members."""
    bench = Bench(1, configuration_of(1, 2, 3, learners=(4,)))
    bench.elect(4, 7, 8)
    assert (bench.engine.term, bench.engine.is_leader) == (0, False)


def test_a_learner_never_stands() -> None:
    """It has no vote to give itself; but it gives one to whoever asks, for it may not know yet that it has one."""
    bench = Bench(4, configuration_of(1, 2, 3, learners=(4,)))
    bench.wait(10.0)
    assert bench.take(PreVote) == []
    bench.receive(1, RequestVote(3, 0, 0, False))
    assert [vote.granted for vote in votes(bench)] == [True]


def test_one_whose_removal_is_not_committed_still_stands() -> None:
    """Its log may be the longest, so that nobody else can win (dissertation, 4.2.2). It does not count its own vote,
    and it goes when its removal is committed.
    """
    bench = Bench(1, terms=[1])
    out = Entry(2, 1, RecordKind.CONFIGURATION, configuration_of(2, 3).encode())
    bench.receive(2, append(1, (1, 1), out, commit=1))
    bench.elect(2)
    assert not bench.engine.is_leader
    bench.elect(2, 3)
    assert bench.engine.is_leader
    bench.acknowledge(2, 3)
    assert bench.engine.is_leader
    bench.acknowledge(3, 3)
    assert not bench.engine.is_leader
    bench.take(Message)
    bench.wait(5.0)
    assert bench.take(PreVote) == []


def test_a_voter_alone_in_a_configuration_that_was_replaced_does_not_elect_itself() -> None:
    """The log may bring voters between two `ready`s: whoever stands asks those of the latest configuration."""
    bench = Bench(1, configuration_of(1))
    bench.wait(2 * ELECTION[1])
    term = bench.engine.term
    bench.engine.receive(2, append(term + 1, (1, term)), bench.now)
    entry = configuration_of(1, 2, 3).encode()
    bench.engine.receive(2, append(term + 1, (1, term), Entry(2, term + 1, RecordKind.CONFIGURATION, entry)), bench.now)
    bench.engine.receive(2, TimeoutNow(term + 1), bench.now)
    assert not bench.engine.is_leader
    bench.flush()
    assert [receiver for receiver, _ in bench.take(RequestVote)] == [2, 3]


# --- those who disturb ------------------------------------------------------------------------------------------------


def test_who_hears_a_leader_votes_for_nobody_else() -> None:
    """Neither in a pre-vote nor in a vote, of whatever term, until the least time-out has passed in silence."""
    bench = Bench(1, terms=[1])
    bench.receive(2, append(1, (1, 1)))
    bench.receive(3, PreVote(9, 5, 5))
    bench.receive(3, RequestVote(9, 5, 5, False))
    assert [vote.granted for vote in votes(bench)] == [False]
    assert bench.engine.term == 1
    bench.now += ELECTION[0]
    bench.receive(3, RequestVote(9, 5, 5, False))
    assert [vote.granted for vote in votes(bench)] == [True]


def test_one_that_hears_of_no_leader_for_long_is_cut_off() -> None:
    """Two election time-outs after the last word of one, whom it still takes for the leader; a leader never is."""
    bench = Bench(1, terms=[1])
    bench.receive(2, append(1, (1, 1)))
    bench.wait(2 * ELECTION[1] - 0.1)
    assert not bench.engine.is_cut_off
    bench.wait(0.2)
    assert bench.engine.is_cut_off
    assert bench.engine.leader == 2
    bench.receive(2, append(1, (1, 1)))
    assert not bench.engine.is_cut_off
    alone = Bench(1, configuration_of(1))
    alone.wait(10 * ELECTION[1])
    assert not alone.engine.is_cut_off


def test_a_leader_with_a_majority_is_not_disturbed() -> None:
    """It ignores candidates while it hears from its members."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.receive(3, RequestVote(9, 5, 5, False))
    leader.receive(3, PreVote(9, 5, 5))
    assert (leader.engine.is_leader, leader.engine.term) == (True, 1)


def test_a_leader_without_a_majority_steps_down() -> None:
    """After the longest election time-out of silence (check quorum); one follower of two is enough to stay."""
    leader = Bench(1)
    leader.elect(2, 3)
    for _ in range(30):
        leader.acknowledge(3, 1)
        leader.wait(0.1)
    assert leader.engine.is_leader
    leader.wait(ELECTION[1] + 0.1)
    assert not leader.engine.is_leader


def test_a_leader_of_the_past_learns_that_it_is_one() -> None:
    """Its messages are answered with the present term, and with nothing that it could count."""
    bench = Bench(1, terms=[1], term=4)
    bench.receive(2, append(3, (1, 1), batch(2, 3)))
    replies = [message for _, message in bench.take(AppendReply)]
    assert [(reply.term, reply.accepted, reply.match_index) for reply in replies] == [(4, False, 0)]
    assert bench.log == [(1, 1)]
    leader = Bench(2)
    leader.elect(1, 3)
    leader.receive(1, replies[0])
    assert (leader.engine.is_leader, leader.engine.term) == (False, 4)


def test_an_acknowledgement_of_another_term_is_not_counted() -> None:
    """Replies carry their term: a late one is nothing to the next leadership of the same node (fault E2)."""
    leader = Bench(1, terms=[1, 1, 1])
    leader.elect(2, 3)
    late = AppendReply(leader.engine.term - 1, True, 9, 9, 0, 99, False, 0, b"", 0)
    leader.engine.read(object())
    leader.flush()
    leader.receive(2, late)
    assert (leader.engine.commit_index, leader.reads) == (0, [])
    assert leader.engine.replication.progress[2].match_index == 0


# --- recovering members -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("voters", "strong", "weak", "wins"),
    [
        ((1, 2, 3), (), (), False),
        ((1, 2, 3), (2,), (), True),
        ((1, 2, 3), (), (2,), False),
        ((1, 2, 3), (), (2, 3), True),
        ((1, 2, 3, 4, 5), (2,), (3, 4), False),
        ((1, 2, 3, 4, 5), (2,), (3, 4, 5), True),
        ((1, 2, 3, 4, 5), (2, 3), (), True),
    ],
)
def test_weak_votes_count_only_when_everybody_grants_one(
    voters: tuple[int, ...], strong: tuple[int, ...], weak: tuple[int, ...], wins: bool
) -> None:
    """A majority of strong votes, or a vote of all; the candidate's own is strong here."""
    bench = Bench(1, configuration_of(*voters))
    bench.elect()
    for is_pre in (True, False):
        for voter in strong + weak:
            bench.receive(voter, VoteReply(1, is_pre, True, voter in weak, 0))
    assert bench.engine.is_leader == wins


def test_a_recovering_member_says_that_its_vote_is_weak() -> None:
    """Whoever asks has to know; and the vote that it gives itself is weak as well."""
    bench = Bench(1, configuration_of(1, 2, 3, 4, 5), is_recovering=True)
    bench.wait(0.3)
    bench.receive(2, RequestVote(7, 0, 0, False))
    assert [(vote.granted, vote.is_weak) for vote in votes(bench)] == [(True, True)]
    candidate = Bench(1, configuration_of(1, 2, 3, 4, 5), is_recovering=True)
    candidate.elect(2, 3)
    assert not candidate.engine.is_leader
    candidate.elect(2, 3, 4)
    assert candidate.engine.is_leader


def test_an_elected_member_is_no_longer_recovering_when_its_first_entry_is_durable() -> None:
    """A majority of strong votes says that it holds whatever was committed; its own disk has to hold it too, before it
    counts itself. Did it never count itself, a group with a bare majority left would stand still.
    """
    leader = Bench(1, configuration_of(1, 2, 3, 4, 5), is_recovering=True)
    leader.elect(2, 3, 4)
    assert leader.engine.is_leader
    assert not leader.is_marked
    leader.acknowledge(2, 1)
    assert leader.engine.commit_index == 0
    leader.acknowledge(3, 1)
    assert leader.engine.commit_index == 1


def test_an_elected_member_recovers_no_earlier_than_its_disk() -> None:
    """What it won the election with may not be on its disk yet: a power cut would take it, and the mark with it."""
    leader = Bench(1, configuration_of(1, 2, 3), terms=[1], is_recovering=True)
    leader.receive(2, append(1, (1, 1), batch(2, 1), batch(3, 1), commit=3, start=3), sync=False)
    leader.engine.receive(2, TimeoutNow(1), leader.now)
    leader.flush(sync=False)
    for voter in (2, 3):
        leader.receive(voter, VoteReply(2, False, True, False, 0), sync=False)
    assert (leader.engine.is_leader, leader.is_marked) == (True, True)
    leader.sync()
    leader.flush()
    assert not leader.is_marked


def test_the_loss_of_one_disk_loses_nothing_that_was_committed() -> None:
    """Entry 3 is committed by 1 and 2, then 2 loses it, comes back in the same term, and 1 fails. While 2 lacks what
    was committed, its vote does not make a leader of 3, which never had the entry.
    """
    benches = group(1, 2, 3, terms=[1])
    benches[1].elect(2, 3)
    leader = benches[1].engine
    for bench in benches.values():
        bench.wait(0.05)
    settle(benches)
    assert leader.commit_index == 2
    pair = {1: benches[1], 2: benches[2]}
    leader.propose(b"committed without 3")
    benches[1].flush()
    benches[3].take(Message)
    settle(pair)
    assert leader.commit_index == 3
    lost = Bench(2, configuration_of(1, 2, 3), is_recovering=True, term=benches[2].term, vote=benches[2].vote)
    lost.journal.append(benches[2].journal.entries[:2])
    lost.restart()
    leader.disconnected(2)
    lost.now = benches[1].now
    benches[1].wait(0.1)
    (heartbeat, *_) = [message for receiver, message in benches[1].take(AppendEntries) if receiver == 2]
    lost.receive(1, heartbeat)
    for _, reply in lost.take(AppendReply):
        benches[1].receive(2, reply)
    (heartbeat, *_) = [message for receiver, message in benches[1].take(AppendEntries) if receiver == 2]
    assert heartbeat.previous_index == 2
    lost.receive(1, msgspec.structs.replace(heartbeat, entries=()))
    lost.now += 5.0
    lost.take(Message)
    lost.receive(3, RequestVote(leader.term + 1, 2, leader.term, False))
    assert [(vote.granted, vote.is_weak) for vote in votes(lost)] == [(True, True)]


def test_a_member_restarted_empty_in_the_same_term_is_filled_again() -> None:
    """It has forgotten its term, its vote and its log: it votes weakly, counts for nothing, and catches up."""
    benches = group(1, 2, 3)
    benches[1].elect(2, 3)
    settle(benches)
    benches[1].engine.propose(b"x")
    benches[1].flush()
    settle(benches)
    benches[2] = Bench(2, is_recovering=True, term=0)
    benches[1].engine.disconnected(2)
    for _ in range(5):
        benches[1].wait(0.1)
        settle(benches)
    assert benches[2].log == benches[1].log
    assert benches[2].is_marked
    benches[2].now += 2 * ELECTION[1]
    benches[1].wait(0.1)
    settle(benches)
    assert not benches[2].is_marked
    assert benches[1].engine.replication.progress[2].match_index == 2


# --- transfer ---------------------------------------------------------------------------------------------------------


def test_leadership_is_handed_over_to_one_that_has_everything() -> None:
    """The target is told when it has caught up, and not before; it is elected at once, past stickiness."""
    benches = group(1, 2, 3)
    benches[1].elect(2, 3)
    benches[1].engine.propose(b"x")
    benches[1].engine.transfer(3)
    assert benches[1].take(TimeoutNow) == []
    with pytest.raises(CallerError):
        benches[1].engine.propose(b"y")
    benches[1].wait(0.1)
    settle(benches, 40)
    assert (benches[3].engine.is_leader, benches[1].engine.leader) == (True, 3)
    assert benches[3].engine.term == 2


def test_a_transfer_that_takes_too_long_is_given_up() -> None:
    """The leader then takes proposals again."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.engine.transfer(3)
    for _ in range(int(TRANSFER_SECONDS_MAX / 0.1) + 2):
        leader.acknowledge(2, 1)
        leader.wait(0.1)
    assert (leader.engine.is_leader, leader.engine.is_transferring) == (True, False)
    leader.engine.propose(b"x")


@pytest.mark.parametrize("target", [1, 4, 9])
def test_leadership_is_handed_to_another_voter_only(target: int) -> None:
    """Not to itself, a learner or a stranger."""
    leader = Bench(1, configuration_of(1, 2, 3, learners=(4,)))
    leader.elect(2, 3)
    with pytest.raises(CallerError, match="another voter"):
        leader.engine.transfer(target)


@pytest.mark.parametrize("sender", [3, 9])
def test_only_the_leader_can_ask_for_an_election(sender: int) -> None:
    """A TimeoutNow of anybody else, or for a member with a full disk, is not heeded."""
    bench = Bench(1, terms=[1])
    bench.receive(2, append(1, (1, 1)))
    bench.receive(sender, TimeoutNow(1))
    assert bench.take(RequestVote) == []
    bench.engine.may_lead = False
    bench.receive(2, TimeoutNow(1))
    assert bench.take(RequestVote) == []


def test_a_transfer_that_failed_does_not_make_later_elections_urgent() -> None:
    """Past stickiness goes only the election that the leader asked for."""
    bench = Bench(1, terms=[1])
    bench.receive(2, append(1, (1, 1)))
    bench.receive(2, TimeoutNow(1))
    assert [message.is_transfer for _, message in bench.take(RequestVote)] == [True, True]
    bench.elect(3)
    bench.take(Message)
    assert bench.engine.is_leader
    other = Bench(1, configuration_of(1, 2, 3, 4, 5), terms=[1])
    other.receive(2, append(1, (1, 1)))
    other.receive(2, TimeoutNow(1))
    other.take(Message)
    asked = other.stand()
    for voter in (3, 4):
        other.receive(voter, VoteReply(asked, True, True, False, 0))
    assert {message.is_transfer for _, message in other.take(RequestVote)} == {False}


# --- membership -------------------------------------------------------------------------------------------------------


def test_one_change_at_a_time_and_none_before_the_first_commit() -> None:
    """A leader has to commit an entry of its term first (the erratum of the dissertation's single-server changes)."""
    leader = Bench(1)
    leader.elect(2, 3)
    with pytest.raises(CallerError, match="has not committed"):
        leader.engine.change(configuration_of(1, 2, 3, 4))
    leader.acknowledge(2, 1)
    leader.engine.change(configuration_of(1, 2, 3, learners=(4,)))
    with pytest.raises(CallerError, match="another change"):
        leader.engine.change(configuration_of(1, 2))
    leader.flush()
    leader.acknowledge(2, 2)
    with pytest.raises(CallerError, match="one voter at a time"):
        leader.engine.change(configuration_of(1, 4))
    leader.engine.change(configuration_of(1, 2))


def test_a_new_member_is_sent_the_log_before_its_entry_is_committed() -> None:
    """It follows as soon as the leader has logged it, and its progress says when it has caught up."""
    leader = Bench(1, terms=[1, 1])
    leader.elect(2, 3)
    leader.acknowledge(2, 3)
    joining = leader.engine.configuration.with_member(Member(4, "", "", False, True))
    leader.engine.change(joining)
    leader.flush()
    leader.take(Message)
    assert leader.engine.commit_index == 3
    leader.acknowledge(4, 0, accepted=False, previous_index=4, hint_index=1)
    sent = [message for receiver, message in leader.take(AppendEntries) if receiver == 4]
    assert [entry.index for entry in sent[0].entries] == [1, 2]  # those of the journal
    leader.acknowledge(4, 4)
    progress = leader.engine.progress(4)
    assert progress is not None
    assert progress.match_index == 4
    assert leader.engine.commit_index == 3


# --- reads ------------------------------------------------------------------------------------------------------------


def test_reads_share_a_barrier_and_wait_for_the_next_one_when_they_come_later() -> None:
    """An echo counts for the reads that came before its round was sent, and for no other."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.acknowledge(2, 1)
    leader.engine.read("a")
    leader.engine.read("b")
    leader.take(Message)
    leader.flush()
    (first,) = {message.round for _, message in leader.take(AppendEntries)}
    leader.engine.read("c")
    leader.flush()
    assert leader.reads == []
    leader.acknowledge(2, 1, round=first)
    assert leader.reads == [("a", 1), ("b", 1)]
    (second,) = {message.round for _, message in leader.take(AppendEntries)}
    assert second > first
    leader.acknowledge(3, 1, round=first)
    assert leader.reads == [("a", 1), ("b", 1)]
    leader.acknowledge(3, 1, round=second)
    assert leader.reads[2:] == [("c", 1)]


def test_a_read_needs_an_entry_of_the_own_term() -> None:
    """Before it a leader does not know what is committed: the read waits for that entry to be applied."""
    leader = Bench(1, terms=[1, 1])
    leader.elect(2, 3)
    leader.engine.read("a")
    leader.flush()
    leader.acknowledge(2, 0, previous_index=0, round=1)
    assert leader.reads == [("a", 3)]
    assert leader.engine.commit_index == 0


def test_an_echo_that_was_lost_comes_with_the_next_heartbeat() -> None:
    """A barrier does not hang because a connection broke."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.acknowledge(2, 1)
    leader.engine.read("a")
    leader.flush()
    leader.engine.disconnected(2)
    leader.take(Message)
    leader.wait(0.2)
    ((_, heartbeat), *_) = leader.take(AppendEntries)
    leader.acknowledge(2, 1, round=heartbeat.round)
    assert leader.reads == [("a", 1)]


def test_a_deposed_leader_answers_no_read() -> None:
    """Neither those that wait nor those whose barrier is on its way; and it takes no new ones."""
    leader = Bench(1)
    leader.elect(2, 3)
    leader.acknowledge(2, 1)
    leader.engine.read("on its way")
    leader.flush()
    leader.engine.read("waiting")
    term = leader.engine.term
    leader.receive(3, append(term + 1, (1, term), batch(2, term + 1)))
    leader.receive(2, AppendReply(term, True, 1, 1, 0, 9, False, 0, b"", 0))
    leader.receive(2, AppendReply(term + 1, True, 1, 1, 0, 9, False, 0, b"", 0))
    leader.wait(0.3)
    assert leader.reads == []
    with pytest.raises(CallerError, match="at the leader"):
        leader.engine.read("new")


def test_a_group_of_one_reads_at_once() -> None:
    """Nobody else could have been elected."""
    bench = Bench(1, configuration_of(1))
    bench.wait(2 * ELECTION[1])
    bench.engine.read("a")
    bench.flush()
    assert bench.reads == [("a", 1)]
