"""A machine whose commands touch several places at once, so that half of one would show; and a client on any disk."""

from __future__ import annotations

from typing import Any

import rsm
from rsm.client.proxy import Proxy, open_session
from rsm.node.embedded import Embedded
from rsm.node.storage.disk import Disk


class Ledger(rsm.StateMachine, name="ledger", version=1):
    """Double entry: the sum of all accounts is zero, every booking is in the journal, and each told once."""

    accounts: rsm.SortedMap[str, int]
    journal: rsm.Queue[int]
    bookings: int

    @rsm.command()
    def move(self, ctx: rsm.Context, number: int, source: str, target: str, amount: int) -> int:
        self.accounts[source] = self.accounts.get(source, 0) - amount
        self.bookings += 1
        if amount == 13:
            ctx.reject("unlucky")
        self.accounts[target] = self.accounts.get(target, 0) + amount
        self.journal.push(number)
        ctx.emit(number)
        return self.bookings

    @rsm.command()
    def later(self, ctx: rsm.Context, delay: int, number: int) -> int:
        return ctx.schedule(ctx.now + delay, Ledger.move, number, "timer", "bank", 1)

    @rsm.query
    def numbers(self) -> list[int]:
        return list(self.journal)

    @rsm.query
    def audit(self) -> str:
        """What is wrong; nothing, if all is well."""
        if sum(self.accounts.values()):
            return "the sum is not zero"
        if len(self.journal) != self.bookings:
            return "bookings and journal differ"
        if len(set(self.journal)) != len(self.journal):
            return "a booking is there twice"
        return ""


def open_on(disk: Disk, *, path: str = "ledger", **options: Any) -> Any:
    """A client of a ledger on a disk of the test's."""
    runtime = Embedded(Ledger, path, disk=disk, **options)
    try:
        session = open_session(runtime, "", 0)
    except BaseException:
        runtime.close()
        raise
    return Proxy(runtime, Ledger.definition, session, owns_runtime=True)
