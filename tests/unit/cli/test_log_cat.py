"""`rsm log cat` decodes and filters commands by name and field, from what the log itself declares."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from rsm.codec.record import Entry, RecordKind
from rsm.node.storage.directory import MachineDirectory
from rsm.replica.snapshot import Manifest
from tests.unit.cli.samples import DISK, call, entry, run, sample_entries, segments, write_log


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The sample log."""
    return write_log(tmp_path / "shop", sample_entries())


def cat(path: Path, *arguments: object) -> list[dict[str, Any]]:
    """The JSON Lines of a `log cat` that succeeds."""
    ran = run("log", "cat", path, "--json", *arguments)
    assert (ran.code, ran.err) == (0, "")
    return [json.loads(line) for line in ran.out.splitlines()]


def test_cat_shows_users_commands_by_field(log: Path) -> None:
    """Values stand under the names of their command's version; a pipeline is shown with its steps."""
    lines = cat(log)
    assert [(line["index"], line["position"], line["name"], line["version"]) for line in lines] == [
        (3, 0, "order", 2),
        (3, 1, "order", 1),
        (5, 0, "order", 2),
        (7, 0, "rsm.pipeline", 1),
        (7, 1, "close", 1),
    ]
    assert lines[0] == {
        "index": 3,
        "term": 1,
        "time": "2023-11-14T22:13:20.126456789Z",
        "position": 0,
        "session": 7,
        "sequence": 1,
        "key": None,
        "name": "order",
        "version": 2,
        "values": {"item": "tea", "quantity": 100, "mark": "abcd"},
    }
    assert lines[1]["values"] == {"item": "100", "quantity": 5}
    assert lines[2]["key"] == "k-1"
    assert [step["values"] for step in lines[3]["steps"]] == [
        {"item": "tea", "quantity": 1, "mark": ""},
        {"item": "tea", "quantity": {"result_of_step": 0, "path": []}, "mark": "01"},
    ]
    assert lines[4]["values"] == {}


def test_cat_all_shows_every_entry(log: Path) -> None:
    """With --all nothing is left out: system commands by field, entries without commands as such."""
    lines = cat(log, "--all")
    assert sorted({line["index"] for line in lines}) == list(range(1, 9))
    by_name = {line.get("name"): line for line in lines}
    assert by_name["rsm.activate"]["values"]["machine"] == "shop"
    assert by_name["rsm.open_session"]["values"] == {"principal": "ann", "ttl_nanoseconds": 0}
    assert by_name["rsm.confirmed"]["values"] == {"index": 5, "root": "11" * 16}
    assert lines[4] == {"index": 4, "term": 2, "kind": "NOOP"}
    assert lines[-1]["kind"] == "BATCH"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--command", "order"], ["3.0", "3.1", "5.0", "7.0"]),
        (["--command", "close"], ["7.1"]),
        (["--command", "close", "--command", "rsm.confirmed"], ["6.0", "7.1"]),
        (["--command", "rsm.pipeline"], ["7.0"]),
        (["--command", "rsm.confirmed", "--where", "index=5"], ["6.0"]),
        (["--where", "quantity=100"], ["3.0", "5.0"]),
        (["--where", "item=tea"], ["3.0", "7.0"]),
        (["--where", 'item="tea"'], ["3.0", "7.0"]),
        (["--where", "item=100"], ["3.1"]),
        (["--where", "item=tea", "--where", "quantity=1"], ["7.0"]),
        (["--where", "item=tea", "--where", "mark=01"], ["7.0"]),
        (["--where", "quantity=true"], []),
        (["--where", "quantity=100.0"], []),
        (["--where", "mark=abcd"], ["3.0"]),
        (["--where", 'quantity={"path": [], "result_of_step": 0}'], ["7.0"]),
        (["--where", "item="], []),
        (["--from", 5], ["5.0", "7.0", "7.1"]),
        (["--from", 4, "--to", 5], ["5.0"]),
        (["--to", 3], ["3.0", "3.1"]),
        (["--from", 9], []),
        (["--command", "order", "--from", 6], ["7.0"]),
    ],
)
def test_cat_filters(log: Path, arguments: list[object], found: list[str]) -> None:
    """Names, fields (as JSON or text, type for type) and ranges select exactly what fits; all conditions must hold."""
    assert [f"{line['index']}.{line['position']}" for line in cat(log, *arguments)] == found


def test_cat_for_people_is_one_line_a_command(log: Path) -> None:
    """Each command is one line that begins with its place; the steps of a pipeline are indented below it."""
    ran = run("log", "cat", log)
    assert ran.code == 0
    rows = ran.out.splitlines()
    assert [row.split()[0] for row in rows] == ["3.0", "3.1", "5.0", "7.0", "order", "order", "7.1"]
    assert rows[2].endswith('order v2 item="milk" quantity=100 mark=""  session=7 sequence=3 key="k-1"')
    assert "of 2 steps" in rows[3]


def test_cat_escapes_what_would_move_a_terminal(tmp_path: Path) -> None:
    """Control characters in names, values and keys reach no terminal; other alphabets are shown as they are."""
    nasty = "\x1b[2J\x9b1m\u202e"
    log = write_log(tmp_path / "shop", [entry(1, call(nasty, 1, nasty, key=nasty), call("grüße", 1, "чай"))])
    ran = run("log", "cat", log)
    assert ran.code == 0
    assert all(row.isprintable() for row in ran.out.splitlines())
    assert "grüße" in ran.out
    assert "чай" in ran.out


def test_cat_shows_items_that_are_none(tmp_path: Path) -> None:
    """A batch may hold items that no replica runs; they are shown for what they are and do not stop the reader."""
    items = [b"\x01", b"\x86\x01\x01\x01\x01\x01\x01", call("order", 2, "tea", 1, b"")]
    log = write_log(tmp_path / "shop", [entry(1, *items, call("rsm.pipeline", 1, 5, ["x"]))])
    assert [line["name"] for line in cat(log)] == ["(malformed)", "(malformed)", "order", "rsm.pipeline"]
    assert run("log", "cat", log).code == 0


def test_cat_shortens_a_long_value_for_people_only(tmp_path: Path) -> None:
    """A large value takes one short line of a terminal, and all of its line in JSON."""
    log = write_log(tmp_path / "shop", [entry(1, call("order", 2, "x" * 5000, 1))])
    assert len(run("log", "cat", log).out) < 500
    assert cat(log)[0]["values"]["0"] == "x" * 5000


def test_json_stays_json(tmp_path: Path) -> None:
    """Numbers that JSON has no form for, maps with numbers as keys and text beyond ASCII give valid JSON."""
    payload = entry(1, call("order", 2, {1: "a", "b": [b"\x00"]})).payload
    # A float, as the decoder lets it through: an infinity in three bytes.
    infinite = call("order", 2, 0)[:-1] + b"\xf9\x7c\x00"
    log = write_log(tmp_path / "shop", [Entry(1, 1, RecordKind.BATCH, payload), entry(2, infinite)])
    assert [line["values"] for line in cat(log)] == [{"0": {"1": "a", "b": ["00"]}}, {"0": "inf"}]


def test_names_come_from_before_the_range(tmp_path: Path) -> None:
    """`--from` in a later segment still knows the fields that the first one declared."""
    entries = [sample_entries()[0], *(entry(i, call("order", 2, "x" * 900, i, b"")) for i in range(2, 9))]
    log = write_log(tmp_path / "shop", entries, segment_bytes=2500)
    assert len(segments(log)) > 2
    assert [line["values"]["quantity"] for line in cat(log, "--from", 7)] == [7, 8]


def test_names_follow_the_log(tmp_path: Path) -> None:
    """A command is shown under the names that held at its index, also after a later version renamed its fields."""
    schema = {"commands": {"order": {"3": [["what", "str"], ["how_many", "int"]]}}}
    later = call("rsm.activate", 1, "shop", 3, schema, bytes(16), session=0)
    entries = [sample_entries()[0], entry(2, call("order", 2, "tea", 1, b"")), entry(3, later)]
    entries += [entry(4, call("order", 3, "tea", 2), call("order", 2, "tea", 3, b""))]
    log = write_log(tmp_path / "shop", entries)
    assert [list(line["values"]) for line in cat(log, "--command", "order")] == [
        ["item", "quantity", "mark"],
        ["what", "how_many"],
        ["item", "quantity", "mark"],
    ]


def test_a_piece_without_names_has_positions(log: Path, tmp_path: Path) -> None:
    """A file cut from the middle of a log names its fields by position, for showing and for filtering."""
    piece = tmp_path / "piece.log"
    assert run("log", "export", log, piece, "--from", 3, "--to", 5).code == 0
    assert [line["values"] for line in cat(piece, "--where", "1=100")] == [
        {"0": "tea", "1": 100, "2": "abcd"},
        {"0": "milk", "1": 100, "2": ""},
    ]
    ran = run("log", "cat", piece, "--where", "quantity=100")
    assert ran.code == 2
    assert "by position" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--command", "ordr"], ["there is no command 'ordr'", "close, order"]),
        (["--where", "quantty=1"], ["no command has a field 'quantty'", "item, mark, quantity"]),
        (["--command", "close", "--where", "item=1"], ["no command has a field 'item'"]),
        (["--where", "quantity"], ["'quantity' is not FIELD=VALUE"]),
        (["--where", "=5"], ["'=5' is not FIELD=VALUE"]),
        (["--from", 11], ["the log holds 1 to 8, not 11"]),
        (["--from", 5, "--to", 4], ["--to 4 is before --from 5"]),
        (["--from", 0], ["--from"]),
        (["--from", "x"], ["--from"]),
    ],
)
def test_a_misspelt_word_is_an_error(log: Path, arguments: list[object], words: list[str]) -> None:
    """A filter that can never fit is refused with exit code 2 and what there is instead, never silence."""
    ran = run("log", "cat", log, *arguments)
    assert ran.code == 2
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert all(word in ran.err for word in words), ran.err


def test_a_known_command_that_does_not_occur_is_no_error(tmp_path: Path) -> None:
    """A command that the log declares and never used gives nothing, and exit code 0."""
    log = write_log(tmp_path / "shop", sample_entries()[:3])
    assert cat(log, "--command", "close") == []


def test_cat_prints_up_to_the_damage(log: Path) -> None:
    """What was read before a damaged record is printed; then one line with file and offset, and exit code 1."""
    segment = segments(log)[0]
    data = bytearray(segment.read_bytes())
    data[data.index(b"milk")] ^= 1
    segment.write_bytes(data)
    ran = run("log", "cat", log, "--json")
    assert ran.code == 1
    assert [json.loads(line)["index"] for line in ran.out.splitlines()] == [3, 3]
    assert re.fullmatch(rf"rsm: {re.escape(str(segment))}: offset \d+: .*checksum.*\n", ran.err)


def test_names_come_from_the_snapshot_when_the_log_begins_after_it(tmp_path: Path) -> None:
    """A log whose beginning was compacted takes its names from the manifest of the snapshot."""
    with MachineDirectory.create(DISK, str(tmp_path / "shop"), machine="shop") as directory:
        sums = bytes(8 * 1024)
        manifest = Manifest(
            machine="shop",
            version=2,
            index=40,
            term=1,
            chain=bytes(16),
            root=bytes(16),
            roots=[],
            schema={"commands": {"order": {"2": [["item", "str"], ["quantity", "int"]]}}},
            state={"stock": ["map", "unknown", sums]},
            events_newest=0,
        )
        with directory.open_snapshots().begin(40, 1) as writer:
            writer.add(RecordKind.MANIFEST, manifest.encode())
            writer.commit()
        with directory.open_journal() as journal:
            journal.reset(40, 1, bytes(16))
            journal.append([entry(41, call("order", 2, "tea", 3))])
            journal.sync()
    assert [line["values"] for line in cat(tmp_path / "shop")] == [{"item": "tea", "quantity": 3}]
    assert cat(tmp_path / "shop" / "log", "--where", "item=tea") != []
    assert "the log holds 41 to 41, not 3" in run("log", "cat", tmp_path / "shop", "--from", 3).err
