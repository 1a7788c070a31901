"""The description at `/docs`: valid, of every route and nothing else, and readable without anything from elsewhere."""

import hashlib
import re
from urllib.parse import quote

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from sandbox.openapi import document
from sandbox.recordings import wav
from sandbox.routes import ROUTES

SIGNED = hashlib.md5(b"1000_demodemo", usedforsecurity=False).hexdigest()
DOCUMENTED = {
    "GET /v1/users",
    "GET /v1/users/{username}",
    "POST /v1/users/{username}/update_password",
    "POST /v1/users/{username}/update_extension_number",
    "POST /v1/users/{username}/update_email",
    "POST /v1/users/{username}/voice_mail_box_on",
    "POST /v1/users/{username}/voice_mail_box_off",
    "POST /v1/users/create",
    "GET /v1/users/{username}/records",
    "GET /v1/users/{username}/records/{filename}",
    "GET /v1/calls/channels",
    "GET /v1/calls/channels/{channel}",
    "POST /v1/calls",
    "GET /v1/calls/complite",
    "GET /v1/calls/complete",
    "GET /v1/calls/active",
    "GET /v1/accounts/{id}/balance",
    "GET /v1/phone_numbers/{number}",
}


def operations(described):
    return {
        f"{method.upper()} {path}": operation
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    }


def test_the_document_is_valid():
    described = document(ROUTES)
    assert list(OpenAPIV31SpecValidator(described).iter_errors()) == []
    assert described["openapi"].startswith("3.1")
    ids = [operation["operationId"] for operation in operations(described).values()]
    assert len(set(ids)) == len(ids)


async def test_every_route_is_in_it_and_nothing_else(api):
    described = (await api.get("/docs/openapi.json", key=None)).json
    assert described == document(ROUTES)
    routes = {f"{route.method} {route.template}".replace("<", "{").replace(">", "}") for route in ROUTES}
    assert set(operations(described)) == routes == DOCUMENTED


@pytest.mark.parametrize("spelling", ["complite", "complete"])
async def test_only_what_is_served_is_described(start, spelling):
    api = await start(complete_urls=spelling)
    described = (await api.get("/docs/openapi.json", key=None)).json
    assert {path for path in described["paths"] if "/comp" in path} == {f"/v1/calls/{spelling}"}
    assert len(operations(described)) == len(DOCUMENTED) - 1


async def test_every_parameter_is_described(api):
    described = operations((await api.get("/docs/openapi.json", key=None)).json)
    for name, operation in described.items():
        of_path = {one["name"] for one in operation["parameters"] if one["in"] == "path"}
        assert of_path == set(re.findall("{(.+?)}", name))
    of_query = {
        name: {one["name"] for one in operation["parameters"] if one["in"] == "query"}
        for name, operation in described.items()
    }
    assert {name: params for name, params in of_query.items() if params} == {
        "GET /v1/calls/complite": {"days", "num"},
        "GET /v1/calls/complete": {"days", "num"},
    }
    bodies = {
        name: operation["requestBody"]["content"]["application/json"]["schema"]["properties"]["params"]
        for name, operation in described.items()
        if "requestBody" in operation
    }
    assert set(bodies) == {name for name in DOCUMENTED if name.startswith("POST")}
    assert {name: set(body["required"]) for name, body in bodies.items() if "required" in body} == {
        "POST /v1/users/create": {"password", "num", "mail"},
        "POST /v1/users/{username}/update_password": {"password"},
        "POST /v1/users/{username}/update_extension_number": {"num"},
        "POST /v1/users/{username}/update_email": {"mail"},
        "POST /v1/calls": {"user", "num"},
    }


def test_the_statuses_are_those_that_the_api_documents():
    for name, operation in operations(document(ROUTES)).items():
        statuses = set(operation["responses"])
        assert {"200", "403", "405", "429", "500"} <= statuses <= {"200", "400", "403", "404", "405", "429", "500"}
        assert "400" in statuses or "{username}" not in name
        assert ("404" in statuses) == ("{" in name)


async def test_key_and_hash_are_asked_for_in_the_query(api):
    described = (await api.get("/docs/openapi.json", key=None)).json
    assert described["security"] == [{"api_key": [], "hash": []}]
    schemes = described["components"]["securitySchemes"]
    assert {(scheme["type"], scheme["in"], scheme["name"]) for scheme in schemes.values()} == {
        ("apiKey", "query", "api_key"),
        ("apiKey", "query", "hash"),
    }


@pytest.mark.parametrize("name", sorted(DOCUMENTED))
async def test_what_an_example_asks_is_answered(api, name):
    """The example of an operation, as it stands there; the schema of the answer is the document's own."""
    described = (await api.get("/docs/openapi.json", key=None)).json
    operation = operations(described)[name]
    api.pbx.place_call(1000, "74950001122", "400", "incoming", ring_ms=1_000, talk_ms=1_000)
    api.clock.advance(10)
    api.pbx.place_call(1000, "400", "74950001122", "outgoing", ring_ms=1_000, talk_ms=10**9)
    method, path = name.split(" ")
    for one in operation["parameters"]:
        path = path.replace(f"{{{one['name']}}}", quote(one["example"], safe=""))
    query = {one["name"]: one["example"] for one in operation["parameters"] if one["in"] == "query"}
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
    ((kind, content),) = operation["responses"]["200"]["content"].items()
    if kind == "audio/wav":
        assert await api.file(path) == (200, kind, wav(1_000))
        return
    answer = await api.request(method, path, body=body, **query)
    assert answer.headers["Content-Type"] == kind
    assert answer.data not in ([], {})
    Draft202012Validator({**content["schema"], "components": described["components"]}).validate(answer.json)


async def test_the_page_shows_every_operation_and_loads_nothing(api):
    answer = await api.get("/docs", key=None)
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    for operation in DOCUMENTED:
        assert f">{operation}</h3>" in answer.text
    assert re.findall(r"""(?:src|href|action)\s*=\s*["']([^"']*)""", answer.text) == ["/docs/openapi.json"]
    assert not re.search(r"https?://|<script|<link|<img|<iframe|@import|url\(", answer.text)


@pytest.mark.parametrize("path", ["/docs", "/docs/openapi.json"])
async def test_the_description_is_only_read(api, path):
    answer = await api.request("POST", path, key=None, body={})
    assert answer.failure == 405
    assert answer.headers["Allow"] == "GET"


@pytest.mark.parametrize("path", ["/docs/", "/docs/other", "/docsopenapi.json"])
async def test_nothing_else_lies_beside_the_description(api, path):
    assert (await api.get(path, key=None)).failure == 404


@pytest.mark.parametrize(
    ("raw", "headers"),
    [
        (b'{"params": {"user": "\xff"}}', {}),
        (b"[" * 100_000, {}),
        (b'{"params":' * 50_000, {}),
        (b'{"params": {"user": "400", "num": 1e400}}', {}),
        (b'{"params": {"user": ' + b"9" * 5_000 + b', "num": "1"}}', {}),
        (b"not compressed", {"Content-Encoding": "gzip"}),
    ],
    ids=["not UTF-8", "deep list", "deep object", "large exponent", "long number", "not compressed"],
)
async def test_a_body_that_cannot_be_read_is_a_wrong_parameter(api, raw, headers):
    async with api.session.post(
        f"{api.server.url}/v1/calls",
        params={"api_key": "1000_demo", "hash": SIGNED},
        data=raw,
        headers=headers,
    ) as response:
        assert response.status == 400
        assert (await response.json())["status"] == "error"
