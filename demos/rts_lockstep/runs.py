"""Unit numbers in few bytes: an ascending list as (first, how many) pairs in a row, `[3, 2, 9, 1]` for 3, 4 and 9.

An army that was set up or trained together is a handful of runs where its list would be hundreds of numbers: that is
what lets everybody's orders through a modem.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def to_runs(units: Iterable[int]) -> tuple[int, ...]:
    """The runs of these numbers, whatever their order; repeated ones count once."""
    runs: list[int] = []
    for unit in sorted(set(units)):
        if runs and unit == runs[-2] + runs[-1]:
            runs[-1] += 1
        else:
            runs += (unit, 1)
    return tuple(runs)


def from_runs(runs: Sequence[int], units_max: int) -> tuple[int, ...]:
    """The numbers again, ascending. `ValueError` for what is not runs of numbers below `units_max`, in order."""
    if len(runs) % 2:
        raise ValueError("units come in runs of (first, how many)")
    units: list[int] = []
    end = 0
    for first, count in zip(runs[::2], runs[1::2], strict=True):
        if first < end or count < 1 or first + count > units_max:
            raise ValueError(f"no run of units: {count} from {first} on")
        end = first + count
        units.extend(range(first, end))
    return tuple(units)
