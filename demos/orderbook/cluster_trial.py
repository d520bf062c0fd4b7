"""Three flows through a cluster of three nodes, of which one is killed and another loses its directory meanwhile.

Three firms, each a process with a client of its own, trade different markets, so that each firm's flow decides what its
markets come to, however the cluster mixes them. The show itself is a fourth client: it follows the reports from before
the first command until after the last, and looks at the books. What all of them have learned is compared at the end
with the same flows on plain containers; the nodes are compared with each other.

Everybody tells what he learns to one queue, and one thread draws the conclusions.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import rsm
from demos.orderbook.audit import Audit, Story
from demos.orderbook.cluster import Cluster, Document, NodeLine, Told
from demos.orderbook.cluster_board import ClusterBoard, percentile
from demos.orderbook.desk import Answer
from demos.orderbook.firm import REPEATED
from demos.orderbook.flowgen import INSTRUMENTS, Flow, Instrument
from demos.orderbook.lives import Life, ServiceFailed
from demos.orderbook.machine import OrderBook
from demos.orderbook.messages import Acknowledged, Left, Repeated, Said
from demos.orderbook.records import PhaseChanged, Report, Traded, Uncrossed
from demos.orderbook.survey import view
from demos.orderbook.terminal import Stage

# Who trades what.
FIRMS: Final[dict[str, tuple[Instrument, ...]]] = {
    "alder": INSTRUMENTS[:1],
    "birch": INSTRUMENTS[1:2],
    "cedar": INSTRUMENTS[2:],
}
# Between the order numbers, and the keys, of two firms.
NUMBERS_APART: Final = 10**9
# When harm is done: once this part of the commands is acknowledged.
KILL_AT: Final = 0.25
EMPTY_AT: Final = 0.5
# Where the firms pause if that has not been done by then. On a quiet machine it has.
PAUSE_AT: Final = 0.6
# Waits are bounded, generously: a node takes a second to start, and ten times that where others use the processors.
WAIT_SECONDS_MAX: Final = 120.0
TRADE_SECONDS_MAX: Final = 600.0
# How often the books are looked at for drawing, and how deep.
LOOK_SECONDS: Final = 0.3
LOOK_LEVELS: Final = 24

STAGES: Final = (
    "write three flows",
    "bring up three nodes",
    "trade",
    "kill -9 the leader",
    "empty a follower",
    "trade on",
    "compare",
)
# Who tells something, and what.
Item = tuple[str, Any]


class Events:
    """The reports as a follower reads them: each with the identity that the log gave it."""

    def __init__(self) -> None:
        self.reports: list[Report] = []
        self.repeated = 0
        self.last = (0, 0, 0, 0)

    def take(self, event: rsm.Event) -> None:
        """The next one. Its identity must be above the last one's."""
        self.repeated += event.identity <= self.last
        self.last = event.identity
        self.reports.append(event.value)

    def of(self, story: Story) -> list[Report]:
        """Those of one firm: of its markets, or about its orders."""
        numbers = {instrument.number for instrument in story.instruments}
        place = list(FIRMS).index(story.principals[0])
        return [report for report in self.reports if _is_about(report, numbers, place)]


def _is_about(report: Report, instruments: set[int], place: int) -> bool:
    if isinstance(report, Traded | PhaseChanged | Uncrossed):
        return report.instrument in instruments
    return report.order_id // NUMBERS_APART == place


class ClusterTrial:
    """One run, from the first order to the last check. `machine` is where the cluster lives, `scratch` for the rest."""

    def __init__(self, seed: int, commands: int, rate: int, machine: Path, scratch: Path, board: ClusterBoard) -> None:
        self.seed = seed
        self.commands = commands
        self.rate = rate
        self.machine = machine
        self.scratch = scratch
        self.board = board
        self.audit = Audit()
        self.facts: dict[str, Any] = {
            "seed": seed,
            "commands": commands,
            "rate": rate,
            "nodes": 3,
            "clients": len(FIRMS),
            "durability": "fsync",
        }
        self.events = Events()
        self._told: queue.Queue[Item] = queue.Queue()
        self._answers: dict[str, list[Answer]] = {name: [] for name in FIRMS}
        self._sent = dict.fromkeys(FIRMS, 0)
        self._again: dict[str, Repeated] = {}
        self._left: dict[str, Left] = {}
        self._microseconds: list[int] = []
        self._arrivals: list[float] = []  # when answers came
        self._document = Document([])
        self._documents = 0
        self._lives: list[Life] = []
        self._lines: list[str] = []
        self._is_over = False
        self.cluster: Cluster

    def run(self, plant: Callable[[list[str]], None] | None = None) -> None:
        """All stages. `plant` is given the addresses when all is traded: a test does harm there that must be found."""
        with self.board.stage(0, self.commands) as stage:
            self._write(stage)
        with contextlib.ExitStack() as stack:
            try:
                self._run(stack, plant)
            finally:
                self._is_over = True  # what ends from here on was ended by us

    def _run(self, stack: contextlib.ExitStack, plant: Callable[[list[str]], None] | None) -> None:
        with self.board.stage(1) as stage:
            client = self._bring_up(stack, stage)
        with self.board.stage(2, self.commands) as stage:
            self._begin_to_trade(stack, stage)
        with self.board.stage(3) as stage:
            killed = self._kill_leader(stage)
        with self.board.stage(4, self.commands) as stage:
            self._empty_follower(stage, killed)
        with self.board.stage(5, self.commands) as stage:
            self._trade_on(stage)
        if plant is not None:
            plant(self.cluster.addresses)
        with self.board.stage(6) as stage:
            self._compare(stage, client)

    # --- before -------------------------------------------------------------------------------------------------------

    def _write(self, stage: Stage) -> None:
        stories = []
        for place, (name, instruments) in enumerate(FIRMS.items()):
            flow = Flow(self.seed + place, instruments, [name] * 7, place * NUMBERS_APART)
            story = Story(flow)
            for step in flow.steps(self._share(place)):
                story.add(step)
                stage.done += 1
            story.write(self.scratch / f"{name}.flow")
            stories.append(story)
        self.audit = Audit(*stories)
        stage.detail = f"{self.commands:,} commands, {len(FIRMS)} firms, {len(INSTRUMENTS)} markets"

    def _share(self, place: int) -> int:
        return self.commands // len(FIRMS) + (place < self.commands % len(FIRMS))

    def _bring_up(self, stack: contextlib.ExitStack, stage: Stage) -> OrderBook:
        """The cluster, who asks it how it is, and who follows its reports."""
        board = self.board
        board.start_clock()
        cluster = self.cluster = stack.enter_context(Cluster(self.machine, self.scratch, self._hear))
        self._until(lambda: bool(cluster.addresses), "the cluster's directory")
        cluster.watch()
        self._until(lambda: self._is_well(), "three nodes and a leader")
        board.tell(f"three nodes are up, node {self._leader()} leads")
        client = stack.enter_context(rsm.connect(OrderBook, cluster.addresses, timeout_seconds=WAIT_SECONDS_MAX))
        for work in (self._follow, self._look):
            threading.Thread(target=work, args=(client,), daemon=True).start()
        stage.detail = "rsm cluster up: each a process, supervised"
        return client

    def _follow(self, client: OrderBook) -> None:
        """In a thread: tell every report."""
        with self._telling("reports"):
            for event in client.events(follow=True):
                self._told.put(("report", event))

    def _look(self, client: OrderBook) -> None:
        """In a thread: tell how the books stand, from whichever node answers."""
        with self._telling("books"):
            stale = client.reading("stale")
            while self.board.is_live and not self._is_over:
                markets = [view(stale, instrument.number, LOOK_LEVELS) for instrument in INSTRUMENTS]
                self._told.put(("books", markets))
                time.sleep(LOOK_SECONDS)

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """What ends a thread ends the show, unless that is over."""
        try:
            yield
        except (rsm.RsmError, OSError) as error:
            if not self._is_over:
                self._told.put(("ended", f"{what}: {error}"))

    # --- while it trades ----------------------------------------------------------------------------------------------

    def _begin_to_trade(self, stack: contextlib.ExitStack, stage: Stage) -> None:
        for place, name in enumerate(FIRMS):
            rate = self.rate / len(FIRMS)
            flow, pause = self.scratch / f"{name}.flow", int(self._share(place) * PAUSE_AT)
            arguments = (name, flow, place * NUMBERS_APART, rate, pause, *self.cluster.addresses)
            life = stack.enter_context(Life("firm", *arguments))
            self._lives.append(life)
            threading.Thread(target=self._listen, args=(name, life), daemon=True).start()
        self.board.is_alive = True
        self._until(lambda: all(self._answers.values()), "the first answers", stage)
        self.board.tell(f"{len(FIRMS)} clients trade, {self.rate:,} commands a second")
        self._trade_until(KILL_AT, stage)
        stage.detail = f"{len(FIRMS)} client processes, {self.rate:,} commands/s"

    def _listen(self, name: str, life: Life) -> None:
        """In a thread: tell what a firm says, and how it ended."""
        for said in life:
            self._told.put((name, said))
        if not self._is_over:
            try:
                life.finish()
            except ServiceFailed as failure:
                self._told.put(("ended", f"{name}: {failure}"))

    def _kill_leader(self, stage: Stage) -> int:
        """SIGKILL; until somebody else leads, writes go on, and the killed one has caught up. Its number."""
        board, cluster = self.board, self.cluster
        self._until(lambda: self._leader() > 0, "a leader")
        leader, term = self._leader(), max(node.term for node in board.nodes)
        killed_at = time.monotonic()
        acknowledged, flying = board.acknowledged, board.sent - board.acknowledged
        pid = cluster.kill(leader)
        board.tell(f"node {leader}, the leader, is killed: {acknowledged:,} acknowledged, {flying:,} on their way")
        self._until(lambda: self._leader(after=term) > 0, "another leader")
        new, seen_at = self._leader(), time.monotonic()
        self._until(lambda: self._arrivals[-1] > seen_at or self._is_traded(), "answers from the new leader")
        resumed_at = self._end_of_silence(killed_at)
        resumed = resumed_at - killed_at
        board.tell(f"node {new} leads, writes go on: {resumed:.2f} s after the kill", resumed_at)
        was_told = f"node {leader} was killed by SIGKILL"
        self._until(lambda: any(line.startswith(was_told) for line in self._lines), "word of the supervisor")
        self._until(lambda: runs_anew(cluster, leader, pid), f"node {leader} to start")
        self._ask_again()
        self._until(lambda: self._has_caught_up(leader), f"node {leader} to catch up")
        back = time.monotonic() - killed_at
        board.tell(f"node {leader}, started again, has caught up at index {self._node(leader).applied_index:,}")
        self.audit.check(
            "leader killed",
            cluster.pid(leader) != pid and acknowledged < self.commands,
            f"node {leader}, by SIGKILL, with {acknowledged:,} of {self.commands:,} acknowledged; node {new} "
            f"took over, and writes went on after {resumed:.2f} s",
            f"node {leader} runs as process {cluster.pid(leader)}, was {pid}; {acknowledged:,} of "
            f"{self.commands:,} were acknowledged",
        )
        stage.detail = f"writes went on after {resumed:.2f} s, it was back after {back:.1f} s"
        self.facts |= {
            "acknowledged_at_kill": acknowledged,
            "in_flight_at_kill": flying,
            "killed_node": leader,
            "new_leader": new,
            "writes_resumed_seconds": round(resumed, 3),
            "killed_back_seconds": round(back, 2),
        }
        return leader

    def _leader(self, after: int = 0) -> int:
        """The number of the node that leads in the newest term, but one after that term; 0 if there is none."""
        leaders = [
            (node.term, node.node_id) for node in self.board.nodes if node.role == "leader" and node.term > after
        ]
        return max(leaders, default=(0, 0))[1]

    def _end_of_silence(self, since: float) -> float:
        """When the longest time without an answer was over."""
        times = [since, *(at for at in self._arrivals if at > since)]
        gaps = [(after - before, after) for before, after in pairwise(times)]
        return max(gaps, default=(0.0, since))[1]

    def _empty_follower(self, stage: Stage, spared: int) -> None:
        """A follower that has not suffered yet loses everything; until it has all of it again."""
        board, cluster = self.board, self.cluster
        self._trade_until(EMPTY_AT, stage)
        stage.total = 0
        self._until(lambda: self._leader() > 0, "a leader")
        node = next(number for number in range(1, 4) if number not in (self._leader(), spared))
        before, acknowledged = self._node(node), board.acknowledged
        pid, emptied_at = cluster.empty(node), time.monotonic()
        for life in self._lives:
            life.go_on()
        board.tell(f"node {node}, a follower, is killed and its directory deleted, at index {before.applied_index:,}")
        self._until(lambda: runs_anew(cluster, node, pid), f"node {node} to start")
        self._ask_again()
        self._until(lambda: not self._node(node).error, f"node {node} to answer")
        board.tell(f"node {node} is up again, with nothing")
        self._until(lambda: self._has_caught_up(node), f"node {node} to catch up")
        back, after = time.monotonic() - emptied_at, self._node(node)
        meanwhile = board.acknowledged - acknowledged
        by_snapshot = after.first_index > 1
        how = f"a snapshot and the log from index {after.first_index:,}" if by_snapshot else "the log"
        board.tell(f"node {node} has caught up at index {after.applied_index:,}: {how}")
        self.audit.check(
            "follower emptied",
            after.applied_index >= before.applied_index,
            f"node {node} came back without its directory, got {how}, and had caught up after {back:.1f} s; "
            f"{meanwhile:,} commands were acknowledged meanwhile",
            f"node {node} stands at {after.applied_index:,}, and stood at {before.applied_index:,} before",
        )
        stage.detail = f"back after {back:.1f} s with {'a snapshot and log' if by_snapshot else 'the log'}"
        self.facts |= {
            "emptied_node": node,
            "emptied_back_seconds": round(back, 2),
            "acknowledged_meanwhile": meanwhile,
            "first_index_after": after.first_index,
        }

    def _trade_on(self, stage: Stage) -> None:
        self._trade_until(1, stage)
        self.board.tell(f"all {self.commands:,} commands are acknowledged")
        self._until(lambda: len(self._left) == len(FIRMS), "the clients to end")
        self.board.is_alive = False
        retries, redirects = (sum(values) for values in zip(*map(_numbers, self._left.values()), strict=True))
        stage.detail = f"{retries:,} sent again by themselves, {redirects:,} redirects"
        self.facts |= {
            "retries": retries,
            "redirects": redirects,
            "latency_p50_ms": percentile(self._microseconds, 50) / 1e3,
            "latency_p99_ms": percentile(self._microseconds, 99) / 1e3,
            "latency_max_ms": max(self._microseconds) / 1e3,
        }

    # --- the proof ----------------------------------------------------------------------------------------------------

    def _compare(self, stage: Stage, client: OrderBook) -> None:
        audit = self.audit
        audit.answered(list(self._answers.values()))
        audit.sent_again(
            [self._again[name].first for name in FIRMS],
            [self._again[name].answers for name in FIRMS],
            f"the last {REPEATED:,} of each firm, by another client",
        )
        self.facts["digest"] = audit.same_books([story.survey(client) for story in audit.stories])
        self.board.markets.look([view(client, instrument.number, LOOK_LEVELS) for instrument in INSTRUMENTS])
        self._same_reports(client)
        self._same_roots()
        stage.detail = "with plain containers, and node with node"
        self.board.tell("everything is compared")

    def _same_reports(self, client: OrderBook) -> None:
        """What was followed from the first command on, across everything; the machine's last report ends it."""
        events, due = self.events, sum(len(story.reports) for story in self.audit.stories)
        last = deque(client.events(), 1)[0].identity
        with contextlib.suppress(ServiceFailed):  # then they are too few, which the comparison says better
            self._until(lambda: events.last >= last and len(events.reports) >= due, "the last reports")
        self.audit.same_reports(
            [events.of(story) for story in self.audit.stories],
            events.repeated + (events.last != last),
            f"all {due:,}, in order, none twice, as read by one who followed them all the time",
        )
        self.facts["reports"] = due

    def _same_roots(self) -> None:
        with contextlib.suppress(ServiceFailed):
            self._until(self._is_at_rest, "three nodes at the same index")
        nodes = self._document.nodes
        places = {(node.root, node.root_index, node.applied_index) for node in nodes}
        strange = [*self._document.desync, *(node.failure for node in nodes if node.failure)]
        first = nodes[0]
        self.audit.check(
            "three equal roots",
            len(nodes) == 3 and len(places) == 1 and bool(first.root) and not strange,
            f"{first.root[:16]} at index {first.root_index:,} on all three nodes, which have applied up to "
            f"{first.applied_index:,}",
            "; ".join(strange) or ", ".join(f"{root[:16] or 'none'} at {index:,}" for root, index, _ in sorted(places)),
        )
        self.facts |= {"root": first.root, "root_index": first.root_index, "log_index": first.applied_index}

    def _is_at_rest(self) -> bool:
        nodes = self._document.nodes
        places = {(node.root_index, node.applied_index, node.commit_index) for node in nodes}
        return (len(nodes) == 3 and not any(node.error for node in nodes) and len(places) == 1) or bool(
            self._document.desync
        )

    # --- what is known ------------------------------------------------------------------------------------------------

    def _node(self, number: int) -> NodeLine:
        return self.board.nodes[number - 1]

    def _is_well(self) -> bool:
        nodes = self._document.nodes
        return len(nodes) == 3 and all(node.role in ("leader", "follower") for node in nodes) and self._leader() > 0

    def _has_caught_up(self, number: int) -> bool:
        """Whether a node follows, and has applied what the leader had committed when both were asked."""
        node, leader = self._node(number), self._leader()
        if not leader or node.role != "follower":
            return False
        # They are not asked at the very same time: an entry or two may lie between.
        return node.applied_index + 8 >= self._node(leader).commit_index

    def _ask_again(self) -> None:
        """Wait for what the nodes say from now on: an answer may be older than what was done."""
        enough = self._documents + 2
        self._until(lambda: self._documents >= enough, "the nodes' status")

    def _is_traded(self) -> bool:
        return self.board.acknowledged >= self.commands

    def _trade_until(self, part: float, stage: Stage) -> None:
        wanted = int(self.commands * part)
        self._until(lambda: self.board.acknowledged >= wanted, f"{wanted:,} answers", stage, TRADE_SECONDS_MAX)

    # --- listening ----------------------------------------------------------------------------------------------------

    def _hear(self, told: Told) -> None:
        self._told.put(("cluster", told))

    def _until(
        self, is_so: Callable[[], bool], what: str, stage: Stage | None = None, seconds: float = WAIT_SECONDS_MAX
    ) -> None:
        """Take in what is told until something is so. `ServiceFailed` after a while, or when somebody has failed."""
        deadline = time.monotonic() + seconds
        while not is_so():
            if time.monotonic() > deadline:
                raise ServiceFailed(f"waited {seconds:g} seconds for {what}")
            self.cluster.check()
            with contextlib.suppress(queue.Empty):
                self._take(*self._told.get(timeout=0.1))
            if stage is not None:
                stage.done = self.board.acknowledged

    def _take(self, who: str, told: Any) -> None:
        board = self.board
        if who == "report":
            self.events.take(told)
        elif who == "books":
            board.markets.look(told)
        elif who == "ended":
            raise ServiceFailed(told)
        elif isinstance(told, Document):
            self._document = told
            self._documents += 1
            order = self.cluster.addresses
            board.nodes = sorted(told.nodes, key=lambda node: order.index(node.address))
        elif isinstance(told, str):
            self._lines.append(told)
        else:
            self._take_from_firm(who, told)

    def _take_from_firm(self, name: str, said: Said) -> None:
        if isinstance(said, Acknowledged):
            self._answers[name] += said.answers
            self._sent[name] = said.sent
            self._microseconds += said.microseconds
            self._arrivals.append(said.at)
            self.board.latencies.extend(said.microseconds)
            self.board.pace(sum(map(len, self._answers.values())), sum(self._sent.values()))
        elif isinstance(said, Repeated):
            self._again[name] = said
        elif isinstance(said, Left):
            self._left[name] = said


def _numbers(left: Left) -> tuple[int, int]:
    return left.retries, left.redirects


def runs_anew(cluster: Cluster, node: int, other_than: int) -> bool:
    """Whether a node runs in a process other than that."""
    try:
        return cluster.pid(node) != other_than
    except (OSError, ValueError):
        return False
