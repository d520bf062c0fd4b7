"""The directory of a machine: made whole or not at all, opened by one, and only by its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rsm.codec.record import Entry, RecordKind
from rsm.errors import CallerError, CorruptFile, DirectoryInUse, StorageError, WrongMachine
from rsm.node.storage.directory import MachineDirectory, read_identity
from rsm.node.storage.disk import OsDisk
from rsm.testing.disk import FaultDisk, PowerCut, Survival

ENTRY = Entry(1, 1, RecordKind.BATCH, b"payload")


def test_a_directory_is_made_and_opened(tmp_path: Path) -> None:
    """On a real disk, below directories that are not there yet; with everything the layout promises."""
    disk, path = OsDisk(), str(tmp_path / "a" / "b" / "bank")
    with MachineDirectory.open_or_create(disk, path, machine="bank") as made:
        identity = made.identity
        assert (identity.machine, identity.group_id, len(identity.cluster_id)) == ("bank", 0, 16)
        with made.open_journal() as journal, made.open_term() as term:
            journal.append([ENTRY])
            term.save(3, "me")
        assert made.open_snapshots().indexes() == []
    assert sorted(os.listdir(path)) == ["identity", "lock", "log", "snapshots", "term"]
    with MachineDirectory.open_or_create(disk, path, machine="bank") as opened:
        assert opened.identity == identity
        with opened.open_journal() as journal:
            assert journal.last_index == 1
            assert journal.cluster_id == identity.cluster_id
    assert read_identity(disk, path) == identity


def test_two_clusters_have_two_ids() -> None:
    """The id is random, or the one that is given."""
    disk = FaultDisk()
    ids = {MachineDirectory.create(disk, name, machine="bank").identity.cluster_id for name in ("a", "b", "c")}
    assert len(ids) == 3
    given = MachineDirectory.create(disk, "d", machine="bank", cluster_id=b"x" * 16, group_id=9)
    assert given.identity.cluster_id == b"x" * 16
    assert given.open_journal().group_id == 9
    for name, machine_id in (("a", None), ("d", b"x" * 16)):
        MachineDirectory.open(disk.restart(Survival.NOTHING), name, cluster_id=machine_id)


def test_another_machine_is_refused() -> None:
    """By name, by cluster, by group; and the lock is free again afterwards."""
    disk = FaultDisk()
    MachineDirectory.create(disk, "bank", machine="bank", cluster_id=b"x" * 16, group_id=1).close()
    for wrong in ({"machine": "book"}, {"cluster_id": b"y" * 16}, {"group_id": 2}):
        with pytest.raises(WrongMachine, match="belongs to"):
            MachineDirectory.open(disk, "bank", **wrong)  # type: ignore[arg-type]
    MachineDirectory.open(disk, "bank", machine="bank", cluster_id=b"x" * 16, group_id=1).close()


def test_a_second_handle_is_refused(tmp_path: Path) -> None:
    """In the same process, on a real and on a simulated disk, until the first is closed."""
    for disk, path in ((OsDisk(), str(tmp_path / "bank")), (FaultDisk(), "bank")):
        first = MachineDirectory.create(disk, path, machine="bank")
        with pytest.raises(DirectoryInUse, match=str(os.getpid())):
            MachineDirectory.open(disk, path)
        with pytest.raises(DirectoryInUse):
            MachineDirectory.create(disk, path, machine="bank")
        first.close()
        MachineDirectory.open(disk, path).close()


def test_a_second_process_is_refused_and_told_the_first(tmp_path: Path) -> None:
    """The message names the holder's process; when that is killed, the directory is free."""
    path = str(tmp_path / "bank")
    MachineDirectory.create(OsDisk(), path, machine="bank").close()
    program = (
        "import sys, fcntl, os\n"
        "d = os.open(sys.argv[1], os.O_RDWR)\n"
        "fcntl.flock(d, fcntl.LOCK_EX)\n"
        "os.ftruncate(d, 0); os.pwrite(d, b'%d\\n' % os.getpid(), 0)\n"
        "print('locked', flush=True); sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", program, os.path.join(path, "lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(DirectoryInUse, match=rf"{path}: in use by process {holder.pid}: "):
            MachineDirectory.open(OsDisk(), path)
        holder.kill()
    MachineDirectory.open(OsDisk(), path).close()


def test_no_directory_is_made_over_something_else() -> None:
    """Neither over a machine, nor over other people's files, nor over a log whose identity was lost."""
    disk = FaultDisk()
    made = MachineDirectory.create(disk, "bank", machine="bank")
    journal = made.open_journal()
    journal.append([ENTRY])
    journal.close()
    made.close()
    with pytest.raises(CallerError, match="already"):
        MachineDirectory.create(disk, "bank", machine="bank")
    disk.unlink("bank/identity")
    with pytest.raises(StorageError, match="no identity"):
        MachineDirectory.open(disk, "bank")
    with pytest.raises(CorruptFile, match="identity is missing"):
        MachineDirectory.open_or_create(disk, "bank", machine="bank")
    disk.mkdir("home")
    disk.put("home/letter", b"dear")
    with pytest.raises(CallerError, match="letter"):
        MachineDirectory.create(disk, "home", machine="bank")
    assert disk.contents("home/letter") == b"dear"


def test_a_lost_part_is_damage() -> None:
    """A directory with an identity has a log and a term; without them it is not quietly made anew."""
    base = FaultDisk()
    MachineDirectory.create(base, "bank", machine="bank").close()
    disk = base.clone()
    disk.unlink("bank/log/00000000000000000001.log")
    with pytest.raises(CorruptFile, match="no segment"):
        MachineDirectory.open(disk, "bank").open_journal()
    disk = base.clone()
    disk.unlink("bank/term")
    with pytest.raises(StorageError, match="no such file"):
        MachineDirectory.open(disk, "bank").open_term()


def test_every_flipped_bit_of_the_identity() -> None:
    """Each is refused; so is every cut."""
    disk = FaultDisk()
    MachineDirectory.create(disk, "bank", machine="bank").close()
    content = disk.contents("bank/identity")
    for bit in range(len(content) * 8):
        disk.flip_bit("bank/identity", bit)
        with pytest.raises(CorruptFile):
            MachineDirectory.open(disk, "bank")
        disk.flip_bit("bank/identity", bit)
    for length in range(len(content)):
        disk.put("bank/identity", content[:length])
        with pytest.raises(CorruptFile):
            MachineDirectory.open(disk, "bank")
    disk.put("bank/identity", content)
    MachineDirectory.open(disk, "bank")


@pytest.mark.parametrize("survival", Survival)
def test_a_power_cut_at_every_operation_of_making_one(survival: Survival) -> None:
    """Afterwards it is a machine's directory with all its parts, or it can be made again."""
    clean = FaultDisk()
    MachineDirectory.create(clean, "a/bank", machine="bank")
    for operation, count in (("write", clean.writes), ("sync", clean.syncs)):
        for number in range(1, count + 1):
            disk = FaultDisk()
            setattr(disk, f"cut_at_{operation}", number)
            with pytest.raises(PowerCut):
                MachineDirectory.create(disk, "a/bank", machine="bank")
            for seed in range(5 if survival in (Survival.TORN, Survival.REORDERED) else 1):
                found = disk.restart(survival, seed=seed)
                with MachineDirectory.open_or_create(found, "a/bank", machine="bank") as directory:
                    journal = directory.open_journal()
                    assert journal.last_index == 0
                    assert directory.open_term().term == 0
                    assert directory.open_snapshots().indexes() == []
                    journal.append([ENTRY])
                    journal.sync()
                again = MachineDirectory.open(found.restart(), "a/bank", machine="bank")
                assert again.open_journal().last_index == 1
