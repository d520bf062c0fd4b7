"""The books kept on one container: what it may hold, its bucket sums, which keys lie in which bucket, and open cuts.

Theory of operation. A write in a container leaves one undo record `(container, leaf key, old value)` in the store's
undo log and nothing else; that is all a rollback needs. At the end of a batch the store hands each ledger the *first*
old value of every leaf key written since it was last settled. To settle, the ledger subtracts the old leaf's hash from
its bucket's sum, adds the new one's, and keeps the bucket's membership. That is done when somebody needs the sums, at
hash points above all: so the price of a root is paid once a key and interval, however often it was written, and not at
all for what came and went in between.

A *cut* freezes the container's contents at one index without copying them: from then on the ledger is settled after
every batch, and tells every open cut the first old value of each leaf that changes; the cut overlays these on the live
contents when it reads a bucket.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, cast

import msgspec

from rsm.limits import BUCKETS
from rsm.state.leaf import ABSENT, BUCKET_MASK, SUM_MASK, container_seed, digest128, encode, hash64

NO_ITEMS: Final[dict[int, Any]] = {}


class Leaves(Protocol):
    """What a ledger needs from its container."""

    def __len__(self) -> int:
        """How many keys it holds."""

    def _leaf(self, leaf_key: Any, default: Any) -> Any:
        """The live value at a leaf key, or the default."""

    def _restore(self, leaf_key: Any, old: Any) -> None:
        """Put an old value back (ABSENT removes), leaving no undo record."""

    def _empty(self) -> None:
        """Drop everything, also what came behind the container's back, leaving no undo record."""


class Observer(Protocol):
    """Who wants to know the old values of leaves that change."""

    def note(self, bucket: int, leaf_key: Any, old: Any) -> None:
        """A leaf changed from `old` (ABSENT: was not there); told once a batch and leaf, when it has changed."""

    @property
    def is_broken(self) -> bool:
        """Whether it wants to know no more."""


class Overlay:
    """What one open cut knows of one container: old values by bucket, for buckets that it has not read yet."""

    __slots__ = ("buckets", "read_below")

    def __init__(self) -> None:
        self.buckets: dict[int, dict[Any, Any]] = {}
        self.read_below = 0

    @property
    def is_broken(self) -> bool:
        """Never: a cut is closed by who opened it."""
        return False

    def note(self, bucket: int, leaf_key: Any, old: Any) -> None:
        """Keep the first old value of a leaf, unless its bucket has been read already."""
        if bucket >= self.read_below:
            self.buckets.setdefault(bucket, {}).setdefault(leaf_key, old)


class Ledger:
    """The books of one container. `nested` says that leaf keys are (key, position) and buckets go by key."""

    __slots__ = (
        "_pairs",
        "container",
        "firsts",
        "kind",
        "leaf",
        "members",
        "name",
        "nested",
        "overlays",
        "schema",
        "seed",
        "sums",
    )

    def __init__(
        self,
        name: str,
        kind: str,
        schema: str,
        leaf_key_type: Any,
        value_type: Any,
        container: Leaves,
        *,
        nested: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.schema = schema
        self.seed = container_seed(name, kind, schema)
        self.container = container
        self.leaf: Callable[[Any, Any], Any] = container._leaf
        self.nested = nested
        self.sums = array("Q", bytes(8 * BUCKETS))
        self.members: list[set[Any] | None] = [None] * BUCKETS
        self.overlays: list[Observer] = []
        self.firsts: dict[Any, Any] = {}  # the first old values since it was settled
        self._pairs = msgspec.msgpack.Decoder(list[tuple[leaf_key_type, value_type]])

    # --- after batches --------------------------------------------------------------------------------------------

    def is_watched(self) -> bool:
        """Whether somebody wants to hear of every change; those who do not any more are forgotten."""
        if self.overlays:
            self.overlays[:] = [overlay for overlay in self.overlays if not overlay.is_broken]
        return bool(self.overlays)

    def settle(self) -> None:
        """Bring the sums up to date: whoever looks at them, or opens an overlay, does this first."""
        if self.firsts:
            firsts, self.firsts = self.firsts, {}
            self.flush(firsts)

    def flush(self, firsts: Mapping[Any, Any]) -> None:
        """Book these changes, given the first old value of each leaf."""
        leaf, seed, sums, members, overlays = self.leaf, self.seed, self.sums, self.members, self.overlays
        nested, queues = self.nested, cast(Any, self.container)
        for leaf_key, old in firsts.items():
            if nested:  # as the container's `_leaf` has it, in line; the queue also says whether its key is there
                key, position = leaf_key
                queue = queues.get(key)
                new = ABSENT if queue is None else queue.get(position, ABSENT)
            else:
                key = leaf_key
                queue = None
                new = leaf(key, ABSENT)
            if new is old:
                continue
            bucket = hash64(encode(key)) & BUCKET_MASK
            if old is ABSENT:
                change = hash64(encode((leaf_key, new)), seed)
                keys = members[bucket]
                if keys is None:
                    members[bucket] = {key}
                else:
                    keys.add(key)
            elif new is ABSENT:
                change = -hash64(encode((leaf_key, old)), seed)
                if queue is None:
                    self._leave(bucket, key)
            else:
                change = hash64(encode((leaf_key, new)), seed) - hash64(encode((leaf_key, old)), seed)
            sums[bucket] = (sums[bucket] + change) & SUM_MASK
            for overlay in overlays:
                overlay.note(bucket, leaf_key, old)

    def _join(self, bucket: int, key: Any) -> None:
        members = self.members[bucket]
        if members is None:
            self.members[bucket] = {key}
        else:
            members.add(key)

    def _leave(self, bucket: int, key: Any) -> None:
        members = self.members[bucket]
        if members is not None:
            members.discard(key)
            if not members:
                self.members[bucket] = None

    # --- roots, scrubbing -----------------------------------------------------------------------------------------

    def digest(self) -> bytes:
        """16 bytes over all bucket sums."""
        return digest128(self.sum_bytes())

    def sum_bytes(self) -> bytes:
        """The bucket sums, 8 bytes each, little-endian wherever this runs."""
        if sys.byteorder == "little":
            return self.sums.tobytes()
        swapped = self.sums[:]
        swapped.byteswap()
        return swapped.tobytes()

    def recompute(self, bucket: int) -> int:
        """The sum of one bucket from its values; differs from `sums[bucket]` when they changed behind our back."""
        seed = self.seed
        return sum(hash64(encode(leaf), seed) for leaf in self.leaves(bucket)) & SUM_MASK

    def count(self, bucket: int) -> int:
        """How many leaves one bucket holds."""
        members = self.members[bucket] or ()
        if self.nested:
            queues: Any = self.container
            return sum(len(queues.get(key, ())) for key in members)
        return len(members)

    def live_count(self) -> int:
        """How many keys the container holds, booked or not."""
        return len(self.container)

    def leaves(self, bucket: int) -> list[tuple[Any, Any]]:
        """The live leaves of one bucket, in no particular order."""
        keys = self.members[bucket] or ()
        if self.nested:
            queues: Any = self.container
            return [
                ((key, position), value) for key in keys for position, value in dict.items(queues.get(key, NO_ITEMS))
            ]
        leaf = self.leaf
        return [(key, value) for key in keys if (value := leaf(key, ABSENT)) is not ABSENT]

    # --- snapshots ------------------------------------------------------------------------------------------------

    def leaves_at(self, overlay: Overlay, bucket: int) -> dict[Any, Any]:
        """The leaves of one bucket as they were at the overlay's cut. Each bucket is read once, in rising order."""
        leaves = dict(self.leaves(bucket))
        for leaf_key, old in overlay.buckets.pop(bucket, {}).items():
            if old is ABSENT:
                leaves.pop(leaf_key, None)
            else:
                leaves[leaf_key] = old
        overlay.read_below = bucket + 1
        return leaves

    def decode_leaves(self, data: bytes) -> list[tuple[Any, Any]]:
        """Typed leaves from their MessagePack; msgspec's errors for what the schema does not allow."""
        return self._pairs.decode(data)

    def load(self, leaves: list[tuple[Any, Any]]) -> None:
        """Add leaves to a container that is being restored, and book them."""
        restore = self.container._restore
        for leaf_key, value in leaves:
            restore(leaf_key, value)
        self.flush(dict.fromkeys((leaf_key for leaf_key, _ in leaves), ABSENT))

    def clear(self) -> None:
        """Forget everything, as before a restore."""
        self.container._empty()
        self.firsts.clear()
        self.members = [None] * BUCKETS
        self.sums = array("Q", bytes(8 * BUCKETS))
