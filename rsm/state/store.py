"""The store: all containers of one machine, their common undo log, and the digests over them.

A batch runs between `begin` and `end`. Inside it every command begins with `begin_command` and a `mark`;
`rollback(mark)` undoes everything written since. `end` reduces the undo log to the first old value of each leaf; from
these every ledger brings its sums up to date when a root is due, at once where somebody watches it. Between batches
containers refuse writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress, islice
from typing import Any

from rsm.errors import BadBytes, DivergenceError
from rsm.limits import (
    BUCKETS,
    CHUNK_LEAVES_MAX,
    SCRUB_LEAVES_MIN,
    SNAPSHOT_RECORD_BYTES_MAX,
    UNHASHED_LEAVES_MAX,
)
from rsm.state.columns import ARRAY_KIND
from rsm.state.containers import refuse_write
from rsm.state.leaf import encode
from rsm.state.ledger import Ledger, Overlay
from rsm.state.undo import MarkedUndo


class Store:
    """Containers by name, in declaration order. `containers` maps a name to its container; each has its `Ledger`."""

    def __init__(self, containers: dict[str, Any]) -> None:
        self.containers = containers
        self.ledgers: dict[str, Ledger] = {name: c._ledger for name, c in sorted(containers.items())}
        # Container, leaf key, old value, and so on: three items a write, not a tuple of them, which would live to the
        # end of the batch and keep the garbage collector busy. Its length is a mark.
        self.has_arrays = any(ledger.kind == ARRAY_KIND for ledger in self.ledgers.values())
        self.undo: list[Any] = self.new_undo()
        self.is_open = False  # within a batch
        self._scrub_at = (0, 0)  # (ledger number, bucket): where the next scrub begins
        self.scrub_rounds = 0

    # --- one batch ------------------------------------------------------------------------------------------------

    def new_undo(self) -> list[Any]:
        """An empty undo log of the kind that the containers need."""
        return MarkedUndo() if self.has_arrays else []

    def begin(self) -> None:
        """Open the containers for writing."""
        self.is_open = True
        self.open_for_writing()

    def open_for_writing(self) -> None:
        """Have every write recorded, so that it can be undone."""
        record = self.undo.extend
        for container in self.containers.values():
            container._record = record

    def close_for_writing(self) -> None:
        """Have every write refused."""
        for container in self.containers.values():
            container._record = refuse_write

    def begin_command(self) -> None:
        """A command begins: it may be rolled back, what came before it may not any more."""
        if isinstance(self.undo, MarkedUndo):
            self.undo.begin_command()

    def mark(self) -> int:
        """Where the undo log stands; give it to `rollback` to undo everything written since."""
        return len(self.undo)

    def rollback(self, mark: int) -> None:
        """Undo everything written since the mark, newest first."""
        undo = self.undo
        while len(undo) > mark:
            container, leaf_key, old = undo[-3:]
            del undo[-3:]
            container._restore(leaf_key, old)

    def end(self) -> None:
        """Close the containers for writing, and keep the first old value of each leaf for its ledger to settle."""
        self.is_open = False
        self.close_for_writing()
        undo = iter(self.undo)
        for container, leaf_key, old in zip(undo, undo, undo, strict=True):
            container._ledger.firsts.setdefault(leaf_key, old)
        self.undo.clear()
        for ledger in self.ledgers.values():
            if len(ledger.firsts) > UNHASHED_LEAVES_MAX or ledger.is_watched():
                ledger.settle()

    # --- digests --------------------------------------------------------------------------------------------------

    def digests(self) -> list[tuple[str, str, str, bytes]]:
        """(name, kind, schema, 16-byte digest) of every container, by name: the state's part of a root."""
        for ledger in self.ledgers.values():
            ledger.settle()
        return [(ledger.name, ledger.kind, ledger.schema, ledger.digest()) for ledger in self.ledgers.values()]

    def scrub(self, leaves_min: int = SCRUB_LEAVES_MIN) -> None:
        """Recompute the next few buckets, at least `leaves_min` leaves or one whole round, from their values.

        Raises `DivergenceError` naming container, bucket and keys when values changed behind the containers' back.
        """
        ledgers = list(self.ledgers.values())
        for ledger in ledgers:
            ledger.settle()
        number, bucket = self._scrub_at
        start, leaves = bucket, 0
        for step in range(len(ledgers) + (start > 0)):  # one that it begins in the middle of comes a second time
            ledger = ledgers[number]
            end = BUCKETS if step < len(ledgers) else start
            if bucket == 0:
                check_count(ledger)
            # Most buckets of a small state are empty, and passing over them one by one would cost more than the rest.
            for occupied in compress(range(bucket, end), ledger.sums[bucket:end]):
                leaves += ledger.count(occupied)
                check_bucket(ledger, occupied)
                bucket = occupied + 1
                if leaves >= leaves_min:
                    break
            else:
                bucket = end
            if bucket == BUCKETS:
                number, bucket = number + 1, 0
                if number == len(ledgers):
                    number = 0
                    self.scrub_rounds += 1
            if leaves >= leaves_min:
                break
        self._scrub_at = (number, bucket)

    def verify(self) -> None:
        """Scrub everything at once."""
        for ledger in self.ledgers.values():
            ledger.settle()
            check_count(ledger)
            for bucket in range(BUCKETS):
                check_bucket(ledger, bucket)

    # --- snapshots ------------------------------------------------------------------------------------------------

    def cut(self) -> Cut:
        """Freeze the contents as they are now, without copying. Close the cut when it has been read."""
        return Cut(self)

    def clear(self) -> None:
        """Forget all contents, before a restore."""
        for ledger in self.ledgers.values():
            ledger.clear()

    def load(self, name: str, pairs: bytes) -> None:
        """Add one chunk of leaves (MessagePack) to the container `name`; `BadBytes` for what its schema refuses."""
        ledger = self.ledgers.get(name)
        if ledger is None:
            raise BadBytes(f"the snapshot has a container {name!r} that the machine does not declare")
        try:
            leaves = ledger.decode_leaves(pairs)
        except Exception as error:
            raise BadBytes(f"the snapshot's leaves of {name!r} do not fit its schema: {error}") from error
        ledger.load(leaves)


class Cut:
    """The contents of a store at one index, read bucket by bucket while the live store goes on.

    Memory: the old values of leaves that changed since, in buckets not read yet.
    """

    def __init__(self, store: Store) -> None:
        self.digests = store.digests()
        self.sums = {name: ledger.sum_bytes() for name, ledger in store.ledgers.items()}
        self._ledgers = store.ledgers
        self._overlays = {name: Overlay() for name in store.ledgers}
        for name, overlay in self._overlays.items():
            store.ledgers[name].overlays.append(overlay)

    def chunks(self) -> Iterator[tuple[str, int, int, bytes]]:
        """(container, bucket, leaves, MessagePack of the leaves) of every non-empty bucket, in order, some in pieces.

        Every step reads one bucket at most; the store may apply batches between two steps.
        """
        for name, ledger in self._ledgers.items():
            overlay = self._overlays[name]
            for bucket in range(BUCKETS):
                if ledger.members[bucket] is None and bucket not in overlay.buckets:
                    overlay.read_below = bucket + 1
                    continue
                # A queue lies in one bucket with all its items, so a bucket may be large: in pieces then.
                leaves = iter(ledger.leaves_at(overlay, bucket).items())
                while piece := list(islice(leaves, CHUNK_LEAVES_MAX)):
                    for count, packed in _pieces(piece):
                        yield name, bucket, count, packed

    def close(self) -> None:
        """Stop collecting old values."""
        for name, overlay in self._overlays.items():
            if overlay in self._ledgers[name].overlays:
                self._ledgers[name].overlays.remove(overlay)


def _pieces(leaves: list[tuple[Any, Any]]) -> Iterator[tuple[int, bytes]]:
    """(number, MessagePack) of leaves, halved until each piece fits a record with room to spare; one leaf may not."""
    packed = encode(leaves)
    if len(packed) <= SNAPSHOT_RECORD_BYTES_MAX // 2 or len(leaves) == 1:
        yield len(leaves), packed
        return
    middle = len(leaves) // 2
    yield from _pieces(leaves[:middle])
    yield from _pieces(leaves[middle:])


def check_count(ledger: Ledger) -> None:
    """Raise `DivergenceError` when keys came or went behind the container's back (no bucket lists them)."""
    booked = sum(map(len, filter(None, ledger.members)))
    live = ledger.live_count()
    if booked != live:
        raise DivergenceError(f"{ledger.name}: holds {live} keys, but {booked} were written through it")


def check_bucket(ledger: Ledger, bucket: int) -> None:
    """Raise `DivergenceError` unless the bucket's values still give the sum on record."""
    try:
        recomputed: int | None = ledger.recompute(bucket)
    except Exception:
        recomputed = None  # a value changed into something that cannot be read or encoded at all
    if recomputed != ledger.sums[bucket]:
        keys = sorted(map(repr, ledger.members[bucket] or ()))
        shown = ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
        raise DivergenceError(
            f"{ledger.name}: bucket {bucket} was changed outside tracked writes; "
            f"the change is at one of the keys {shown or '(none left)'}"
        )
