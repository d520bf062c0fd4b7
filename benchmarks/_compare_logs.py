"""How long `rsm desync compare` takes for two logs of one history: `python -m benchmarks._compare_logs [COMMANDS]`."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from rsm.codec.record import Entry, RecordKind
from rsm.desync.compare import compare
from rsm.limits import HASH_INTERVAL_ENTRIES
from rsm.node.directory import MachineDirectory
from rsm.node.disk import OsDisk
from rsm.replica.batch import CONFIRMED, encode_call, join_batch, join_item

COMMANDS = 1_000_000
DISK = OsDisk()
ENTRIES_PER_APPEND = 256


def write_log(path: Path, commands: int, commands_per_entry: int) -> None:
    """A directory with a log of orders, and the confirmations that a machine would write."""
    with (
        MachineDirectory.create(DISK, str(path), machine="book", cluster_id=bytes(16)) as directory,
        directory.open_journal() as journal,
    ):
        waiting: list[Entry] = []
        for index in range(1, commands // commands_per_entry + 1):
            first = index * commands_per_entry
            calls = (encode_call("place", 1, ["BUY", 10_000 + number % 50, 17, "ann"]) for number in range(first))
            items = [
                join_item(7, first + number, first, call)
                for number, call in zip(range(commands_per_entry), calls, strict=False)
            ]
            if index % HASH_INTERVAL_ENTRIES == 1 and index > 1:
                items.insert(0, join_item(0, 0, 0, encode_call(CONFIRMED, 1, [index - 1, bytes(16)])))
            waiting.append(Entry(index, 1, RecordKind.BATCH, join_batch(1, 10**18 + index, 0, items)))
            if len(waiting) == ENTRIES_PER_APPEND:
                journal.append(waiting)
                waiting = []
        journal.append(waiting)
    (path / "lock").write_text("0\n", encoding="ascii")  # nobody has it open, although this process lives


def seconds(directory: Path, commands: int, commands_per_entry: int) -> float:
    """The time of one comparison of a log and its copy, in seconds."""
    paths = [directory / f"{commands_per_entry}-{name}" for name in ("a", "b")]
    write_log(paths[0], commands, commands_per_entry)
    shutil.copytree(*paths)
    begin = time.perf_counter()
    found = compare(DISK, [str(path) for path in paths])
    spent = time.perf_counter() - begin
    if found.finding.verdict != "agree":
        raise RuntimeError(f"the copies do not agree: {found.finding}")
    return spent


def main() -> None:
    """Print what batches of a thousand and entries of one command take."""
    commands = int(sys.argv[1]) if len(sys.argv) > 1 else COMMANDS
    with tempfile.TemporaryDirectory() as directory:
        for commands_per_entry in (1_000, 10, 1):
            spent = seconds(Path(directory), commands, commands_per_entry)
            print(f"2 logs of {commands:,} commands, {commands_per_entry:,} an entry: {spent:.2f} s")


if __name__ == "__main__":
    main()
