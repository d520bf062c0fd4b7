"""What the show of a cluster knows: told by nodes, firms and its own client, each from a thread of its own.

Everybody tells what he learns to one queue, and one thread, which waits for something to be so, takes it in. So nothing
here needs a lock, and whoever fails ends the wait.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, Final

import rsm
from demos.orderbook.audit import Story
from demos.orderbook.cluster import Cluster, Document, NodeLine, Told
from demos.orderbook.cluster_board import ClusterBoard
from demos.orderbook.desk import Answer
from demos.orderbook.flowgen import INSTRUMENTS, Instrument
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
# Waits are bounded, generously: a node takes a second to start, and ten times that where others use the processors.
WAIT_SECONDS_MAX: Final = 120.0
# How often the books are looked at for drawing, and how deep.
LOOK_SECONDS: Final = 0.3
LOOK_LEVELS: Final = 24
# Nodes are not asked at the very same time: so many entries may lie between the answers of two that stand alike.
ENTRIES_BETWEEN: Final = 8


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


class News:
    """What was told so far, and waiting for more. The board is told too."""

    cluster: Cluster

    def __init__(self, board: ClusterBoard) -> None:
        self.board = board
        self.events = Events()
        self.answers: dict[str, list[Answer]] = {name: [] for name in FIRMS}
        self.again: dict[str, Repeated] = {}
        self.left: dict[str, Left] = {}
        self.microseconds: list[int] = []  # of every command, from sending it to having its answer
        self.document = Document([])
        self.lines: list[str] = []  # of the supervisor
        self.is_over = False  # what ends from here on was ended by us
        self._sent = dict.fromkeys(FIRMS, 0)
        self._arrivals: list[float] = []  # when answers came
        self._documents = 0
        self._told: queue.Queue[tuple[str, Any]] = queue.Queue()

    # --- who tells ----------------------------------------------------------------------------------------------------

    def hear(self, told: Told) -> None:
        """From the cluster's threads: a line of the supervisor, or how the nodes stand."""
        self._told.put(("cluster", told))

    def listen(self, name: str, life: Life) -> None:
        """Begin to listen to a firm, until it ends; not well is an end of the show."""

        def run() -> None:
            for said in life:
                self._told.put((name, said))
            if not self.is_over:
                life.finish()

        self._begin(name, run)

    def follow(self, client: OrderBook) -> None:
        """Begin to follow the reports."""

        def run() -> None:
            for event in client.events(follow=True):
                self._told.put(("report", event))

        self._begin("reports", run)

    def look(self, client: OrderBook) -> None:
        """Begin to look at the books, if anybody sees them drawn, on whichever node answers."""

        def run() -> None:
            stale = client.reading("stale")
            while self.board.is_live and not self.is_over:
                markets = [view(stale, instrument.number, LOOK_LEVELS) for instrument in INSTRUMENTS]
                self._told.put(("books", markets))
                time.sleep(LOOK_SECONDS)

        self._begin("books", run)

    def _begin(self, what: str, work: Callable[[], None]) -> None:
        def run() -> None:
            with self._telling(what):
                work()

        threading.Thread(target=run, daemon=True).start()

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ServiceFailed, rsm.RsmError, OSError) as error:
            if not self.is_over:
                self._told.put(("ended", f"{what}: {error}"))

    # --- who waits ----------------------------------------------------------------------------------------------------

    def wait(
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

    def ask_again(self) -> None:
        """Wait for what the nodes say from now on: an answer may be older than what was done."""
        enough = self._documents + 2
        self.wait(lambda: self._documents >= enough, "the nodes' status")

    def _take(self, who: str, told: Any) -> None:
        board = self.board
        if who == "report":
            self.events.take(told)
        elif who == "books":
            board.markets.look(told)
        elif who == "ended":
            raise ServiceFailed(told)
        elif isinstance(told, Document):
            self.document = told
            self._documents += 1
            order = self.cluster.addresses
            board.nodes = sorted(told.nodes, key=lambda node: order.index(node.address))
        elif isinstance(told, str):
            self.lines.append(told)
        else:
            self._take_from_firm(who, told)

    def _take_from_firm(self, name: str, said: Said) -> None:
        if isinstance(said, Acknowledged):
            self.answers[name] += said.answers
            self._sent[name] = said.sent
            self.microseconds += said.microseconds
            self._arrivals.append(said.at)
            self.board.latencies.extend(said.microseconds)
            self.board.pace(sum(map(len, self.answers.values())), sum(self._sent.values()))
        elif isinstance(said, Repeated):
            self.again[name] = said
        elif isinstance(said, Left):
            self.left[name] = said

    # --- what follows -------------------------------------------------------------------------------------------------

    def node(self, number: int) -> NodeLine:
        """What is known of a node."""
        return self.board.nodes[number - 1]

    def leader(self, after: int = 0) -> int:
        """The number of the node that leads in the newest term, but one after that term; 0 if there is none."""
        nodes = self.board.nodes
        leaders = [(node.term, node.node_id) for node in nodes if node.role == "leader" and node.term > after]
        return max(leaders, default=(0, 0))[1]

    def is_well(self) -> bool:
        """Whether three nodes are up, of which one leads."""
        nodes = self.document.nodes
        return len(nodes) == 3 and all(node.role in ("leader", "follower") for node in nodes) and self.leader() > 0

    def is_at_rest(self) -> bool:
        """Whether all nodes have applied the same, and taken their roots at the same index; or never will."""
        nodes = self.document.nodes
        places = {(node.root_index, node.applied_index, node.commit_index) for node in nodes}
        is_alike = len(nodes) == 3 and len(places) == 1 and not any(node.error for node in nodes)
        return is_alike or bool(self.document.desync)

    def has_caught_up(self, number: int) -> bool:
        """Whether a node follows, and has applied what the leader had committed when both were asked."""
        node, leader = self.node(number), self.leader()
        if not leader or node.role != "follower":
            return False
        return node.applied_index + ENTRIES_BETWEEN >= self.node(leader).commit_index

    def has_answer_after(self, at: float) -> bool:
        """Whether anybody got an answer after that time of the monotonic clock."""
        return bool(self._arrivals) and max(self._arrivals[-len(FIRMS) :]) > at

    def end_of_silence(self, since: float) -> float:
        """When the longest time without an answer was over."""
        times = [since, *sorted(at for at in self._arrivals if at > since)]
        gaps = [(after - before, after) for before, after in pairwise(times)]
        return max(gaps, default=(0.0, since))[1]
