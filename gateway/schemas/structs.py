"""JSON Schemas of the contract's structs. No field is listed here: all come from the structs themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from gateway.contract.events import CallEvent
from gateway.contract.thin import ThinEvent

Schema = dict[str, Any]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def document(type_: Any, title: str, *, written: bool) -> Schema:
    """The JSON Schema (2020-12) of a struct or of a union of structs, complete in itself. For `written` see `components()`."""
    (root,), inner = components([type_], "#/$defs/{name}", written=written)
    return {"$schema": _DIALECT, "title": title, **root, "$defs": inner}


def components(types: Sequence[Any], template: str, *, written: bool) -> tuple[list[Schema], dict[str, Schema]]:
    """The schema of each of `types`, and of every struct that these refer to by `template` (with `{name}` in it).

    `written` is for what the gateway writes: it writes every field, so that all are required. In what it reads, the
    fields that have a default may be left out.
    """
    (*roots, full, slim), inner = msgspec.json.schema_components([*types, CallEvent, ThinEvent], ref_template=template)
    if "Delivery" in inner:
        # It carries the event as raw bytes, so that they stay as they are; what these hold is known all the same.
        inner["Delivery"]["properties"]["event"]["anyOf"] = [full, slim]
    names = {template.format(name=name): name for name in inner}
    found = _reached(roots, {ref: inner[name] for ref, name in names.items()})
    return (
        [_tidy(root, written) for root in roots],
        {name: _tidy(inner[name], written) for ref, name in names.items() if ref in found},
    )


def _reached(roots: Sequence[Schema], inner: dict[str, Schema]) -> set[str]:
    """The references that can be come to from `roots`."""
    found: set[str] = set()
    left: list[Any] = list(roots)
    while left:
        one = left.pop()
        if isinstance(one, dict):
            ref = one.get("$ref")
            if isinstance(ref, str) and ref not in found:
                found.add(ref)
                left.append(inner[ref])
            left += one.values()
        elif isinstance(one, list):
            left += one
    return found


def _tidy(schema: Schema, written: bool) -> Schema:
    """Without OpenAPI's `discriminator`, which AsyncAPI reads otherwise and JSON Schema not at all."""
    tidy: Schema = {}
    for keyword, value in schema.items():
        if keyword == "discriminator" or (written and keyword == "default"):
            continue
        match keyword:
            case "properties":
                tidy[keyword] = {name: _tidy(one, written) for name, one in value.items()}
            case "anyOf":
                tidy[keyword] = [_tidy(one, written) for one in value]
            case "items" if isinstance(value, dict):
                tidy[keyword] = _tidy(value, written)
            case _:
                tidy[keyword] = value
    if written and "properties" in tidy:
        tidy["required"] = list(tidy["properties"])
    return tidy
