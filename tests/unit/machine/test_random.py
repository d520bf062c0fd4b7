"""Random streams draw what they always drew: published SplitMix64 vectors, our own names, and no bias."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import rsm

GOLDEN: dict[str, Any] = json.loads((Path(__file__).resolve().parents[2] / "golden" / "random.json").read_text())


@pytest.mark.parametrize("vector", GOLDEN["splitmix64"], ids=lambda vector: str(vector["seed"]))
def test_the_published_vectors(vector: dict[str, Any]) -> None:
    """SplitMix64 as published by Vigna (splitmix64.c), and the vectors that other libraries test with."""
    stream = rsm.Random(vector["seed"])
    assert [stream.u64() for _ in vector["u64"]] == vector["u64"]


@pytest.mark.parametrize("vector", GOLDEN["named"], ids=lambda vector: str(vector["parts"]))
def test_named_streams(vector: dict[str, Any]) -> None:
    """The seed is xxh3-64 over the MessagePack of the parts; every kind of draw from it is pinned."""
    parts = [bytes.fromhex(vector["parts"][0]), *vector["parts"][1:]]
    seed = xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(parts))
    assert rsm.Random.named(*parts).u64() == rsm.Random(seed).u64() == vector["u64"]
    stream = rsm.Random.named(*parts)
    assert [stream.below(6) for _ in vector["below 6"]] == vector["below 6"]
    assert [stream.between(-3, 3) for _ in vector["between -3 and 3"]] == vector["between -3 and 3"]
    assert [stream.below(2**64) for _ in vector["below 2**64"]] == vector["below 2**64"]
    assert [stream.choice("abcde") for _ in vector["choice of abcde"]] == vector["choice of abcde"]
    items = list(range(10))
    stream.shuffle(items)
    assert items == vector["shuffle of ten"]


def test_any_part_of_the_name_makes_another_stream() -> None:
    """Cluster seed, index, position, step and name; and a text is not the bytes of it."""
    base = (b"seed", 1, 2, 0, "name")
    names = [base, (b"Seed", 1, 2, 0, "name"), (b"seed", 2, 2, 0, "name"), (b"seed", 1, 3, 0, "name")]
    names += [
        (b"seed", 1, 2, 1, "name"),
        (b"seed", 1, 2, 0, "Name"),
        (b"seed", 12, 0, "name"),
        (b"seed", 1, -2, 0, "name"),
    ]
    names += [("seed", 1, 2, 0, "name"), (b"seed", 1, 2, 0, b"name"), (b"seed", 2, 1, 0, "name")]
    assert len({rsm.Random.named(*name).u64() for name in names}) == len(names)
    assert rsm.Random.named(*base).u64() == rsm.Random.named(*base).u64()


@given(st.integers(0, 2**64 - 1), st.integers(1, 2**64))
def test_draws_stay_below_their_bound(seed: int, bound: int) -> None:
    """For any seed and bound; a bound of one is 0, whatever is drawn."""
    stream = rsm.Random(seed)
    draws = [stream.below(bound) for _ in range(10)]
    assert all(0 <= draw < bound for draw in draws)
    assert bound > 1 or draws == [0] * 10


@given(st.integers(0, 2**64 - 1), st.lists(st.integers(), max_size=30))
def test_a_shuffle_is_a_permutation(seed: int, items: list[int]) -> None:
    """Nothing is lost or doubled."""
    shuffled = list(items)
    rsm.Random(seed).shuffle(shuffled)
    assert sorted(shuffled) == sorted(items)


@pytest.mark.parametrize("bound", [3, 6, 7, 10])
def test_draws_are_even(bound: int) -> None:
    """Within five standard deviations of even, for bounds that are no powers of two, and every order of three items."""
    stream = rsm.Random(bound)
    counts = Counter(stream.below(bound) for _ in range(12_000))
    share = 12_000 / bound
    assert set(counts) == set(range(bound))
    assert all(abs(count - share) < 5 * (share * (1 - 1 / bound)) ** 0.5 for count in counts.values())
    orders: Counter[tuple[int, ...]] = Counter()
    for _ in range(6_000):
        items = [0, 1, 2]
        stream.shuffle(items)
        orders[tuple(items)] += 1
    assert len(orders) == 6
    assert all(abs(count - 1_000) < 5 * (1_000 * 5 / 6) ** 0.5 for count in orders.values())


def test_bad_bounds_are_refused() -> None:
    """No draw is made from nothing."""
    stream = rsm.Random(1)
    for bound in (0, -1, 2**64 + 1):
        with pytest.raises(ValueError, match=r"the bound must be 1 to 2\*\*64"):
            stream.below(bound)
    with pytest.raises(ValueError, match="the bound"):
        stream.between(3, 2)
    with pytest.raises(ValueError, match="the bound"):
        stream.choice([])
    stream.shuffle([])
    assert stream.u64() == rsm.Random(1).u64(), "a refused draw must not move the stream"
