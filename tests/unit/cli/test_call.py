"""`rsm call` and `rsm query` spell commands from the log's own schema, take effect once, and say how it ended."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rsm.cli import call
from rsm.cli.call import from_json, parse_arguments, positional
from rsm.cli.errors import Unreadable
from rsm.client import tool
from rsm.errors import Busy, Closed
from tests.unit.cli.nodes import Nodes
from tests.unit.cli.samples import Ran, run


@pytest.fixture
def nodes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Nodes]:
    """Three nodes, which commands find through the environment."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with Nodes() as three:
        monkeypatch.setenv("RSM_ADDRESSES", ",".join(three.addresses))
        yield three


def order(*arguments: object) -> Ran:
    return run("call", "order", *arguments)


def test_a_command_by_name_and_by_position(nodes: Nodes) -> None:
    """Both spellings reach the machine; bytes come in and go out as hex; the index is the log's."""
    ran = order('{"quantity": 5, "item": "tea", "mark": "00ff"}')
    assert (ran.code, ran.out, ran.err) == (0, '[5, "00ff"]\n', "")
    ran = order('["tea", 2, ""]', "--json")
    assert json.loads(ran.out) == {"index": 6, "result": [7, ""]}
    assert run("query", "left", '["tea"]').out == "7\n"
    assert json.loads(run("query", "left", '{"item": "tea"}', "--json").out) == {"index": 7, "result": 7}


def test_a_confirmed_one_says_so(nodes: Nodes) -> None:
    """The nodes are told to wait for a majority's root, and not otherwise."""
    assert order('["tea", 1, ""]').code == 0
    assert sum(node.confirmed for node in nodes.nodes) == 0
    assert order('["tea", 1, ""]', "--confirmed").out == '[2, ""]\n'
    assert sum(node.confirmed for node in nodes.nodes) == 1


def test_a_session_is_left_behind_by_nobody(nodes: Nodes) -> None:
    """Each call opens one session and closes it."""
    assert order('["tea", 1, ""]').code == 0
    assert len(nodes.replica.sessions) == 0


def test_a_key_makes_it_once(nodes: Nodes) -> None:
    """The same key gives the first answer again and runs nothing; with other arguments it is refused."""
    for _ in range(2):
        assert order('["tea", 5, ""]', "--key", "k").out == '[5, ""]\n'
    ran = order('["tea", 6, ""]', "--key", "k")
    assert ran.code == 2
    assert "idempotency key" in ran.err
    assert run("query", "left", '["tea"]').out == "5\n"


def test_a_rejection_is_1(nodes: Nodes) -> None:
    """What the machine refuses has its reason and exit code 1; values that fail the schema are wrong usage."""
    ran = order('["tea", 13, ""]')
    assert (ran.code, ran.out, ran.err) == (1, "", "rsm: order: rejected: not that many\n")
    ran = order('["tea", 13, ""]', "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["rejected"] == "not that many"
    ran = order('["tea", "many", ""]')
    takes = "item: str, quantity: int, mark: bytes"
    assert (ran.code, ran.err) == (2, f"rsm: order: the values do not fit what it takes: {takes}\n")


def test_a_query_that_streams(nodes: Nodes) -> None:
    """Its items are printed as one array, all of them."""
    for item in ("tea", "milk", "salt"):
        order(f'["{item}", 1, ""]')
    ran = run("query", "items", "[]", "--json")
    assert sorted(json.loads(ran.out)["result"]) == ["milk", "salt", "tea"]


def test_stale_reads_need_no_leader(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a leader a linearizable read cannot be had, and says so; a stale one can."""
    order('["tea", 5, ""]')
    nodes.leader_number = None
    monkeypatch.setattr(tool.ask_leader, "__kwdefaults__", {"seconds": 0.5})
    ran = run("query", "left", '["tea"]')
    assert ran.code == 3
    assert "does not lead" in ran.err
    assert run("query", "left", '["tea"]', "--stale").out == "5\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["call", "ordr", "[]"], "stall has no command 'ordr'; there are order"),
        (["query", "lost", "[]"], "stall has no query 'lost'; there are items, left"),
        (["call", "order", "{}"], "order: the field 'item' is missing; it takes item, quantity, mark"),
        (["call", "order", '{"item": "x", "kwantity": 1}'], "order: no field 'kwantity'"),
        (["call", "order", '["x"]'], "order takes 3 values (item, quantity, mark), not 1"),
        (["call", "order", "tea"], "the arguments are not JSON"),
        (["call", "order", "3"], "must be a JSON object by name, or an array by position"),
        (["call", "order", '{"item": 1, "item": 2}'], "stands there twice"),
        (["call", "order", '["x", 1, "xyz"]'], "order: mark holds bytes: give them as hex"),
        (["call", "order", '["x", 1, ""]', "--key", ""], "--key takes 1 to"),
    ],
)
def test_what_cannot_be_meant_is_one_line(nodes: Nodes, arguments: list[str], words: str) -> None:
    """A wrong name or argument is told before anything reaches the log."""
    before = nodes.applied
    ran = run(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert len(ran.err.splitlines()) == 1
    assert words in ran.err
    assert nodes.applied == before


def test_an_outcome_that_is_unknown_is_3(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the command may have been taken and no answer comes, that is said, with exit code 3."""
    monkeypatch.setattr(tool, "TOOL_TRY_SECONDS_MAX", 0.5)
    monkeypatch.setattr(tool.ask_leader, "__kwdefaults__", {"seconds": 0.5})
    real = type(nodes.nodes[0]).submit

    def lose(node: object, request: object) -> None:
        request.fail(Closed("the node is stopping"))  # type: ignore[attr-defined]  # as the service does

    monkeypatch.setattr(type(nodes.nodes[0]), "submit", lose)
    ran = order('["tea", 5, ""]')
    assert (ran.code, ran.out) == (3, "")
    assert "outcome unknown: the command was sent" in ran.err
    monkeypatch.setattr(type(nodes.nodes[0]), "submit", real)
    nodes.leader_number = None
    assert "outcome unknown" not in order('["tea", 5, ""]').err


def test_a_command_follows_the_leader(nodes: Nodes) -> None:
    """A redirect is followed, a busy leader is asked again, and the command takes effect once."""
    nodes.leader_number = 3
    nodes.nodes[2].failures = [Busy("full", retry_seconds=0.01), Busy("full", retry_seconds=0.01)]
    assert order('["tea", 5, ""]').code == 0
    assert run("query", "left", '["tea"]').out == "5\n"


def test_a_member_that_has_just_started_is_waited_for(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node without a schema has not applied its log: another one is asked, or it is asked again."""
    nodes.nodes[0].fields = {"schema": {}}
    assert order('["tea", 5, ""]').code == 0
    for node in nodes.nodes:
        node.fields = {"schema": {}}
    waited = []

    def sleep(_: float) -> None:
        waited.append(1)
        nodes.nodes[2].fields = {}

    monkeypatch.setattr(call.time, "sleep", sleep)
    assert order('["tea", 5, ""]').code == 0
    assert waited == [1]
    for node in nodes.nodes:
        node.fields = {"schema": {}}
    monkeypatch.setattr(call.status_of, "__defaults__", (0.0,))
    ran = order('["tea", 5, ""]')
    assert ran.code == 3
    assert "has not applied its log yet" in ran.err


def test_values_are_put_in_order() -> None:
    """By name or by position the values come out in the order of the fields, and only bytes are changed."""
    fields = [["a", "int"], ["b", "bytes(max_length=3)|null"], ["c", "str"]]
    assert positional("x", fields, {"c": "00", "a": 1, "b": "00"}) == [1, b"\0", "00"]
    assert positional("x", fields, [1, None, "z"]) == [1, None, "z"]
    assert from_json("x", "00", "struct Blob(data:bytes)") == "00"
    with pytest.raises(Unreadable, match="takes 0 values"):
        positional("x", [], [1])
    assert parse_arguments('{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
