"""One member of a cluster: PySyncObj's elections, hardened, over our replication.

Theory of operation. `Hosted` holds term, vote and role and says when an election is due; `Replication` holds the log.
This file is what lies between them: who is asked for a vote and who gets one.

*Pre-vote* (dissertation, 9.6): before it enters a new term a member asks whether it could win; so one that was cut off
does not depose a working leader when it comes back. *Stickiness* (4.2.3): who has heard from a leader within the least
election time-out votes for nobody, so a removed member cannot disturb the others. *Check quorum*: a leader that hears
from no majority for the longest time-out steps down. *Transfer* (3.10): the leader lets a member catch up and tells it
to hold an election at once, past both.

*Weak votes*: a recovering member has lost, or may have lost, part of its log, and perhaps the memory of a vote. Its
vote counts only where every voter grants one: the winner's log then reaches at least as far as any that is left, so
nothing that survives anywhere is lost, and a cluster whose disks were all cut off by the same power failure still
starts. The first start of a cluster is the same case: everybody is empty. Until it is sure that no other leader was
elected with a vote that it forgot, a recovering member does not count for a leader either: it has voted for this one
since its start, or so much time has passed that a leader without a majority of others has stepped down.
"""

from __future__ import annotations

import random

from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError
from rsm.limits import TRANSFER_SECONDS_MAX
from rsm.raft.configuration import Configuration
from rsm.raft.engine import Engine, Ready
from rsm.raft.hosted import CANDIDATE, LEADER, Hosted
from rsm.raft.log import RaftLog, Stored
from rsm.raft.messages import (
    AppendEntries,
    AppendReply,
    Message,
    PreVote,
    RequestVote,
    SnapshotAck,
    SnapshotChunk,
    SnapshotOffer,
    SnapshotResult,
    SnapshotWant,
    TimeoutNow,
    VoteReply,
)
from rsm.raft.progress import Progress, Stage
from rsm.raft.replication import Replication

__all__ = ["ClusterEngine"]

_FROM_LEADER = (AppendEntries, SnapshotOffer, SnapshotChunk)


class _Ballot:
    """Votes for one candidacy. It is won with a majority of strong votes, or with a vote of everybody."""

    def __init__(self, voters: tuple[int, ...], term: int, is_pre: bool) -> None:
        self.term = term
        self.is_pre = is_pre
        self._voters = voters
        self._granted: dict[int, bool] = {}  # voter -> whether the vote is weak

    def grant(self, voter: int, *, is_weak: bool) -> bool:
        """Count a vote, each voter once; whether the ballot is won."""
        if voter in self._voters:
            self._granted.setdefault(voter, is_weak)
        strong = sum(not is_weak for is_weak in self._granted.values())
        return strong > len(self._voters) // 2 or len(self._granted) == len(self._voters) > 0


class ClusterEngine:
    """The engine of one member. `journal` is read, never written; `configurations` are those in it, with indexes."""

    def __init__(
        self,
        node_id: int,
        journal: Stored,
        *,
        term: int,
        vote: int | None,
        configurations: list[tuple[int, Configuration]],
        commit_index: int,
        is_recovering: bool,
        now: float,
        heartbeat_seconds: float,
        election_seconds: tuple[float, float],
        chance: random.Random,
    ) -> None:
        self.node_id = node_id
        self.replication = Replication(
            node_id,
            RaftLog(journal),
            configurations,
            commit_index=commit_index,
            is_recovering=is_recovering,
            heartbeat_seconds=heartbeat_seconds,
        )
        self.replication.term = term
        self._hosted = Hosted(
            node_id,
            self,
            term=term,
            vote=vote,
            now=now,
            heartbeat_seconds=heartbeat_seconds,
            election_seconds=election_seconds,
            chance=chance,
        )
        self._election_seconds = election_seconds
        self._now = now
        self._followed = self.configuration
        self._leader_heard_at = now - election_seconds[1]
        self._settled_at = now + 2 * election_seconds[1]
        self._witnessed_term = -1  # of the last leader that this process has voted for
        self._ballot: _Ballot | None = None
        self._is_transfer = False
        self._transfer_to = 0
        self._transfer_until = 0.0
        self.may_lead = True  # not while its disk is full
        self.wall_clocks: dict[int, int] = {}  # of those who voted for this leader, in nanoseconds
        self.own_wall_clock = 0
        self._follow_voters()

    # --- state --------------------------------------------------------------------------------------------------------

    @property
    def term(self) -> int:
        """The current term."""
        return self._hosted.term

    @property
    def is_leader(self) -> bool:
        """Whether proposals are taken here."""
        return self._hosted.role == LEADER

    @property
    def is_candidate(self) -> bool:
        """Whether it stands in an election."""
        return self._hosted.role == CANDIDATE

    @property
    def leader(self) -> int | None:
        """Who leads this term, as far as this member knows."""
        return self._hosted.leader

    @property
    def is_cut_off(self) -> bool:
        """Whether no leader has been heard of for two election time-outs. `leader` may still name the last one."""
        return not self.is_leader and self._now - self._leader_heard_at > 2 * self._election_seconds[1]

    @property
    def configuration(self) -> Configuration:
        """The latest in the log, committed or not."""
        return self.replication.configuration

    def voters_at(self, index: int) -> tuple[int, ...]:
        """Who had a vote at an index of the log, as far as it still tells."""
        return self.replication.configuration_at(index).voters

    @property
    def commit_index(self) -> int:
        """Known to be committed up to here."""
        return self.replication.commit_index

    @property
    def last_index(self) -> int:
        """The end of the log."""
        return self.replication.log.last_index

    @property
    def is_transferring(self) -> bool:
        """Whether leadership is being handed over; proposals wait meanwhile."""
        return bool(self._transfer_to)

    def next_tick(self, now: float) -> float:
        """Seconds until `tick` has something to do."""
        at = self.replication.pulse_at if self.is_leader else self._hosted.deadline
        return max(0.0, at - now)

    # --- time ---------------------------------------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Time has passed."""
        self._now = now
        if self.is_leader:
            if self._transfer_to and now >= self._transfer_until:
                self._transfer_to = 0
            if self.replication.pulse_at <= now:
                self.replication.pulse(now)
        elif self._hosted.deadline < now:
            self._hosted.postpone(now)
            self._is_transfer = False
            if self.may_lead and self._may_stand:
                self._ask(_Ballot(self.configuration.voters, self.term + 1, True))
        self._hosted.tick(now)

    @property
    def _may_stand(self) -> bool:
        """Whether it is a voter, or would be one if its removal came to nothing: until that is committed it may be the
        only one that can win, since its log is the longest (4.2.2). It does not count its own vote then.
        """
        replication = self.replication
        if self.node_id in self.configuration.voters:
            return True
        return replication.configuration_index > replication.commit_index and (
            self.node_id in replication.previous_configuration.voters
        )

    def _ask(self, ballot: _Ballot) -> None:
        """Open a ballot with the own vote, and ask the others."""
        self._ballot = ballot
        log = self.replication.log
        message: Message
        if ballot.is_pre:
            message = PreVote(ballot.term, log.last_index, log.last_term)
        else:
            message = RequestVote(ballot.term, log.last_index, log.last_term, self._is_transfer)
            self.wall_clocks = {self.node_id: self.own_wall_clock}
        for number in self.configuration.voters:
            if number != self.node_id:
                self.replication.outbox.append((number, message))
        self._count(ballot, self.node_id, self.replication.is_recovering)

    def _campaign(self) -> None:
        self._follow_voters()  # the log may have brought others since `ready`
        self._hosted.campaign(self._now)

    def _count(self, ballot: _Ballot, voter: int, is_weak: bool) -> None:
        if not ballot.grant(voter, is_weak=is_weak) or self._ballot is not ballot:
            return
        self._ballot = None
        if ballot.is_pre:
            self._campaign()
            return
        if self._hosted.role != LEADER:
            self._hosted.win(self._now)

    # --- what PySyncObj asks of its host ------------------------------------------------------------------------------

    def request_votes(self, term: int) -> None:
        """It has become a candidate, in a new term and with its own vote."""
        self.replication.new_term(term)
        self._ask(_Ballot(self.configuration.voters, term, False))

    def elected(self) -> None:
        """It has become the leader."""
        if self.replication.term != self.term:  # a group of one asks nobody
            self.replication.new_term(self.term)
            self.wall_clocks = {self.node_id: self.own_wall_clock}
        self._transfer_to, self._is_transfer = 0, False
        self._follow_voters()
        self.replication.lead(self._now)

    def deposed(self) -> None:
        """It leads no longer."""
        self._transfer_to = 0
        self.replication.stop_leading()

    def pulse(self) -> None:
        """PySyncObj's own heartbeat is due; ours may have been sent meanwhile."""
        if self.is_leader and self.replication.pulse_at <= self._now:
            self.replication.pulse(self._now)

    # --- messages -----------------------------------------------------------------------------------------------------

    def receive(self, sender: int, message: Message, now: float) -> None:
        """A message of another member. Those about snapshots are for the shell, once this has seen their terms."""
        self._now = now
        if isinstance(message, PreVote):
            self._vote(sender, message, is_pre=True, is_transfer=False)
            return
        if isinstance(message, RequestVote):
            self._vote(sender, message, is_pre=False, is_transfer=message.is_transfer)
            return
        if isinstance(message, VoteReply) and message.is_pre and message.granted:
            self._receive_vote(sender, message)
            return
        if message.term > self.term:
            self._enter(message.term)
        elif message.term < self.term:
            if isinstance(message, _FROM_LEADER):
                # A leader of the past learns that it is one.
                self.replication.outbox.append(
                    (sender, AppendReply(self.term, False, 0, 0, 0, 0, self.replication.is_recovering, 0, b"", 0))
                )
            return
        if isinstance(message, _FROM_LEADER):
            self._leader_heard_at = now
            self._ballot = None
            if not self.is_leader:
                self._hosted.follow(sender, now)
        if isinstance(message, AppendEntries):
            self.replication.is_settled = now >= self._settled_at or self._witnessed_term == self.term
            self.replication.receive_append(sender, message)
        elif isinstance(message, VoteReply):
            self._receive_vote(sender, message)
        elif isinstance(message, TimeoutNow):
            if sender == self.leader and self.may_lead and self.node_id in self.configuration.voters:
                self._is_transfer = True
                self._campaign()
        elif self.is_leader and isinstance(message, AppendReply | SnapshotWant | SnapshotAck | SnapshotResult):
            if sender in self.configuration.voters and not self._is_unsure(message):
                self._hosted.heard(sender, now)
            if isinstance(message, AppendReply):
                self.replication.receive_reply(sender, message, now)
                self._continue_transfer()

    @staticmethod
    def _is_unsure(message: Message) -> bool:
        """Whether it says nothing of who leads: a recovering member may have forgotten that it elected another."""
        return isinstance(message, AppendReply) and message.is_recovering

    def _enter(self, term: int, vote: int | None = None) -> None:
        self._ballot = None
        self._is_transfer = False
        is_new = term != self.term
        self._hosted.enter(term, vote)
        if is_new:
            self.replication.new_term(term)

    def _vote(self, sender: int, request: PreVote | RequestVote, *, is_pre: bool, is_transfer: bool) -> None:
        log = self.replication.log
        is_sticky = not is_transfer and (
            self.is_leader or self._now - self._leader_heard_at < self._election_seconds[0]
        )
        if is_sticky and request.term > self.term:
            if is_pre:
                self._answer(sender, self.term, is_pre, False)
            return
        if not is_pre and request.term > self.term:
            self._enter(request.term)
        is_current = (request.last_term, request.last_index) >= (log.last_term, log.last_index)
        is_free = is_pre or self._hosted.vote in (None, sender)
        granted = request.term > self.term if is_pre else request.term == self.term and not self.is_leader
        granted = granted and is_current and is_free
        if granted and not is_pre:
            if self._hosted.vote != sender:
                self._hosted.enter(self.term, sender)
            self._witnessed_term = request.term
            self._hosted.postpone(self._now)
        self._answer(sender, request.term if granted else self.term, is_pre, granted)

    def _answer(self, sender: int, term: int, is_pre: bool, granted: bool) -> None:
        reply = VoteReply(term, is_pre, granted, self.replication.is_recovering, self.own_wall_clock)
        self.replication.outbox.append((sender, reply))

    def _receive_vote(self, sender: int, reply: VoteReply) -> None:
        ballot = self._ballot
        if reply.granted and ballot is not None and (ballot.term, ballot.is_pre) == (reply.term, reply.is_pre):
            if not reply.is_pre:
                self.wall_clocks[sender] = reply.wall_clock
            self._count(ballot, sender, reply.is_weak)

    def disconnected(self, member: int) -> None:
        """The connection to a member broke: what was on its way is lost."""
        self.replication.disconnected(member)

    # --- leading ------------------------------------------------------------------------------------------------------

    def propose(self, payload: bytes, kind: RecordKind = RecordKind.BATCH) -> Entry:
        """Add an entry to the log; `CallerError` where proposals are not taken."""
        if not self.is_leader or self._transfer_to:
            raise CallerError("proposals are taken by the leader only, and not while it hands over")
        return self.replication.propose(payload, kind)

    def change(self, configuration: Configuration) -> Entry:
        """Propose another configuration; `CallerError` if it cannot follow the present one now."""
        self.replication.check_change(configuration)
        entry = self.propose(configuration.encode(), RecordKind.CONFIGURATION)
        self._follow_voters()
        return entry

    def read(self, token: object) -> None:
        """A linearizable read at this leader: `token` comes out of `ready` with the index at which it may run."""
        if not self.is_leader:
            raise CallerError("linearizable reads are made at the leader")
        self.replication.read(token)

    def announce_commit(self, now: float) -> None:
        """Tell the others at once what is committed: somebody waits for what they make of it."""
        if self.is_leader:
            self.replication.pulse(now)

    def transfer(self, member: int) -> None:
        """Hand leadership over to this voter, when it has caught up."""
        if not self.is_leader or member == self.node_id or member not in self.configuration.voters:
            raise CallerError(f"leadership can be handed to another voter only, and node {member} is none")
        self._transfer_to = member
        self._transfer_until = self._now + TRANSFER_SECONDS_MAX
        self._continue_transfer()

    def _continue_transfer(self) -> None:
        progress = self.replication.progress.get(self._transfer_to)
        if progress is not None and progress.match_index == self.last_index:
            self.replication.outbox.append((self._transfer_to, TimeoutNow(self.term)))

    def step_down(self) -> None:
        """Lead no longer: this member's disk is full, or it is closing. Others will hold an election."""
        if self.is_leader:
            self._hosted.step_down()
            self._hosted.postpone(self._now)

    def progress(self, member: int) -> Progress | None:
        """What this leader knows of another member."""
        return self.replication.progress.get(member)

    # --- the shell ----------------------------------------------------------------------------------------------------

    def durable(self, index: int) -> None:
        """The own journal is synced up to `index`."""
        self.replication.durable(index)
        if not self.is_leader and self.leader is not None:
            self.replication.acknowledge_durable(self.leader)

    def refused(self, index: int) -> None:
        """The journal took no entry from `index` on (a full disk)."""
        self.may_lead = False
        self.replication.refuse(index)
        self.step_down()

    def report(self, applied_index: int, root_index: int, root: bytes) -> None:
        """What this member has applied; it goes out with its replies."""
        replication = self.replication
        is_news = root_index > replication.root_index
        replication.applied_index, replication.root_index, replication.root = applied_index, root_index, root
        replication.log.forget(applied_index)
        if is_news and not self.is_leader and self.leader is not None:
            replication.acknowledge_root(self.leader)

    def installed(self, index: int, term: int, configuration: Configuration) -> None:
        """A snapshot was installed and the journal reset behind it."""
        self.replication.restart_after(index, term, configuration)
        self._follow_voters()

    def holds(self, index: int, term: int) -> bool:
        """Whether the log has this entry. Then it needs no snapshot of that index, and must not take one: it would
        forget entries behind it that it has acknowledged.
        """
        return self.replication.holds(index, term)

    def snapshot_ended(self, member: int, index: int) -> None:
        """A member has a snapshot of `index`, or does not want it after all."""
        self.replication.snapshot_installed(member, index)

    def ready(self) -> Ready:
        """Take what is to be done; each thing is named once."""
        replication, hosted = self.replication, self._hosted
        is_removed = False
        if replication.is_leading:
            replication.pump()
            is_committed = replication.configuration_index <= self.commit_index
            is_removed = is_committed and self.node_id not in self.configuration.voters
        # While it leads still: who waits for its removal, or for what is committed with it, is to be told.
        committed = replication.take_committed()
        if is_removed:
            hosted.step_down()
        hard_state = None
        if hosted.is_hard_state_new:
            hosted.is_hard_state_new = False
            hard_state = hosted.term, hosted.vote
        truncate_from, persist = replication.log.take()
        if self.configuration is not self._followed:
            self._follow_voters()
        messages, replication.outbox = replication.outbox, []
        has_recovered, replication.has_recovered = replication.has_recovered, False
        waiting = [number for number, one in sorted(replication.progress.items()) if one.stage is Stage.SNAPSHOT]
        return Ready(
            persist,
            committed,
            hard_state,
            truncate_from,
            messages,
            replication.take_reads(),
            waiting,
            has_recovered,
        )

    def _follow_voters(self) -> None:
        self._followed = self.configuration
        others = [number for number in self.configuration.voters if number != self.node_id]
        self._hosted.set_voters(others, self._now)


_SEAM: type[Engine] = ClusterEngine  # for type checkers to hold it to the seam
