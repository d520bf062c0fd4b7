"""Three releases of an exchange: old logs come to their roots, and below the floor to the same book, unchecked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rsm
from demos.orderbook.releases import unsafe
from demos.orderbook.releases.flow import Intent
from demos.orderbook.releases.terms import TimeInForce, to_price, to_ticks
from demos.orderbook.releases.v1 import ExchangeV1
from demos.orderbook.releases.v2 import ExchangeV2
from demos.orderbook.releases.v3 import Exchange, Prevention
from rsm.desync.below_floor import replay_below_floor
from rsm.desync.recording import Recording
from rsm.desync.replaying import Unreplayable
from rsm.desync.single import replay
from rsm.node.storage.disk import OsDisk
from rsm.replica.answer import Status
from rsm.replica.replica import Replica
from tests.machines import Log

LOGS = Path(__file__).resolve().parents[2] / "golden" / "releases"
NAMES = ("v1", "v2", "v1-v2-v3")


class Alone(Exchange, name="exchange", version=3):
    """The third release after the files of the others were deleted: its floor is 3."""


def recording(name: str) -> Recording:
    return Recording(OsDisk(), str(LOGS / f"{name}.log"))


def run(name: str) -> Replica:
    replica = Replica(Exchange)
    for scanned in recording(name).entries(0):
        replica.apply(scanned.entry)
    return replica


def book(replica: Replica) -> dict[str, Any]:
    """What can be seen of a book: markets, tapes, owners, and every order in the order in which it would trade."""
    machine: Any = replica.machine
    queues = {
        level: [(order_id, machine.orders[order_id].quantity, machine.orders[order_id].owner) for order_id in queue]
        for level, queue in machine.levels.items()
    }
    kept = ("markets", "tapes", "symbols", "owners", "prices")
    return {name: dict(getattr(machine, name).items()) for name in kept} | {"queues": queues}


@pytest.mark.parametrize("name", NAMES)
def test_a_golden_log_comes_to_its_recorded_roots(name: str) -> None:
    """Whatever is released later: these commands ran like this."""
    finding = replay(recording(name), Exchange)
    assert finding.verdict == "agree", finding
    assert len(recording(name).expected) > 10
    assert finding.checked_to_index == run(name).index
    assert finding.replayed_commands > 300


def test_the_logs_are_of_the_releases_that_they_say() -> None:
    assert [run(name).system.machine_version for name in NAMES] == [1, 2, 3]
    short = replay(recording("v1-v2-v3"), ExchangeV2)
    assert short.verdict == "unchecked"
    assert "moves the machine on under version 3 of 'exchange'" in short.unchecked[0]


@pytest.mark.parametrize("name", NAMES)
def test_below_the_floor_the_book_is_equal_and_no_root_is_claimed(name: str) -> None:
    refused = replay(recording(name), Alone)
    assert refused.verdict == "unchecked"
    assert "this release has 3: run a release that still ships it" in refused.unchecked[0]
    finding, replica = replay_below_floor(recording(name), Alone)
    assert finding.verdict == "unchecked"
    assert finding.checked_to_index == 0
    (reason,) = finding.unchecked
    assert "they ran through upcasters" in reason
    assert f"none of {len(recording(name).expected)} recorded roots was compared" in reason
    assert replica.system.machine_version == 3
    expected = run(name)
    assert len(book(expected)["queues"]) > 5
    if name == "v1":  # the old release's orders are of another type: its book is read after the flip
        machine: Any = expected.machine
        assert {order_id: order.price for order_id, order in machine.orders.items()} == {
            order_id: to_price(order.price) for order_id in machine.orders if (order := seen(replica, order_id))
        }
    assert book(replica) == book(expected)
    assert replica.system.event_count == expected.system.event_count
    assert [one[1].packed for one in replica.ring.after(0, 10**6)] == [
        one[1].packed for one in expected.ring.after(0, 10**6)
    ]


def seen(replica: Replica, order_id: int) -> Any:
    machine: Any = replica.machine
    return machine.book.order(order_id)


def test_nothing_below_the_floor_is_said() -> None:
    with pytest.raises(Unreplayable, match="nothing of it is below version 1"):
        replay_below_floor(recording("v1"), Exchange)


def test_another_rounding_under_the_same_number_parts_from_the_golden_log() -> None:
    finding = replay(recording("v1-v2-v3"), unsafe.Exchange)
    assert finding.verdict == "desync"
    assert finding.kind == "apply"


def test_a_price_is_rounded_to_the_nearest_tick_half_up() -> None:
    assert [to_ticks(price) for price in ("1", "1.2", "1.25", "1.254", "1.255", "1.2551", "0.0049")] == [
        *(100, 120, 125, 125, 126, 126, 0)
    ]
    assert [to_price(ticks) for ticks in (1, 100, 10126)] == ["0.01", "1.00", "101.26"]
    assert unsafe.to_ticks("1.255") == 125


@pytest.mark.parametrize("release", [ExchangeV1, ExchangeV2, Exchange])
def test_an_old_client_is_understood_by_every_release(release: type[rsm.StateMachine]) -> None:
    """A replacement that cannot be done is not done by half, whether it is one command or two."""
    log = Log(release)
    ann, bob = log.open("ann"), log.open("bob")
    log.run(ann, "list_instrument", 1, "SYM")
    assert log.run(ann, "place", 1, 1, 0, 10, "99.995") == [0, 0, 10]
    assert log.run(ann, "replace", 1, 2, 1, 0, 7, "98.5") == [0, 0, 7]
    assert log.send(ann, "replace", 1, 3, 1, 0, 7, "98.5").status == Status.REJECTED
    assert log.send(bob, "replace", 2, 3, 1, 0, 7, "98.5").status == Status.REJECTED
    assert log.send(ann, "replace", 2, 3, 9, 0, 7, "98.5").status == Status.REJECTED  # no such market
    assert log.send(ann, "place", 3, 1, 0, 7, "98.").status == Status.INVALID
    assert log.run(bob, "place", 4, 1, 1, 9, "98.5") == [0, 7, 2]
    machine: Any = log.replica.machine
    assert list(machine.orders) == [4]
    assert (machine.tapes[1].last, machine.tapes[1].volume) == (9850, 7)


def test_self_trades_are_prevented_for_those_who_ask() -> None:
    log = Log(Exchange)
    ann = log.open("ann")
    log.run(ann, "list_instrument", 1, "SYM")
    log.run(ann, "place", 1, 1, 0, 10, 9_900, 0, 0, version=3)
    assert log.run(ann, "place", 2, 1, 1, 4, 9_900, 0, Prevention.CANCEL_NEWEST, version=3) == [0, 0, 0]
    assert log.run(ann, "place", 3, 1, 1, 4, 9_900, TimeInForce.IMMEDIATE_OR_CANCEL, version=2) == [0, 4, 0]


def test_each_version_says_the_same_in_its_own_words() -> None:
    intent = Intent(7, 8, 1, 0, 5, 1_000_050, 0, 0)
    assert intent.calls(1) == [("replace", 1, (7, 8, 1, 0, 5, "100.0050"))]
    assert intent.calls(2) == [("replace", 2, (7, 8, 1, 0, 5, 10_001, 0))]
    assert intent.calls(3) == [("cancel", 1, (7,)), ("place", 3, (8, 1, 0, 5, 10_001, 0, 0))]


def test_a_new_client_says_to_an_old_cluster_what_can_be_said_there() -> None:
    values = (8, 1, 0, 5, 10_001, TimeInForce.GOOD_TILL_CANCEL, Prevention.NONE)
    spec = Exchange.definition.commands["place"]
    assert spec.downcasters[2][1].step(*values) == values[:-1]
    assert spec.downcasters[1][1].step(*values[:-1]) == (8, 1, 0, 5, "100.01")
    with pytest.raises(rsm.InvalidCommand, match="until version 3 is in force"):
        spec.downcasters[2][1].step(*values[:-1], Prevention.CANCEL_BOTH)
    with pytest.raises(rsm.InvalidCommand, match="until version 2 is in force"):
        spec.downcasters[1][1].step(*values[:-2], TimeInForce.FILL_OR_KILL)


def test_the_lock_file_is_kept() -> None:
    """What CI runs: everything released is as it was when it was locked."""
    checked = subprocess.run(
        [sys.executable, "-m", "rsm", "schema", "check", "demos.orderbook.releases.v3:Exchange", "--current"],
        capture_output=True,
        text=True,
        cwd=LOGS.parents[2],
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "machine exchange, versions 1, 2, 3" in checked.stdout
