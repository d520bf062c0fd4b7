"""OpenAPI 3.1 of a machine: every command and query with its types, generated from the handlers' annotations.

Schemas are msgspec's own (JSON Schema 2020-12) of the types as the gateway reads and writes them; records become
components under their names. Only what JSON Schema has other words for is changed.
"""

from __future__ import annotations

import inspect
from http import HTTPStatus
from typing import Any, Final

import msgspec

from rsm.gateway.arguments import CommandForm, Form, Forms, QueryForm
from rsm.gateway.problems import KINDS, MEDIA_TYPE, TYPE
from rsm.gateway.shapes import json_type, shown
from rsm.limits import KEY_LENGTH_MAX, PIPELINE_STEPS_MAX
from rsm.machine.definition import CommandSpec
from rsm.machine.values import MISSING

__all__ = ["document", "schemas_of"]

JSON: Final = "application/json"
PLACE: Final = "#/components/schemas/"
INT64: Final = {"minimum": -(2**63), "maximum": 2**63 - 1}
# The problems that an operation may answer with, by status.
OF_ALL: Final = ("bad-request", "foreign-origin", "foreign-host", "busy", "unavailable", "internal")
OF_COMMANDS: Final = (
    *("too-slow", "rejected", "handler-failed", "key-voided", "too-large", "not-json", "invalid", "key-reused"),
    "outcome-unknown",
)
OF_QUERIES: Final = ("invalid", "query-failed", "no-answer")
DESCRIPTION: Final = (
    "Commands change the machine, one after another, in the same order on every replica; queries read it. Errors are "
    "problem details (RFC 9457). Bytes are base64; integers have 64 bits, and with strings=1 those beyond 2**53 are "
    "text. Over WebSocket, which OpenAPI does not describe: /feed for events, /watch for a query's result whenever "
    "it changes."
)


def document(forms: Forms) -> dict[str, Any]:
    """The document, as plain data."""
    definition = forms.definition
    schemas = Schemas(forms)
    paths: dict[str, Any] = {}
    for name, command in sorted(forms.commands.items()):
        paths[f"/commands/{name}"] = {"post": _command(name, command.spec, command.form, schemas)}
    paths["/pipeline"] = {"post": _pipeline(sorted(forms.commands))}
    for name, query in sorted(forms.queries.items()):
        is_stream = query.spec.is_stream
        result = _object({"result": schemas.of_result(query.spec.handler, is_stream=is_stream)})
        if not is_stream:
            result = _object({"index": _index("Of the state that was read.")} | result["properties"])
        paths[f"/queries/{name}"] = {"get": _query(name, query.spec.handler, query.form, result, schemas)}
    return {
        "openapi": "3.1.0",
        "info": {"title": definition.name, "version": str(definition.version), "description": DESCRIPTION},
        "paths": paths,
        "components": {"schemas": schemas.components | {"Problem": _problem()}},
    }


class Schemas:
    """The schemas of all types of a machine, made together so that equal names are told apart."""

    def __init__(self, forms: Forms) -> None:
        asked: list[CommandForm | QueryForm] = [*forms.commands.values(), *forms.queries.values()]
        self._results = {one.spec.handler: json_type(one.spec.result_type) for one in asked}
        types = [*self._results.values(), *(kind for one in asked for kind in one.form.types.values())]
        schemas, self.components = schemas_of(types)
        self._found = list(zip(types, schemas, strict=True))

    def of(self, declared: Any) -> dict[str, Any]:
        """The schema of a type that was among them."""
        return dict(next(schema for kind, schema in self._found if kind is declared))

    def of_result(self, handler: Any, *, is_stream: bool) -> dict[str, Any]:
        """The schema of what a handler returns."""
        found = self.of(self._results[handler])
        return {"type": "array", "items": found} if is_stream else found

    def of_arguments(self, form: Form) -> dict[str, Any]:
        """The schema of the object that holds arguments by name."""
        properties, required = {}, []
        for parameter in form.signature.parameters:
            properties[parameter.name] = self.of(form.types[parameter.name])
            if parameter.default is MISSING:
                required.append(parameter.name)
            else:
                properties[parameter.name]["default"] = shown(parameter.default)
        return _object(properties, required)


def schemas_of(types: list[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The schemas of types, and the components that they refer to; a type that has no schema allows anything."""
    known = [kind if _has_schema(kind) else Any for kind in types]
    schemas, components = msgspec.json.schema_components(known, ref_template=PLACE + "{name}")
    return [_tamed(schema) for schema in schemas], {name: _tamed(one) for name, one in components.items()}


def _has_schema(kind: Any) -> bool:
    try:
        msgspec.json.schema(kind)
    except (TypeError, NameError):
        return False
    return True


def _tamed(schema: Any) -> Any:
    """What JSON Schema understands otherwise: integers have 64 bits, and patterns no flags of Python."""
    if isinstance(schema, list):
        return [_tamed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    # Below "properties" and the like stand names and not words of the language; a field may be called "pattern".
    found = {name: _tamed(value) for name, value in schema.items()}
    if found.get("type") == "integer":
        found["format"] = "int64"
        if "minimum" not in found and "exclusiveMinimum" not in found:
            found["minimum"] = INT64["minimum"]
        if "maximum" not in found and "exclusiveMaximum" not in found:
            found["maximum"] = INT64["maximum"]
    if isinstance(pattern := found.get("pattern"), str):
        found["pattern"] = pattern.removeprefix("(?a)")
    return found


# --- operations -------------------------------------------------------------------------------------------------------


def _command(name: str, spec: CommandSpec, form: Form, schemas: Schemas) -> dict[str, Any]:
    result = _object(
        {"index": _index("Of the log entry that answered."), "result": schemas.of_result(spec.handler, is_stream=False)}
    )
    return {
        **_named(f"command_{name}", spec.handler, "commands"),
        "parameters": [_key(), _strings()],
        "requestBody": _body(schemas.of_arguments(form), is_required=bool(form.types)),
        "responses": _responses(result, *OF_COMMANDS),
        "x-rsm-version": spec.version,
    }


def _pipeline(commands: list[str]) -> dict[str, Any]:
    step = _object(
        {
            "command": {"enum": commands},
            "arguments": {
                "description": 'By name or by position. {"$result": 0, "path": ["field"]} stands for the result of an '
                "earlier step, by its number or name, or for a part of it.",
                "anyOf": [{"type": "object"}, {"type": "array"}],
            },
            "name": {"type": ["string", "null"], "description": "How later steps may call the result."},
        },
        ["command"],
    )
    steps = {"type": "array", "items": step, "maxItems": PIPELINE_STEPS_MAX}
    result = _object({"index": _index("Of the log entry that answered."), "results": {"type": "array"}})
    return {
        "operationId": "pipeline",
        "summary": "Run several commands as one atomic step, in one round trip.",
        "tags": ["commands"],
        "parameters": [_key(), _strings()],
        "requestBody": _body(steps, is_required=True),
        "responses": _responses(result, *OF_COMMANDS),
    }


def _query(name: str, handler: Any, form: Form, result: dict[str, Any], schemas: Schemas) -> dict[str, Any]:
    arguments = {
        "name": "args",
        "in": "query",
        "description": "The arguments as JSON: an object by name, or an array by position.",
        "required": any(one.default is MISSING for one in form.signature.parameters),
        "content": {JSON: {"schema": schemas.of_arguments(form)}},
    }
    level = {
        "name": "read",
        "in": "query",
        "description": "How new the state must be; linearizable if neither this nor at_least is given.",
        "schema": {"enum": ["linearizable", "session", "stale"]},
    }
    at_least = {
        "name": "at_least",
        "in": "query",
        "description": "An index of the log: the state is that new, at least.",
        "schema": {"type": "integer", "minimum": 0},
    }
    return {
        **_named(f"query_{name}", handler, "queries"),
        "parameters": [*([arguments] if form.types else []), level, at_least, _strings()],
        "responses": _responses(result, *OF_QUERIES),
    }


def _named(operation: str, handler: Any, tag: str) -> dict[str, Any]:
    said = inspect.getdoc(handler) or ""
    summary, _, rest = said.partition("\n\n")
    found = {"operationId": operation, "tags": [tag]}
    if summary:
        found["summary"] = " ".join(summary.split())
    if rest:
        found["description"] = rest
    return found


def _body(schema: dict[str, Any], *, is_required: bool) -> dict[str, Any]:
    return {"required": is_required, "content": {JSON: {"schema": schema}}}


def _responses(result: dict[str, Any], *problems: str) -> dict[str, Any]:
    by_status: dict[HTTPStatus, list[str]] = {}
    for kind in (*OF_ALL, *problems):
        by_status.setdefault(KINDS[kind].status, []).append(KINDS[kind].meaning)
    found: dict[str, Any] = {"200": {"description": "The result.", "content": {JSON: {"schema": result}}}}
    for status, meanings in sorted(by_status.items()):
        content = {MEDIA_TYPE: {"schema": {"$ref": PLACE + "Problem"}}}
        found[str(int(status))] = {"description": " ".join(meanings), "content": content}
    return found


def _problem() -> dict[str, Any]:
    text = {"type": "string"}
    return _object(
        {
            "type": {"enum": [TYPE + kind for kind in KINDS]},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "field": {"type": "string", "description": "The argument, header or parameter at fault."},
            "reason": {"type": "string", "description": "Why the handler rejected it."},
            "step": {"type": "integer", "description": "Of a pipeline, from 0."},
        },
        ["type", "title", "status", "detail"],
    ) | {"additionalProperties": True}


def _key() -> dict[str, Any]:
    return {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "Runs at most once under this key; a repeat gets the answer that was given.",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_LENGTH_MAX},
    }


def _strings() -> dict[str, Any]:
    return {
        "name": "strings",
        "in": "query",
        "description": "1: integers beyond 2**53 are text in the answer, and text is taken for integers.",
        "schema": {"enum": ["0", "1"], "default": "0"},
    }


def _index(description: str) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "description": description}


def _object(properties: dict[str, Any], required: list[str] | None = None) -> dict[str, Any]:
    names = list(properties) if required is None else required
    return {"type": "object", "properties": properties, "required": names, "additionalProperties": False}
