"""Arithmetic that gives the same bits everywhere: random numbers, lengths and directions in integers.

Random numbers are not drawn from a stream: they are a function of the seed and of what they are for (turn, row), so one
more draw elsewhere changes nothing, and nothing has to be remembered. Roots come from a table that integers made.
"""

from __future__ import annotations

from math import isqrt
from typing import Any, Final

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]
Bits = np.ndarray[Any, np.dtype[np.uint64]]

_MASK: Final = 2**64 - 1
_ROOTS_BITS: Final = 16


def _roots() -> Ints:
    roots = np.zeros(1 << _ROOTS_BITS, dtype=np.int64)
    for root in range(1, isqrt(1 << _ROOTS_BITS) + 1):
        roots[(root - 1) * (root - 1) : root * root] = root
    roots.flags.writeable = False
    return roots


# The whole number above the root of each: more than the root of index + 1, or just that.
_ROOT_ABOVE: Final = _roots()


def mix(seed: int, *words: Any) -> Bits:
    """64 random bits for each combination of the words (integers, or arrays of them): SplitMix64's finish, chained."""
    state: Any = np.array([seed & _MASK], dtype=np.uint64)
    for word in (0, *words):
        state = state + np.asarray(word, dtype=np.int64).astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    bits: Bits = state
    return bits


def below(bits: Bits, bound: int) -> Ints:
    """Numbers from 0 to bound - 1 out of random bits (bound < 2**31)."""
    return (((bits >> np.uint64(33)) * np.uint64(bound)) >> np.uint64(31)).astype(np.int64)


def length_above(dx: Ints, dy: Ints) -> Ints:
    """A bound of each vector's length from above, at least 1: never less than the length, at most 1/128 + 1 more."""
    squares = dx * dx + dy * dy
    shift = (
        (squares >= 1 << 16).astype(np.int64) + (squares >= 1 << 20) + (squares >= 1 << 24) + (squares >= 1 << 28)
    ) * 2
    length: Ints = _ROOT_ABOVE[squares >> (shift + shift)] << shift
    return length


def shortened(dx: Ints, dy: Ints, limit: Ints) -> tuple[Ints, Ints]:
    """The vectors, those that are longer than `limit` cut to it (to no more than it, ever)."""
    length = np.maximum(length_above(dx, dy), 1)
    long = dx * dx + dy * dy > limit * limit
    return (
        np.where(long, np.sign(dx) * (np.abs(dx) * limit // length), dx),
        np.where(long, np.sign(dy) * (np.abs(dy) * limit // length), dy),
    )
