"""Kraken's feed over a WebSocket: what its documents say is sent is sent, and a reader's own book stays right."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from demos.orderbook.face import kraken_reader
from demos.orderbook.formats.kraken import integers, level_checksum
from demos.orderbook.records import BUY, IOC, SELL
from tests.face_stage import FaceStage

pytest.importorskip("websockets", reason="needs websockets (the extra `demos`)")

PAIR = "ACME/USD"


class Client:
    """A connection, and the messages that it has been sent."""

    def __init__(self, stage: FaceStage) -> None:
        from websockets.sync.client import connect

        self.socket = connect(f"ws://127.0.0.1:{stage.ports.http}/ws", compression=None, max_size=None)

    def ask(self, event: str, name: str, pair: Any = PAIR, **fields: Any) -> None:
        request = {"event": event, "pair": [pair], "subscription": {"name": name, **fields}, "reqid": 7}
        self.socket.send(json.dumps(request))

    def hear(self, seconds: float = 10.0) -> Any:
        """The next message that is no heartbeat."""
        while True:
            message = json.loads(self.socket.recv(timeout=seconds))
            if message != {"event": "heartbeat"}:
                return message

    def book(self, until: int) -> tuple[dict[str, str], dict[str, str], int]:
        """Follow a book from its snapshot up to a number of updates; checks each checksum on the way."""
        message = self.hear()
        asks, bids = ({row[0]: row[1] for row in message[1][side]} for side in ("as", "bs"))
        depth = int(message[-2].removeprefix("book-"))
        for _ in range(until):
            message = self.hear()
            parts = {key: value for part in message[1:-2] for key, value in part.items()}
            for side, key, is_bid in ((asks, "a", False), (bids, "b", True)):
                for price, quantity, *_ in parts.get(key, ()):
                    if float(quantity):
                        side[price] = quantity
                    else:
                        side.pop(price, None)
                for price in sorted(side, key=float, reverse=is_bid)[depth:]:
                    del side[price]
            assert "c" in message[-3], "the checksum stands in the last object"
            assert int(parts["c"]) == self.checksum(asks, bids)
        return asks, bids, depth

    @staticmethod
    def checksum(asks: dict[str, str], bids: dict[str, str]) -> int:
        ordered = [sorted(side.items(), key=lambda one: float(one[0])) for side in (asks, bids)]
        return level_checksum(ordered[0], ordered[1][::-1])


@pytest.fixture(scope="module")
def stage() -> Iterator[FaceStage]:
    with FaceStage(seed=4) as stage:
        stage.trade(2_000)
        yield stage


@pytest.fixture
def client(stage: FaceStage) -> Iterator[Client]:
    client = Client(stage)
    with client.socket:
        status = client.hear()
        assert (status["event"], status["status"]) == ("systemStatus", "online")
        yield client
    deadline = time.monotonic() + 10.0
    while stage.call(lambda: len(stage.servers.hub.readers)):
        assert time.monotonic() < deadline, "the connection is still served"
        time.sleep(0.01)


@pytest.mark.parametrize("depth", [10, 25, 100])
def test_a_book_follows_the_machine_at_every_depth(stage: FaceStage, client: Client, depth: int) -> None:
    """Status, snapshot, updates: every checksum is right, and at the end the levels are those of the query."""
    client.ask("subscribe", "book", depth=depth)
    status = client.hear()
    assert (status["status"], status["channelName"], status["pair"]) == ("subscribed", f"book-{depth}", PAIR)
    assert (status["reqid"], status["subscription"]) == (7, {"name": "book", "depth": depth})
    before = channel_updates(stage, depth)
    for _ in range(60):
        stage.trade(25)
    asks, bids, _ = client.book(channel_updates(stage, depth) - before)
    for side, levels in ((SELL, asks), (BUY, bids)):
        expected = [row[:2] for row in stage.call(lambda side=side: stage.machine.depth(1, side, depth))]
        assert sorted(integers(levels.items()), reverse=side == BUY) == expected


def channel_updates(stage: FaceStage, depth: int) -> int:
    return stage.call(lambda: stage.servers.hub._channel(("book", PAIR, depth)).updates)


def test_a_level_that_comes_back_into_sight_is_published_again(stage: FaceStage, client: Client) -> None:
    """It was there all the time, further away: its row ends with r."""
    client.ask("subscribe", "book", depth=10)
    client.hear()
    snapshot = client.hear()
    eleventh = stage.call(lambda: stage.machine.depth(1, SELL, 11))[10]
    best = stage.call(lambda: stage.machine.depth(1, SELL, 1))[0]
    stage.run("alder", "place", 10**12 + 1, 1, BUY, 10**8, best[0], IOC)  # what icebergs hide there, too
    rows = client.hear()[1]["a"]
    assert [rows[0][0], rows[0][1]] == [snapshot[1]["as"][0][0], "0"]
    assert rows[-1][1:2] + rows[-1][3:] == [str(eleventh[1]), "r"]


def test_trades_and_candles_are_told(stage: FaceStage, client: Client) -> None:
    """Both begin with what was; then each trade, with the taker's side, and the candle that it is in."""
    for name, fields in (("trade", {}), ("candle", {"seconds": 5}), ("ohlc", {"interval": 1})):
        client.ask("subscribe", name, **fields)
        assert client.hear()["status"] == "subscribed"
        client.hear()
    best = stage.call(lambda: stage.machine.depth(1, SELL, 1))[0]
    stage.run("alder", "place", 10**12, 1, BUY, 1, best[0], 1)
    heard = {message[-2]: message for message in (client.hear() for _ in range(3))}
    price = f"{best[0] // 100}.{best[0] % 100:02d}"
    assert heard["trade"][1][0][:2] == [price, "1"]
    assert heard["trade"][1][0][3:5] == ["b", "l"]
    assert heard["candle-5"][1][-1][5] == heard["ohlc-1"][1][5] == price


def test_subscribing_again_sends_the_snapshot_again_and_unsubscribing_ends_it(stage: FaceStage, client: Client) -> None:
    """The way back of a reader whose copy is wrong."""
    for _ in range(2):
        client.ask("subscribe", "book", depth=10)
        assert client.hear()["status"] == "subscribed"
        assert "as" in client.hear()[1]
    client.ask("unsubscribe", "book", depth=10)
    assert client.hear()["status"] == "unsubscribed"
    stage.trade(200)
    client.socket.send('{"event":"ping","reqid":3}')
    assert client.hear() == {"event": "pong", "reqid": 3}


@pytest.mark.parametrize(
    ("request_text", "message"),
    [
        ("hello", "Malformed request"),
        ("[]", "Malformed request"),
        ('{"event":"buy"}', "Unknown event"),
        ('{"event":"subscribe"}', "Subscription name invalid"),
        ('{"event":"subscribe","subscription":{"name":"book"}}', "Pair(s) not found"),
        ('{"event":"subscribe","pair":["A/B"],"subscription":{"name":"book"}}', "Currency pair not supported A/B"),
        (
            '{"event":"subscribe","pair":["ACME/USD"],"subscription":{"name":"book","depth":11}}',
            "Subscription depth not supported",
        ),
        ('{"event":"unsubscribe","pair":["ACME/USD"],"subscription":{"name":"trade"}}', "Subscription Not Found"),
        ('{"event":"ping","x":"' + "y" * 20_000 + '"}', "Request is too long"),
    ],
)
def test_bad_requests_are_answered_with_what_is_wrong(client: Client, request_text: str, message: str) -> None:
    """An error each, and the connection goes on."""
    client.socket.send(request_text)
    assert client.hear()["errorMessage"] == message
    client.socket.send('{"event":"ping"}')
    assert client.hear() == {"event": "pong"}


def test_a_binary_message_is_a_bad_request_too(client: Client) -> None:
    """It is answered like any other that is not understood."""
    client.socket.send(b"\0\1")
    assert client.hear()["errorMessage"] == "Malformed request"


def test_a_pair_that_is_named_again_and_again_is_subscribed_to_once(client: Client) -> None:
    """One answer and one snapshot, whatever the request repeats."""
    request = {"event": "subscribe", "pair": [PAIR] * 256, "subscription": {"name": "book", "depth": 100}}
    client.socket.send(json.dumps(request))
    assert client.hear()["status"] == "subscribed"
    assert "as" in client.hear()[1]
    client.socket.send('{"event":"ping"}')
    assert client.hear() == {"event": "pong"}


def test_a_flood_of_requests_is_answered_one_by_one(stage: FaceStage, client: Client) -> None:
    """More answers than may wait for a reader: a request is taken when the one before it is answered; none is lost."""
    for _ in range(kraken_reader.OUTBOX_MESSAGES_MAX):
        client.ask("subscribe", "book", depth=10)
    for _ in range(kraken_reader.OUTBOX_MESSAGES_MAX):
        assert client.hear()["status"] == "subscribed"
        assert "as" in client.hear()[1]
    assert stage.call(lambda: [reader.skips for reader in stage.servers.hub.readers]) == [0]


def test_while_the_exchange_s_state_is_in_doubt_nothing_is_told_of_it(stage: FaceStage, client: Client) -> None:
    """Maintenance, with the reason; a subscription waits; then the status is online and every book begins."""
    client.ask("subscribe", "book", depth=10)
    client.hear()
    client.hear()
    stage.call(lambda: stage.face.halt("index 7: another root"))
    status = client.hear()
    assert (status["status"], status["message"]) == ("maintenance", "index 7: another root")
    stage.trade(50)
    client.ask("subscribe", "book", depth=25)
    assert client.hear()["channelName"] == "book-25"
    other = Client(stage)
    with other.socket:
        assert other.hear()["status"] == "maintenance"
    stage.skip(0)
    assert client.hear()["status"] == "online"
    heard = {message[-2]: message[1] for message in (client.hear(), client.hear())}
    for depth in (10, 25):
        expected = stage.call(lambda depth=depth: stage.machine.depth(1, SELL, depth))
        assert [integers([row[:2]])[0] for row in heard[f"book-{depth}"]["as"]] == [row[:2] for row in expected]


def test_an_idle_subscription_hears_heartbeats(client: Client) -> None:
    """One a second while nothing happens."""
    client.ask("subscribe", "book", depth=10)
    client.hear()
    client.hear()
    assert json.loads(client.socket.recv(timeout=5.0)) == {"event": "heartbeat"}


def test_a_reader_that_falls_behind_is_skipped_forward(
    stage: FaceStage, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With room for four messages: what waits is dropped, and a new snapshot brings its book to the newest state."""
    monkeypatch.setattr(kraken_reader, "OUTBOX_MESSAGES_MAX", 4)
    client.ask("subscribe", "book", depth=25)
    client.hear()
    client.hear()

    def burst() -> None:
        for _ in range(30):
            stage._trade(40)  # thirty flushes in one turn of the loop

    stage.call(burst)
    reader = next(iter(stage.servers.hub.readers))
    assert reader.skips >= 1
    message = client.hear()
    while "as" not in message[1]:
        message = client.hear()
    expected = stage.call(lambda: stage.machine.depth(1, SELL, 25))
    assert [integers([row[:2]])[0] for row in message[1]["as"]] == [row[:2] for row in expected]


def test_after_a_jump_in_the_log_every_book_begins_again(stage: FaceStage, client: Client) -> None:
    """The face takes a snapshot of the log: its readers get theirs, unasked."""
    client.ask("subscribe", "book", depth=10)
    client.hear()
    client.hear()
    stage.skip(300)
    message = client.hear()
    expected = stage.call(lambda: stage.machine.depth(1, BUY, 10))
    assert [integers([row[:2]])[0] for row in message[1]["bs"]] == [row[:2] for row in expected]
    before = time.monotonic()
    stage.trade(100)
    assert "c" in client.hear()[-3]
    assert time.monotonic() - before < 5.0
