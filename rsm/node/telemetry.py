"""What a node's process tells: its log, one line an event, and its metrics.

The log. Library code logs through `rsm.node.log.logger`, which in an application ends in the standard library's logger
"rsm". A node's process owns its log, so `configure_logging` exchanges the last step of that way: events become JSON (or
text for a console) with time, node and level, and what other libraries log takes the same form.

The metrics. Hot code adds to plain attributes; nothing of prometheus_client runs until somebody scrapes. What a status
holds anyway (role, indexes, peers) is read from it then, so nobody has to keep gauges up to date.
"""

from __future__ import annotations

import logging
import sys
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, TextIO

import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from rsm.node.log import processors
from rsm.node.status import ROLES, STANDINGS, NodeStatus, StatusSource

__all__ = ["Histogram", "LogFormat", "LogLevel", "Metrics", "configure_logging"]

LogFormat = Literal["json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]


# --- the log ----------------------------------------------------------------------------------------------------------


def configure_logging(node_id: int, log_format: LogFormat, level: LogLevel, *, stream: TextIO | None = None) -> None:
    """Send this process's log to `stream` (standard error), in this form. Call it once, before the node starts."""
    out = sys.stderr if stream is None else stream

    def add_node(_logger: Any, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event["node"] = node_id
        return event

    stamp = structlog.processors.TimeStamper(fmt="iso", utc=True)
    last: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if log_format == "console":
        last = structlog.dev.ConsoleRenderer(colors=out.isatty())
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.processors.format_exc_info],
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, stamp, add_node, last],
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("rsm").setLevel(level.upper())
    processors()[-1] = structlog.stdlib.ProcessorFormatter.wrap_for_formatter


# --- the metrics ------------------------------------------------------------------------------------------------------

# Seconds: from a sync into preallocated space (0.1 ms) to an election.
LATENCY_BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0),
)
# Commands of one batch, up to BATCH_COMMANDS_MAX.
BATCH_BOUNDS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Histogram:
    """Counts by upper bound. `observe` costs about a quarter of a microsecond."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def family(self, name: str, text: str) -> HistogramMetricFamily:
        """As Prometheus has it: cumulative."""
        buckets, total = [], 0
        for bound, number in zip((*map(float, self.bounds), float("inf")), self.counts, strict=True):
            total += number
            buckets.append(("+Inf" if bound == float("inf") else str(bound), float(total)))
        return HistogramMetricFamily(name, text, buckets=buckets, sum_value=self.sum)


class Metrics(Collector):
    """The metrics of one node. Whoever does the work adds to the attributes; `status` is asked on a scrape."""

    def __init__(self, status: StatusSource) -> None:
        self.commands_total = 0  # applied here
        self.batches_total = 0
        self.elections_total = 0  # that this node won
        self.leader_changes_total = 0  # that it saw
        self.bytes_in_total = 0  # from other nodes
        self.bytes_out_total = 0
        self.busy_total = 0  # commands and reads refused because a queue was full
        self.refused_connections_total = 0
        self.feed_bytes_total = 0  # handed to observers
        self.feed_skips_total = 0  # observers skipped forward because they were too far behind
        self.desync_cases_total = 0  # disputed hash points that this node's log has told of
        self.batch_commands = Histogram(BATCH_BOUNDS)
        self.commit_seconds = Histogram(LATENCY_BOUNDS)  # from proposed to applied, on the leader
        self.fsync_seconds = Histogram(LATENCY_BOUNDS)
        self._status = status
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not ask for a status, which may not be there yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Every family, as of now."""
        yield from self._counters()
        yield self.batch_commands.family("rsm_batch_commands", "Commands in one batch.")
        yield self.commit_seconds.family("rsm_commit_seconds", "From a batch's proposal to its answers, on the leader.")
        yield self.fsync_seconds.family("rsm_fsync_seconds", "Syncs of the log.")
        yield from _gauges(self._status())

    def _counters(self) -> Iterator[Metric]:
        for name, text, value in (
            ("rsm_commands", "Commands applied.", self.commands_total),
            ("rsm_batches", "Batches applied.", self.batches_total),
            ("rsm_elections", "Elections that this node won.", self.elections_total),
            ("rsm_leader_changes", "Changes of leader that this node saw.", self.leader_changes_total),
            ("rsm_received_bytes", "Bytes from other nodes.", self.bytes_in_total),
            ("rsm_sent_bytes", "Bytes to other nodes.", self.bytes_out_total),
            ("rsm_busy", "Commands and reads refused because a queue was full.", self.busy_total),
            ("rsm_refused_connections", "Connections refused.", self.refused_connections_total),
            ("rsm_feed_bytes", "Bytes handed to observers.", self.feed_bytes_total),
            ("rsm_feed_skips", "Observers skipped forward: they were too far behind.", self.feed_skips_total),
            ("rsm_desync_cases", "Hash points at which nodes differed, seen since its start.", self.desync_cases_total),
        ):
            yield CounterMetricFamily(name, text, value=value)


def _gauges(status: NodeStatus) -> Iterator[Metric]:
    info = GaugeMetricFamily("rsm_node_info", "Whose node it is.", labels=["node", "cluster", "machine", "version"])
    info.add_metric([str(status.node_id), status.cluster_id, status.machine, str(status.version)], 1)
    yield info
    role = GaugeMetricFamily("rsm_role", "1 for the role that the node has.", labels=["role"])
    for known in ROLES:
        role.add_metric([known], float(known == status.role))
    yield role
    standing = GaugeMetricFamily("rsm_standing", "1 for where the node's state stands.", labels=["standing"])
    for one in STANDINGS:
        standing.add_metric([one], float(one == status.standing))
    yield standing
    for name, text, value in (
        ("rsm_term", "The term it is in.", status.term),
        ("rsm_leader_id", "The leader that it knows of, 0 for none.", status.leader_id or 0),
        ("rsm_commit_index", "The last index known to be committed.", status.commit_index),
        ("rsm_applied_index", "The last index applied.", status.applied_index),
        ("rsm_confirmed_index", "The last hash point that a quorum confirmed.", status.confirmed_index),
        ("rsm_last_index", "The last index in its log.", status.last_index),
        ("rsm_durable_index", "The last index that survives a power cut.", status.durable_index),
        ("rsm_snapshot_index", "The index of its newest snapshot.", status.snapshot_index),
        ("rsm_log_bytes", "Bytes of its log on the disk.", status.log_bytes),
        ("rsm_sessions", "Sessions alive.", status.sessions),
        ("rsm_clients", "Connections of clients.", status.clients),
        ("rsm_observers", "Observers of its feed.", status.observers),
        ("rsm_connected_peers", "Members connected.", sum(peer.is_connected for peer in status.peers)),
        ("rsm_uptime_seconds", "Seconds since its start.", status.uptime_seconds),
        ("rsm_unchecked", "Checks that could not run.", len(status.unchecked)),
        ("rsm_desync", "1 if a desync was found.", int(bool(status.desync))),
    ):
        yield GaugeMetricFamily(name, text, value=value)
    lag = GaugeMetricFamily("rsm_peer_lag_entries", "Entries that a member lacks, on the leader.", labels=["peer"])
    connected = GaugeMetricFamily("rsm_peer_connected", "1 if the member is connected.", labels=["peer"])
    for peer in status.peers:
        connected.add_metric([str(peer.id)], float(peer.is_connected))
        if status.role == "leader":
            lag.add_metric([str(peer.id)], peer.lag_entries)
    yield connected
    yield lag
