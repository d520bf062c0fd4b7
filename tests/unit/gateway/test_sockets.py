"""Events and watched queries over WebSocket: what browsers are told, and what becomes of slow ones."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from starlette.responses import Response
from starlette.websockets import WebSocketState
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from rsm.gateway import sockets
from rsm.gateway.arguments import Forms
from rsm.gateway.connecting import Connection
from rsm.gateway.sockets import Browser, Sockets
from rsm.gateway.watching import Watching
from rsm.limits import GATEWAY_QUEUE_BYTES_MAX, PIPELINE_STEPS_MAX, TOPICS_MAX
from tests.unit.gateway import stage
from tests.unit.gateway.conftest import Served

pytestmark = pytest.mark.xdist_group("gateway")


@contextlib.contextmanager
def listening(served: Served, path: str, **options: Any) -> Iterator[ClientConnection]:
    """A WebSocket of the gateway."""
    with connect(served.url.replace("http", "ws", 1) + path, close_timeout=1, **options) as socket:
        yield socket


def next_of(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next message of a kind; others are passed over."""
    deadline = time.monotonic() + 20
    while True:
        found: dict[str, Any] = json.loads(socket.recv(timeout=max(0.0, deadline - time.monotonic())))
        if found["type"] == kind:
            return found


def note(served: Served, name: str, text: str) -> int:
    """Keep a note; the index."""
    answer = served.http.post("/commands/note", json=[name, text])
    assert answer.status_code == 200, answer.text
    return int(answer.json()["index"])


def events_until(socket: ClientConnection, index: int) -> list[dict[str, Any]]:
    """The events that come, up to one of this index or a later one."""
    found: list[dict[str, Any]] = []
    while not found or found[-1]["index"] < index:
        found += next_of(socket, "events")["events"]
    return found


def test_events_come_in_order_with_identity_and_value(served: Served) -> None:
    """Each event behind the head's index, once; a record is an object with its tag."""
    with listening(served, "/feed") as socket:
        head = next_of(socket, "head")
        assert (head["machine"], head["version"]) == ("shop", 1)
        indexes = [note(served, "order", f"text {number}") for number in range(20)]
        receipt = served.http.post("/commands/order", json=["buy", [{"item": "tea", "quantity": 2}]])
        last = receipt.json()["index"]
        found = [event for event in events_until(socket, last) if event["index"] > head["index"]]
    assert [event["index"] for event in found] == [*indexes, last]
    assert [event["value"]["text"] for event in found[:-1]] == [f"text {number}" for number in range(20)]
    assert found[0]["topic"] == "notes/t"
    assert found[-1]["topic"] == "orders"
    assert found[-1]["value"] == {"type": "ordered", "receipt": receipt.json()["result"]}
    identities = [(event["index"], event["position"], event["step"], event["number"]) for event in found]
    assert sorted(set(identities)) == identities


def test_topics(served: Served) -> None:
    """Whole topics and beginnings that end in a slash; each listener gets its own."""
    with (
        listening(served, "/feed?topics=notes/a") as a,
        listening(served, "/feed?topics=orders,notes/") as all_of_them,
        listening(served, "/feed?topics=notes") as none,
    ):
        for socket in (a, all_of_them, none):
            next_of(socket, "head")
        for text in ("a1", "b1", "a2"):
            last = note(served, "topics", text)
        assert [event["value"]["text"] for event in events_until(a, last)][-2:] == ["a1", "a2"]
        assert [event["value"]["text"] for event in events_until(all_of_them, last)][-3:] == ["a1", "b1", "a2"]
        with pytest.raises(TimeoutError):
            none.recv(timeout=0.2)


def test_a_page_that_joins_misses_nothing(served: Served) -> None:
    """State read at the head's index, and events behind it: together all that ever was."""
    name = f"n{uuid4().hex}"
    note(served, name, "-")
    with listening(served, "/feed") as first, listening(served, "/feed") as second:
        next_of(first, "head")
        head = next_of(second, "head")
        read = served.http.get(
            "/queries/note_of", params={"args": json.dumps([name]), "at_least": head["index"]}
        ).json()
        last = note(served, name, "x")
        found = [event["value"]["text"] for event in events_until(second, last) if event["index"] > read["index"]]
    assert read["result"] + "".join(found) == "-x"


def test_a_watched_query(served: Served) -> None:
    """Its result at once, and when it has changed; an older one never comes after a newer one."""
    name = f"n{uuid4().hex}"
    path = f"/watch?query=note_of&args={quote(json.dumps([name]))}"
    with listening(served, path) as first, listening(served, path) as second:
        assert next_of(first, "value")["value"] is None
        next_of(second, "value")
        index = 0
        for length in range(1, 6):
            index = note(served, name, "x")
            while (found := next_of(first, "value"))["value"] != "x" * length:
                assert found["index"] < index
            assert found["index"] >= index
        while (found := next_of(second, "value"))["value"] != "xxxxx":
            assert found["index"] < index
        with listening(served, path) as third:
            assert next_of(third, "value")["value"] == "xxxxx"


@pytest.mark.parametrize(
    ("path", "origin", "status", "kind"),
    [
        (f"/feed?topics={','.join(map(str, range(TOPICS_MAX + 1)))}", None, 400, "bad-request"),
        ("/feed?strings=2", None, 400, "bad-request"),
        ("/feed", "https://example.org", 403, "foreign-origin"),
        ("/watch?query=none", None, 404, "not-found"),
        ("/watch?query=note_of", None, 422, "invalid"),
        ("/watch?query=note_of&args={", None, 400, "bad-request"),
        ("/watch?query=all_notes", None, 400, "bad-request"),
    ],
)
def test_who_is_not_let_in(served: Served, path: str, origin: str | None, status: int, kind: str) -> None:
    """The handshake is answered with the problem."""
    headers = {} if origin is None else {"Origin": origin}
    with pytest.raises(InvalidStatus) as caught, listening(served, path, additional_headers=headers):
        pass
    answer = caught.value.response
    assert (answer.status_code, json.loads(answer.body)["type"]) == (status, f"urn:rsm:problem:{kind}")


def test_a_watched_query_that_fails(served: Served) -> None:
    """It would fail again: the browser is told, and its connection closed."""
    with listening(served, '/watch?query=broken&args=["raises"]') as socket:
        found = json.loads(socket.recv(timeout=20))
        assert found["type"] == "urn:rsm:problem:query-failed"
        assert "secret" not in str(found)
        with pytest.raises(ConnectionClosed):
            socket.recv(timeout=20)
        # And so is the next one, who asks anew.
        with listening(served, '/watch?query=broken&args=["raises"]') as other:
            assert json.loads(other.recv(timeout=20)) == found


def test_what_a_browser_says_is_not_heard(served: Served) -> None:
    """Texts and bytes change nothing: the feed goes on."""
    with listening(served, "/feed") as socket:
        next_of(socket, "head")
        socket.send("a text")
        socket.send(b"bytes")
        index = note(served, f"n{uuid4().hex}", "x")
        assert events_until(socket, index)[-1]["index"] == index


def test_a_fast_browser_gets_more_than_may_wait(served: Served) -> None:
    """An entry whose events are more than a queue holds comes in parts, and nothing of it is left out."""
    mark = base64.b64encode(bytes(3800)).decode()
    steps = [{"command": "order", "arguments": ["buy", [{"item": "tea", "quantity": 1}], mark]}] * PIPELINE_STEPS_MAX
    with listening(served, "/feed", max_size=None, max_queue=None) as socket:
        next_of(socket, "head")
        index = served.http.post("/pipeline", json=steps).json()["index"]
        found: list[dict[str, Any]] = []
        while not found or (found[-1]["index"], found[-1]["step"]) < (index, PIPELINE_STEPS_MAX - 1):
            message = json.loads(socket.recv(timeout=20))
            assert message["type"] in ("events", "alive")
            found += message.get("events", [])
    assert len(json.dumps(found)) > GATEWAY_QUEUE_BYTES_MAX
    assert [event["step"] for event in found if event["index"] == index] == list(range(PIPELINE_STEPS_MAX))


def test_watched_queries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when many come at once: each has its place before anything is waited for."""
    monkeypatch.setattr("rsm.gateway.watching.GATEWAY_WATCHES_MAX", 3)

    class Door:
        """A WebSocket that takes its time to be accepted."""

        def __init__(self, name: str) -> None:
            self.query_params = {"query": "note_of", "args": json.dumps([name])}
            self.client_state = WebSocketState.CONNECTING
            self.status = 0

        async def accept(self) -> None:
            await asyncio.sleep(0.05)
            self.status = 101

        async def receive(self) -> dict[str, object]:
            await asyncio.sleep(0.05)
            return {"type": "websocket.disconnect", "code": 1001}

        async def send_denial_response(self, response: Response) -> None:
            self.status = response.status_code

    async def run() -> list[int]:
        options = {"principal": "", "tls": None, "timeout_seconds": 0.2}
        connection = Connection(stage.Shop, "127.0.0.1:1", **options)  # type: ignore[arg-type]
        watching = Watching(Forms(stage.Shop.definition), connection, Sockets())
        doors = [Door(f"n{number}") for number in range(8)]
        await asyncio.gather(*(watching.serve(door) for door in doors))  # type: ignore[arg-type]  # all that it uses
        await connection.close()
        return [door.status for door in doors]

    assert asyncio.run(run()) == [101] * 3 + [503] * 5


# --- slow browsers, without a network ---------------------------------------------------------------------------------


class Wire:
    """A WebSocket that takes what it is told to take."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.flows = asyncio.Event()
        self.is_gone = asyncio.Event()
        self.closed: tuple[int, str] | None = None

    async def send_text(self, text: str) -> None:
        await self.flows.wait()
        self.sent.append(text)

    async def receive(self) -> dict[str, object]:
        await self.is_gone.wait()
        return {"type": "websocket.disconnect", "code": 1001}

    async def close(self, code: int, reason: str) -> None:
        self.closed = code, reason


def played(play: Callable[[Wire, Browser], Any]) -> Wire:
    """A browser on such a wire, and what a play makes of both."""

    async def run() -> Wire:
        wire = Wire()
        browser = Browser(wire)  # type: ignore[arg-type]  # all that it uses
        serving = asyncio.create_task(browser.serve())
        await play(wire, browser)
        async with asyncio.timeout(10):
            await serving
        return wire

    return asyncio.run(run())


def test_a_slow_browser_is_skipped_forward(monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is bounded; instead of what was dropped stands a skip, and what comes later comes."""
    monkeypatch.setattr(sockets, "GATEWAY_QUEUE_BYTES_MAX", 1000)

    async def play(wire: Wire, browser: Browser) -> None:
        for number in range(1000):
            browser.put(f'"{number:099}"')
            assert browser._bytes <= 1000
        await asyncio.sleep(0)
        wire.flows.set()
        browser.put('"last"')
        browser.end(1001, "over")

    wire = played(play)
    skips = [json.loads(text) for text in wire.sent if "skip" in text]
    kept = [text for text in wire.sent if "skip" not in text]
    assert len(skips) == 1
    assert skips[0]["messages"] + len(kept) == 1001
    assert kept[-1] == '"last"'
    assert kept == sorted(kept)
    assert wire.closed == (1001, "over")


def test_a_message_beyond_what_may_wait_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A browser that keeps up gets everything, however large; behind it no more waits than may, counted in bytes."""
    monkeypatch.setattr(sockets, "GATEWAY_QUEUE_BYTES_MAX", 1000)
    large = f'"{"x" * 5000}"'

    async def play(wire: Wire, browser: Browser) -> None:
        wire.flows.set()
        for _ in range(3):
            browser.put(large)
            await asyncio.sleep(0.01)
        wire.flows.clear()
        browser.put('"on its way"')
        await asyncio.sleep(0.01)
        browser.put(f'"{"€" * 300}"')  # 902 bytes in 302 characters
        browser.put(f'"{"x" * 200}"')
        wire.flows.set()
        browser.end(1001, "over")

    sent = played(play).sent
    assert sent[:4] == [large] * 3 + ['"on its way"']
    assert [json.loads(text)["messages"] for text in sent[4:]] == [2]


def test_only_the_newest_result_waits() -> None:
    """Results that a browser has not taken are replaced."""

    async def play(wire: Wire, browser: Browser) -> None:
        browser.put_only('"first"')
        await asyncio.sleep(0.01)
        for number in range(100):
            browser.put_only(f'"{number}"')
        wire.flows.set()
        browser.end(1001, "over")

    assert played(play).sent == ['"first"', '"99"']


def test_who_does_not_read_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One message that does not get through in time ends it; so does a browser that goes."""
    monkeypatch.setattr(sockets, "GATEWAY_SEND_SECONDS_MAX", 0.05)

    async def stuck(_: Wire, browser: Browser) -> None:
        browser.put('"never"')

    async def gone(wire: Wire, browser: Browser) -> None:
        wire.is_gone.set()

    assert played(stuck).sent == played(gone).sent == []


def test_a_silent_feed_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    """Now and then a browser hears something though there is nothing new."""
    monkeypatch.setattr(sockets, "GATEWAY_ALIVE_SECONDS", 0.01)

    async def play(wire: Wire, browser: Browser) -> None:
        wire.flows.set()
        await asyncio.sleep(0.1)
        browser.end(1001, "over")

    sent = played(play).sent
    assert len(sent) > 1
    assert set(sent) == {'{"type":"alive"}'}
