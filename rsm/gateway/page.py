"""The front page: what the machine can be asked, for people. One file without scripts or anything from elsewhere."""

from __future__ import annotations

import html
import json
from typing import Any, Final

from rsm.gateway.problems import KINDS

__all__ = ["HEADERS", "page"]

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #1c2733 }
h2 { margin-top: 2rem; border-bottom: 1px solid #d5dce3 }
code, pre { font: 14px/1.5 ui-monospace, monospace }
pre { background: #f3f6f8; padding: .6rem .8rem; overflow-x: auto; border-radius: 4px }
th, td { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top }
.says { color: #55636f }
""".strip()


def page(document: dict[str, Any]) -> str:
    """The page of an OpenAPI document."""
    name = html.escape(document["info"]["title"])
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>{name}</title><style>{STYLE}</style>",
        f"<h1>{name} <small>version {html.escape(document['info']['version'])}</small></h1>",
        '<p>Described for programs by <a href="openapi.json">openapi.json</a> (OpenAPI 3.1). '
        "Arguments are JSON, an object by name or an array by position: those of a command are the body, of type "
        "<code>application/json</code>.</p>",
    ]
    for title, method in (("Commands", "post"), ("Queries", "get")):
        parts.append(f"<h2>{title}</h2>")
        parts += [_operation(path, method, one[method]) for path, one in document["paths"].items() if method in one]
    parts.append(
        "<h2>WebSockets</h2><pre>/feed?topics=a,b/\n/watch?query=NAME&amp;args=JSON</pre><h2>Problems</h2><table>"
    )
    parts += [
        f"<tr><td>{int(kind.status)}<td><code>{name}</code><td>{html.escape(kind.meaning)}"
        for name, kind in KINDS.items()
    ]
    return "".join([*parts, "</table></html>\n"])


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    says = html.escape(operation.get("summary", ""))
    schema = _arguments_of(operation)
    names = ", ".join(_spelled(name, one) for name, one in schema.get("properties", {}).items())
    given = "?args=JSON" if names and method == "get" else ""
    text = f"{method.upper()} {path}{given}\n{names or 'no arguments'}"
    if path == "/pipeline":
        text = f"POST {path}\n" + json.dumps([{"command": "NAME", "arguments": {}, "name": "a"}])
    return f"<pre>{html.escape(text)}</pre>" + (f'<p class="says">{says}</p>' if says else "")


def _arguments_of(operation: dict[str, Any]) -> dict[str, Any]:
    body: dict[str, Any] = operation.get("requestBody") or next(
        (one for one in operation["parameters"] if one["name"] == "args"), {}
    )
    content: dict[str, Any] = body.get("content", {})
    return next((dict(one["schema"]) for one in content.values()), {})


def _spelled(name: str, schema: dict[str, Any]) -> str:
    reference = schema.get("$ref", "").rpartition("/")[2]
    options = [_spelled("", one).removeprefix(": ") for one in schema.get("anyOf", [])]
    kind = reference or schema.get("type") or " or ".join(options) or "value"
    return f"{name}: {kind}"
