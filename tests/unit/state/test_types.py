"""State may hold only types that encode alike on every replica; any other is refused when the class is created."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Callable
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union

import msgspec
import pytest

import rsm
from rsm.errors import DefinitionError
from rsm.state.types import describe, describe_key
from tests.unit.state.stores import machine_with

T = TypeVar("T")
UserId = NewType("UserId", int)


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Rank(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Order(rsm.Struct):
    order_id: int
    side: Side
    limit: int | None = None


class Nested(rsm.Struct):
    order: Order
    marks: tuple[str, ...]


class TaggedA(rsm.Struct, tag=1):
    a: int


class TaggedB(rsm.Struct, tag=2):
    b: int


class Recursive(rsm.Struct):
    inner: Recursive | None


class Ping(rsm.Struct):
    pong: Pong | None


class Pong(rsm.Struct):
    ping: Ping | None


class HasFloat(rsm.Struct):
    price: float


class HasList(rsm.Struct):
    order: Order
    marks: list[int]


class Unresolved(rsm.Struct):
    gone: Nowhere  # type: ignore[name-defined]  # noqa: F821 -- the point of it


class Mutable(msgspec.Struct, array_like=True):
    number: int


class AsMap(msgspec.Struct, frozen=True):
    number: int


class WithDict(msgspec.Struct, frozen=True, array_like=True, dict=True):
    number: int


class Pair(msgspec.Struct, Generic[T], frozen=True, array_like=True):
    left: T


class Permissions(enum.Flag):
    READ = 1


class Mixed(enum.Enum):
    A = 1
    B = "b"


class Fractions(enum.Enum):
    HALF = 0.5


class Truths(enum.Enum):
    YES = True


class Empty(enum.Enum):
    pass


class Tuple(NamedTuple):
    a: int


@dataclasses.dataclass(frozen=True)
class Data:
    a: int


ALLOWED = [
    (int, "int"),
    (str, "str"),
    (bytes, "bytes"),
    (bool, "bool"),
    (None, "null"),
    (type(None), "null"),
    (int | None, "int|null"),
    (Optional[str], "null|str"),  # noqa: UP045 -- the old spelling reads the same
    (Union[int, str], "int|str"),  # noqa: UP007 -- as above
    (tuple[int, str], "tuple[int,str]"),
    (tuple[int, ...], "tuple[int,...]"),
    (tuple[()], "tuple[]"),
    (tuple[tuple[int, int], ...], "tuple[tuple[int,int],...]"),
    (Literal["b", "a"], "literal['a','b']"),
    (Annotated[int, rsm.Meta(gt=0)], "int(gt=0)"),
    (Annotated[int, rsm.Meta(gt=0, examples=[1], extra={"unhashable": []})], "int(gt=0)"),
    (Annotated[int, rsm.Meta(ge=0), rsm.Meta(le=9, multiple_of=3)], "int(ge=0,le=9,multiple_of=3)"),
    (Annotated[str, rsm.Meta(pattern="(?a)^a", max_length=5)], "str(pattern='(?a)^a',max_length=5)"),
    (tuple[Annotated[int, rsm.Meta(lt=0)], ...] | None, "null|tuple[int(lt=0),...]"),
    (Annotated[int, rsm.Meta(description="a number")], "int"),
    (Side, "enum Side(BUY='buy',SELL='sell')"),
    (Rank, "enum Rank(LOW=1,HIGH=2)"),
    (Order, "struct Order(order_id:int,side:enum Side(BUY='buy',SELL='sell'),limit:int|null)"),
    (
        Nested,
        "struct Nested(order:struct Order(order_id:int,side:enum Side(BUY='buy',SELL='sell'),limit:int|null),"
        "marks:tuple[str,...])",
    ),
    (TaggedA | TaggedB, "struct TaggedA(a:int)|struct TaggedB(b:int)"),
]
REFUSED = [
    (float, "float"),
    (complex, "complex"),
    (object, "object"),
    (Any, "Any"),
    (list[int], "list"),
    (list, "list"),
    (dict[str, int], "dict"),
    (set[int], "set"),
    (frozenset[int], "frozenset"),
    (bytearray, "bytearray"),
    (tuple, "tuple"),
    (tuple[int, float], "float"),
    (tuple[list[int], ...], "list"),
    (int | float, "float"),
    (datetime.datetime, "datetime"),
    (UserId, "UserId"),
    (T, "T"),
    (Tuple, "Tuple"),
    (Data, "Data"),
    (Callable[[], int], "Callable"),
    (Mutable, "Mutable"),
    (AsMap, "AsMap"),
    (WithDict, "WithDict"),
    (Pair[int], "Pair"),
    (HasFloat, r"HasFloat\.price: float"),
    (HasList, r"HasList\.marks: list"),
    (Unresolved, "Nowhere"),
    (Recursive, r"Recursive\.inner: Recursive contains itself"),
    (Ping, r"Ping\.pong: Pong\.ping: Ping contains itself"),
    (Permissions, "Permissions"),
    (Mixed, "Mixed"),
    (Fractions, "Fractions"),
    (Truths, "Truths"),
    (Empty, "Empty"),
    (Literal[b"a"], "b'a'"),
    (str | bytes, "str"),  # one MessagePack family: msgspec cannot tell them apart
    (str | Side, "Side"),
    (Order | tuple[int, int], "array"),
    (Order | TaggedA, "Order"),
    (rsm.Map[str, int], "Map"),
    (rsm.Queue[int], "Queue"),
    (Annotated[rsm.Map[str, int], "note"], "Map"),
]


@pytest.mark.parametrize(("declared", "text"), ALLOWED, ids=lambda value: str(value)[:50])
def test_what_state_may_hold_has_one_text(declared: Any, text: str) -> None:
    """The text is part of the schema, so of the root and the log: it never changes."""
    assert describe(declared) == text
    machine_with(map=rsm.Map[int, declared], queue=rsm.Queue[declared], table=rsm.Table[str, rsm.Queue[declared]])


@pytest.mark.parametrize(("declared", "named"), REFUSED, ids=lambda value: str(value)[:50])
def test_other_types_are_refused_by_name(declared: Any, named: str) -> None:
    """As a value of any container; the error names the class, the attribute and the part."""
    for container in (rsm.Map[int, declared], rsm.SortedMap[int, declared], rsm.Table[int, rsm.Queue[declared]]):
        with pytest.raises(DefinitionError, match=rf"^Made\.where: .*{named}"):
            machine_with(where=container)
    if declared != rsm.Queue[int]:
        with pytest.raises(DefinitionError, match=rf"^Made\.where: .*{named}"):
            machine_with(where=rsm.Queue[declared])


@pytest.mark.parametrize(
    ("declared", "named"),
    [case for case in REFUSED if case[1] not in ("Map", "Queue") or "Annotated" in str(case[0])],
    ids=lambda value: str(value)[:50],
)
def test_other_types_are_refused_as_scalars(declared: Any, named: str) -> None:
    """A plain attribute is held to the same rule."""
    with pytest.raises(DefinitionError, match=rf"^Made\.where: .*{named}"):
        machine_with(where=declared)


KEYS = [
    (int, "int"),
    (str, "str"),
    (bytes, "bytes"),
    (tuple[int, str], "tuple[int,str]"),
    (tuple[bytes], "tuple[bytes]"),
    (Annotated[str, rsm.Meta(min_length=1)], "str(min_length=1)"),
]
NO_KEYS = [
    bool,
    float,
    None,
    Side,
    Rank,
    Order,
    int | str,
    int | None,
    Any,
    tuple[int, ...],
    tuple[()],
    tuple,
    tuple[int, bool],
    tuple[int, tuple[int, int]],
    tuple[Annotated[int, rsm.Meta(gt=0)], str],
    Literal[1],
    frozenset[int],
]


@pytest.mark.parametrize(("declared", "text"), KEYS, ids=lambda value: str(value)[:50])
def test_what_a_key_may_be(declared: Any, text: str) -> None:
    """int, str, bytes, and fixed tuples of these."""
    assert describe_key(declared) == text
    machine_with(a=rsm.Map[declared, int], b=rsm.SortedMap[declared, int], c=rsm.Set[declared])


@pytest.mark.parametrize("declared", NO_KEYS, ids=lambda value: str(value)[:50])
def test_other_keys_are_refused(declared: Any) -> None:
    """Types without one total order that is the same everywhere, and those that equal one another."""
    for container in (
        rsm.Map[declared, int],
        rsm.SortedMap[declared, int],
        rsm.Set[declared],
        rsm.Table[declared, rsm.Queue[int]],
    ):
        with pytest.raises(DefinitionError, match=r"^Made\.where: .* cannot be a key"):
            machine_with(where=container)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (rsm.Map, "Map takes 2 types"),
        (rsm.SortedMap, "SortedMap takes 2 types"),
        (rsm.Set, "Set takes 1 type"),
        (rsm.Queue, "Queue takes 1 type"),
        (rsm.Table, "Table takes 2 types"),
        (rsm.Table[int, int], "a table's value is a queue"),
        (rsm.Table[int, rsm.Map[int, int]], "a table's value is a queue"),
        (rsm.Map[str, rsm.Map[str, int]], "Map"),
        (rsm.Map[str, rsm.Queue[int]], "Queue"),
        (rsm.Queue[rsm.Queue[int]], "Queue"),
    ],
    ids=str,
)
def test_containers_are_declared_whole_and_not_nested(declared: Any, message: str) -> None:
    """A container without its types, or inside another, is refused by name."""
    with pytest.raises(DefinitionError, match=rf"^Made\.where: .*{message}"):
        machine_with(where=declared)


@pytest.mark.parametrize(
    ("declared", "default", "value"),
    [
        (int, ..., 0),
        (str, ..., ""),
        (bytes, ..., b""),
        (bool, ..., False),
        (int | None, ..., None),
        (Annotated[int, rsm.Meta(ge=0)], ..., 0),
        (int, 5, 5),
        (Side, Side.SELL, Side.SELL),
        (tuple[int | None, str], (None, "a"), (None, "a")),
        (int | None, 3, 3),
    ],
    ids=str,
)
def test_scalars_begin_with_their_default(declared: Any, default: Any, value: Any) -> None:
    """Zero, empty or None where that fits; otherwise the class assigns one."""
    machine = machine_with({} if default is ... else {"where": default}, where=declared)
    assert machine.where == value


@pytest.mark.parametrize(
    ("declared", "default", "message"),
    [
        (Side, ..., "needs a default value"),
        (tuple[int, int], ..., "needs a default value"),
        (tuple[int | str | None, int], ..., "needs a default value"),
        (Order, ..., "needs a default value"),
        (Annotated[int, rsm.Meta(gt=0)], ..., "its default: Expected `int` >= 1"),
        (int, True, "its default: values are int"),
        (int, "5", "its default: values are int"),
        (int, 2**63, "its default: values are int"),
        (tuple[int, ...], [1], "its default: values are tuple"),
        (Side, "buy", "its default: values are enum"),
        (rsm.Map[str, int], {}, "a container begins empty"),
        (rsm.Queue[int], None, "a container begins empty"),
    ],
    ids=str,
)
def test_a_default_that_does_not_fit_is_refused(declared: Any, default: Any, message: str) -> None:
    """When the class is created, not when the machine is opened."""
    body = {} if default is ... else {"where": default}
    with pytest.raises(DefinitionError, match=rf"^Made\.where: {message}"):
        machine_with(body, where=declared)
