"""The operator's commands: which instruments there are, what bounds their prices, and the phases they go through.

    CLOSED --start_auction--> AUCTION --uncross--> CONTINUOUS or CLOSED
    CONTINUOUS --start_auction--> AUCTION            (a closing auction)
    CONTINUOUS --halt--> HALTED --resume--> CONTINUOUS, or --start_auction--> AUCTION
    AUCTION --halt--> HALTED_AUCTION --resume--> AUCTION

A book may be crossed only during an auction, so nothing leads out of one but the uncross. While a market is halted or
closed, orders can only be cancelled. Stops are elected in the continuous phase alone; those that were reached meanwhile
are elected when it begins.
"""

from __future__ import annotations

from demos.orderbook.auction import Auctions
from demos.orderbook.checks import DONE, refuse
from demos.orderbook.keys import INSTRUMENT_MAX, PRICE_MAX
from demos.orderbook.matching import Sink
from demos.orderbook.records import (
    AUCTION,
    CLOSED,
    CONTINUOUS,
    HALTED,
    HALTED_AUCTION,
    Market,
    Operation,
    Outcome,
    PhaseChanged,
    Reason,
    Tape,
)


class Markets(Auctions):
    """Instruments and their phases. Refusals are reported and answered; they change nothing."""

    __slots__ = ()

    def list_instrument(
        self, sink: Sink, instrument: int, symbol: str, *, phase: int = CONTINUOUS, requeue: bool = False
    ) -> Outcome:
        """Open a market under a number and a symbol of the caller's choice, CONTINUOUS or CLOSED at first.

        `requeue`: every modification gives up the order's place in the queue.
        """
        if not 0 <= instrument <= INSTRUMENT_MAX:
            return refuse(sink, 0, Operation.MARKET, Reason.UNKNOWN_INSTRUMENT)
        if instrument in self.markets or symbol in self.symbols:
            return refuse(sink, 0, Operation.MARKET, Reason.DUPLICATE_INSTRUMENT)
        if phase not in (CONTINUOUS, CLOSED):
            return refuse(sink, 0, Operation.MARKET, Reason.WRONG_PHASE)
        self.markets[instrument] = Market(symbol, phase, requeue, 1, PRICE_MAX, 0)
        self.tapes[instrument] = Tape()
        self.symbols[symbol] = instrument
        sink(PhaseChanged(instrument, phase))
        return DONE

    def set_collar(self, sink: Sink, instrument: int, low: int = 1, high: int = PRICE_MAX) -> Outcome:
        """Bound the prices that orders may name from now on, both ends included; without values, lift the collar."""
        market = self.markets.get(instrument)
        if market is None:
            return refuse(sink, 0, Operation.MARKET, Reason.UNKNOWN_INSTRUMENT)
        if not 1 <= low <= high <= PRICE_MAX:
            return refuse(sink, 0, Operation.MARKET, Reason.BAD_PRICE)
        self.markets[instrument] = Market(market.symbol, market.phase, market.requeue, low, high, market.reference)
        return DONE

    def set_reference(self, sink: Sink, instrument: int, price: int) -> Outcome:
        """Set the reference price of auctions; 0 goes back to the last trade, or the middle of the book."""
        market = self.markets.get(instrument)
        if market is None:
            return refuse(sink, 0, Operation.MARKET, Reason.UNKNOWN_INSTRUMENT)
        if not 0 <= price <= PRICE_MAX:
            return refuse(sink, 0, Operation.MARKET, Reason.BAD_PRICE)
        self.markets[instrument] = Market(
            market.symbol, market.phase, market.requeue, market.collar_low, market.collar_high, price
        )
        return DONE

    def halt(self, sink: Sink, instrument: int) -> Outcome:
        """Stop a market: until it resumes, orders can only be cancelled."""
        return self._change_phase(sink, instrument, {CONTINUOUS: HALTED, AUCTION: HALTED_AUCTION})

    def resume(self, sink: Sink, instrument: int) -> Outcome:
        """Go on where the halt came: in continuous trading (stops that were reached are elected), or in the auction."""
        outcome = self._change_phase(sink, instrument, {HALTED: CONTINUOUS, HALTED_AUCTION: AUCTION})
        if not outcome.reason:
            self._elect(sink, instrument)
        return outcome

    def start_auction(self, sink: Sink, instrument: int) -> Outcome:
        """Let orders gather. From CLOSED this opens a new session, with a new tape; it also reopens a halted market."""
        market = self.markets.get(instrument)
        outcome = self._change_phase(sink, instrument, {CLOSED: AUCTION, CONTINUOUS: AUCTION, HALTED: AUCTION})
        if not outcome.reason and market is not None and market.phase == CLOSED:
            tape = self.tapes[instrument]
            self.tapes[instrument] = Tape(last=tape.last, last_quantity=tape.last_quantity, stops=tape.stops)
        return outcome

    def uncross(self, sink: Sink, instrument: int, phase: int = CONTINUOUS) -> Outcome:
        """End an auction: trade at its price (see `auction`), then go on CONTINUOUS (stops are elected) or CLOSED."""
        market = self.markets.get(instrument)
        if market is None:
            return refuse(sink, 0, Operation.MARKET, Reason.UNKNOWN_INSTRUMENT)
        if market.phase != AUCTION or phase not in (CONTINUOUS, CLOSED):
            return refuse(sink, 0, Operation.MARKET, Reason.WRONG_PHASE)
        self._uncross(sink, instrument)
        self._change_phase(sink, instrument, {AUCTION: phase})
        self._elect(sink, instrument)
        return DONE

    def _change_phase(self, sink: Sink, instrument: int, changes: dict[int, int]) -> Outcome:
        market = self.markets.get(instrument)
        if market is None:
            return refuse(sink, 0, Operation.MARKET, Reason.UNKNOWN_INSTRUMENT)
        if market.phase not in changes:
            return refuse(sink, 0, Operation.MARKET, Reason.WRONG_PHASE)
        phase = changes[market.phase]
        self.markets[instrument] = Market(
            market.symbol, phase, market.requeue, market.collar_low, market.collar_high, market.reference
        )
        sink(PhaseChanged(instrument, phase))
        return DONE
