#!/usr/bin/env python3
"""Three rsm nodes under the order book, beside bare PySyncObj and etcd on the same machine in the same run.

Each contender has three node processes on the loopback. In rounds, all of them in turns keep so many commands in
flight for a while (see `_cluster`), and are measured from outside: answered commands a second, the time from sending to
the answer, processor time a command of nodes and clients, memory. What each of them does is in the document: only rsm
and etcd sync what they acknowledge, and PySyncObj has no clients of its own (see `_peers_pysyncobj`).
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

from _cluster import Contender, idle_processor_ratio, measure_rounds
from _common import Options, document, progress, run, scratch, show_head, table
from _peers_etcd import Etcd, Skipped
from _peers_pysyncobj import PySyncObj
from _peers_rsm import Rsm
from _processes import ending_by_signal

from rsm.node.config import LimitsSection

SOAK_SAMPLES = 120
SOAK_SAMPLE_SECONDS_MIN = 0.2
# Columns of the table, and what stands in them.
COLUMNS = {
    "in flight": "commands_in_flight",
    "a second": "commands_per_second",
    "p50 ms": "p50_milliseconds",
    "p99 ms": "p99_milliseconds",
    "p99.9 ms": "p99_9_milliseconds",
    "node us": "node_processor_microseconds_per_command",
    "client us": "client_processor_microseconds_per_command",
}


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        # (commands in flight, seconds before anything counts, seconds that count): the more wait, the longer they wait.
        self.levels = [(1, 0.2, 0.8), (256, 0.2, 0.8), (10_000, 1.0, 2.0)]
        if not quick:
            self.levels = [(1, 0.5, 3.0), (16, 0.5, 3.0), (256, 0.5, 3.0), (2048, 0.5, 3.0), (10_000, 1.5, 4.0)]
        self.rounds = 1 if quick else 5
        self.idle_seconds = 0.5 if quick else 3.0
        self.clients = 2
        self.day_commands = 10_000 if quick else 100_000
        self.snapshot_log_bytes = LimitsSection().snapshot_log_bytes
        self.may_install = True  # etcd, into a directory that is gone afterwards


def contenders(directory: Path, scale: Any) -> list[tuple[str, Callable[[], Contender]]]:
    """Who takes part, by name, and how to start it."""
    sizes = {"clients": scale.clients, "day_commands": scale.day_commands}
    return [
        ("rsm", lambda: Rsm(directory, LimitsSection(snapshot_log_bytes=scale.snapshot_log_bytes), **sizes)),
        ("pysyncobj_memory", lambda: PySyncObj("book", directory, journal=False, **sizes)),
        ("pysyncobj_journal", lambda: PySyncObj("book", directory, journal=True, **sizes)),
        ("pysyncobj_counter", lambda: PySyncObj("counter", directory, journal=False, **sizes)),
        ("etcd", lambda: Etcd(directory, may_install=scale.may_install, **sizes)),
    ]


def measure(options: Options, scale: Any = None) -> dict[str, Any]:
    """The whole benchmark."""
    scale = scale or Scale(options.quick)
    scale.snapshot_log_bytes = getattr(options, "snapshot_log_bytes", scale.snapshot_log_bytes)
    with scratch(options) as directory, ending_by_signal():
        found = document("cluster", options, directory, "fsync")
        found |= {"clients": scale.clients, "contenders": [], "skipped": []}
        started: list[Contender] = []
        try:
            for name, start in contenders(directory, scale):
                try:
                    progress(f"starting {name}")
                    started.append(start())
                except Skipped as skipped:
                    found["skipped"].append({"name": name, "reason": str(skipped)})
            for contender in started:
                contender.prepare()
            idle = {contender.name: idle_processor_ratio(contender, scale.idle_seconds) for contender in started}
            found["contenders"] = measure_rounds(started, scale, directory)
            for row in found["contenders"]:
                row["idle_processor_ratio"] = idle[row["name"]]
            for contender in started:
                contender.check()
            found["ratios"] = ratios(found["contenders"])
            seconds = getattr(options, "soak", 0.0)
            if seconds:
                found["soak"] = soak(started, found["contenders"], seconds)
        finally:
            for contender in started:
                contender.stop()
    return found


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """rsm beside each of the others: throughput at each level, and the median latency (below 1: rsm is faster)."""
    ours = next((row for row in rows if row["name"] == "rsm"), None)
    if ours is None:
        return []
    return [
        {
            "beside": row["name"],
            "commands_in_flight": own["commands_in_flight"],
            "commands_per_second_ratio": _ratio(own, other, "commands_per_second"),
            "p50_ratio": _ratio(own, other, "p50_milliseconds"),
        }
        for row in rows
        if row is not ours
        for own, other in zip(ours["levels"], row["levels"], strict=True)
    ]


def _ratio(ours: dict[str, Any], theirs: dict[str, Any], name: str) -> float | None:
    return round(ours[name] / theirs[name], 3) if ours[name] and theirs[name] else None


def soak(started: list[Contender], rows: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """rsm alone, under half of the load that it has just shown it can take."""
    (ours,) = (contender for contender in started if isinstance(contender, Rsm))
    for contender in started:
        if contender is not ours:
            contender.stop()
    rate = next(row for row in rows if row["name"] == ours.name)["levels"][-1]["commands_per_second"] / 2
    progress(f"half load, {rate:,.0f} commands a second, for {seconds:,.0f} seconds")
    series = []
    for sample in ours.soak(rate, seconds, max(SOAK_SAMPLE_SECONDS_MIN, seconds / SOAK_SAMPLES)):
        series.append(sample)
        rate_now, slowest = sample["commands_per_second"], sample["p99_milliseconds"]
        progress(f"{sample['at_seconds']} s: {rate_now:,} a second, p99 {slowest} ms")
    ours.check()
    return {"offered_commands_per_second": round(rate), "resident_growth_ratio": growth(series), "series": series}


def growth(series: list[dict[str, Any]]) -> float:
    """Memory of the last quarter beside the second: medians, of the node that grew most."""
    quarter = max(1, len(series) // 4)
    second, last = series[quarter : 2 * quarter] or series, series[-quarter:]
    nodes = range(len(series[0]["resident_bytes"]))
    earlier, later = (
        [statistics.median(sample["resident_bytes"][node] for sample in part) for node in nodes]
        for part in (second, last)
    )
    return max(round(after / before, 3) for before, after in zip(earlier, later, strict=True))


def show(found: dict[str, Any]) -> None:
    """Print the document as tables."""
    show_head(found)
    print("latencies in milliseconds; processor time of all nodes, and of all clients, in microseconds a command")
    for row in found["contenders"]:
        synced = "durable" if row["is_durable"] else "NOT durable"
        print(f"\n{row['name']} ({synced}): {row['what']}")
        print("  " + " ".join(f"{title:>10}" for title in COLUMNS))
        for level in row["levels"]:
            shown = ["-" if level[name] is None else f"{level[name]:,}" for name in COLUMNS.values()]
            print("  " + " ".join(f"{text:>10}" for text in shown))
        memory = [f"{before >> 20} to {after >> 20}" for before, after in _memory(row)]
        print(
            f"  memory of the nodes, MiB: {', '.join(memory)}; idle they take {row['idle_processor_ratio']} of a core"
        )
    if found["ratios"]:
        deepest = [
            each for each in found["ratios"] if each["commands_in_flight"] == found["ratios"][-1]["commands_in_flight"]
        ]
        table("rsm's throughput beside", [(each["beside"], each["commands_per_second_ratio"]) for each in deepest])
    if "soak" in found:
        last = found["soak"]["series"][-1]
        rows = [("resident_growth_ratio", found["soak"]["resident_growth_ratio"]), *last.items()]
        table("at the end of the soak", [(name.replace("_", " "), value) for name, value in rows])
    for skipped in found["skipped"]:
        print(f"\n{skipped['name']}: skipped, {skipped['reason']}")


def _memory(row: dict[str, Any]) -> list[tuple[int, int]]:
    return list(zip(row["resident_before_bytes"], row["resident_after_bytes"], strict=True))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark has beside the others' options."""
    parser.add_argument("--soak", type=float, default=0.0, metavar="SECONDS", help="then half load, for so long")
    parser.add_argument(
        "--snapshot-log-bytes",
        type=int,
        default=LimitsSection().snapshot_log_bytes,
        metavar="BYTES",
        help="log that rsm keeps before it takes a snapshot; less makes a soak see many",
    )


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], measure, show, add_arguments)
