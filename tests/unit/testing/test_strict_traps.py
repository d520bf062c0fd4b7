"""Strict mode traps each call that makes replicas differ, with the user's line, and nothing that is harmless."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import rsm
from rsm.lint.rules import RULES
from rsm.testing import Strict, StrictFinding, strict, strict_rules
from tests.unit.testing import planted
from tests.unit.testing.planted import DEEDS, FINE, Planted

SOURCE = Path(planted.__file__).read_text(encoding="utf-8").splitlines()
CODES = {
    "RSM101": [
        "time.time",
        "from time import time",
        "renamed monotonic",
        "sleep",
        "gmtime",
        "datetime.now",
        "datetime.utcnow",
        "date.today",
        "in a helper",
    ],
    "RSM102": ["random.random", "random.choice", "a seeded generator", "secrets", "uuid1", "uuid4", "urandom"],
    "RSM103": ["environ", "getenv", "getpid", "platform"],
    "RSM104": ["open", "read_bytes", "listdir", "socket", "subprocess"],
    "RSM105": ["print", "logging", "warnings"],
    "RSM106": ["thread", "asyncio"],
    "RSM205": ["id", "key=id", "hash of text", "hash of a tuple", "hash of a key", "hash of an object"],
    "RSM305": ["attribute"],
    "RSM401": ["a float"],
    "RSM402": ["sin"],
    "RSM405": ["locale", "strftime"],
    "RSM406": ["local time", "localtime", "naive timestamp"],
}


def line_of(name: str) -> int:
    """The line of the planted machines that ends with a name."""
    (line,) = (number for number, text in enumerate(SOURCE, 1) if text.endswith(f"  # {name}"))
    return line


@contextlib.contextmanager
def machine(path: Path) -> Iterator[tuple[Planted, Strict]]:
    """A planted machine under strict mode that raises nothing."""
    logging.getLogger("planted").addHandler(logging.NullHandler())
    with warnings.catch_warnings(), strict(collect=True) as block:
        warnings.simplefilter("ignore")
        with rsm.open(Planted, path / "d", durability="os") as client:
            yield client, block


def found(path: Path, what: str) -> list[StrictFinding]:
    """What strict mode finds when the planted machine does one thing."""
    with machine(path) as (client, block):
        with contextlib.suppress(rsm.HandlerFailed):
            client.do(what)
        return block.findings


def test_every_deed_has_its_code() -> None:
    """No planted deed is left out of the table above, and none is in it twice."""
    assert sorted(name for names in CODES.values() for name in names) == sorted(DEEDS)


@pytest.mark.parametrize(("code", "name"), [(code, name) for code, names in CODES.items() for name in names])
def test_each_deed_is_trapped_at_its_line(tmp_path: Path, code: str, name: str) -> None:
    """Rule, command, place in the log, file and line."""
    findings = found(tmp_path, name)
    assert findings
    for finding in findings:
        assert (finding.code, finding.file, finding.line) == (code, planted.__file__, line_of(name))
        assert (finding.command, finding.index, finding.position) == ("planted.do", 3, 0)


@pytest.mark.parametrize("name", FINE)
def test_what_is_harmless_is_not_trapped(tmp_path: Path, name: str) -> None:
    """Neighbours of the planted deeds that give the same everywhere."""
    assert found(tmp_path, name) == []


def test_the_message_says_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Command, place in the log, what was called where, why not, and what instead."""
    monkeypatch.chdir(Path(planted.__file__).parent)
    (finding,) = found(tmp_path, "from time import time")
    assert str(finding) == (
        f"planted.do (index 3, position 0) called time.time() at planted.py:{line_of('from time import time')}: "
        "wall clocks differ between replicas; use ctx.now [RSM101]"
    )


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("random.choice", "called random.choice()"),
        ("uuid4", "called uuid.uuid4()"),
        ("secrets", "called secrets.token_hex()"),
        ("environ", "read os.environ"),
        ("read_bytes", "called pathlib.Path.read_bytes()"),
        ("datetime.now", "called datetime.now()"),
        ("urandom", "called os.urandom()"),
    ],
)
def test_a_call_is_told_as_the_user_wrote_it(tmp_path: Path, name: str, shown: str) -> None:
    """Not as the C function in which it ends."""
    findings = [finding.what for finding in found(tmp_path, name)]
    if name == "read_bytes" and sys.version_info >= (3, 13):  # its pathlib has more rooms
        shown = shown.replace("pathlib", "pathlib._local")
    assert any(what.startswith(f"{shown} at ") for what in findings), findings


def test_queries_are_watched(tmp_path: Path) -> None:
    """A clock in a query; a write, which rsm refuses; a clock in a stream."""
    with machine(tmp_path) as (client, block):
        client.look("time.time")
        with contextlib.suppress(Exception):
            client.write()
        assert len(list(client.items())) == 2
    assert [(one.code, one.command, one.line, one.position) for one in block.findings] == [
        ("RSM101", "planted.look", line_of("time.time"), None),
        ("RSM307", "planted.write", line_of("write in a query"), None),
        ("RSM101", "planted.items", line_of("in a stream"), None),
    ]


def test_an_import_is_not_what_the_module_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that a handler is the first to import may read clocks and files while it is made."""
    (tmp_path / "this_is_planted.py").write_text(
        "import time\nSTARTED = time.time()\nopen(__file__).close()\ndef nothing(): pass\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with machine(tmp_path) as (client, block):
        client.imports()
    sys.modules.pop("this_is_planted")
    assert block.findings == []


def test_outside_handlers_everything_is_allowed(tmp_path: Path) -> None:
    """The test around a machine reads clocks and files as it likes."""
    with machine(tmp_path) as (client, block):
        for name in ("time.time", "random.random", "open", "hash of text", "environ"):
            DEEDS[name](client, None)  # type: ignore[arg-type]  # none of these needs one
        client.do("nothing")
    assert block.findings == []


def test_a_finding_is_told_once(tmp_path: Path) -> None:
    """The first time says most."""
    with machine(tmp_path) as (client, block):
        for _ in range(3):
            client.do("time.time")
    assert [finding.index for finding in block.findings] == [3]


def test_codes_and_titles_are_the_linters() -> None:
    """One code for one thing, whoever finds it; what only a second run shows has one of its own."""
    titles = {rule.code: rule.title for rule in RULES}
    ours = [rule for rule in vars(strict_rules).values() if isinstance(rule, strict_rules.Rule)]
    assert len(ours) > 15
    assert {rule.code: rule.title for rule in ours if rule.code != "RSM501"} == {
        rule.code: titles[rule.code] for rule in ours if rule.code != "RSM501"
    }
    assert "RSM501" not in titles
    assert all(re.fullmatch(r"RSM\d{3}", rule.code) and rule.advice for rule in ours)
