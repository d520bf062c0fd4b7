"""Writing a bundle of a difference that a replay found: the state before it, the few entries, the roots expected."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from rsm.codec.record import Entry, RecordKind
from rsm.desync.finding import Finding
from rsm.desync.recording import Recording
from rsm.errors import StorageError
from rsm.node.storage.bundles import BundleHead, created_by, environment, write_bundle
from rsm.replica.trace import CommandTrace

__all__ = ["free_name", "keep", "not_kept"]


def free_name(index: int) -> str:
    """A name in the working directory that is not taken: `desync-<index>`, or the same with a number."""
    name, number = f"desync-{index}", 1
    while os.path.exists(name):
        number += 1
        name = f"desync-{index}-{number}"
    return name


def keep(
    recording: Recording,
    path: str,
    *,
    machine: str,
    version: int,
    reference: str,
    good: int,
    bad: int,
    snapshot: Iterable[tuple[RecordKind, bytes]] | None,
    from_index: int,
    expected: dict[int, bytes],
    found: dict[int, bytes],
    verdict: dict[str, Any],
    trace: Iterable[CommandTrace] = (),
) -> str:
    """Write it, durable; the path. `from_index` is that of `snapshot`, 0 without. `CallerError` if it is taken."""
    head = BundleHead(
        machine=machine,
        version=version,
        reference=reference,
        from_index=from_index,
        to_index=bad,
        good_index=good,
        expected={index: root.hex() for index, root in expected.items()},
        found={index: root.hex() for index, root in found.items()},
        environment=environment(),
        verdict=verdict,
        created_by=created_by(),
    )
    cluster_id = recording.log.head.cluster_id
    entries = _entries(recording, from_index, bad)
    for _ in write_bundle(
        recording.disk, path, head, snapshot=snapshot, entries=entries, trace=trace, cluster_id=cluster_id
    ):
        pass
    return path


def _entries(recording: Recording, after: int, last: int) -> Iterator[Entry]:
    for scanned in recording.entries(after):
        if scanned.entry.index > last:
            return
        yield scanned.entry


def not_kept(finding: Finding, error: StorageError) -> Finding:
    """The finding without a bundle, and why there is none."""
    return msgspec.structs.replace(finding, notes=(*finding.notes, f"no bundle was written: {error}"))
