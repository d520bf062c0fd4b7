"""Strict mode runs each command twice, and looks at what a program remembers besides its state."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.testing import Strict, strict
from rsm.testing.watched import place_of
from tests.unit.testing import planted
from tests.unit.testing.planted import Addressed, Forgetful, InsertionOrder, Stale


def run(path: Path, machine: type[Any], story: Callable[[Any], Any], **options: Any) -> Strict:
    """A story on a machine under strict mode; a machine that stops ends it."""
    with strict(collect=True, **options) as block:
        with contextlib.suppress(rsm.Closed), rsm.open(machine, path / "d", durability="os") as client:
            story(client)
        return block


def told(block: Strict) -> list[tuple[str, str, str]]:
    """Code, command and sentence of each finding."""
    return [(finding.code, finding.command, finding.what) for finding in block.findings]


# --- what is remembered -----------------------------------------------------------------------------------------------

HERE = planted.__name__


@pytest.mark.parametrize(
    ("command", "code", "path"),
    [
        ("global_dict", "RSM301", f"{HERE}.SEEN['x']"),
        ("global_name", "RSM301", f"{HERE}.LABELS"),
        ("global_count", "RSM301", f"{HERE}.NUMBERS"),
        ("class_attribute", "RSM302", f"{HERE}.Forgetful.hits"),
        ("mutable_default", "RSM304", f"{HERE}.remember(default 1)[0]"),
        ("helper", "RSM305", "self.tally.calls"),
        ("helper_dict", "RSM305", "self.tally.by_name['x']"),
        ("hidden_attribute", "RSM305", "self.hidden"),
    ],
)
def test_what_a_handler_remembers_is_named(tmp_path: Path, command: str, code: str, path: str) -> None:
    """The rule and the path of what was changed; and where the handler stands."""
    planted.SEEN.clear()
    planted.remember.__defaults__[0].clear()  # type: ignore[index]  # it has one
    block = run(tmp_path, Forgetful, lambda client: getattr(client, command)("x"))
    (finding, *others) = block.findings
    assert (finding.code, finding.command) == (code, f"forgetful.{command}")
    assert path in finding.what or any(path in one.path for one in finding.paths)
    assert finding.file == planted.__file__
    assert others == []


def test_a_change_is_told_with_both_values(tmp_path: Path) -> None:
    """What it was, and what it became."""
    block = run(tmp_path, Forgetful, lambda client: client.helper("x"))
    assert block.findings[0].paths[0].values == {"before": 0, "after": 1}


def test_a_command_that_changes_something_later_is_found(tmp_path: Path) -> None:
    """Looking is not done at every command for ever, but what changes again is caught again."""

    def story(client: Any) -> None:
        for number in range(300):
            client.fine(f"k{number % 5}")
        for _ in range(3):
            client.helper("x")

    assert [finding.command for finding in run(tmp_path, Forgetful, story).findings] == ["forgetful.helper"]


def test_state_behind_the_containers_is_found_at_the_next_entry(tmp_path: Path) -> None:
    """A value that no write brought: named with container and, where it lies under a known key, with the key."""

    def overwrite(client: Any) -> None:
        client.fine("a")
        client.behind("a")
        client.fine("b")

    block = run(tmp_path / "key", Forgetful, overwrite)
    assert block.findings[0].code == "RSM306"
    assert block.findings[0].command == "forgetful.behind"
    assert "values: bucket" in block.findings[0].what
    assert "'a'" in block.findings[0].what
    block = run(tmp_path / "new", Forgetful, lambda client: (client.behind("a"), client.fine("b")))
    assert "values: holds 1 keys, but 0 were written through it" in block.findings[0].what


# --- run twice --------------------------------------------------------------------------------------------------------


def test_a_cache_that_no_snapshot_has(tmp_path: Path) -> None:
    """A query fills it, a command reads it: on the restored copy it is empty, and the values differ."""

    def story(client: Any) -> None:
        client.fine("a")
        client.caching("a")
        client.fine("a")
        client.by_cache("a")

    findings = run(tmp_path, Forgetful, story).findings
    hidden = [finding for finding in findings if finding.code == "RSM501"]
    assert [(finding.command, finding.index) for finding in hidden] == [("forgetful.by_cache", 5)]
    assert [(one.path, one.values) for one in hidden[0].paths] == [("scalars/'total'", {"live": 1, "restored": 2})]
    assert "RSM305" in {finding.code for finding in findings}


def test_a_stale_functools_cache(tmp_path: Path) -> None:
    """The copy begins with empty caches, the live one knows the fee of before."""

    def story(client: Any) -> None:
        client.set_fee("a", 1)
        client.charge("a")
        client.set_fee("a", 2)
        client.charge("a")

    assert told(run(tmp_path, Stale, story)) == [
        (
            "RSM501",
            "stale.charge",
            "answered 1, but 2 on a copy restored from a snapshot "
            f"(the handler is at {place_of(Stale.charge.handler).place})",
        )
    ]


@pytest.mark.parametrize("command", ["answer", "emit"])
def test_answers_and_events_are_compared(tmp_path: Path, command: str) -> None:
    """An address in them differs between any two runs."""
    block = run(tmp_path, Addressed, lambda client: getattr(client, command)())
    assert [(finding.code, finding.command) for finding in block.findings] == [("RSM501", f"addressed.{command}")]


def test_writes_are_compared_with_both_values(tmp_path: Path) -> None:
    """Path, live and restored value."""
    block = run(tmp_path, Addressed, lambda client: client.write("k"))
    (finding,) = block.findings
    assert (finding.index, finding.position, finding.paths[0].path) == (3, 0, "names/'k'")
    live, restored = finding.paths[0].values["live"], finding.paths[0].values["restored"]
    assert live.startswith("<")
    assert live != restored
    assert f"live {live!r}, restored {restored!r}" in str(finding)


def test_timers_are_compared(tmp_path: Path) -> None:
    """They stand in the batch before its commands, at a position below 0."""

    def story(client: Any) -> None:
        client.later()
        client.answer()
        client.answer()

    findings = {finding.command: finding for finding in run(tmp_path, Addressed, story).findings}
    assert findings["addressed.write"].position is not None
    assert findings["addressed.write"].position < 0


def test_queries_are_compared(tmp_path: Path) -> None:
    """A query that answers otherwise on the restored copy."""
    block = run(tmp_path, Addressed, lambda client: client.asked())
    assert [(finding.code, finding.command, finding.position) for finding in block.findings] == [
        ("RSM501", "addressed.asked", None)
    ]


@pytest.mark.parametrize("every", [None, 1, 3])
def test_order_of_insertion(tmp_path: Path, every: int | None) -> None:
    """Found however seldom the copy is restored, as long as it is."""

    def story(client: Any) -> None:
        for name in ("q", "w", "e", "r", "t", "y"):
            client.put(name)
            client.first()

    block = run(tmp_path, InsertionOrder, story, every=every)
    assert {(finding.code, finding.command) for finding in block.findings} == {("RSM501", "insertion_order.first")}
    assert block.restores >= 4


def test_restoring_is_bounded(tmp_path: Path) -> None:
    """A large state is restored now and then, a small one before every entry; `every` decides it oneself."""

    def story(client: Any) -> None:
        pending = [client.fine.send(f"key {number}") for number in range(1_000)]
        for one in pending:
            one.result()
        for _ in range(60):
            client.fine("a")

    large = run(tmp_path / "large", Forgetful, story)
    assert large.findings == []
    assert 0 < large.restores < 40
    small = run(tmp_path / "small", Forgetful, lambda client: [client.fine("a") for _ in range(30)])
    assert small.restores >= 30
    seldom = run(tmp_path / "seldom", Forgetful, lambda client: [client.fine("a") for _ in range(30)], every=10)
    assert 3 <= seldom.restores <= 4


@pytest.mark.parametrize("every", [0, -1, True, 1.5])
def test_every_is_a_number_of_entries(every: Any) -> None:
    """Anything else is refused at once."""
    with pytest.raises(ValueError, match="every must be a number of entries from 1"):
        strict(every=every)
