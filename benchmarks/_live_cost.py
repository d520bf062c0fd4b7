"""What live checking costs: the same commands with it and without it, in one process, and on three nodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from _cluster import Contender, measure_rounds
from _common import median, progress, taken
from _peers_rsm import Rsm
from _processes import ending_by_signal
from _traffic import Traffic
from _unchecked import OFF, OFF_IN_NODES, UncheckedReplica, UnscrubbedReplica

from demos.orderbook.machine import OrderBook
from rsm.limits import HASH_INTERVAL_ENTRIES, SCRUB_LEAVES_MIN
from rsm.node.config import LimitsSection
from rsm.replica.replica import Replica

SIDES = {"on": Replica, "without_scrub": UnscrubbedReplica, "off": UncheckedReplica}
UNCHECKED_NODE = "_unchecked_node:OrderBook"
# An unchecked node cannot take a snapshot, so none of both shall.
SNAPSHOT_LOG_BYTES = 1 << 40
# Its leader asks for a root so long after a change, gets none, and would ask for one with every entry and between them.
UNCHECKED_HASH_SECONDS = 3600.0


def measure_applying(scale: Any) -> dict[str, Any]:
    """`Replica.apply` of the order book's flow, decoding included, as on each follower."""
    return {
        "what": "Replica.apply of equal entries, in turns, processor time",
        "off": OFF,
        "aim_cost_percent": 10.0,
        "hash_interval_entries": HASH_INTERVAL_ENTRIES,
        "scrubbed_leaves_min": SCRUB_LEAVES_MIN,
        "resting_orders": scale.resting,
        "rounds": scale.apply_rounds,
        "levels": [_apply_level(scale, commands_per_entry) for commands_per_entry in scale.commands_per_entry],
    }


def _apply_level(scale: Any, commands_per_entry: int) -> dict[str, Any]:
    traffic = Traffic(scale.resting)
    replicas = {name: make(OrderBook) for name, make in SIDES.items()}
    for made in traffic.opening():
        for name, replica in replicas.items():
            replica.apply(made.bare if name == "off" else made.entry)
    # Whole hash intervals, or rounds would differ in how many roots fall to them.
    interval_commands = HASH_INTERVAL_ENTRIES * commands_per_entry
    count = max(1, scale.commands_per_round // interval_commands) * interval_commands
    microseconds: dict[str, list[float]] = {name: [] for name in SIDES}
    names = list(SIDES)
    for _ in range(scale.apply_rounds + 1):
        entries = list(traffic.entries(count, commands_per_entry))
        for name in names:
            replica = replicas[name]
            batch = [made.bare if name == "off" else made.entry for made in entries]

            def work(replica: Replica = replica, batch: list[Any] = batch) -> None:
                for entry in batch:
                    replica.apply(entry)

            microseconds[name].append(taken(work).processor_seconds / count * 1e6)
        names.append(names.pop(0))
    for values in microseconds.values():
        del values[0]  # it warmed up
    orders = [dict(dict.items(replica.machine.orders)) for replica in replicas.values()]  # type: ignore[attr-defined]
    if orders[0] != orders[1] or orders[0] != orders[2]:
        raise RuntimeError("the sides do not hold the same orders")
    on, unscrubbed, off = (microseconds[name] for name in SIDES)
    costs = [cost_percent(less, more) for less, more in zip(off, on, strict=True)]
    scrubs = [cost_percent(less, more) for less, more in zip(unscrubbed, on, strict=True)]
    progress(f"{commands_per_entry:,} commands an entry: {median(off)} us off, {median(on)} on, {median(costs)} %")
    return {
        "commands_per_entry": commands_per_entry,
        "commands_per_round": count,
        **{f"{name}_processor_microseconds_per_command": median(values) for name, values in microseconds.items()},
        "cost_percent": median(costs),
        "cost_percent_min": round(min(costs), 2),
        "cost_percent_max": round(max(costs), 2),
        "of_it_scrub_percent": median(scrubs),
    }


def cost_percent(off: float, on: float) -> float:
    """How much throughput is lost, given the time of a command without and with something."""
    return 100.0 * (1.0 - off / on)


class UncheckedRsm(Rsm):
    """Three nodes that check nothing."""

    def __init__(self, directory: Path, limits: LimitsSection, *, clients: int, day_commands: int) -> None:
        super().__init__(
            directory,
            msgspec.structs.replace(limits, hash_seconds=UNCHECKED_HASH_SECONDS),
            clients=clients,
            day_commands=day_commands,
            name="rsm_unchecked",
            machine=UNCHECKED_NODE,
        )
        self.what = f"the same, without {OFF_IN_NODES}"

    def check(self) -> None:
        """They have no roots to compare."""


def measure_nodes(directory: Path, scale: Any) -> dict[str, Any]:
    """Three nodes with their clients, and three more that check nothing, in turns."""
    limits = LimitsSection(snapshot_log_bytes=SNAPSHOT_LOG_BYTES)
    sizes = {"clients": scale.clients, "day_commands": scale.day_commands}
    started: list[Contender] = []
    with ending_by_signal():
        try:
            for kind in (Rsm, UncheckedRsm):
                progress(f"starting three nodes, {'unchecked' if kind is UncheckedRsm else 'as they are'}")
                started.append(kind(directory, limits, **sizes))
                started[-1].prepare()
            rows = measure_rounds(started, scale, directory)
            for contender in started:
                contender.check()
        finally:
            for contender in started:
                contender.stop()
    levels = []
    for on, off in zip(*(row["levels"] for row in rows), strict=True):
        name = "node_processor_microseconds_per_command"
        levels.append(
            {
                "commands_in_flight": on["commands_in_flight"],
                "rounds": on["rounds"],
                "on_commands_per_second": on["commands_per_second"],
                "off_commands_per_second": off["commands_per_second"],
                "cost_percent": round(cost_percent(on["commands_per_second"], max(1, off["commands_per_second"])), 2),
                "on_node_processor_microseconds_per_command": on[name],
                "off_node_processor_microseconds_per_command": off[name],
                "processor_cost_percent": round(cost_percent(off[name], on[name] or 1.0), 2),
                "failed": on["failed"] + off["failed"],
            }
        )
    return {
        "what": "three node processes over TCP, every entry synced; medians of rounds in turns",
        "off": OFF_IN_NODES,
        "aim_cost_percent": 10.0,
        "clients": scale.clients,
        "levels": levels,
    }
