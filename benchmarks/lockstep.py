#!/usr/bin/env python3
"""A lockstep game of eight players on three nodes: who has which root, how many bits a modem would carry, what stalls.

Everything is real: three node processes, eight client processes that run the whole world each, sockets of the loopback.
Bytes are those that the kernel counted on each client's connections, up and down, with 40 bytes of headers for every
packet, acknowledgements included. Turns are meant to take 200 ms; where the processors cannot run eleven worlds in that
time, speed control makes them longer, and the document says so.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from _common import ROOT, document, median, percentile, progress, run, scratch, show_head, table
from _line import BadLine
from _processes import ending_by_signal

import rsm
from demos.rts_lockstep.clients.bots import DRILL
from demos.rts_lockstep.clients.reports import Ran, Used
from demos.rts_lockstep.machine import Game
from demos.rts_lockstep.staging.match import NAMES, Match, bits_per_second, worst_bits_per_second
from demos.rts_lockstep.staging.nodes import HOST, free_ports
from demos.rts_lockstep.units import MAP_SIZE_DEFAULT, UNITS_MAX

BOTS = 8
NODES = 3
WORST_SECONDS = 10.0
BUDGET_BITS_PER_SECOND = 28_800
WAIT_SECONDS_MAX = 90.0
# Soldiers of each of eight players that fill a world, with a town centre, six villagers and eight animals each.
SOLDIERS = {500: 47, UNITS_MAX: 172}
TURN_MS = 200
REJOINS = (4, 5)
LINE = {"round_trip": 0.250, "jitter": 0.030, "stalls": 0.02, "stall": 0.4}


class Scale:
    """How much is measured. `worlds`: units, soldiers of each player, seconds of play; the last one has the mishaps."""

    def __init__(self, quick: bool, minutes: float = 10.0) -> None:
        self.bots = BOTS
        self.map_size = MAP_SIZE_DEFAULT
        self.turn_ms = TURN_MS
        self.worlds = [
            (500, SOLDIERS[500], 8.0 if quick else 120.0),
            (UNITS_MAX, SOLDIERS[UNITS_MAX], 10.0 if quick else 60 * minutes),
        ]
        self.rejoins = REJOINS
        self.turns_after = 30
        self.line_bots, self.line_nodes = 4, NODES
        self.line_seconds = 8.0 if quick else 120.0
        self.settle_seconds = 2.0 if quick else 6.0


def measure(options: Any) -> dict[str, Any]:
    """The whole benchmark."""
    scale = Scale(options.quick, options.minutes)
    with scratch(options) as directory, ending_by_signal():
        found = document("lockstep", options, directory, "fsync")
        found |= {"clients": scale.bots, "nodes": NODES, "turn_ms_wanted": scale.turn_ms, "header_bytes_per_packet": 40}
        found["play"] = [play(directory, world, scale, found) for world in scale.worlds]
        found["bad_line"] = bad_line(directory, scale)
        bits = [row["bits_per_second_mean"] for row in found["play"]]
        found["bits_per_second_ratio_1500_to_500_units"] = round(bits[-1] / bits[0], 3)
    return found


def play(directory: Path, world: tuple[int, int, float], scale: Scale, found: dict[str, Any]) -> dict[str, Any]:
    """Play for so long and measure; in the last world somebody then rejoins, the leader dies, and it is replayed."""
    units, soldiers, seconds = world
    place = directory / f"units-{units}"
    progress(f"{units} units for {seconds:.0f} s")
    is_last = world == scale.worlds[-1]
    with Match(
        place,
        scale.bots,
        nodes=NODES,
        style=DRILL,
        soldiers=soldiers,
        turn_ms=scale.turn_ms,
        size=scale.map_size,
        record=is_last,
    ) as match:
        match.until(lambda: match.tally.turn > 3, "the first turns", WAIT_SECONDS_MAX)
        time.sleep(scale.settle_seconds)
        began = time.monotonic()
        wait(match, began, seconds)
        ended = time.monotonic()
        row = {"units": units} | window(match, scale.turn_ms, began, ended)
        if is_last:
            found["rejoin"] = rejoin(match, scale)
            found["leader_killed"] = kill_leader(match, scale)
        row |= equality(match)
    if is_last:
        found["replay"] = replay(place / f"client-{NAMES[0].lower()}")
    return row


def wait(match: Match, began: float, seconds: float) -> None:
    """Let them play for so long, and until everybody has told twice what it sent."""
    for passed in match.while_waiting(seconds + WAIT_SECONDS_MAX, "the time to pass"):
        with match.tally.lock:
            told = [len(between(list(one), began, time.monotonic())) for one in match.tally.used.values()]
        if passed >= seconds and len(told) == match.tally.players and min(told) >= 2:
            return


def between(said: list[Any], began: float, ended: float) -> list[Any]:
    """What was said in a stretch of time."""
    return [one for one in said if began <= one.at <= ended]


def window(match: Match, turn_ms: int, began: float, ended: float) -> dict[str, Any]:
    """What a stretch of play came to."""
    tally = match.tally
    with tally.lock:
        ran: dict[str, list[Ran]] = {name: between(list(one), began, ended) for name, one in tally.ran.items()}
        used: dict[str, list[Used]] = {name: between(list(one), began, ended) for name, one in tally.used.items()}
        orders = between(list(tally.orders), began, ended)
    means = [bits_per_second(one) for one in used.values()]
    worst = [worst_bits_per_second(one, WORST_SECONDS) for one in used.values()]
    steps = [one.step_ms for runs in ran.values() for one in runs]
    first = ran[NAMES[0]]
    alive = [one.units for one in first]
    lengths = turn_lengths(first)
    turns = first[-1].turn - first[0].turn
    return {
        "seconds": round(ended - began, 1),
        "turns": turns,
        "turns_per_second": round(turns / (first[-1].at - first[0].at), 2),
        "turn_ms_decided_median": median([one.turn_ms for one in first], 0),
        **spread("turn_ms", lengths),
        "step_ms_median": median(steps),
        "step_ms_p99": round(percentile(steps, 0.99), 2),
        "units_alive_min": min(alive),
        "units_alive_max": max(alive),
        "orders_and_reports": len(orders),
        "orders_late": sum(one.turn > one.stamp + 2 for one in orders),
        "orders_refused": sum(bool(one.reason) for one in orders),
        "order_ms_median": median([one.milliseconds for one in orders], 1),
        "bits_per_second_mean": round(statistics.mean(means)),
        "bits_per_second_of_worst_client": round(max(means)),
        "bits_per_second_worst_10_s": round(max(worst)),
        "is_within_28800": max(worst) <= BUDGET_BITS_PER_SECOND,
        # What the same turns would cost if they took their 200 ms: packets and entries come by the turn.
        "bits_per_second_at_200_ms": round(max(means) * (1000 / turn_ms) / (turns / (first[-1].at - first[0].at))),
        "packets_per_second": round(statistics.mean(packets_per_second(one) for one in used.values()), 1),
    }


def turn_lengths(ran: list[Ran]) -> list[float]:
    """Milliseconds between turns that followed each other."""
    return [1e3 * (b.at - a.at) for a, b in pairwise(ran) if b.turn == a.turn + 1]


def spread(name: str, values: list[float]) -> dict[str, float]:
    """Median, tail and steadiness of lengths."""
    return {
        f"{name}_median": median(values, 1),
        f"{name}_p99": round(percentile(values, 0.99), 1),
        f"{name}_max": round(max(values), 1),
        f"{name}_deviation": round(statistics.pstdev(values), 1),
    }


def packets_per_second(used: list[Used]) -> float:
    """Both ways."""
    packets = [one.packets_in + one.packets_out for one in used]
    return (packets[-1] - packets[0]) / (used[-1].at - used[0].at)


def equality(match: Match) -> dict[str, Any]:
    """How many roots were compared, turn by turn on all clients, and how many differed."""
    tally = match.tally
    with tally.lock:
        return {
            "turns_equal_on_all_clients": tally.equal_turns,
            "turns_unequal": len(tally.unequal),
            "roots_compared": tally.compared_roots,
            "desyncs": len(tally.differs),
        }


# --- what goes wrong --------------------------------------------------------------------------------------------------


def rejoin(match: Match, scale: Scale) -> list[dict[str, Any]]:
    """Clients are killed and come back; from the client's start to a world that follows, and bytes until then."""
    found = []
    for number in scale.rejoins:
        name = NAMES[number]
        progress(f"{name} is killed and comes back")
        match.bots[name].kill()
        time.sleep(0.5)
        before = match.tally.joined[name]
        match.bots.pop(name)
        match.start_bot(number, match.directory / f"client-{name.lower()}-again")

        def is_back(name: str = name, before: Any = before) -> Any:
            joined = match.tally.joined[name]
            return joined if joined is not before else None

        joined = match.until(is_back, "the rejoin", WAIT_SECONDS_MAX)
        turn = joined.turn
        match.until(lambda turn=turn: match.tally.turn > turn + 10, "play to go on", WAIT_SECONDS_MAX)
        found.append({"seconds": round(joined.seconds, 3), "bytes": joined.bytes, "turn": turn})
    return found


def kill_leader(match: Match, scale: Scale) -> dict[str, Any]:
    """SIGKILL to the leader: the longest time between two turns, on any client, and whether all go on."""
    leader = leader_of(match.nodes.addresses)
    progress(f"node {leader}, the leader, is killed")
    turn, killed = match.tally.turn, time.monotonic()
    match.nodes.kill(leader)
    match.until(lambda: match.tally.turn > turn + scale.turns_after, "play to go on", WAIT_SECONDS_MAX)
    with match.tally.lock:
        gaps = [max(b.at - a.at for a, b in pairwise(ran) if b.at > killed) for ran in match.tally.ran.values()]
    return {"longest_stall_seconds": round(max(gaps), 3), "desyncs": len(match.tally.differs)}


def leader_of(addresses: list[str]) -> int:
    """Which node leads."""
    done = subprocess.run(
        [sys.executable, "-m", "rsm", "status", *addresses, "--json"], cwd=ROOT, capture_output=True, check=False
    )
    nodes = json.loads(done.stdout)["nodes"]
    return int(next(node["node_id"] for node in nodes if node.get("role") == "leader"))


def bad_line(directory: Path, scale: Scale) -> dict[str, Any]:
    """All clients over a line with latency, jitter and stalls."""
    progress(f"a bad line for {scale.line_seconds:.0f} s")
    ports = free_ports(2 * scale.line_nodes)
    listening, told = ports[: scale.line_nodes], ports[scale.line_nodes :]
    line = BadLine([f"{HOST}:{port}" for port in listening], **LINE)
    line.start(told)
    try:
        with Match(
            directory / "line",
            scale.line_bots,
            nodes=scale.line_nodes,
            style=DRILL,
            soldiers=20,
            turn_ms=scale.turn_ms,
            size=scale.map_size,
            told_addresses=tuple(f"{HOST}:{port}" for port in told),
            listen_ports=tuple(listening),
        ) as match:
            match.until(lambda: match.tally.turn > 3, "the first turns", WAIT_SECONDS_MAX)
            time.sleep(2 * scale.settle_seconds)
            began = time.monotonic()
            wait(match, began, scale.line_seconds)
            found = window(match, scale.turn_ms, began, time.monotonic()) | equality(match)
    finally:
        line.close()
    return {"line": LINE, "clients": scale.line_bots, "chunks_stalled": line.stalled} | found


def replay(path: Path) -> dict[str, Any]:
    """A recorded game, played back with every root checked."""
    progress("replaying")
    began, processor_began = time.perf_counter(), time.process_time()
    playback = rsm.replay(Game, str(path))
    first = 0
    for _ in playback:
        first = first or playback.machine.last_turn
    seconds, processor_seconds = time.perf_counter() - began, time.process_time() - processor_began
    turns = playback.machine.last_turn - first
    return {
        "turns": turns,
        "entries": playback.index - playback.first_index,
        "roots_checked": playback.roots_checked,
        "seconds": round(seconds, 2),
        "processor_seconds": round(processor_seconds, 2),
        "turns_per_second": round(turns / seconds, 1),
        "seconds_for_10_minutes_of_200_ms": round(3000 * seconds / turns, 1),
    }


def show(found: dict[str, Any]) -> None:
    """Print the document as tables."""
    show_head(found)
    for row in found["play"]:
        table(f"{row['units']} units, {found['clients']} clients, {found['nodes']} nodes", list(row.items()))
    table(
        "rejoin in the middle",
        [(f"turn {one['turn']}", f"{one['seconds']} s, {one['bytes']:,} bytes") for one in found["rejoin"]],
    )
    table("leader killed", list(found["leader_killed"].items()))
    table("replay, all roots checked", list(found["replay"].items()))
    table(
        "a bad line",
        [(name, str(value) if isinstance(value, dict) else value) for name, value in found["bad_line"].items()],
    )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark has beside the others' options."""
    parser.add_argument(
        "--minutes", type=float, default=10.0, metavar="M", help="of play in the largest world (default 10)"
    )


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], measure, show, add_arguments)
