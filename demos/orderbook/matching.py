"""How orders enter, trade, rest and leave: strict price, then time priority, at the maker's price.

An order is one record in `orders` and one id in the queue of its level; the level's key stands in `prices` while its
queue is not empty. So an order that rests costs two writes (and a third when its level is new, a fourth in the index
of its owner if it has one), a partial fill costs one, and nothing is ever scanned: the best level is one sorted
lookup, the order at the head of a queue another, and an order in the middle leaves by its position.

Everything here assumes that the command was checked; `book.py` does that, so that what is refused has changed nothing.
"""

from __future__ import annotations

from collections.abc import Callable

from demos.orderbook.containers import IdQueue, IdQueues, IntMap, Levels, Symbols
from demos.orderbook.keys import ASK, BID, INSTRUMENT_SHIFT, MIRROR, PLACE_BITS, base_of, level_of
from demos.orderbook.records import (
    CANCEL_BOTH,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    COUNTER_MAX,
    IOC,
    MARKET,
    Cancelled,
    Market,
    Order,
    Outcome,
    Reason,
    Report,
    Tape,
    Traded,
)

# Where reports go: the `append` of a list, or whatever else takes one report after the other.
Sink = Callable[[Report], object]

# Bound here once: looking up a member of an enum costs as much as making a record.
NONE = Reason.NONE
SELF_TRADE = Reason.SELF_TRADE
UNFILLED = Reason.UNFILLED
# What the key of an ask has over that of a bid.
ASK_BIT = 1 << PLACE_BITS


class Matching:
    """The containers of a book, and what happens to orders in a continuous market. It keeps nothing else."""

    __slots__ = ("levels", "markets", "orders", "owned", "prices", "symbols", "tapes")

    def __init__(
        self,
        *,
        orders: IntMap[Order],
        levels: IdQueues,
        prices: Levels,
        owned: IdQueues,
        markets: IntMap[Market],
        tapes: IntMap[Tape],
        symbols: Symbols,
    ) -> None:
        self.orders = orders
        self.levels = levels
        self.prices = prices
        self.owned = owned
        self.markets = markets
        self.tapes = tapes
        self.symbols = symbols

    def _enter(
        self,
        sink: Sink,
        order_id: int,
        instrument: int,
        side: int,
        quantity: int,
        price: int,
        limit: int,
        owner: int,
        slot: int,
        flags: int,
        display: int,
    ) -> Outcome:
        """Match an order against the other side up to `limit`, then let its rest rest at `price`, or cancel it.

        `slot` is the order's position in its owner's queue, or -1 if it is not there yet; an order that already has an
        entry in `orders` and ends here leaves that entry to the caller (`_forget`).
        """
        base = instrument << INSTRUMENT_SHIFT
        if side:
            best = self.prices.ceiling(base)
            far = base + MIRROR - limit
        else:
            best = self.prices.ceiling(base + ASK_BIT)
            far = base + ASK_BIT + limit
        remaining = quantity
        reason = UNFILLED if flags & IOC or price == MARKET else NONE
        if best is not None and best <= far:
            remaining, stopped = self._take(sink, order_id, instrument, side, best, far, quantity, owner, flags)
            if not remaining:
                return Outcome(NONE, quantity, 0)
            if stopped:
                reason = SELF_TRADE
        if reason:
            sink(Cancelled(order_id, instrument, side, price, remaining, reason))
            return Outcome(NONE, quantity - remaining, 0)
        # level_of(), in line: this is where most orders end.
        level = base + ASK_BIT + price if side else base + MIRROR - price
        self._rest(order_id, level, remaining, owner, slot, flags, display)
        return Outcome(NONE, quantity - remaining, remaining)

    def _rest(
        self, order_id: int, level: int, quantity: int, owner: int, slot: int, flags: int, display: int, limit: int = 0
    ) -> None:
        """Put an order at the end of a level. Its owner's index is written only if `slot` is -1.

        A stop has its limit; it shows nothing before it is elected, so it is cut into slices only then.
        """
        queue: IdQueue = self.levels[level]
        if level not in self.levels:
            self.prices[level] = None
        position = queue.push(order_id)
        if slot < 0:
            slot = self.owned[owner].push(order_id) if owner else 0
        if display and display < quantity and not limit:
            self.orders[order_id] = Order(
                level, position, display, owner, slot, flags, quantity - display, display, limit
            )
        else:
            self.orders[order_id] = Order(level, position, quantity, owner, slot, flags, 0, display, limit)

    def _leave(self, level: int, position: int) -> None:
        """Take an order out of its level."""
        self.levels[level].remove(position)
        if level not in self.levels:
            del self.prices[level]

    def _forget(self, order_id: int, order: Order) -> None:
        """Take out the entry of an order that is in no level any more."""
        del self.orders[order_id]
        if order.owner:
            self.owned[order.owner].remove(order.slot)

    def _remove(self, sink: Sink, order_id: int, order: Order, reason: Reason) -> None:
        """Cancel a live order, whatever it waits for."""
        # _leave(), _forget() and the key's parts, in line: most messages of a market are cancellations.
        level = order.level
        self.levels[level].remove(order.position)
        if level not in self.levels:
            del self.prices[level]
        del self.orders[order_id]
        if order.owner:
            self.owned[order.owner].remove(order.slot)
        instrument = level >> INSTRUMENT_SHIFT
        kind = level >> PLACE_BITS & 3
        place = level & MIRROR
        if kind > ASK:
            self._count_stop(instrument, -1)
            price = order.limit
        else:
            price = place if kind or not place else MIRROR - place
        sink(Cancelled(order_id, instrument, kind & 1, price, order.quantity + order.hidden, reason))

    def _count_stop(self, instrument: int, change: int) -> None:
        tape = self.tapes[instrument]
        self.tapes[instrument] = Tape(
            tape.last,
            tape.last_quantity,
            tape.opening,
            tape.high,
            tape.low,
            tape.volume,
            tape.trades,
            tape.stops + change,
        )

    def _take(
        self,
        sink: Sink,
        order_id: int,
        instrument: int,
        side: int,
        level: int,
        far: int,
        quantity: int,
        owner: int,
        flags: int,
    ) -> tuple[int, bool]:
        """Trade with the levels from `level` to `far`, best first.

        Returns what is left of the quantity, and whether self-trade prevention ended it.
        """
        prices, levels, orders = self.prices, self.levels, self.orders
        protect = flags & CANCEL_BOTH if owner else 0
        remaining, stopped = quantity, False
        opening = price = last_quantity = trades = 0
        queue: IdQueue = levels[level]
        place = level & MIRROR
        level_price = MIRROR - place if side else place
        while True:
            position = queue.first()
            maker_id = queue[position]
            maker = orders[maker_id]
            if protect and maker.owner == owner:
                if protect & CANCEL_OLDEST:
                    self._remove(sink, maker_id, maker, SELF_TRADE)
                if protect & CANCEL_NEWEST:
                    stopped = True
                    break
            else:
                price = level_price
                if not trades:
                    opening = price
                trades += 1
                last_quantity = maker.quantity
                if remaining < last_quantity:
                    sink(Traded(instrument, price, remaining, maker_id, order_id, side))
                    orders[maker_id] = Order(
                        level,
                        position,
                        last_quantity - remaining,
                        maker.owner,
                        maker.slot,
                        maker.flags,
                        maker.hidden,
                        maker.display,
                        0,
                    )
                    last_quantity, remaining = remaining, 0
                    break
                sink(Traded(instrument, price, last_quantity, maker_id, order_id, side))
                remaining -= last_quantity
                self._used_up(maker_id, maker, queue)
                if not remaining:
                    break
            if level not in levels:
                following = prices.ceiling(level)
                if following is None or following > far:
                    break
                level = following
                queue = levels[level]
                place = level & MIRROR
                level_price = MIRROR - place if side else place
        if trades:
            self._print(instrument, opening, price, last_quantity, quantity - remaining, trades)
        return remaining, stopped

    def _used_up(self, order_id: int, order: Order, queue: IdQueue) -> None:
        """What the market saw of an order has traded: show its next slice, behind all others, or let it go."""
        level = order.level
        if order.hidden:
            shown = min(order.display, order.hidden)
            # Pushed before the old place is given up, so that a level of one iceberg does not vanish in between.
            position = queue.push(order_id)
            queue.remove(order.position)
            self.orders[order_id] = Order(
                level, position, shown, order.owner, order.slot, order.flags, order.hidden - shown, order.display, 0
            )
            return
        queue.remove(order.position)
        del self.orders[order_id]
        if order.owner:
            self.owned[order.owner].remove(order.slot)
        if level not in self.levels:
            del self.prices[level]

    def _print(self, instrument: int, first: int, last: int, last_quantity: int, volume: int, trades: int) -> None:
        """Write one order's trades, whose prices run from `first` to `last`, to the tape."""
        tape = self.tapes[instrument]
        low, high = (first, last) if first < last else (last, first)
        if tape.trades:
            low = min(low, tape.low)
            high = max(high, tape.high)
            first = tape.opening
        self.tapes[instrument] = Tape(
            last,
            last_quantity,
            first,
            high,
            low,
            min(tape.volume + volume, COUNTER_MAX),
            min(tape.trades + trades, COUNTER_MAX),
            tape.stops,
        )

    def _crosses(self, instrument: int, side: int, price: int) -> bool:
        """Whether an order of this price would trade at once."""
        base = base_of(instrument, BID if side else ASK)
        best = self.prices.ceiling(base)
        return best is not None and best <= level_of(instrument, BID if side else ASK, price)

    def _fillable(self, instrument: int, side: int, limit: int, wanted: int, owner: int, flags: int) -> bool:
        """Whether an order could trade in full at once, given what self-trade prevention would do to it."""
        base = base_of(instrument, BID if side else ASK)
        far = level_of(instrument, BID if side else ASK, limit)
        protect = flags & CANCEL_BOTH if owner else 0
        for level in self.prices.range(base, far + 1):
            behind = 0
            for order_id in self.levels[level]:
                order = self.orders[order_id]
                if protect and order.owner == owner:
                    if protect & CANCEL_NEWEST:
                        return False
                    continue
                wanted -= order.quantity
                behind += order.hidden
                if wanted <= 0:
                    return True
            # Hidden slices come up after every order that was already there.
            wanted -= behind
            if wanted <= 0:
                return True
        return False
