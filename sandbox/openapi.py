"""The OpenAPI description of the API as a sandbox serves it, made from the route table and the structs of its answers."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from sandbox.params import Param
from sandbox.routes import Route

Json = dict[str, Any]

_SCHEMAS = "#/components/schemas/"
_MEANINGS = {
    400: "Parameters are wrong, or name a user that does not exist.",
    403: "Key or hash is missing or wrong, or the key's rights do not allow it.",
    404: "No such URL or file.",
    405: "A GET where a POST is meant, or the other way round.",
    429: "Too many requests: nothing was done.",
    500: "Internal error.",
}
_ABOUT = (
    "The API of a hosted PBX, as a sandbox serves it. Each key has a limit for each URL: a request that comes too "
    "early is answered 429 and changes nothing. A change answers the data `null`."
)


def document(routes: Iterable[Route]) -> Json:
    """The OpenAPI 3.1 document of `routes`, every one and nothing else."""
    routes = tuple(routes)
    names = Counter(route.name for route in routes)
    schemas, components = msgspec.json.schema_components(
        [route.data for route in routes], ref_template=_SCHEMAS + "{name}"
    )
    paths: dict[str, Json] = {}
    for route, data in zip(routes, schemas, strict=True):
        # Two URLs may be one operation; each needs a name of its own here.
        name = route.name if names[route.name] == 1 else route.template.rpartition("/")[2]
        path = paths.setdefault(route.template.replace("<", "{").replace(">", "}"), {})
        path[route.method.lower()] = _operation(route, name, data)
    return {
        "openapi": "3.1.0",
        "info": {"title": "RingCloud API", "version": "1", "description": _ABOUT},
        "servers": [{"url": "/"}],
        "security": [{"api_key": [], "hash": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(map(_tag, routes))],
        "paths": paths,
        "components": {
            "schemas": {**components, "Failure": _envelope("error", {"type": "string"}, {"type": "null"})},
            "responses": {str(status): _failure(status) for status in _MEANINGS},
            "securitySchemes": {
                "api_key": _secret("api_key", "`<account number>_<body>`; the account is the integer before the `_`."),
                "hash": _secret("hash", "The lower-case hex MD5 of key and password written together."),
            },
        },
    }


def _operation(route: Route, name: str, data: Json) -> Json:
    operation: Json = {
        "operationId": name,
        "summary": route.summary,
        "description": f"At most 1 request in {route.limit_ms // 1000} s for each key and path. {_rights(route)}",
        "tags": [_tag(route)],
        "parameters": [
            *(_parameter(param, "path") for param in route.path_params),
            *(_parameter(param, "query") for param in route.query),
        ],
        "responses": {"200": _success(route, data), **{str(status): _refusal(route, status) for status in _of(route)}},
    }
    if route.method == "POST":
        operation["requestBody"] = _body(route.params)
    return operation


def _of(route: Route) -> list[int]:
    """The statuses other than 200 that the route answers."""
    possible = {403, 405, 429, 500, *(param.refused for param in route.path_params)}
    if route.path_params:
        # An empty variable part, or one with a `/` that is not encoded, makes another URL.
        possible.add(404)
    if route.query or route.method == "POST":
        possible.add(400)
    return sorted(possible)


def _success(route: Route, data: Json) -> Json:
    if route.bare:
        return {"description": "The file.", "content": {"audio/wav": {}}}
    envelope = _envelope("success", {"type": "null"}, data)
    return {"description": "Done.", "content": {"application/json": {"schema": envelope}}}


def _refusal(route: Route, status: int) -> Json:
    if route.bare and status != 405:
        return {"description": f"{_MEANINGS[status]} The body is empty, or an envelope where no such URL was found."}
    return {"$ref": f"#/components/responses/{status}"}


def _failure(status: int) -> Json:
    failure: Json = {
        "description": _MEANINGS[status],
        "content": {"application/json": {"schema": {"$ref": f"{_SCHEMAS}Failure"}}},
    }
    if status == 405:
        failure["headers"] = {"Allow": {"description": "The method that is meant.", "schema": {"type": "string"}}}
    return failure


def _envelope(status: str, message: Json, data: Json) -> Json:
    return {
        "type": "object",
        "properties": {"status": {"const": status}, "message": message, "data": data},
        "required": ["status", "message", "data"],
        "additionalProperties": False,
    }


def _parameter(param: Param, place: str) -> Json:
    return {
        "name": param.name,
        "in": place,
        "required": place == "path",
        "description": param.about,
        "schema": _text(param),
        "example": param.example,
    }


def _body(params: tuple[Param, ...]) -> Json:
    inner: Json = {"type": "object", "properties": {param.name: _value(param) for param in params}}
    if params:
        inner["required"] = [param.name for param in params]
    return {
        "required": bool(params),
        "content": {
            "application/json": {
                "schema": {"type": "object", "properties": {"params": inner}, "required": ["params"]},
                "example": {"params": {param.name: param.example for param in params}},
            }
        },
    }


def _value(param: Param) -> Json:
    if param.integers is None:
        return {"description": param.about, **_text(param)}
    bounds = zip(("minimum", "maximum"), param.integers, strict=True)
    integer = {"type": "integer", **{name: bound for name, bound in bounds if bound is not None}}
    return {"description": param.about, "anyOf": [_text(param), integer]}


def _text(param: Param) -> Json:
    return {"type": "string", "pattern": f"^{param.pattern}$"} if param.pattern else {"type": "string", "minLength": 1}


def _rights(route: Route) -> str:
    if route.resource is None:
        return "Any key may ask."
    change = route.method == "POST"
    return f"Needs {'RW' if change else 'RO or RW'} for {route.resource}."


def _tag(route: Route) -> str:
    return route.template.split("/")[2]


def _secret(name: str, about: str) -> Mapping[str, str]:
    return {"type": "apiKey", "in": "query", "name": name, "description": about}
