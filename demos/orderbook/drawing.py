"""Pieces of a picture of an order book: ladders, depth curves, sparklines, trades, as text with styles.

Everything is drawn from what a survey of the exchange says, in a width that the caller gives, with blocks of an eighth
of a character where the output can show them and with plain characters where it cannot. Bids are green, asks are red.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rich.text import Text

from demos.orderbook.flowgen import Instrument
from demos.orderbook.records import SELL, Traded
from demos.orderbook.survey import Level, MarketView

BID_STYLE = "green"
ASK_STYLE = "red"
PRICE_CELLS = 7
QUANTITY_CELLS = 5


class Glyphs(NamedTuple):
    """The characters of one kind of output. `across` and `up` go from nothing to a full cell."""

    across: str
    up: str
    rising: str
    falling: str
    held: str
    failed: str
    waiting: str
    running: str
    line: str
    done: str
    times: str
    dots: str


UNICODE = Glyphs(" ▏▎▍▌▋▊▉█", " ▁▂▃▄▅▆▇█", "▲", "▼", "✔", "✘", "·", "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏", "─", "━", "\u00d7", "…")
ASCII = Glyphs(" #", " #", "^", "v", "ok", "NO", "-", "|/-\\", "-", "=", "x", "...")


def decimal(instrument: Instrument, price: int) -> str:
    """A price as people write it."""
    unit = 10**instrument.decimals
    return f"{price // unit}.{price % unit:0{instrument.decimals}}"


def short(quantity: int) -> str:
    """A quantity in at most five cells."""
    if quantity < 100_000:
        return str(quantity)
    return f"{quantity // 1_000}k" if quantity < 10_000_000 else f"{quantity // 1_000_000}M"


def size(count: int) -> str:
    """Bytes, as people write them."""
    return f"{count / 1e6:.1f} MB" if count >= 100_000 else f"{count / 1e3:.1f} kB"


def bar(part: int, whole: int, cells: int, glyphs: Glyphs) -> str:
    """A bar of `part` of `whole`, in so many cells; anything above nothing can be seen."""
    steps = len(glyphs.across) - 1
    length = part * cells * steps // whole if whole else 0
    if part and not length:
        length = 1
    full, rest = divmod(min(length, cells * steps), steps)
    return (glyphs.across[-1] * full + (glyphs.across[rest] if rest else "")).ljust(cells)


def sparkline(values: Sequence[int], cells: int, glyphs: Glyphs, *, from_zero: bool = False) -> str:
    """The course of a value, the newest at the right, between its lowest (or zero) and its highest."""
    values = list(values)[-cells:]
    if len(values) < 2:
        return " " * cells
    low, high = 0 if from_zero else min(values), max(values)
    steps = len(glyphs.up) - 2
    return "".join(glyphs.up[1 + (value - low) * steps // ((high - low) or 1)] for value in values).rjust(cells)


def ladder(
    instrument: Instrument,
    view: MarketView | None,
    course: Sequence[int],
    width: int,
    levels: int,
    glyphs: Glyphs,
) -> list[Text]:
    """A market's ladder in `2 * levels + 2` lines of `width` cells: asks above, bids below, the last trade between."""
    bids, asks = (view.bids[:levels], view.asks[:levels]) if view else ([], [])
    whole = max((quantity for _, quantity, _ in [*bids, *asks]), default=0)

    def row(level: Level | None, style: str, is_best: bool) -> Text:
        if level is None:
            return Text(" " * width)
        price, quantity, _ = level
        line = Text()
        line.append(decimal(instrument, price).rjust(PRICE_CELLS), f"bold {style}" if is_best else style)
        line.append(short(quantity).rjust(QUANTITY_CELLS + 1) + " ")
        line.append(bar(quantity, whole, width - len(line), glyphs), style if is_best else f"dim {style}")
        return line

    name = Text()
    name.append(instrument.symbol.ljust(6), "bold")
    name.append(sparkline(course, width - 6, glyphs), "dim cyan")
    lines = [name]
    padding: list[Level | None] = [None] * levels
    for number, level in reversed(list(enumerate([*asks, *padding][:levels]))):
        lines.append(row(level, ASK_STYLE, number == 0))
    lines.append(_between(instrument, view, course, width, glyphs))
    for number, level in enumerate([*bids, *padding][:levels]):
        lines.append(row(level, BID_STYLE, number == 0))
    return lines


def _between(
    instrument: Instrument, view: MarketView | None, course: Sequence[int], width: int, glyphs: Glyphs
) -> Text:
    """The line between asks and bids: the last price, where it came from, and the spread."""
    if view is None or view.tape is None or not view.tape.last:
        return Text(glyphs.line * width, "dim")
    last = view.tape.last
    before = next((price for price in reversed(course) if price != last), last)
    line = Text()
    line.append(decimal(instrument, last).rjust(PRICE_CELLS), "bold reverse")
    mark, style = (glyphs.falling, ASK_STYLE) if last < before else (glyphs.rising, BID_STYLE)
    line.append(f" {mark} ", f"bold {style}")
    spread = decimal(instrument, max(0, view.asks[0][0] - view.bids[0][0])) if view.bids and view.asks else ""
    if spread and width >= 24:
        spread = f"spread {spread}"
    line.append(f" {spread}".rjust(width - len(line)), "dim")
    return line


def depth(instrument: Instrument, view: MarketView, width: int, height: int, glyphs: Glyphs) -> list[Text]:
    """A depth curve in `height` lines: what is bid down to a price, and asked up to one, nearest in the middle."""
    half = (width - 1) // 2
    lines = [Text() for _ in range(height - 1)]
    if not view.bids or not view.asks or half < 4:
        return [Text(" " * width)] * height
    middle = (view.bids[0][0] + view.asks[0][0]) // 2
    reach = max(min(middle - view.bids[-1][0], view.asks[-1][0] - middle), instrument.tick)
    bids, asks = (
        [_within(levels, middle, reach * (n + 1) // half) for n in range(half)] for levels in (view.bids, view.asks)
    )
    whole = max(*bids, *asks)
    steps = len(glyphs.up) - 1
    columns = [*((total, BID_STYLE) for total in reversed(bids)), (0, ""), *((total, ASK_STYLE) for total in asks)]
    for total, style in columns:
        filled = total * (height - 1) * steps // whole if whole else 0
        if total and not filled:
            filled = 1
        for number, line in enumerate(reversed(lines)):
            line.append(glyphs.up[max(0, min(steps, filled - number * steps))], style)
    low, mid, high = (decimal(instrument, price) for price in (middle - reach, middle, middle + reach))
    axis = low.ljust(half - len(mid) // 2) + mid
    lines.append(Text(axis + high.rjust(width - len(axis)), "dim"))
    return lines


def _within(levels: list[Level], middle: int, reach: int) -> int:
    return sum(quantity for price, quantity, _ in levels if abs(price - middle) <= reach)


def trade(instrument: Instrument, made: Traded, glyphs: Glyphs) -> Text:
    """One trade on the tape."""
    mark, style = (glyphs.falling, ASK_STYLE) if made.side == SELL else (glyphs.rising, BID_STYLE)
    line = Text()
    line.append(instrument.symbol.ljust(6), "bold")
    line.append(decimal(instrument, made.price).rjust(PRICE_CELLS + 1))
    line.append(f" {glyphs.times} ", "dim")
    line.append(short(made.quantity).ljust(QUANTITY_CELLS))
    line.append(f" {mark}", style)
    return line
