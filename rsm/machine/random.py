"""Random numbers that every replica draws alike: stateless streams of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

A stream is named by (cluster seed, index, position, step, name) and nothing else, so that one more draw somewhere does
not change any other, and a replay draws what was drawn. Not for secrets: anyone who has the log can repeat it.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from typing import Any, TypeVar

import msgspec
import xxhash

T = TypeVar("T")
MASK = 2**64 - 1


class Random:
    """One stream. Draws depend on the stream's name and the number of draws before, on nothing else."""

    __slots__ = ("_state",)

    def __init__(self, seed: int) -> None:
        self._state = seed & MASK

    @classmethod
    def named(cls, *parts: Any) -> Random:
        """The stream with this name: ints, strings and bytes."""
        return cls(xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(parts)))

    def u64(self) -> int:
        """A uniform integer in [0, 2**64)."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & MASK
        z = self._state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound); ValueError unless 1 <= bound <= 2**64."""
        if not 1 <= bound <= MASK + 1:
            raise ValueError(f"the bound must be 1 to 2**64, not {bound}")
        shift = 64 - (bound - 1).bit_length()
        while True:  # rejects at most half of the draws on average, and never biases
            drawn = self.u64() >> shift
            if drawn < bound:
                return drawn

    def between(self, low: int, high: int) -> int:
        """A uniform integer in [low, high], both ends included."""
        return low + self.below(high - low + 1)

    def choice(self, items: Sequence[T]) -> T:
        """A uniform item; ValueError if there is none."""
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[Any]) -> None:
        """Shuffle in place (Fisher-Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]
