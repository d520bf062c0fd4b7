"""The viewer without a browser: what its messages carry, whom it refuses, and that a page which stops reading costs
nobody anything."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import struct
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from demos.rts_lockstep.viewing.view import (
    Ask,
    Desync,
    Hello,
    Kind,
    Order,
    ProjectileColumns,
    Seat,
    Speed,
    Status,
    Turn,
    UnitColumns,
    Vote,
)
from demos.rts_lockstep.viewing.viewer import OUTBOX_TURNS_MAX, Viewer

WAIT_SECONDS = 10.0
HELLO = Hello(
    you=1,
    size=4,
    tiles=bytes(range(16)),
    tile_names=("grass", "water"),
    kinds=(Kind(name="villager", hp=25, speed=48),),
    players=(Seat(name="Ann"), Seat(name="Bea", colour="#112233")),
)
DESYNC = Desync(
    index=3, path="deer/1/x", mine=1, theirs=2, unit=100_001, x=1, y=1, true_x=2, true_y=1, line="world.py:3"
)


@pytest.fixture
def asks() -> list[Ask]:
    return []


@pytest.fixture
def viewer(asks: list[Ask]) -> Iterator[Viewer]:
    with Viewer(HELLO, asks.append) as viewer:
        yield viewer


@contextlib.contextmanager
def page(viewer: Viewer, **options: Any) -> Iterator[ClientConnection]:
    """What a browser's page does: the same origin, and messages in order."""
    address = f"ws://127.0.0.1:{viewer.port}/ws"
    with connect(address, origin=f"http://127.0.0.1:{viewer.port}", proxy=None, **options) as socket:  # type: ignore[arg-type]
        yield socket


def message(socket: ClientConnection) -> dict[str, Any]:
    """The next text message."""
    value = socket.recv(WAIT_SECONDS)
    assert isinstance(value, str)
    document: dict[str, Any] = json.loads(value)
    return document


def publish(viewer: Viewer, turn: int, count: int = 2, tiles: np.ndarray | None = None) -> None:
    numbers = np.arange(count)
    units = UnitColumns(id=numbers, kind=0, owner=1, x=numbers * 256, y=numbers + 7, hp=numbers + 20)
    deer = UnitColumns(id=100_000 + numbers[:1], kind=4, owner=8, x=numbers[:1], y=numbers[:1], hp=8, state=1, target=3)
    arrows = ProjectileColumns(x=numbers, y=numbers, vx=-numbers, vy=numbers, ticks_left=numbers + 1)
    viewer.publish_turn(Turn(turn=turn, turn_ms=200, index=turn * 2, root="ab"), [units, deer], arrows, tiles)


def test_what_a_turn_carries(viewer: Viewer) -> None:
    """Hello first, with the map; then for each turn a text and the columns as little-endian integers."""
    with page(viewer) as socket:
        hello = message(socket)
        assert (hello["type"], hello["you"], hello["sub"]) == ("hello", 1, 256)
        assert base64.b64decode(hello["map"]["tiles"]) == HELLO.tiles
        assert hello["players"][1] == {"name": "Bea", "colour": "#112233"}
        publish(viewer, 5)
        turn = message(socket)
        assert (turn["type"], turn["turn"], turn["turn_ms"], turn["index"], turn["root"]) == ("turn", 5, 200, 10, "ab")
        columns = socket.recv(WAIT_SECONDS)
        assert isinstance(columns, bytes)
        numbers = struct.unpack(f"<{len(columns) // 4}i", columns)
        assert numbers[0] == 3
        assert numbers[1:25] == (
            *(0, 0, 1, 0, 7, 20, 0, -1),
            *(1, 0, 1, 256, 8, 21, 0, -1),
            *(100_000, 4, 8, 0, 0, 8, 1, 3),
        )
        assert numbers[25:] == (2, 0, 0, 0, 0, 1, 1, 1, -1, 1, 2)


def test_who_comes_later_sees_the_present(viewer: Viewer) -> None:
    """A page that opens late gets the map as it is now, what holds the game, what differs, and the last turn."""
    with page(viewer) as first:
        message(first)
        tiles = np.frombuffer(HELLO.tiles, np.uint8).copy()
        tiles[3] = 1
        publish(viewer, 1)
        publish(viewer, 2, tiles=tiles)
        viewer.publish_status(Status(waiting=(0,)))
        viewer.publish_desync(DESYNC)
        heard = [message(first), first.recv(WAIT_SECONDS), message(first)]
        assert heard[2] == {"type": "tiles", "tiles": [[3, 1]]}
        with page(viewer) as second:
            assert base64.b64decode(message(second)["map"]["tiles"]) == tiles.tobytes()
            assert [message(second)["type"] for _ in range(3)] == ["status", "desync", "turn"]
        viewer.publish_healed(9, 0.5)
        with page(viewer) as third:
            assert [message(third)["type"] for _ in range(3)] == ["hello", "status", "turn"]


def test_asks_are_decoded(viewer: Viewer, asks: list[Ask]) -> None:
    """What the page may ask for arrives as records, in order; answers go back by the click's number."""
    with page(viewer) as socket:
        message(socket)
        order = {"type": "order", "click": 4, "order": "attack", "units": [1, 2], "x": 5, "y": 6, "target": 9}
        for ask in (order, {"type": "vote", "player": 1}, {"type": "speed", "x": 0.5}):
            socket.send(json.dumps(ask))
        end = time.monotonic() + WAIT_SECONDS
        while len(asks) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        assert asks == [Order(click=4, order="attack", units=(1, 2), x=5, y=6, target=9), Vote(1), Speed(0.5)]
        viewer.acknowledge(4, 77)
        viewer.refuse(5, "too late")
        assert message(socket) == {"type": "ack", "click": 4, "turn": 77}
        assert message(socket) == {"type": "refused", "click": 5, "reason": "too late"}


@pytest.mark.parametrize(
    "text",
    [
        "no json",
        '{"type": "launch"}',
        '{"type": "order", "click": 1, "order": "cheat", "units": []}',
        '{"type": "order", "click": 99999999999, "order": "move", "units": []}',
        json.dumps({"type": "order", "click": 1, "order": "move", "units": list(range(2001))}),
        '{"type": "speed", "x": 1e9}',
        '{"type": "vote", "player": 8}',
    ],
)
def test_what_is_no_ask_ends_the_connection(viewer: Viewer, asks: list[Ask], text: str) -> None:
    """Anything else is a policy violation; other pages stay."""
    with page(viewer) as good, page(viewer) as bad:
        message(good)
        message(bad)
        bad.send(text)
        with pytest.raises(ConnectionClosed) as closed:
            bad.recv(WAIT_SECONDS)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008
        publish(viewer, 1)
        assert message(good)["turn"] == 1
    assert asks == []


def test_strangers_are_refused(viewer: Viewer) -> None:
    """A WebSocket of another site, or of none, and a request under another host's name do not get in."""
    for origin in ("http://evil.example", None):
        with pytest.raises(InvalidStatus), connect(f"ws://127.0.0.1:{viewer.port}/ws", origin=origin, proxy=None):  # type: ignore[arg-type]
            pass
    for host, status in (("evil.example", 400), (f"127.0.0.1:{viewer.port}", 200)):
        connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=WAIT_SECONDS)
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        answer.read()
        assert answer.status == status
        connection.close()


def test_files(viewer: Viewer) -> None:
    """The page's own files are served with their types, and nothing beside them."""
    connection = http.client.HTTPConnection("127.0.0.1", viewer.port, timeout=WAIT_SECONDS)
    for path, status, kind in (
        ("/", 200, "text/html"),
        ("/main.js", 200, "text/javascript"),
        ("/style.css", 200, "text/css"),
        ("/../viewer.py", 404, "text/plain"),
        ("/%2e%2e/viewer.py", 404, "text/plain"),
        ("/nothing.js", 404, "text/plain"),
    ):
        connection.request("GET", path)
        answer = connection.getresponse()
        answer.read()
        assert (answer.status, (answer.getheader("Content-Type") or "").split(";")[0]) == (status, kind), path
        assert "default-src 'self'" in (answer.getheader("Content-Security-Policy") or "")
    connection.close()


def test_a_page_that_stops_reading_loses_the_past(viewer: Viewer) -> None:
    """It holds up nobody; when it reads again it gets, besides what had left already, only the newest turns."""
    turns = 400
    with page(viewer) as live, page(viewer, max_queue=1) as stopped:
        message(live)
        message(stopped)
        for turn in range(1, turns + 1):
            publish(viewer, turn, count=4000)
            assert message(live)["turn"] == turn
            live.recv(WAIT_SECONDS)
        seen = []
        while not seen or seen[-1] < turns:
            seen.append(message(stopped)["turn"])
            assert len(bytes(stopped.recv(WAIT_SECONDS))) > 4000 * 32  # type: ignore[arg-type]
    assert seen == sorted(seen)
    assert len(seen) < turns / 2
    assert seen[-OUTBOX_TURNS_MAX:] == list(range(turns - OUTBOX_TURNS_MAX + 1, turns + 1))


def test_a_page_that_never_reads_again_is_closed(viewer: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is no turn is never left out, so there is an end to what is kept of it; who reads does not notice."""
    monkeypatch.setattr("demos.rts_lockstep.viewing.viewer.OUTBOX_MESSAGES_MAX", 100)
    with page(viewer) as live, page(viewer, max_queue=1) as stopped:
        message(live)
        message(stopped)
        note = "x" * 50_000
        deadline = time.monotonic() + WAIT_SECONDS
        while len(viewer._outboxes) > 1:
            assert time.monotonic() < deadline
            viewer.publish_status(Status(note=note))
            assert message(live)["note"] == note
        viewer.publish_status(Status(note="go on"))
        assert message(live)["note"] == "go on"
        with pytest.raises(ConnectionClosed):
            list(iter(lambda: stopped.recv(WAIT_SECONDS), None))


def test_a_taken_port_is_an_error(viewer: Viewer) -> None:
    """The port one asks for may be somebody else's."""
    with pytest.raises(OSError, match="in use"):
        Viewer(HELLO, lambda ask: None, port=viewer.port).start()


def test_nobody_listens_after_the_end(asks: list[Ask]) -> None:
    """Closing tells the pages, and publishing afterwards is harmless."""
    viewer = Viewer(HELLO, asks.append)
    viewer.start()
    with page(viewer) as socket:
        message(socket)
        viewer.close()
        with pytest.raises(ConnectionClosed):
            socket.recv(WAIT_SECONDS)
    publish(viewer, 1)
    viewer.close()
