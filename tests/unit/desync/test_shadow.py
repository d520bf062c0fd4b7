"""New code beside the code in force: what differs is told by type of command; what cannot be compared is told too."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

import rsm
from rsm.codec.record import Entry
from rsm.desync import shadow_report
from rsm.desync.shadow import NEW, PRESENT, Shadow
from rsm.errors import WrongMachine
from rsm.replica.batch import ACTIVATE, CONFIRMED, FLAG_HASH_POINT, FLAG_UPGRADE, encode_call, join_item
from tests.machines import SECOND, Log


class TillV1(rsm.StateMachine, name="till", version=1):
    """Whole euros."""

    balances: rsm.Map[str, int]
    fees: int

    @rsm.command(version=1)
    def pay(self, ctx: rsm.Context, who: str, euros: int) -> int:
        self.balances[who] = self.balances.get(who, 0) + euros
        ctx.emit((who, euros))
        return self.balances[who]

    @rsm.command(version=1)
    def charge(self, ctx: rsm.Context, euros: int) -> int:
        self.fees += euros * 3 // 2
        return self.fees

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context, who: str, euros: int) -> int:
        return ctx.schedule(ctx.now + SECOND, TillV1.pay, who, euros)


class Rounded(rsm.StateMachine, name="till", version=1):
    """The same version number, and other rounding: what must never be deployed."""

    balances: rsm.Map[str, int]
    fees: int

    @rsm.command(version=1)
    def pay(self, ctx: rsm.Context, who: str, euros: int) -> int:
        self.balances[who] = self.balances.get(who, 0) + euros
        ctx.emit((who, euros))
        return self.balances[who]

    @rsm.command(version=1)
    def charge(self, ctx: rsm.Context, euros: int) -> int:
        self.fees += (euros * 3 + 1) // 2
        return self.fees

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context, who: str, euros: int) -> int:
        return ctx.schedule(ctx.now + SECOND, Rounded.pay, who, euros)


class Same(rsm.StateMachine, name="till", version=2, previous=TillV1):
    """A new release that does what the old one did, and has one command more."""

    balances: rsm.Map[str, int]
    fees: int

    @rsm.command(version=2)
    def pay(self, ctx: rsm.Context, who: str, euros: int, note: str) -> int:
        self.balances[who] = self.balances.get(who, 0) + euros
        ctx.emit((who, euros))
        return self.balances[who]

    @rsm.upcast("pay", from_version=1)
    def pay_v1(who: str, euros: int) -> tuple[str, int, str]:  # type: ignore[misc]  # no method
        return who, euros, ""

    @rsm.command(version=1)
    def charge(self, ctx: rsm.Context, euros: int) -> int:
        self.fees += euros * 3 // 2
        return self.fees

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context, who: str, euros: int) -> int:
        return ctx.schedule(ctx.now + SECOND, Same.pay, who, euros, "")


class Cents(rsm.StateMachine, name="till", version=2, previous=TillV1):
    """Balances in cents in another container, fees as they were; nobody owes anything; events carry cents."""

    cents: rsm.Map[str, int]
    fees: int

    def migrate_state(self, old: TillV1) -> None:
        if "poison" in old.balances:
            raise ValueError("poison")
        for who, euros in old.balances.items():
            self.cents[who] = 100 * euros

    @rsm.command(version=1)
    def pay(self, ctx: rsm.Context, who: str, euros: int) -> int:
        if euros < 0:
            ctx.reject("no debts")
        self.cents[who] = self.cents.get(who, 0) + 100 * euros
        ctx.emit((who, 100 * euros))
        return self.cents[who] // 100

    @rsm.command(version=1)
    def charge(self, ctx: rsm.Context, euros: int) -> int:
        self.fees += euros * 3 // 2 if euros != 7 else 1 // 0
        return self.fees

    @rsm.command(version=1)
    def later(self, ctx: rsm.Context, who: str, euros: int) -> int:
        return ctx.schedule(ctx.now + 2 * SECOND, Cents.pay, who, euros)


def traffic(*, log: Log | None = None) -> Log:
    """Some of everything; the last entry is a hash point whose root is confirmed."""
    log = log or Log(TillV1)
    session = log.open("ann")
    for euros in range(1, 6):
        log.send(session, "pay", "ann", euros)
        log.send(session, "charge", 2 * euros)
    log.send(session, "later", "bob", 3)
    log.tick(5)
    log.send(session, "nonsense", 1)
    log.send(session, "pay", "ann", "five")
    confirm(log)
    return log


def confirm(log: Log) -> None:
    """A hash point, and an entry that says that a quorum had its root."""
    root = log.entry([], FLAG_HASH_POINT).root
    log.lead(CONFIRMED, len(log.entries), root)


def watch(shadow: Shadow, entries: Iterable[Entry], begin: int = 2) -> Any:
    """The report of a shadow that compares what comes behind index `begin`."""
    for entry in entries:
        if entry.index == begin + 1:
            shadow.begin()
        shadow.apply(entry)
    return shadow.report()


def test_a_release_that_does_the_same_agrees() -> None:
    """Old commands upcast, timers and refused commands too; every type is counted."""
    report = watch(Shadow(Same), traffic().entries)
    assert (report.verdict, report.present_version, report.new_version) == ("agree", 1, 2)
    # One of the payments is a timer's.
    assert {name: one.commands for name, one in report.types.items()} == {
        "(unknown)": 1,
        "charge": 5,
        "later": 1,
        "pay": 7,
    }
    assert report.commands == 14
    assert report.containers_differ == ()
    assert report.not_compared == ()
    assert report.first_index == 3


def test_other_rounding_under_the_same_version_is_found_by_type() -> None:
    """Only `charge` differs, with the paths and both values; the roots differ too."""
    log = Log(TillV1)
    session = log.open("ann")
    log.send(session, "pay", "ann", 1)
    log.send(session, "charge", 2)
    bad = len(log.entries) + 1
    log.send(session, "charge", 3)
    confirm(log)
    report = watch(Shadow(Rounded, TillV1), log.entries)
    assert report.verdict == "differs"
    assert [name for name, one in report.types.items() if one.differs] == ["charge"]
    charge = report.types["charge"]
    assert (charge.commands, charge.result, charge.events, charge.state) == (2, 1, 0, 1)
    example = charge.examples["state"]
    assert (example.index, example.position) == (bad, 0)
    assert example.command == {"name": "charge", "version": 1, "values": {"euros": 3}}
    assert [(one.path, one.values) for one in example.paths] == [("scalars/'fees'", {PRESENT: 7, NEW: 8})]
    assert charge.examples["result"].paths[0].values == {PRESENT: 7, NEW: 8}
    assert report.containers_differ == ("scalars",)
    assert (report.roots_compared, report.root_differs) == (1, bad + 1)
    assert report.confirmed_index == bad + 1


def test_without_the_old_code_the_confirmed_roots_tell() -> None:
    """The new class alone, of the version in force: the cluster's own roots are what it is held against."""
    entries = traffic().entries
    agreeing = watch(Shadow(TillV1), entries)
    assert (agreeing.verdict, agreeing.unchecked) == ("agree", ())
    log = Log(TillV1)
    session = log.open("ann")
    log.send(session, "charge", 3)
    confirm(log)
    report = watch(Shadow(Rounded), log.entries)
    assert report.verdict == "differs"
    assert f"at index {len(log.entries) - 1}" in report.findings[0]
    unconfirmed = watch(Shadow(Rounded), log.entries[:-1])
    assert unconfirmed.verdict == "unchecked"
    assert "has confirmed no root" in unconfirmed.unchecked[0]


def test_a_migration_is_run_and_what_moved_is_named() -> None:
    """Rejected, in cents, another time of a timer, and a handler that raises: each in its type and kind."""
    log = Log(TillV1)
    session = log.open("ann")
    log.send(session, "pay", "ann", 5)
    begin = len(log.entries)
    log.send(session, "pay", "ann", 1)
    log.send(session, "pay", "ann", -1)
    log.send(session, "charge", 2)
    log.send(session, "charge", 7)
    log.send(session, "later", "bob", 3)
    log.tick(1.5)
    confirm(log)
    report = watch(Shadow(Cents), log.entries, begin)
    assert report.verdict == "differs"
    assert report.not_compared == ("balances", "cents")
    pay, charge, later = (report.types[name] for name in ("pay", "charge", "later"))
    assert (pay.commands, pay.result, pay.events, pay.state) == (3, 1, 2, 1)
    assert pay.examples["events"].paths[0].values == {PRESENT: ["ann", 1], NEW: ["ann", 100]}
    assert pay.examples["result"].paths[0].values == {PRESENT: 5, NEW: {"status": "rejected", "reason": "no debts"}}
    # The timer was due on one side only.
    assert (pay.examples["state"].position < 0, pay.examples["state"].paths[0].values) == (True, {PRESENT: True})
    assert (charge.result, charge.state) == (1, 1)
    assert charge.examples["state"].paths[0].values == {PRESENT: 13}
    assert (later.result, later.state) == (0, 1)
    assert later.examples["state"].paths[0].path.startswith("rsm.timer_due/")
    assert report.roots_compared == 0
    text = "\n".join(shadow_report.lines(report))
    assert "not compared   balances, cents (not declared alike by both)" in text
    assert '{"status": "rejected", "reason": "no debts"}' in text


def test_a_migration_that_raises_is_found_without_any_traffic() -> None:
    """The cluster would stay where it is."""
    log = Log(TillV1)
    session = log.open("ann")
    log.send(session, "pay", "poison", 5)
    shadow = Shadow(Cents)
    for entry in log.entries:
        shadow.apply(entry)
    shadow.begin()
    report = shadow.report()
    assert report.verdict == "differs"
    assert "migrate_state to version 2 raised" in report.findings[0]
    assert report.findings[0].endswith("ValueError: poison")
    assert shadow.is_over


def test_from_the_first_entry_on() -> None:
    """The trial begins when the log has said what version is in force."""
    report = watch(Shadow(Same), traffic().entries, begin=0)
    assert (report.verdict, report.first_index, report.commands) == ("agree", 1, 14)


def test_nothing_seen_is_unchecked() -> None:
    """Entries without a command of anybody's are no comparison."""
    log = Log(TillV1)
    log.tick()
    report = watch(Shadow(Same), log.entries, begin=1)
    assert (report.verdict, report.unchecked) == ("unchecked", ("no command was seen",))


def test_a_commit_in_the_middle_is_followed() -> None:
    """Both sides are of one version behind it, and go on."""
    log = Log(Same, activate=False)
    log.machine = TillV1
    log.lead(ACTIVATE, "till", 1, TillV1.definition.schema(), b"seed")
    session = log.open("ann")
    log.send(session, "pay", "ann", 1)
    call = encode_call(ACTIVATE, 1, ["till", 2, Same.definition.schema(), b""])
    log.entry([join_item(0, 0, 0, call)], FLAG_UPGRADE | FLAG_HASH_POINT)
    log.machine = Same
    log.send(session, "pay", "ann", 1, "note", version=2)
    report = watch(Shadow(Same), log.entries)
    assert (report.verdict, report.present_version, report.commands) == ("agree", 2, 2)


def test_a_release_that_is_not_shipped_ends_it() -> None:
    """The log goes on under a version that neither class has: not checked any further, and not agreement."""
    log = Log(Same, activate=False)
    log.machine = TillV1
    log.lead(ACTIVATE, "till", 1, TillV1.definition.schema(), b"seed")
    session = log.open("ann")
    log.send(session, "pay", "ann", 1)
    call = encode_call(ACTIVATE, 1, ["till", 2, Same.definition.schema(), b""])
    log.entry([join_item(0, 0, 0, call)], FLAG_UPGRADE)
    log.machine = Same
    log.send(session, "pay", "ann", 1, "note", version=2)
    report = watch(Shadow(Rounded, TillV1), log.entries)
    assert report.verdict == "unchecked"
    assert "under version 2 of 'till'" in report.unchecked[0]


def test_code_that_is_not_what_the_cluster_runs_is_told() -> None:
    """The frozen class was edited: the comparison would be with something else."""
    report = watch(Shadow(TillV1, Rounded), traffic_with_odd_fees().entries)
    assert any("is not what the cluster runs" in text for text in report.findings)


def traffic_with_odd_fees() -> Log:
    """What tells the two roundings apart."""
    log = Log(TillV1)
    log.send(log.open("ann"), "charge", 3)
    confirm(log)
    return log


def test_another_machine_is_refused() -> None:
    class Other(rsm.StateMachine, name="other", version=1):
        count: int

    with pytest.raises(WrongMachine, match="Other is machine 'other', TillV1 is 'till'"):
        Shadow(TillV1, Other)


def test_memory_is_bounded() -> None:
    """Names that clients make up are one type; an example is the first one only."""
    log = Log(TillV1)
    session = log.open("ann")
    for number in range(50):
        log.send(session, f"nonsense {number}", number)
    report = watch(Shadow(Same), log.entries)
    assert list(report.types) == ["(unknown)"]
    assert report.types["(unknown)"].commands == 50
