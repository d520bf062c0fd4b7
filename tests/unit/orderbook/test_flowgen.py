"""The generated day is the same for all who name its seed, holds nothing but integers, and looks like a market."""

from __future__ import annotations

import hashlib
from collections import Counter
from itertools import groupby

import msgspec
import pytest

from demos.orderbook.desk import Desk
from demos.orderbook.flowgen import COLLAR_PERCENT, INSTRUMENTS, TRADERS, Command, Flow, Step
from demos.orderbook.records import FOK, IOC, MARKET, POST_ONLY, Accepted, Outcome, Traded, Triggered, Uncrossed

COUNT = 12_000
BY_NUMBER = {instrument.number: instrument for instrument in INSTRUMENTS}


@pytest.fixture(scope="module")
def day() -> tuple[Flow, list[Step]]:
    """A flow that has been run to its end, and its steps."""
    flow = Flow(1)
    return flow, list(flow.steps(COUNT))


@pytest.fixture
def flow(day: tuple[Flow, list[Step]]) -> Flow:
    """The flow."""
    return day[0]


@pytest.fixture
def steps(day: tuple[Flow, list[Step]]) -> list[Step]:
    """Its steps."""
    return day[1]


def commands(seed: int, count: int = 3_000) -> list[Command]:
    return [step.command for step in Flow(seed).steps(count)]


def places(steps: list[Step]) -> list[tuple[int, ...]]:
    """(order id, instrument, side, quantity, price, flags, display, trigger) of every new order."""
    return [(*step.command.values, 0, 0, 0)[:8] for step in steps if step.command.name == "place"]


def test_a_seed_is_a_flow() -> None:
    """The same seed gives the same commands, another seed others; this digest is the same on every machine."""
    made = commands(1)
    assert commands(1) == made
    assert commands(2) != made
    digest = hashlib.sha256(msgspec.msgpack.encode(made)).hexdigest()
    assert digest[:16] == "ab939793901f50d1"


def test_there_are_as_many_as_asked_for() -> None:
    """A flow has exactly its length, however short it is."""
    for count in (1, 11, 200, 1_001):
        assert len(commands(5, count)) == count


def test_everything_is_an_integer(steps: list[Step]) -> None:
    """No value of any command is a float; the only text is the symbols of the markets."""
    kinds = {(step.command.name, type(value)) for step in steps for value in step.command.values}
    assert {kind for _, kind in kinds} == {int, str}
    assert {name for name, kind in kinds if kind is str} == {"list_instrument"}


def test_answers_are_a_plain_desks(flow: Flow, steps: list[Step]) -> None:
    """Another desk, given the commands alone, answers and reports the same."""
    desk = Desk()
    for step in steps:
        assert desk.run(TRADERS[step.command.trader], step.command.name, step.command.values) == step.answer
    assert desk.reports == flow.desk.reports


def test_proportions(steps: list[Step]) -> None:
    """New orders, cancellations and modifications come in the proportions of a market; few commands are refused."""
    names = Counter(step.command.name for step in steps)
    assert 0.50 < names["place"] / COUNT < 0.75
    assert 0.15 < names["cancel"] / COUNT < 0.40
    assert 0.04 < names["modify"] / COUNT < 0.15
    assert names["mass_cancel"] > 0
    refused = sum(isinstance(step.answer, Outcome) and bool(step.answer.reason) for step in steps)
    assert 0 < refused / COUNT < 0.06


def test_kinds_of_orders(flow: Flow, steps: list[Step]) -> None:
    """There are icebergs, immediate ones, fill-or-kill, post-only, market orders and stops, and stops are elected."""
    orders = places(steps)
    total = len(orders)
    assert 0.03 < sum(display > 0 for *_, display, _ in orders) / total < 0.15
    assert 0.05 < sum(bool(flags & IOC) for *_, flags, _, _ in orders) / total < 0.30
    assert 0.002 < sum(bool(flags & FOK) for *_, flags, _, _ in orders) / total < 0.05
    assert 0.03 < sum(bool(flags & POST_ONLY) for *_, flags, _, _ in orders) / total < 0.30
    assert 0.005 < sum(price == MARKET for *_, price, _, _, _ in orders) / total < 0.08
    assert 0.005 < sum(trigger > 0 for *_, trigger in orders) / total < 0.04
    assert any(isinstance(report, Triggered) for report in flow.desk.reports)


def test_markets_differ(flow: Flow, steps: list[Step]) -> None:
    """Activity follows the weights, every price is a multiple of its tick and within the collar, everyone trades."""
    orders = places(steps)
    share = Counter(order[1] for order in orders)
    assert [share[instrument.number] for instrument in INSTRUMENTS] == sorted(share.values(), reverse=True)
    assert share[1] > 2 * share[4]
    for _, number, _, quantity, price, _, display, trigger in orders:
        instrument = BY_NUMBER[number]
        assert price % instrument.tick == trigger % instrument.tick == 0
        assert quantity > 0
        assert display >= 0
        if price != MARKET:
            assert (
                abs(price - instrument.start * instrument.tick) * 100
                <= instrument.start * instrument.tick * COLLAR_PERCENT
            )
    assert {step.command.trader for step in steps} == set(range(len(TRADERS)))
    uncrossed = [report for report in flow.desk.reports if isinstance(report, Uncrossed)]
    assert len(uncrossed) == len(INSTRUMENTS)
    assert all(report.volume for report in uncrossed)


def test_bursts(steps: list[Step]) -> None:
    """Now and then one market has long runs to itself, far longer than chance would give the quietest one."""
    accepted = [order[1] for order in places(steps)[600:]]
    runs = [(number, len(list(run))) for number, run in groupby(accepted)]
    assert max(length for number, length in runs if number == INSTRUMENTS[-1].number) >= 15


def test_books_live(flow: Flow) -> None:
    """At the end every book has both sides, does not cross, and prices have moved since the opening."""
    for instrument in INSTRUMENTS:
        bid, ask = flow.desk.book.best(instrument.number)
        assert bid is not None
        assert ask is not None
        assert bid < ask
        tape = flow.desk.statistics(instrument.number)
        assert tape is not None
        assert tape.low <= tape.opening <= tape.high
        assert tape.high - tape.low >= 10 * instrument.tick
    trades = sum(isinstance(report, Traded) for report in flow.desk.reports)
    accepted = sum(isinstance(report, Accepted) for report in flow.desk.reports)
    assert 0.3 < trades / accepted < 1.2
