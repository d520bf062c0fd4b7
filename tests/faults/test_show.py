"""The order book's show tells the truth: it passes when nothing was lost, and fails when anything was.

On a cluster the show is long, so it runs twice: once as it is, once with an acknowledged command undone. What its other
checks find is tried on the checks themselves (tests/unit/orderbook/test_audit.py), and in the show of one process.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

import rsm
from demos.orderbook.flowgen import TRADERS, Command, Flow
from demos.orderbook.machine import OrderBook
from demos.orderbook.show import COMMANDS_MIN, main

# Processes enough for the whole machine: not beside another cluster.
on_a_cluster = pytest.mark.xdist_group("cluster")

# The shortest shows there are.
CLUSTER = ["--commands", str(COMMANDS_MIN), "--seed", "3"]
SHORT = [*CLUSTER, "--embedded"]
# The kill comes when half is acknowledged, and word of it takes less than this many commands more.
RECOVERED = COMMANDS_MIN - 100
Numbered = Iterable[tuple[str, Command]]


def keyed() -> list[tuple[str, Command]]:
    """The flow's commands, each with the key that the show gives it."""
    return [(f"flow-{number}", step.command) for number, step in enumerate(Flow(3).steps(COMMANDS_MIN))]


def rebuild(path: Path, commands: Numbered) -> None:
    """Put a machine in the place of the killed one that has run exactly these commands under these keys."""
    shutil.rmtree(path)
    with rsm.open(OrderBook, path) as client:
        sessions = [client, *(client.session(principal=name) for name in TRADERS[1:])]
        sent = [
            getattr(sessions[command.trader].once(key), command.name).send(*command.values) for key, command in commands
        ]
        for pending in sent:
            pending.result()


def shown(
    capsys: pytest.CaptureFixture[str], plant: Callable[[Path], None] | None = None
) -> tuple[int, dict[str, object]]:
    """Exit code and document of a short show."""
    code = main([*SHORT, "--json"], plant)
    return code, json.loads(capsys.readouterr().out)


def held(document: dict[str, object]) -> dict[str, bool]:
    """Which checks were made, and held."""
    checks = document["checks"]
    assert isinstance(checks, list)
    return {check["name"]: check["held"] for check in checks}


@on_a_cluster
def test_a_cluster_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """Leader killed, a follower emptied, a bug in one node: a run ends with 0, with all checks held and equal roots."""
    code = main([*CLUSTER, "--json"])
    document = json.loads(capsys.readouterr().out)
    assert code == 0, document["reason"]
    assert list(held(document)) == [
        "leader killed",
        "follower emptied",
        "bug in one node",
        "same answers",
        "once each",
        "same books",
        "same reports",
        "three equal roots",
    ]
    assert all(held(document).values())
    assert document["bad_paths"]
    assert COMMANDS_MIN // 4 <= document["acknowledged_at_kill"] < COMMANDS_MIN
    assert document["killed_node"] != document["emptied_node"]
    assert document["acknowledged_meanwhile"] >= 0  # all may have paused for what comes next
    assert len(document["root"]) == 32


@on_a_cluster
@pytest.mark.soak
def test_an_undone_command_is_found_on_a_cluster(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """An acknowledged order that is not there at the end is found: the show ends with 1, in plain text, and says which
    book differs. --dir keeps the directories of the nodes.
    """

    def undo(addresses: list[str]) -> None:
        with rsm.connect(OrderBook, addresses, principal="birch", timeout_seconds=60.0) as client:
            client.cancel(client.open_orders("birch")[0].order_id)

    monkeypatch.setenv("COLUMNS", "80")
    directory = tmp_path / "kept"
    assert main([*CLUSTER, "--dir", str(directory)], after_trading=undo) == 1
    printed = capsys.readouterr().out
    assert f"{COMMANDS_MIN:,} of {COMMANDS_MIN:,} equal" in printed
    assert printed.strip().splitlines()[-1].startswith(" ✘ same books")
    assert "ORBIT" in printed.strip().splitlines()[-1]
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert [(directory / f"node-{number}" / "identity").exists() for number in (1, 2, 3)] == [True] * 3


# --- one process ------------------------------------------------------------------------------------------------------


def test_the_show_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """A whole run ends with 0, eight checks held, and one document that says what was recovered and compared."""
    code, document = shown(capsys)
    assert code == 0, document["reason"]
    assert len(held(document)) == 8
    assert all(held(document).values())
    killed, recovered = document["acknowledged_at_kill"], document["recovered"]
    assert isinstance(killed, int)
    assert isinstance(recovered, int)
    assert COMMANDS_MIN // 2 <= killed <= recovered < COMMANDS_MIN
    assert document["sent_again"] == recovered - killed + 1_000


def test_it_is_plain_text_without_a_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Printed to a file there is no control code and no line wider than eighty cells, and --dir keeps the machine."""
    monkeypatch.setenv("COLUMNS", "80")
    directory = tmp_path / "kept"
    assert main([*SHORT, "--dir", str(directory)]) == 0
    printed = capsys.readouterr().out
    assert "nothing was lost" in printed
    assert "\x1b" not in printed
    assert max(map(len, printed.splitlines())) <= max(80, len(str(directory)) + 30)
    with rsm.open(OrderBook, directory) as client:
        assert client.instrument("ACME") == 1
        assert client.counts()[0] > 100


def test_a_machine_put_in_its_place_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """What the plants below do, done rightly, is not found: it is the plant that the show finds, not the planting."""
    code, document = shown(capsys, lambda path: rebuild(path, keyed()[:RECOVERED]))
    assert code == 0, document["reason"]
    assert document["recovered"] == RECOVERED


def test_a_lost_command_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """An acknowledged command that is missing in the middle of what was recovered ends the show with 1."""
    commands = keyed()
    missing = next(n for n, (_, command) in enumerate(commands) if n > 1_500 and command.name == "place")
    plant = [pair for number, pair in enumerate(commands[:RECOVERED]) if number != missing]
    code, document = shown(capsys, lambda path: rebuild(path, plant))
    assert code == 1
    assert held(document)["nothing lost or doubled"] is False
    assert "where the flow makes" in str(document["reason"])


def test_a_lost_end_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """A recovered machine that stands before the last acknowledged command ends the show, before anything is resent."""
    code, document = shown(capsys, lambda path: rebuild(path, keyed()[: COMMANDS_MIN // 2 - 1]))
    assert code == 1
    assert held(document) == {"killed in the middle": True, "nothing was lost": False}
    assert f"ends after command {COMMANDS_MIN // 2 - 1:,}" in str(document["reason"])


def test_a_doubled_command_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    """One command that took effect twice ends the show with 1."""
    commands = keyed()[:RECOVERED]
    twice = next(n for n, (_, command) in enumerate(commands) if n > 1_500 and command.name == "place")
    commands.insert(twice + 1, ("again", commands[twice][1]))
    code, document = shown(capsys, lambda path: rebuild(path, commands))
    assert code == 1
    assert held(document)["nothing lost or doubled"] is False
    assert "where the flow makes" in str(document["reason"])


def test_forgotten_keys_are_found(capsys: pytest.CaptureFixture[str]) -> None:
    """A machine with all effects but without the keys runs what is sent again a second time: the show ends with 1."""
    code, document = shown(
        capsys, lambda path: rebuild(path, [(f"other-{key}", command) for key, command in keyed()[:RECOVERED]])
    )
    assert code == 1
    assert held(document)["nothing was doubled"] is True
    assert held(document)["once each"] is False


def test_a_corrupt_log_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """A flipped byte in the log ends the show with 1, and with the file and offset that the library names."""

    def flip(path: Path) -> None:
        (segment,) = sorted((path / "log").iterdir())
        data = bytearray(segment.read_bytes())
        data[len(bytes(data).rstrip(b"\0")) // 2] ^= 1
        segment.write_bytes(data)

    code, document = shown(capsys, flip)
    assert code == 1
    assert "offset" in str(document["reason"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--commands", "7"], "--commands must be"),
        (["--seed", "-1"], "--seed must be"),
        (["--rate", "0"], "--rate must be"),
        (["--dir", "FULL"], "is not empty"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What cannot be shown is refused with 2 and one line that names the option."""
    (tmp_path / "something").write_text("here", encoding="utf-8")
    with pytest.raises(SystemExit) as refused:
        main([str(tmp_path) if word == "FULL" else word for word in arguments])
    assert refused.value.code == 2
    assert words in capsys.readouterr().err
