"""Every planted fault is found by the tools that can see it, where they say it is; a sound twin is not accused of it.

The expectations stand in `tests.planted.faults`. What the tools say is also the table of docs/determinism.md, which
`python -m tests.planted --write` makes anew.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rsm.limits import HASH_INTERVAL_ENTRIES, SCRUB_LEAVES_MIN
from tests.planted import tools
from tests.planted.faults import FAULTS, Fault
from tests.planted.live import Nodes, watch
from tests.planted.loading import HERE, checkout, forget, load
from tests.planted.other_python import NoOtherPython
from tests.planted.running import Run
from tests.planted.seen import NO, TOOLS, Seen
from tests.planted.table import PAGE, read, replaced

WANTED = (
    *("order of a set", "hash seed", "wall clock", "hidden attribute", "insertion order after a restore"),
    *("stale cache", "another release of a library", "other code under the same version"),
    *(
        "off by one in an old machine version",
        "off by one in one checkout of a version",
        "damaged snapshot",
        "flipped bit in memory",
        "another Python",
    ),
    *("mutation in a query", "module global", "results that differ while the state agrees"),
)
# A change behind the containers is not in the root: a scrub has to come by.
UNTRACKED = ("flipped bit in memory", "write behind a container")


def parameter(fault: Fault) -> Any:
    """A case; those with another Python in one process of pytest, since the first of them may have to install it."""
    marks = [pytest.mark.xdist_group("other-python")] if fault.needs_python else []
    return pytest.param(fault, id=fault.key, marks=marks)


@pytest.mark.parametrize("fault", [parameter(fault) for fault in FAULTS])
def test_each_tool_says_what_is_expected(fault: Fault, tmp_path: Path) -> None:
    run = Run(fault, tmp_path)
    try:
        assert not fault.needs_python or run.python
    except NoOtherPython as reason:
        pytest.skip(str(reason))
    found = {tool: seen.text for tool, seen in run.run().items()}
    assert found == {tool: getattr(fault, tool) for tool in TOOLS}
    shown = read(PAGE.read_text(encoding="utf-8"))
    assert found == shown.get(fault.title), "the page differs: python -m tests.planted --write"
    assert run.story is not None
    if run.story.index is not None:
        assert 0 <= run.story.hash_points <= fault.hash_points_max
        assert run.story.index - run.story.planted_at <= HASH_INTERVAL_ENTRIES * fault.hash_points_max


def test_no_kind_is_found_by_nothing() -> None:
    assert set(WANTED) <= {fault.title for fault in FAULTS}
    for fault in FAULTS:
        assert [tool for tool in TOOLS if getattr(fault, tool) != NO], fault.title


def test_live_is_within_one_hash_interval_or_one_scrub_period() -> None:
    """`hash_points_max`, to which each run is held: 1 is the next hash point."""
    for fault in FAULTS:
        leaves = len({command[1] for command in fault.before} | {fault.after[1] if len(fault.after) > 1 else ""})
        scrub_period = -(-leaves // SCRUB_LEAVES_MIN) + 1
        assert fault.hash_points_max <= (scrub_period if fault.title in UNTRACKED else 1)


@pytest.mark.parametrize("module", sorted({fault.module for fault in FAULTS}))
def test_the_sound_twin_is_not_accused(module: str, tmp_path: Path) -> None:
    """The same commands, and no tool finds anything."""
    fault = next(fault for fault in FAULTS if fault.module == module)
    path = checkout(tmp_path / "sound", module)
    try:
        assert tools.ask_lint(path, "Healthy") == Seen()
        assert tools.ask_strict(load(path, "Healthy"), fault.commands, fault.queries) == Seen()
        story = watch(
            Nodes(lambda _: load(path, "Healthy")),
            tmp_path,
            before=fault.before,
            plant=fault.plant if fault.name != "Healthy" else lambda _: None,
            provoke=fault.provoke,
            after=fault.after,
            hash_points=2,
        )
        assert tools.told_live(story, None) == Seen()
        assert tools.ask_compare(story) == Seen()
        assert tools.ask_replay(story.directories[1], load(path, "Healthy")) == Seen()
    finally:
        forget()


def test_every_machine_has_a_fault() -> None:
    modules = {path.stem for path in (HERE / "machines").glob("[a-z]*.py")}
    assert modules == {fault.module for fault in FAULTS}


def test_the_page_has_all_of_them() -> None:
    """As they are expected, and in this order; those that cannot be run here included."""
    page = PAGE.read_text(encoding="utf-8")
    rows = {fault.title: {tool: getattr(fault, tool) for tool in TOOLS} for fault in FAULTS}
    assert read(page) == rows
    assert replaced(page, rows) == page
