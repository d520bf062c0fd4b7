"""`rsm.connect` against real sockets: leaders move, answers get lost, sessions end, addresses lie."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

import rsm
from rsm.codec import cbor
from rsm.limits import CLIENT_FRAME_ITEMS_MAX, COMMANDS_IN_FLIGHT_MAX, EVENTS_KEPT
from rsm.node.network import protocol
from rsm.node.network.certificates import init_certificates
from rsm.node.network.handshake import WRONG_ROLE, Refused
from rsm.node.network.tls import TlsOptions
from rsm.node.network.wire import FrameKind, encode_frame
from rsm.replica.batch import CLOSE_SESSION
from tests.client_service import Nodes
from tests.machines import Bank, Everything
from tests.unit.cli.nodes import strangers


@pytest.fixture
def nodes() -> Iterator[Nodes]:
    """Three nodes on one log; the first leads."""
    running = Nodes(3)
    yield running
    running.close()


@pytest.fixture
def client(nodes: Nodes) -> Iterator[Any]:
    """A client that was given the address of a follower."""
    connected: Any = rsm.connect(Everything, nodes.addresses[1], timeout_seconds=5)
    yield connected
    connected.close()


def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for a condition, bounded."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


def words(nodes: Nodes) -> dict[str, int]:
    """The state."""
    return nodes.do(lambda: dict(nodes.log.replica.machine.words.items()))  # type: ignore[attr-defined]


def line(nodes: Nodes) -> list[int]:
    """What was pushed, in order."""
    return nodes.do(lambda: [value for _, value in nodes.log.replica.machine.line.items()])  # type: ignore[attr-defined]


def test_any_address_leads_to_the_leader(nodes: Nodes, client: Any) -> None:
    """A client that knows one follower sends its commands to the leader, and reads what it wrote."""
    assert client.put("a", 1) is None
    assert client.put("a", 2) == 1
    assert client.word("a") == 2
    assert nodes.services[0].requests > 0
    assert [service.requests for service in nodes.services[1:]] == [0, 0]
    assert dict(client.all_words()) == {"a": 2}
    assert client.status().machine == "everything"
    assert client.status().index == nodes.log.replica.index
    assert client.snapshot() == nodes.log.replica.index


def test_the_types_of_a_client_are_the_machine_s() -> None:
    """Errors of the schema, rejections and failures of handlers come as from an embedded machine."""
    nodes = Nodes(1)
    with rsm.connect(Everything, nodes.addresses) as client:
        with pytest.raises(rsm.InvalidCommand, match="value"):
            client.put("a", "one")  # type: ignore[arg-type]
        with pytest.raises(rsm.Rejected, match="no a"):
            client.drop("a")
        with pytest.raises(rsm.HandlerFailed):
            client.break_off("raise")
        with pytest.raises(rsm.HandlerFailed, match="spoil"):
            client.spoil("scalar")
        with pytest.raises(rsm.CallerError, match="principal"):
            client.session(principal="other")
    nodes.close()


def test_a_pipeline_costs_one_round_trip(client: Any) -> None:
    """Commands that use each other's results travel together; a burst of sends shares few frames."""
    before = client.stats
    with client.pipeline() as p:
        at = p.push(5, "x")
        p.put("a", at)
        p.put("a", at)
    assert rsm.result(at) == 0
    after = client.stats
    assert (after.round_trips - before.round_trips, after.commands - before.commands) == (1, 1)
    pending = [client.put.send("b", n) for n in range(2000)]
    assert [one.result(5) for one in pending] == [None, *range(1999)]
    assert client.stats.commands - after.commands == 2000
    assert client.stats.round_trips - after.round_trips < 200


def test_a_leader_that_moves_is_followed(nodes: Nodes, client: Any) -> None:
    """Commands on their way when leadership moves take effect once, in order, at the new leader."""
    pending = []
    for round_number in range(6):
        pending += [client.push.send(round_number * 100 + n, "x") for n in range(100)]
        nodes.lead((round_number + 1) % 3)
    for one in pending:
        one.result(5)
    assert line(nodes) == list(range(600))
    assert client.stats.redirects >= 1


def test_lost_answers_double_nothing(nodes: Nodes, client: Any) -> None:
    """Connections are cut after a request was applied and before its answer: each command takes effect once."""
    pending = []
    for start in range(0, 300, 50):
        nodes.do(lambda: setattr(nodes.services[0], "drop_answers", 1))
        pending += [client.push.send(start + n, "x") for n in range(50)]
        until(lambda: nodes.services[0].drop_answers == 0)
    for one in pending:
        one.result(5)
    assert line(nodes) == list(range(300))
    assert client.stats.retries > 0


@pytest.mark.parametrize("seed", range(3))
def test_whatever_happens_each_command_takes_effect_once(nodes: Nodes, client: Any, seed: int) -> None:
    """Leaders move, connections break, answers get lost, servers are busy, in any order: once each, in order."""
    generator = random.Random(seed)
    pending: list[Any] = []
    for _ in range(30):
        pending += [client.push.send(len(pending) + n, "x") for n in range(generator.randrange(1, 200))]
        service = nodes.services[generator.randrange(3)]
        match generator.randrange(6):
            case 0:
                nodes.lead(generator.choice([0, 1, 2, None]))
            case 1:
                nodes.do(service.cut)
            case 2:
                nodes.do(lambda service=service: setattr(service, "drop_answers", 2))
            case 3:
                nodes.do(lambda service=service: setattr(service, "busy", 2))
            case 4:
                nodes.do(lambda service=service: setattr(service, "slow_seconds", generator.choice([0.0, 0.005])))
            case _:
                time.sleep(0.01)
    nodes.lead(generator.randrange(3))
    for one in pending:
        one.result(10)
    assert line(nodes) == list(range(len(pending)))


def test_a_node_that_goes_away_and_comes_back_is_found_again(nodes: Nodes, client: Any) -> None:
    """The leader's port closes: the client goes on at the next leader, and comes back when that one goes."""
    client.put("a", 1)
    nodes.stop(0)
    pending = client.put.send("a", 2)
    nodes.lead(2)
    assert pending.result(5) == 1
    nodes.start(0)
    nodes.lead(0)
    nodes.stop(2)
    assert client.put.send("a", 3).result(5) == 2
    nodes.start(2)


def test_busy_is_tried_again_after_its_hint(nodes: Nodes, client: Any) -> None:
    """A server that says Busy gets the commands again, in order; so are reads and errors that pass."""
    nodes.do(lambda: setattr(nodes.services[0], "busy", 3))
    pending = [client.push.send(n, "x") for n in range(700)]
    for one in pending:
        one.result(5)
    assert line(nodes) == list(range(700))
    nodes.do(lambda: setattr(nodes.services[0], "error", rsm.StorageError("full")))
    write, read = client.put.send("a", 1), client.word.send("a")
    time.sleep(0.1)
    assert not write.done()
    assert not read.done()
    nodes.do(lambda: setattr(nodes.services[0], "error", None))
    assert write.result(5) is None
    assert read.result(5) in (None, 1)


def test_time_outs_leave_the_command_on_its_way(nodes: Nodes) -> None:
    """A synchronous call gives up after `timeout_seconds`, as does a read; the command may still take effect."""
    client = rsm.connect(Everything, nodes.addresses, timeout_seconds=0.4)
    nodes.do(lambda: setattr(nodes.services[0], "holds", True))
    began = time.monotonic()
    with pytest.raises(TimeoutError, match="put"):
        client.put("a", 1)
    with pytest.raises(TimeoutError, match="word"):
        client.word("a")
    assert 0.7 < time.monotonic() - began < 3
    nodes.do(lambda: setattr(nodes.services[0], "holds", False))
    nodes.do(nodes.services[0].cut)
    assert client.put("b", 2) is None
    assert words(nodes) == {"a": 1, "b": 2}
    client.close()


def test_an_expired_session_is_told_and_later_commands_go_on(nodes: Nodes, client: Any) -> None:
    """Commands of a session that the cluster has ended have an unknown outcome; the next ones open another session."""
    client.put("a", 1)
    session = client._session
    nodes.do(lambda: nodes.log.lead(CLOSE_SESSION, session))
    pending = [client.put.send("b", n) for n in range(3)]
    for one in pending:
        with pytest.raises(rsm.SessionExpired):
            one.result(5)
    assert client.put("c", 3) is None
    assert "b" not in words(nodes)
    assert nodes.do(lambda: session not in nodes.log.replica.sessions and len(nodes.log.replica.sessions) == 1)


def test_a_session_that_ended_in_silence_is_told_once(nodes: Nodes) -> None:
    """When a keep-alive finds the session ended, the next command hears of it instead of going on in another one."""
    client: Any = rsm.connect(Everything, nodes.addresses, timeout_seconds=5, session_ttl_seconds=0.3)
    session = client._session
    nodes.do(lambda: nodes.log.lead(CLOSE_SESSION, session))
    until(lambda: client._runtime._sessions[session].is_over)
    with pytest.raises(rsm.SessionExpired, match="not sent"):
        client.put("a", 1)
    assert client.put("b", 1) is None
    assert "a" not in words(nodes)
    client.close()


def test_keep_alives_keep_a_silent_session(nodes: Nodes) -> None:
    """A client that says nothing for longer than the session's time still has its session."""
    client: Any = rsm.connect(Everything, nodes.addresses, timeout_seconds=5, session_ttl_seconds=0.3)
    commands = client.stats.commands
    until(lambda: client.stats.commands >= commands + 3)
    assert client.put("a", 1) is None
    client.close()


def test_reads_of_less_go_to_followers(nodes: Nodes, client: Any) -> None:
    """Stale and session reads and those of at least an index are answered by a follower, with the index they saw."""
    client.put("a", 1)
    leader_requests = nodes.services[0].requests
    stale, session, at_least = client.reading("stale"), client.reading("session"), client.reading(at_least=3)
    for view in (stale, session, at_least):
        assert view.word("a") == 1
        assert view.stats.read_index == nodes.log.replica.index
        assert dict(view.all_words()) == {"a": 1}
    assert nodes.services[0].requests == leader_requests
    assert client.word("a") == 1
    assert nodes.services[0].requests == leader_requests + 1
    for wrong in ({}, {"level": "dirty"}, {"at_least": -1}, {"level": "stale", "at_least": 1}):
        with pytest.raises(rsm.InvalidCommand):
            client.reading(**wrong)
    with pytest.raises(rsm.CallerError, match="view"):
        stale.close()


def test_a_follower_that_does_not_answer_is_passed_over(nodes: Nodes, client: Any) -> None:
    """A read that any node may answer goes to the leader when the follower is silent, busy or gone."""
    client.put("a", 1)
    view = client.reading("stale")
    assert view.word("a") == 1
    for service in nodes.services[1:]:
        nodes.do(lambda service=service: setattr(service, "holds", True))
    assert view.word("a") == 1
    for position in (1, 2):
        nodes.stop(position)
    assert view.word("a") == 1
    for position in (1, 2):
        nodes.start(position)


def test_a_follower_in_doubt_of_its_state_is_left(nodes: Nodes, client: Any) -> None:
    """Its reads go to another node at once, and later ones do not come back to it for a while."""
    client.put("a", 1)
    views = client.reading("stale"), client.reading("session"), client.reading(at_least=3)
    assert [view.word("a") for view in views] == [1, 1, 1]
    for service in nodes.services[1:]:
        nodes.do(lambda service=service: setattr(service, "in_doubt", "this node is quarantined"))
    requests = [service.requests for service in nodes.services[1:]]
    began = time.monotonic()
    for _ in range(5):
        assert [view.word("a") for view in views] == [1, 1, 1]
        assert dict(views[0].all_words()) == {"a": 1}
    assert time.monotonic() - began < 1
    assert sum(service.requests for service in nodes.services[1:]) - sum(requests) <= 2


def test_commands_are_confirmed_if_that_is_wanted(nodes: Nodes, client: Any) -> None:
    """By the client, by a view, with a key, in a pipeline, from asyncio; a view may ask for less again."""
    service = nodes.services[0]

    def confirmed() -> int:
        before, service.confirmed = service.confirmed, 0
        return before

    client.put("a", 1)
    assert confirmed() == 0
    view = client.acking("confirmed")
    assert view.put("a", 2) == 1
    assert view.once("k").put("a", 3) == 2
    assert view.put.send("a", 4).result(5) == 3
    with view.reading("stale").pipeline() as steps:
        steps.put("a", 5)
    assert confirmed() == 4
    client.put("a", 6)
    assert view.acking("applied").put("a", 7) == 6
    assert confirmed() == 0
    with rsm.connect(Everything, nodes.addresses, ack="confirmed", timeout_seconds=5) as other:
        other.put("b", 1)
        with other.session() as session:
            session.put("b", 2)
        other.acking("applied").put("b", 3)
        assert confirmed() == 2
        other.tell("x", 3)
        assert len(list(other.events("cursor"))) == 4
        assert confirmed() == 1

    async def scenario() -> None:
        async with await rsm.connect_async(Everything, nodes.addresses, ack="confirmed") as other:
            assert await other.put.send("c", 1) is None
            await asyncio.gather(*(other.put.send("c", number) for number in range(100)))

    asyncio.run(scenario())
    assert 2 <= confirmed() <= 20
    for wrong in ("never", None, 5):
        with pytest.raises(rsm.InvalidCommand):
            client.acking(wrong)
    with pytest.raises(rsm.CallerError, match="view"):
        view.close()


def test_a_cluster_that_cannot_confirm_says_so(nodes: Nodes, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member of an older release does not know the request: one clear line, and a later session goes on."""
    monkeypatch.setattr(protocol, "_COMMANDS", {1: False})
    with pytest.raises(rsm.UnknownFormat, match=r'is of a release without ack="confirmed": request kind 15'):
        client.acking("confirmed").put("a", 1)
    assert client.put("a", 2) is None


def test_a_read_level_may_be_the_client_s(nodes: Nodes) -> None:
    """`read=` sets what queries ask for, and a view may ask for more."""
    with rsm.connect(Everything, nodes.addresses, read="stale", timeout_seconds=5) as client:
        requests = nodes.services[0].requests
        assert client.word("a") is None
        assert nodes.services[0].requests == requests
        assert client.reading("linearizable").word("a") is None
        assert nodes.services[0].requests == requests + 1


def test_streams_come_in_parts_and_a_reader_that_stops_holds_nobody_up(nodes: Nodes, client: Any) -> None:
    """A stream is whole and of one index however long it is; one that is dropped ends at the server."""
    for one in [client.put.send(f"k{n:05}", n) for n in range(3000)]:
        one.result(5)
    items = client.all_words()
    assert next(items) == ("k00000", 0)
    client.put("k00001", -1)
    assert [value for _, value in items] == list(range(1, 3000))
    stopped = client.all_words()
    next(stopped)
    connections = nodes.do(lambda: list(nodes.services[0].server.limiter._established))  # type: ignore[union-attr]
    assert sum(len(connection.streams) for connection in connections) == 1
    assert client.put("z", 1) is None
    del stopped
    until(lambda: not any(connection.streams for connection in connections))
    client.all_words()  # not even begun
    until(lambda: not any(connection.streams for connection in connections))
    with pytest.raises(rsm.HandlerFailed):
        list(client.spoil_slowly("map"))


def test_a_stream_that_is_cut_says_so(nodes: Nodes, client: Any) -> None:
    """What was handed out cannot be taken back: a stream does not begin again by itself."""
    for one in [client.put.send(f"k{n:05}", n) for n in range(3000)]:
        one.result(5)
    items = client.all_words()
    next(items)
    nodes.do(nodes.services[0].cut)
    with pytest.raises(rsm.Unreachable, match="begin it again"):
        list(items)
    assert len(list(client.all_words())) == 3000


def test_a_stream_that_was_left_lying_says_so(nodes: Nodes, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server ends it to let go of the state; its reader gets what was on its way, then the reason, and no end."""
    monkeypatch.setattr("rsm.node.serving.serving.STREAM_IDLE_SECONDS_MAX", 0.2)
    for one in [client.put.send(f"k{n:05}", n) for n in range(3000)]:
        one.result(5)
    items = client.all_words()
    found = [next(items)]
    time.sleep(0.6)
    with pytest.raises(rsm.LimitExceeded, match=r"all_words: no part was asked for within 0\.2 s; begin it again"):
        found.extend(items)
    assert 256 <= len(found) < 3000
    assert len(list(client.all_words())) == 3000


def test_events_are_read_followed_and_remembered(nodes: Nodes, client: Any) -> None:
    """Events cross the wire with their identity; a cursor lies in the log; a gap comes as `EventsGap`."""
    client.tell("a", 3)
    assert [event.value for event in client.events()] == [["a", 0], ["a", 1], ["a", 2]]
    assert len(list(client.events("mine"))) == 3
    assert list(client.events("mine")) == []
    found: list[Any] = []

    def follow() -> None:
        for event in client.events("mine", follow=True):
            found.append(event.value)
            if len(found) == 2:
                return

    follower = threading.Thread(target=follow)
    follower.start()
    time.sleep(0.1)
    client.tell("b", 2)
    follower.join(5)
    assert found == [["b", 0], ["b", 1]]
    client.tell("c", EVENTS_KEPT)
    client.tell("c", 10)
    with pytest.raises(rsm.EventsGap) as caught:
        list(client.events("late"))
    assert caught.value.oldest_index > 1


def test_following_ends_when_the_client_closes(nodes: Nodes) -> None:
    """A thread that waits for events hears that the client is closed, and does not wait for ever."""
    client: Any = rsm.connect(Everything, nodes.addresses, timeout_seconds=5)
    errors: list[BaseException] = []

    def follow() -> None:
        try:
            list(client.events(follow=True))
        except rsm.Closed as error:
            errors.append(error)

    follower = threading.Thread(target=follow)
    follower.start()
    time.sleep(0.1)
    client.close()
    follower.join(5)
    assert len(errors) == 1
    client.close()
    with pytest.raises(rsm.Closed):
        client.put("a", 1)
    with pytest.raises(rsm.Closed):
        client.word("a")
    assert nodes.do(lambda: len(nodes.log.replica.sessions)) == 0


def test_closing_waits_for_what_was_sent(nodes: Nodes) -> None:
    """Commands that were sent before `close` are answered; `close` ends every session of the client."""
    client: Any = rsm.connect(Everything, nodes.addresses, timeout_seconds=5)
    other = client.session(ttl_seconds=30)
    nodes.do(lambda: setattr(nodes.services[0], "slow_seconds", 0.05))
    pending = [client.push.send(n, "x") for n in range(10)] + [other.push.send(10, "x")]
    client.close()
    assert all(one.done() for one in pending)
    assert sorted(line(nodes)) == list(range(11))
    assert nodes.do(lambda: len(nodes.log.replica.sessions)) == 0


def test_closing_without_a_cluster_is_bounded(nodes: Nodes) -> None:
    """When nobody answers any more, `close` gives up after the time-out and says so to those who wait."""
    client: Any = rsm.connect(Everything, nodes.addresses, timeout_seconds=0.5)
    for position in range(3):
        nodes.stop(position)
    pending = client.put.send("a", 1)
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 3
    with pytest.raises(rsm.RsmError):
        pending.result(1)
    for position in range(3):
        nodes.start(position)


def test_asyncio_sends_reads_and_follows_without_blocking(nodes: Nodes) -> None:
    """Commands and queries are awaited, events iterated; a cancelled wait leaves the command on its way."""

    async def run() -> None:
        async with await rsm.connect_async(Everything, nodes.addresses, timeout_seconds=5) as client:
            answers = await asyncio.gather(*[client.put.send(f"k{n}", n) for n in range(500)])
            assert answers == [None] * 500
            assert await client.word.send("k7") == 7
            async with client.pipeline() as p:
                at = p.push(1, "x")
            assert rsm.result(at) == 0
            nodes.do(lambda: setattr(nodes.services[0], "slow_seconds", 0.2))
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_wait(client.put.send("late", 1)), 0.05)
            nodes.do(lambda: setattr(nodes.services[0], "slow_seconds", 0.0))
            assert await client.put.send("late", 2) == 1
            await client.tell.send("a", 2)
            seen = []
            async for event in client.events_async():
                seen.append(event.value)
                if len(seen) == 2:
                    break
            assert seen == [["a", 0], ["a", 1]]
            with pytest.raises(rsm.CallerError, match="iterate"):
                client.all_words.send()

    asyncio.run(run())


async def _wait(pending: Any) -> Any:
    return await pending


def test_full_queues_hold_up_threads_and_say_busy_to_loops(nodes: Nodes) -> None:
    """A thread that sends too much waits for room; a running event loop gets `Busy` with a hint."""
    client: Any = rsm.connect(Everything, nodes.addresses, timeout_seconds=5)
    nodes.do(lambda: setattr(nodes.services[0], "holds", True))

    async def fill() -> None:
        for n in range(COMMANDS_IN_FLIGHT_MAX):
            client.put.send("a", n)
        with pytest.raises(rsm.Busy) as caught:
            client.put.send("a", -1)
        assert caught.value.retry_seconds > 0

    asyncio.run(fill())
    sent = threading.Event()

    def one_more() -> None:
        client.put.send("b", 1)
        sent.set()

    thread = threading.Thread(target=one_more)
    thread.start()
    assert not sent.wait(0.2)
    nodes.do(lambda: setattr(nodes.services[0], "holds", False))
    nodes.do(nodes.services[0].cut)
    assert sent.wait(10)
    thread.join(5)
    client.close()
    assert {key: words(nodes)[key] for key in ("a", "b")} == {"a": COMMANDS_IN_FLIGHT_MAX - 1, "b": 1}


def test_large_commands_are_bounded_by_their_bytes(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Few large commands fill the client as many small ones do; what was answered makes room again."""
    monkeypatch.setattr("rsm.client.remote.admission.BYTES_IN_FLIGHT_MAX", 1_000_000)
    client: Any = rsm.connect(Everything, nodes.addresses, timeout_seconds=5)

    async def fill() -> None:
        nodes.do(lambda: setattr(nodes.services[0], "holds", True))
        first = client.put.send("x" * 600_000, 1)
        with pytest.raises(rsm.Busy):
            client.put.send("y" * 600_000, 1)
        client.put.send("small", 1)
        nodes.do(lambda: setattr(nodes.services[0], "holds", False))
        nodes.do(nodes.services[0].cut)
        await first
        await client.put.send("y" * 600_000, 1)

    asyncio.run(fill())
    client.close()


class Adding(rsm.StateMachine, name="adding", version=1):
    """Takes as many values as it is given."""

    @rsm.command()
    def add(self, ctx: rsm.Context, values: list[int]) -> int:
        return len(values)


def test_a_command_of_too_many_values_is_told_before_it_is_sent() -> None:
    """The server would refuse its frame, and the session with all that was sent behind it would be lost."""
    nodes = Nodes(1, Adding)
    with rsm.connect(Adding, nodes.addresses, timeout_seconds=5) as client:
        with pytest.raises(rsm.LimitExceeded, match="values"):
            client.add(list(range(CLIENT_FRAME_ITEMS_MAX)))
        assert client.add(list(range(CLIENT_FRAME_ITEMS_MAX - 32))) == CLIENT_FRAME_ITEMS_MAX - 32
    nodes.close()


def test_a_leader_that_falls_silent_is_left(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A leader that was stopped keeps its connections and answers nothing: the client asks the others who leads."""
    monkeypatch.setattr("rsm.client.remote.cluster.LEADER_SILENCE_SECONDS_MAX", 0.2)
    client: Any = rsm.connect(Everything, nodes.addresses, timeout_seconds=5)
    client.put("a", 1)
    nodes.do(lambda: setattr(nodes.services[0], "holds", True))
    nodes.lead(1)
    nodes.do(lambda: setattr(nodes.services[0], "leads", True))  # as far as it knows
    nodes.do(lambda: setattr(nodes.services[0], "leader", (1, nodes.addresses[0])))
    assert client.put("a", 2) == 1
    assert words(nodes) == {"a": 2}
    client.close()


def test_a_client_with_a_certificate_is_who_it_says(tmp_path: Any) -> None:
    """Over TLS the principal is the certificate's name; without one, or with a stranger's, nobody is let in."""
    options: dict[tuple[str, str], TlsOptions] = {}
    for place in ("ours", "theirs"):
        ca, *owners = init_certificates(str(tmp_path / place), nodes=1, clients=["ann"])
        for made in owners:
            options[place, made.name] = TlsOptions(ca.certificate, made.certificate, made.key)
    nodes = Nodes(1, tls=options["ours", "node-1"].server_context())
    ours = options["ours", "ann"]
    with rsm.connect(Everything, nodes.addresses, tls=ours, principal="bob", timeout_seconds=5) as client:
        assert client.put("a", 1) is None
        assert client.word("a") == 1
        assert nodes.do(lambda: [one.principal for one in nodes.log.replica.sessions.values()]) == ["ann"]
        with pytest.raises(rsm.CallerError, match="role"):
            client.snapshot()
    for tls in (None, options["theirs", "ann"]):
        with pytest.raises(rsm.Unreachable, match=nodes.addresses[0]):
            rsm.connect(Everything, nodes.addresses, tls=tls, timeout_seconds=0.5)
    nodes.close()


def for_any_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Certificates as another tool may make them: ours say that a client's is for clients, and TLS looks at that."""
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH])
    monkeypatch.setattr(x509, "ExtendedKeyUsage", lambda _: both)


@pytest.mark.parametrize("owner", ["ann", "node-2"])
def test_who_poses_as_a_node_gets_no_commands(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, owner: str) -> None:
    """A port that shows the certificate of a client or of another node is passed over."""
    for_any_use(monkeypatch)
    ca, *owners = init_certificates(str(tmp_path), nodes=2, clients=["ann"])
    options = {made.name: TlsOptions(ca.certificate, made.certificate, made.key) for made in owners}
    posing, honest = (Nodes(1, tls=options[name].server_context()) for name in (owner, "node-1"))
    with pytest.raises(rsm.Unreachable, match=f"wrong role: .*{owner}"):
        rsm.connect(Everything, posing.addresses, tls=options["ann"], timeout_seconds=0.5)
    addresses = posing.addresses + honest.addresses
    with rsm.connect(Everything, addresses, tls=options["ann"], timeout_seconds=5) as client:
        assert client.put("a", 1) is None
    assert posing.services[0].requests == 0
    assert words(honest)["a"] == 1
    posing.close()
    honest.close()


def test_idempotency_keys_and_outcomes_work_over_the_wire(nodes: Nodes, client: Any) -> None:
    """A key runs its command once, in whichever session; its outcome can be settled."""
    assert client.once("k").push(1, "x") == 0
    with rsm.connect(Everything, nodes.addresses) as other:
        assert other.once("k").push(1, "x") == 0
        assert other.outcome("k").result == 0
        assert other.outcome("never").state == "not_applied"
    assert line(nodes) == [1]


# --- connecting -------------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_addresses_that_nobody_listens_on_are_one_clear_line() -> None:
    """The error names each address and what was found there, when the time is over."""
    ports = [free_port(), free_port()]
    began = time.monotonic()
    with pytest.raises(rsm.Unreachable) as caught:
        rsm.connect(Bank, [f"127.0.0.1:{port}" for port in ports], timeout_seconds=0.3)
    assert time.monotonic() - began < 2
    text = str(caught.value)
    assert "\n" not in text
    assert all(f"127.0.0.1:{port}: nobody listens there" in text for port in ports)


def test_the_members_port_is_told_at_once() -> None:
    """Where every address is one that is not for clients there is nothing to wait for; where one may come, there is."""
    reason = str(Refused(WRONG_ROLE, "this port is for peer, not 'client'"))
    refusal = encode_frame(FrameKind.REFUSAL, cbor.encode([reason]))
    with strangers(refusal) as members:
        began = time.monotonic()
        with pytest.raises(rsm.Unreachable, match=rf"{members}: refused: {reason}"):
            rsm.connect(Bank, members, timeout_seconds=30)
        assert time.monotonic() - began < 5
        silent = f"127.0.0.1:{free_port()}"
        began = time.monotonic()
        with pytest.raises(rsm.Unreachable, match=f"{members}: refused: .*{silent}: nobody listens there"):
            rsm.connect(Bank, [members, silent], timeout_seconds=0.5)
        assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("addresses", ["", [], "nohost", "host:port", ["a:1", 5], 5, "h:70000"])
def test_what_is_no_address_is_the_caller_s_mistake(addresses: Any) -> None:
    """Addresses are checked before anything is dialed."""
    with pytest.raises(rsm.CallerError, match="address"):
        rsm.connect(Bank, addresses, timeout_seconds=0.3)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout_seconds": 0},
        {"session_ttl_seconds": -1},
        {"session_ttl_seconds": 10**9},
        {"read": "dirty"},
        {"ack": "never"},
        {"principal": 5},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    """Options that cannot work are refused, by name, before anything is dialed."""
    with pytest.raises(rsm.CallerError):
        rsm.connect(Bank, "127.0.0.1:1", **options)
    with pytest.raises(rsm.DefinitionError):
        rsm.connect(dict, "127.0.0.1:1")  # type: ignore[type-var]


def test_another_machine_is_refused_at_once(nodes: Nodes) -> None:
    """A cluster of another machine is told by name, without waiting for the time-out."""
    began = time.monotonic()
    with pytest.raises(rsm.WrongMachine, match="everything"):
        rsm.connect(Bank, nodes.addresses, timeout_seconds=5)
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("greeting", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4, b"\x00" * 100])
def test_a_port_that_speaks_something_else_is_one_clear_line(greeting: bytes) -> None:
    """A web server, or one that says nothing, is not taken for a node; the client does not hang on it."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                accepted.append(connection)
                connection.sendall(greeting)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    try:
        with pytest.raises(rsm.Unreachable, match=address) as caught:
            rsm.connect(Bank, address, timeout_seconds=0.5)
        assert "\n" not in str(caught.value)
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in accepted:
            connection.close()
        thread.join(5)


def test_a_cluster_without_a_leader_is_unreachable_until_it_has_one(nodes: Nodes) -> None:
    """Members answer, but nobody leads: the client waits for one, for as long as it was told."""
    nodes.lead(None)
    with pytest.raises(rsm.Unreachable, match="does not lead"):
        rsm.connect(Everything, nodes.addresses, timeout_seconds=0.3)
    timer = threading.Timer(0.3, lambda: nodes.lead(1))
    timer.start()
    with rsm.connect(Everything, nodes.addresses, timeout_seconds=5) as client:
        assert client.put("a", 1) is None
    timer.join()


def test_a_node_of_another_cluster_is_passed_over(nodes: Nodes) -> None:
    """Once connected, a client does not follow an address into another cluster."""
    other = Nodes(1)
    other.do(lambda: setattr(other.services[0], "cluster_id", b"d" * 16))
    client: Any = rsm.connect(Everything, nodes.addresses, timeout_seconds=0.5)
    client.put("a", 1)
    nodes.addresses[0] = other.addresses[0]
    nodes.lead(0)
    nodes.do(lambda: [setattr(service, "leads", False) for service in nodes.services])
    with pytest.raises(TimeoutError):
        client.put("a", 2)
    assert "a" not in other.do(lambda: dict(other.log.replica.machine.words.items()))  # type: ignore[attr-defined]
    client.close()
    other.close()


def test_an_embedded_client_has_the_same_face(tmp_path: Any) -> None:
    """`reading` and `stats` are there for machines in this process too: no round trips, always the latest state."""
    with rsm.open(Bank, tmp_path / "bank") as bank:
        bank.deposit("ann", 5)
        view = bank.reading("stale")
        assert view.balance("ann") == 5
        assert view.stats.read_index == bank.status().index
        assert bank.stats.round_trips == 0
        assert bank.balance.send("ann").result() == 5
