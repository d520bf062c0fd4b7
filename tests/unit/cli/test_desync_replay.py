"""`rsm desync replay`: verdicts, exit codes and one clear line each."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from rsm.cli.main import main
from rsm.node.storage.disk import OsDisk
from rsm.node.storage.root_book import RootBook
from tests.machines import Bank, Log
from tests.replay_stage import ShopLog, checkout, few_settings, shop_of, write_machine, write_segment

ROOT = Path(__file__).resolve().parents[3]
WRONG_TOTAL = ("self.total -= count", "self.total -= count + (left == 73)")
# As the design has them.
FIRM = ["verdict", "kind", "first_bad_index", "first_bad_command", "command", "paths", "minority"]
FIRM += ["checked_to_index", "unchecked"]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of a healthy shop."""
    log = ShopLog(shop_of(checkout(tmp_path_factory.mktemp("healthy")))).trade(300)
    return write_machine(tmp_path_factory.mktemp("machine") / "data", log)


class Line:
    """The command line in a checkout."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        monkeypatch.setattr(sys, "path", list(sys.path))
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        self.err = ""

    def run(self, code: Path, *arguments: object) -> tuple[int, str]:
        """Exit code and standard output."""
        self._monkeypatch.chdir(code)
        self._monkeypatch.delitem(sys.modules, "shop", raising=False)
        sys.path.insert(0, str(code))
        result = main(["desync", "replay", *map(str, arguments)])
        printed = self._capsys.readouterr()
        self.err = printed.err
        return result, printed.out

    def json(self, code: Path, *arguments: object) -> tuple[int, Any]:
        """Exit code and the one document on standard output."""
        result, text = self.run(code, *arguments, "--json")
        return result, json.loads(text)


@pytest.fixture
def line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Line:
    """A command line."""
    return Line(capsys, monkeypatch)


def test_agreement(line: Line, machine: Path, tmp_path: Path) -> None:
    """Exit code 0, and how far it was checked."""
    code, text = line.run(checkout(tmp_path / "code"), machine, "--machine", "shop:Shop")
    assert code == 0
    assert text.splitlines()[0] == f"{machine}: agree: checked to index 256"
    code, document = line.json(checkout(tmp_path / "code"), machine, "--machine", "shop:Shop", "--from", "beginning")
    assert (code, document["verdict"], document["paths"], document["unchecked"]) == (0, "agree", [], [])
    assert set(FIRM) <= set(document)


def test_a_difference_and_its_bundle(line: Line, machine: Path, tmp_path: Path) -> None:
    """Exit code 1, the commands among which it is, and a bundle in the working directory that can be replayed."""
    wrong, right = checkout(tmp_path / "wrong", WRONG_TOTAL), checkout(tmp_path / "right")
    code, text = line.run(wrong, machine, "--machine", "shop:Shop")
    assert code == 1
    assert "DESYNC at index 192 (apply)" in text
    assert '141.0  sell v1 item="apple" count=2' not in text  # the first ten are listed
    assert "commands among which it is:" in text
    assert text.splitlines()[-1].split() == ["bundle", "desync-192"]
    code, document = line.json(wrong, machine, "--machine", "shop:Shop")
    assert document["bundle"] == "desync-192-2"
    assert {"index": 141, "position": 0, "name": "sell", "version": 1, "values": {"item": "apple", "count": 2}} in (
        document["commands"]
    )
    assert line.run(wrong, wrong / "desync-192", "--machine", "shop:Shop", "--bundle", tmp_path / "b")[0] == 1
    assert line.run(right, wrong / "desync-192", "--machine", "shop:Shop")[0] == 0


def test_against_other_code(line: Line, machine: Path, tmp_path: Path) -> None:
    """The command, the paths side by side and the two source lines; the firm fields in the document."""
    right, wrong = checkout(tmp_path / "right"), checkout(tmp_path / "wrong", WRONG_TOTAL)
    code, text = line.run(right, machine, "--machine", "shop:Shop", "--against", "../wrong")
    assert code == 1
    assert "DESYNC at index 141, command 0 (apply)" in text
    assert 'sell v1 item="apple" count=2' in text
    assert ["path", "replay", "../wrong"] in [one.split() for one in text.splitlines()]
    assert "  replay: shop.py:" in text  # as one would name it here
    assert f"{wrong}/shop.py:" in text
    assert "    self.total -= count + (left == 73)" in text.splitlines()
    code, document = line.json(
        right, machine, "--machine", "shop:Shop", "--against", "../wrong", "--bundle", tmp_path / "kept"
    )
    assert code == 1
    assert list(document)[: len(FIRM)] == FIRM
    assert (document["first_bad_index"], document["first_bad_command"], document["kind"]) == (141, 0, "apply")
    assert document["paths"][0]["path"] == "scalars/'total'"
    assert document["minority"] == ["../wrong"]
    assert document["bundle"] == str(tmp_path / "kept")
    assert len(document["blame"]) == 2


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("raise OSError('no disk')\n", "cannot import shop: OSError: no disk"),
        ("", "module shop has no Shop"),
    ],
)
def test_other_code_that_cannot_be_loaded(change: str, reason: str, line: Line, machine: Path, tmp_path: Path) -> None:
    """Unchecked, exit code 3, and why."""
    right = checkout(tmp_path / "right")
    checkout(tmp_path / "other", text=change)
    arguments = (machine, "--machine", "shop:Shop", "--against", "../other")
    code, text = line.run(right, *arguments)
    assert code == 3
    assert reason in text
    code, document = line.json(right, *arguments)
    assert (code, document["verdict"]) == (3, "unchecked")
    assert reason in document["unchecked"][0]


def test_a_difference_is_told_where_no_bundle_can_be_written(line: Line, machine: Path, tmp_path: Path) -> None:
    """A full disk or a wrong directory takes away the bundle, and not the verdict."""
    wrong, right = checkout(tmp_path / "wrong", WRONG_TOTAL), checkout(tmp_path / "right")
    bundle = wrong / "shop.py" / "kept"
    for code_there, options in ((wrong, ()), (right, ("--against", "../wrong"))):
        code, document = line.json(code_there, machine, "--machine", "shop:Shop", *options, "--bundle", bundle)
        assert (code, document["verdict"], "bundle" in document) == (1, "desync", False)
        assert any(note.startswith("no bundle was written: ") for note in document["notes"])


def test_wrong_usage(line: Line, machine: Path, tmp_path: Path) -> None:
    """Exit code 2 and one line: a class of one's own that cannot be loaded, no log, options that do not fit."""
    right = checkout(tmp_path / "right")
    for arguments in (
        (machine, "--machine", "shop:Nothing"),
        (machine, "--machine", "no_such_module:Shop"),
        (tmp_path / "nothing", "--machine", "shop:Shop"),
        (right / "shop.py", "--machine", "shop:Shop"),
        (machine, "--machine", "shop:Shop", "--against", "..", "--hostile"),
        (machine, "--machine", "shop:Shop", "--from", "yesterday"),
        (machine, "--machine", "shop:Shop", "--from", str(2**63), "--against", "."),
        (machine, "--machine", "shop:Shop", "--bundle", right),
    ):
        code, text = line.run(right, *arguments)
        assert (code, text) == (2, ""), arguments
        assert len(line.err.strip().splitlines()) == 1, line.err
    raising = checkout(tmp_path / "raising", text="raise ValueError('here')\n")
    code, _ = line.run(raising, machine, "--machine", "shop:Shop")
    assert code == 2
    assert "ValueError: here" in line.err


def test_what_cannot_be_checked(line: Line, machine: Path, tmp_path: Path) -> None:
    """Exit code 3: the log of another machine, a start that is not there."""
    right = checkout(tmp_path / "right")
    bank = Log(Bank)
    bank.send(bank.open(), "deposit", "ann", 1)
    write_segment(tmp_path / "bank.log", bank.entries)
    code, document = line.json(right, tmp_path / "bank.log", "--machine", "shop:Shop")
    assert (code, document["verdict"]) == (3, "unchecked")
    assert "belongs to machine 'bank'" in document["unchecked"][0]
    assert line.run(right, tmp_path / "bank.log", "--machine", "shop:Shop", "--against", right)[0] == 3
    code, text = line.run(right, machine, "--machine", "shop:Shop", "--from", "77")
    assert code == 3
    assert "cannot begin at 77" in text


def test_what_differs_lies_beside_the_log(
    line: Line, machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A book that contradicts what a quorum had is the odd one, whatever the log is run under."""
    few_settings(monkeypatch)
    spoiled = tmp_path / "spoiled"
    shutil.copytree(machine, spoiled)
    book = RootBook(OsDisk(), str(spoiled))
    book.note(128, bytes(16))
    book.close()
    code, other = checkout(tmp_path / "code"), checkout(tmp_path / "other")
    for options in ((), ("--against", str(other)), ("--hostile",)):
        result, found = line.json(code, str(spoiled), "--machine", "shop:Shop", *options, "--bundle", tmp_path / "kept")
        assert (result, found["minority"]) == (1, ["the book of roots"]), (options, found)
        shutil.rmtree(tmp_path / "kept", ignore_errors=True)


def test_an_unfinished_bundle_is_told(line: Line, machine: Path, tmp_path: Path) -> None:
    """A node that was killed while it wrote: no traceback, and no word of a log that is not there."""
    half = tmp_path / "half"
    half.mkdir()
    (half / "batches").write_bytes(next((machine / "log").iterdir()).read_bytes())
    code = checkout(tmp_path / "code")
    assert line.run(code, half, "--machine", "shop:Shop")[0] == 2
    assert "a bundle that was not finished" in line.err
    assert line.run(code, half / "batches", "--machine", "shop:Shop")[0] == 0


def test_damage(line: Line, machine: Path, tmp_path: Path) -> None:
    """Exit code 1 and the place."""
    data = bytearray(next((machine / "log").iterdir()).read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.log").write_bytes(bytes(data))
    right = checkout(tmp_path / "right")
    for more in ((), ("--against", str(right))):
        code, text = line.run(right, tmp_path / "damaged.log", "--machine", "shop:Shop", *more)
        assert (code, text) == (1, "")
        assert "damaged.log: offset" in line.err


def test_handlers_may_print(line: Line, machine: Path, tmp_path: Path) -> None:
    """Standard output is this command's."""
    loud = checkout(tmp_path / "loud", ("self.sold.push(count)", "print('sold'); self.sold.push(count)"))
    code, document = line.json(loud, machine, "--machine", "shop:Shop")
    assert (code, document["verdict"]) == (0, "agree")


def test_a_damaged_snapshot_is_corruption_found(line: Line, tmp_path: Path) -> None:
    """The replay begins elsewhere and agrees with all else; the exit code is that of damage, as compare has it."""
    code = checkout(tmp_path / "code")
    path = write_machine(tmp_path / "data", ShopLog(shop_of(code)).trade(150), snapshots=[64, 128])
    newest = max((path / "snapshots").glob("*.snapshot"))
    data = bytearray(newest.read_bytes())
    data[-100] ^= 1
    newest.write_bytes(bytes(data))
    words = (path, "--machine", "shop:Shop")
    status, document = line.json(code, *words, "--from", "newest")
    assert (status, document["verdict"], document["is_damaged"]) == (1, "unchecked", True)
    assert document["replayed_from"] == 64
    assert newest.name in document["unchecked"][0]
    assert line.run(code, *words, "--from", "newest", "--against", str(code))[0] == 1
    assert line.run(code, *words, "--from", "128")[0] == 1
    assert line.run(code, *words)[0] == 0  # it was not looked at
