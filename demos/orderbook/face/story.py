"""From the reports of one log entry to the ITCH messages that tell them.

**Places.** A report stream and an ITCH session do not have the same length: one report may need two messages (an
iceberg's tip is executed, the next slice shows) or none (an order that takes and never rests). To be served by anybody
who joins anywhere, a session's sequence numbers must follow from the log alone, so every event of the log has exactly
two places: event n has messages 2n - 1 and 2n. The messages of an entry take the places of its events in order; places
left over hold a system event that says again that the market is open (S, code Q), which changes nothing for a reader.

**Never more than two a report.** The story is told report by report; at its end the market must stand as the machine
does. Where it does not (an order id that died and was used again by another kind of order within one entry), or where
the story would not fit, the entry is told as its net changes: one message for each order touched, one print for each
trade. A report touches at most two orders, and the taker has a report of its own, so that always fits.

**References** are order ids: an order keeps its reference while it lives, U names it twice, and an iceberg shows its
next slice under the same reference, behind all others. A match number is the number of the trade's event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from demos.orderbook.face.resting import BookView, Shown, shown_of
from demos.orderbook.face.stamps import REFERENCE_MASK, Stamp, cross, trade_print
from demos.orderbook.formats.itch import (
    Executed,
    ExecutedWithPrice,
    Message,
    Replace,
)
from demos.orderbook.records import (
    Accepted,
    Cancelled,
    Modified,
    PhaseChanged,
    Report,
    Traded,
    Triggered,
    Uncrossed,
)

PLACES_PER_EVENT: Final = 2

Orders = dict[int, Shown]


def sequence_of(event_number: int) -> int:
    """The sequence number of the last message of an event; the next event begins one behind it."""
    return PLACES_PER_EVENT * event_number


class Entering:
    """An order on its way into the book: what is left of it, and the place that it gave up, if it was modified."""

    def __init__(self, report: Accepted | Modified | Triggered, replaced: Shown | None) -> None:
        self.order_id = report.order_id
        self.instrument = report.instrument
        self.side = report.side
        self.price = report.price
        self.quantity = report.quantity
        self.replaced = replaced


class Story:
    """One entry told report by report. `orders` is the market before it; `moved` is what became of those touched."""

    def __init__(self, orders: Orders, phases: dict[int, int], machine: BookView, stamp: Stamp, first: int) -> None:
        self._orders = orders
        self._phases = phases
        self._machine = machine
        self._stamp = stamp
        self._number = first
        self._entering: Entering | None = None
        self._in_cross = False
        self.moved: dict[int, Shown | None] = {}
        self.messages: list[Message] = []
        self.is_sound = True

    def tell(self, reports: Sequence[Report]) -> None:
        """Tell all reports of the entry."""
        tellers: dict[type[Report], Callable[..., None]] = {
            Accepted: self._begin,
            Triggered: self._begin,
            Traded: self._traded,
            Cancelled: self._cancelled,
            Modified: self._modified,
            PhaseChanged: self._phase_changed,
            Uncrossed: self._uncrossed,
        }
        for report in reports:
            tell = tellers.get(type(report))
            if tell is not None:
                tell(report)
            self._number += 1
        self._rest()

    def _find(self, order_id: int) -> Shown | None:
        return self.moved[order_id] if order_id in self.moved else self._orders.get(order_id)

    def _move(self, order_id: int, after: Shown | None) -> None:
        self.messages += self._stamp.change(order_id, self._find(order_id), after)
        self.moved[order_id] = after

    def _begin(self, report: Accepted | Triggered) -> None:
        self._in_cross = False
        if self._entering is None or self._entering.order_id != report.order_id:
            self._rest()
        self._entering = Entering(report, None)

    def _rest(self) -> None:
        """What is left of the order that was entering rests."""
        entering, self._entering = self._entering, None
        if entering is None or not entering.quantity:
            return
        order = self._machine.order(entering.order_id)
        if order is not None and order.trigger:
            return  # a stop waits unseen
        # Its display is in the state; of an order that came and went within the entry nobody could see a tip.
        display = 0 if order is None else order.display
        shown = min(display, entering.quantity) if display else entering.quantity
        hidden = entering.quantity - shown
        after = Shown(entering.instrument, entering.side, entering.price, shown, hidden, display)
        if entering.replaced is None:
            self._move(entering.order_id, after)
            return
        # It goes to the end of its level even if nothing else about it has changed.
        stamp, ref = self._stamp, entering.order_id & REFERENCE_MASK
        seen, shares = stamp.shares(entering.replaced), stamp.shares(after)
        if seen and shares:
            price = stamp.price(after.instrument, after.price)
            self.messages.append(Replace(after.instrument, 0, stamp.timestamp, ref, ref, shares, price))
            self.moved[entering.order_id] = after
        else:
            self._move(entering.order_id, after)

    def _traded(self, report: Traded) -> None:
        if self._in_cross:
            for order_id in (report.maker, report.taker):
                self._crossed(order_id, report)
            return
        entering = self._entering
        if entering is None or entering.order_id != report.taker or entering.quantity < report.quantity:
            self.is_sound = False
            return
        self._leave(entering)
        entering.quantity -= report.quantity
        order = self._find(report.maker)
        if order is None or order.shown < report.quantity:
            self.is_sound = False
            return
        stamp, ref = self._stamp, report.maker & REFERENCE_MASK
        left = order._replace(shown=order.shown - report.quantity)
        shares = stamp.shares(order) - stamp.shares(left)
        if shares:
            self.messages.append(Executed(order.instrument, 0, stamp.timestamp, ref, shares, self._number))
        else:
            self.messages.append(trade_print(stamp, report, self._number))
        self.moved[report.maker] = left if left.shown else None
        if not left.shown and left.hidden:
            self._move(report.maker, next_slice(left))

    def _crossed(self, order_id: int, report: Traded) -> None:
        """An order of an auction trades: one message, not printable, since the cross is printed as a whole."""
        order = self._find(order_id)
        if order is None or order.shown < report.quantity:
            self.is_sound = False
            return
        stamp, ref = self._stamp, order_id & REFERENCE_MASK
        left = order._replace(shown=order.shown - report.quantity)
        seen = stamp.shares(order)
        if not left.shown and left.hidden:
            after = next_slice(left)
            if seen:
                price = stamp.price(after.instrument, after.price)
                self.messages.append(
                    Replace(after.instrument, 0, stamp.timestamp, ref, ref, stamp.shares(after), price)
                )
            self.moved[order_id] = after
            return
        shares = seen - stamp.shares(left)
        if shares:
            price = stamp.price(report.instrument, report.price)
            self.messages.append(
                ExecutedWithPrice(order.instrument, 0, stamp.timestamp, ref, shares, self._number, "N", price)
            )
        self.moved[order_id] = left if left.shown else None

    def _leave(self, entering: Entering) -> None:
        """A modified order that trades has left its old place before."""
        if entering.replaced is not None:
            self._move(entering.order_id, None)
            entering.replaced = None

    def _cancelled(self, report: Cancelled) -> None:
        entering = self._entering
        if entering is not None and entering.order_id == report.order_id:
            self._leave(entering)
            self._entering = None
        elif self._find(report.order_id) is not None:
            self._move(report.order_id, None)

    def _modified(self, report: Modified) -> None:
        self._in_cross = False
        self._rest()
        before = self._find(report.order_id)
        if before is None:
            self.is_sound = False
            return
        total = before.shown + before.hidden
        market = self._machine.market(report.instrument)
        if report.price == before.price and report.quantity <= total and not (market and market.requeue):
            hidden = max(0, before.hidden - (total - report.quantity))
            self._move(report.order_id, before._replace(shown=report.quantity - hidden, hidden=hidden))
            return
        self._entering = Entering(report, before)

    def _phase_changed(self, report: PhaseChanged) -> None:
        self._in_cross = False
        self._rest()
        is_new = report.instrument not in self._phases
        self._phases[report.instrument] = report.phase
        self.messages += self._stamp.market(report.instrument, report.phase, is_new)

    def _uncrossed(self, report: Uncrossed) -> None:
        self._rest()
        self._in_cross = True
        self.messages.append(cross(self._stamp, report, self._number))


def next_slice(left: Shown) -> Shown:
    """An iceberg whose tip is gone shows the next slice."""
    shown = min(left.display, left.hidden)
    return left._replace(shown=shown, hidden=left.hidden - shown)


def touched_by(report: Report) -> tuple[int, ...]:
    """The orders that a report is about."""
    if isinstance(report, Traded):
        return report.maker, report.taker
    if isinstance(report, Accepted | Cancelled | Modified | Triggered):
        return (report.order_id,)
    return ()


def translate(
    orders: Orders,
    phases: dict[int, int],
    machine: BookView,
    reports: Sequence[Report],
    number: int,
    log_time: int,
) -> tuple[list[Message], dict[int, Shown | None]]:
    """The messages of an entry, one for each of its places, and how the orders that it touched stand after it.

    `orders` is the market before the entry and is not changed; `phases` of the markets are moved on. `machine` is the
    state after it; `number` is that of the log's last event before it, `log_time` in nanoseconds.
    """
    stamp = Stamp(machine, log_time)
    known = set(phases)
    story = Story(orders, phases, machine, stamp, number + 1)
    story.tell(reports)
    # In the order in which they were touched, which is that of their entry.
    ids = list(dict.fromkeys(order_id for report in reports for order_id in touched_by(report)))
    after = {order_id: shown_of(machine.order(order_id)) for order_id in ids}
    places = PLACES_PER_EVENT * len(reports)
    messages = story.messages
    is_told = story.is_sound and all(story._find(order_id) == after[order_id] for order_id in ids)
    if not is_told or len(messages) > places:
        messages = net(orders, after, stamp, story, reports, number + 1, known)
    if len(messages) > places:
        raise ValueError(f"{len(messages)} messages for the {places} places of the events {number + 1} and on")
    messages += [stamp.filler()] * (places - len(messages))
    return messages, after


def net(
    orders: Orders,
    after: dict[int, Shown | None],
    stamp: Stamp,
    story: Story,
    reports: Sequence[Report],
    first: int,
    known: set[int],
) -> list[Message]:
    """An entry as what it changed in all: trades as prints, then each order once. See the module for why it fits."""
    messages: list[Message] = []
    in_cross = False
    for number, report in enumerate(reports, first):
        if isinstance(report, PhaseChanged):
            messages += stamp.market(report.instrument, report.phase, report.instrument not in known)
            known.add(report.instrument)
        elif isinstance(report, Uncrossed):
            messages.append(cross(stamp, report, number))
        elif isinstance(report, Traded) and not in_cross:
            messages.append(trade_print(stamp, report, number))
        in_cross = isinstance(report, Uncrossed) or (in_cross and isinstance(report, Traded))
    for order_id, now in after.items():
        before = orders.get(order_id)
        if before is not None and now is not None and before[:2] != now[:2]:
            # The id lives on as another order: one message cannot say so, two fit because the old one has a report too.
            messages += stamp.change(order_id, before, None)
            before = None
        messages += stamp.change(order_id, before, now)
    return messages
