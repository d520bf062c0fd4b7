"""The recorded exchange feed through a durable machine: every checksum, and what one altered level does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rsm
from demos.orderbook.level_machine import LevelFeed
from demos.orderbook.levels import BID
from rsm.cli.main import main as rsm_main
from tests.external.replaying import call, kill_half_way

LINE = 2001


@pytest.fixture
def feed(shared: Path) -> Path:
    return shared / "data/kraken_book_2021-04-17/KRAKEN.ws.50.0"


@pytest.fixture
def altered(feed: Path, tmp_path: Path) -> Path:
    """The feed with the last digit of the first quantity of one update changed."""
    lines = feed.read_bytes().split(b"\n")
    good = lines[LINE - 1]
    assert b'"c":' in good
    found = re.search(rb'\[\["[0-9.]+","[0-9.]*([0-9])"', good)
    assert found is not None
    digit = b"1" if found[1] != b"1" else b"2"
    lines[LINE - 1] = good[: found.start(1)] + digit + good[found.end(1) :]
    path = tmp_path / "altered"
    path.write_bytes(b"\n".join(lines))
    return path


def test_every_checksum_of_the_feed_is_equal(feed: Path) -> None:
    """Each message is a command of a machine; the last line says that 4,269 of 4,269 were equal."""
    told = call(feed)
    assert (told.code, told.err) == (0, "")
    assert told.out.splitlines()[-1] == "4,269 of 4,269 checksums equal"


def test_the_summary_is_one_document(feed: Path, tmp_path: Path) -> None:
    """`--json` prints format, counts, checks, root and the books; again on the same directory nothing is sent."""
    first = call(feed, "--dir", tmp_path / "d", "--json")
    assert first.code == 0
    found = first.document
    assert (found["format"], found["ok"], found["failure"]) == ("Kraken book feed", True, None)
    assert (found["messages"], found["applied"], found["commands"]) == (4279, 4279, 4279)
    assert found["checks"] == [{"name": "checksums equal", "equal": 4269, "of": 4269}]
    assert re.fullmatch("[0-9a-f]{32}", found["root"])
    assert 0 < found["root_index"] <= found["index"]
    assert len(found["book"]["pairs"]) == 10
    again = call(feed, "--dir", tmp_path / "d", "--json").document
    assert (again["commands"], again["checks"], again["book"]) == (0, found["checks"], found["book"])


def test_one_altered_level_stops_the_replay_at_its_message(
    feed: Path, altered: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 1, naming line, message and log index; nothing behind it was applied; the log shows it there."""
    directory = tmp_path / "d"
    told = call(altered, "--dir", directory, "--json")
    found = told.document
    assert told.code == 1
    told_of = re.search(
        rf"altered: line {LINE}: message (\d+): the checksum of (\S+) is \d+, the exchange says \d+ "
        r"\(log index (\d+), position (\d+)\)",
        told.err,
    )
    assert told_of is not None, told.err
    assert told.err.count("\n") == 1
    number, pair, index = int(told_of[1]), told_of[2], told_of[3]
    assert (found["ok"], found["messages"], found["applied"]) == (False, number, number - 1)
    (check,) = found["checks"]
    assert check["of"] == check["equal"] + 1
    # The command of that number lies at that index of the log.
    capsys.readouterr()
    where = ("--from", index, "--to", index, "--command", "update_levels", "--where", f"number={number}")
    assert rsm_main(["log", "cat", str(directory), *where]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"{index}.{told_of[4]} ")
    assert pair in shown
    # The same again stops at the same message; another file is not mistaken for this one.
    again = call(altered, "--dir", directory)
    assert again.code == 1
    assert f"line {LINE}: message {number}: the checksum of {pair}" in again.err
    other = call(feed, "--dir", directory)
    assert other.code == 2
    assert "holds a replay of another file" in other.err
    # The book is as it was before the message.
    with rsm.open(LevelFeed, directory) as client:
        assert client.last_number(client.senders()[0]) == number - 1
        assert client.best(pair, BID, 1)


def test_a_killed_replay_goes_on_where_it_stopped(feed: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle; the same command again sends only the rest, and every checksum is equal."""
    directory = tmp_path / "d"
    assert list(kill_half_way((feed, directory, 2000, 256))) == [9]
    found = call(feed, "--dir", directory, "--json").document
    assert 4279 - 2000 - 256 <= found["commands"] <= 4279 - 2000
    assert found["checks"] == [{"name": "checksums equal", "equal": 4269, "of": 4269}]


@pytest.mark.parametrize("back", [2000, 2111])
def test_a_cut_feed_is_replayed_up_to_its_cut(feed: Path, tmp_path: Path, back: int) -> None:
    """A feed cut inside a line: every message before it is applied and equal, the line is named, exit code 1."""
    path = tmp_path / "cut"
    content = feed.read_bytes()[:-back]
    path.write_bytes(content)
    told = call(path, "--json")
    assert told.code == 1
    found = told.document
    (check,) = found["checks"]
    assert check["equal"] == check["of"] > 4200
    assert found["messages"] == found["applied"]
    assert f"line {content.count(bytes([10])) + 1}: not " in told.err
