"""`/docs`: the description of the API as a page to read, whole in itself, and as an OpenAPI document."""

from collections.abc import Callable, Iterator
from functools import cached_property
from html import escape
from typing import Any

import msgspec

from sandbox.openapi import document
from sandbox.replies import ApiError, to_json
from sandbox.routes import Route

_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --line: color-mix(in srgb, currentColor 20%, transparent) }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }}
code, pre {{ font: 14px/1.5 ui-monospace, monospace }}
pre {{ overflow-x: auto; padding: .75rem; border: 1px solid var(--line); border-radius: .25rem }}
section {{ border-top: 1px solid var(--line); margin-top: 2rem }}
h3 {{ font: 600 16px/1.5 ui-monospace, monospace; margin: 1.5rem 0 .25rem }}
table {{ border-collapse: collapse }}
td, th {{ text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line) }}
summary {{ cursor: pointer }}
</style>
</head>
<body>
"""


class Docs:
    """Answers the URLs in `urls`; both are made when they are first asked for."""

    urls = frozenset(("/docs", "/docs/openapi.json"))

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self._routes = routes

    def answer(self, method: str, url: str) -> tuple[bytes, str]:
        """Body and content type of the answer to a GET of one of `urls`; ApiError 405 for another method."""
        if method != "GET":
            raise ApiError(405, "use GET", {"Allow": "GET"})
        return (self._page, "text/html; charset=utf-8") if url == "/docs" else (self._json, "application/json")

    @cached_property
    def _document(self) -> dict[str, Any]:
        return document(self._routes)

    @cached_property
    def _json(self) -> bytes:
        return to_json(self._document)

    @cached_property
    def _page(self) -> bytes:
        return "\n".join(_page(self._document)).encode()


def _page(described: dict[str, Any]) -> Iterator[str]:
    info, components = described["info"], described["components"]
    yield _HEAD.format(title=escape(info["title"]))
    yield f"<h1>{escape(info['title'])}</h1><p>{_prose(info['description'])}</p>"
    yield '<p><a href="/docs/openapi.json">OpenAPI document</a></p><h2>Every request</h2>'
    yield from _table(
        (_code(name), _prose(scheme["description"])) for name, scheme in components["securitySchemes"].items()
    )
    yield "<h2>Failures</h2>"
    yield from _table(
        (_code(status), _prose(response["description"])) for status, response in components["responses"].items()
    )
    for tag in described["tags"]:
        yield f"<section><h2>{escape(tag['name'])}</h2>"
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    yield from _operation(method.upper(), path, operation)
        yield "</section>"
    yield "<section><h2>Schemas</h2>"
    for name, schema in components["schemas"].items():
        yield f'<h3 id="{escape(name)}">{escape(name)}</h3>{_block(schema)}'
    yield "</section></body></html>"


def _operation(method: str, path: str, operation: dict[str, Any]) -> Iterator[str]:
    yield f'<h3 id="{escape(operation["operationId"])}">{method} {escape(path)}</h3>'
    yield f"<p>{escape(operation['summary'])}. {_prose(operation['description'])}</p>"
    parameters = operation["parameters"]
    if parameters:
        yield from _table(
            (_code(one["name"]), escape(one["in"]), _prose(one["description"]), _code(one["example"]))
            for one in parameters
        )
    if "requestBody" in operation:
        content = operation["requestBody"]["content"]["application/json"]
        yield f"<details><summary>Body</summary>{_block(content['example'])}{_block(content['schema'])}</details>"
    for kind, content in operation["responses"]["200"]["content"].items():
        answer = _block(content["schema"]) if "schema" in content else ""
        yield f"<details><summary>200, <code>{escape(kind)}</code></summary>{answer}</details>"
    others = ", ".join(_code(status) for status in operation["responses"] if status != "200")
    yield f"<p>Or {others}.</p>"


def _table(rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield "<table>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    yield "</table>"


def _block(value: Any) -> str:
    return f"<pre>{escape(msgspec.json.format(to_json(value)).decode())}</pre>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _prose(text: str) -> str:
    """Text with its `code` marked as such."""
    marks: tuple[Callable[[str], str], ...] = (escape, _code)
    return "".join(marks[number % 2](part) for number, part in enumerate(text.split("`")))
