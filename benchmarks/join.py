#!/usr/bin/env python3
"""A node joins empty while a million keys and a steady load are there: how long until it serves, and what clients feel.

Three node processes hold the registry of `snapshot.py`. A follower is killed and its directory removed; it comes back
with nothing, gets a snapshot and the tail from the leader, and counts as back when its status port says that it is
ready. Latencies are the clients': all commands go through the leader.
"""

from __future__ import annotations

import shutil
import sys
import time
from array import array
from pathlib import Path
from typing import Any

from _common import Options, document, progress, run, scratch, show_head, table
from _peers_rsm import Nodes, percentiles, report
from _processes import Child, directory_bytes, ending_by_signal, resident_bytes, stop_all

from rsm.node.config import LimitsSection

FILL_SECONDS_MAX = 600.0
JOIN_SECONDS_MAX = 120.0
ROLE_SECONDS_MAX = 10.0
LOOK_SECONDS = 0.02


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.keys = 1_000_000
        self.keys_per_command = 10
        self.snapshot_log_bytes = 1 << 20  # so that the log does not hold all of it any more
        self.commands_per_second = 1000
        self.quiet_seconds = 5.0 if quick else 20.0
        self.rounds = 1 if quick else 5


def join(cluster: Nodes, client: Child, directory: Path, scale: Any) -> tuple[array[float], array[float], float]:
    """One round: latencies before, latencies while the node joins, and the seconds that it took to serve."""
    place = next(place for place, _ in enumerate(cluster.children) if cluster.page(place)["role"] == "follower")
    cluster.children[place].stop(politely=False)
    shutil.rmtree(cluster.data(cluster.members[place]))
    report([client], directory)
    time.sleep(scale.quiet_seconds)
    before = report([client], directory)
    began = time.monotonic()
    cluster.restart(place)
    while not cluster.is_ready(place):
        if time.monotonic() - began > JOIN_SECONDS_MAX:
            raise RuntimeError(
                f"the node does not serve: {cluster.page(place)}, {cluster.children[place].last_words()}"
            )
        time.sleep(LOOK_SECONDS)
    seconds = time.monotonic() - began
    during = report([client], directory)
    progress(f"the node serves after {seconds:.1f} s")
    return before, during, seconds


def measure(options: Options, scale: Any = None) -> dict[str, Any]:
    """The whole benchmark."""
    scale = scale or Scale(options.quick)
    with scratch(options) as directory, ending_by_signal():
        found = document("join", options, directory, "fsync")
        found |= {"rounds": scale.rounds, "keys": scale.keys, "offered_commands_per_second": scale.commands_per_second}
        cluster = Nodes("snapshot:Registry", directory, LimitsSection(snapshot_log_bytes=scale.snapshot_log_bytes))
        children = cluster.children
        client = None
        try:
            cluster.wait()
            progress(f"filling {scale.keys:,} keys")
            sizes = map(str, (scale.keys, scale.keys_per_command))
            program = str(Path(__file__).with_name("_peers_rsm.py"))
            arguments = [sys.executable, program, "registry", ",".join(cluster.addresses), *sizes]
            client = Child("client", arguments, directory, talks=True)
            client.ask("ready", seconds_max=FILL_SECONDS_MAX)
            pages = [cluster.page(place) for place, _ in enumerate(cluster.children)]
            if any(page["first_index"] == 1 for page in pages):
                sizes_now = [(page["first_index"], page["snapshot_index"], page["log_bytes"]) for page in pages]
                raise RuntimeError(f"logs that still begin at their first entry need no snapshot: {sizes_now}")
            client.ask("pace", commands_per_second=scale.commands_per_second)
            found["joins"] = [
                summary(*join(cluster, client, directory, scale), cluster, directory) for _ in range(scale.rounds)
            ]
            client.ask("stop", seconds_max=FILL_SECONDS_MAX)
            cluster.check_roots()
        finally:
            stop_all([*children, *([] if client is None else [client])])
    return found


def summary(
    before: array[float], during: array[float], seconds: float, cluster: Nodes, directory: Path
) -> dict[str, Any]:
    """What one round found."""
    rows = {
        f"{name}_{when}_milliseconds": value
        for when, latencies in (("before", before), ("during", during))
        for name, value in ((key.removesuffix("_milliseconds"), value) for key, value in percentiles(latencies).items())
    }
    quiet, busy = rows["p99_before_milliseconds"], rows["p99_during_milliseconds"]
    return {
        "serves_after_seconds": round(seconds, 2),
        "commands_before": len(before),
        "commands_during": len(during),
        **rows,
        "p99_ratio": round(busy / quiet, 2) if quiet and busy else None,
        "resident_bytes": [resident_bytes(child.pid) for child in cluster.children],
        "directory_bytes": [directory_bytes(cluster.data(member)) for member in cluster.members],
    }


def show(found: dict[str, Any]) -> None:
    """Print the document as tables."""
    show_head(found)
    print(f"{found['keys']:,} keys, {found['offered_commands_per_second']:,} commands a second")
    for number, row in enumerate(found["joins"]):
        rows = [
            (name.replace("_", " "), str(value) if isinstance(value, list) else value) for name, value in row.items()
        ]
        table(f"join {number + 1}", rows)


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], measure, show)
