"""Commands, pipelines and queries over HTTP, against a real node."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import socket
import time
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import rsm.gateway
from rsm.limits import GATEWAY_BODY_BYTES_MAX, GATEWAY_STREAMS_MAX, KEY_LENGTH_MAX, PIPELINE_STEPS_MAX
from tests.unit.gateway.conftest import Served
from tests.unit.gateway.stage import Shop

pytestmark = pytest.mark.xdist_group("gateway")
LINES = [{"item": "tea", "quantity": 2}]


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """The problem that an answer is."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["type"] == f"urn:rsm:problem:{kind}"
    assert found["status"] == status
    return found


def test_a_command_and_a_query(served: Served) -> None:
    """Records, enums and bytes are spelt as people expect; a read with the command's index sees it."""
    mark = base64.b64encode(b"\xff\x00").decode()
    answer = served.http.post("/commands/order", json={"side": "buy", "lines": LINES, "mark": mark})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    placed = answer.json()
    receipt = placed["result"]
    assert receipt == {"order_id": receipt["order_id"], "side": "buy", "lines": LINES, "mark": mark}
    parameters = {"args": json.dumps([receipt["order_id"]]), "at_least": placed["index"]}
    read = served.http.get("/queries/receipt", params=parameters).json()
    assert read["result"] == receipt
    assert read["index"] >= placed["index"]


def test_arguments_by_position_and_defaults(served: Served) -> None:
    """An array is by position; what has a default may be left out, and a renamed handler has its name of the log."""
    receipt = served.http.post("/commands/order", json=["sell", LINES]).json()["result"]
    assert (receipt["side"], receipt["mark"]) == ("sell", base64.b64encode(b"\x00").decode())
    name = f"n{uuid4().hex}"
    assert served.http.post("/commands/note", json=[name, "abc"]).json()["result"] == 3
    for level in ("linearizable", "session", "stale"):
        parameters = {"args": json.dumps({"name": name}), "read": level}
        assert served.http.get("/queries/note_of", params=parameters).json()["result"] == "abc"


@pytest.mark.parametrize(
    ("path", "body", "field", "detail"),
    [
        ("order", {"side": "up", "lines": LINES}, "side", "Invalid enum value 'up'"),
        ("order", {"side": "buy", "lines": [{"item": "tea", "quantity": 0}]}, "lines", "lines[0].quantity: Expected"),
        ("order", {"side": "buy", "lines": [{"item": "tea"}]}, "lines", "missing required field `quantity`"),
        ("order", {"side": "buy", "lines": [LINES[0] | {"price": 1}]}, "lines", "unknown field `price`"),
        ("order", {"side": "buy", "lines": LINES, "mark": "*"}, "mark", "base64"),
        ("order", {"side": "buy"}, "lines", "missing"),
        ("order", {"side": "buy", "lines": LINES, "colour": 1}, "colour", "unknown field"),
        ("order", ["buy", LINES, "", None, 5], None, "takes 4 values, got 5"),
        ("note", {"name": "a b", "text": ""}, "name", "regex"),
        ("largest", {"value": 2**63}, "value", "64 bits with sign"),
        ("largest", {"value": 2**70}, "value", "ints"),
        ("largest", {"value": 1.5}, "value", "Expected `int`, got `float`"),
        ("largest", {"value": "1"}, "value", "Expected `int`, got `str`"),
    ],
)
def test_arguments_that_do_not_fit(served: Served, path: str, body: Any, field: str | None, detail: str) -> None:
    """422, with the name of the argument and the place in it."""
    found = problem(served.http.post(f"/commands/{path}", json=body), 422, "invalid")
    assert found.get("field") == field
    assert detail in found["detail"]


def test_rejections(served: Served) -> None:
    """What the handler says is 409 with its reason; what it raises stays in the node's log."""
    found = problem(served.http.post("/commands/order", json=["buy", []]), 409, "rejected")
    assert found["reason"] == found["detail"] == "an order needs a line"
    found = problem(served.http.post("/commands/fail", json={}), 409, "handler-failed")
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"{", "not JSON"),
        (b"3", "a JSON object by name"),
        (b'{"name": \xff}', "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ],
)
def test_bad_json(served: Served, body: bytes, detail: str) -> None:
    """400, whatever it is."""
    headers = {"Content-Type": "application/json"}
    found = problem(served.http.post("/commands/note", content=body, headers=headers), 400, "bad-request")
    assert detail in found["detail"]
    found = problem(served.http.post("/pipeline", content=body, headers=headers), 400, "bad-request")


def test_what_is_not_there(served: Served) -> None:
    """404 names what there is; 405 what is allowed."""
    found = problem(served.http.post("/commands/write_note", json={}), 404, "not-found")
    assert "there are fail, largest, note, order" in found["detail"]
    problem(served.http.get("/queries/notes"), 404, "not-found")
    problem(served.http.get("/nothing"), 404, "not-found")
    answer = served.http.get("/commands/note")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


def test_integers(served: Served) -> None:
    """64 bits arrive as they are; with strings=1 those that JavaScript would round are text, both ways."""
    for value in (2**63 - 1, -(2**63), 2**53 - 1, 0):
        assert served.http.post("/commands/largest", json=[value]).json()["result"] == [value, {"it": value}]
        answer = served.http.post("/commands/largest?strings=1", json=[str(value)]).json()
        shown = str(value) if abs(value) >= 2**53 else value
        assert answer["result"] == [shown, {"it": shown}]
    problem(served.http.post("/commands/largest?strings=yes", json=[1]), 400, "bad-request")


def test_a_name_that_stands_twice(served: Served) -> None:
    """The last one counts, as documented: `JSON.parse` reads it so, too."""
    headers = {"Content-Type": "application/json"}
    answer = served.http.post("/commands/largest", content='{"value": 1, "value": 2}', headers=headers)
    assert answer.json()["result"] == [2, {"it": 2}]


def test_idempotency_keys(served: Served) -> None:
    """A repeat has no second effect and the first answer, also a rejection's; with other arguments it is refused."""
    key, name = uuid4().hex, f"n{uuid4().hex}"
    first = served.http.post("/commands/note", json=[name, "abc"], headers={"Idempotency-Key": key})
    again = served.http.post("/commands/note", json=[name, "abc"], headers={"Idempotency-Key": f'"{key}"'})
    assert first.json()["result"] == again.json()["result"] == 3
    found = problem(
        served.http.post("/commands/note", json=[name, "xyz"], headers={"Idempotency-Key": key}), 422, "key-reused"
    )
    assert "idempotency key" in found["detail"]
    rejected = {"Idempotency-Key": uuid4().hex}
    for _ in range(2):
        problem(served.http.post("/commands/order", json=["buy", []], headers=rejected), 409, "rejected")
    for bad in (b"", b'""', "\u00e9".encode()):
        headers = {b"Idempotency-Key": bad}
        found = problem(served.http.post("/commands/note", json=[name, "a"], headers=headers), 400, "bad-request")
        assert found["field"] == "Idempotency-Key"
    twice = [("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    problem(served.http.post("/commands/note", json=[name, "a"], headers=twice), 400, "bad-request")
    long = {"Idempotency-Key": "k" * (KEY_LENGTH_MAX + 1)}
    problem(served.http.post("/commands/note", json=[name, "a"], headers=long), 422, "invalid")


def test_a_pipeline(served: Served) -> None:
    """Steps use results of earlier ones by number, name and path; under a key it runs once."""
    name = f"n{uuid4().hex}"
    steps = [
        {"command": "order", "arguments": {"side": "buy", "lines": LINES}, "name": "first"},
        {"command": "note", "arguments": [name, {"$result": 0, "path": ["lines", 0, "item"]}]},
        {"command": "largest", "arguments": [{"$result": "first", "path": ["order_id"]}]},
        {"command": "order", "arguments": {"side": "sell", "lines": {"$result": "first", "path": ["lines"]}}},
    ]
    headers = {"Idempotency-Key": uuid4().hex}
    answers = [served.http.post("/pipeline", json=steps, headers=headers) for _ in range(2)]
    results = answers[0].json()["results"]
    number = results[0]["order_id"]
    assert results[1:3] == [3, [number, {"it": number}]]
    assert results[3]["lines"] == LINES
    assert results[3]["order_id"] != number
    assert answers[1].json()["results"] == results
    read = served.http.get("/queries/note_of", params={"args": json.dumps([name])}).json()
    assert read["result"] == "tea"
    assert served.http.post("/pipeline", json=[]).json()["results"] == []


def test_values_beside_references(served: Served) -> None:
    """They are spelt, and checked, as they are anywhere."""
    first = {"command": "order", "arguments": ["buy", LINES], "name": "first"}
    reference = {"$result": "first", "path": ["lines", 0]}
    more = {"item": "milk", "quantity": 1}
    steps: list[dict[str, Any]] = [first, {"command": "order", "arguments": ["sell", [reference, more]]}]
    assert served.http.post("/pipeline", json=steps).json()["results"][1]["lines"] == [LINES[0], more]
    steps[1]["arguments"] = ["sell", [reference, more | {"quantity": "5"}]]
    assert served.http.post("/pipeline?strings=1", json=steps).status_code == 200
    found = problem(served.http.post("/pipeline", json=steps), 422, "invalid")
    assert (found["step"], found["field"]) == (1, "lines")
    assert "lines[1].quantity: Expected `int`, got `str`" in found["detail"]
    steps[1]["arguments"] = ["sell", [reference | {"path": ["nothing"]}]]
    found = problem(served.http.post("/pipeline", json=steps), 422, "invalid")
    assert found["detail"] == "pipeline, step 1: there is no such result, field or element of an earlier step"
    steps = [{"command": "note", "arguments": [f"n{uuid4().hex}", '{"$result": 0}']}]
    assert served.http.post("/pipeline", json=steps).status_code == 200, "a text that only looks like one"


@pytest.mark.parametrize("path", [[-1], [2**63], [2**70], [True], [1.5], [None], ["_secret"], ["x"] * 100_000])
def test_paths_that_lead_nowhere(served: Served, path: list[Any]) -> None:
    """422 before anything is sent: a frame that no node decodes would be sent again and again."""
    steps = [
        {"command": "order", "arguments": ["buy", LINES]},
        {"command": "note", "arguments": ["a", {"$result": 0, "path": path}]},
    ]
    assert problem(served.http.post("/pipeline", json=steps), 422, "invalid")["step"] == 1
    assert served.http.post("/commands/largest", json=[1], timeout=5).status_code == 200


def test_a_pipeline_is_all_or_nothing(served: Served) -> None:
    """A rejected step undoes the others, and is named."""
    name = f"n{uuid4().hex}"
    steps = [{"command": "note", "arguments": [name, "x"]}, {"command": "order", "arguments": ["buy", []]}]
    found = problem(served.http.post("/pipeline", json=steps), 409, "rejected")
    assert (found["step"], found["reason"]) == (1, "an order needs a line")
    assert served.http.get("/queries/note_of", params={"args": json.dumps([name])}).json()["result"] is None


@pytest.mark.parametrize(
    ("steps", "status", "kind", "detail"),
    [
        ([{"command": "note", "arguments": ["a", {"$result": 0}]}], 422, "invalid", "0 is no earlier step"),
        ([{"command": "note", "arguments": ["a", {"$result": "x"}]}], 422, "invalid", "'x' is no earlier step"),
        ([{"command": "note", "arguments": ["a", {"$result": 0, "x": 1}]}], 422, "invalid", "unknown field `x`"),
        ([{"command": "note", "arguments": ["a", 1]}], 422, "invalid", "step 0: command note: text: Expected"),
        ([{"command": "none"}], 404, "not-found", "no command 'none'"),
        ([{"order": "buy"}], 400, "bad-request", "unknown field `order`"),
        ([{"command": "fail", "name": "a"}] * 2, 400, "bad-request", "the same name"),
        ([{"command": "fail"}] * (PIPELINE_STEPS_MAX + 1), 413, "too-large", f"at most {PIPELINE_STEPS_MAX}"),
    ],
)
def test_pipelines_that_do_not_fit(served: Served, steps: Any, status: int, kind: str, detail: str) -> None:
    """Each slip is told, with the step."""
    found = problem(served.http.post("/pipeline", json=steps), status, kind)
    assert detail in found["detail"]
    assert found.get("step", 0) == 0


def test_a_stream(served: Served) -> None:
    """A generator's items come as one array, however many."""
    prefix = f"z{uuid4().hex}"
    steps = [{"command": "note", "arguments": [f"{prefix}{number:03}", "x" * 1000]} for number in range(200)]
    for _ in range(2):
        served.http.post("/pipeline", json=steps).raise_for_status()
    answer = served.http.get("/queries/all_notes", params={"args": json.dumps([prefix])})
    items = [item for item in answer.json()["result"] if item[0].startswith(prefix)]
    assert [len(text) for _, text in items] == [2000] * 200
    assert served.http.get("/queries/all_notes", params={"args": '["~"]'}).json() == {"result": []}


def test_streams_that_nobody_reads(served: Served) -> None:
    """They hold their places, and nothing else; one too many is told so at once, and who goes leaves its place."""
    prefix = f"zz{uuid4().hex}"
    for part in range(12):
        steps = [{"command": "note", "arguments": [f"{prefix}{part:03}{n:03}", "x" * 4000]} for n in range(200)]
        served.http.post("/pipeline", json=steps).raise_for_status()
    host, _, port = served.url.removeprefix("http://").rpartition(":")
    path = f"/queries/all_notes?args=[%22{prefix}%22]"
    last = {"args": json.dumps([f"{prefix}011"])}
    with contextlib.ExitStack() as stack:
        for _ in range(GATEWAY_STREAMS_MAX):
            peer = stack.enter_context(socket.socket())
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            peer.connect((host, int(port)))
            peer.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert peer.recv(15) == b"HTTP/1.1 200 OK"
        answer = served.http.get("/queries/all_notes", params=last)
        problem(answer, 503, "busy")
        assert answer.headers["retry-after"] == "1"
    deadline = time.monotonic() + 10
    while (answer := served.http.get("/queries/all_notes", params=last)).status_code != 200:
        assert time.monotonic() < deadline
    assert len(answer.json()["result"]) >= 200


def test_queries_that_do_not_fit(served: Served) -> None:
    """Arguments and levels are checked; a query that raises, or whose result is of another type, is a defect."""
    assert problem(served.http.get("/queries/note_of"), 422, "invalid")["field"] == "name"
    assert problem(served.http.get("/queries/note_of?args={"), 400, "bad-request")
    assert problem(served.http.get('/queries/note_of?args=["a"]&read=old'), 400, "bad-request")["field"] == "read"
    found = problem(served.http.get('/queries/note_of?args=["a"]&at_least=-1'), 400, "bad-request")
    assert found["field"] == "at_least"
    for how in ("raises", "text"):
        found = problem(served.http.get("/queries/broken", params={"args": json.dumps([how])}), 500, "query-failed")
        assert "secret" not in str(found)


def test_bodies_are_bounded(served: Served) -> None:
    """413 for a body beyond the bound, announced or not, and for a command beyond that of the log."""
    headers = {"Content-Type": "application/json"}
    body = b'["a","' + b"x" * GATEWAY_BODY_BYTES_MAX + b'"]'
    problem(served.http.post("/commands/note", content=body, headers=headers), 413, "too-large")
    parts = (body[start : start + 65536] for start in range(0, len(body), 65536))
    problem(served.http.post("/commands/note", content=parts, headers=headers), 413, "too-large")
    problem(served.http.post("/commands/note", json=["a", "x" * 1_100_000]), 413, "too-large")


def test_pages_of_others(served: Served) -> None:
    """What a foreign page can send without asking is refused, and so is whatever says that it is from one."""
    problem(served.http.post("/commands/note", content='["a","b"]'), 415, "not-json")
    headers = {"Content-Type": "text/plain"}
    problem(served.http.post("/commands/note", content='["a","b"]', headers=headers), 415, "not-json")
    problem(
        served.http.post("/commands/note", json=["a", "b"], headers={"Origin": "https://example.org"}),
        403,
        "foreign-origin",
    )
    problem(served.http.get('/queries/note_of?args=["a"]', headers={"Origin": "null"}), 403, "foreign-origin")
    problem(served.http.get("/", headers={"Origin": "http://["}), 403, "foreign-origin")
    for site in ("cross-site", "same-site"):
        picture = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors"}
        problem(served.http.get('/queries/note_of?args=["a"]', headers=picture), 403, "foreign-origin")
        link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        assert served.http.get("/", headers=link).status_code == 200
    own = {"Origin": served.url, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert served.http.post("/commands/note", json=["a", "b"], headers=own).status_code == 200


@pytest.mark.parametrize(
    ("host", "is_known"),
    [
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("127.0.0.1", True),
        ("192.168.7.7:80", True),
        ("[::1]:8080", True),
        ("shop.example.org", True),
        ("evil.example.org:8080", False),
        ("localhost.evil.example.org", False),
        ("127.0.0.1.evil.example.org", False),
        ("[", False),
        ("", False),
    ],
)
def test_names_of_others(host: str, is_known: bool) -> None:
    """A page whose own name leads here has the right origin, but the name is not ours; so it is with routes beside."""

    async def run() -> list[httpx.Response]:
        routes = [Route("/own", lambda _: PlainTextResponse("own"))]
        application = rsm.gateway.app(Shop, "127.0.0.1:1", routes=routes, hosts=["Shop.example.org"])
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            headers = {"Host": host, "Origin": f"http://{host}"}
            return [await client.get(path, headers=headers) for path in ("/", "/own")]

    for answer in asyncio.run(run()):
        if is_known:
            assert answer.status_code == 200
        else:
            assert "--host" in problem(answer, 421, "foreign-host")["detail"]


def test_the_page(served: Served) -> None:
    """It names what can be asked, and takes nothing from elsewhere."""
    answer = served.http.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "POST /commands/order" in answer.text
    assert "GET /queries/note_of?args=JSON" in answer.text
    assert "http://" not in answer.text
    assert "<script" not in answer.text


def test_heads_are_bounded(served: Served) -> None:
    """A head beyond the bound is no request."""
    host, _, port = served.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000)
        assert connection.recv(100).startswith(b"HTTP/1.1 4")
