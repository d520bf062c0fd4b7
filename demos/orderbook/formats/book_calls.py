"""What ITCH and LOBSTER messages do to a book of references, as the call of its method.

One table serves both hosts: `apply` calls a `ReferenceBook` in this process, a replay sends the command of the same
name and arguments to the machine that holds one.
"""

from __future__ import annotations

from typing import Final

from demos.orderbook.formats.itch import (
    AddOrder,
    AddOrderAttributed,
    BrokenTrade,
    Cancel,
    CrossTrade,
    Delete,
    Executed,
    ExecutedWithPrice,
    Message,
    Raw,
    Replace,
    StockDirectory,
    SystemEvent,
    Trade,
    TradingAction,
)
from demos.orderbook.formats.lobster import Event, LobsterRow
from demos.orderbook.records import BUY, SELL
from demos.orderbook.reference_book import ReferenceBook

# (name, arguments) of a method of ReferenceBook, or of one of the commands NOTES that only the machine has.
Call = tuple[str, tuple[int | str, ...]]

NOTES: Final = frozenset({"list_stock", "set_state", "note"})
# A LOBSTER file is about one stock and does not name it.
LOBSTER_STOCK: Final = 1


def itch_call(message: Message) -> Call:
    """The call that an ITCH message stands for; `note` with its type for one that says nothing of the book."""
    match message:
        case AddOrder() | AddOrderAttributed():
            side = BUY if message.side == "B" else SELL
            return "add", (message.locate, message.ref, side, message.shares, message.price)
        case Executed() | ExecutedWithPrice() | Cancel():
            return "reduce", (message.locate, message.ref, message.shares)
        case Delete():
            return "delete", (message.locate, message.ref)
        case Replace():
            return "replace", (message.locate, message.old_ref, message.ref, message.shares, message.price)
        case StockDirectory():
            return "list_stock", (message.locate, message.stock)
        case TradingAction():
            return "set_state", (message.locate, message.state)
        case SystemEvent():
            return "note", (message.locate, "S")
        case Trade():
            return "note", (message.locate, "P")
        case CrossTrade():
            return "note", (message.locate, "Q")
        case BrokenTrade():
            return "note", (message.locate, "B")
        case Raw():
            return "note", (message.locate, message.type)


def lobster_call(row: LobsterRow) -> Call:
    """The call that a LOBSTER message stands for; `note` with its type for one that says nothing of the book."""
    match row.type:
        case Event.NEW:
            return "add", (LOBSTER_STOCK, row.order_id, BUY if row.direction > 0 else SELL, row.size, row.price)
        case Event.CANCEL_PART | Event.EXECUTE_VISIBLE:
            return "reduce", (LOBSTER_STOCK, row.order_id, row.size)
        case Event.DELETE:
            return "delete", (LOBSTER_STOCK, row.order_id)
        case _:
            return "note", (LOBSTER_STOCK, str(row.type.value))


def apply(book: ReferenceBook, message: Message) -> bool:
    """Apply an ITCH message to a book; whether it says anything of it. Raises `ReferenceBookError`."""
    name, arguments = itch_call(message)
    if name in NOTES:
        return False
    getattr(book, name)(*arguments)
    return True
