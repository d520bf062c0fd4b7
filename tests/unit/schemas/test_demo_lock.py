"""The exchange of the demo is what its lock file says; its unsafe build is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from demos.orderbook.releases import unsafe, v3
from rsm.schemas.checking import compare
from rsm.schemas.files import read_lock
from rsm.schemas.observing import observe
from rsm.schemas.verdicts import of_classes, of_upcasters


@pytest.fixture(scope="module")
def path(root: Path) -> str:
    """The committed lock file."""
    return str(root / "demos" / "orderbook" / "releases" / "commands.lock")


def test_it_is_current(path: str) -> None:
    """Not edited, kept, and with nothing new to be locked."""
    parsed = read_lock(path)
    assert parsed is not None
    assert not parsed.is_edited
    report = compare(parsed.lock, observe(v3.Exchange.definition, parsed.lock))
    assert (report.breaks, report.new) == ([], [])


def test_another_rounding_is_found(path: str) -> None:
    """The same version number, another price: by the upcaster's result, and by what the release does with it."""
    parsed = read_lock(path)
    assert parsed is not None
    report = compare(parsed.lock, observe(unsafe.Exchange.definition, parsed.lock))
    assert {"upcast", "effect"} <= {one.kind for one in report.breaks}
    assert any("orders/" in one.line for one in report.breaks)


def test_where_nothing_lies_all_of_it_is_dead() -> None:
    """No source names anything: every step and every old class could go."""
    definition = v3.Exchange.definition
    assert {one.word for one in of_upcasters(definition, [], [])} == {"dead"}
    assert [one.word for one in of_classes(definition, [], [])] == ["dead", "dead"]
