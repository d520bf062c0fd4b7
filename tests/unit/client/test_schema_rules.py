"""What one side knows and the other does not: defaults, fields of structs, members of enums (docs/upgrades.md)."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from typing import Any

import pytest

import rsm
from rsm.errors import CallerError, InvalidCommand, WrongMachine
from rsm.replica.answer import Status, decode
from rsm.replica.compatibility import check_schema
from tests.client_service import Nodes
from tests.machines import Log


class Older:
    """What a release had, under the names that it had."""

    class Side(enum.Enum):
        BUY = 0
        SELL = 1

    class Item(rsm.Struct):
        name: str
        count: int

    class Receipt(rsm.Struct):
        number: int


class Newer:
    """What the next one has."""

    class Side(enum.Enum):
        BUY = 0
        SELL = 1
        SHORT = 2

    class Item(rsm.Struct):
        name: str
        count: int
        gift: bool = False

    class Receipt(rsm.Struct):
        number: int
        note: str = "none"


class Shop(rsm.StateMachine, name="shop", version=1):
    """The machine as it was released."""

    sold: rsm.Map[str, int]

    @rsm.command(version=1)
    def sell(self, ctx: rsm.Context, item: Older.Item, side: Older.Side) -> Older.Receipt:
        self.sold[item.name] = item.count
        return Older.Receipt(item.count)

    @rsm.command(version=1)
    def restock(self, ctx: rsm.Context, name: str, count: int = 7) -> int:
        self.sold[name] = count
        return count


class WithField(rsm.StateMachine, name="shop", version=1):
    """A field more in a struct, under the same version."""

    sold: rsm.Map[str, int]

    @rsm.command(version=1)
    def sell(self, ctx: rsm.Context, item: Newer.Item, side: Older.Side) -> Older.Receipt: ...

    @rsm.command(version=1)
    def restock(self, ctx: rsm.Context, name: str, count: int = 9) -> int:
        return count


class WithMember(rsm.StateMachine, name="shop", version=1):
    """A member more in an enum, under the same version."""

    sold: rsm.Map[str, int]

    @rsm.command(version=1)
    def sell(self, ctx: rsm.Context, item: Older.Item, side: Newer.Side) -> Older.Receipt: ...

    @rsm.command(version=1)
    def restock(self, ctx: rsm.Context, name: str, count: int = 7) -> int:
        return count


class Next(rsm.StateMachine, name="shop", version=1):
    """Both, as they should be: under a new version, with the old types kept under their old names."""

    sold: rsm.Map[str, int]

    @rsm.command(version=2)
    def sell(self, ctx: rsm.Context, item: Newer.Item, side: Newer.Side) -> Newer.Receipt:
        self.sold[item.name] = item.count
        return Newer.Receipt(item.count, f"{side.name}, {'a gift' if item.gift else 'no gift'}")

    @rsm.command(version=1)
    def restock(self, ctx: rsm.Context, name: str, count: int = 9) -> int:
        self.sold[name] = count
        return count

    sell_1 = rsm.upcast_fields("sell", from_version=1, old={"item": Older.Item, "side": Older.Side})

    @rsm.downcast("sell", to_version=1)
    def sell_as_it_was(item: Newer.Item, side: Newer.Side) -> tuple[Older.Item, Older.Side]:
        if side is Newer.Side.SHORT or item.gift:
            raise rsm.InvalidCommand("neither shorts nor gifts, until the cluster is upgraded")
        return Older.Item(item.name, item.count), Older.Side(side.value)


@pytest.fixture(params=[Shop, Next])
def nodes(request: pytest.FixtureRequest) -> Iterator[Nodes]:
    """A node of the older release, or of the newer."""
    running = Nodes(1, request.param)
    yield running
    running.close()


@pytest.mark.parametrize(("client", "what"), [(WithField, "gift:bool"), (WithMember, "SHORT=2")])
def test_a_client_whose_types_differ_is_told_before_it_sends(nodes: Nodes, client: Any, what: str) -> None:
    """What the machine would drop or misread is not sent at all."""
    with rsm.connect(client, nodes.addresses, timeout_seconds=5) as shop:
        item: Any = Newer.Item("a", 1, True) if client is WithField else Older.Item("a", 1)
        side = Older.Side.BUY if client is WithField else Newer.Side.SHORT
        with pytest.raises(
            InvalidCommand, match=r"sell: version 1 is .* on the machine and .* in this client"
        ) as caught:
            shop.sell(item, side)
        assert what in str(caught.value)
        assert str(caught.value).endswith("raise its version and add an upcaster")
        assert shop.restock("b") == (9 if client is WithField else 7)
    assert "a" not in nodes.do(lambda: dict(nodes.log.replica.machine.sold))  # type: ignore[attr-defined]


@pytest.mark.parametrize("changed", [WithField, WithMember])
def test_a_class_whose_types_differ_does_not_run_the_log(changed: Any) -> None:
    """The same rule for replicas: it would replay to something else."""
    with pytest.raises(WrongMachine, match=r"command 'sell' version 1 was .* raise its version and add an upcaster"):
        check_schema(changed.definition, "shop", 1, Shop.definition.schema())
    check_schema(Next.definition, "shop", 1, Shop.definition.schema())


def test_old_and_new_clients_talk_to_old_and_new_machines(nodes: Nodes) -> None:
    """Both read what they know of a result: fields may come at its end, with a default."""
    is_new = nodes.log.machine is Next
    with rsm.connect(Shop, nodes.addresses, timeout_seconds=5) as shop:
        assert shop.sell(Older.Item("a", 1), Older.Side.SELL) == Older.Receipt(1)
    with rsm.connect(Next, nodes.addresses, timeout_seconds=5) as later:
        note = "SELL, no gift" if is_new else "none"
        assert later.sell(Newer.Item("a", 2), Newer.Side.SELL) == Newer.Receipt(2, note)
        if is_new:
            assert later.sell(Newer.Item("a", 2, True), Newer.Side.SHORT).note == "SHORT, a gift"
        else:
            with pytest.raises(InvalidCommand, match="neither shorts nor gifts, until the cluster is upgraded"):
                later.sell(Newer.Item("a", 2, True), Newer.Side.SELL)


def test_defaults_are_filled_in_by_the_client() -> None:
    """The log has all values: a default may change, and what was written stays what it was."""
    log = Log(Shop)
    session = log.open()
    assert log.send(session, "restock", "a").status == Status.INVALID
    assert log.run(session, "restock", "a", 7) == 7
    assert log.send(session, "restock", "a", 7, "more").status == Status.INVALID
    log.machine = Next
    assert log.replayed().machine.sold == {"a": 7}  # type: ignore[attr-defined]


def test_what_no_typed_client_sends_is_read_alike_everywhere() -> None:
    """Elements behind a struct's last field are not read, missing ones have the field's default; an unknown member is
    invalid.
    """
    log = Log(Next)
    session = log.open()
    assert log.run(session, "sell", ["a", 1, True, "more"], 2, version=2) == [1, "SHORT, a gift"]
    assert log.run(session, "sell", ["a", 1], 2, version=2) == [1, "SHORT, no gift"]
    assert log.send(session, "sell", ["a"], 2, version=2).status == Status.INVALID
    assert log.send(session, "sell", ["a", 1], 3, version=2).status == Status.INVALID
    assert log.send(session, "sell", ["a", 1], 2, version=1).status == Status.INVALID
    assert decode(log.send(session, "sell", ["a", 1, True], 0, version=1).body) == [1, "BUY, no gift"]
    assert log.replayed().root() == log.replica.root()


def test_a_result_that_an_old_client_cannot_read_took_effect() -> None:
    """So a new member does not belong into the result of a command that old clients send."""

    class Tells(rsm.StateMachine, name="tells", version=1):
        @rsm.command(version=1)
        def tell(self, ctx: rsm.Context) -> Newer.Side:
            return Newer.Side.SHORT

    class Asks(rsm.StateMachine, name="tells", version=1):
        @rsm.command(version=1)
        def tell(self, ctx: rsm.Context) -> Older.Side: ...

    nodes = Nodes(1, Tells)
    with (
        rsm.connect(Asks, nodes.addresses, timeout_seconds=5) as client,
        pytest.raises(
            CallerError, match=re.escape("tell: took effect, but its result is not what its annotation says")
        ),
    ):
        client.tell()
    nodes.close()
