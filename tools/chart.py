"""Renews the chart's values.schema.json: what it says of the configuration comes from the structs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec

from gateway.config import Config

SCHEMA = Path(__file__).parents[1] / "deploy" / "helm" / "ringcloud-gateway" / "values.schema.json"
_PREFIX = "settings."
# What the chart sets itself.
_OURS = ("metrics",)


def renewed() -> str:
    """The schema's file as it should be: all but the definitions of settings is kept by hand."""
    document = json.loads(SCHEMA.read_text(encoding="utf-8"))
    _, found = msgspec.json.schema_components([Config], ref_template=f"#/$defs/{_PREFIX}{{name}}")
    for name in _OURS:
        del found["Config"]["properties"][name]
    if "api" in found["Config"]["properties"]:
        _api(found, found["Config"]["properties"]["api"])
    kept = {name: what for name, what in document["$defs"].items() if not name.startswith(_PREFIX)}
    made = {f"{_PREFIX}{name}": _for_helm(what) for name, what in sorted(found.items())}
    document["$defs"] = {**kept, **made}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _api(found: dict[str, Any], reference: dict[str, Any]) -> None:
    name = reference.get("$ref", "").removeprefix(f"#/$defs/{_PREFIX}")
    if name in found:
        found[name].get("properties", {}).pop("listen", None)


def _for_helm(schema: Any) -> Any:
    """Helm's patterns know no look-ahead, and its defaults are the chart's."""
    if isinstance(schema, list):
        return [_for_helm(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _for_helm(what) for name, what in schema.items() if name not in ("default", "title")}
    if isinstance(pattern := schema.get("pattern"), str):
        # What is read as a line of TOML has no line feed at its end; `*` alone the gateway itself refuses.
        pattern = pattern.removesuffix(r"(?!\n)").replace(r"^(?!\*$)", "^")
        found["pattern"] = pattern
    return found


def main() -> None:
    """Write it."""
    SCHEMA.write_text(renewed(), encoding="utf-8")


if __name__ == "__main__":
    main()
