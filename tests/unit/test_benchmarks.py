"""The benchmarks run, at tiny sizes, and say what they promise: one document, with units in its names."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.documents import ROOT

BENCHMARKS = ROOT / "benchmarks"
# How many of everything, instead of what `Scale` says.
TINY = {
    "embedded": {
        "populations": [(300, True), (600, False)],
        "rounds": 2,
        "commands_per_round": 300,
        "stage_commands": 2000,
        "lone_commands": 5,
        "memory_orders": 2000,
        "wall_seconds_max": 60.0,
    },
    "snapshot": {"keys": 3000, "rounds": 1, "quiet_seconds": 0.2, "commands_per_second": 200},
    "cluster": {
        "levels": [(1, 0.1, 0.3), (16, 0.1, 0.5)],
        "rounds": 1,
        "idle_seconds": 0.1,
        "clients": 2,
        "day_commands": 1500,
        "snapshot_log_bytes": 1 << 26,
        "may_install": False,
    },
    "join": {
        "keys": 20_000,
        "keys_per_command": 1,
        "snapshot_log_bytes": 16384,
        "commands_per_second": 50,
        "quiet_seconds": 0.5,
        "rounds": 1,
    },
    "desync": {
        "resting": 200,
        "commands_per_entry": [2, 32],
        "commands_per_round": 512,
        "apply_rounds": 1,
        "levels": [(16, 0.1, 0.4)],
        "rounds": 1,
        "clients": 2,
        "day_commands": 1500,
        "compared_commands": 2000,
        "compared_commands_per_entry": [1000, 1],
        "compare_rounds": 1,
        "replayed_commands": 2000,
        "replay_in_flight": [256],
        "replay_rounds": 1,
        "hash_interval_commands_per_entry": [1, 16],
        "snapshot_interval_commands": [512],
        "snapshot_interval_commands_per_entry": 16,
        "places": [0.5],
    },
    "upcasting": {"orders": 400, "orders_per_entry": 16, "rounds": 1},
    "feed": {
        "observers": 6,
        "stopped": 1,
        "commands_per_second": 100,
        "clients": 2,
        "day_commands": 1500,
        "settle_seconds": 0.2,
        "window_seconds": 0.6,
        "rounds": 1,
    },
    "world": {"units": [128, 144], "rounds": 1, "turns": 3, "seed": 7},
    "lockstep": {
        "bots": 2,
        "map_size": 48,
        "turn_ms": 100,
        "worlds": [(30, 8, 1.0)],
        "rejoins": [1],
        "turns_after": 10,
        "line_bots": 2,
        "line_nodes": 1,
        "line_seconds": 1.0,
        "settle_seconds": 0.2,
    },
}
# Measures once, and prints what it measured twice: the document, then the lines for people.
DRIVER = """
import sys, types
sys.path.insert(0, {path!r})
import {name} as benchmark
benchmark.Scale = lambda *_: types.SimpleNamespace(**{scale!r})
documents = []
def measure(options):
    documents[:] = documents or [benchmark.measure(options)]
    return documents[0]
more = getattr(benchmark, "add_arguments", lambda parser: None)
benchmark.run("tiny", measure, benchmark.show, more)
print({line!r})
sys.argv.remove("--json")
benchmark.run("tiny", measure, benchmark.show, more)
"""
LINE = "for people:"
UNITS = (
    *("_seconds", "_milliseconds", "_microseconds", "_per_second", "_per_command", "_bytes_per_order", "_ratio"),
    *("_ratio_min", "_ratio_max", "_average", "_max", "_per_second_min", "_bytes"),
    *("_ms_wanted", "_ms_deviation", "_per_packet", "_decided_median", "_per_second_mean"),
    *("_per_second_of_worst_client", "_worst_10_s"),
    *("_at_200_ms", "_of_200_ms", "_500_units"),
    *("_percent", "_percent_min", "_percent_max", "_per_order", "_per_observer", "_ms_median", "_ms_p99"),
)
COUNTS = {
    *("cores", "sessions", "resting_orders", "resting_orders_at_end", "levels", "rounds", "commands_per_round"),
    *("recovered_commands", "keys", "commands", "clients", "commands_in_flight", "failed"),
    *("commands_before", "commands_during", "commands_per_entry", "hash_interval_entries", "scrubbed_leaves_min"),
    *("step_commands", "step_entries", "interval_commands", "interval_entries", "reexecuted_commands"),
    *("exponent", "commands_per_doubling", "orders", "orders_per_entry"),
    *("observers", "observers_stopped", "observers_live", "observers_gapless", "observers_skipped"),
    *("units_alive", "units_with_target_at_end", "turns"),
    *("nodes", "units", "units_alive_min", "turn", "entries", "roots_checked", "roots_compared", "desyncs"),
    *("turns_equal_on_all_clients", "turns_unequal", "orders_and_reports", "orders_late", "orders_refused"),
    *("chunks_stalled", "stalls", "seconds", "bytes"),
    *("round_trip", "jitter", "stall"),  # of a line, in seconds
}
# Benchmarks that write no log.
IN_MEMORY = ("upcasting", "world")


class Ran(NamedTuple):
    """What a benchmark printed: its document, the lines for people, and its progress."""

    document: dict[str, Any]
    lines: str
    progress: str


def run_tiny(name: str, directory: Path) -> Ran:
    """Run a benchmark at tiny sizes as a program; whatever it made in its directory is gone afterwards."""
    driver = DRIVER.format(path=str(BENCHMARKS), name=name, scale=TINY[name], line=LINE)
    ran = subprocess.run(
        [sys.executable, "-c", driver, "--dir", str(directory), "--json"], capture_output=True, text=True, timeout=240
    )
    assert ran.returncode == 0, ran.stderr
    assert list(directory.iterdir()) == []
    document, line, lines = ran.stdout.partition(f"\n{LINE}\n")
    assert line
    return Ran(json.loads(document), lines, ran.stderr)


def numbers(value: Any, name: str = "") -> list[tuple[str, float]]:
    """(name, number) of every number in a document, however deep."""
    if isinstance(value, dict):
        return [pair for key, part in value.items() for pair in numbers(part, key)]
    if isinstance(value, list):
        return [pair for part in value for pair in numbers(part, name)]
    return [(name, value)] if isinstance(value, int | float) and not isinstance(value, bool) else []


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Ran]:
    """What a benchmark printed; each runs once, when it is first asked for."""
    return functools.cache(lambda name: run_tiny(name, tmp_path_factory.mktemp(name)))


def one(name: str) -> pytest.MarkDecorator:
    """The tests of one benchmark share its run, so they share a worker."""
    return pytest.mark.xdist_group(f"benchmark-{name}")


EACH = pytest.mark.parametrize("name", [pytest.param(name, marks=one(name)) for name in TINY])


@EACH
def test_a_document_says_what_ran_and_where(name: str, ran: Callable[[str], Ran]) -> None:
    """Which benchmark, durability, Python, processor, and how fast the disk is."""
    document = ran(name).document
    assert document["benchmark"] == name
    assert document["durability"] == ("none" if name in IN_MEMORY else "fsync")
    assert document["environment"]["python"] == sys.version.split()[0]
    assert document["environment"]["processor"]
    assert document["environment"]["fsyncs_per_second"] > 0


@EACH
def test_numbers_have_units_in_their_names(name: str, ran: Callable[[str], Ran]) -> None:
    """Every number is a count that is listed here, or ends in its unit."""
    found = numbers(ran(name).document)
    assert len(found) > 20
    assert [key for key, _ in found if key not in COUNTS and not key.endswith(UNITS)] == []


@one("embedded")
def test_the_order_book_is_measured_at_every_population(ran: Callable[[str], Ran]) -> None:
    """Rates, their ratio, stages, latency, memory and recovery; costs are those of the rates."""
    document = ran("embedded").document
    assert document["plain_memory_bytes_per_order"] > 0
    assert document["tracked_memory_bytes_per_order"] > document["plain_memory_bytes_per_order"]
    assert [each["resting_orders"] for each in document["populations"]] == [300, 600]
    for each in document["populations"]:
        assert abs(each["resting_orders_at_end"] - each["resting_orders"]) < 200
        assert each["durable_commands_per_second"] < each["bare_commands_per_second"]
        assert each["cost_ratio_min"] <= each["cost_ratio"] <= each["cost_ratio_max"]
        assert each["durable_commands_per_second"] * each["durable_microseconds_per_command"] == pytest.approx(
            1e6, rel=0.01
        )
        assert 0 < each["lone_command_p50_milliseconds"] <= each["lone_command_p99_milliseconds"] + 0.01
    assert [("stages" in each) for each in document["populations"]] == [True, False]
    first = document["populations"][0]
    assert first["recovered_commands_per_second"] > 0
    assert set(first["stages"]) == {
        f"{stage}_microseconds"
        for stage in (
            *("client_edge", "queue", "join", "log_append", "log_sync", "decode", "session_and_dispatch"),
            *("handler", "tracking", "root", "answers_and_events_digest", "answering"),
        )
    }
    assert first["stages"]["handler_microseconds"] > 0


@one("snapshot")
def test_a_snapshot_is_measured_beside_a_whole_state_encode(ran: Callable[[str], Ran]) -> None:
    """Each situation has its commands, its slowest one, and how much longer that took than the quiet one's."""
    document = ran("snapshot").document
    for situation in ("quiet", "snapshot", "whole_state_encode"):
        assert document[situation]["commands"] > 0
        slowest = document[situation]["slowest_command_of_all_milliseconds"]  # rounded to two places, p50 to three
        assert 0 < document[situation]["p50_milliseconds"] <= slowest + 0.01
    for situation in ("snapshot", "whole_state_encode"):
        assert "slowest_command_longer_than_quiet_milliseconds" in document[situation]


@one("cluster")
def test_a_cluster_is_measured_beside_its_peers(ran: Callable[[str], Ran]) -> None:
    """Ours and the bare peers answer at each level and nothing fails; what cannot be had is skipped, with a reason."""
    document = ran("cluster").document
    found = {each["name"]: each for each in document["contenders"]}
    skipped = {each["name"]: each["reason"] for each in document["skipped"]}
    assert {*found, *skipped} == {"rsm", "pysyncobj_memory", "pysyncobj_journal", "pysyncobj_counter", "etcd"}
    assert set(skipped) <= {"etcd"}
    assert all(skipped.values())
    assert {name for name, each in found.items() if each["is_durable"]} <= {"rsm", "etcd"}
    for each in found.values():
        assert [level["commands_in_flight"] for level in each["levels"]] == [1, 16]
        for level in each["levels"]:
            assert level["commands"] > 0
            assert level["failed"] == 0
            assert level["node_processor_microseconds_per_command"] >= 0  # in ticks of the clock
    assert found["rsm"]["levels"][1]["client_processor_microseconds_per_command"] >= 0
    assert {each["beside"] for each in document["ratios"]} == {*found} - {"rsm"}


@one("desync")
def test_the_detector_is_measured_beside_what_it_is_compared_with(ran: Callable[[str], Ran]) -> None:
    """Live checking on and off, comparing beside reading, replay beside the machine, bisection beside its interval."""
    document = ran("desync").document
    for level in document["live"]["applying"]["levels"]:
        assert level["off_processor_microseconds_per_command"] > 0
        assert level["cost_percent_min"] <= level["cost_percent"] <= level["cost_percent_max"] < 100
    (level,) = document["live"]["nodes"]["levels"]
    assert level["failed"] == 0
    assert min(level["on_commands_per_second"], level["off_commands_per_second"]) > 0
    assert [level["commands_per_entry"] for level in document["compare"]["levels"]] == [1000, 1]
    assert all(level["compare_seconds"] > 0 for level in document["compare"]["levels"])
    (level,) = document["replay"]["levels"]
    assert level["replayed_commands_per_second"] > 0
    bisect = document["bisect"]
    assert [each["interval_commands"] for each in bisect["intervals"]] == [64, 1024, 512]
    for each in bisect["intervals"]:
        # A step, and what its last entry and the confirmation of a root have beyond it.
        most = bisect["step_commands"] + each["commands_per_entry"] + 1
        assert 0 < each["reexecuted_commands_max"] <= most


def test_growth_is_told_of_intervals_longer_than_a_step() -> None:
    """What is run again is constant, or half of it: exponents 0 and 1; one interval has no growth."""
    sys.path.insert(0, str(BENCHMARKS))
    from _desync_bisect import growth

    rows = [
        {"between": "hash points", "interval_commands": 1 << power, "reexecuted_commands_max": most}
        for power, most in ((6, 64), (10, 512), (14, 512), (18, 512))
    ]
    assert growth("hash points", rows)["exponent"] == 0
    assert growth("snapshots", rows) == {"between": "snapshots", "exponent": None, "commands_per_doubling": None}
    for row in rows:
        row["reexecuted_commands_max"] = row["interval_commands"] // 2
    assert growth("hash points", rows)["exponent"] == 1


@one("upcasting")
def test_old_commands_are_measured_beside_new_ones(ran: Callable[[str], Ran]) -> None:
    """The same orders in the words of each version; a replacement is two commands only in the last one's."""
    document = ran("upcasting").document
    new, *old = document["logs"]
    assert new["name"] == "version_3"
    assert new["speed_ratio"] == 1
    assert new["commands"] > document["orders"]
    assert [log["name"] for log in old] == ["version_2_upcast", "version_1_upcast", "version_1_below_floor"]
    for log in old:
        assert log["commands"] == document["orders"]
        # The aim is 0.7; a tiny run on a busy machine measures little but its disturbances.
        assert log["speed_ratio"] > 0.2


@one("feed")
def test_observers_are_measured_beside_nobody(ran: Callable[[str], Ran]) -> None:
    """All that read missed nothing, whoever had stopped; commands were answered with them and without."""
    document = ran("feed").document
    assert (document["observers_live"], document["observers_gapless"], document["observers_stopped"]) == (5, 5, 1)
    assert document["entries_per_observer"] > 0
    (window,) = document["windows"]
    for side in ("with", "without"):
        assert window[side]["commands_per_second"] > 0
        assert document[f"{side}_observers_p99_milliseconds"] == window[side]["p99_milliseconds"]


@one("world")
def test_a_turn_is_measured_in_every_situation(ran: Callable[[str], Ran]) -> None:
    """Each size standing, marching and in battle; the benchmark itself says that both worlds stay equal."""
    document = ran("world").document
    for units in (128, 144):
        for situation in ("idle", "moving", "battle"):
            found = document[f"{situation}_{units}_units"]
            assert found["turns"] == 3
            assert 0 < found["units_alive"] <= units
            assert 0 < found["with_root_ms_median"] <= found["with_root_ms_max"]


@one("lockstep")
def test_a_game_is_measured_and_its_hardships(ran: Callable[[str], Ran]) -> None:
    """All clients have one root after every turn, with one that rejoins, a leader that dies, and over a bad line."""
    document = ran("lockstep").document
    (row,), line = document["play"], document["bad_line"]
    for found in (row, line):
        assert found["turns_equal_on_all_clients"] > 5
        assert found["turns_unequal"] == found["desyncs"] == 0
        assert found["bits_per_second_of_worst_client"] > 0
    (rejoin,) = document["rejoin"]
    assert rejoin["bytes"] > 0
    assert document["leader_killed"]["desyncs"] == 0
    assert document["replay"]["roots_checked"] > 0


@one("join")
def test_a_node_joins_under_load(ran: Callable[[str], Ran]) -> None:
    """It serves at the end, and commands were answered before and meanwhile."""
    (join,) = ran("join").document["joins"]
    assert join["serves_after_seconds"] > 0
    assert join["commands_before"] > 0
    assert join["commands_during"] > 0


@EACH
def test_people_get_tables(name: str, ran: Callable[[str], Ran]) -> None:
    """Without --json the numbers come as lines for people, and progress stays on stderr."""
    lines = ran(name).lines
    assert f"{name}, durability {'none' if name in IN_MEMORY else 'fsync'}" in lines
    assert any(unit in lines for unit in ("microseconds", "milliseconds", "_ms_"))
    assert ran(name).progress
    assert "\n  filling" not in lines
