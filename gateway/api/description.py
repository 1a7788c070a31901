"""The OpenAPI document of the API, made from its operations and from the structs that they take and answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from gateway.api.operations import JSON, Operation
from gateway.api.problems import MEDIA_TYPE, ProblemDetails

Json = dict[str, Any]

_TEMPLATE = "#/components/schemas/{name}"
_ABOUT = (
    "Endpoints, what was delivered to them and what was not, deliveries made again, and commands. Every request bears a "
    "token, `Authorization: Bearer …`, with the scope that its operation names. Errors are problem details (RFC 9457). "
    "What lists more than a page answers `next`, to be given as `cursor`."
)
_MEANINGS = {
    400: "The request is not as described; `field` names what is wrong.",
    401: "There is no token, or it is not known.",
    403: "The token lacks the scope.",
    404: "There is no such thing.",
    409: "It can't be done as things stand.",
    413: "The body is too long.",
    415: "The body is of another media type.",
    422: "The request is as described, but breaks a rule; `field` names what is wrong.",
    500: "The gateway failed.",
    503: "Kafka does not answer; try again.",
}
_DONE = {200: "Done.", 201: "Made.", 202: "On its way.", 204: "Done; there is nothing to say."}
_HEADERS = {
    401: {"WWW-Authenticate": {"description": "Which token is asked for", "schema": {"type": "string"}}},
    503: {"Retry-After": {"description": "Seconds after which to try again", "schema": {"type": "string"}}},
}


def document(operations: Sequence[Operation[Any, Any]], version: str) -> Json:
    """The OpenAPI 3.1 document of `operations`, every one and nothing else."""
    kinds: list[Any] = [ProblemDetails]
    for one in operations:
        kinds += [one.body, one.query, one.headers, *([one.answer] if one.answer is not None else [])]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=_TEMPLATE)
    for schema in components.values():
        for field in schema.get("properties", {}).values():
            if field.get("minItems") and not field.get("default", ...):
                # What may be left out, and not be empty where it is given, has no default that could be written down.
                del field["default"]
    of = iter(schemas[1:])
    paths: dict[str, Json] = {}
    for one in operations:
        body, query, headers = next(of), next(of), next(of)
        answer = next(of) if one.answer is not None else None
        parameters = [
            _parameter(name, schema, where)
            for where, kind in (("query", query), ("header", headers))
            for name, schema in components[kind["$ref"].rpartition("/")[2]].get("properties", {}).items()
        ]
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one, body, parameters, answer)
    used = _reached([schemas[0], paths], components)
    made: Json = {
        "openapi": "3.1.0",
        "info": {"title": "RingCloud gateway: admin API", "version": version, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "tags": [{"name": name} for name in dict.fromkeys(_tag(one) for one in operations)],
        "paths": paths,
        "components": {
            "schemas": {name: schema for name, schema in sorted(components.items()) if name in used},
            "responses": {str(status): _problem(status) for status in _MEANINGS},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "A token of `[[api.tokens]]`."}
            },
        },
    }
    # As whoever reads it gets it: a default that is a tuple here is an array there.
    plain: Json = msgspec.json.decode(msgspec.json.encode(made))
    return plain


def _operation(one: Operation[Any, Any], body: Json, parameters: Sequence[Json], answer: Json | None) -> Json:
    described: Json = {
        "operationId": one.name,
        "summary": one.summary,
        "description": f"Needs the scope `{one.scope}`.",
        "tags": [_tag(one)],
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
                for name in re.findall(r"\{(\w+)\}", one.path)
            ),
            *parameters,
        ],
        "responses": {
            **{str(status): _answered(status, answer) for status in (one.status, *one.also)},
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in _statuses(one)},
        },
    }
    if one.bodies:
        content = {kind: {"schema": body} for kind in one.bodies}
        described["requestBody"] = {"required": True, "content": content}
    return described


def _statuses(one: Operation[Any, Any]) -> list[int]:
    found = {401, 403, 500, 503, *one.problems}
    if "cursor" in one.query.__struct_fields__:
        found.add(422)  # of a cursor that is none
    if one.bodies:
        found |= {400, 413, 415}
    found.add(400)  # of parameters: none but those that are named
    if "{" in one.path:
        found.add(404)
    return sorted(found)


def _parameter(name: str, schema: Json, where: str) -> Json:
    """A parameter in the query or a header: one that may be left out is never null, since neither can say so."""
    inner = dict(schema)
    description = inner.pop("description", "")
    if inner.get("default", ...) is None:
        del inner["default"]
    choices = [one for one in inner.pop("anyOf", []) if one != {"type": "null"}]
    if choices:
        inner |= choices[0]
        description = description or inner.pop("description", "")
    if "enum" in inner:
        inner["enum"] = [one for one in inner["enum"] if one is not None]
    return {"name": name, "in": where, "required": False, "description": description, "schema": inner}


def _answered(status: int, answer: Json | None) -> Json:
    described: Json = {"description": _DONE[status]}
    if answer is not None:
        described["content"] = {JSON: {"schema": answer}}
    if status in (201, 202):
        described["headers"] = {"Location": {"description": "Where it is", "schema": {"type": "string"}}}
    return described


def _problem(status: int) -> Json:
    schema = {"$ref": _TEMPLATE.format(name=ProblemDetails.__name__)}
    described: Json = {"description": _MEANINGS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
    if status in _HEADERS:
        described["headers"] = _HEADERS[status]
    return described


def _tag(one: Operation[Any, Any]) -> str:
    return one.path.split("/")[2]


def _reached(roots: Iterable[Any], components: dict[str, Json]) -> set[str]:
    """The names of the components that can be come to."""
    found: set[str] = set()
    left = list(roots)
    while left:
        one = left.pop()
        if isinstance(one, dict):
            name = str(one.get("$ref", "")).removeprefix(_TEMPLATE.format(name=""))
            if name in components and name not in found:
                found.add(name)
                left.append(components[name])
            left += one.values()
        elif isinstance(one, list):
            left += one
    return found
