#!/usr/bin/env python3
"""What old commands cost: logs that say the same orders as version 1, 2 and 3 of the exchange, replayed in turns.

The exchange of demos/orderbook/releases runs one flow of orders, cancellations and replacements four times: said as
version 3 says it; as version 1 and as version 2, through the upcasters of version 3 (a replacement is split in two);
and as a log from below the floor, whose entries are brought up to the floor before they are applied. Rates count
orders, cancellations and replacements, not commands, of which version 3 needs two for a replacement.
The logs lie in memory: nothing is read from a disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from _common import Options, document, median, progress, run, scratch, show_head, table, taken

import rsm
from demos.orderbook.releases.flow import Flow, Intent
from demos.orderbook.releases.v1 import ExchangeV1
from demos.orderbook.releases.v3 import Exchange
from rsm.codec.record import Entry, RecordKind
from rsm.desync.below_floor import BelowFloor
from rsm.replica.answer import Status
from rsm.replica.batch import ACTIVATE, OPEN_SESSION, encode_call, join_batch, join_item
from rsm.replica.replica import Replica

SEED = 2023
INSTRUMENTS = tuple(range(1, 9))
START = 1_700_000_000 * 10**9
AIM_SPEED_RATIO = 0.7


class Alone(Exchange, name="exchange", version=3):
    """Version 3 after the files of the others were deleted."""


class Scale:
    """How much is measured."""

    def __init__(self, quick: bool) -> None:
        self.orders = 10_000 if quick else 60_000
        self.orders_per_entry = 64
        self.rounds = 7 if quick else 15


class Said:
    """One log, and how it is replayed. `commands`: how many it takes to say all."""

    def __init__(
        self,
        name: str,
        intents: list[Intent],
        per_entry: int,
        version: int,
        machine: type[rsm.StateMachine],
        runs_under: type[rsm.StateMachine],
    ) -> None:
        self.name = name
        self.runs_under = runs_under
        self.is_below = machine is not runs_under
        self.processor_seconds: list[float] = []
        self.entries: list[Entry] = []
        self._in_force = machine.definition.version
        definition = machine.definition
        schema = [definition.name, definition.version, definition.schema(), b"benchmark"]
        self._add(join_item(0, 0, 0, encode_call(ACTIVATE, 1, schema)))
        self._add(join_item(0, 0, 0, encode_call(OPEN_SESSION, 1, ["ann", 0])))
        opened = Replica(machine)
        for entry in self.entries:
            opened.apply(entry)
        number = self._session = next(iter(opened.sessions))
        self._next = opened.sessions[number].next_sequence
        calls: Iterable[Any] = [("list_instrument", 1, (number, f"SYM{number}")) for number in INSTRUMENTS]
        self._say(number, calls)
        self.commands = 0
        for first in range(0, len(intents), per_entry):
            calls = [call for intent in intents[first : first + per_entry] for call in intent.calls(version)]
            self.commands += len(calls)
            self._say(number, calls)

    def more(self, intent: Intent) -> Entry:
        """One more entry, with an order as version 1 says it."""
        self._say(self._session, intent.calls(1))
        return self.entries[-1]

    def _say(self, session: int, calls: Iterable[Any]) -> None:
        items = []
        for name, version, values in calls:
            items.append(join_item(session, self._next, self._next, encode_call(name, version, list(values))))
            self._next += 1
        self._add(*items)

    def _add(self, *items: bytes) -> None:
        index = len(self.entries) + 1
        payload = join_batch(self._in_force, START + index * 10**6, 0, list(items))
        self.entries.append(Entry(index, 1, RecordKind.BATCH, payload))

    def replay(self) -> Replica:
        """Apply the whole log to a new replica, and note what it took."""
        replica = Replica(self.runs_under)
        apply: Callable[..., Any] = replica.apply
        if self.is_below:
            translate = BelowFloor(self.runs_under.definition).translate

            def work() -> None:
                for entry in self.entries:
                    apply(entry, translate(entry))
        else:

            def work() -> None:
                for entry in self.entries:
                    apply(entry)

        self.processor_seconds.append(taken(work).processor_seconds)
        return replica


def taken_orders(count: int) -> list[Intent]:
    """So many of the flow that no book refuses: where one is refused, a replacement and its two halves part."""
    machine = Replica(Exchange)
    replica_log = Said("taken", [], 1, 1, Exchange, Exchange)
    for entry in replica_log.entries:
        machine.apply(entry)
    flow, found = iter(Flow(SEED, INSTRUMENTS, 1)), list[Intent]()
    while len(found) < count:
        intent = next(flow)
        applied = machine.apply(replica_log.more(intent))
        if applied.answers[0].status == Status.OK:
            found.append(intent)
    return found


def orders_of(replica: Replica) -> Any:
    """The live orders: equal for all."""
    machine: Any = replica.machine
    return sorted((order_id, order.quantity) for order_id, order in machine.orders.items())


def measure(options: Options, scale: Scale | None = None) -> dict[str, Any]:
    """The whole benchmark."""
    scale = scale or Scale(options.quick)
    with scratch(options) as directory:
        found = document("upcasting", options, directory, "none")
    intents = taken_orders(scale.orders)
    logs = [
        Said("version_3", intents, scale.orders_per_entry, 3, Exchange, Exchange),
        Said("version_2_upcast", intents, scale.orders_per_entry, 2, Exchange, Exchange),
        Said("version_1_upcast", intents, scale.orders_per_entry, 1, Exchange, Exchange),
        Said("version_1_below_floor", intents, scale.orders_per_entry, 1, ExchangeV1, Alone),
    ]
    books = []
    for number in range(scale.rounds):
        books = [orders_of(log.replay()) for log in logs]
        progress(f"round {number + 1}: " + ", ".join(f"{log.processor_seconds[-1]:.2f} s" for log in logs))
    if any(book != books[0] for book in books):
        raise RuntimeError("the books differ: what was measured is not the same work")
    base = logs[0]
    found |= {
        "aim_speed_ratio": AIM_SPEED_RATIO,
        "rounds": scale.rounds,
        "orders": scale.orders,
        "orders_per_entry": scale.orders_per_entry,
        "logs": [],
    }
    for log in logs:
        ratios = [ours / own for ours, own in zip(base.processor_seconds, log.processor_seconds, strict=True)]
        found["logs"].append(
            {
                "name": log.name,
                "commands": log.commands,
                "orders_per_second": round(scale.orders / median(log.processor_seconds, 6)),
                "processor_microseconds_per_order": median([1e6 * one / scale.orders for one in log.processor_seconds]),
                "speed_ratio": median(ratios),
                "speed_ratio_min": round(min(ratios), 2),
            }
        )
    return found


def show(found: dict[str, Any]) -> None:
    """Print the document as tables."""
    show_head(found)
    print(f"the aim is {found['aim_speed_ratio']} of the speed of version 3; time is the processor's, in microseconds")
    for log in found["logs"]:
        rows = [(name.replace("_", " "), value) for name, value in log.items() if name != "name"]
        table(log["name"].replace("_", " "), rows)


if __name__ == "__main__":
    run(__doc__.partition("\n")[0], measure, show)
