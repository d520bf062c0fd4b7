"""What tests of observers have in common: a bank that can go wrong in one thread, and ways to read an observer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import rsm
from rsm.replica.batch import FLAG_HASH_POINT
from tests.client_service import Nodes

# The thread whose handlers go wrong, and how: tests plant a bug in one observer of several, and in no node.
PLANTED: dict[int, Callable[[Any, str, int], None]] = {}


class Paid(rsm.Struct, frozen=True, tag=True):
    """Money came in."""

    to: str
    amount: int


class Warned(rsm.Struct, frozen=True, tag=True):
    """An amount was odd."""

    text: str


class Bank(rsm.StateMachine, name="bank", version=1, event=Paid | Warned):
    """Deposits, each with an event."""

    balances: rsm.Map[str, int]

    @rsm.command(version=1)
    def deposit(self, ctx: rsm.Context, to: str, amount: int) -> int:
        self.balances[to] = self.balances.get(to, 0) + amount
        planted = PLANTED.get(threading.get_ident())
        if planted is not None:
            planted(self, to, amount)
        ctx.emit(Paid(to, amount))
        if amount % 2:
            ctx.emit(Warned(f"{amount} is odd"))
        return self.balances[to]

    @rsm.query
    def balance(self, who: str) -> int:
        return self.balances.get(who, 0)

    @staticmethod
    def topic_of(event: Paid | Warned) -> str:
        return f"paid/{event.to}" if isinstance(event, Paid) else "warned"


class Other(rsm.StateMachine, name="other", version=1):
    """Another machine."""

    count: int


def one_more(bank: Bank, to: str, amount: int) -> None:
    """The bug."""
    bank.balances[to] += 1  # the bug


@contextmanager
def planted(bug: Callable[[Any, str, int], None] = one_more) -> Iterator[None]:
    """In this thread every deposit goes wrong."""
    PLANTED[threading.get_ident()] = bug
    try:
        yield
    finally:
        del PLANTED[threading.get_ident()]


def until_index(observer: rsm.Observer[Any], index: int, seconds: float = 10) -> list[rsm.Update]:
    """All updates up to an index."""
    found: list[rsm.Update] = []
    deadline = time.monotonic() + seconds
    while observer.index < index:
        update = observer.next(max(0.0, deadline - time.monotonic()))
        assert update is not None, f"index {index} did not come, it is {observer.status}"
        found.append(update)
    return found


def until(observer: rsm.Observer[Any], condition: Callable[[rsm.Update], Any], seconds: float = 10) -> list[rsm.Update]:
    """All updates up to the first that is as wanted."""
    found: list[rsm.Update] = []
    deadline = time.monotonic() + seconds
    while not found or not condition(found[-1]):
        update = observer.next(max(0.0, deadline - time.monotonic()))
        assert update is not None, f"it did not come: {observer.status}"
        found.append(update)
    return found


def hash_point(nodes: Nodes) -> int:
    """Have one now; its index."""

    def make() -> int:
        index = nodes.log.entry([], FLAG_HASH_POINT).index
        for service in nodes.services:
            service.notify()
        return index

    return nodes.do(make)
