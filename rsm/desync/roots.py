"""The roots that sources recorded, index by index, and what it means where they differ.

A source tells its root at an index in up to three ways: its book noted it, a snapshot was taken there, or a later
snapshot's manifest lists it. The log tells what a quorum had (`rsm.confirmed`). A snapshot that contradicts the roots
its own source noted is not the state that the log gave there; a source whose own roots are consistently others has
applied otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, NamedTuple

from rsm.desync.finding import Kind
from rsm.desync.sources import Source
from rsm.replica.batch import CONFIRMED

__all__ = ["RootDifference", "Roots", "count_roots"]


class RootDifference(NamedTuple):
    """Roots of one index that are not all equal. `expected`: what a quorum or a majority had, if there is that."""

    index: int  # type: ignore[assignment]  # hides the method of tuples, which nobody calls
    kind: Kind
    expected: bytes | None
    roots: dict[str, tuple[bytes, ...]]
    differing: tuple[str, ...]


_NOTHING: Final[dict[int, list[bytes]]] = {}


def count_roots(source: Source) -> int:
    """At how many indexes a source recorded a root of its own."""
    listed = (index for snapshot in source.snapshots for index, _ in snapshot.manifest.roots)
    return len(set(source.noted).union(listed))


class Roots:
    """All roots recorded up to the index `last`, up to which the logs are known to agree.

    `compared_to` is the last index at which two records of a root could be compared (not beyond `checked_to`, which all
    sources reach), and `differences` are those that are not equal, by index.
    """

    def __init__(self, sources: Sequence[Source], last: int, checked_to: int) -> None:
        self._sources = sources
        self._last = last
        self._checked_to = checked_to
        self._listed: dict[str, dict[int, bytes]] = {}  # in manifests, but not that of the index itself
        self._taken: dict[str, dict[int, bytes]] = {}  # of snapshots, each at its own index
        for source in sources:
            listed = self._listed[source.name] = {}
            taken = self._taken[source.name] = {}
            for snapshot in source.snapshots:
                manifest = snapshot.manifest
                if manifest.index > source.last_index:
                    continue
                listed.update((index, root) for index, root in manifest.roots if index != manifest.index)
                if snapshot.fault is None:
                    taken[manifest.index] = manifest.root
        self._own: dict[str, dict[int, tuple[bytes, ...]]] = {one.name: self._of(one) for one in sources}
        self.indexes = sorted(set().union(*self._own.values()))
        self.confirmed = self._confirmed()
        self.compared_to = 0
        self.differences = self._compare()

    def _of(self, source: Source) -> dict[int, tuple[bytes, ...]]:
        last = min(self._last, source.last_index)
        found: dict[int, list[bytes]] = {index: list(roots) for index, roots in source.noted.items() if index <= last}
        for more in (self._listed[source.name], self._taken[source.name]):
            for index, root in more.items():
                if index <= last and root not in found.setdefault(index, []):
                    found[index].append(root)
        return {index: tuple(roots) for index, roots in found.items()}

    def _confirmed(self) -> dict[int, bytes]:
        """What the log says a quorum had, at the indexes of which a source has a root to compare."""
        wanted = set(self.indexes)
        found: dict[int, bytes] = {}
        self.first_confirmation = 0  # the entry that holds it
        for source in self._sources:
            for note in source.notes():
                if note.name != CONFIRMED or note.index > self._last:
                    continue
                index, root = note.values
                self.first_confirmation = min(note.index, self.first_confirmation or note.index)
                if index in wanted:
                    found.setdefault(index, root)
        return found

    def _compare(self) -> list[RootDifference]:
        differences = []
        for index in self.indexes:
            roots = {name: own[index] for name, own in self._own.items() if index in own}
            confirmed = self.confirmed.get(index)
            if index <= self._checked_to and (len(roots) > 1 or confirmed is not None):
                self.compared_to = index
            told = {root for own in roots.values() for root in own}
            if len(told | ({confirmed} if confirmed is not None else set())) > 1:
                differences.append(self._difference(index, roots, confirmed))
        return differences

    def _difference(self, index: int, roots: dict[str, tuple[bytes, ...]], confirmed: bytes | None) -> RootDifference:
        expected = confirmed
        if expected is None:
            # Several roots of one source are several tales, not several voices.
            votes = Counter(own[0] for own in roots.values() if len(own) == 1)
            root, number = votes.most_common(1)[0] if votes else (b"", 0)
            expected = root if 2 * number > len(roots) else None
        differing = tuple(
            name for name, own in roots.items() if expected is None or any(one != expected for one in own)
        )
        is_snapshot = all(self._is_of_snapshot(name, index, expected) for name in differing)
        return RootDifference(index, "snapshot" if is_snapshot else "apply", expected, roots, differing)

    def _is_of_snapshot(self, name: str, index: int, expected: bytes | None) -> bool:
        """Whether only a snapshot of this very index says otherwise, and nothing else of its source does."""
        taken = self._taken[name].get(index)
        if taken is None or taken == expected:
            return False
        noted = self._noted(name).get(index, [])
        if noted:
            return taken not in noted
        # Without a book: a replica that went astray lists more than one root that nobody else has.
        own = self._own[name]
        return expected is not None and not any(
            self.confirmed.get(other, root) != root for other, roots in own.items() if other != index for root in roots
        )

    def _noted(self, name: str) -> dict[int, list[bytes]]:
        return next((source.noted for source in self._sources if source.name == name), _NOTHING)
