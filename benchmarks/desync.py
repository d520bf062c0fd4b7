#!/usr/bin/env python3
"""The desync detector: what live checking costs, how fast logs are compared and replayed, how much a bisection repeats.

Four parts, each beside what it is to be compared with, in the same run: the order book with live checking and without
(in one process, and on three nodes); the comparison of two logs beside reading their bytes; a replay beside the machine
that wrote the log; what is run again to find a planted difference beside the length of the interval that it lies in.
"""

from __future__ import annotations

from typing import Any

from _common import Options, document, run, scratch, show_head, table
from _desync_bisect import measure_bisecting
from _desync_compare import measure_comparing
from _desync_replay import measure_replaying
from _live_cost import measure_applying, measure_nodes


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        # Live checking in one process, and the book's depth in the replay.
        self.resting = 10_000
        self.commands_per_entry = [16, 128] if quick else [1, 16, 256, 1000]
        self.commands_per_round = 8192 if quick else 32_768  # about: whole hash intervals
        self.apply_rounds = 5 if quick else 9
        # Three nodes: (commands in flight, seconds before anything counts, seconds that count).
        self.levels = [(256, 0.2, 0.8), (10_000, 0.8, 1.2)] if quick else [(256, 0.5, 4.0), (10_000, 2.0, 6.0)]
        self.rounds = 2 if quick else 9
        self.clients = 2
        self.day_commands = 5_000 if quick else 50_000
        # Compare.
        self.compared_commands = 100_000 if quick else 1_000_000
        self.compared_commands_per_entry = [1000, 10, 1]
        self.compare_rounds = 1 if quick else 5
        # Replay.
        self.replayed_commands = 20_000 if quick else 200_000
        self.replay_in_flight = [4096] if quick else [4096, 64]
        self.replay_rounds = 3 if quick else 5
        # Bisection: 64 entries of so many commands from hash point to hash point, so many commands between snapshots.
        self.hash_interval_commands_per_entry = [1, 16] if quick else [1, 16, 256, 1000]
        self.snapshot_interval_commands = [1024, 16_384] if quick else [1024, 16_384, 131_072]
        self.snapshot_interval_commands_per_entry = 16
        self.places = [0.1, 0.9] if quick else [0.1, 0.5, 0.9]


def measure(options: Options, scale: Any = None) -> dict[str, Any]:
    """The whole benchmark."""
    scale = scale or Scale(options.quick)
    with scratch(options) as directory:
        found = document("desync", options, directory, "fsync")
        found["live"] = {"applying": measure_applying(scale), "nodes": measure_nodes(directory, scale)}
        found["compare"] = measure_comparing(directory, scale)
        found["replay"] = measure_replaying(directory, scale)
        found["bisect"] = measure_bisecting(directory, scale)
    return found


def show(found: dict[str, Any]) -> None:
    """Print the document as tables."""
    show_head(found)
    for title, part in (
        ("live checking, Replica.apply", found["live"]["applying"]),
        ("live checking, three nodes", found["live"]["nodes"]),
        (f"compare, two logs of {found['compare']['commands']:,} commands", found["compare"]),
        ("replay", found["replay"]),
    ):
        for level in part["levels"]:
            (name, value), *rows = level.items()
            table(f"{title}: {value:,} {_words(name)}", [(_words(key), each) for key, each in rows])
    print("\nbisection: commands run again by each side, for a difference at several places of each interval")
    for row in found["bisect"]["intervals"]:
        again = ", ".join(f"{count:,}" for count in row["reexecuted_commands"])
        print(
            f"  {row['interval_commands']:>9,} between {row['between']}, {row['commands_per_entry']} an entry: {again}"
        )
    for row in found["bisect"]["growth"]:
        print(f"  between {row['between']}: exponent {row['exponent']}, {row['commands_per_doubling']} a doubling")


def _words(name: str) -> str:
    return name.replace("_", " ")


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], measure, show)
