"""What a replay comes to against what was recorded, root by root, and the commands of the entries between two roots."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from rsm.codec.record import Entry
from rsm.desync.paths import plain
from rsm.desync.recording import Expected, Recording
from rsm.desync.replaying import Progress
from rsm.limits import COMMANDS_SHOWN_MAX, HASH_INTERVAL_ENTRIES
from rsm.replica.batch import CONFIRMED
from rsm.replica.naming import Item, Names, items_of

__all__ = ["LOG", "REPLAY", "Mismatch", "RecordedRoots", "command_at", "commands_between", "who_differs"]

# The sources in findings: what was recorded, and this code.
LOG: Final = "log"
REPLAY: Final = "replay"
CONFIRMED_WITHIN: Final = 4 * HASH_INTERVAL_ENTRIES


class Mismatch(NamedTuple):
    """A recorded root that a replay did not come to. `good`: the last index at which they agreed, else the start."""

    index: int  # type: ignore[assignment]  # hides the method of tuples, which nobody calls
    good: int
    own: bytes
    expected: Expected


class RecordedRoots:
    """Takes the steps of one side in order. `checked_to`: the last index at which a recorded root agreed."""

    def __init__(self, recording: Recording, start: int) -> None:
        self._expected = recording.expected
        self._path = recording.path
        self.start = start
        self.checked_to = 0
        self.compared = False

    def check(self, progress: Progress) -> Mismatch | None:
        """The first recorded root that this step does not have."""
        found: Mismatch | None = None
        for index, root in progress.roots:
            recorded = self._expected.get(index)
            if recorded is None:
                continue
            # A book has both roots of a node that was healed; whoever has one only stands by it.
            agreeing = {one.where for one in recorded if one.root == root}
            others = [one for one in recorded if one.where not in agreeing]
            if others:
                is_snapshot = bool(agreeing) and others[0].is_snapshot
                found = Mismatch(index, self.checked_to, root, others[0]._replace(is_snapshot=is_snapshot))
                break
            self._agree(index)
        if progress.difference is not None:
            index, own, confirmed = progress.difference
            if found is None or index <= found.index:
                found = Mismatch(index, 0, own, Expected(confirmed, "the log"))
        if found is None:
            if progress.compared_index > self.start:
                self._agree(progress.compared_index)
            return None
        good = [index for index in (progress.compared_index, self.checked_to) if self.start < index < found.index]
        return found._replace(good=max(good, default=self.start))

    def _agree(self, index: int) -> None:
        self.checked_to = max(self.checked_to, index)
        self.compared = True

    def reasons(self, last_index: int) -> list[str]:
        """Why agreement cannot be claimed, after a replay up to `last_index` without a mismatch."""
        if not self.compared:
            return [f"{self._path}: no root was recorded for what was replayed (after index {self.start})"]
        if last_index - self.checked_to > 2 * HASH_INTERVAL_ENTRIES:
            return [
                f"{self._path}: no root was recorded after index {self.checked_to}, the log goes on to {last_index}"
            ]
        return []


def _entries(recording: Recording, first: int, last: int) -> Iterator[Entry]:
    for scanned in recording.entries(first - 1):
        if scanned.entry.index > last:
            return
        yield scanned.entry


def _document(item: Item) -> dict[str, Any]:
    if item.call is None:
        return {"name": item.entry.kind.name, "version": 0, "values": {}}
    document: dict[str, Any] = {"name": item.call.name, "version": item.call.version}
    if item.steps is None:
        return document | {"values": plain(item.call.values)}
    steps = [{"name": step.name, "version": step.version, "values": plain(step.values)} for step in item.steps]
    return document | {"values": {"steps": steps}}


def confirmed_root(recording: Recording, index: int) -> bytes | None:
    """The root that a quorum had at an index, as the log says a little later; None if it does not."""
    for entry in _entries(recording, index + 1, index + CONFIRMED_WITHIN):
        for item in items_of(entry, Names()):
            if item.call is not None and item.call.name == CONFIRMED and item.session == 0:
                values = item.call.values
                if values.get("index") == index and type(values.get("root")) is bytes:
                    return bytes(values["root"])
    return None


def who_differs(recording: Recording, mismatch: Mismatch, otherwise: str) -> str:
    """What lies beside the log, if a quorum had this code's root at that index, as the log says; else `otherwise`."""
    is_borne_out = confirmed_root(recording, mismatch.index) == mismatch.own
    return mismatch.expected.where if is_borne_out else otherwise


def command_at(recording: Recording, index: int, position: int, names: Names) -> dict[str, Any] | None:
    """Name, version and values of one command of the log; None if there is none at this place."""
    for entry in _entries(recording, index, index):
        for item in items_of(entry, names):
            if item.position == position:
                return _document(item)
    return None


def commands_between(recording: Recording, good: int, bad: int, names: Names) -> tuple[dict[str, Any], ...]:
    """The commands behind one index up to another, with `index` and `position`, `COMMANDS_SHOWN_MAX` at most."""
    found: list[dict[str, Any]] = []
    for entry in _entries(recording, good + 1, bad):
        for item in items_of(entry, names):
            if item.call is not None and not item.is_system:
                found.append({"index": entry.index, "position": item.position, **_document(item)})
                if len(found) == COMMANDS_SHOWN_MAX:
                    return tuple(found)
    return tuple(found)
