"""The JSON examples of a document in docs/, and events as they are written there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parents[3] / "docs"
_WIDTH = 118
_ENVELOPE = ("specversion", "type", "source", "id", "subject", "time", "datacontenttype", "sequence", "data")


def examples_in(name: str) -> list[dict[str, Any]]:
    """The JSON blocks of docs/`name`, in order."""
    text = (DOCS / name).read_text(encoding="utf-8")
    return [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)]


def block_of(event: dict[str, Any]) -> str:
    """A CloudEvent as a block of the document, several fields in a line."""
    attributes = {name: event[name] for name in _ENVELOPE if name in event and name != "data"}
    outer, inner = _lines(attributes, "  "), _lines(event["data"], "    ")
    return "\n".join(["```json", "{", *outer[:-1], outer[-1] + ",", '  "data": {', *inner, "  }", "}", "```"])


def _lines(fields: dict[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    said = [f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in fields.items()]
    for at, one in enumerate(said):
        one += "," if at < len(said) - 1 else ""
        if lines and len(lines[-1]) + 1 + len(one) <= _WIDTH:
            lines[-1] += f" {one}"
        else:
            lines.append(indent + one)
    return lines
