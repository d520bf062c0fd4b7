"""The second run: a copy of a replica, restored from a snapshot now and then, on which every entry is applied again.

Theory of operation. A machine that is a function of log and state does the same on a replica that was restored a moment
ago as on one that has run for long. So before an entry the live replica's state is loaded into the copy, whose machine
is set up anew: caches, helper objects and orders of insertion are gone. Then both apply the entry, and answers, events,
every write of every command and the root must be equal.

Loading costs as much as the state is large. A copy that was not restored is kept in step by applying what the live one
applies, so entries in between are compared too, and the price is bounded: each entry earns credits, a restore costs
its leaves and a fixed share, and one is made when there are enough. A small state is restored before every entry.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Any, Final, NamedTuple

from rsm.codec.chain import ZERO_CHAIN
from rsm.codec.record import Entry
from rsm.errors import BadBytes, DivergenceError
from rsm.limits import (
    STRICT_PATHS_MAX,
    STRICT_RESTORE_CREDIT_PER_ENTRY,
    STRICT_RESTORE_LEAVES_FIXED,
    STRICT_RESTORES_PER_SNAPSHOT,
)
from rsm.replica import snapshot
from rsm.replica.answer import Answer, Status, decode
from rsm.replica.replica import Applied, Replica
from rsm.state.arrays import ArrayLedger
from rsm.state.columns import differing_cells
from rsm.state.diff import differences
from rsm.state.leaf import ABSENT, encode
from rsm.state.ledger import Ledger
from rsm.state.store import Store, check_count
from rsm.testing.fingerprints import helper_names

__all__ = ["Deed", "Parting", "Shadow"]


class Deed(NamedTuple):
    """What one handler did: its writes in order, as (container, leaf key, value after), and how it ended."""

    position: int
    step: int
    command: str
    ended: str
    writes: list[tuple[str, Any, Any]]


class Parting(NamedTuple):
    """The first thing in which the two runs of an entry differ. `deed`: the live one's, where a handler did it."""

    what: str
    position: int | None
    command: str
    paths: list[tuple[str, Any, Any]]  # path, live, restored


class Shadow:
    """The copy of one live replica. `before` and `after` go around each entry of the live one."""

    def __init__(self, live: Replica, every: int | None) -> None:
        self.replica = Replica(type(live.machine))
        self._every = every
        self._entries = 0  # since the last restore
        self._credit = 0
        self._root = b""  # of the live replica, when both were last equal
        self.restored_index = 0
        self.restores = 0
        self.is_usable = False
        if live.index == 0:
            self._root, self.is_usable = live.root(), True

    def before(self, live: Replica, *, has_caches: bool = False) -> str:
        """Get ready for the next entry of the live replica. Returns what is wrong with the live one's values, or ""."""
        self._entries += 1
        self._credit += STRICT_RESTORE_CREDIT_PER_ENTRY
        in_step = self.is_usable and self.replica.index == live.index and self._root == live.root()
        if in_step and not self._is_due(live):
            return ""
        self._entries = self._credit = 0
        if has_caches:
            # What `functools` keeps of a method it keeps by machine: only another one has an empty cache.
            self.replica = Replica(type(live.machine))
        return self._restore(live)

    def _is_due(self, live: Replica) -> bool:
        if live.index == 0:
            return False
        if self._every is not None:
            return self._entries >= self._every
        if self._credit < STRICT_RESTORE_LEAVES_FIXED:
            return False
        return self._credit >= STRICT_RESTORE_LEAVES_FIXED + sum(map(_leaf_count, live.store.ledgers.values()))

    def _restore(self, live: Replica) -> str:
        self.is_usable = False
        replica = self.replica
        live.store.digests()  # settles the sums
        try:
            for spec in live.definition.containers:
                # A key that no write has brought is in no snapshot either, and would go unseen.
                ledger = live.store.ledgers[live.definition.prefix + spec.name]
                if len(ledger.container):
                    check_count(ledger)
        except DivergenceError as error:
            return str(error)
        replica.store.clear()
        for name in helper_names(replica.machine):
            del replica.machine.__dict__[name]
        replica.machine._set_up()
        is_whole = live.agreement.cases or self.restores % STRICT_RESTORES_PER_SNAPSHOT == 0
        try:
            (_through_snapshot if is_whole else _through_leaves)(live, replica)
        except BadBytes:
            try:
                live.store.verify()
            except DivergenceError as error:
                return str(error)
            raise
        replica.schema, replica.roots, replica.is_lone = live.schema, dict(live.roots), live.is_lone
        replica.confirmed_index = live.confirmed_index
        self._root = live.root()
        self.restored_index = live.index
        self.restores += 1
        self.is_usable = True
        return ""

    def after(
        self, live: Replica, entry: Entry, applied: Applied, deeds: list[Deed], again: Callable[[], list[Deed]]
    ) -> Parting | None:
        """Apply the entry here too, and compare. `again` returns what the handlers did here."""
        if not self.is_usable:
            return None
        held = _take_addresses()
        try:
            ours = self.replica.apply(entry)
        except Exception as error:
            self.is_usable = False
            return Parting(f"ran, but stopped a restored copy with {type(error).__name__}: {error}", None, "", [])
        finally:
            del held
        parting = _first_deed(deeds, again(), live.store) or _first_answer(applied.answers, ours.answers)
        root = live.root()
        if self.replica.root() != root:
            found = differences(live.store, self.replica.store, limit=STRICT_PATHS_MAX)
            paths = [(one.path, one.left, one.right) for one in found if not one.path.startswith("rsm.")]
            if parting is None:
                paths = paths or [(one.path, one.left, one.right) for one in found]
                parting = Parting("left another state on a copy restored from a snapshot", None, "", paths)
            elif paths:
                parting = parting._replace(paths=paths)
        self._root = root
        # What has parted once would part again at every later entry: begin anew.
        self.is_usable = parting is None
        return parting

    def query(self, live: Replica, name: str, values: list[Any]) -> bytes | None:
        """The same query on the copy; None if the two are not at one index, or if it raised."""
        if not self.is_usable or self.replica.index != live.index or self._root != live.root():
            return None
        held = _take_addresses()
        try:
            return self.replica.query(name, values)
        except Exception:
            return None
        finally:
            del held


def _take_addresses() -> list[Any]:
    """Memory of every small size: else the second run would be handed what the first let go of, at its addresses."""
    return [(bytearray(size), bytes(size)) for size in range(1, 512, 16) for _ in range(2)]


def _leaf_count(ledger: Ledger) -> int:
    container: Any = ledger.container
    return sum(map(len, dict.values(container))) if ledger.nested else ledger.live_count()


def _through_snapshot(live: Replica, replica: Replica) -> None:
    """All of a replica, as a snapshot of it would bring it to another node."""
    schema, roots = live.schema, dict(live.roots)
    # Snapshots are made of hash points, of machines that have begun; this one is of whatever there is.
    live.schema = schema or live.definition.schema()
    live.roots[live.index] = live.root()
    try:
        snapshot.restore(replica, list(snapshot.parts(live, ZERO_CHAIN)))
    finally:
        live.schema = schema
        live.roots.clear()
        live.roots.update(roots)


def _through_leaves(live: Replica, replica: Replica) -> None:
    """The same at a fraction of the price: the leaves in the order and encoding of a snapshot, without its frames."""
    for name, ledger in live.store.ledgers.items():
        if len(ledger.container):
            leaves = [leaf for bucket, keys in enumerate(ledger.members) if keys for leaf in ledger.leaves(bucket)]
            replica.store.load(name, encode(leaves))
    replica.ring.restore(live.ring.newest, list(live.ring))
    replica.index, replica.term = live.index, live.term
    if replica.root() != live.root():
        raise BadBytes("the leaves do not have the hashes that were booked")


def _first_deed(live: list[Deed], restored: list[Deed], store: Store) -> Parting | None:
    for one, other in zip(live, restored, strict=False):
        if one[:3] != other[:3]:
            break
        paths = _different_writes(one.writes, other.writes, store)
        if one.ended != other.ended:
            what = f"{one.ended}, but on a copy restored from a snapshot it {other.ended}"
        elif paths:
            what = "wrote something else on a copy restored from a snapshot"
        elif not _same(one.writes, other.writes):
            what = "wrote in another order on a copy restored from a snapshot"
        else:
            continue
        return Parting(what, one.position, one.command, paths)
    if len(live) != len(restored):
        longer = max(live, restored, key=len)
        one = longer[min(len(live), len(restored))]
        where = "not on" if longer is live else "only on"
        return Parting(f"ran {where} a copy restored from a snapshot", one.position, one.command, [])
    return None


def _different_writes(
    live: list[tuple[str, Any, Any]], restored: list[tuple[str, Any, Any]], store: Store
) -> list[tuple[str, Any, Any]]:
    one = {(name, key): value for name, key, value in live}
    other = {(name, key): value for name, key, value in restored}
    found: list[tuple[str, Any, Any]] = []
    for name, key in [*one, *(place for place in other if place not in one)]:
        left, right = one.get((name, key), "(not written)"), other.get((name, key), "(not written)")
        ledger = store.ledgers.get(name)
        if isinstance(ledger, ArrayLedger) and type(left) is type(right) is bytes:
            cells = differing_cells(name, ledger.cells, {key: left}, {key: right})
            found.extend(islice(cells, STRICT_PATHS_MAX))
        elif not _same(left, right):
            found.append((f"{name}/{key!r}", left, right))
    return found[:STRICT_PATHS_MAX]


def _same(one: Any, other: Any) -> bool:
    if one is other or one == other:
        return True
    if one is ABSENT or other is ABSENT:
        return False
    try:
        return encode(one) == encode(other)  # structs without equality
    except (TypeError, ValueError, OverflowError):
        return False


def _first_answer(live: list[Answer], restored: list[Answer]) -> Parting | None:
    for position, (one, other) in enumerate(zip(live, restored, strict=False)):
        if one != other:
            what = f"answered {_text(one)}, but {_text(other)} on a copy restored from a snapshot"
            return Parting(what, position, "", [])
    return None


_WORDS: Final = {Status.OK: "", Status.REJECTED: "rejected ", Status.FAILED: "failed ", Status.INVALID: "invalid "}


def _text(answer: Answer) -> str:
    word = _WORDS.get(Status(answer.status), f"{Status(answer.status).name} ")
    return f"{word}{decode(answer.body)!r}" if answer.body else word.strip()
