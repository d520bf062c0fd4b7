"""The log as a feed: contiguous, chained, from any index, encoded once; and who may not have it."""

from __future__ import annotations

import os
from typing import Any

import pytest

from rsm.node.feed import entries, frames
from rsm.node.network import protocol
from rsm.node.network.certificates import init_certificates
from rsm.node.network.protocol import AnswerStatus
from rsm.node.network.tls import TlsOptions
from tests.client_service import Nodes
from tests.feed_client import Observing, next_frame
from tests.machines import Everything
from tests.raw_client import Connect, Raw, until


@pytest.fixture(autouse=True)
def some_entries(nodes: Nodes) -> None:
    """There is something in the log."""
    put(nodes, 10)


def put(nodes: Nodes, count: int, text: str = "") -> int:
    """Entries; the last index."""
    return nodes.commands("put", ((f"{text}{number}", number) for number in range(count)))


def test_the_log_from_its_beginning_and_on(nodes: Nodes, connect: Connect) -> None:
    """What was there and what comes arrive as one chain, with the roots of hash points."""
    one = Observing(connect()).until(nodes.log.replica.index)
    last = put(nodes, 80)
    one.until(last)
    assert one.head is not None
    assert (one.head.machine, one.head.version, one.head.first, one.head.applied) == ("everything", 1, 1, 12)
    assert one.head.hash_milliseconds == 1000
    assert one.entries == nodes.log.entries
    assert one.roots == nodes.log.replica.roots
    assert one.chain == nodes.services[0].feed_node.chain_at(last)
    assert not one.skips


def test_from_an_index_with_its_chain(nodes: Nodes, connect: Connect) -> None:
    """An observer that comes again names what it holds, and gets what follows; what it holds must be the same log."""
    service = nodes.services[0]
    two = Observing(connect(), 5, service.feed_node.chain_at(5)).until(nodes.log.replica.index)
    assert two.entries == nodes.log.entries[5:]
    other = Observing(connect(), 5, b"another's chain ")
    other.step()
    other.step()
    assert other.failure is not None
    assert other.failure[1][0] == "DivergenceError"


@pytest.mark.parametrize(
    "request_of_it",
    [protocol.Observe(5, b"", 0, [], False), protocol.Observe(0, b"", 0, ["trades/"], False)],
)
def test_what_cannot_be_asked_for(connect: Connect, request_of_it: protocol.Observe) -> None:
    """To go on without a chain, and topics of the log, are mistakes, and the connection goes on."""
    raw = connect()
    raw.request(request_of_it)
    failure = next_frame(raw)
    assert isinstance(failure, tuple)
    assert failure[1][0] == "CallerError"
    assert Observing(raw).until(12).head is not None


def test_one_subscription_a_connection_until_it_is_cancelled(nodes: Nodes, connect: Connect) -> None:
    """A second one is refused, and a cancelled one is over in silence."""
    raw = connect()
    first = Observing(raw).until(12)
    raw.request(protocol.Observe(0, b"", 0, [], False))
    assert isinstance(failure := next_frame(raw), tuple)
    assert failure[1][0] == "CallerError"
    raw.request(protocol.Cancel(), first.request_id)
    assert raw.ask(protocol.Status())
    put(nodes, 1)
    assert Observing(raw, 12, first.chain).until(14).entries == nodes.log.entries[12:]
    until(lambda: nodes.do(lambda: len(nodes.server.feed.observers)) == 1)


def test_an_observer_that_is_ahead_gets_what_follows_when_it_is_there(nodes: Nodes, connect: Connect) -> None:
    """It comes from a node that has applied more: nothing is sent twice, and its chain is compared in the end."""
    log = nodes.log
    ahead = Nodes(1)
    try:
        ahead.do(lambda: [ahead.log.apply(entry) for entry in log.entries[1:]])
        last = put(ahead, 3)
        chain = ahead.services[0].feed_node.chain_at(last - 1)
        waiting = Observing(connect(), last - 1, chain)
        waiting.step()
        nodes.do(lambda: [log.apply(entry) for entry in ahead.log.entries[12:]])
        assert waiting.until(last).entries == ahead.log.entries[last - 1 :]
    finally:
        ahead.close()


def test_one_that_is_behind_does_not_make_the_feed_forget_the_others(nodes: Nodes, connect: Connect) -> None:
    """The feed begins anew, and somebody new asks before the others are told: they get what lies between."""
    one = Observing(connect()).until(12)
    until(lambda: nodes.do(lambda: len(nodes.server.feed._log.live)) == 1)

    def forget() -> None:
        feed = nodes.server.feed
        feed._flush_from = nodes.loop.time() + 0.3
        feed.swapped()

    nodes.do(forget)
    last = put(nodes, 5)
    assert Observing(connect()).until(last).entries == nodes.log.entries
    assert nodes.do(lambda: nodes.server.feed._flush_timer) is not None, "it was to be told later"
    until(lambda: nodes.do(lambda: {seen.position for seen in nodes.server.feed.observers}) == {last})
    assert one.until(last).entries == nodes.log.entries
    last = put(nodes, 5)
    assert one.until(last).entries == nodes.log.entries


def test_a_frame_is_encoded_once_for_all(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty observers who are live get the same bytes."""
    observers = [Observing(connect()) for _ in range(50)]
    for one in observers:
        one.until(12)
    until(lambda: nodes.do(lambda: len(nodes.server.feed._log.live)) == 50)
    made: list[int] = []
    encode = frames.encode_entries

    def counted(*arguments: Any) -> bytes:
        made.append(len(arguments[0]))
        return encode(*arguments)

    monkeypatch.setattr(entries, "encode_entries", counted)
    last = put(nodes, 200)
    for one in observers:
        one.until(last)
    assert sum(made) == last - 12
    assert len(made) < 30
    assert nodes.do(lambda: nodes.server.feed.bytes_total) > 50 * 200


def test_who_is_gone_costs_nothing(nodes: Nodes, connect: Connect) -> None:
    """A connection that ends takes its subscription with it, and nothing is gathered for nobody."""
    one = Observing(connect()).until(12)
    one.raw.socket.close()
    until(lambda: nodes.do(lambda: not nodes.server.feed.observers))
    put(nodes, 5)
    feed = nodes.server.feed
    assert nodes.do(lambda: (feed._log.index, feed._log._gathered, len(feed._log._ring.frames))) == (None, [], 0)


def test_a_node_in_doubt_feeds_nobody(nodes: Nodes, connect: Connect) -> None:
    """Its observers are told to go to the leader, or to come again, and new ones are refused."""
    service = nodes.services[0]
    raw = connect()
    one = Observing(raw).until(12)
    nodes.do(lambda: setattr(service, "in_doubt", "this node is suspect"))
    put(nodes, 1)
    one.step()
    assert one.failure == (AnswerStatus.BUSY, ["this node is suspect", 100])
    nodes.do(lambda: setattr(service, "leader", (7, "127.0.0.1:7")))
    other = Observing(raw)
    other.step()
    assert other.failure == (AnswerStatus.REDIRECT, ["127.0.0.1:7"])
    nodes.do(lambda: setattr(service, "in_doubt", ""))
    assert Observing(raw, one.index, one.chain).until(14).entries == nodes.log.entries[12:]


def test_another_state_disturbs_nobody(nodes: Nodes, connect: Connect) -> None:
    """When another replica takes over, what it has applied meanwhile is read from the log."""
    one = Observing(connect()).until(12)
    until(lambda: nodes.do(lambda: len(nodes.server.feed._log.live)) == 1)

    def swap() -> None:
        log = nodes.log
        tell, log.on_apply = log.on_apply, lambda _entry, _applied: None
        for _ in range(5):
            log.tick()
        log.on_apply = tell
        server = nodes.services[0].server
        assert server is not None
        server.swapped()

    nodes.do(swap)
    one.until(17)
    one.until(put(nodes, 3))
    assert one.entries == nodes.log.entries


def test_silence_is_told_from_death(nodes: Nodes, connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    """An observer hears that nothing has happened."""
    monkeypatch.setattr("rsm.node.feed.feed.FEED_ALIVE_SECONDS", 0.1)
    one = Observing(connect()).until(12)
    while len(one.alive) < 3:
        one.step()
    assert one.alive == [12, 12, 12]


@pytest.mark.parametrize(("owner", "status"), [("eve", None), ("ann", None), ("node-1", AnswerStatus.ERROR)])
def test_roles(tmp_path: Any, owner: str, status: AnswerStatus | None) -> None:
    """Observers and clients may observe, members have no business here."""
    certs = str(tmp_path / "certs")
    init_certificates(certs, nodes=1, clients=["ann"], observers=["eve"])

    def options(name: str) -> TlsOptions:
        return TlsOptions(*(os.path.join(certs, file) for file in ("ca.crt", f"{name}.crt", f"{name}.key")))

    nodes = Nodes(1, Everything, tls=options("node-1").server_context())
    try:
        raw = Raw(nodes.addresses[0], options(owner).client_context())
        assert raw.frame() is not None
        one = Observing(raw)
        one.step()
        assert (None if one.failure is None else one.failure[0]) == status
        if status is None:
            assert one.until(1).entries == nodes.log.entries
        raw.socket.close()
    finally:
        nodes.close()
