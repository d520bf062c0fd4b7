"""A cluster that goes from version 1 of the exchange to version 3 while old and new clients trade on it.

Node by node the new code is installed: a line in the node's file, and a kill. Then two commands put version 2 and
version 3 in force, each at one index. At last one node gets what should never have been released, another rounding
under the same number, and must be found.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import rsm
from demos.orderbook.audit import Audit
from demos.orderbook.cluster import Cluster, NodeLine
from demos.orderbook.cluster_board import ClusterBoard, percentile
from demos.orderbook.cluster_trial import runs_anew
from demos.orderbook.drawing import size
from demos.orderbook.lives import Life, ServiceFailed
from demos.orderbook.messages import Counted, Left, Said
from demos.orderbook.news import WAIT_SECONDS_MAX, News
from demos.orderbook.releases.v1 import ExchangeV1
from demos.orderbook.terminal import Stage
from demos.orderbook.trader import INSTRUMENTS

OLD: Final = "demos.orderbook.releases.v1:ExchangeV1"
NEW: Final = "demos.orderbook.releases.v3:Exchange"
UNSAFE: Final = "demos.orderbook.releases.unsafe:Exchange"
LOCK: Final = Path(__file__).parent / "releases" / "commands.lock"
# Who trades: (name, release of the client, first order id).
TRADERS: Final = (("alder", 1, 1), ("birch", 1, 10**9), ("cedar", 3, 2 * 10**9))
# The whole log is replayed at the end, so nothing of it may be thrown away.
SNAPSHOT_BYTES: Final = 1 << 30
# Commands between two steps: enough to see that trading goes on.
COMMANDS_BETWEEN: Final = 400

STAGES: Final = (
    "bring up version 1",
    "trade",
    "install version 3",
    "put 2 and 3 in force",
    "an unsafe release",
    "compare",
)


class UpgradeBoard(ClusterBoard):
    """The board of a cluster, with the release in force and those that a node has."""

    def columns(self, node: NodeLine) -> Iterator[tuple[str, int, str]]:
        """Those of every cluster, after which release is in force and which ones are there."""
        oldest, newest = node.releases
        yield "in force", 8, f"v{node.version}"
        yield "ships", 8, f"v{oldest}" if oldest == newest else f"v{oldest} to v{newest}"
        yield from (column for column in super().columns(node) if column[0] != "log")
        yield "log", 8, size(node.log_bytes)


class UpgradeNews(News):
    """What traders tell is how far they are."""

    def __init__(self, board: ClusterBoard) -> None:
        super().__init__(board)
        self.counts: dict[str, Counted] = {}

    def _take_from_firm(self, name: str, said: Said) -> None:
        if isinstance(said, Counted):
            self.counts[name] = said
            self.microseconds += said.microseconds
            self._arrivals.append(said.at)
            self.board.latencies.extend(said.microseconds)
            self.board.pace(self.total("answered"), self.total("sent"))
        elif isinstance(said, Left):
            self.left[name] = said

    def total(self, what: str) -> int:
        """A count of all traders together."""
        return sum(getattr(one, what) for one in self.counts.values())


class UpgradeTrial:
    """One run. `machine` is where the cluster lives, `scratch` for the rest."""

    def __init__(self, seed: int, rate: int, machine: Path, scratch: Path, board: ClusterBoard) -> None:
        self.seed = seed
        self.rate = rate
        self.machine = machine
        self.scratch = scratch
        self.board = board
        self.audit = Audit()
        self.facts: dict[str, Any] = {
            "seed": seed,
            "rate": rate,
            "nodes": 3,
            "clients": {name: version for name, version, _ in TRADERS},
            "durability": "fsync",
        }
        self.news = UpgradeNews(board)
        self.cluster: Cluster
        self._lives: list[Life] = []
        self._flips: dict[int, int] = {}

    def run(self) -> None:
        """All stages."""
        with contextlib.ExitStack() as stack:
            checker = stack.enter_context(ThreadPoolExecutor(1))
            try:
                with self.board.stage(0) as stage:
                    self._bring_up(stack, stage)
                # Takes seconds and needs no cluster: it runs meanwhile.
                schema = checker.submit(self.cluster.ask, "schema", "check", UNSAFE, "--file", str(LOCK))
                with self.board.stage(1) as stage:
                    self._begin_to_trade(stack, stage)
                with self.board.stage(2) as stage:
                    self._install(stage)
                with self.board.stage(3) as stage:
                    self._commit(stage)
                with self.board.stage(4) as stage:
                    self._unsafe(stage, schema)
                with self.board.stage(5) as stage:
                    self._compare(stage)
            finally:
                self.news.is_over = True

    # --- stages -------------------------------------------------------------------------------------------------------

    def _bring_up(self, stack: contextlib.ExitStack, stage: Stage) -> None:
        board, news = self.board, self.news
        board.start_clock()
        cluster = Cluster(self.machine, self.scratch, news.hear, OLD, SNAPSHOT_BYTES)
        self.cluster = news.cluster = stack.enter_context(cluster)
        news.wait(lambda: bool(cluster.addresses), "the cluster's directory")
        cluster.watch()
        news.wait(news.is_well, "three nodes and a leader")
        with rsm.connect(ExchangeV1, cluster.addresses, timeout_seconds=WAIT_SECONDS_MAX) as client:
            for instrument in INSTRUMENTS:
                client.list_instrument(instrument, f"SYM{instrument}")
        board.tell(f"three nodes are up with version 1, node {news.leader()} leads")
        stage.detail = "rsm cluster up, a class that ships nothing else"

    def _begin_to_trade(self, stack: contextlib.ExitStack, stage: Stage) -> None:
        news = self.news
        for place, (name, version, first) in enumerate(TRADERS):
            rate = self.rate / len(TRADERS)
            arguments = (version, name, self.seed + place, first, rate, *self.cluster.addresses)
            life = stack.enter_context(Life("trader", *arguments))
            self._lives.append(life)
            news.listen(name, life)
        self.board.is_alive = True
        news.wait(lambda: len(news.counts) == len(TRADERS), "the first answers")
        clients = ", ".join(f"{name} is of version {version}" for name, version, _ in TRADERS)
        self.board.tell(f"{len(TRADERS)} clients trade, {self.rate:,} commands a second: {clients}")
        self._trade_on()
        stage.detail = "old clients, and a new one that says what the old cluster knows"

    def _install(self, stage: Stage) -> None:
        """Followers first. After the first one a bump must be refused: the others could not follow."""
        board, news = self.board, self.news
        done: list[int] = []
        refusal: dict[str, Any] = {}
        code = 0
        began = time.monotonic()
        while len(done) < 3:
            news.wait(lambda: news.leader() > 0, "a leader")
            left = [number for number in range(1, 4) if number not in done]
            node = next((number for number in left if number != news.leader()), left[0])
            role = "the leader" if node == news.leader() else "a follower"
            self._restart(node, NEW)
            done.append(node)
            board.tell(f"node {node}, {role}, was killed and runs version 3's code; version 1 stays in force")
            if len(done) == 1:
                code, refusal = self._upgrade(2)
                board.tell(f"rsm upgrade commit 2 is refused: {_said(refusal)}")
            self._trade_on()
        self.audit.check(
            "no bump too early",
            code != 0 and "error" in refusal,
            f"rsm upgrade commit 2, with one node upgraded: {_said(refusal)}",
            f"rsm upgrade commit 2 ended with {code} while two voters lacked version 2: {refusal}",
        )
        stage.detail = f"nodes {', '.join(map(str, done))}, one after the other, in {time.monotonic() - began:.1f} s"

    def _restart(self, node: int, machine: str) -> None:
        """Another machine in the node's file, and SIGKILL; until it has caught up."""
        cluster, news = self.cluster, self.news
        cluster.install(node, machine)
        pid = cluster.kill(node)
        news.wait(lambda: runs_anew(cluster, node, pid), f"node {node} to start")
        news.ask_again()
        news.wait(lambda: news.leader() > 0 and not news.node(node).error, f"node {node} to answer")
        news.wait(lambda: news.has_caught_up(node) or news.leader() == node, f"node {node} to catch up")

    def _upgrade(self, version: int) -> tuple[int, dict[str, Any]]:
        addresses = [word for address in self.cluster.addresses for word in ("--address", address)]
        return self.cluster.ask("upgrade", "commit", str(version), *addresses)

    def _commit(self, stage: Stage) -> None:
        board, news = self.board, self.news
        for version in (2, 3):
            code, document = self._upgrade(version)
            if code:
                raise ServiceFailed(f"rsm upgrade commit {version} ended with {code}: {_said(document)}")
            self._flips[version] = document["index"]
            board.tell(f"rsm upgrade commit {version}: in force from index {document['index']:,} on")
            news.wait(lambda v=version: all(one.version == v for one in board.nodes), f"version {version} everywhere")  # type: ignore[misc]  # bound at once
            self._trade_on()
        for life in self._lives:
            life.go_on()
        board.tell("clients of version 3 use times in force and self-trade prevention from here on")
        self._trade_on()
        self.facts["flips"] = {str(version): index for version, index in self._flips.items()}
        stage.detail = ", ".join(f"version {version} at index {index:,}" for version, index in self._flips.items())

    def _unsafe(self, stage: Stage, schema: Future[tuple[int, dict[str, Any]]]) -> None:
        """What rsm schema check says of it; and what the cluster says when it is forced onto a node all the same."""
        board, cluster, news = self.board, self.cluster, self.news
        news.wait(schema.done, "rsm schema check")
        code, document = schema.result()
        reason = _first_break(document)
        board.tell(f"rsm schema check, of version 3 with another rounding: {reason}")
        self.audit.check(
            "found before release",
            code == 1,
            f"rsm schema check ends with 1: {reason}",
            f"rsm schema check ended with {code}: {document}",
        )
        self._shadow()
        news.wait(lambda: news.leader() > 0, "a leader")
        node = next(number for number in range(1, 4) if number != news.leader())
        at_index, began = news.node(node).applied_index, time.monotonic()
        cluster.install(node, UNSAFE)
        pid = cluster.kill(node)
        board.tell(f"node {node}, a follower, gets it all the same: the same number, another rounding of old prices")
        news.wait(lambda: runs_anew(cluster, node, pid), f"node {node} to start")
        news.ask_again()
        news.wait(lambda: news.node(node).standing == "out" and bool(news.node(node).evidence), "the verdict")
        found = time.monotonic() - began
        # A verdict of all nodes, or its own: when it starts it runs its log again, and the log has the roots confirmed.
        cases = [case for one in board.nodes for case in one.verdicts if node in case["minority"]][-1:]
        case = f"by the verdict at index {cases[0]['index']:,}" if cases else f"by itself: {news.node(node).desync}"
        board.tell(f"node {node} is found to differ, {case}: it is quarantined")
        replayed = cluster.look_into(cluster.evidence(node, news.node(node).evidence), NEW)
        finding = replayed.get("evidence") or replayed
        name = (finding.get("command") or {}).get("name")
        paths = [path["path"] for path in finding.get("paths", ())]
        at, position = finding.get("first_bad_index"), finding.get("first_bad_command")
        board.tell(f"rsm desync replay: index {at}, command {position}, {name}: {paths[0] if paths else 'no path'}")
        self._restart(node, NEW)
        news.wait(lambda: news.node(node).standing == "well" and not news.document.desync, f"node {node} to heal")
        board.tell(f"node {node} has version 3 as it was released again, and the majority's root")
        self.audit.check(
            "found when forced",
            all(one["minority"] == [node] for one in cases) and bool(paths) and name in ("place", "replace"),
            f"node {node} was out after {found:.1f} s; it left the others at index {at}, command {position} ({name}), "
            f"{paths[0] if paths else ''}",
            f"the detector says {finding}, the nodes say {cases or case}",
        )
        stage.detail = f"schema check and shadow say no; forced, it is out after {found:.1f} s"
        self.facts |= {
            "schema_check": reason,
            "unsafe_node": node,
            "unsafe_found_seconds": round(found, 2),
            "unsafe_from_index": at_index,
            "first_bad_index": at,
            "first_bad_command": position,
            "bad_command": name,
            "bad_paths": paths[:8],
        }

    def _shadow(self) -> None:
        """The unsafe release beside the cluster, on what was traded under version 3; nothing is installed for it."""
        since = self._flips[3] + 1
        code, document = self.cluster.ask(
            *("shadow", "--machine", UNSAFE, "--against", NEW, "--from", str(since), "--for", "0"),
            *self.cluster.addresses,
        )
        types = document.get("types", {})
        differing = {
            name: (one["commands"], max(one["result"], one["events"], one["state"]))
            for name, one in types.items()
            if one["result"] or one["events"] or one["state"]
        }
        found = ", ".join(f"{name}: {differ:,} of {commands:,}" for name, (commands, differ) in differing.items())
        self.board.tell(f"rsm shadow, the same beside the cluster: commands that do otherwise are {found or 'none'}")
        self.audit.check(
            "found in the shadow",
            code == 1 and document.get("verdict") == "differs" and "place" in differing,
            f"rsm shadow ends with 1, before anything is installed; commands that do otherwise: {found}",
            f"rsm shadow ended with {code}: {_said(document)[:500]}",
        )
        self.facts["shadow"] = {name: differ for name, (_, differ) in differing.items()}

    # --- the proof ----------------------------------------------------------------------------------------------------

    def _compare(self, stage: Stage) -> None:
        news = self.news
        self._trade_on()
        for life in self._lives:
            life.end_input()
        news.wait(lambda: len(news.left) == len(TRADERS), "the clients to end")
        self.board.is_alive = False
        self._no_failures()
        self._same_roots()
        self._one_index_each()
        self._replayed()
        stage.detail = "answers, roots, flips, and the whole log again"
        self.board.tell("everything is compared")

    def _no_failures(self) -> None:
        news = self.news
        sent, answered, refused = (news.total(what) for what in ("sent", "answered", "refused"))
        failures = [one.failure for one in news.counts.values() if one.failure]
        self.audit.check(
            "no failed command",
            sent == answered and not failures,
            f"{sent:,} sent by old and new clients, {answered:,} answered, none failed ({refused:,} named an order "
            "that had traded, and were refused by the book)",
            f"{sent:,} sent, {answered:,} answered, {news.total('failed'):,} failed: {'; '.join(failures)}",
        )
        self.facts |= {
            "commands": sent,
            "answered": answered,
            "refused": refused,
            "failed": news.total("failed"),
            "retries": sum(one.retries for one in news.left.values()),
            "latency_p50_ms": percentile(news.microseconds, 50) / 1e3,
            "latency_p99_ms": percentile(news.microseconds, 99) / 1e3,
            "latency_max_ms": max(news.microseconds) / 1e3,
        }

    def _same_roots(self) -> None:
        news = self.news
        with contextlib.suppress(ServiceFailed):
            news.wait(news.is_at_rest, "three nodes at the same index")
        nodes = news.document.nodes
        places = {(node.root, node.root_index, node.applied_index, node.version) for node in nodes}
        strange = [*news.document.desync, *(node.failure for node in nodes if node.failure)]
        first = nodes[0]
        self.audit.check(
            "three equal roots",
            len(nodes) == 3 and len(places) == 1 and first.version == 3 and bool(first.root) and not strange,
            f"{first.root[:16]} at index {first.root_index:,} on all three nodes, under version {first.version}",
            "; ".join(strange) or ", ".join(sorted(map(str, places))),
        )
        self.facts |= {"root": first.root, "root_index": first.root_index, "log_index": first.applied_index}

    def _one_index_each(self) -> None:
        """Where each node's own log has the flips."""
        found = [
            _flips(self.cluster.lines("log", "cat", str(self.machine / f"node-{node}"), "--command", "rsm.activate"))
            for node in (1, 2, 3)
        ]
        self.audit.check(
            "one flip index each",
            all(one == self._flips for one in found),
            ", ".join(f"version {version} from index {index:,}" for version, index in self._flips.items())
            + " in the logs of all three nodes",
            f"the logs have {found}, the commits said {self._flips}",
        )

    def _replayed(self) -> None:
        """One node's log from its first entry on: each part under its own release, every recorded root again."""
        code, document = self.cluster.ask("desync", "replay", str(self.machine / "node-1"), "--machine", NEW)
        self.audit.check(
            "replays through all three",
            code == 0 and document.get("verdict") == "agree",
            f"{document.get('replayed_commands', 0):,} commands of node 1's log, from version 1 to 3, come to every "
            f"recorded root, up to index {document.get('checked_to_index', 0):,}",
            f"rsm desync replay ended with {code}: {document}",
        )

    def _trade_on(self) -> None:
        """Until every client has got some more answers."""
        news = self.news
        before = {name: one.answered for name, one in news.counts.items()}
        wanted = COMMANDS_BETWEEN // len(TRADERS)
        news.wait(lambda: all(news.counts[name].answered >= before[name] + wanted for name in before), "more answers")


def _said(document: dict[str, Any]) -> str:
    """The one line of a command that did not do it."""
    return str(document.get("error", document)).removeprefix("rsm: ")


def _first_break(document: dict[str, Any]) -> str:
    """The first thing that rsm schema check found."""
    breaks = document.get("breaks") or [{"subject": "nothing", "change": document.get("error", "is broken")}]
    return f"{breaks[0]['subject']}: {breaks[0]['change']}"


def _flips(declared: list[dict[str, Any]]) -> dict[int, int]:
    """Version -> index at which a log moves the machine on to it, of all versions but the first."""
    found: dict[int, int] = {}
    for command in declared:
        version = command["values"]["version"]
        if version > 1:
            found.setdefault(version, command["index"])
    return found
