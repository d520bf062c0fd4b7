"""The OpenAPI document says what the gateway does: real requests and answers fit it, and what is refused does not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

import rsm
from rsm.gateway.arguments import Forms
from rsm.gateway.openapi import document
from rsm.gateway.problems import KINDS
from tests.documents import ROOT
from tests.machines import Everything
from tests.unit.gateway.conftest import Served
from tests.unit.gateway.stage import Shop

pytestmark = pytest.mark.xdist_group("gateway")
DOCUMENT = document(Forms(Shop.definition))
KINDS_OF_JSON = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "boolean": bool,
    "null": type(None),
}
# The words of JSON Schema that `complaints` knows, and those that say nothing about a value.
WORDS = {"$ref", "type", "enum", "anyOf", "properties", "required", "additionalProperties", "items", "prefixItems"}
WORDS |= {
    "minItems",
    "maxItems",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "pattern",
    "discriminator",
}
WORDS |= {"minLength", "maxLength", "title", "description", "format", "default", "contentEncoding"}


def complaints(schema: dict[str, Any], value: Any, place: str = "$") -> Iterator[str]:
    """What is wrong with a value: as much of JSON Schema as the gateway uses, read independently of msgspec."""
    assert set(schema) <= WORDS, set(schema) - WORDS
    if "$ref" in schema:
        schema = DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if "anyOf" in schema and all(list(complaints(one, value)) for one in schema["anyOf"]):
        yield f"{place}: none of the alternatives"
    if "enum" in schema and value not in schema["enum"]:
        yield f"{place}: not one of {schema['enum']}"
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(
        isinstance(value, KINDS_OF_JSON[kind]) and (kind == "boolean") >= (value is True) for kind in kinds
    ):
        yield f"{place}: not {kinds}"
    elif isinstance(value, dict):
        known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
        yield from (f"{place}: no {name}" for name in schema.get("required", []) if name not in value)
        for name, one in value.items():
            if name in known or isinstance(others, dict):
                yield from complaints(known.get(name, others), one, f"{place}.{name}")
            elif not others:
                yield f"{place}: {name} is not known"
    elif isinstance(value, list):
        first = schema.get("prefixItems", [])
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
            yield f"{place}: {len(value)} items"
        for number, one in enumerate(value):
            inner = first[number] if number < len(first) else schema.get("items", {})
            yield from complaints(inner, one, f"{place}[{number}]") if inner is not False else [f"{place}: too long"]
    elif isinstance(value, int):
        low, high = schema.get("minimum", value), schema.get("maximum", value)
        if not (low <= value <= high and schema.get("exclusiveMinimum", value - 1) < value):
            yield f"{place}: {value} is out of bounds"
    elif isinstance(value, str) and not re.search(schema.get("pattern", ""), value):
        yield f"{place}: does not match"


def body(path: str) -> dict[str, Any]:
    """The schema of a command's arguments."""
    found: dict[str, Any] = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return found


def result(path: str, method: str) -> dict[str, Any]:
    """The schema of an answer."""
    responses = DOCUMENT["paths"][path][method]["responses"]
    found: dict[str, Any] = responses["200"]["content"]["application/json"]["schema"]
    return found


LINES = [{"item": "tea", "quantity": 2}]


@pytest.mark.parametrize(
    ("name", "arguments", "fits"),
    [
        ("order", {"side": "buy", "lines": LINES}, True),
        ("order", {"side": "sell", "lines": LINES, "mark": "AAE=", "limit": None}, True),
        ("order", {"side": "sell", "lines": [], "limit": 2**63 - 1}, True),
        ("order", {"side": "up", "lines": LINES}, False),
        ("order", {"lines": LINES}, False),
        ("order", {"side": "buy", "lines": [{"item": "tea", "quantity": 0}]}, False),
        ("order", {"side": "buy", "lines": [{"item": "tea"}]}, False),
        ("order", {"side": "buy", "lines": LINES, "limit": 2**63}, False),
        ("order", {"side": "buy", "lines": LINES, "colour": 1}, False),
        ("note", {"name": "a1", "text": ""}, True),
        ("note", {"name": "a b", "text": ""}, False),
        ("largest", {"value": -(2**63)}, True),
        ("largest", {"value": True}, False),
        ("fail", {}, True),
    ],
)
def test_the_document_and_the_gateway_agree(served: Served, name: str, arguments: Any, fits: bool) -> None:
    """What fits the schema is taken, and its answer fits; what does not is refused with 422."""
    path = f"/commands/{name}"
    assert (list(complaints(body(path), arguments)) == []) is fits
    answer = served.http.post(path, json=arguments)
    assert (answer.status_code == 422) is not fits, answer.text
    if answer.status_code == 200:
        assert list(complaints(result(path, "post"), answer.json())) == []
    else:
        assert str(answer.status_code) in DOCUMENT["paths"][path]["post"]["responses"]
        assert list(complaints({"$ref": "#/components/schemas/Problem"}, answer.json())) == []


def test_answers_of_queries_fit(served: Served) -> None:
    """A record that may be missing, text, and a stream of pairs."""
    number = served.http.post("/commands/order", json=["buy", LINES]).json()["result"]["order_id"]
    served.http.post("/commands/note", json=["z", "text"])
    for name, arguments in (("receipt", [number]), ("receipt", [-1]), ("note_of", ["z"]), ("all_notes", {})):
        answer = served.http.get(f"/queries/{name}", params={"args": json.dumps(arguments)})
        assert list(complaints(result(f"/queries/{name}", "get"), answer.json())) == []


def test_it_is_served(served: Served) -> None:
    """The gateway serves the document that its own machine gives."""
    assert served.http.get("/openapi.json").json() == json.loads(json.dumps(DOCUMENT))


def references(document: Any) -> Iterator[str]:
    """Every reference in it."""
    if isinstance(document, dict):
        for name, value in document.items():
            if name == "$ref":
                yield value
            yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


@pytest.mark.parametrize("machine", [Shop, Everything])
def test_everything_is_in_it(machine: type[rsm.StateMachine]) -> None:
    """All commands and queries, under names of their own; every reference leads to a component."""
    found = document(Forms(machine.definition))
    assert found["openapi"].startswith("3.1.")
    definition = machine.definition
    paths = {f"/commands/{spec.name}" for spec in definition.methods.values()} | {
        f"/queries/{q}" for q in definition.queries
    }
    assert set(found["paths"]) == paths | {"/pipeline"}
    operations = [one for path in found["paths"].values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    components = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    assert set(references(found)) <= components


def test_words_of_the_handlers_are_kept() -> None:
    """The first paragraph of a docstring is the summary, the rest the description; a default is shown."""
    operation = DOCUMENT["paths"]["/commands/order"]["post"]
    assert (operation["summary"], operation["description"]) == ("Place an order.", "It is rejected without lines.")
    assert body("/commands/order")["properties"]["mark"]["default"] == "AA=="
    assert body("/commands/order")["required"] == ["side", "lines"]
    assert "/commands/write_note" not in DOCUMENT["paths"]


def test_all_kinds_of_problems_are_in_it() -> None:
    """Programs find each type that they may get."""
    assert len(DOCUMENT["components"]["schemas"]["Problem"]["properties"]["type"]["enum"]) == len(KINDS)


def test_every_problem_is_described() -> None:
    """An operation has the status of each problem that it may answer with: all but those of paths that lead nowhere."""
    described = {
        status
        for path in DOCUMENT["paths"].values()
        for operation in path.values()
        for status in operation["responses"]
    }
    assert described == {"200", *(str(int(kind.status)) for kind in KINDS.values())} - {"404", "405"}


def test_the_page_in_the_documents_lists_them_too() -> None:
    """docs/gateway.md has every kind with its status, and no other."""
    page = (ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| `([a-z-]+)` \|", page, flags=re.MULTILINE)
    assert rows == [(str(int(kind.status)), name) for name, kind in KINDS.items()]
