"""`rsm log info` counts what a log holds, in one pass."""

from __future__ import annotations

import json
from pathlib import Path

from rsm.limits import HASH_INTERVAL_ENTRIES
from rsm.node.storage.scan import export
from tests.unit.cli.samples import DISK, call, entry, offsets, run, sample_entries, segments, write_log


def test_info_counts_what_was_written(tmp_path: Path) -> None:
    """Identity, indexes, terms, kinds, commands (steps of pipelines too), times, bytes and roots are those written."""
    log = write_log(tmp_path / "shop", sample_entries())
    ran = run("log", "info", log, "--json")
    document = json.loads(ran.out)
    assert (ran.code, ran.err) == (0, "")
    assert document["machine"] == "shop"
    assert document["machine_version"] == 2
    assert document["cluster_id"] == bytes(range(16)).hex()
    assert (document["first_index"], document["last_index"]) == (1, 8)
    assert (document["first_term"], document["last_term"]) == (1, 2)
    assert document["entries"] == {"BATCH": 7, "NOOP": 1}
    assert [(row["name"], row["version"], row["count"]) for row in document["commands"]] == [
        ("close", 1, 1),
        ("order", 1, 1),
        ("order", 2, 4),
        ("rsm.activate", 1, 1),
        ("rsm.confirmed", 1, 1),
        ("rsm.open_session", 1, 1),
        ("rsm.pipeline", 1, 1),
    ]
    assert document["first_time"] == "2023-11-14T22:13:20.124456789Z"
    assert document["last_time"] == "2023-11-14T22:13:20.131456789Z"
    assert document["raw_bytes"] == sum(len(one.payload) for one in sample_entries())
    assert document["stored_bytes"] == offsets(segments(log)[0])[-1]
    assert (document["hash_points"], document["confirmed_roots"]) == (1, 1)
    assert document["last_confirmed"] == {"index": 5, "root": "11" * 16}
    assert document["torn"] is None


def test_info_sees_hash_points_by_index(tmp_path: Path) -> None:
    """Every index divisible by the interval is a hash point, whether its batch asks for it or not."""
    log = write_log(tmp_path / "shop", [entry(index) for index in range(1, 2 * HASH_INTERVAL_ENTRIES + 2)])
    assert json.loads(run("log", "info", log, "--json").out)["hash_points"] == 2


def test_info_lists_every_segment(tmp_path: Path) -> None:
    """A log of several files is shown file by file, and they add up."""
    log = write_log(
        tmp_path / "shop",
        [entry(index, call("order", 2, "x" * 900, index)) for index in range(1, 9)],
        segment_bytes=2500,
    )
    document = json.loads(run("log", "info", log, "--json").out)
    files = segments(log)
    assert len(files) > 2
    assert [row["file"] for row in document["segments"]] == [str(file) for file in files]
    assert sum(row["entries"] for row in document["segments"]) == 8
    assert [row["bytes"] for row in document["segments"]] == [offsets(file)[-1] for file in files]
    shown = run("log", "info", log).out
    assert all(file.name in shown for file in files)


def test_info_of_a_file_and_of_the_log_directory(tmp_path: Path) -> None:
    """The machine's directory, its log directory, its only segment and an exported file give the same counts."""
    log = write_log(tmp_path / "shop", sample_entries())
    export(DISK, str(log), str(tmp_path / "piece.log"))
    documents = [
        json.loads(run("log", "info", path, "--json").out)
        for path in (log, log / "log", segments(log)[0], tmp_path / "piece.log")
    ]
    for document in documents:
        assert document["commands"] == documents[0]["commands"]
        assert document["chain"] == documents[0]["chain"]
        assert document["machine"] == "shop"


def test_info_of_an_empty_log(tmp_path: Path) -> None:
    """A machine that has done nothing has a log of no entries, which is nothing wrong."""
    log = write_log(tmp_path / "shop", [])
    ran = run("log", "info", log)
    assert ran.code == 0
    assert "0 entries" in ran.out


def test_info_reports_a_torn_tail(tmp_path: Path) -> None:
    """A log that was cut inside its last record is counted up to there, and the exit code is 1."""
    log = write_log(tmp_path / "shop", sample_entries())
    segment = segments(log)[0]
    places = offsets(segment)
    segment.write_bytes(segment.read_bytes()[: places[-1] - 10])
    ran = run("log", "info", log, "--json")
    document = json.loads(ran.out)
    assert ran.code == 1
    assert document["last_index"] == 7
    assert document["torn"] == {"file": str(segment), "offset": places[-2], "bytes": places[-1] - 10 - places[-2]}
    assert f"offset {places[-2]}" in run("log", "info", log).out
