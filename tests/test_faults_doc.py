"""docs/faults.md shows what rsm says: each fault is made to happen here, and the message compared with the page.

Hashes and numbers differ from run to run, and are not compared; every other letter is.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import resource
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import lz4.frame
import pytest

import rsm
from rsm.testing.disk import FaultDisk, Survival
from tests import fault_cluster, fault_gateway
from tests.documents import ROOT, blocks
from tests.fault_stage import DATA, LOG, Bank, Stage, foreign_log, on, said

PAGE = ROOT / "docs" / "faults.md"

SCENARIOS: dict[str, Callable[[Stage], str]] = fault_cluster.SCENARIOS | fault_gateway.SCENARIOS


def scenario(fault: Callable[[Stage], str]) -> Callable[[Stage], str]:
    SCENARIOS[fault.__name__.replace("_", "-")] = fault
    return fault


# --- callers ----------------------------------------------------------------------------------------------------------


@scenario
def bad_input(stage: Stage) -> str:
    with stage.open() as bank:
        before = bank.status().index
        lines = [
            said(lambda: bank.deposit("ann", "5")),
            said(lambda: bank.deposit("ann", 0)),
            said(lambda: bank.deposit("ann", 2**64)),
            said(lambda: bank.deposit("ann")),
            said(lambda: bank.deposit("x" * 2_000_000, 5)),
        ]
        with pytest.raises(AttributeError) as caught:
            bank.withdraw("ann", 5)
        assert bank.status().index == before
    return "\n".join([*lines, f"AttributeError: {caught.value}"])


@scenario
def busy(stage: Stage) -> str:
    with stage.open() as bank:

        async def flood() -> None:
            for _ in range(1_000_000):
                bank.deposit.send("ann", 1)

        return said(lambda: asyncio.run(flood()))


@scenario
def handler_failed(stage: Stage) -> str:
    with stage.open() as bank:
        text = said(lambda: bank.divide(0))
        assert bank.balance("ann") == 1_000
    assert "ZeroDivisionError" in stage.logged("handler_failed")
    return text


@scenario
def fatal_handler(stage: Stage) -> str:
    bank = stage.open()
    lines = [said(lambda: bank.descend(100_000)), said(lambda: bank.balance("ann"))]
    bank.close()
    return "\n".join([*lines, stage.opening()])


# --- the disk ---------------------------------------------------------------------------------------------------------


@scenario
def torn(stage: Stage) -> str:
    os.truncate(stage.directory / LOG, (stage.directory / LOG).stat().st_size - 10)
    found = stage.cli("log", "verify", DATA)
    with stage.open() as bank:
        assert bank.balance("ann") == 1_000
    return f"{found}\n{stage.logged('cut a torn tail')}"


@scenario
def corrupt(stage: Stage) -> str:
    stage.flip(LOG, -20)
    found = stage.cli("log", "verify", DATA)
    before = (stage.directory / LOG).read_bytes()
    text = stage.opening()
    assert (stage.directory / LOG).read_bytes() == before
    return f"{text}\n{found}"


@scenario
def bad_bytes(stage: Stage) -> str:
    logs = [
        foreign_log(b"\x80", stored_bytes=2**31, raw_bytes=2**31),
        foreign_log(lz4.frame.compress(bytes(2**25)), flags=1, raw_bytes=1_000),
        foreign_log(b"\x81" * 100_000 + b"\x00"),
        foreign_log(b"\x9b" + (10**12).to_bytes(8, "big")),
        foreign_log(b"\xd9\xff\xff\x00"),
    ]
    lines = []
    for log in logs:
        (stage.directory / "foreign.log").write_bytes(log)
        lines.append(stage.cli("log", "verify", "foreign.log"))
    return "\n".join(lines)


@scenario
def newer_release(stage: Stage) -> str:
    (stage.directory / "foreign.log").write_bytes(foreign_log(b"\x80", format=2))
    return stage.cli("log", "verify", "foreign.log", code=3)


@scenario
def snapshot_corrupt(stage: Stage) -> str:
    with stage.open() as bank:
        index = bank.snapshot()
    name = f"{DATA}/snapshots/{index:020}.snapshot"
    stage.flip(name, 200)
    with stage.open() as bank:
        assert bank.balance("ann") == 1_000
    return f"{stage.logged('a snapshot cannot be read, trying the one before')}\n{stage.logged('set aside')}"


@scenario
def term_corrupt(stage: Stage) -> str:
    stage.flip(f"{DATA}/term", 40)
    stage.open().close()
    stage.flip(f"{DATA}/term", 40)
    stage.flip(f"{DATA}/term", 4136)
    return stage.opening()


@scenario
def identity_lost(stage: Stage) -> str:
    os.unlink(stage.directory / DATA / "identity")
    return stage.opening()


@scenario
def log_lost(stage: Stage) -> str:
    os.unlink(stage.directory / LOG)
    return stage.opening()


@scenario
def disk_full(stage: Stage) -> str:
    disk = FaultDisk()
    with on(disk) as bank:
        bank.deposit("ann", 100)
        disk.space_bytes = disk.used_bytes()
        text = said(lambda: [bank.deposit("x" * 100_000, 1) for _ in range(20)])
        before = bank.status()
        assert said(lambda: bank.deposit("x" * 1_000_000, 1)) == text
        assert bank.status() == before
        assert bank.balance("ann") == 100
        disk.space_bytes = None
        assert bank.deposit("ann", 100) == 200
        disk.space_bytes = disk.used_bytes()
        snapshot = said(bank.snapshot)
        disk.space_bytes = None
    return f"{text}\n{stage.logged('commands were refused, nothing was logged').splitlines()[0]}\n{snapshot}"


@scenario
def file_limit(stage: Stage) -> str:
    """A disk of the operating system that takes no more: a limit on the size of files."""
    resource_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with stage.open() as bank:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource_limit[1]))
        try:
            text = said(lambda: [bank.deposit("x" * 500_000, 1) for _ in range(4)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, resource_limit)
            signal.signal(signal.SIGXFSZ, handler)
        assert bank.deposit("ann", 100) == 1_100
    return text


@scenario
def sync_failed(stage: Stage) -> str:
    disk = FaultDisk()
    with on(disk) as bank:
        bank.deposit("ann", 100)
        disk.fail_sync_at = disk.syncs + 1
        lines = [said(lambda: bank.deposit("ann", 100)), said(lambda: bank.deposit("ann", 100))]
    with on(disk) as bank:
        assert bank.balance("ann") == 100
    return "\n".join(lines)


@scenario
def not_permitted(stage: Stage) -> str:
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o555)
        is_root = os.geteuid() == 0
        try:
            if is_root:
                os.seteuid(65534)
            text = said(lambda: rsm.open(Bank, f"{directory}/bank-data"))
        finally:
            if is_root:
                os.seteuid(0)
    return text.replace(f"{directory}/", "")


@scenario
def power_cut_os(stage: Stage) -> str:
    disk = FaultDisk()
    with on(disk, durability="os") as bank:
        bank.deposit("ann", 100)
        bank.snapshot()
        found = disk.restart(Survival.NOTHING)
    with on(found) as bank:
        assert bank.balance("ann") == 100
    return stage.logged("the log ends before the snapshot")


# --- the wrong directory ----------------------------------------------------------------------------------------------


@scenario
def in_use(stage: Stage) -> str:
    with stage.open():
        return stage.opening()


class Desk(rsm.StateMachine, name="desk", version=1):
    """Another machine."""

    lent: int


@scenario
def wrong_machine(stage: Stage) -> str:
    with stage.open(path="other") as bank:
        bank.deposit("bob", 1)
    first = stage.opening(Desk)
    shutil.rmtree(stage.directory / DATA / "log")
    shutil.copytree(stage.directory / "other" / "log", stage.directory / DATA / "log")
    return f"{first}\n{stage.opening()}"


@scenario
def not_a_machine(stage: Stage) -> str:
    (stage.directory / "notes").mkdir()
    (stage.directory / "notes" / "monday.txt").touch()
    return stage.opening(path="notes")


def changed(source: str, old: str, new: str) -> Any:
    """The bank of the README with a line changed."""
    assert old in source
    names: dict[str, Any] = {"__name__": "bank"}
    exec(source.replace(old, new).partition("if __name__")[0], names)
    return names["Bank"]


def readme_bank() -> str:
    (found,) = (block.text for block in blocks(ROOT / "README.md") if block.file_name == "bank.py")
    return found


@scenario
def schema_changed(stage: Stage) -> str:
    source = readme_bank()
    shutil.rmtree(stage.directory / DATA)
    with stage.open(changed(source, "", "")) as bank:
        bank.deposit("ann", 100)
    changes = [
        ("balances: rsm.Map[str, int]\n", "balances: rsm.SortedMap[str, int]\n"),
        ("amount: Cents", "amount: Cents, note: str"),
        ("def deposit", "def pay_in"),
        ('name="bank", version=1', 'name="bank", version=2'),
    ]
    return "\n".join(stage.opening(changed(source, *change)) for change in changes)


# --- divergence -------------------------------------------------------------------------------------------------------


@scenario
def diverged(stage: Stage) -> str:
    source = readme_bank()
    old, new = changed(source, "", ""), changed(source, "+ amount", "+ amount + 1")
    shutil.rmtree(stage.directory / DATA)
    with stage.open(old) as bank:
        bank.deposit("ann", 100)
    text = stage.opening(new)
    with stage.open(old) as bank:
        bank.snapshot()
    with stage.open(new) as bank:
        assert bank.deposit("ann", 100) == 201
    return text


@scenario
def scrubbed(stage: Stage) -> str:
    bank = stage.open()
    dict.__setitem__(bank._runtime.replica.machine.balances, "ann", 999)
    text = said(lambda: bank.snapshot())
    bank.close()
    with stage.open() as bank:
        assert bank.balance("ann") == 1_000
    return text


@scenario
def wrong_clock(stage: Stage) -> str:
    with stage.open() as bank:
        before = bank.status().log_time
    for year in (2000, 2099):
        wall = (year - 1970) * 365 * 24 * 3600 * rsm.SECOND
        with mock.patch("rsm.node.clock.time.time_ns", lambda wall=wall: wall), stage.open() as bank:
            bank.deposit("ann", 100)
            assert before < bank.status().log_time < before + 60 * rsm.SECOND
    return stage.logged("the wall clock is implausibly far ahead of the log and is not used: set it right")


# --- the page ---------------------------------------------------------------------------------------------------------


def steady(text: str) -> str:
    """The text without what differs from run to run."""
    return re.sub(r"\d[\d,]*", "N", re.sub(r"\b[0-9a-f]{32}\b|(?<=\d-)[0-9a-f]{8}\b", "HASH", text.strip()))


def shown() -> dict[str, str]:
    """The messages on the page, by name."""
    found = {block.marks[0]: block.text for block in blocks(PAGE) if block.language == "text" and block.marks}
    return {name: text for name, text in found.items() if name != "output"}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_page_says_what_rsm_says(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The fault is made to happen; what the caller, the log or the program says is what the page shows."""
    caplog.set_level(logging.WARNING, "rsm")
    text = SCENARIOS[name](Stage(tmp_path, caplog)).replace(f"{tmp_path}/", "")
    assert steady(shown()[name]) == steady(text)


def test_the_page_shows_nothing_else() -> None:
    """Every message on the page is made by a scenario."""
    assert sorted(shown()) == sorted(SCENARIOS)
