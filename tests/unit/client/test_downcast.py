"""A client that is newer than its machine: it sends the newest version that both know, or says why it cannot."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rsm
from rsm.client.remote.versions import is_known, version_to_send
from rsm.errors import DefinitionError, InvalidCommand
from rsm.replica.batch import ACTIVATE
from rsm.replica.replica import Replica
from tests.client_service import Nodes
from tests.machines import SEED


class Old(rsm.StateMachine, name="till", version=1):
    """What the cluster runs."""

    total: int

    @rsm.command(version=1)
    def take(self, ctx: rsm.Context, euros: int) -> int:
        self.total += euros * 100
        return self.total

    @rsm.command(version=2)
    def give(self, ctx: rsm.Context, cents: int) -> int:
        self.total -= cents
        return self.total

    @rsm.query
    def sum(self) -> int:
        return self.total


class New(rsm.StateMachine, name="till", version=1):
    """What the client has."""

    total: int

    @rsm.command(version=3)
    def take(self, ctx: rsm.Context, cents: int, note: str = "") -> int:
        self.total += cents
        return self.total

    take_in_euros = rsm.upcast_fields(
        "take",
        from_version=1,
        old={"euros": int},
        rename={"euros": "cents"},
        convert={"cents": lambda euros: euros * 100},
    )
    take_without_note = rsm.upcast_fields("take", from_version=2, old={"cents": int}, default={"note": ""})

    @rsm.downcast("take", to_version=2)
    def take_noteless(cents: int, note: str) -> tuple[int]:
        return (cents,)

    @rsm.downcast("take", to_version=1, lossless=True)
    def take_whole_euros(cents: int) -> tuple[int]:
        if cents % 100:
            raise rsm.InvalidCommand("whole euros only, until the cluster is upgraded", "cents")
        return (cents // 100,)

    @rsm.command(version=3)
    def give(self, ctx: rsm.Context, cents: int, note: str) -> int:
        self.total -= cents
        return self.total

    give_without_note = rsm.upcast_fields("give", from_version=2, old={"cents": int}, default={"note": ""})

    @rsm.command(version=1)
    def count(self, ctx: rsm.Context) -> int:
        return 1

    @rsm.query
    def sum(self) -> int:
        return self.total


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """A node of the older release."""
    running = Nodes(1, Old)
    yield running
    running.close()


def upgrade(nodes: Nodes) -> None:
    """The node goes on with the newer class."""

    def go_on() -> None:
        log = nodes.log
        log.machine, log.replica = New, Replica(New)
        for entry in log.entries:
            log.replica.apply(entry)
        log.lead(ACTIVATE, "till", 1, New.definition.schema(), SEED)

    nodes.do(go_on)


NO_GIVE = re.escape(
    "give: the cluster knows version 2 of it, this client has version 3, and nothing leads from 3 to 2: upgrade the "
    "cluster, or add @rsm.downcast('give', to_version=2)"
)


def test_a_newer_client_speaks_the_older_version_until_the_upgrade(nodes: Nodes) -> None:
    """Its calls, its type checks and its answers stay the same."""
    with rsm.connect(New, nodes.addresses, timeout_seconds=5) as till:
        assert till.take(300) == 300
        assert till.take(200, note="kept by nobody") == 500
        with pytest.raises(InvalidCommand, match="whole euros only") as caught:
            till.take(250)
        assert caught.value.field == "cents"
        with pytest.raises(InvalidCommand, match="cents"):
            till.take("300")  # type: ignore[arg-type]
        with pytest.raises(InvalidCommand, match=NO_GIVE):
            till.give(1, "x")
        with pytest.raises(InvalidCommand, match="count: the machine has no such command"):
            till.count()
        assert till.take.send(100).result(5) == 600
        assert till.once("k").take(100) == 700
        assert till.once("k").take(100) == 700
        kept = till.take
        upgrade(nodes)
        deadline = time.monotonic() + 10
        while not is_known(New.definition.commands["take"], till._runtime.schema):  # type: ignore[attr-defined]
            assert time.monotonic() < deadline
            kept(100)
            time.sleep(0.1)
        total = till.sum()
        assert till.take(1, "now") == total + 1
        assert till.give(1, "now") == total
        assert till.count() == 1
        assert kept(1) == total + 1
        assert "take" in vars(till)  # an ordinary command again, and looked up no more


def test_pipelines_speak_it_too(nodes: Nodes) -> None:
    """But what an earlier step will give cannot be brought to an older version here."""
    with rsm.connect(New, nodes.addresses, timeout_seconds=5) as till:
        with till.pipeline() as p:
            first = p.take(100)
            second = p.take(200, "x")
        assert (rsm.result(first), rsm.result(second)) == (100, 300)
        with till.pipeline() as p:
            first = p.take(100)
            with pytest.raises(InvalidCommand, match="take: the machine knows version 1 of it, and results of earlier"):
                p.take(first)
            with pytest.raises(InvalidCommand, match="whole euros only"):
                p.take(1)
            with pytest.raises(InvalidCommand, match=NO_GIVE):
                p.give(1, "x")
        upgrade(nodes)
        till.status()  # tells the schema
        with till.pipeline() as p:
            last = p.take(p.take(1))
        assert rsm.result(last) == 802


def test_it_does_so_from_asyncio(nodes: Nodes) -> None:
    """Nothing of it waits for the network."""

    async def main() -> None:
        async with await rsm.connect_async(New, nodes.addresses, timeout_seconds=5) as till:
            assert await till.take.send(100) == 100
            with pytest.raises(InvalidCommand, match=NO_GIVE):
                till.give.send(1, "x")

    asyncio.run(main())


def test_an_older_client_needs_nothing(nodes: Nodes) -> None:
    """The upcasters of the machine bring its commands on."""
    upgrade(nodes)
    with rsm.connect(Old, nodes.addresses, timeout_seconds=5) as till:
        assert till.take(3) == 300
        assert till.give(1) == 299


def test_a_machine_in_this_process_knows_what_its_class_knows(tmp_path: Path) -> None:
    """After it was opened with the newer class."""
    with rsm.open(Old, tmp_path / "till") as till:
        assert till.take(1) == 100
    with rsm.open(New, tmp_path / "till") as newer:
        assert newer.take(1) == 101
        assert newer.give(1, "x") == 100


def schema(**commands: Any) -> dict[str, Any]:
    """A schema with these commands."""
    return {"commands": commands}


TAKE = New.definition.commands["take"]
FIELDS = New.definition.schema()["commands"]["take"]


@pytest.mark.parametrize(
    ("declared", "version"),
    [
        ({}, 3),
        ({"commands": None}, 3),
        (schema(take={"3": FIELDS["3"]}), 3),
        (schema(take={**FIELDS, "4": []}), 3),
        (schema(take={"1": FIELDS["1"], "2": FIELDS["2"]}), 2),
        (schema(take={"1": FIELDS["1"], "x": [], "4": []}), 1),
    ],
)
def test_the_newest_version_that_both_know_is_sent(declared: dict[str, Any], version: int) -> None:
    """Whatever the schema of a stranger says."""
    assert version_to_send(TAKE, declared) == version


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        (schema(), "take: the machine has no such command"),
        (schema(take=None), "take: the machine has no such command"),
        (schema(take={}), "take: the machine has no such command"),
        (
            schema(take={"4": [], "5": []}),
            "take: the machine knows version 4 and later of it, this client has version 3",
        ),
    ],
)
def test_where_there_is_none_the_error_says_so(declared: dict[str, Any], message: str) -> None:
    """And what to do."""
    with pytest.raises(InvalidCommand, match=f"^{re.escape(message)}"):
        version_to_send(TAKE, declared)


# --- chains the other way ---------------------------------------------------------------------------------------------


def back(cents: int, note: str) -> tuple[int]:
    """From 3 to 2."""
    return (cents,)


def back_more(cents: int) -> tuple[int]:
    """From 2 to 1."""
    return (cents // 100,)


def back_in_words(cents: str) -> tuple[int]:
    """Takes what no version has."""
    return (int(cents),)


def back_in_two(cents: int) -> tuple[int, int]:
    """Gives what no version has."""
    return cents, cents


BAD: list[tuple[list[tuple[Any, Any, Any]], str]] = [
    (
        [("take", 1, back_more)],
        "command take: the chain of downcasters has a gap: nothing leads from version 3 to 2: add",
    ),
    ([("take", 2, back), ("take", 2, back)], "<downcaster take v3 -> v2>: declared twice"),
    ([("take", 3, back)], "<downcaster take v4 -> v3>: command 'take' is at version 3"),
    ([("take", 0, back)], "<downcaster take v1 -> v0>: command 'take' is at version 3"),
    ([("took", 1, back)], "<downcaster took v2 -> v1>: there is no command 'took': delete it"),
    ([("take", 2, back_more)], "<downcaster take v3 -> v2>: takes (int), version 3 has (int, str)"),
    ([("take", 2, back), ("take", 1, back_in_words)], "<downcaster take v2 -> v1>: takes (str), version 2 has (int)"),
    ([("take", 2, back), ("take", 1, back_in_two)], "<downcaster take v2 -> v1>: gives 2 values, version 1 takes 1"),
    ([("take", 2, lambda cents, note: (cents,))], "<downcaster take v3 -> v2>: parameter 'cents' has no type"),
    ([("take", "1", back)], "downcaster of take: to_version must be an int from 1, not '1'"),
]


@pytest.mark.parametrize(("steps", "message"), BAD)
def test_a_broken_chain_is_refused_by_name(steps: list[tuple[Any, Any, Any]], message: str) -> None:
    """As chains of upcasters are."""

    def make() -> None:
        members = {name: vars(New)[name] for name in ("take", "take_in_euros", "take_without_note")}
        for number, (name, version, function) in enumerate(steps):
            members[f"step_{number}"] = rsm.downcast(name, to_version=version)(function)
        body = {"__module__": __name__, "__annotations__": {"total": int}, **members}
        type("Made", (rsm.StateMachine,), body, name="made", version=1)

    with pytest.raises(DefinitionError, match=f"^{re.escape(message)}"):
        make()


def test_a_version_that_no_upcaster_knows_has_no_way_back() -> None:
    """Nothing would say what its fields are."""
    with pytest.raises(DefinitionError, match="nothing says what version 1 looks like: keep its upcaster, or delete"):

        class Made(rsm.StateMachine, name="made", version=1):
            @rsm.command(version=2)
            def take(self, ctx: rsm.Context, cents: int) -> None: ...

            @rsm.downcast("take", to_version=1)
            def back(cents: int) -> tuple[int]: ...
