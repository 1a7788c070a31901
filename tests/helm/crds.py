"""The schemas of other parties' kinds, as their operators publish them: in the Go modules of the operators."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema
import yaml

from tests.helm.chart import Manifest
from tests.support.gomod import go_module

_PROMETHEUS = "github.com/prometheus-operator/prometheus-operator@{}", "example/prometheus-operator-crd"
_KEDA = "github.com/kedacore/keda/v2@{}", "config/crd/bases"
# kind -> the module and folder of its definition, its file there, and an old and a new version of the operator.
FOREIGN = {
    "ServiceMonitor": (*_PROMETHEUS, "monitoring.coreos.com_servicemonitors.yaml", ("v0.68.0", "v0.85.0")),
    "PrometheusRule": (*_PROMETHEUS, "monitoring.coreos.com_prometheusrules.yaml", ("v0.68.0", "v0.85.0")),
    "ScaledObject": (*_KEDA, "keda.sh_scaledobjects.yaml", ("v2.12.0", "v2.18.0")),
}


def validate(manifest: Manifest) -> None:
    """Raise jsonschema.ValidationError unless each of the operator's versions takes the manifest, to its last field."""
    module, folder, file, versions = FOREIGN[manifest["kind"]]
    for version in versions:
        jsonschema.Draft7Validator(_schema(module.format(version), folder, file, manifest["apiVersion"])).validate(
            manifest
        )


@cache
def _schema(module: str, folder: str, file: str, api_version: str) -> dict[str, Any]:
    definition = yaml.safe_load((go_module(module) / folder / file).read_text(encoding="utf-8"))["spec"]
    versions = {f"{definition['group']}/{one['name']}": one for one in definition["versions"] if one["served"]}
    schema = versions[api_version]["schema"]["openAPIV3Schema"]
    schema["properties"]["metadata"] = {"type": "object", "required": ["name"]}
    strict: dict[str, Any] = _strict(schema)
    return strict


def _strict(schema: Any) -> Any:
    """Kubernetes drops a field that it doesn't know; here it is an error."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    found = {name: _strict(one) for name, one in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        open_ = schema.get("x-kubernetes-preserve-unknown-fields", False) or "additionalProperties" in schema
        return found if open_ else {**found, "additionalProperties": False}
    return found
