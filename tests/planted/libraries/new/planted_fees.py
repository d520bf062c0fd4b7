"""Release 2 of a library: half a unit is rounded to the even one."""

from __future__ import annotations


def fee(cents: int) -> int:
    """One per cent."""
    whole, rest = divmod(cents, 100)
    return whole + (rest > 50 or (rest == 50 and whole % 2 == 1))
