"""Raft without elections: how a leader gets its log onto the others, and how they take it.

Theory of operation. Input are messages, time and the disk's progress; output is what `outbox`, `committed`, `reads` and
the log's `take` name. Nothing here waits, reads a clock or logs.

A follower cuts its log only where an entry really conflicts (fault E1 of PySyncObj), acknowledges only what is durable
and known to equal the leader's log, and answers at once, so that a slow disk delays acknowledgements and no heartbeat.
A leader counts itself like any other: when its own disk has the entry (E4). An entry is committed when a majority of
the voters of the *latest* configuration has it and it is of the leader's term; a removed leader does not count itself.

A *recovering* member (its disk lost something) does not count, neither for commits nor for reads, until it holds the
leader's log as it was at the election, `start_index` included, and as far as the leader had committed it when it first
spoke to this process. The former is, by Raft's leader completeness, what earlier terms have committed; the latter is
what this term has committed, perhaps because of acknowledgements that this member gave before its loss. A member that
is elected holds all of that once its own first entry is durable.
"""

from __future__ import annotations

import math
from typing import Any

from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError, DivergenceError
from rsm.limits import APPEND_MESSAGE_BYTES_MAX, APPLY_BYTES, COMMIT_NOTICE_SECONDS
from rsm.raft.configuration import Configuration, decode_configuration
from rsm.raft.log import RaftLog
from rsm.raft.messages import AppendEntries, AppendReply, Message
from rsm.raft.progress import Progress, Stage

__all__ = ["Replication"]


class Replication:
    """The log of one member, the configuration in it, and, while it leads, the others' progress."""

    def __init__(
        self,
        node_id: int,
        log: RaftLog,
        configurations: list[tuple[int, Configuration]],
        *,
        commit_index: int,
        is_recovering: bool,
        heartbeat_seconds: float,
    ) -> None:
        self.node_id = node_id
        self.log = log
        self.term = 0
        self.is_leading = False
        self.is_recovering = is_recovering
        self.has_recovered = False  # news for the shell
        self.is_settled = True  # whether the leader is surely the last one that this member has helped to elect
        self.commit_index = commit_index
        self.taken_index = commit_index  # handed out for apply up to here
        self.start_index = 0  # where the log ended when this leader, or the one we follow, was elected
        self.progress: dict[int, Progress] = {}
        self.outbox: list[tuple[int, Message]] = []
        self.root_index, self.root, self.applied_index = 0, b"", 0  # reported to the leader
        self.releases = (0, 0)  # oldest and newest machine version here; reported to the leader
        self._configurations = configurations  # (index, configuration), rising
        self._verified_index = 0  # equal to the current leader's log up to here
        self._released_index = 0  # committed when the last sync returned
        self._told_index = 0  # acknowledged to the current leader up to here
        self._heartbeat_seconds = heartbeat_seconds
        self._round = 0
        self._reads_waiting: list[object] = []
        self._reads_sent: list[tuple[int, int, list[object]]] = []  # (round, index, tokens)
        self._reads_done: list[tuple[object, int]] = []
        self._now = 0.0
        self._heartbeat_at = 0.0
        self._notice_at = math.inf  # when idle followers are told of a commit
        self.learned_index = 0  # the first commit index that a leader has told since the start; 0 for none yet
        self._recovery_index = 0  # what this term's leader had committed when it was first heard; 0 for not heard yet

    # --- configuration ----------------------------------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The latest in the log, committed or not."""
        return self._configurations[-1][1] if self._configurations else Configuration()

    @property
    def previous_configuration(self) -> Configuration:
        """The one before the latest."""
        return self._configurations[-2][1] if len(self._configurations) > 1 else Configuration()

    def configuration_at(self, index: int) -> Configuration:
        """The one in force at an index of the log; for what lies before all that are known, the first of them."""
        known = (one for at, one in reversed(self._configurations) if at <= index)
        return next(known, self._configurations[0][1] if self._configurations else Configuration())

    @property
    def configuration_index(self) -> int:
        """Where it lies."""
        return self._configurations[-1][0] if self._configurations else 0

    def _note_configurations(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.kind == RecordKind.CONFIGURATION:
                self._configurations.append((entry.index, decode_configuration(entry.payload)))
                self._follow_configuration()

    def _follow_configuration(self) -> None:
        if not self.is_leading:
            return
        ids = [number for number in self.configuration.ids if number != self.node_id]
        for number in ids:
            if number not in self.progress:
                self.progress[number] = Progress(self.log.last_index + 1, self._now)
        if self.configuration_index <= self.commit_index:
            for number in [number for number in self.progress if number not in ids]:
                # A last word, so that a removed member learns that its removal is committed; then silence.
                self._send_empty(number, self.progress.pop(number))

    def refuse(self, index: int) -> None:
        """The journal took no entry from `index` on."""
        self.log.refuse(index)
        while self._configurations and self._configurations[-1][0] >= index:
            self._configurations.pop()
        self._verified_index = min(self._verified_index, index - 1)
        self._told_index = min(self._told_index, index - 1)

    # --- leading ----------------------------------------------------------------------------------------------------

    def lead(self, now: float) -> None:
        """This member was elected in `term`."""
        self._now = now
        self.is_leading = True
        self.start_index = self.log.last_index + 1
        self.progress = {}
        self._follow_configuration()
        self._heartbeat_at = now
        self.learned_index = self.learned_index or self.start_index
        self.propose(b"", RecordKind.NOOP)

    def stop_leading(self) -> None:
        """It leads no longer, or the term is over: what depended on that is void."""
        self.is_leading = False
        self.progress = {}
        self._reads_waiting, self._reads_sent = [], []

    def new_term(self, term: int) -> None:
        """What was verified against the log of an earlier leader says nothing about the next one's."""
        self.term = term
        self._verified_index = self._told_index = 0
        self.start_index = 0
        self._recovery_index = 0
        self.stop_leading()

    def propose(self, payload: bytes, kind: RecordKind) -> Entry:
        """Append an entry of this term; `BadBytes` for a configuration that nobody could read."""
        if kind == RecordKind.CONFIGURATION:
            decode_configuration(payload)
        entry = Entry(self.log.last_index + 1, self.term, kind, payload)
        self.log.append([entry])
        self._note_configurations([entry])
        return entry

    def check_change(self, new: Configuration) -> None:
        """`CallerError` unless the configuration may become `new` now."""
        if self.configuration_index > self.commit_index:
            raise CallerError("another change of membership is under way: try again when it is done")
        if self.commit_index < self.start_index:
            raise CallerError("the leader has not committed an entry of its term yet: try again in a moment")
        self.configuration.check_change(new)

    @property
    def pulse_at(self) -> float:
        """When a heartbeat is due: regularly, or soon after a commit that nobody was told."""
        return min(self._heartbeat_at, self._notice_at)

    def pulse(self, now: float) -> None:
        """Time for a heartbeat: to everybody, whatever they have in flight. It carries no entries, since those would be
        answered only when they are durable.
        """
        self._now = now
        self._heartbeat_at = now + self._heartbeat_seconds
        self._notice_at = math.inf
        for number, progress in sorted(self.progress.items()):
            self._send_empty(number, progress)

    def pump(self) -> None:
        """Send whatever may be sent."""
        if self._reads_waiting and not self._reads_sent:
            self._round += 1
            self._reads_sent.append((self._round, max(self.commit_index, self.start_index), self._reads_waiting))
            self._reads_waiting = []
            for number, progress in sorted(self.progress.items()):
                self._send_empty(number, progress)
            self._finish_reads()
        if self._notice_at < math.inf and all(
            progress.next_index <= self.log.last_index and progress.may_send for progress in self.progress.values()
        ):
            self._notice_at = math.inf  # the entries tell them
        for number, progress in sorted(self.progress.items()):
            while progress.next_index <= self.log.last_index and progress.may_send:
                if not self._send_entries(number, progress):
                    break

    def _send_entries(self, number: int, progress: Progress) -> bool:
        if progress.next_index > self.log.last_index or not progress.may_send:
            return False
        previous_index = progress.next_index - 1
        previous_term = self.log.term_at(previous_index)
        if previous_term is None or progress.next_index < self.log.first_index:
            progress.await_snapshot()
            return False
        entries = self.log.read(progress.next_index, self.log.last_index, APPEND_MESSAGE_BYTES_MAX)
        self._send(number, previous_index, previous_term, tuple(entries))
        progress.sent(entries[-1].index, sum(len(entry.payload) for entry in entries))
        return True

    def _send_empty(self, number: int, progress: Progress) -> None:
        previous_index, previous_term = progress.next_index - 1, None
        if progress.stage is not Stage.SNAPSHOT:
            previous_term = self.log.term_at(previous_index)
            if previous_term is None:
                progress.await_snapshot()
        if previous_term is None:
            previous_index = previous_term = 0  # the beginning of every log: it says nothing, and is always accepted
        self._send(number, previous_index, previous_term, ())
        if progress.stage is Stage.PROBE:
            progress.is_probe_sent = True

    def _send(self, number: int, previous_index: int, previous_term: int, entries: tuple[Entry, ...]) -> None:
        message = AppendEntries(
            self.term, previous_index, previous_term, self.commit_index, self._round, self.start_index, entries
        )
        self.outbox.append((number, message))

    def receive_reply(self, sender: int, reply: AppendReply, now: float) -> None:
        """A member's answer, of this term, to this leader."""
        self._now = now
        progress = self.progress.get(sender)
        if progress is None:
            return
        progress.heard_at = now
        counts_again = progress.is_recovering and not reply.is_recovering
        progress.is_recovering = reply.is_recovering
        progress.applied_index = reply.applied_index
        progress.root_index, progress.root = reply.root_index, reply.root
        progress.releases = reply.releases
        if reply.round > progress.acknowledged_round and not reply.is_recovering:
            progress.acknowledged_round = reply.round
            self._finish_reads()
        if reply.accepted:
            met_at = max(reply.previous_index, reply.match_index)
            if progress.stage is Stage.PROBE and met_at >= progress.next_index - 1:
                progress.met(met_at)
            if progress.matched(reply.match_index) or counts_again:
                self._advance_commit()
        elif progress.stage is Stage.SNAPSHOT or reply.previous_index <= progress.match_index:
            return  # an old rejection
        elif progress.stage is Stage.REPLICATE or reply.previous_index == progress.next_index - 1:
            progress.probe(min(reply.hint_index, reply.previous_index))

    def disconnected(self, number: int) -> None:
        """What was on its way there is lost; and whoever answers next may have lost what it had."""
        progress = self.progress.get(number)
        if progress is not None:
            next_index = progress.match_index + 1 if progress.match_index else progress.next_index
            fresh = self.progress[number] = Progress(next_index, progress.heard_at)
            fresh.is_recovering = progress.is_recovering

    def snapshot_installed(self, number: int, index: int) -> None:
        """A member has everything up to `index` in a snapshot, or the attempt ended: find out where it stands."""
        progress = self.progress.get(number)
        if progress is not None and progress.stage is Stage.SNAPSHOT:
            progress.probe(index + 1)

    def _counted_match(self, number: int) -> int:
        if number == self.node_id:
            return 0 if self.is_recovering else self.log.durable_index
        progress = self.progress.get(number)
        if progress is None or progress.is_recovering:
            return 0
        return progress.match_index

    def _advance_commit(self) -> None:
        configuration = self.configuration
        matches = sorted((self._counted_match(number) for number in configuration.voters), reverse=True)
        if not self.is_leading or not matches:
            return
        index = matches[configuration.quorum - 1]
        # Only an entry of the own term is committed by counting; those before it are committed with it.
        if index > self.commit_index and index >= self.start_index:
            was_pending = self.configuration_index > self.commit_index
            self.commit_index = index
            if was_pending and self.configuration_index <= index:
                self._follow_configuration()
            if all(progress.next_index > self.log.last_index for progress in self.progress.values()):
                self._notice_at = min(self._notice_at, self._now + COMMIT_NOTICE_SECONDS)

    def durable(self, index: int) -> None:
        """The own journal is synced up to `index`."""
        is_news = self.log.synced(index)
        self._release()
        if not is_news:
            return
        if self.is_leading:
            self._check_recovered()
            self._advance_commit()

    def _release(self) -> None:
        self._released_index = min(self.commit_index, self.log.durable_index)

    # --- reads ------------------------------------------------------------------------------------------------------

    def read(self, token: object) -> None:
        """A linearizable read: `token` comes out with the index at which it may run."""
        self._reads_waiting.append(token)

    def _finish_reads(self) -> None:
        configuration = self.configuration
        while self._reads_sent:
            round_number, index, tokens = self._reads_sent[0]
            echoes = sum(
                number == self.node_id
                or (number in self.progress and self.progress[number].acknowledged_round >= round_number)
                for number in configuration.voters
            )
            if echoes < configuration.quorum:
                return
            del self._reads_sent[0]
            self._reads_done.extend((token, index) for token in tokens)

    # --- following --------------------------------------------------------------------------------------------------

    def receive_append(self, sender: int, message: AppendEntries) -> None:
        """Entries, or a heartbeat, from the leader of this term."""
        if self.is_leading:
            raise DivergenceError(f"two leaders in term {self.term}: {self.node_id} and {sender}")
        self.start_index = message.start_index
        self._recovery_index = self._recovery_index or max(message.start_index, message.commit_index)
        log = self.log
        previous_term = log.term_at(message.previous_index)
        if previous_term != message.previous_term and message.previous_index > self._held_index:
            self._reject(sender, message, previous_term)
            return
        new = self._new_entries(message)
        if new:
            for entry in new:
                if entry.kind == RecordKind.CONFIGURATION:
                    decode_configuration(entry.payload)  # before it is in the log, which could not be opened again
            log.append(new)
            self._note_configurations(new)
        self._verified_index = max(self._verified_index, message.previous_index + len(message.entries))
        self.commit_index = max(self.commit_index, min(message.commit_index, self._verified_index))
        if not self.learned_index:
            self.learned_index = max(message.commit_index, 1)
        self._check_recovered()
        if not message.entries:
            self._release()  # somebody waits for the commit that it tells of, or a sync has been hanging for long
        # What is new will be acknowledged when it is durable; a heartbeat at once, whatever the disk does.
        if not message.entries or self.acknowledged_index >= message.previous_index + len(message.entries):
            self._acknowledge(sender, message.previous_index, message.round)

    def _new_entries(self, message: AppendEntries) -> list[Entry]:
        """The entries of the message that the log lacks, after cutting it where one conflicts, and only there."""
        log = self.log
        for position, entry in enumerate(message.entries):
            if entry.index <= self._held_index:
                continue  # committed here, so it is the same one
            known = log.term_at(entry.index)
            if known == entry.term:
                continue
            if known is not None:
                self._cut_from(entry.index)
            return list(message.entries[position:])
        return []

    def _cut_from(self, index: int) -> None:
        if index <= self.commit_index:
            raise DivergenceError(f"the leader of term {self.term} contradicts the committed entry {index}")
        self.log.cut_from(index)
        while self._configurations and self._configurations[-1][0] >= index:
            self._configurations.pop()

    def _reject(self, sender: int, message: AppendEntries, known_term: int | None) -> None:
        log = self.log
        if known_term is None:
            hint = min(log.last_index + 1, message.previous_index)
        else:
            # Back over the whole conflicting term in one step, but never below what is committed.
            hint = message.previous_index
            while hint - 1 > self.commit_index and log.term_at(hint - 1) == known_term:
                hint -= 1
        self._reply(sender, False, message.previous_index, hint, message.round)

    @property
    def _held_index(self) -> int:
        """Committed, and in this log: a full disk may have refused what is known to be committed."""
        return min(self.commit_index, self.log.last_index)

    @property
    def acknowledged_index(self) -> int:
        """Durable here, and equal to the current leader's log up to here."""
        return min(self.log.durable_index, self._verified_index)

    def acknowledge_durable(self, leader: int) -> None:
        """After a sync: tell the leader how far it has got, if that is news."""
        if self.acknowledged_index > self._told_index:
            self._check_recovered()
            self._acknowledge(leader, 0, 0)

    def acknowledge_root(self, leader: int) -> None:
        """After a hash point: tell the leader the root, for which somebody may wait."""
        if self.acknowledged_index:
            self._acknowledge(leader, 0, 0)

    def _acknowledge(self, leader: int, previous_index: int, round_number: int) -> None:
        self._told_index = self.acknowledged_index
        self._reply(leader, True, previous_index, 0, round_number)

    def _reply(self, leader: int, accepted: bool, previous_index: int, hint_index: int, round_number: int) -> None:
        reply = AppendReply(
            self.term,
            accepted,
            previous_index,
            self.acknowledged_index,
            hint_index,
            round_number,
            self.is_recovering,
            self.root_index,
            self.root,
            self.applied_index,
            self.releases,
        )
        self.outbox.append((leader, reply))

    def _check_recovered(self) -> None:
        """Once this member holds, durably, whatever was committed before it lost something, its word counts again."""
        if not self.is_recovering:
            return
        if self.is_leading:
            has_recovered = self.log.durable_index >= self.start_index
        else:
            has_recovered = self.is_settled and 0 < self._recovery_index <= self.acknowledged_index
        if has_recovered:
            self.is_recovering = False
            self.has_recovered = True

    # --- what the shell takes -----------------------------------------------------------------------------------------

    def take_committed(self) -> list[Entry]:
        """The next entries to apply: committed, and durable here.

        A follower with entries on their way to its disk acknowledges those first, for which the leader and its clients
        wait: until then it gets what was committed when its last sync returned, or the leader last spoke without
        entries.
        """
        last = min(self.commit_index, self.log.durable_index)
        if not self.is_leading and self.log.durable_index < self.log.last_index:
            last = min(last, self._released_index)
        if last <= self.taken_index:
            return []
        entries = self.log.read(self.taken_index + 1, last, APPLY_BYTES)
        self.taken_index = entries[-1].index
        return entries

    def take_reads(self) -> list[tuple[Any, int]]:
        """Reads whose barrier has passed, with the index that must have been applied."""
        done, self._reads_done = self._reads_done, []
        return done

    def holds(self, index: int, term: int) -> bool:
        """Whether the log reaches to this committed entry and is, by log matching, right up to there."""
        return index <= self.log.last_index and self.log.term_at(index) in (term, None)

    def restart_after(self, index: int, term: int, configuration: Configuration) -> None:
        """A snapshot was installed: the log begins behind `index`."""
        self.log.restart_after(index, term)
        self._configurations = [(index, configuration)]
        self.commit_index = max(self.commit_index, index)
        self.taken_index = index
        self._verified_index = max(self._verified_index, index)
