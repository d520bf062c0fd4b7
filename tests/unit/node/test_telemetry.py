"""The log of a node's process is one line an event; metrics are plain attributes until somebody scrapes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from rsm.node.status import MemberStatus, NodeStatus, PeerStatus
from rsm.node.telemetry import BATCH_BOUNDS, Histogram, Metrics
from tests.documents import ROOT

STATUS = NodeStatus(
    node_id=2,
    cluster_id="ab" * 16,
    role="leader",
    term=7,
    commit_index=100,
    applied_index=98,
    last_index=101,
    durable_index=101,
    machine="bank",
    version=3,
    leader_id=2,
    members=(MemberStatus(1, "a:1", "a:2"), MemberStatus(2, "b:1", "b:2"), MemberStatus(3, "c:1", "c:2", False)),
    peers=(PeerStatus(1, True, 90, 11), PeerStatus(3, False, 0, 101)),
    log_bytes=4096,
    snapshot_index=64,
    clients=5,
)

PROGRAM = """
import logging, sys, warnings
from rsm.node.log import logger
from rsm.node.telemetry import configure_logging
logger.warning("before", answer=42)
configure_logging(3, sys.argv[1], sys.argv[2])
logger.debug("small talk")
logger.info("joined", peer=1, path="a b")
try:
    1 / 0
except ZeroDivisionError as error:
    logger.error("it broke", exc_info=error, data=b"\\x00")
logging.getLogger("asyncio").warning("slow %s", "callback")
logging.getLogger("other").info("nobody asked")
"""


def logged(log_format: str, level: str) -> list[str]:
    """The lines that a process prints on standard error."""
    words = [sys.executable, "-c", PROGRAM, log_format, level]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=60, cwd=ROOT, check=True)
    assert ran.stdout == ""
    return ran.stderr.splitlines()


def test_json_is_one_document_a_line() -> None:
    """Each event is one JSON line with time, level and node, tracebacks included; other libraries' events too."""
    before, *lines = logged("json", "info")
    assert before == "event='before' answer=42 level='warning'"
    events = [json.loads(line) for line in lines]
    assert [event["event"] for event in events] == ["joined", "it broke", "slow callback"]
    assert [event["level"] for event in events] == ["info", "error", "warning"]
    assert {event["node"] for event in events} == {3}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", event["timestamp"]) for event in events)
    assert (events[0]["peer"], events[0]["path"]) == (1, "a b")
    assert "ZeroDivisionError" in events[1]["exception"]


def test_console_is_for_people() -> None:
    """The console form has the same words and no colours in a pipe; the level decides what is told."""
    text = "\n".join(logged("console", "debug"))
    for word in ("small talk", "joined", "peer=1", "node=3", "ZeroDivisionError", "slow callback"):
        assert word in text
    assert "\x1b" not in text
    assert "nobody asked" not in text
    assert "joined" not in "\n".join(logged("console", "warning"))


def scraped(metrics: Metrics) -> dict[str, float]:
    """Every sample of a scrape, by name and labels."""
    samples = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            samples[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return samples


def test_a_scrape_has_what_was_counted() -> None:
    """Counters and histograms are those of the attributes, gauges those of the status at the time of the scrape."""
    metrics = Metrics(lambda: STATUS)
    metrics.commands_total = 1234
    metrics.elections_total += 2
    metrics.bytes_in_total += 10
    for value in (1, 3, 3, 5000):
        metrics.batch_commands.observe(value)
    metrics.fsync_seconds.observe(0.0003)
    samples = scraped(metrics)
    assert samples["rsm_commands_total"] == 1234
    assert samples["rsm_elections_total"] == 2
    assert samples["rsm_received_bytes_total"] == 10
    assert samples["rsm_batch_commands_bucket{le=1.0}"] == 1
    assert samples["rsm_batch_commands_bucket{le=2.0}"] == 1
    assert samples["rsm_batch_commands_bucket{le=4.0}"] == 3
    assert samples["rsm_batch_commands_bucket{le=+Inf}"] == samples["rsm_batch_commands_count"] == 4
    assert samples["rsm_batch_commands_sum"] == 5007
    assert samples["rsm_fsync_seconds_bucket{le=0.00025}"] == 0
    assert samples["rsm_fsync_seconds_bucket{le=0.0005}"] == 1
    assert samples["rsm_role{role=leader}"] == 1
    assert samples["rsm_role{role=follower}"] == 0
    assert (samples["rsm_term"], samples["rsm_leader_id"], samples["rsm_connected_peers"]) == (7, 2, 1)
    assert (samples["rsm_commit_index"], samples["rsm_applied_index"]) == (100, 98)
    assert samples["rsm_peer_lag_entries{peer=1}"] == 11
    assert samples["rsm_peer_connected{peer=3}"] == 0
    assert samples[f"rsm_node_info{{cluster={'ab' * 16},machine=bank,node=2,version=3}}"] == 1


def test_two_nodes_in_one_process_keep_apart() -> None:
    """Each has a registry of its own, and a status is asked for only by a scrape."""
    asked = []

    def status() -> NodeStatus:
        asked.append(1)
        return STATUS

    first, second = Metrics(status), Metrics(status)
    first.commands_total = 1
    assert asked == []
    assert scraped(second)["rsm_commands_total"] == 0
    assert asked == [1]


@pytest.mark.parametrize("value", [0, 1, 1.5, 1024, 1025, float("inf")])
def test_a_value_falls_into_one_bucket(value: float) -> None:
    """The count of a value is at the first bound that is not below it."""
    histogram = Histogram(BATCH_BOUNDS)
    histogram.observe(value)
    assert sum(histogram.counts) == 1
    place = histogram.counts.index(1)
    assert place == len(BATCH_BOUNDS) or value <= BATCH_BOUNDS[place]
    assert place == 0 or value > BATCH_BOUNDS[place - 1]


def test_where_the_state_stands_is_a_metric() -> None:
    """One of the standings is 1; disputes are counted, and the last confirmed index is told."""
    metrics = Metrics(lambda: msgspec.structs.replace(STATUS, standing="quarantined", desync="x", confirmed_index=64))
    metrics.desync_cases_total = 2
    samples = {
        (sample.name, sample.labels.get("standing", "")): sample.value
        for family in text_string_to_metric_families(metrics.render().decode())
        for sample in family.samples
    }
    standings = {standing: value for (name, standing), value in samples.items() if name == "rsm_standing"}
    assert standings == {"well": 0, "suspect": 0, "quarantined": 1, "healing": 0, "out": 0}
    assert samples["rsm_desync_cases_total", ""] == 2
    assert samples["rsm_confirmed_index", ""] == 64
    assert samples["rsm_desync", ""] == 1
