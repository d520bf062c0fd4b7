"""The power goes at every write and at every sync of a machine's small life: every acknowledged command is there once,
nothing is there by half, and the machine lives on.
"""

from __future__ import annotations

import contextlib
import logging

import pytest

import rsm
from rsm.node.storage.directory import MachineDirectory
from rsm.testing.disk import FaultDisk, PowerCut, Survival
from tests.faults.ledger_machine import open_on

KEYS = 9
STRICT = [(Survival.NOTHING, 0), (Survival.EVERYTHING, 0), (Survival.TORN, 1), (Survival.TORN, 2)]
# Between two syncs nothing but the cache changes: what is left of it when all is lost, the cuts at syncs show.
AT_WRITES, AT_SYNCS = STRICT[1:3], STRICT[:3]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """Segments of a few entries, so that a small life crosses rolls and compactions."""
    defaults = MachineDirectory.open_journal.__kwdefaults__
    assert defaults is not None
    monkeypatch.setitem(defaults, "segment_bytes", 1200)
    logging.getLogger("rsm").setLevel(logging.CRITICAL + 1)
    yield
    logging.getLogger("rsm").setLevel(logging.NOTSET)


def amount_of(number: int) -> int:
    """One booking of the life is rejected."""
    return 13 if number == 4 else number + 1


def live(disk: FaultDisk, told: dict[int, int | str]) -> None:
    """Bookings one by one, several in flight, two snapshots, a close and a second opening. `told`: acknowledged."""

    def book(client: object, numbers: list[int]) -> None:
        on_the_way = [
            (number, client.once(f"k{number}").move.send(number, "a", f"b{number % 3}", amount_of(number)))  # type: ignore[attr-defined]
            for number in numbers
        ]
        for number, pending in on_the_way:
            try:
                told[number] = pending.result(30)
            except rsm.Rejected as rejection:
                told[number] = rejection.reason

    client = open_on(disk)
    try:
        book(client, [0])
        book(client, [1])
        client.snapshot()
        book(client, [2, 3, 4])
        client.snapshot()
        book(client, [5])
    finally:
        client.close()
    client = open_on(disk)
    try:
        book(client, [6, 7])
        client.snapshot()
        book(client, [8])
    finally:
        client.close()


def check(disk: FaultDisk, told: dict[int, int | str]) -> None:
    """What was acknowledged is there, once, with the same answer; the rest can be sent again; and again it is whole."""
    client = open_on(disk)
    try:
        assert client.audit() == ""
        there = client.numbers()
        for number, answer in told.items():
            outcome = client.outcome(f"k{number}")
            assert outcome.state == "applied", f"booking {number} was acknowledged and is gone"
            assert (outcome.result if outcome.rejected is None else outcome.rejected) == answer
            assert (number in there) == (outcome.rejected is None)
        for number in range(KEYS):
            with contextlib.suppress(rsm.Rejected):
                client.once(f"k{number}").move(number, "a", f"b{number % 3}", amount_of(number))
        assert client.audit() == ""
        assert sorted(client.numbers()) == [number for number in range(KEYS) if number != 4]
    finally:
        client.close()
    client = open_on(disk)
    assert client.audit() == ""
    assert len(client.numbers()) == KEYS - 1
    client.close()


def length_of_life() -> tuple[int, int]:
    """How many writes and syncs there are; a snapshot's thread makes their order vary, not their number."""
    disk = FaultDisk()
    told: dict[int, int | str] = {}
    live(disk, told)
    assert sorted(told) == list(range(KEYS))
    assert told[4] == "unlucky"
    return disk.writes, disk.syncs


WRITES, SYNCS = 90, 72  # at most these; the test below holds them to the truth


def test_the_life_is_as_long_as_the_cuts_reach() -> None:
    """Cuts beyond the end of the life would test nothing; a life beyond the last cut would not be tested."""
    writes, syncs = length_of_life()
    assert WRITES - 15 <= writes <= WRITES, writes
    assert SYNCS - 15 <= syncs <= SYNCS, syncs


def cut(disk: FaultDisk) -> dict[int, int | str]:
    """Live until the power goes, if it does."""
    told: dict[int, int | str] = {}
    with contextlib.suppress(PowerCut, rsm.RsmError):
        live(disk, told)
    return told


@pytest.mark.parametrize("part", range(4))
def test_a_power_cut_at_every_write(part: int, soak: bool) -> None:
    """Cut in the middle of the nth write, for every n, and every way in which what was not synced may survive."""
    for write in range(part + 1, WRITES + 1, 4):
        disk = FaultDisk()
        disk.cut_at_write = write
        told = cut(disk)
        for survival, seed in STRICT if soak else AT_WRITES:
            check(disk.restart(survival, seed), told)


@pytest.mark.parametrize("part", range(4))
def test_a_power_cut_at_every_sync(part: int, soak: bool) -> None:
    """Cut before the nth sync has an effect, for every n."""
    for sync in range(part + 1, SYNCS + 1, 4):
        disk = FaultDisk()
        disk.cut_at_sync = sync
        told = cut(disk)
        for survival, seed in STRICT if soak else AT_SYNCS:
            check(disk.restart(survival, seed), told)


def test_a_disk_that_reorders_may_be_refused_but_never_believed_wrongly() -> None:
    """Sectors of unsynced writes survive in any order: either the machine opens as it should, or it names the place."""
    refused = opened = 0
    for write in range(1, WRITES + 1, 3):
        disk = FaultDisk()
        disk.cut_at_write = write
        told = cut(disk)
        for seed in range(2):
            refusals: list[rsm.CorruptFile] = []
            try:
                check(disk.restart(Survival.REORDERED, seed), told)
            except rsm.CorruptFile as error:
                refusals.append(error)
            opened += not refusals
            refused += len(refusals)
            assert all("offset" in str(error) for error in refusals)
    assert opened > refused


def test_a_failing_sync_is_fatal_and_a_reopen_finds_what_was_acknowledged() -> None:
    """Each sync of a life may fail: callers get an error, and the directory is free again, whole, and complete."""
    survived = 0
    for nth in range(1, SYNCS + 1):
        disk = FaultDisk()
        disk.fail_sync_at = nth
        told: dict[int, int | str] = {}
        failures: list[str] = []
        try:
            live(disk, told)
        except rsm.RsmError as error:
            failures.append(str(error))
        survived += not failures
        assert all("cannot sync" in failure and "\n" not in failure for failure in failures)
        disk.fail_sync_at = None
        check(disk, told)
        check(disk.restart(Survival.NOTHING), told)
    # What survives: syncs of the parent directory, which need not be ours, and those beyond the end of the life.
    assert survived <= 2 + SYNCS - length_of_life()[1]
