"""What a source itself has kept of a difference: bundles in the `evidence` of its directory, beside its log.

An observer that differed has in its record the state that it gave up, and the snapshot of the same index that it took
over instead; and in the bundle's head the command and the lines that it had found out.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any, NamedTuple

from rsm.desync.bundle import Bundle, is_bundle
from rsm.desync.finding import Blame
from rsm.desync.sources import Snapshot, Source
from rsm.errors import BadBytes, StorageError, UnknownFormat
from rsm.limits import EVIDENCE_KEPT
from rsm.node.storage.bundles import STATE
from rsm.node.storage.disk import Disk
from rsm.replica.snapshot import read_manifest

__all__ = ["KeptEvidence", "kept_evidence"]

EVIDENCE = "evidence"


class KeptEvidence(NamedTuple):
    """The state that a source gave up, the command that was to blame, and the lines."""

    state: Snapshot
    command: dict[str, Any] | None
    position: int | None
    blame: tuple[Blame, ...]


def kept_evidence(disk: Disk, source: Source, index: int) -> KeptEvidence | None:
    """What the source has kept of its root at an index; None if there is nothing, or nothing that can be read."""
    above = os.path.join(source.path, EVIDENCE)
    if not disk.is_directory(above):
        return None
    paths = [os.path.join(above, name) for name in disk.listdir(above)]
    for path in [path for path in paths if is_bundle(disk, path)][:EVIDENCE_KEPT]:  # not what crashes have left
        with contextlib.suppress(BadBytes, StorageError, UnknownFormat):
            bundle = Bundle.read(disk, path)
            if index not in bundle.found or not bundle.has_state:
                continue
            manifest = read_manifest(next(bundle.state(), None))
            state = Snapshot(os.path.join(bundle.path, STATE), manifest, None)
            verdict = bundle.head.verdict
            command = verdict.get("command")
            known = (
                command if type(command) is dict and {"name", "version", "values", "position"} <= command.keys() else {}
            )
            position = known.get("position")
            return KeptEvidence(
                state,
                {part: known[part] for part in ("name", "version", "values")} if known else None,
                position if type(position) is int else None,
                tuple(_blame(source.name, verdict.get("lines"))),
            )
    return None


def _blame(source: str, lines: Any) -> list[Blame]:
    found = []
    for line in lines if type(lines) is list else ():
        if type(line) is list and [type(part) for part in line] == [str, int, str, str]:
            found.append(Blame(source, line[0], line[1], line[2], line[3], None))
    return found
