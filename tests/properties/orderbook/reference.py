"""A matcher that is plainly right and slow: one list of orders, sorted anew for every step.

It follows the rules as the documentation of `demos.orderbook` words them and shares no code with the book but the
report records. One instrument; the same reports in the same order are expected from both.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from demos.orderbook.records import (
    AUCTION,
    CANCEL_NEWEST,
    CANCEL_OLDEST,
    CLOSED,
    CONTINUOUS,
    FOK,
    HALTED,
    HALTED_AUCTION,
    IOC,
    MARKET,
    POST_ONLY,
    SLICES_MAX,
    Accepted,
    Cancelled,
    Modified,
    Operation,
    PhaseChanged,
    Reason,
    Refused,
    Report,
    Traded,
    Triggered,
    Uncrossed,
)

# The market's collar to begin with.
PRICES_MAX = 60


@dataclass
class Resting:
    order_id: int
    side: int
    price: int
    shown: int
    hidden: int
    owner: int
    flags: int
    display: int
    time: int
    trigger: int = 0

    @property
    def open(self) -> int:
        return self.shown + self.hidden


@dataclass
class Reference:
    """The book of instrument 1."""

    requeue: bool
    low: int = 1
    high: int = PRICES_MAX
    phase: int = CONTINUOUS
    reference: int = 0
    last: int = 0
    time: int = 0
    orders: list[Resting] = field(default_factory=list)
    reports: list[Report] = field(default_factory=list)

    def tick(self) -> int:
        self.time += 1
        return self.time

    def find(self, order_id: int) -> Resting | None:
        return next((order for order in self.orders if order.order_id == order_id), None)

    def side(self, side: int) -> list[Resting]:
        """Resting orders of a side, best price first, then first come; market orders ahead of all."""
        sign = 1 if side else -1
        waiting = [order for order in self.orders if order.side == side and not order.trigger]
        return sorted(waiting, key=lambda order: (order.price != MARKET, sign * order.price, order.time))

    def refuse(self, order_id: int, operation: Operation, reason: Reason) -> None:
        self.reports.append(Refused(order_id, operation, reason))

    def cancelled(self, order: Resting, reason: Reason) -> None:
        self.orders.remove(order)
        self.reports.append(Cancelled(order.order_id, 1, order.side, order.price, order.open, reason))

    # Commands

    def place(
        self, order_id: int, side: int, quantity: int, price: int, owner: int, flags: int, display: int, trigger: int
    ) -> None:
        refused = self.why_not(order_id, quantity, price, flags, display, trigger)
        if refused is None and not trigger and self.phase == CONTINUOUS:
            if flags & POST_ONLY and self.makers(side, price):
                refused = Reason.WOULD_TAKE
            elif flags & FOK and not self.could_fill(side, quantity, price, owner, flags):
                refused = Reason.NOT_FILLABLE
        if refused is not None:
            self.refuse(order_id, Operation.PLACE, refused)
            return
        self.reports.append(Accepted(order_id, 1, side, price, quantity))
        order = Resting(order_id, side, price, quantity, 0, owner, flags, display, self.tick(), trigger)
        if trigger:
            self.orders.append(order)
        elif self.phase == AUCTION:
            self.rest(order)
        else:
            self.enter(order)
        self.elect()

    def why_not(
        self, order_id: int, quantity: int, price: int, flags: int, display: int, trigger: int
    ) -> Reason | None:
        if self.find(order_id):
            return Reason.DUPLICATE_ORDER
        if quantity < 1:
            return Reason.BAD_QUANTITY
        if price != MARKET and not self.low <= price <= self.high:
            return Reason.OUTSIDE_COLLAR
        at_once = bool(flags & (IOC | FOK))
        if flags & IOC and flags & FOK:
            return Reason.BAD_TERMS
        if flags & POST_ONLY and (at_once or trigger or price == MARKET):
            return Reason.BAD_TERMS
        if display and (at_once or price == MARKET or quantity > display * SLICES_MAX):
            return Reason.BAD_TERMS
        if self.phase not in (CONTINUOUS, AUCTION) or (self.phase == AUCTION and at_once and not trigger):
            return Reason.WRONG_PHASE
        return None

    def cancel(self, order_id: int, owner: int) -> None:
        order = self.find(order_id)
        if order is None or order.owner != owner:
            self.refuse(order_id, Operation.CANCEL, Reason.UNKNOWN_ORDER)
        else:
            self.cancelled(order, Reason.NONE)

    def modify(self, order_id: int, quantity: int, price: int, owner: int) -> None:
        order = self.find(order_id)
        refused = None
        if order is None or order.owner != owner:
            self.refuse(order_id, Operation.MODIFY, Reason.UNKNOWN_ORDER)
            return
        if order.trigger:
            refused = Reason.STOP_PENDING
        elif quantity < 1:
            refused = Reason.BAD_QUANTITY
        elif price != order.price and price == MARKET:
            refused = Reason.BAD_PRICE
        elif price != order.price and not self.low <= price <= self.high:
            refused = Reason.OUTSIDE_COLLAR
        elif order.display and quantity > order.display * SLICES_MAX:
            refused = Reason.BAD_TERMS
        elif self.phase not in (CONTINUOUS, AUCTION):
            refused = Reason.WRONG_PHASE
        elif order.flags & POST_ONLY and self.phase == CONTINUOUS and self.makers(order.side, price):
            refused = Reason.WOULD_TAKE
        if refused is not None:
            self.refuse(order_id, Operation.MODIFY, refused)
            return
        self.reports.append(Modified(order_id, 1, order.side, price, quantity))
        if price == order.price and quantity <= order.open and not self.requeue:
            # What shrinks first is what nobody sees.
            less = order.open - quantity
            order.hidden, order.shown = max(0, order.hidden - less), min(order.shown, quantity)
            return
        self.orders.remove(order)
        order.price, order.shown, order.hidden, order.time = price, quantity, 0, self.tick()
        if self.phase == AUCTION:
            self.rest(order)
        else:
            self.enter(order)
        self.elect()

    def mass_cancel(self, owner: int) -> None:
        # Orders keep their place in the owner's list from their first entry, whatever becomes of them.
        for order in [order for order in self.entered() if order.owner == owner and owner]:
            self.cancelled(order, Reason.MASS_CANCEL)

    def entered(self) -> list[Resting]:
        first: dict[int, int] = {}
        for place, report in enumerate(self.reports):
            if isinstance(report, Accepted):
                first[report.order_id] = place
        return sorted(self.orders, key=lambda order: first[order.order_id])

    def change_phase(self, changes: dict[int, int]) -> bool:
        if self.phase not in changes:
            self.refuse(0, Operation.MARKET, Reason.WRONG_PHASE)
            return False
        self.phase = changes[self.phase]
        self.reports.append(PhaseChanged(1, self.phase))
        self.elect()
        return True

    def halt(self) -> None:
        self.change_phase({CONTINUOUS: HALTED, AUCTION: HALTED_AUCTION})

    def resume(self) -> None:
        self.change_phase({HALTED: CONTINUOUS, HALTED_AUCTION: AUCTION})

    def start_auction(self) -> None:
        self.change_phase({CLOSED: AUCTION, CONTINUOUS: AUCTION, HALTED: AUCTION})

    def uncross(self, phase: int) -> None:
        if self.phase != AUCTION:
            self.refuse(0, Operation.MARKET, Reason.WRONG_PHASE)
            return
        price, volume, surplus = self.auction_price()
        self.reports.append(Uncrossed(1, price, volume, surplus))
        while volume:
            buy, sell = self.side(0)[0], self.side(1)[0]
            quantity = min(buy.shown, sell.shown, volume)
            self.trade(price, quantity, buy, sell.order_id, 1)
            self.reduce(sell, quantity)
            self.last = price
            volume -= quantity
        for side in (0, 1):
            for order in [order for order in self.side(side) if order.price == MARKET]:
                self.cancelled(order, Reason.UNFILLED)
        self.change_phase({AUCTION: phase})

    def auction_price(self) -> tuple[int, int, int]:
        """Each named price and the reference: most volume, least surplus, nearest to the reference."""
        bids, asks = self.side(0), self.side(1)
        touch = [next((o.price for o in orders if o.price != MARKET), 0) for orders in (bids, asks)]
        touch = [price for price in touch if price]
        reference = self.reference or self.last or (sum(touch) // len(touch) if touch else 0)
        if not reference:
            return 0, 0, 0
        results = []
        for price in {reference, *(order.price for order in bids + asks if order.price != MARKET)}:
            demand = sum(order.open for order in bids if order.price == MARKET or order.price >= price)
            supply = sum(order.open for order in asks if order.price <= price)
            results.append((-min(demand, supply), abs(demand - supply), abs(price - reference), price, demand - supply))
        volume, _, _, price, surplus = min(results)
        return (price, -volume, surplus) if volume else (0, 0, 0)

    # Matching

    def makers(self, side: int, price: int) -> list[Resting]:
        """Orders that an order of this side and price would trade with, first to last."""
        limit = price
        if price == MARKET:
            limit = self.low if side else self.high
        return [o for o in self.side(1 - side) if (o.price >= limit if side else o.price <= limit)]

    def could_fill(self, side: int, quantity: int, price: int, owner: int, flags: int) -> bool:
        """Try it on a copy."""
        copy = Reference(self.requeue, self.low, self.high, self.phase, self.reference, self.last, self.time)
        copy.orders = [Resting(**vars(order)) for order in self.orders]
        order = Resting(0, side, price, quantity, 0, owner, flags & ~FOK | IOC, 0, 0)
        copy.enter(order)
        return sum(report.quantity for report in copy.reports if isinstance(report, Traded)) == quantity

    def enter(self, taker: Resting) -> None:
        while taker.shown and (makers := self.makers(taker.side, taker.price)):
            maker = makers[0]
            if maker.owner and maker.owner == taker.owner and taker.flags & (CANCEL_NEWEST | CANCEL_OLDEST):
                if taker.flags & CANCEL_OLDEST:
                    self.cancelled(maker, Reason.SELF_TRADE)
                if taker.flags & CANCEL_NEWEST:
                    self.orders.append(taker)
                    self.cancelled(taker, Reason.SELF_TRADE)
                    return
                continue
            quantity = min(taker.shown, maker.shown)
            taker.shown -= quantity
            self.trade(maker.price, quantity, maker, taker.order_id, taker.side)
        if not taker.shown:
            return
        if taker.flags & IOC or taker.price == MARKET:
            self.orders.append(taker)
            self.cancelled(taker, Reason.UNFILLED)
        else:
            self.rest(taker)

    def rest(self, order: Resting) -> None:
        if order.display:
            order.shown, order.hidden = min(order.display, order.shown), max(0, order.shown - order.display)
        self.orders.append(order)

    def trade(self, price: int, quantity: int, maker: Resting, taker_id: int, side: int) -> None:
        self.reports.append(Traded(1, price, quantity, maker.order_id, taker_id, side))
        self.last = price
        self.reduce(maker, quantity)

    def reduce(self, order: Resting, quantity: int) -> None:
        order.shown -= quantity
        if order.shown:
            return
        if not order.hidden:
            self.orders.remove(order)
            return
        order.shown = min(order.display, order.hidden)
        order.hidden -= order.shown
        order.time = self.tick()

    def elect(self) -> None:
        while self.phase == CONTINUOUS and self.last:
            buys = [o for o in self.orders if o.trigger and o.side == 0 and o.trigger <= self.last]
            sells = [o for o in self.orders if o.trigger and o.side == 1 and o.trigger >= self.last]
            if buys:
                order = min(buys, key=lambda o: (o.trigger, o.time))
            elif sells:
                order = min(sells, key=lambda o: (-o.trigger, o.time))
            else:
                return
            self.orders.remove(order)
            order.trigger, order.time = 0, self.tick()
            self.reports.append(Triggered(order.order_id, 1, order.side, order.price, order.shown))
            reason = None
            if order.price != MARKET and not self.low <= order.price <= self.high:
                reason = Reason.OUTSIDE_COLLAR
            elif order.flags & FOK and not self.could_fill(
                order.side, order.shown, order.price, order.owner, order.flags
            ):
                reason = Reason.NOT_FILLABLE
            if reason is None:
                self.enter(order)
            else:
                self.orders.append(order)
                self.cancelled(order, reason)
