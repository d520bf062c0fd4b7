"""A machine class that cannot work is an error when it is created, naming the part; any other has a stable schema."""

from __future__ import annotations

import enum
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any, ClassVar

import msgspec
import pytest

import rsm
from rsm.errors import DefinitionError


class Side(enum.Enum):
    BUY = "buy"
    SELL = "sell"


class Order(rsm.Struct, frozen=True):
    order_id: int
    side: Side


class Loose(msgspec.Struct):
    text: str
    many: list[int]


def no_name() -> type:
    class Nameless(rsm.StateMachine):
        total: int

    Nameless()
    return Nameless


def empty_name() -> type:
    class Bad(rsm.StateMachine, name=""):
        total: int

    return Bad


def name_with_half_a_character() -> type:
    class Bad(rsm.StateMachine, name="\ud800"):
        total: int

    return Bad


def name_of_another_type() -> type:
    class Bad(rsm.StateMachine, name=5):  # type: ignore[arg-type]
        total: int

    return Bad


def version_zero() -> type:
    class Bad(rsm.StateMachine, name="bad", version=0):
        total: int

    return Bad


def version_true() -> type:
    class Bad(rsm.StateMachine, name="bad", version=True):
        total: int

    return Bad


def own_init() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        def __init__(self) -> None: ...

    return Bad


def unresolvable_state() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        total: Nowhere  # type: ignore[name-defined]  # noqa: F821

    return Bad


def misspelt_state() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        total: rsm.Mapp[str, int]  # type: ignore[name-defined]

    return Bad


def unresolvable_parameter() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, amount: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    return Bad


def misspelt_parameter() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, amount: rsm.Cents) -> None: ...  # type: ignore[name-defined]

    return Bad


def untyped_parameter() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, amount) -> None: ...  # type: ignore[no-untyped-def]

    return Bad


def keyword_only_parameter() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, *, amount: int) -> None: ...

    return Bad


def star_parameter() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, *amounts: int) -> None: ...

    return Bad


def double_star_parameter() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, **amounts: int) -> None: ...

    return Bad


def float_parameter() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, amount: float) -> None: ...

    return Bad


def float_in_a_list() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, amounts: list[dict[str, float]]) -> None: ...

    return Bad


def any_parameter() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, amount: Any) -> None: ...

    return Bad


def ambiguous_parameter() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, amount: str | bytes) -> None: ...

    return Bad


def default_of_another_type() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, amount: int = "five") -> None: ...  # type: ignore[assignment]

    return Bad


def default_out_of_bounds() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context, amount: Annotated[int, rsm.Meta(gt=0)] = 0) -> None: ...

    return Bad


def no_context() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()  # type: ignore[arg-type]
        def deposit(self, amount: int) -> None: ...

    return Bad


def no_parameters() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()  # type: ignore[arg-type]
        def deposit(self) -> None: ...

    return Bad


def no_self() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.query
        def total() -> int: ...  # type: ignore[misc,empty-body]

    return Bad


def no_parentheses() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command  # type: ignore[arg-type]
        def deposit(self, ctx: rsm.Context) -> None: ...

    return Bad


def async_command() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        async def deposit(self, ctx: rsm.Context) -> None: ...

    return Bad


def generating_command() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context) -> Iterator[int]:
            yield 1

    return Bad


def async_query() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.query
        async def total(self) -> int:
            return 1

    return Bad


def async_generating_query() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.query
        async def total(self) -> AsyncIterator[int]:
            yield 1

    return Bad


def command_version_zero() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command(version=0)
        def deposit(self, ctx: rsm.Context) -> None: ...

    return Bad


def command_version_text() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command("1")  # type: ignore[arg-type]
        def deposit(self, ctx: rsm.Context) -> None: ...

    return Bad


def command_name_with_a_dot() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command(name="rsm.activate")
        def deposit(self, ctx: rsm.Context) -> None: ...

    return Bad


def two_commands_of_one_name() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context) -> None: ...

        @rsm.command(name="deposit")
        def withdraw(self, ctx: rsm.Context) -> None: ...

    return Bad


def two_session_ends() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.on_session_end
        def first(self, ctx: rsm.Context) -> None: ...

        @rsm.on_session_end
        def second(self, ctx: rsm.Context) -> None: ...

    return Bad


def session_end_without_context() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.on_session_end  # type: ignore[arg-type]
        def ended(self) -> None: ...

    return Bad


def container_with_default() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        total: rsm.Map[str, int] = {}  # type: ignore[assignment]  # noqa: RUF012

    return Bad


def state_and_query_of_one_name() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        total: rsm.Map[str, int]

        @rsm.query
        def total(self) -> int: ...  # type: ignore[no-redef,empty-body]

    return Bad


def reserved_state() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        events: rsm.Map[str, int]  # type: ignore[assignment]

    return Bad


def reserved_scalar() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        _sealed: bool

    return Bad


def reserved_command() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command(name="harmless")
        def close(self, ctx: rsm.Context) -> None: ...  # type: ignore[override]

    return Bad


def reserved_command_name() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command(name="close")
        def harmless(self, ctx: rsm.Context) -> None: ...

    return Bad


def reserved_query() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.query
        def status(self) -> int: ...  # type: ignore[override,empty-body]

    return Bad


def bad_event() -> type:
    class Bad(rsm.StateMachine, name="bad", event=float):
        total: int

    return Bad


def ambiguous_event() -> type:
    class Bad(rsm.StateMachine, name="bad", event=Order | Loose):
        total: int

    return Bad


def bad_result() -> type:
    class Bad(rsm.StateMachine, name="bad"):
        @rsm.command()
        def deposit(self, ctx: rsm.Context) -> str | bytes: ...  # type: ignore[empty-body]

    return Bad


BAD: dict[Callable[[], type], str] = {
    no_name: "Nameless has no name",
    empty_name: "Bad: a machine needs a name",
    name_with_half_a_character: "Bad: a machine needs a name",
    name_of_another_type: "Bad: a machine needs a name",
    version_zero: "Bad: version must be an int from 1, not 0",
    version_true: "Bad: version must be an int from 1, not True",
    own_init: "Bad: use setup(self) instead of __init__",
    unresolvable_state: "Bad: name 'Nowhere' is not defined",
    misspelt_state: "Bad: module 'rsm' has no attribute 'Mapp'",
    unresolvable_parameter: "command deposit: name 'Nowhere' is not defined",
    misspelt_parameter: "command deposit: module 'rsm' has no attribute 'Cents'",
    untyped_parameter: "command deposit: parameter 'amount' has no type",
    keyword_only_parameter: "command deposit: parameter 'amount' must be positional",
    star_parameter: "command deposit: parameter 'amounts' must be positional",
    double_star_parameter: "command deposit: parameter 'amounts' must be positional",
    float_parameter: "command deposit: parameter 'amount': float cannot travel",
    float_in_a_list: "command deposit: parameter 'amounts': float cannot travel",
    any_parameter: "command deposit: parameter 'amount': Any cannot travel",
    ambiguous_parameter: "command deposit: parameter 'amount': ",
    default_of_another_type: "command deposit: the default of: amount: Expected `int`, got `str`",
    default_out_of_bounds: "command deposit: the default of: amount: Expected `int` >= 1",
    no_context: "command deposit: the parameter after self is the context",
    no_parameters: "command deposit: its parameters begin with self, ctx",
    no_self: "query total: its parameters begin with self",
    no_parentheses: "deposit: write @rsm.command(version=1), with parentheses",
    async_command: "command deposit: a command returns its result",
    generating_command: "command deposit: a command returns its result",
    async_query: "query total: a query cannot await",
    async_generating_query: "query total: a query cannot await",
    command_version_zero: "command deposit: version must be an int from 1, not 0",
    command_version_text: "command deposit: version must be an int from 1, not '1'",
    command_name_with_a_dot: "command rsm.activate: a command's name must be an identifier",
    two_commands_of_one_name: "command deposit: declared twice",
    two_session_ends: "Bad.second: there is another @rsm.on_session_end",
    session_end_without_context: "on_session_end: its parameters begin with self, ctx",
    container_with_default: "Bad.total: a container begins empty and takes no default",
    state_and_query_of_one_name: "Bad.total: a container begins empty and takes no default",
    reserved_state: "Bad.events: the name is the client's",
    reserved_scalar: "Bad._sealed: the name is the client's or the base class's",
    reserved_command: "Bad.close: the name is the client's",
    reserved_command_name: "Bad.close: the name is the client's",
    reserved_query: "Bad.status: the name is the client's",
    bad_event: "Bad: its event: float cannot travel",
    ambiguous_event: "Bad: its event: ",
    bad_result: "command deposit: its result: ",
}


@pytest.mark.parametrize(("make", "message"), BAD.items(), ids=lambda case: getattr(case, "__name__", ""))
def test_a_class_that_cannot_work_is_refused(make: Callable[[], type], message: str) -> None:
    """When it is created, and the error begins with the part at fault."""
    with pytest.raises(DefinitionError, match=f"^{re.escape(message)}"):
        make()


class Audited(rsm.StateMachine):
    """A mixin: read with the machines that inherit it."""

    changes: int

    @rsm.query
    def change_count(self) -> int:
        """How many changes there were."""
        return self.changes


class Book(Audited, rsm.StateMachine, name="book", version=2, event=Order | None):
    """A machine with everything."""

    limit: ClassVar[int] = 5
    orders: rsm.Map[int, Order]
    side: Side = Side.SELL
    note: str | None

    class Level(rsm.Struct, frozen=True):
        """A type that is declared inside the class."""

        price: int

    levels: rsm.SortedMap[int, Level]

    @rsm.command(version=3)
    def place(
        self, ctx: rsm.Context, side: Side, price: Annotated[int, rsm.Meta(gt=0)], note: Loose | None = None
    ) -> int:
        """Place an order."""
        return self._next(price)

    @rsm.command(name="drop")
    def cancel(self, ctx, order_ids: list[int], /) -> dict[str, list[int]]:  # type: ignore[no-untyped-def]
        """Cancel orders; the context needs no annotation."""
        return {}

    @rsm.upcast("place", from_version=2)
    def _with_note(side: Side, price: int) -> tuple[Side, int, None]:
        return side, price, None

    @rsm.query
    def prices(self, above: int = 0) -> Iterator[int]:
        """A stream."""
        yield from self.levels.range(above)

    @rsm.on_session_end
    def ended(self, ctx: rsm.Context) -> None:
        """Nothing."""

    def _next(self, price: int) -> int:
        return price + 1


SCHEMA = {
    "commands": {
        "drop": {"1": [["order_ids", "list[int]"]]},
        "place": {
            "2": [["side", "enum Side(BUY='buy',SELL='sell')"], ["price", "int"]],
            "3": [
                ["side", "enum Side(BUY='buy',SELL='sell')"],
                ["price", "int(gt=0)"],
                ["note", "null|struct Loose(text:str,many:list[int])"],
            ],
        },
    },
    "queries": {"change_count": [], "prices": [["above", "int"]]},
    "state": {
        "changes": ["scalar", "int"],
        "levels": ["sorted_map", "xxh3-64 sums over msgpack leaves, 1024 buckets; int -> struct Level(price:int)"],
        "note": ["scalar", "null|str"],
        "orders": [
            "map",
            "xxh3-64 sums over msgpack leaves, 1024 buckets; "
            "int -> struct Order(order_id:int,side:enum Side(BUY='buy',SELL='sell'))",
        ],
        "side": ["scalar", "enum Side(BUY='buy',SELL='sell')"],
    },
    "event": "null|struct Order(order_id:int,side:enum Side(BUY='buy',SELL='sell'))",
}


def test_the_schema_of_a_machine() -> None:
    """Names, versions, fields and types as they travel in the log; it is pinned, since old logs hold it."""
    assert Book.definition.schema() == SCHEMA
    assert list(Book.definition.schema()["commands"]) == ["drop", "place"]
    assert (Book.definition.name, Book.definition.version) == ("book", 2)


def test_an_instance_begins_with_its_defaults() -> None:
    """Scalars of mixins too; containers are empty; class variables are no state."""
    book = Book()
    assert (book.changes, book.side, book.note, book.limit) == (0, Side.SELL, None, 5)
    assert (len(book.orders), len(book.levels)) == (0, 0)
    assert "limit" not in Book.definition.scalars
    with pytest.raises(DefinitionError, match="Audited has no name"):
        Audited()


def test_a_machine_may_inherit_another() -> None:
    """The later version overrides by attribute; the older class stays as it was."""

    class BookV3(Book, name="book", version=3):
        count: int

        @rsm.command(version=4)
        def place(self, ctx: rsm.Context, price: int) -> int:  # type: ignore[override]
            return price

        @rsm.upcast("place", from_version=3)
        def _without_side(side: Side, price: int, note: Loose | None) -> tuple[int]:
            return (price,)

    assert BookV3.definition.version == 3
    assert sorted(BookV3.definition.commands) == ["drop", "place"]
    assert sorted(BookV3.definition.commands["place"].steps) == [2, 3]
    assert sorted(BookV3.definition.scalars) == ["changes", "count", "note", "side"]
    assert Book.definition.schema() == SCHEMA

    class Nameless(Book):
        pass

    with pytest.raises(DefinitionError, match="Nameless has no name"):
        Nameless()


def test_local_types_are_found() -> None:
    """A class inside a function sees the function's types, as its own body does."""

    class Local(rsm.Struct, frozen=True):
        number: int

    class Machine(rsm.StateMachine, name="local"):
        held: rsm.Map[int, Local]

        @rsm.command()
        def put(self, ctx: rsm.Context, local: Local) -> Local:
            return local

    assert Machine.definition.schema()["commands"]["put"]["1"] == [["local", "struct Local(number:int)"]]


def test_commands_and_queries_describe_themselves() -> None:
    """On the class they are what the decorators made; calling a command inside the machine is refused."""
    assert repr(Book.place) == "<command place v3>"
    assert repr(Book.cancel) == "<command drop v1>"
    assert repr(Book.prices) == "<query prices>"
    assert Book.place.__doc__ == "Place an order."
    book = Book()
    with pytest.raises(TypeError, match="place is a command: call it on a client"):
        book.place  # noqa: B018
    assert book.change_count() == 0
    assert list(book.prices(3)) == []
