"""The gate for a release: the same log under this code and under other code, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable

from rsm.desync.bisect import Opened, compare
from rsm.desync.environments import against, check_origin, own
from rsm.desync.finding import Finding
from rsm.desync.recording import Recording
from rsm.desync.worker import Worker

__all__ = ["replay_against"]


def replay_against(
    recording: Recording,
    reference: str,
    path: str,
    *,
    start: int | str | None = None,
    bundle: Callable[[int], str] | None = None,
    beat: Callable[[int], None] = lambda _: None,
) -> Finding:
    """Run both in step and compare root by root, with each other and with what was recorded.

    `path`: another checkout, a virtual environment, or a Python. `Unreplayable`, `WrongMachine`, `UnknownFormat`,
    `WorkerDied` where that could not be done; `BadBytes` for damage in the log.
    """
    other = against(reference, path)
    with Worker(own(reference)) as left, Worker(other) as right:
        ours = Opened(left, left.open(recording.path, start))
        theirs = Opened(right, right.open(recording.path, start))
        check_origin(path, reference, theirs.said["file"])
        return compare(recording, ours, theirs, bundle=bundle, beat=beat)
