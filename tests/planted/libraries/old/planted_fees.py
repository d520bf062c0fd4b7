"""Release 1 of a library: half a unit is rounded up."""

from __future__ import annotations


def fee(cents: int) -> int:
    """One per cent."""
    return (cents + 50) // 100
