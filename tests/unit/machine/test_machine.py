"""A machine's attributes are its declared state and nothing else; queries read and never write."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import rsm
from rsm.errors import DivergenceError
from rsm.machine.calls import Command
from rsm.machine.machine import open_view
from rsm.machine.surface import RESERVED, ClientSurface
from rsm.replica.answer import Status
from rsm.state.store import Store
from tests.machines import Log, contents
from tests.unit.state.stores import store_of


class Ledgerless:
    """A domain object built around a container."""

    def __init__(self, accounts: rsm.Map[str, int]) -> None:
        self.accounts = accounts

    def total(self) -> int:
        return sum(self.accounts.values())


class Bank(rsm.StateMachine, name="bank"):
    """State, helpers, and handlers that do what they must not."""

    accounts: rsm.Map[str, int]
    limit: int = 10
    note: str | None

    def setup(self) -> None:
        self.helper = Ledgerless(self.accounts)

    @rsm.command()
    def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int:
        self.accounts[to] = self.accounts.get(to, 0) + amount
        self.limit += 1
        return self.helper.total()

    @rsm.command()
    def undeclared(self, ctx: rsm.Context, how: str) -> None:
        self.limit = 99
        if how == "assign":
            self.cache = 1
        elif how == "container":
            self.accounts = {}  # type: ignore[assignment]
        elif how == "helper":
            self.helper = Ledgerless(self.accounts)
        elif how == "delete":
            del self.limit
        elif how == "delete container":
            del self.accounts
        elif how == "type":
            self.limit = "99"  # type: ignore[assignment]

    @rsm.command()
    def call_another(self, ctx: rsm.Context) -> None:
        self.deposit("ann", 5)

    @rsm.command()
    def ask(self, ctx: rsm.Context) -> tuple[int, list[int]]:
        return self.total(), list(self.amounts())

    @rsm.query
    def total(self) -> int:
        return self.helper.total()

    @rsm.query
    def amounts(self) -> Iterator[int]:
        yield from self.helper.accounts.values()


@pytest.mark.parametrize("how", ["assign", "container", "helper", "delete", "delete container", "type"])
def test_undeclared_state_is_refused_and_leaves_nothing(how: str) -> None:
    """No snapshot would restore it: the handler fails, and what it wrote before is undone."""
    log = Log(Bank)
    session = log.open()
    log.run(session, "deposit", "ann", 5)
    before = contents(log.replica)
    assert log.send(session, "undeclared", how).status == Status.FAILED
    assert contents(log.replica) == before == {"accounts": {"ann": 5}, "limit": 11, "note": None}
    assert not hasattr(log.replica.machine, "cache")
    log.replica.store.verify()


def test_attributes_of_a_machine_outside_a_command() -> None:
    """Declared ones cannot be written, others not made, none deleted; the error says what to do."""
    bank = Bank()
    store_of(bank)
    with pytest.raises(TypeError, match="only inside a command"):
        bank.limit = 5
    with pytest.raises(TypeError, match=r"limit: values are int"):
        bank.limit = True
    with pytest.raises(AttributeError, match=r"Bank\.cache is not declared state"):
        bank.cache = 1
    with pytest.raises(AttributeError, match=r"Bank\.limit: attributes of a machine cannot be deleted"):
        del bank.limit
    assert bank.limit == 10


def test_state_cannot_be_written_in_setup() -> None:
    """It runs on every replica, restored ones too, where the log never said so."""

    class Eager(rsm.StateMachine, name="eager"):
        total: int
        names: rsm.Set[str]

        def setup(self) -> None:
            if self.total == 0:
                self.total = 5

    class EagerSet(rsm.StateMachine, name="eager"):
        names: rsm.Set[str]

        def setup(self) -> None:
            self.names.add("a")

    class Replacing(rsm.StateMachine, name="eager"):
        names: rsm.Set[str]

        def setup(self) -> None:
            self.names = {"a"}  # type: ignore[assignment]

    for machine in (Eager, EagerSet):
        with pytest.raises(TypeError, match="only inside a command"):
            machine()
    with pytest.raises(AttributeError, match=r"Replacing\.names is a container"):
        Replacing()


def test_handlers_share_code_and_queries_but_not_commands() -> None:
    """A query may be asked from a handler; a command may not be called."""
    log = Log(Bank)
    session = log.open()
    log.run(session, "deposit", "ann", 5)
    assert log.run(session, "ask") == [5, [5]]
    assert log.send(session, "call_another").status == Status.FAILED
    assert isinstance(Bank.deposit, Command)


def test_helpers_see_the_containers_of_their_machine() -> None:
    """Those of a view see the view's, so a streaming query reads one index through them too."""
    log = Log(Bank)
    session = log.open()
    log.run(session, "deposit", "ann", 5)
    view, close = open_view(log.replica.machine)
    bank: Any = view
    log.run(session, "deposit", "bob", 7)
    log.run(session, "deposit", "ann", 1)
    assert (bank.total(), bank.limit, list(bank.amounts())) == (5, 11, [5])
    assert log.replica.machine.total() == 13  # type: ignore[attr-defined]
    with pytest.raises((TypeError, AttributeError)):
        bank.limit = 5
    close()


def test_a_machine_inside_is_no_client() -> None:
    """Everything that a proxy can do besides commands and queries refuses to work in a handler."""
    bank = Bank()
    calls: dict[str, Any] = {
        "once": lambda: bank.once("key"),
        "outcome": lambda: bank.outcome("key"),
        "session": lambda: bank.session(),
        "pipeline": lambda: bank.pipeline(),
        "events": lambda: bank.events(),
        "events_async": lambda: bank.events_async(),
        "snapshot": lambda: bank.snapshot(),
        "status": lambda: bank.status(),
        "close": lambda: bank.close(),
        "reading": lambda: bank.reading("stale"),
        "acking": lambda: bank.acking("confirmed"),
        "stats": lambda: bank.stats,
        "watch": lambda: bank.watch(Bank.deposit),  # type: ignore[arg-type]
    }
    assert set(calls) == RESERVED == {name for name in vars(ClientSurface) if not name.startswith("_")}
    for name, call in calls.items():
        with pytest.raises(TypeError, match=f"{name} belongs to a client"):
            call()
    with pytest.raises(TypeError, match="belongs to a client"):
        bank.__enter__()


def test_mutation_of_the_instance_is_found() -> None:
    """Through its dictionary everything is possible, and found."""
    log = Log(Bank)
    store: Store = log.replica.store
    store.verify()
    vars(log.replica.machine)["limit"] = 11
    with pytest.raises(DivergenceError, match=r"^scalars: "):
        store.verify()
