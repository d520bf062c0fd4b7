"""Roots, iteration and restored snapshots do not depend on the process: hash seed, time zone, locale, optimisation."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

PROGRAM = """
import json, sys
from tests.unit.state.stores import store_of
from tests.unit.state.test_golden import Golden, filled, replica_after_entries

chunks = json.load(sys.stdin)
replica = replica_after_entries()
machine = replica.machine
store = filled(3000)
restored = Golden()
other = store_of(restored)
other.clear()
for name, leaves in chunks or [[name, leaves.hex()] for name, _, _, leaves in store.cut().chunks()]:
    other.load(name, bytes.fromhex(leaves))
json.dump({
    "roots": {index: root.hex() for index, root in replica.roots.items()},
    "digests": [digest.hex() for *_, digest in store.digests()],
    "restored": [digest.hex() for *_, digest in other.digests()],
    "map": machine.map.items(),
    "seen": [member.hex() for member in machine.seen],
    "restored seen": [member.hex() for member in restored.seen],
    "update order": list(dict(restored.map)),
    "positions": {key: queue.items() for key, queue in restored.table.items()},
    "schema": repr(replica.definition.schema()),
    "chunks": [[name, leaves.hex()] for name, _, _, leaves in store.cut().chunks()],
    "plain set": list({str(number) for number in range(50)}),
}, sys.stdout)
"""


def run(root: Path, chunks: Any, *options: str, **environment: str) -> dict[str, Any]:
    """What a fresh interpreter makes of the same entries."""
    finished = subprocess.run(
        [sys.executable, *options, "-c", PROGRAM],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root), **environment},
        input=json.dumps(chunks),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    result: dict[str, Any] = json.loads(finished.stdout)
    return result


def test_processes_of_any_kind_agree(root: Path) -> None:
    """Each process also restores the snapshot that the one before it wrote in its own order of hashing."""
    first = run(root, None, PYTHONHASHSEED="0")
    second = run(root, first["chunks"], PYTHONHASHSEED="1", TZ="Pacific/Chatham")
    third = run(root, second["chunks"], "-O", PYTHONHASHSEED="4242", LC_ALL="C", LANG="C")
    runs = (first, second, third)
    assert len({tuple(one.pop("plain set")) for one in runs}) == 3, "the seeds had no effect: the test shows nothing"
    for one in runs:
        one.pop("chunks")  # leaves lie in a bucket in no particular order
        assert one["restored"] == one["digests"]
    assert first == second == third
