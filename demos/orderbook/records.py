"""The words of the order book: sides, flags, phases, reasons, the records it keeps and the reports it gives.

Everything is an integer (or a frozen record of integers): prices in ticks, quantities in lots, no floats, no clocks.
The records are what containers hold and logs carry, so their field order is part of the format: fields are added at
the end and never change meaning.

A *report* is an effect as data: what happened, in the order in which it happened. Business refusals are reports too
(`Refused`, with a reason), never exceptions: a refused command has changed nothing.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import msgspec

BUY: Final = 0
SELL: Final = 1

# The price of an order that names none: it trades at any price that the collar allows.
MARKET: Final = 0
# The owner of orders that have none: they are in no owner's index, and self-trade prevention does not see them.
NOBODY: Final = 0

# Bits of an order's flags. Without IOC and FOK the rest of an order rests (good till cancelled).
IOC: Final = 1  # what does not trade at once is cancelled
FOK: Final = 2  # all at once, or nothing at all
POST_ONLY: Final = 4  # refused if it would take
CANCEL_NEWEST: Final = 8  # self-trade prevention, chosen by the incoming order: its rest is cancelled
CANCEL_OLDEST: Final = 16  # ... the resting order is cancelled, and matching goes on
CANCEL_BOTH: Final = CANCEL_NEWEST | CANCEL_OLDEST
FLAGS_ALL: Final = IOC | FOK | POST_ONLY | CANCEL_BOTH

# Phases of a market.
CONTINUOUS: Final = 0
AUCTION: Final = 1  # orders gather without matching until the uncross
CLOSED: Final = 2
HALTED: Final = 3  # was continuous
HALTED_AUCTION: Final = 4  # was in an auction: its book may be crossed, so it can only go back there

# 2**48 - 1 lots, so that sums over 32,768 of the largest orders stay within 64 bits.
QUANTITY_MAX: Final = 2**48 - 1
# Slices that an iceberg may be cut into: one large order against slices of one lot would trade for hours in one
# command. Exchanges bound it likewise (Xetra: the peak is at least 5 % of the order).
SLICES_MAX: Final = 100
# Orders that one command takes out: a burst of reports and a pause for everyone behind it, so it is bounded.
MASS_CANCEL_ORDERS_MAX: Final = 10_000
# Where counters stop: what containers and logs can hold.
COUNTER_MAX: Final = 2**63 - 1


class Reason(IntEnum):
    """Why a command was refused, or an order was cancelled without being asked to."""

    NONE = 0
    UNKNOWN_INSTRUMENT = 1
    UNKNOWN_ORDER = 2  # never placed, no longer live, or somebody else's
    DUPLICATE_ORDER = 3  # an order of this id is live
    BAD_SIDE = 4
    BAD_QUANTITY = 5
    BAD_PRICE = 6
    BAD_TERMS = 7  # flags, display quantity or trigger that do not go together
    BAD_OWNER = 8
    OUTSIDE_COLLAR = 9
    WRONG_PHASE = 10  # the market is halted or closed, or the order's kind has no place in this phase
    WOULD_TAKE = 11  # post-only
    NOT_FILLABLE = 12  # fill-or-kill
    SELF_TRADE = 13
    UNFILLED = 14  # the rest of an IOC or market order
    STOP_PENDING = 15  # a stop that waits cannot be modified: cancel it and place another
    DUPLICATE_INSTRUMENT = 16
    MASS_CANCEL = 17


class Operation(IntEnum):
    """Which command a refusal answers."""

    PLACE = 0
    CANCEL = 1
    MODIFY = 2
    MARKET = 3  # list_instrument, set_collar, set_reference, halt, resume, start_auction, uncross
    MASS_CANCEL = 4


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of everything kept or reported: frozen, encoded as an array, invisible to the garbage collector.

    Subclasses repeat `frozen=True` for type checkers, which do not see it inherited.
    """


class Order(Record, frozen=True):
    """A live order, as the book keeps it under its id. Its level key holds instrument, side and price.

    `quantity` is what the market sees; `hidden` is behind it, to be shown in slices of `display`. A stop that waits has
    its trigger in the level key, its whole quantity in `quantity`, and the price it will have (or MARKET) in `limit`.
    """

    level: int
    position: int
    quantity: int
    owner: int
    slot: int  # position in the owner's queue; 0 for nobody's
    flags: int
    hidden: int
    display: int
    limit: int


class Market(Record, frozen=True):
    """What is decided about an instrument, and changes rarely."""

    symbol: str
    phase: int
    requeue: bool  # every modification is a cancellation and a new entry, even one that only shrinks
    collar_low: int
    collar_high: int
    reference: int  # for auctions; 0: the last trade's price, or the middle of the book


class Tape(Record, frozen=True):
    """What has been traded in an instrument since its session began; prices are 0 before the first trade.

    `last` outlives the session. `volume` stops counting at 2**63 - 1. `stops` is how many stops wait.
    """

    last: int = 0
    last_quantity: int = 0
    opening: int = 0
    high: int = 0
    low: int = 0
    volume: int = 0
    trades: int = 0
    stops: int = 0


class Outcome(Record, frozen=True):
    """The answer to a command.

    `filled` and `resting` (hidden quantity included) are as of the order's own entry: what a stop that it sets off
    does to it afterwards is in the reports.
    """

    reason: Reason
    filled: int
    resting: int


class OpenOrder(Record, frozen=True):
    """A live order in full, for queries. `trigger` is 0 unless it is a stop that waits; `price` MARKET is none."""

    order_id: int
    instrument: int
    side: int
    price: int
    quantity: int
    hidden: int
    owner: int
    flags: int
    display: int
    trigger: int


class Accepted(Record, frozen=True, tag=0):
    """An order entered. For a stop: it waits for its trigger. Before its trades."""

    order_id: int
    instrument: int
    side: int
    price: int
    quantity: int


class Traded(Record, frozen=True, tag=1):
    """A trade at the maker's price; `side` is the taker's. In an uncross nobody takes: maker is the buy order."""

    instrument: int
    price: int
    quantity: int
    maker: int
    taker: int
    side: int


class Cancelled(Record, frozen=True, tag=2):
    """What was left of an order is gone. `reason` NONE: its owner asked."""

    order_id: int
    instrument: int
    side: int
    price: int
    quantity: int
    reason: Reason


class Modified(Record, frozen=True, tag=3):
    """An order has a new price and open quantity (hidden quantity included). Before the trades that follow from it."""

    order_id: int
    instrument: int
    side: int
    price: int
    quantity: int


class Refused(Record, frozen=True, tag=4):
    """A command was refused and changed nothing. `order_id` is 0 where the command is about no order."""

    order_id: int
    operation: Operation
    reason: Reason


class Triggered(Record, frozen=True, tag=5):
    """A stop was elected and enters as an order of its price. Before its trades."""

    order_id: int
    instrument: int
    side: int
    price: int
    quantity: int


class PhaseChanged(Record, frozen=True, tag=6):
    """A market is in another phase now."""

    instrument: int
    phase: int


class Uncrossed(Record, frozen=True, tag=7):
    """An auction ended at this price (0: nothing could trade); `surplus` is what stayed unmatched there, > 0 to buy."""

    instrument: int
    price: int
    volume: int
    surplus: int


Report = Accepted | Traded | Cancelled | Modified | Refused | Triggered | PhaseChanged | Uncrossed
