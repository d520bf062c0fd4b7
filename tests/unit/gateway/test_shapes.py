"""Types and values as JSON has them: random values of every kind of type go there and come back the same."""

from __future__ import annotations

import enum
import random
from typing import Annotated, Any

import msgspec
import pytest

import rsm
from rsm.gateway.shapes import json_type, positional, shown
from rsm.schemas.drawing import draw_value, extreme_value


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Inner(rsm.Struct):
    number: int
    data: bytes = b"x"


class Left(rsm.Struct, tag="left"):
    inner: Inner


class Right(rsm.Struct, tag="right"):
    items: tuple[Inner, ...]
    colour: Colour = Colour.RED


class Loose(msgspec.Struct, rename="camel"):
    """A record that is an object already, with other names, and holds one that is not."""

    the_inner: Inner
    by_name: dict[str, Inner]


class Tree(msgspec.Struct):
    """A result may contain itself."""

    below: list[Tree]


TYPES: list[Any] = [
    int,
    str,
    bytes,
    Colour,
    Inner,
    Left | Right,
    Left | Right | None,
    Loose,
    tuple[Inner, int],
    tuple[Inner, ...],
    list[Loose],
    dict[str, Inner],
    dict[int, bytes],
    Annotated[str, rsm.Meta(max_length=3)],
    Annotated[int, rsm.Meta(gt=0)] | None,
    tuple[tuple[Left | Right, Colour], ...],
]


def there_and_back(declared: Any, value: Any, *, strings: bool) -> Any:
    """A value as JSON, read as arguments are, as its own type would be decoded."""
    text = msgspec.json.encode(shown(value, strings=strings))
    read = msgspec.json.decode(text, type=json_type(declared), strict=not strings)
    return msgspec.msgpack.decode(msgspec.msgpack.encode(positional(read)), type=declared)


@pytest.mark.parametrize("declared", TYPES, ids=str)
@pytest.mark.parametrize("strings", [False, True])
def test_values_go_there_and_back(declared: Any, strings: bool) -> None:
    """Nothing is lost or taken for something else; only text may be, where text is taken for integers."""
    chance = random.Random(1)
    values = [draw_value(declared, chance) for _ in range(50)]
    for value in [*values, extreme_value(declared, high=False), extreme_value(declared, high=True)]:
        assert there_and_back(declared, value, strings=strings) == value


def test_records_are_objects() -> None:
    """With their names, tag first, at any depth; bytes are base64 and enums their values."""
    assert shown(Right((Inner(1, b"\xff"),), Colour.BLUE)) == {
        "type": "right",
        "items": [{"number": 1, "data": "/w=="}],
        "colour": 2,
    }
    assert shown(Loose(Inner(2), {"a": Inner(3)})) == {
        "theInner": {"number": 2, "data": "eA=="},
        "byName": {"a": {"number": 3, "data": "eA=="}},
    }
    assert json_type(Inner) is json_type(Inner)


def test_what_cannot_be_told_apart_stays_as_it_is() -> None:
    """A record or a map would both be objects; one that contains itself has no end."""
    assert json_type(Inner | dict[str, int]) == Inner | dict[str, int]
    assert json_type(Tree) is Tree
    assert there_and_back(Inner | dict[str, int], {"a": 1}, strings=False) == {"a": 1}


@pytest.mark.parametrize("value", [2**53, -(2**53), 2**63 - 1, -(2**63)])
def test_large_integers(value: int) -> None:
    """Numbers, or text on request; up to 2**53 - 1 always numbers."""
    assert shown([value, 1]) == [value, 1]
    assert shown([value, 1], strings=True) == [str(value), 1]
    assert shown(2**53 - 1, strings=True) == 2**53 - 1
    assert shown(True, strings=True) is True
