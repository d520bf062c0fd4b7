"""Blocks of strict mode: what they raise, how they nest, that they leave nothing behind."""

from __future__ import annotations

import asyncio
import builtins
import gc
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.replica.replica import Replica
from rsm.testing import NondeterminismError, strict
from tests.documents import ROOT
from tests.unit.testing.planted import Planted

ORIGINALS = (Replica.apply, Replica.query, Replica.stream, builtins.hash)
HANDLERS = [spec.handler for spec in Planted.definition.commands.values()]
QUERIES = [spec.handler for spec in Planted.definition.queries.values()]


def do(path: Path, *names: str) -> None:
    """Open a planted machine and have it do things."""
    with rsm.open(Planted, path, durability="os") as client:
        for name in names:
            client.do(name)


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Any:
    """After each test everything that a block replaces is what it was."""
    yield
    assert (Replica.apply, Replica.query, Replica.stream, builtins.hash) == ORIGINALS
    assert [spec.handler for spec in Planted.definition.commands.values()] == HANDLERS
    assert [spec.handler for spec in Planted.definition.queries.values()] == QUERIES
    assert gc.isenabled()


def test_a_finding_is_raised_at_the_end_of_the_block(tmp_path: Path) -> None:
    """Not in the handler, where it would be one more rejection; with every finding in it."""

    def story() -> None:
        with strict() as block:
            do(tmp_path / "d", "time.time", "random.random", "nothing")
            assert len(block.findings) == 2

    with pytest.raises(NondeterminismError) as caught:
        story()
    assert [finding.code for finding in caught.value.findings] == ["RSM101", "RSM102"]
    lines = str(caught.value).splitlines()
    assert lines[0] == "strict mode found 2:"
    assert lines[1].startswith("planted.do (index 3, position 0) called time.time() at ")
    assert isinstance(caught.value, AssertionError)


def test_a_clean_block_raises_nothing(tmp_path: Path) -> None:
    """And says how much it looked at."""
    with strict() as block:
        do(tmp_path / "d", "nothing", "writes")
        block.check()
    assert (block.commands, block.findings) == (2, [])
    assert block.restores >= 2


def test_check_raises_now(tmp_path: Path) -> None:
    """For those who do not want to wait for the end."""
    with strict(collect=True) as block:
        do(tmp_path / "d", "time.time")
        with pytest.raises(NondeterminismError):
            block.check()


def test_an_exception_keeps_its_way_and_gets_a_note(tmp_path: Path) -> None:
    """What the test itself raised comes first; what strict mode knows may explain it."""

    def story() -> None:
        with strict():
            do(tmp_path / "d", "time.time")
            raise KeyError("of the test")

    with pytest.raises(KeyError) as caught:
        story()
    (note,) = caught.value.__notes__
    assert "called time.time()" in note


def test_the_traps_are_gone_after_a_handler_raised(tmp_path: Path) -> None:
    """The profile function is that of before, also inside the block."""

    def profile(*_: Any) -> None:
        return None

    with strict(collect=True):
        sys.setprofile(profile)
        try:
            replica_in_this_thread()
            assert sys.getprofile() is profile
        finally:
            sys.setprofile(None)
    assert sys.getprofile() is None


def replica_in_this_thread() -> Replica:
    """A replica whose handler has raised, driven by hand."""
    from rsm.codec.record import Entry, RecordKind
    from rsm.replica.batch import encode_call, join_batch, join_item

    definition = Planted.definition
    replica = Replica(Planted)
    activation = ["planted", 1, definition.schema(), bytes(16)]
    items = [join_item(0, 0, 0, encode_call("rsm.activate", 1, activation))]
    items.append(join_item(0, 0, 0, encode_call("rsm.open_session", 1, ["", 0])))
    items.append(join_item(1, 1, 1, encode_call("do", 1, ["no such thing"])))
    items.append(join_item(1, 2, 2, encode_call("do", 1, ["time.time"])))
    replica.apply(Entry(1, 1, RecordKind.BATCH, join_batch(1, 1, 0, items)))
    return replica


def test_replicas_by_hand_are_watched_with_their_position() -> None:
    """The position is that in the batch."""
    with strict(collect=True) as block:
        replica_in_this_thread()
    assert [(finding.index, finding.position) for finding in block.findings] == [(1, 3)]


def test_a_machine_that_was_open_before(tmp_path: Path) -> None:
    """It is watched from the next command on, and not after the block."""
    with rsm.open(Planted, tmp_path / "d", durability="os") as client:
        client.do("writes")
        with strict(collect=True) as block:
            client.do("time.time")
        client.do("random.random")
    assert [finding.code for finding in block.findings] == ["RSM101"]


def test_blocks_nest(tmp_path: Path) -> None:
    """The innermost one gets what is found; the outer one goes on after it."""
    with strict(collect=True) as outer, rsm.open(Planted, tmp_path / "d", durability="os") as client:
        client.do("nothing")
        with strict(collect=True) as inner:
            client.do("time.time")
        client.do("random.random")
    assert [finding.code for finding in inner.findings] == ["RSM101"]
    assert [finding.code for finding in outer.findings] == ["RSM102"]


def test_two_threads_with_blocks_that_do_not_end_in_turn(tmp_path: Path) -> None:
    """Everything is put back when the last one ends."""
    first_is_open, second_is_open = threading.Event(), threading.Event()

    def first() -> None:
        with strict(collect=True):
            first_is_open.set()
            second_is_open.wait(10)
            do(tmp_path / "first", "nothing")

    def second() -> None:
        first_is_open.wait(10)
        with strict(collect=True) as block:
            second_is_open.set()
            thread.join()
            do(tmp_path / "second", "time.time")
            found.extend(block.findings)

    found: list[Any] = []
    thread, other = threading.Thread(target=first), threading.Thread(target=second)
    thread.start()
    other.start()
    other.join()
    assert [finding.code for finding in found] == ["RSM101"]


def test_machines_in_many_threads(tmp_path: Path) -> None:
    """Each thread's traps are its own: a clock read beside a handler is no handler's."""
    with strict(collect=True) as block:
        threads = [threading.Thread(target=do, args=(tmp_path / f"{number}", *["writes"] * 20)) for number in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(200):
            hash("text")
        for thread in threads:
            thread.join()
    assert block.findings == []
    assert block.commands == 80


def test_as_a_decorator(tmp_path: Path) -> None:
    """A new block for each call."""

    @strict()
    def run(directory: str, what: str) -> str:
        do(tmp_path / directory, what)
        return what

    assert run("a", "nothing") == "nothing"
    with pytest.raises(NondeterminismError):
        run("b", "time.time")
    assert run("c", "nothing") == "nothing"


def test_from_asyncio(tmp_path: Path) -> None:
    """The machine runs in its own thread whoever calls."""

    async def story() -> None:
        with strict(collect=True) as block:
            async with rsm.open(Planted, tmp_path / "d", durability="os") as client:
                await client.do.send("time.time")
        assert [finding.code for finding in block.findings] == ["RSM101"]

    asyncio.run(story())


def test_with_pytest(tmp_path: Path) -> None:
    """As a fixture and as a decorator it fails the test that did it, with the line; others pass."""
    (tmp_path / "test_machine.py").write_text(
        "import time, pytest, rsm\n"
        "from rsm.testing import strict\n"
        "class Clock(rsm.StateMachine, name='clock', version=1):\n"
        "    now: int\n"
        "    @rsm.command(version=1)\n"
        "    def read(self, ctx: rsm.Context) -> int:\n"
        "        self.now = time.time_ns()\n"
        "        return self.now\n"
        "    @rsm.command(version=1)\n"
        "    def right(self, ctx: rsm.Context) -> int:\n"
        "        return ctx.now\n"
        "@pytest.fixture\n"
        "def clock(tmp_path):\n"
        "    with strict(), rsm.open(Clock, tmp_path / 'd', durability='os') as client:\n"
        "        yield client\n"
        "def test_by_fixture(clock):\n"
        "    clock.read()\n"
        "def test_right(clock):\n"
        "    assert clock.right() > 0\n"
        "@strict()\n"
        "def test_by_decorator(tmp_path):\n"
        "    with rsm.open(Clock, tmp_path / 'd', durability='os') as client:\n"
        "        client.read()\n",
        encoding="utf-8",
    )
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_machine.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 2 passed, 1 error" in ran.stdout, ran.stdout
    assert "called time.time_ns() at test_machine.py:7: wall clocks differ" in ran.stdout
    assert "FAILED test_machine.py::test_by_decorator" in ran.stdout
    assert "ERROR test_machine.py::test_by_fixture" in ran.stdout
