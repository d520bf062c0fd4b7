"""What a resting order takes in memory, on plain and on tracked containers, each measured in a process of its own.

A process that has done other things has freed memory to use again, so its size says nothing.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from collections.abc import Callable

from _common import resident_bytes
from _flow import INSTRUMENTS, Flow

from demos.orderbook.book import Book
from demos.orderbook.machine import OrderBook
from demos.orderbook.plain import new_book
from rsm.replica.replica import Replica

WARM_ORDERS = 2_000
BATCH_ORDERS = 1_000


def bytes_per_order(kind: str, orders: int) -> int | None:
    """Bytes that a resting order adds to a fresh process; None where the system does not tell."""
    command = [sys.executable, os.path.abspath(__file__), kind, str(orders)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return int(text) if text else None


def measure(kind: str, orders: int) -> int | None:
    """The same, in this process."""
    begin: Callable[[], None]
    if kind == "plain":
        book = new_book()
        begin = end = gc.isenabled  # nothing to do
    else:
        replica = Replica(OrderBook)
        book, begin, end = replica.machine.book, replica.store.begin, replica.store.end
    begin()
    for instrument in range(INSTRUMENTS):
        book.list_instrument(_drop, instrument, f"SYM{instrument}")
    end()
    flow = Flow(1, book)
    place(book, flow, WARM_ORDERS, begin, end)
    gc.collect()
    before = resident_bytes()
    place(book, flow, orders, begin, end)
    gc.collect()
    after = resident_bytes()
    return None if before is None or after is None else round((after - before) / orders)


def place(book: Book, flow: Flow, orders: int, begin: Callable[[], object], end: Callable[[], object]) -> None:
    """Fill the book, in batches."""
    begin()
    for number, command in enumerate(flow.grow(orders), 1):
        *terms, flags = command.values
        book.place(_drop, *terms, command.trader + 1, flags)
        if number % BATCH_ORDERS == 0:
            end()
            begin()
    end()
    flow.grown(orders)


def _drop(_: object) -> None:
    """A sink for reports that nobody needs."""


if __name__ == "__main__":
    print(measure(sys.argv[1], int(sys.argv[2])) or "")
