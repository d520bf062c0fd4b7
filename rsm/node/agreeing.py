"""One node's part in the agreement about states: it gives its word, and sees to itself when it differs.

| the node is | and then                                       | it becomes                                          |
|-------------|------------------------------------------------|-----------------------------------------------------|
| well        | a confirmed root is not its own; a scrub finds | suspect: it serves nobody and leads no longer, but  |
|             | changed values; a quorum contradicts its lead  | goes on applying, for the verdict is in the log     |
| suspect     | the verdict names another root                 | quarantined: it applies nothing, logs and votes on  |
| suspect     | the verdict is for its root, or a quorum has   | well                                                |
|             | confirmed a later root that is its own         |                                                     |
| quarantined | its evidence is on the disk                    | healing: it runs the log again from a snapshot      |
| healing     | it has the root that the majority had          | well, when it has caught up                         |
| healing     | it comes to another root again                 | out: it stays as it is and says why, until restarted |
| any         | the log goes on under a release it has not     | outdated: it logs and votes on, until it is upgraded |
| any         | the leader has sent it a confirmed snapshot    | well                                                |

A verdict that does not come (a learner is not asked, a leader may be gone) is not waited for: what a quorum confirmed
is a majority's word too. Only states that were compared are believed: snapshots from the index of the difference on are
set aside, a run from an older one must meet the confirmed roots on its way, and when it has, so are those behind its
beginning, for nobody knows since when the state differed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

from rsm.codec import cbor
from rsm.errors import (
    BadBytes,
    CallerError,
    DivergenceError,
    ReleaseMissing,
    RsmError,
    StorageError,
    WrongMachine,
)
from rsm.limits import (
    ATTEST_RETRY_SECONDS,
    EVIDENCE_KEPT,
    FAULT_LENGTH_MAX,
    SUSPECT_SECONDS_MAX,
    UNCHECKED_SECONDS_MAX,
)
from rsm.machine.machine import StateMachine
from rsm.node.agreement.code_identity import code_digest
from rsm.node.agreement.evidence import Evidence, between
from rsm.node.agreement.reexecution import Reexecution, starting_points
from rsm.node.leading import Leading
from rsm.node.log import describe, logger
from rsm.node.snapshotting.snapshotter import Snapshots
from rsm.node.storage.directory import MachineDirectory
from rsm.node.storage.disk import Disk
from rsm.node.storage.journal import Journal
from rsm.node.storage.snapshots import SnapshotFiles
from rsm.raft.cluster import ClusterEngine
from rsm.raft.messages import Attest, Message
from rsm.replica.agreement import Case, Word, summary
from rsm.replica.replica import Replica
from rsm.state.leaf import digest128

__all__ = ["Agreeing", "Standing"]

Standing = Literal["well", "suspect", "quarantined", "healing", "out", "outdated"]


class Agreeing:
    """The controller. `say` sends a message; `swap` puts a healed replica in the place of the one in service, whose
    state differed from an index on.
    """

    def __init__(
        self,
        machine: type[StateMachine],
        engine: ClusterEngine,
        directory: MachineDirectory,
        disk: Disk,
        journal: Journal,
        files: SnapshotFiles,
        snapshots: Snapshots,
        leading: Leading,
        replica: Callable[[], Replica],
        swap: Callable[[Replica, int], None],
        say: Callable[[int, Message], None],
        *,
        now: float,
    ) -> None:
        self.standing: Standing = "well"
        self.reason = ""  # why it is not well
        self.code = code_digest(machine)
        self._machine = machine
        self._engine = engine
        self._journal = journal
        self._files = files
        self._evidence = Evidence(
            machine, engine.node_id, self.code, directory, disk, journal, files, engine.replication.log.term_at
        )
        self._snapshots = snapshots
        self._leading = leading
        self._replica = replica
        self._swap = swap
        self._say = say
        self._schemas = {one.version: digest128(cbor.encode(one.schema())) for one in machine.definition.releases()}
        self._opened_at = now
        self._had_state = journal.last_index > 1  # behind the founding entry: it has run before
        self._suspect_since = now
        self._suspect_index = 0  # the hash point at which it was found
        self._said_at: dict[tuple[int, bool], float] = {}
        self._reruns: dict[int, bytes] = {}  # roots that running again gave, by index
        self._rerun: tuple[int, Iterator[bytes | None]] | None = None
        self._work: Iterator[None] | None = None  # evidence and healing
        self._handed_over_at = 0.0

    # --- what others ask ---------------------------------------------------------------------------------------------

    @property
    def evidence(self) -> str:
        """Where the evidence lies, an empty text if there is none."""
        return self._evidence.path

    @property
    def is_applying(self) -> bool:
        """Whether committed entries go to the replica."""
        return self.standing in ("well", "suspect")

    @property
    def may_show(self) -> bool:
        """Whether nothing is known against the state, not even since `applied` looked last."""
        return self.standing == "well" and self._is_clean

    @property
    def _is_clean(self) -> bool:
        replica = self._replica()
        return replica.difference is None and (not replica.fault or self._is_shared_fault)

    @property
    def _is_shared_fault(self) -> bool:
        """Whether a majority's scrubs found something, or its own did and none could contradict: an alarm, no more."""
        number = self._engine.node_id
        return any(
            case.is_common_fault
            or (case.state == "undecided" and number in case.words and bool(case.words[number].fault))
            for case in self._replica().agreement.cases.values()
        )

    def unservable(self, now: float) -> str:
        """Why the state must not be shown now, or an empty text."""
        if self.standing != "well":
            return f"this node is {self.standing}: {self.reason}"
        if self._had_state and not self._replica().compared_index and now - self._opened_at < UNCHECKED_SECONDS_MAX:
            return "no root of this node has been compared since its start"
        return ""

    @property
    def unchecked(self) -> str:
        """Why nobody can vouch for this node's state, or an empty text."""
        replica = self._replica()
        if replica.compared_index:
            return ""
        if replica.confirmed_index:
            return "roots were confirmed since this node started, but none that it knows"
        return "no root has been confirmed by a quorum since this node started"

    @property
    def alarm(self) -> str:
        """What is wrong in the cluster as far as the log says, or an empty text."""
        replica = self._replica()
        if replica.fault and self._is_shared_fault:
            return f"values were changed behind their containers' back, and not on this node alone: {replica.fault}"
        for case in replica.agreement.cases.values():
            if case.state == "undecided" and replica.compared_index <= case.index:
                roots = {word.root for word in case.words.values() if word.root}
                if len(roots) > 1 or any(word.fault for word in case.words.values()):
                    return f"the nodes' states differ at index {case.index}, and no majority has the same one"
        if self.standing != "well":
            return f"{self.standing}: {self.reason}"
        return ""

    def verdicts(self) -> list[dict[str, Any]]:
        """The cases in this node's log, as plain values."""
        return [summary(case) for case in self._replica().agreement.cases.values()]

    @property
    def _schema(self) -> bytes:
        return self._schemas[self._replica().definition.version]

    # --- what happens ------------------------------------------------------------------------------------------------

    def outdated(self, error: ReleaseMissing) -> None:
        """The replica cannot go on: the log needs a release that this node has not."""
        logger.error("this node must be upgraded; it logs and votes meanwhile", reason=str(error))
        self._work = None
        self._become("outdated", str(error))

    def receive(self, sender: int, message: Attest) -> None:
        """A member's word, for the leader to log."""
        word = Word(message.root, message.rerun, message.version, message.schema, message.code, message.fault)
        if word.is_well_formed:
            self._leading.take_word(sender, message.index, word)

    def installed(self) -> None:
        """A confirmed snapshot has taken the place of the state: whatever was wrong with that is gone."""
        self._become("well", "")
        self._work = None

    def applied(self, now: float) -> None:
        """Entries were applied: see what they say of this node."""
        if not self.is_applying:
            return  # what is committed meanwhile says nothing new of a state that stands still
        replica = self._replica()
        if self.standing == "well":
            if replica.difference is not None:
                found = replica.difference
                self._suspect(
                    f"its state root at index {found.index} is {found.root.hex()}, a majority has "
                    f"{found.confirmed.hex()}",
                    now,
                )
            elif replica.fault and not self._is_shared_fault:
                self._suspect(f"a scrub found changed values: {replica.fault}", now)
            elif self._engine.is_leader and self._leading.comparison.contradiction:
                self._suspect(self._leading.comparison.contradiction, now)
        for case in list(replica.agreement.cases.values()):
            if case.state == "decided" and self.is_applying:
                self._heed(case)
        if self.standing == "suspect" and replica.fault and self._is_clean:
            self._become("well", "")

    def _heed(self, case: Case) -> None:
        """What a verdict means for this node."""
        replica = self._replica()
        root = replica.roots.get(case.index)
        is_comparable = (case.version, case.schema) == (replica.definition.version, self._schema)
        if not is_comparable or root is None:
            return
        if root != case.root:
            reason = f"its state root at index {case.index} is {root.hex()}, a majority has {case.root.hex()}"
            self._quarantine(case.index, case.root, reason, case)
        elif replica.fault and (word := case.words.get(self._engine.node_id)) is not None and word.fault:
            self._quarantine(case.index, case.root, f"a scrub found changed values: {replica.fault}", case)
        elif self.standing == "suspect" and case.index >= self._suspect_index and self._is_clean:
            self._become("well", "")  # the quorum that contradicted it was of another mind

    def _suspect(self, reason: str, now: float) -> None:
        logger.error("this node's state is in doubt; it serves nobody", reason=reason)
        replica = self._replica()
        self._suspect_since = now
        contradicted = self._leading.comparison.contradicted_index
        if replica.difference is not None:
            self._suspect_index = replica.difference.index
        else:
            self._suspect_index = (0 if replica.fault else contradicted) or max(replica.roots, default=0)
        self._become("suspect", reason)

    def _become(self, standing: Standing, reason: str) -> None:
        self.standing, self.reason = standing, reason
        if standing == "well":
            self._leading.comparison.absolve()
        self._leading.barred = "" if standing == "well" else f"{standing}: {reason}"

    # --- what it does about it ---------------------------------------------------------------------------------------

    def advance(self, now: float) -> bool:
        """Do what is due, a slice of it; whether there is more to do at once."""
        if self.standing != "well":
            self._hand_over(now)
        if self.standing not in ("well", "outdated") and self._is_voter:
            self._give_word(self._suspect_index, b"", now)  # also without being asked
        if self.standing == "suspect":
            self._wait_for_verdict(now)
        if self._work is not None:
            self._advance_work(self._work)
            return self._work is not None
        if self.is_applying and self._replica().agreement.cases:
            self._attest(now)
        return self._rerun is not None

    def next_wake(self, now: float) -> float | None:
        """Seconds until time alone gives it something to do, None if it does not."""
        agreement = self._replica().agreement
        is_waiting = any(case.is_open for case in agreement.cases.values()) or self._engine.node_id in agreement.out()
        if self.standing == "well" and not is_waiting:
            return max(0.0, self._opened_at + UNCHECKED_SECONDS_MAX - now) if self.unservable(now) else None
        return ATTEST_RETRY_SECONDS

    def _hand_over(self, now: float) -> None:
        engine = self._engine
        if not engine.is_leader or engine.is_transferring or now - self._handed_over_at < ATTEST_RETRY_SECONDS:
            return
        out = self._replica().agreement.out()
        known = {number: engine.progress(number) for number in engine.configuration.voters if number != engine.node_id}
        progress = {number: one for number, one in known.items() if one is not None}
        # Who is in doubt itself reports no root. Where all are, the leader stays, and has the log say so.
        well = [number for number, one in progress.items() if one.root_index and number not in out]
        others = well if well or self.standing == "suspect" else list(progress)
        target = max(others, key=lambda number: progress[number].match_index, default=0)
        if target:
            self._handed_over_at = now
            try:
                engine.transfer(target)
            except CallerError as error:
                logger.info("leadership cannot be handed over yet", error=str(error))

    def _wait_for_verdict(self, now: float) -> None:
        """But not for ever."""
        replica = self._replica()
        if self._is_voter and now - self._suspect_since < SUSPECT_SECONDS_MAX:
            return
        found, compared = replica.difference, replica.compared_index
        if found is not None:
            self._quarantine(found.index, found.confirmed, self.reason, None)
        elif replica.fault and not self._is_voter:
            # Its sums were a majority's at that index: running the log again up to there must give them, too.
            if compared in replica.roots:
                self._quarantine(compared, replica.roots[compared], self.reason, None)
        elif self._is_clean and compared > self._suspect_index:
            self._become("well", "")

    def _verdict(self, case: Case | None) -> dict[str, Any]:
        """The case as its evidence has it: with this node in the minority, though its own word may be on its way."""
        if case is None:
            return {}
        found = summary(case)
        return found | {"minority": sorted({*found["minority"], self._engine.node_id})}

    @property
    def _is_voter(self) -> bool:
        """Whether it is asked about the index where it was found to differ: it had a vote there."""
        return self._engine.node_id in self._engine.voters_at(self._suspect_index)

    def _attest(self, now: float) -> None:
        replica = self._replica()
        if replica.index < self._engine.replication.learned_index:
            return  # it replays its log: the words are behind
        out = replica.agreement.out().get(self._engine.node_id)
        if out is not None and self.standing == "well":
            self._give_word(out, b"", now)  # healed; the next hash point is to prove it
        for case in list(replica.agreement.cases.values()):
            word = case.words.get(self._engine.node_id)
            if self._engine.node_id not in case.voters or not case.is_open:
                continue
            if word is None:
                self._give_word(case.index, self._reruns.get(case.index, b""), now)
            if case.state == "reexecuting" and (word is None or not word.rerun):
                if case.index in self._reruns:
                    self._give_word(case.index, self._reruns[case.index], now)
                else:
                    self._run_again(case.index)

    def _give_word(self, index: int, rerun: bytes, now: float) -> None:
        key = (index, bool(rerun))
        said_at = self._said_at.get(key)
        if said_at is not None and now - said_at < ATTEST_RETRY_SECONDS:
            return
        self._said_at[key] = now
        if len(self._said_at) > EVIDENCE_KEPT * 8:
            del self._said_at[min(self._said_at)]
        replica, engine = self._replica(), self._engine
        root, fault = replica.roots.get(index, b""), replica.fault[:FAULT_LENGTH_MAX]
        word = Word(root, rerun, replica.definition.version, self._schema, self.code, fault)
        if engine.is_leader:
            self._leading.take_word(engine.node_id, index, word)
        elif engine.leader is not None:
            message = Attest(engine.term, index, root, rerun, word.version, word.schema, word.code, fault)
            self._say(engine.leader, message)

    # --- running again for a case without a majority -----------------------------------------------------------------

    def _run_again(self, index: int) -> None:
        if self._rerun is None:
            self._rerun = index, self._rerun_root(index)
        at, steps = self._rerun
        try:
            root = next(steps, b"")
        except (RsmError, OSError) as error:
            logger.error("the log could not be run again", index=at, error=describe(error))
            root = b""
        if root is not None:
            self._rerun = None
            self._reruns[at] = root
            if len(self._reruns) > EVIDENCE_KEPT:
                del self._reruns[min(self._reruns)]

    def _rerun_root(self, index: int) -> Iterator[bytes | None]:
        points = starting_points(self._files, self._journal, index)
        # Of its other snapshots nobody knows whether they are the majority's. The oldest is kept for having been so.
        points = [point for point in points if point <= self._replica().compared_index] or points[-1:]
        for point in points:
            run = Reexecution(self._machine, self._files, self._journal, point)
            try:
                while run.advance(index):
                    yield None
            except (BadBytes, StorageError) as error:
                logger.error("a snapshot cannot be used", index=point, error=str(error))
                continue
            if run.replica.difference is None:
                yield run.replica.roots.get(index, b"")
                return
        yield b""

    # --- quarantine --------------------------------------------------------------------------------------------------

    def _quarantine(self, index: int, root: bytes, reason: str, case: Case | None) -> None:
        logger.error("quarantined", index=index, reason=reason)
        self._become("quarantined", reason)
        self._suspect_index = index
        self._rerun = None
        self._drop_snapshots(index)
        self._work = self._see_to_it(index, root, case)

    def _drop_snapshots(self, index: int) -> None:
        """Set aside what was taken of a state that differs; also what is being written now."""
        self._snapshots.rebind(self._replica())
        for taken in self._files.indexes():
            if taken >= index:
                try:
                    self._files.set_aside(taken)
                except StorageError as error:
                    logger.error("a snapshot of a state that differs stays", index=taken, error=str(error))

    def _advance_work(self, work: Iterator[None]) -> None:
        try:
            if next(work, self) is self:
                self._work = None
        except RsmError as error:
            self._work = None
            self._stay_out(f"it could not be healed: {describe(error)}")

    def _stay_out(self, reason: str) -> None:
        logger.error("this node stays out until it is started again", reason=reason, evidence=self.evidence)
        self._become("out", f"{self.reason}; {reason}")

    def _see_to_it(self, index: int, root: bytes, case: Case | None) -> Iterator[None]:
        """Evidence, then healing, in slices."""
        replica = self._replica()
        points = starting_points(self._files, self._journal, index)
        traced_from: int | None = None
        try:
            traced_from = yield from self._evidence.write(replica, index, root, points, self._verdict(case))
        except Exception as error:  # what differs may be of any kind; without evidence it is still better healed
            logger.error("the evidence could not be written", error=describe(error))
        self._become("healing", self.reason)
        parted: dict[int, tuple[int, int]] = {}
        why = "it has no snapshot to begin from; started again, it fetches one"
        for point in points:
            run = Reexecution(self._machine, self._files, self._journal, point)
            try:
                while run.advance(index):
                    yield
            except (BadBytes, WrongMachine, StorageError, DivergenceError) as error:
                logger.error("cannot be healed from here", index=point, error=describe(error))
                if isinstance(error, DivergenceError):
                    why = f"it cannot run the log from a confirmed snapshot: it is its code: {describe(error)}"
                continue
            yield
            if run.replica.difference is None and run.replica.roots.get(index) == root:
                yield from self._catch_up(run, index)
                return
            parted[point] = between(run, index)
            logger.error("running the log again gives another root too", from_index=point, index=index)
        if not parted:
            self._stay_out(why)
            return
        if traced_from in parted:
            try:
                yield from self._evidence.trace(traced_from, *parted[traced_from])
            except (RsmError, OSError) as error:
                logger.error("the evidence has no trace", error=describe(error))
        self._stay_out("it comes to another root again when it runs the log from a confirmed snapshot: it is its code")

    def _catch_up(self, run: Reexecution, index: int) -> Iterator[None]:
        replica = run.replica
        has_more = True
        while has_more:
            has_more = run.advance(self._engine.replication.taken_index)
            if replica.difference is not None or (replica.fault and not self._is_shared_fault):
                where = replica.index if replica.difference is None else replica.difference.index
                self._stay_out(f"it differs again at index {where}")
                return
            if has_more:
                yield
        self._drop_snapshots(run.from_index + 1)
        self._swap(replica, index)
        logger.warning("healed", index=replica.index)
        self._become("well", "")
