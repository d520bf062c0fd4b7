"""Watching a query of an embedded machine: at once when it is new, else when there is reason to look again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rsm.errors import Closed, InvalidCommand
from rsm.node.embedded import Embedded, Waiter
from rsm.replica.answer import decode
from rsm.replica.batch import encode_call
from rsm.state.leaf import digest128
from tests.machines import Everything


class Look:
    """A reply; the first word counts."""

    def __init__(self) -> None:
        self.is_told = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None

    def finish(self, value: Any) -> None:
        if not self.is_told.is_set():
            self.value = value
            self.is_told.set()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.is_told.set()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Embedded]:
    opened = Embedded(Everything, str(tmp_path / "m"))
    yield opened
    opened.close()


def put(machine: Embedded, session: int, value: int) -> None:
    waiter = Waiter(session, encode_call("put", 1, ["a", value]))
    machine.submit(waiter)
    assert waiter.wait().status == 0


def watch(machine: Embedded, seen: bytes, *, wait: bool, name: str = "word") -> Look:
    look = Look()
    machine.watch_later(name, ["a"] if name == "word" else [], seen, look, wait=wait)
    return look


def test_at_once_then_when_something_was_applied(machine: Embedded) -> None:
    """A result that was seen is not told again; whoever waits is told to look again, and then sees the new one."""
    session = machine.open_session("", 0)
    put(machine, session, 1)
    look = watch(machine, bytes(16), wait=True)
    index, packed = look.value
    assert (index, decode(packed)) == (machine.replica.index, 1)
    seen = digest128(packed)
    assert watch(machine, seen, wait=False).value == (index, None)
    look = watch(machine, seen, wait=True)
    assert not look.is_told.is_set()
    put(machine, session, 2)
    assert look.is_told.wait(5)
    assert look.value[1] is None
    assert decode(watch(machine, seen, wait=True).value[1]) == 2


def test_what_cannot_be_watched(machine: Embedded) -> None:
    """A generator; and a machine that is closed tells whoever waits."""
    assert isinstance(watch(machine, bytes(16), wait=True, name="all_words").error, InvalidCommand)
    seen = digest128(machine.replica.query("word", ["a"]))
    look = watch(machine, seen, wait=True)
    machine.close()
    assert look.is_told.wait(5)
    assert isinstance(watch(machine, seen, wait=True).error, Closed)
