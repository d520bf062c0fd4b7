"""What fails the schema of a command is an error that names the field, before it reaches any log."""

from __future__ import annotations

import datetime
import enum
import uuid
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rsm
from rsm.codec import cbor
from rsm.errors import InvalidCommand
from rsm.machine.values import Signature


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Rank(enum.IntEnum):
    LOW = 1


class Price(rsm.Struct, frozen=True):
    cents: Annotated[int, rsm.Meta(gt=0)]
    currency: str


class Order(rsm.Struct, frozen=True):
    order_id: int
    price: Price | None
    sides: tuple[Side, ...] = ()


class Tagged(rsm.Struct, frozen=True, tag="t"):
    number: int


class Loose(msgspec.Struct):
    text: str
    more: list[Price] = []  # msgspec copies it


def plain(to: str, amount: Annotated[int, rsm.Meta(gt=0)], note: str = "", urgent: bool = False) -> None: ...
def rich(side: Side, order: Order, rank: Rank = Rank.LOW, loose: Loose | None = None) -> None: ...
def nested(orders: list[Order], by_name: dict[str, Loose], pair: tuple[int, Price], tagged: Tagged) -> None: ...
def nothing() -> None: ...
def raw(data: bytes, many: list[int]) -> None: ...


def signature(function: Any) -> Signature:
    """The signature of a function without self and context."""
    return Signature.of(f"command {function.__name__}", function, 0, {})


PLAIN, RICH, NESTED, NOTHING, RAW = map(signature, (plain, rich, nested, nothing, raw))
PRICE, ORDER = Price(5, "EUR"), Order(1, Price(5, "EUR"), (Side.BUY,))
GOOD_NESTED = ([ORDER], {"a": Loose("x")}, (1, PRICE), Tagged(5))

GOOD: list[tuple[Signature, tuple[Any, ...], dict[str, Any], list[Any]]] = [
    (PLAIN, ("ann", 5), {}, ["ann", 5, "", False]),
    (PLAIN, ("ann", 5, "hi", True), {}, ["ann", 5, "hi", True]),
    (PLAIN, ("ann",), {"amount": 5}, ["ann", 5, "", False]),
    (PLAIN, (), {"amount": 5, "to": "ann", "urgent": True}, ["ann", 5, "", True]),
    (PLAIN, ("", 2**63 - 1), {}, ["", 2**63 - 1, "", False]),
    (PLAIN, ("ann", Rank.LOW), {}, ["ann", 1, "", False]),
    (RICH, (Side.BUY, ORDER), {}, ["buy", [1, [5, "EUR"], ("buy",)], 1, None]),
    (RICH, ("buy", [1, None]), {}, ["buy", [1, None], 1, None]),
    (RICH, (Side.SELL, Order(1, None)), {"loose": Loose("x", [PRICE])}, None),
    (NESTED, GOOD_NESTED, {}, None),
    (NOTHING, (), {}, []),
    (RAW, (b"\x00", [1, 2]), {}, [b"\x00", [1, 2]]),
    (RAW, (b"", ()), {}, [b"", ()]),
]

BAD: list[tuple[Signature, tuple[Any, ...], dict[str, Any], str | None, str]] = [
    # unknown, missing, doubled fields
    (PLAIN, (), {}, "to", "to: missing"),
    (PLAIN, ("ann",), {}, "amount", "amount: missing"),
    (PLAIN, (), {"amount": 5}, "to", "to: missing"),
    (PLAIN, ("ann", 5), {"amount": 5}, "amount", "amount: given twice"),
    (PLAIN, ("ann", 5), {"amuont": 5}, "amuont", "amuont: unknown field"),
    (PLAIN, ("ann",), {"amount": 5, "ctx": 5}, "ctx", "ctx: unknown field"),
    (PLAIN, ("ann", 5, "", False, 1), {}, None, "takes 4 values, got 5"),
    (NOTHING, (1,), {}, None, "takes 0 values, got 1"),
    (NOTHING, (), {"x": 1}, "x", "x: unknown field"),
    # wrong types
    (PLAIN, ("ann", "5"), {}, "amount", "amount: Expected `int`, got `str`"),
    (PLAIN, (5, 5), {}, "to", "to: Expected `str`, got `int`"),
    (PLAIN, ("ann", True), {}, "amount", "amount: Expected `int`, got `bool`"),
    (PLAIN, ("ann", 5.0), {}, "amount", "amount: Expected `int`, got `float`"),
    (PLAIN, ("ann", None), {}, "amount", "amount: Expected `int`, got `None`"),
    (PLAIN, ("ann", 5, "", 1), {}, "urgent", "urgent: Expected `bool`, got `int`"),
    (PLAIN, (b"ann", 5), {}, "to", "to: Expected `str`, got `bytes`"),
    (PLAIN, (datetime.datetime(2020, 1, 1), 5), {}, "to", "to: Expected `str`, got `datetime`"),
    (PLAIN, (uuid.UUID(int=1), 5), {}, "to", "to: Expected `str`, got `UUID`"),
    (PLAIN, (Side.BUY, 5), {}, "to", "to: Expected `str`, got `Side`"),
    (PLAIN, (object(), 5), {}, "to", "to: Encoding objects of type object is unsupported"),
    (RAW, (bytearray(b"a"), []), {}, "data", "data: Expected `bytes`, got `bytearray`"),
    (RAW, (memoryview(b"a"), []), {}, "data", "data: Expected `bytes`, got `memoryview`"),
    (RAW, (b"", [object()]), {}, "many", "many: Encoding objects of type object is unsupported"),
    (RAW, (b"", [1, "2"]), {}, "many", "many[1]: Expected `int`, got `str`"),
    (RAW, (b"", 5), {}, "many", "many: Expected `array`, got `int`"),
    # out of range
    (PLAIN, ("ann", 0), {}, "amount", "amount: Expected `int` >= 1"),
    (PLAIN, ("ann", -(2**63)), {}, "amount", "amount: Expected `int` >= 1"),
    (PLAIN, ("ann", 2**64), {}, "amount", "amount: can't serialize ints"),
    (PLAIN, ("ann", 2**63), {}, "amount", "amount: Expected `int` of 64 bits with sign, got 9223372036854775808"),
    (PLAIN, ("\ud800", 5), {}, "to", "to: 'utf-8' codec can't encode"),
    (RAW, (b"", [2**63]), {}, "many", "many: Expected `int` of 64 bits"),
    (RICH, ("buy", Order(2**63, None)), {}, "order", "order: Expected `int` of 64 bits"),
    (RICH, ("buy", Order(2**64, None)), {}, "order", "order: can't serialize ints"),
    (RICH, (Side.BUY, Order(1, Price(1, "\ud800"))), {}, "order", "order: 'utf-8' codec can't encode"),
    # enums and structs
    (RICH, ("hold", ORDER), {}, "side", "side: Invalid enum value 'hold'"),
    (RICH, (Side.BUY, ORDER, 2), {}, "rank", "rank: Invalid enum value 2"),
    (RICH, (Side.BUY, ORDER, True), {}, "rank", "rank: Expected `int`, got `bool`"),
    (RICH, (Side.BUY, None), {}, "order", "order: Expected `array`, got `None`"),
    (RICH, (Side.BUY, [1]), {}, "order", "order: Expected `array` of at least length 2, got 1"),
    (RICH, (Side.BUY, Order(1, Price(0, "EUR"))), {}, "order", "order.price.cents: Expected `int` >= 1"),
    (RICH, (Side.BUY, Order("1", None)), {}, "order", "order.order_id: Expected `int`, got `str`"),
    (RICH, (Side.BUY, Order(1, None, ("buy", "hold"))), {}, "order", "order.sides[1]: Invalid enum value"),
    (RICH, (Side.BUY, ORDER, 1, Loose(5)), {}, "loose", "loose.text: Expected `str`, got `int`"),
    (
        RICH,
        (Side.BUY, ORDER, 1, Loose("", [PRICE, Price(1, 2)])),
        {},
        "loose",
        "loose.more[1].currency: Expected `str`",
    ),
    (
        NESTED,
        ([ORDER, Order(1, Price("5", ""))], *GOOD_NESTED[1:]),
        {},
        "orders",
        "orders[1].price.cents: Expected `int`",
    ),
    (NESTED, ([ORDER], {"a": Loose(1)}, *GOOD_NESTED[2:]), {}, "by_name", "by_name[...].text: Expected `str`"),
    (NESTED, (*GOOD_NESTED[:2], (1, Price(1, None)), Tagged(5)), {}, "pair", "pair[1].currency: Expected `str`"),
    (NESTED, (*GOOD_NESTED[:2], (1,), Tagged(5)), {}, "pair", "pair: Expected `array` of length 2, got 1"),
    (NESTED, (*GOOD_NESTED[:3], Tagged("5")), {}, "tagged", "tagged.number: Expected `int`, got `str`"),
]


@pytest.mark.parametrize(("given_to", "args", "kwargs", "values"), GOOD)
def test_a_call_that_fits_becomes_plain_values(
    given_to: Signature, args: tuple[Any, ...], kwargs: dict[str, Any], values: list[Any] | None
) -> None:
    """Positional, defaults filled in, enums and structs as they travel; CBOR carries them and they decode typed."""
    bound = given_to.bind(args, kwargs)
    assert values is None or bound == values
    carried = cbor.decode(cbor.encode(bound), bytes_max=10_000)
    typed = given_to.decode(given_to.encode(carried))
    assert given_to.decode(given_to.encode(given_to.bind(typed, {}))) == typed
    assert len(typed) == given_to.count


@pytest.mark.parametrize(("given_to", "args", "kwargs", "field", "message"), BAD)
def test_a_call_that_does_not_fit_names_the_field(
    given_to: Signature, args: tuple[Any, ...], kwargs: dict[str, Any], field: str | None, message: str
) -> None:
    """One line: the command, the field down to the part at fault, what was expected."""
    with pytest.raises(InvalidCommand) as caught:
        cbor.encode(given_to.bind(args, kwargs))
    assert str(caught.value).startswith(f"{given_to.what}: {message}")
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "field"),
    [(["ann"], None), (["ann", 5, "", False, 1], None), ([5, 5, "", False], "to"), (["ann", 0, "", False], "amount")],
)
def test_values_from_a_log_are_checked_again(values: list[Any], field: str | None) -> None:
    """Any client may have written them; a wrong number of values is told too."""
    with pytest.raises(InvalidCommand) as caught:
        PLAIN.decode(PLAIN.encode(values))
    assert caught.value.field == field


def test_a_default_does_not_change() -> None:
    """What one call does to its values does not show in the next."""

    def lists(first: list[int] = [1], second: Loose | None = Loose("x")) -> None: ...  # noqa: B006, B008

    checked = signature(lists)
    once = checked.bind((), {})
    once[0].append(2)
    once[1]["text"] = "y"
    checked.decode(checked.encode(checked.bind((), {})))[0].append(3)
    assert checked.bind((), {}) == [[1], {"text": "x", "more": []}]


JUNK = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | st.sampled_from([*Side, Rank.LOW]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from([PLAIN, RICH, NESTED, NOTHING, RAW]),
    st.lists(JUNK, max_size=5),
    st.dictionaries(st.sampled_from(["to", "amount", "side", "order", "data", "many", "x"]), JUNK, max_size=2),
)
def test_any_call_fits_or_is_an_invalid_command(given_to: Signature, args: list[Any], kwargs: dict[str, Any]) -> None:
    """No other exception comes out, whatever goes in; what fits is carried and decoded as it was."""
    try:
        bound = given_to.bind(tuple(args), kwargs)
        carried = cbor.decode(cbor.encode(bound), bytes_max=100_000)
    except InvalidCommand:
        return
    assert given_to.encode(carried) == given_to.encode(bound)
    assert len(given_to.decode(given_to.encode(carried))) == given_to.count


def test_a_bottomless_value_is_refused_by_its_field() -> None:
    """A list in itself, and one nested a hundred thousand deep: the caller's mistake, not the end of its thread."""
    bottomless: list[Any] = []
    bottomless.append(bottomless)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for given_to, args in ((RAW, (b"", bottomless)), (RAW, (b"", deep)), (NESTED, ([deep], *GOOD_NESTED[1:]))):
        with pytest.raises(InvalidCommand) as caught:
            given_to.bind(args, {})
        assert caught.value.field in ("many", "orders")
