"""Where two states differ, path by path: `orders/17/quantity`, `levels/4200/3`, `balances/'ann'`.

Buckets whose sums agree are skipped, so the cost follows the difference and not the state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from rsm.limits import BUCKETS
from rsm.state.arrays import ArrayLedger
from rsm.state.columns import differing_cells
from rsm.state.leaf import ABSENT, encode
from rsm.state.store import Store


class Difference(NamedTuple):
    """One path with both values; `ABSENT` where a side has none."""

    path: str
    left: Any
    right: Any


def differences(left: Store, right: Store, *, limit: int | None = None) -> list[Difference]:
    """Differing paths of two stores, by container and key, at most `limit`."""
    found: list[Difference] = []
    for name in sorted(left.ledgers.keys() | right.ledgers.keys()):
        for difference in _of_container(name, left, right):
            found.append(difference)
            if limit is not None and len(found) >= limit:
                return found
    return found


def _of_container(name: str, left: Store, right: Store) -> Iterator[Difference]:
    ours, theirs = left.ledgers.get(name), right.ledgers.get(name)
    if ours is None or theirs is None:
        yield Difference(name, ABSENT if ours is None else "(declared)", ABSENT if theirs is None else "(declared)")
        return
    ours.settle()
    theirs.settle()
    if isinstance(ours, ArrayLedger) and isinstance(theirs, ArrayLedger) and ours.cells == theirs.cells:
        yield from (Difference(*one) for one in differing_cells(name, ours.cells, ours.columns(), theirs.columns()))
        return
    differing: list[tuple[Any, Any, Any]] = []
    for bucket in range(BUCKETS):
        if ours.sums[bucket] == theirs.sums[bucket]:
            continue
        mine, others = dict(ours.leaves(bucket)), dict(theirs.leaves(bucket))
        for leaf_key in mine.keys() | others.keys():
            one, other = mine.get(leaf_key, ABSENT), others.get(leaf_key, ABSENT)
            if _differ(one, other):
                differing.append((leaf_key, one, other))
    for leaf_key, one, other in sorted(differing, key=lambda item: item[0]):
        key_path = "/".join(repr(part) for part in leaf_key) if ours.nested else _text(leaf_key)
        yield from _of_value(f"{name}/{key_path}", one, other)


def _of_value(path: str, left: Any, right: Any) -> Iterator[Difference]:
    if type(left) is type(right) and isinstance(left, msgspec.Struct):
        for field in left.__struct_fields__:
            if _differ(getattr(left, field), getattr(right, field)):
                yield from _of_value(f"{path}/{field}", getattr(left, field), getattr(right, field))
    elif isinstance(left, tuple) and isinstance(right, tuple) and len(left) == len(right):
        for number, (one, other) in enumerate(zip(left, right, strict=True)):
            if _differ(one, other):
                yield from _of_value(f"{path}/{number}", one, other)
    else:
        yield Difference(path, left, right)


def _differ(left: Any, right: Any) -> bool:
    # By their bytes, as the sums do: True equals 1, and does not hash like it.
    if left is ABSENT or right is ABSENT:
        return left is not right
    try:
        return encode(left) != encode(right)
    except (TypeError, ValueError, OverflowError):  # something that no tracked write would have let in
        return True


def _text(key: Any) -> str:
    return repr(key)
