"""The description of the API as a page to read, whole in itself: it asks nobody else for scripts or styles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from typing import Any

import msgspec

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
td {{ text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid var(--line) }}
summary {{ cursor: pointer }}
</style>
</head>
<body>
"""
_SCHEMAS = "#/components/schemas/"


def page(described: dict[str, Any]) -> bytes:
    """The page of an OpenAPI document, in HTML."""
    return "\n".join(_page(described)).encode()


def _page(described: dict[str, Any]) -> Iterator[str]:
    info, components = described["info"], described["components"]
    yield _HEAD.format(title=escape(info["title"]))
    yield f"<h1>{escape(info['title'])}</h1><p>{_prose(info['description'])}</p>"
    yield '<p><a href="schema">OpenAPI document</a></p><nav><ul>'
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            where, what = escape(operation["operationId"]), escape(operation["summary"])
            yield f'<li><a href="#{where}"><code>{method.upper()} {escape(path)}</code></a>: {what}</li>'
    yield "</ul></nav><section><h2>Problems</h2>"
    yield from _table((_code(status), _prose(one["description"])) for status, one in components["responses"].items())
    yield "</section>"
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
    yield f"<p>{_prose(operation['summary'])}. {_prose(operation['description'])}</p>"
    if operation["parameters"]:
        yield from _table(
            (_code(one["name"]), escape(one["in"]), _prose(one.get("description", "")), _schema(one["schema"]))
            for one in operation["parameters"]
        )
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: {_schema(content['schema'])}, {_code(kind)}</p>"
    for status, answer in operation["responses"].items():
        if "$ref" not in answer:
            shown = [_schema(content["schema"]) for content in answer.get("content", {}).values()]
            yield f"<p>{_code(status)}: {_prose(answer['description'])} {' '.join(shown)}</p>"
    others = ", ".join(_code(status) for status, answer in operation["responses"].items() if "$ref" in answer)
    yield f"<p>Or {others}.</p>"


def _schema(schema: dict[str, Any]) -> str:
    """A schema in few words: its name with a link to it, or itself where it has none."""
    if "$ref" in schema:
        name = escape(schema["$ref"].removeprefix(_SCHEMAS))
        return f'<a href="#{name}"><code>{name}</code></a>'
    if "anyOf" in schema:
        return " or ".join(_schema(one) for one in schema["anyOf"])
    return _code(msgspec.json.encode(schema).decode())


def _table(rows: Iterator[tuple[str, ...]]) -> Iterator[str]:
    yield "<table>"
    for row in rows:
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    yield "</table>"


def _block(value: Any) -> str:
    return f"<pre>{escape(msgspec.json.format(msgspec.json.encode(value)).decode())}</pre>"


def _code(text: str) -> str:
    return f"<code>{escape(text)}</code>"


def _prose(text: str) -> str:
    """Text with its `code` marked as such."""
    marks: tuple[Callable[[str], str], ...] = (escape, _code)
    return "".join(marks[number % 2](part) for number, part in enumerate(text.split("`")))
