"""Judges documents by the schemas as they are committed, with the jsonschema library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
from jsonschema import Draft202012Validator

COMMITTED = Path(__file__).parents[3] / "docs" / "schemas"
FORMATS = Draft202012Validator.FORMAT_CHECKER


def schema(name: str) -> Any:
    """The committed schema `name`."""
    return json.loads((COMMITTED / f"{name}.json").read_text(encoding="utf-8"))


def judge_of(name: str) -> Draft202012Validator:
    """What judges by the committed schema `name`; formats count."""
    return Draft202012Validator(schema(name), format_checker=FORMATS)


def json_of(message: msgspec.Struct) -> dict[str, Any]:
    """What the gateway writes of `message`, read by another JSON library."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(message))
    return found
