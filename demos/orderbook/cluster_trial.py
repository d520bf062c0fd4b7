"""Three flows through a cluster of three nodes, of which one is killed and another loses its directory meanwhile.

Three firms, each a process with a client of its own, trade different markets, so that each firm's flow decides what its
markets come to, however the cluster mixes them. The show itself is a fourth client: it follows the reports from before
the first command until after the last, and looks at the books. What all of them have learned is compared at the end
with the same flows on plain containers; the nodes are compared with each other.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import rsm
from demos.orderbook.audit import Audit, Story
from demos.orderbook.cluster import Cluster
from demos.orderbook.cluster_board import ClusterBoard, percentile
from demos.orderbook.firm import REPEATED
from demos.orderbook.flowgen import INSTRUMENTS, Flow
from demos.orderbook.lives import Life, ServiceFailed
from demos.orderbook.machine import OrderBook
from demos.orderbook.messages import Left
from demos.orderbook.news import FIRMS, LOOK_LEVELS, NUMBERS_APART, WAIT_SECONDS_MAX, News
from demos.orderbook.planted import BROKEN, SOUND
from demos.orderbook.survey import view
from demos.orderbook.terminal import Stage

# When harm is done: once this part of the commands is acknowledged.
KILL_AT: Final = 0.25
EMPTY_AT: Final = 0.4
BREAK_AT: Final = 0.55
# Where the firms pause if that has not been done by then. On a quiet machine it has.
PAUSE_AT: Final = 0.65
# A slow machine needs minutes for what is paced to take seconds.
TRADE_SECONDS_MAX: Final = 600.0

STAGES: Final = (
    "write three flows",
    "bring up three nodes",
    "trade",
    "kill -9 the leader",
    "empty a follower",
    "a bug in one node",
    "trade on",
    "compare",
)


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
        self.news = News(board)
        self.cluster: Cluster
        self._lives: list[Life] = []

    def run(self, plant: Callable[[list[str]], None] | None = None) -> None:
        """All stages. `plant` is given the addresses when all is traded: a test does harm there that must be found."""
        with self.board.stage(0, self.commands) as stage:
            self._write(stage)
        with contextlib.ExitStack() as stack:
            try:
                self._run(stack, plant)
            finally:
                self.news.is_over = True

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
            self._break_one(stage)
        with self.board.stage(6, self.commands) as stage:
            self._trade_on(stage)
        if plant is not None:
            plant(self.cluster.addresses)
        with self.board.stage(7) as stage:
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
        board, news = self.board, self.news
        board.start_clock()
        cluster = self.cluster = news.cluster = stack.enter_context(Cluster(self.machine, self.scratch, news.hear))
        news.wait(lambda: bool(cluster.addresses), "the cluster's directory")
        cluster.watch()
        news.wait(news.is_well, "three nodes and a leader")
        board.tell(f"three nodes are up, node {news.leader()} leads")
        client = stack.enter_context(rsm.connect(OrderBook, cluster.addresses, timeout_seconds=WAIT_SECONDS_MAX))
        news.follow(client)
        news.look(client)
        stage.detail = "rsm cluster up: each a process, supervised"
        return client

    # --- while it trades ----------------------------------------------------------------------------------------------

    def _begin_to_trade(self, stack: contextlib.ExitStack, stage: Stage) -> None:
        news = self.news
        for place, name in enumerate(FIRMS):
            rate = self.rate / len(FIRMS)
            flow, pause = self.scratch / f"{name}.flow", int(self._share(place) * PAUSE_AT)
            arguments = (name, flow, place * NUMBERS_APART, rate, pause, *self.cluster.addresses)
            life = stack.enter_context(Life("firm", *arguments))
            self._lives.append(life)
            news.listen(name, life)
        self.board.is_alive = True
        news.wait(lambda: all(news.answers.values()), "the first answers", stage)
        self.board.tell(f"{len(FIRMS)} clients trade, {self.rate:,} commands a second")
        self._trade_until(KILL_AT, stage)
        stage.detail = f"{len(FIRMS)} client processes, {self.rate:,} commands/s"

    def _kill_leader(self, stage: Stage) -> int:
        """SIGKILL; until somebody else leads, writes go on, and the killed one has caught up. Its number."""
        board, cluster, news = self.board, self.cluster, self.news
        news.wait(lambda: news.leader() > 0, "a leader")
        leader, term = news.leader(), max(node.term for node in board.nodes)
        killed_at = time.monotonic()
        acknowledged, flying = board.acknowledged, board.sent - board.acknowledged
        pid = cluster.kill(leader)
        board.tell(f"node {leader}, the leader, is killed: {acknowledged:,} acknowledged, {flying:,} on their way")
        news.wait(lambda: news.leader(after=term) > 0, "another leader")
        new, seen_at = news.leader(), time.monotonic()
        news.wait(
            lambda: news.has_answer_after(seen_at) or board.acknowledged >= self.commands, "answers from the new leader"
        )
        resumed_at = news.end_of_silence(killed_at)
        resumed = resumed_at - killed_at
        board.tell(f"node {new} leads, writes go on: {resumed:.2f} s after the kill", resumed_at)
        was_told = f"node {leader} was killed by SIGKILL"
        news.wait(lambda: any(line.startswith(was_told) for line in news.lines), "word of the supervisor")
        news.wait(lambda: runs_anew(cluster, leader, pid), f"node {leader} to start")
        news.ask_again()
        news.wait(lambda: news.has_caught_up(leader), f"node {leader} to catch up")
        back = time.monotonic() - killed_at
        board.tell(f"node {leader}, started again, has caught up at index {news.node(leader).applied_index:,}")
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

    def _empty_follower(self, stage: Stage, spared: int) -> None:
        """A follower that has not suffered yet loses everything; until it has all of it again."""
        board, cluster, news = self.board, self.cluster, self.news
        self._trade_until(EMPTY_AT, stage)
        stage.total = 0
        news.wait(lambda: news.leader() > 0, "a leader")
        node = next(number for number in range(1, 4) if number not in (news.leader(), spared))
        before, acknowledged = news.node(node), board.acknowledged
        pid, emptied_at = cluster.empty(node), time.monotonic()
        board.tell(f"node {node}, a follower, is killed and its directory deleted, at index {before.applied_index:,}")
        news.wait(lambda: runs_anew(cluster, node, pid), f"node {node} to start")
        news.ask_again()
        news.wait(lambda: not news.node(node).error, f"node {node} to answer")
        board.tell(f"node {node} is up again, with nothing")
        news.wait(lambda: news.has_caught_up(node), f"node {node} to catch up")
        back, after = time.monotonic() - emptied_at, news.node(node)
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

    def _break_one(self, stage: Stage) -> None:
        """One follower's process computes otherwise from here on; until it is found, named, and sound again."""
        board, cluster, news = self.board, self.cluster, self.news
        self._trade_until(BREAK_AT, stage)
        stage.total = 0
        news.wait(lambda: news.leader() > 0, "a leader")
        node = next(number for number in range(1, 4) if number != news.leader())
        pid, broken_at, at_index = cluster.plant(node), time.monotonic(), news.node(node).applied_index
        for life in self._lives:
            life.go_on()
        board.tell(f"node {node}, a follower, gets a bug, in its memory only: {SOUND} becomes {BROKEN}")
        news.wait(lambda: news.node(node).standing not in ("well", "suspect"), "the verdict")
        found, acknowledged = time.monotonic() - broken_at, board.acknowledged

        def verdicts() -> list[dict[str, Any]]:
            """Those of the other nodes that name it: it applies nothing any more, its own last word included."""
            others = [one for one in board.nodes if one.node_id != node]
            return [case for one in others for case in one.verdicts if node in case["minority"]]

        news.wait(lambda: bool(verdicts()), f"the others to name node {node}")
        case = verdicts()[0]
        board.tell(f"the nodes find that node {node} differs at index {case['index']:,}: it is quarantined")
        news.wait(lambda: news.node(node).standing == "out", f"node {node} to run its log again")
        board.tell(f"node {node} has kept evidence, run its log again, and come to the same wrong root: it stays out")
        replayed = cluster.look_into(cluster.evidence(node, news.node(node).evidence))
        # The sound exchange has the majority's root; where the node left it is a finding of its own.
        finding = replayed["evidence"] or replayed
        paths = [path["path"] for path in finding["paths"]]
        name = (finding["command"] or {}).get("name")
        # Its log, run again, has the bug from the snapshot on: the command may be older than the planting.
        at, position = finding["first_bad_index"], finding["first_bad_command"]
        board.tell(f"rsm desync replay: index {at}, command {position}, {name}: {paths[0] if paths else 'no path'}")
        meanwhile = board.acknowledged - acknowledged
        cluster.kill(node)
        board.tell(f"node {node} is started again, without the bug; {meanwhile:,} commands were answered meanwhile")
        news.wait(lambda: runs_anew(cluster, node, pid), f"node {node} to start")
        news.ask_again()
        news.wait(lambda: news.has_caught_up(node) and news.node(node).standing == "well", f"node {node} to heal")
        news.wait(lambda: not news.document.desync, "the nodes to agree again")
        healed = time.monotonic() - broken_at
        board.tell(f"node {node} has the majority's root again")
        self.audit.check(
            "bug in one node",
            replayed["verdict"] == "agree"
            and finding["verdict"] == "desync"
            and case["minority"] == [node]
            and bool(paths)
            and at <= case["index"]
            and case["index"] > at_index,
            f"node {node} was named after {found:.2f} s, and index {at}, command {position} ({name}), "
            f"{paths[0] if paths else ''}; it was quarantined, kept evidence, and healed once the bug was gone",
            f"the detector says {finding}, the nodes say {case}",
        )
        stage.detail = f"named after {found:.2f} s, healed after {healed:.1f} s"
        self.facts |= {
            "broken_node": node,
            "broken_named_seconds": round(found, 3),
            "broken_healed_seconds": round(healed, 2),
            "first_bad_index": at,
            "first_bad_command": position,
            "bad_command": name,
            "bad_paths": paths[:8],
            "answered_while_out": meanwhile,
        }

    def _trade_on(self, stage: Stage) -> None:
        news = self.news
        self._trade_until(1, stage)
        self.board.tell(f"all {self.commands:,} commands are acknowledged")
        news.wait(lambda: len(news.left) == len(FIRMS), "the clients to end")
        self.board.is_alive = False
        retries, redirects = (sum(values) for values in zip(*map(_numbers, news.left.values()), strict=True))
        stage.detail = f"{retries:,} sent again by themselves, {redirects:,} redirects"
        self.facts |= {
            "retries": retries,
            "redirects": redirects,
            "latency_p50_ms": percentile(news.microseconds, 50) / 1e3,
            "latency_p99_ms": percentile(news.microseconds, 99) / 1e3,
            "latency_max_ms": max(news.microseconds) / 1e3,
        }

    # --- the proof ----------------------------------------------------------------------------------------------------

    def _compare(self, stage: Stage, client: OrderBook) -> None:
        audit, news = self.audit, self.news
        audit.answered(list(news.answers.values()))
        audit.sent_again(
            [news.again[name].first for name in FIRMS],
            [news.again[name].answers for name in FIRMS],
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
        news = self.news
        events, due = news.events, sum(len(story.reports) for story in self.audit.stories)
        last = deque(client.events(), 1)[0].identity
        with contextlib.suppress(ServiceFailed):  # then they are too few, which the comparison says better
            news.wait(lambda: events.last >= last and len(events.reports) >= due, "the last reports")
        self.audit.same_reports(
            [events.of(story) for story in self.audit.stories],
            events.repeated + (events.last != last),
            f"all {due:,}, in order, none twice, as read by one who followed them all the time",
        )
        self.facts["reports"] = due

    def _same_roots(self) -> None:
        news = self.news
        with contextlib.suppress(ServiceFailed):
            news.wait(news.is_at_rest, "three nodes at the same index")
        nodes = news.document.nodes
        places = {(node.root, node.root_index, node.applied_index) for node in nodes}
        strange = [*news.document.desync, *(node.failure for node in nodes if node.failure)]
        first = nodes[0]
        self.audit.check(
            "three equal roots",
            len(nodes) == 3 and len(places) == 1 and bool(first.root) and not strange,
            f"{first.root[:16]} at index {first.root_index:,} on all three nodes, which have applied up to "
            f"{first.applied_index:,}",
            "; ".join(strange) or ", ".join(f"{root[:16] or 'none'} at {index:,}" for root, index, _ in sorted(places)),
        )
        self.facts |= {"root": first.root, "root_index": first.root_index, "log_index": first.applied_index}

    def _trade_until(self, part: float, stage: Stage) -> None:
        wanted = int(self.commands * part)
        self.news.wait(lambda: self.board.acknowledged >= wanted, f"{wanted:,} answers", stage, TRADE_SECONDS_MAX)


def _numbers(left: Left) -> tuple[int, int]:
    return left.retries, left.redirects


def runs_anew(cluster: Cluster, node: int, other_than: int) -> bool:
    """Whether a node runs in a process other than that."""
    try:
        return cluster.pid(node) != other_than
    except (OSError, ValueError):
        return False
