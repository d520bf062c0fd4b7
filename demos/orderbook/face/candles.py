"""Trades as they are printed, and the candles that they make: open, high, low, close by log time."""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

# What a page that is opened gets of the past.
TRADES_KEPT: Final = 100
CANDLES_KEPT: Final = 240
# The lengths on offer: Kraken's shortest, and one for those who do not want to wait.
CANDLE_SECONDS: Final = (5, 60)
SECOND: Final = 10**9


class Print(NamedTuple):
    """One trade. `number` is that of its event in the log; `side` is the taker's."""

    number: int
    log_time: int
    price: int
    quantity: int
    side: int


class Candle:
    """What was traded between `begin` (seconds of log time) and the next candle; prices in ticks."""

    __slots__ = ("begin", "close", "count", "high", "low", "open", "turnover", "volume")

    def __init__(self, begin: int, price: int) -> None:
        self.begin = begin
        self.open = self.high = self.low = self.close = price
        self.volume = self.count = self.turnover = 0

    def add(self, price: int, quantity: int) -> None:
        """One more trade."""
        self.high = max(self.high, price)
        self.low = min(self.low, price)
        self.close = price
        self.volume += quantity
        self.turnover += price * quantity
        self.count += 1


class MarketTape:
    """The trades and candles of one market."""

    def __init__(self) -> None:
        self.trades: deque[Print] = deque(maxlen=TRADES_KEPT)
        self.candles: dict[int, deque[Candle]] = {seconds: deque(maxlen=CANDLES_KEPT) for seconds in CANDLE_SECONDS}

    def add(self, trade: Print) -> None:
        """Print a trade."""
        self.trades.append(trade)
        for seconds, candles in self.candles.items():
            begin = trade.log_time // SECOND // seconds * seconds
            if not candles or candles[-1].begin < begin:
                candles.append(Candle(begin, trade.price))
            candles[-1].add(trade.price, trade.quantity)
