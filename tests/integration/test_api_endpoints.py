"""Endpoints by way of the admin API, on real brokers: declared, changed, rotated, paused, withdrawn, and refused."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.contract.endpoints import Endpoint
from gateway.contract.secrets import reference_of
from gateway.dev.brokers import Broker
from gateway.runtime.endpoints import declare_endpoint, declared_endpoints
from gateway.runtime.sealing import Seals
from tests.support.admin import Admin, admin_config, administered
from tests.support.waiting import eventually

URL = "https://crm.example.com/hooks"


async def sealed(admin: Admin, name: str) -> list[str]:
    """An endpoint's signing secrets in clear, as a delivering process has them."""
    declared = (await declared_endpoints(admin.config)).endpoints[name]
    read = Seals(admin.config.delivery.sealing_keys).read
    return [read(reference_of(one), "secrets") for one in declared.secrets]


async def test_an_endpoint_from_its_declaration_to_its_end(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with administered(admin_config(broker.bootstrap, prefix, tmp_path)) as admin:
        made = await admin.ask("POST", "/v1/endpoints", {"id": "crm", "url": URL, "events": ["call.ended"]})
        assert (made.status_code, made.headers["location"]) == (201, "/v1/endpoints/crm")
        secret = made.json()["secret"]
        assert await sealed(admin, "crm") == [secret]
        assert secret.startswith("whsec_")

        shown = await admin.get("/v1/endpoints/crm")
        assert (shown["source"], shown["state"], shown["reason"]) == ("topic", "active", None)
        assert shown["endpoint"]["events"] == ["call.ended"]
        assert "secret" not in shown

        # What was shown can be given back as it is.
        assert await admin.do("PUT", "/v1/endpoints/crm", shown["endpoint"]) == shown
        assert await sealed(admin, "crm") == [secret]

        patch = {"events": None, "rate": 5, "headers": {"X-Tenant": "a", "Authorization": "env:CRM_AUTH"}}
        changed = await admin.do("PATCH", "/v1/endpoints/crm", patch)
        assert (changed["endpoint"]["events"], changed["endpoint"]["rate"]) == ([], 5.0)
        changed = await admin.do("PATCH", "/v1/endpoints/crm", {"headers": {"X-Tenant": None}, "rate": None})
        assert (changed["endpoint"]["headers"], changed["endpoint"]["rate"]) == (
            {"Authorization": "env:CRM_AUTH"},
            None,
        )
        assert await sealed(admin, "crm") == [secret]

        before = datetime.now(UTC)
        rotated = await admin.do("POST", "/v1/endpoints/crm/rotate", {"overlap": 3600})
        assert await sealed(admin, "crm") == [rotated["secret"], secret]
        expiry = datetime.fromisoformat(rotated["endpoint"]["secrets"][1]["expires_at"])
        assert before + timedelta(hours=1) <= expiry <= datetime.now(UTC) + timedelta(hours=1)
        rotated = await admin.do("POST", "/v1/endpoints/crm/rotate", {"secret": "env:CRM_SECRET", "overlap": 0})
        assert (rotated["endpoint"]["secrets"], rotated["secret"]) == (["env:CRM_SECRET"], None)

        for act, state in (("pause", "paused"), ("disable", "disabled"), ("enable", "active")):
            stands = await admin.do("POST", f"/v1/endpoints/crm/{act}")
            assert (stands["state"], stands["reason"]) == (state, None if state == "active" else "asked")
            declared = (await declared_endpoints(admin.config)).statuses.get("crm")
            assert (declared.state if declared else "active") == state

        assert (await admin.ask("DELETE", "/v1/endpoints/crm")).status_code == 204
        assert (await admin.ask("GET", "/v1/endpoints/crm")).status_code == 404
        assert (await declared_endpoints(admin.config)).endpoints == {}


async def test_what_others_declare_is_there_and_lists_have_pages(broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path, [Endpoint(id="file", url=URL, secrets=("env:S",))])
    async with administered(config) as admin:
        names = [f"e{n}" for n in range(7)]
        await asyncio.gather(
            *(declare_endpoint(config, name, Endpoint(id=name, url=URL, secrets=("env:S",))) for name in names)
        )

        async def there() -> bool:
            """all endpoints are listed"""
            return len((await admin.get("/v1/endpoints"))["items"]) == 8

        await eventually(there)
        listed = await admin.all("/v1/endpoints", 3)
        assert [(one["id"], one["source"]) for one in listed] == [
            *((name, "topic") for name in names),
            ("file", "file"),
        ]


async def test_the_files_endpoints_stand_as_is_said_and_are_not_changed(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    file = Endpoint(id="file", url="https://u:p4ssw0rd@x.example.com/", secrets=("env:S",), headers={"X-Token": "t0p"})
    async with administered(admin_config(broker.bootstrap, prefix, tmp_path, [file])) as admin:
        shown = await admin.get("/v1/endpoints/file")
        assert (shown["endpoint"]["url"], shown["endpoint"]["headers"]) == (
            "https://***@x.example.com/",
            {"X-Token": "***"},
        )
        assert (await admin.do("POST", "/v1/endpoints/file/pause"))["state"] == "paused"
        for method, path, body in (
            ("PUT", "", {"id": "file", "url": URL, "secrets": ["env:S"]}),
            ("PATCH", "", {"rate": 1}),
            ("DELETE", "", None),
            ("POST", "/rotate", {"secret": "env:T"}),
            ("POST", "/test", None),
        ):
            refused = await admin.ask(method, f"/v1/endpoints/file{path}", body)
            assert refused.status_code == 409, (method, path, refused.text)
        assert (await declared_endpoints(admin.config)).endpoints == {}
        assert (await admin.do("POST", "/v1/endpoints/file/enable"))["state"] == "active"


WRONG = [
    ({"id": "e"}, 400, "url"),
    ({"id": "E!", "url": URL}, 400, "id"),
    ({"id": "e", "url": URL, "urgent": True}, 400, "urgent"),
    ({"id": "e", "url": URL, "timeout": "5"}, 400, "timeout"),
    ({"id": "e", "url": URL, "secrets": ["whsec_in_clear"]}, 400, "secrets[0]"),
    ({"id": "e", "url": URL, "filter": "data.nothing"}, 422, "filter"),
    ({"id": "e", "url": URL, "retries": [5, 1]}, 422, "retries"),
    ({"id": "e", "url": "https://u:secret@x/"}, 422, "url"),
    ({"id": "e", "url": URL, "headers": {"Authorization": "Bearer secret"}}, 422, "headers.Authorization"),
    ({"id": "e", "url": URL, "headers": {"webhook-id": "1"}}, 422, "headers.webhook-id"),
    ({"id": "e", "url": URL, "client_key": "file:/k"}, 422, "client_key"),
    ({"id": "e", "url": URL, "secrets": ["sealed:0123456789abcdef"]}, 422, "secrets[0]"),
    ({"id": "e", "url": URL, "start_from": "2999-01-01T00:00:00Z"}, 422, "start_from"),
    ({"id": "there", "url": URL}, 409, "id"),
]


async def test_what_is_wrong_is_named_and_changes_nothing(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with administered(admin_config(broker.bootstrap, prefix, tmp_path, sealing=False)) as admin:
        await admin.do("POST", "/v1/endpoints", {"id": "there", "url": URL, "secrets": ["env:S"]})
        for body, status, field in WRONG:
            given = {"secrets": ["env:S"], **body}
            refused = await admin.ask("POST", "/v1/endpoints", given)
            assert refused.headers["content-type"] == "application/problem+json"
            problem = refused.json()
            assert (refused.status_code, problem["status"], problem["field"]) == (status, status, field), (
                body,
                problem,
            )
            assert "secret" not in problem["detail"].replace("may be secret", "").replace("sealed secret", "")
        unmade = (await admin.ask("POST", "/v1/endpoints", {"id": "e", "url": URL})).json()
        assert (unmade["status"], unmade["field"]) == (422, "secrets")
        other = await admin.ask("PUT", "/v1/endpoints/e", {"id": "f", "url": URL, "secrets": ["env:S"]})
        assert (other.status_code, other.json()["field"]) == (422, "id")
        assert list((await declared_endpoints(admin.config)).endpoints) == ["there"]


async def test_requests_that_are_none_are_refused_as_problems(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with administered(admin_config(broker.bootstrap, prefix, tmp_path)) as admin:
        json = {"Content-Type": "application/json", "Authorization": "Bearer the token of all in tests"}

        async def posted(content: bytes, **headers: str) -> tuple[int, str]:
            answer = await admin.client.post("/v1/endpoints", content=content, headers=json | headers)
            return answer.status_code, answer.headers["content-type"]

        problem = "application/problem+json"
        assert await posted(b"{") == (400, problem)
        assert await posted(b"\xff") == (400, problem)
        assert await posted(b'{"id":' * 100_000) == (400, problem)
        assert await posted(b" " * (768 * 1024 + 1)) == (413, problem)
        assert await posted(b"{}", **{"Content-Type": "text/plain"}) == (415, problem)
        numbers = [f"7495{n:07}" for n in range(10_000)]
        largest = {"id": "large", "url": URL, "numbers": [f"{one:0<64}" for one in numbers]}
        assert (await admin.ask("POST", "/v1/endpoints", largest)).status_code == 201
        for method, path, status, header in (
            ("GET", "/nothing", 404, None),
            ("GET", "/v1/endpoints/nobody", 404, None),
            ("DELETE", "/v1/endpoints", 405, "allow"),
            ("GET", "/v1/attempts?limit=0", 400, None),
            ("GET", "/v1/attempts?limit=1&limit=2", 400, None),
            ("GET", "/v1/attempts?cursor=nonsense", 422, None),
            ("GET", "/v1/attempts?colour=red", 400, None),
        ):
            answer = await admin.ask(method, path)
            assert (answer.status_code, answer.headers["content-type"]) == (status, problem), path
            assert header is None or header in answer.headers


async def test_no_secret_is_in_answers_or_logs(broker: Broker, prefix: str, tmp_path: Path) -> None:
    secrets: set[str] = {"the token of all in tests"}
    with capture_logs() as logs:
        async with administered(admin_config(broker.bootstrap, prefix, tmp_path)) as admin:
            for n in range(2):
                made = await admin.do("POST", "/v1/endpoints", {"id": f"e{n}", "url": URL})
                secrets.add(made["secret"])
                secrets.add((await admin.do("POST", f"/v1/endpoints/e{n}/rotate", {}))["secret"])
            tokens = {
                reference_of(one)
                for found in (await declared_endpoints(admin.config)).endpoints.values()
                for one in found.secrets
            }
            answers = ""
            for path in ("/v1/endpoints", "/v1/endpoints/e0", "/v1/attempts", "/v1/dead-letters", "/v1/replays"):
                answers += str(await admin.get(path))
            answers += str(await admin.do("PATCH", "/v1/endpoints/e0", {"rate": 1}))
            answers += str(await admin.do("POST", "/v1/endpoints/e0/test"))
            answers += (await admin.client.get("/v1/endpoints", headers={"Authorization": "Bearer wrong"})).text
    assert len(secrets) == 5
    assert len(tokens) == 4
    for secret in secrets | tokens:
        assert secret not in answers
        assert secret not in str(logs)
    assert [one["by"] for one in logs if one.get("operation") == "rotate_secret"] == ["all", "all"]


async def test_changes_at_once_are_one_after_the_other(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with administered(admin_config(broker.bootstrap, prefix, tmp_path)) as admin:
        await admin.do("POST", "/v1/endpoints", {"id": "e", "url": URL})
        await asyncio.gather(
            *(admin.do("PATCH", "/v1/endpoints/e", {"headers": {f"X-{n}": "there"}}) for n in range(10))
        )
        assert len((await admin.get("/v1/endpoints/e"))["endpoint"]["headers"]) == 10
        made = await asyncio.gather(*(admin.ask("POST", "/v1/endpoints", {"id": "same", "url": URL}) for _ in range(5)))
        assert sorted(one.status_code for one in made) == [201, 409, 409, 409, 409]


@pytest.mark.parametrize("name", ["reader", "writer", "replayer", "commander", "nobody"])
async def test_each_operation_asks_for_its_scope(
    embedded_broker: Broker, prefix: str, tmp_path: Path, name: str
) -> None:
    async with administered(admin_config(embedded_broker.bootstrap, prefix, tmp_path)) as admin:
        described = (await admin.client.get("/schema")).json()
        scopes = {"reader": "read", "writer": "write", "replayer": "replay", "commander": "commands"}
        scope = scopes.get(name)
        seen = set()
        for path, methods in described["paths"].items():
            for method, operation in methods.items():
                needed = operation["description"].split("`")[1]
                seen.add(needed)
                answer = await admin.ask(method.upper(), path.replace("{id}", "none"), {}, by=name)
                if scope is None:
                    assert answer.status_code == 401
                    assert answer.headers["www-authenticate"].startswith("Bearer ")
                elif needed == scope:
                    assert answer.status_code not in (401, 403), (method, path, answer.text)
                else:
                    assert answer.status_code == 403
                    assert f'scope="{needed}"' in answer.headers["www-authenticate"]
                    assert f"the scope {needed}" in answer.json()["detail"]
        assert seen == {"read", "write", "replay", "commands"}
        assert (await admin.client.get("/v1/endpoints")).status_code == 401
        started = {"id": "e", "url": URL, "secrets": ["env:S"], "start_from": "2026-01-01T00:00:00Z"}
        if name == "writer":
            assert (await admin.ask("POST", "/v1/endpoints", started, by=name)).status_code == 403


async def test_the_topic_keeps_what_any_key_opens(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(embedded_broker.bootstrap, prefix, tmp_path)
    async with administered(config) as admin:
        secret = (await admin.do("POST", "/v1/endpoints", {"id": "e", "url": URL}))["secret"]
        (tmp_path / "new.key").write_text("YW5vdGhlciBzZWFsaW5nIGtleSwgMzIgYnl0ZXMgICA=")
        keys = (f"file:{tmp_path}/new.key", *config.delivery.sealing_keys)
        replaced = msgspec.structs.replace(config.delivery, sealing_keys=keys)
        admin.config = msgspec.structs.replace(config, delivery=replaced)
        assert await sealed(admin, "e") == [secret]
