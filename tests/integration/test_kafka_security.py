"""A real Kafka that asks who is there: each component as its own user, with what deploy/kafka/acls.csv gives it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiokafka import AIOKafkaConsumer

from gateway.api.service import serving as serving_api
from gateway.config import KafkaConfig, load
from gateway.dev.brokers import Child, free_port
from gateway.runtime.kafka import TopicError, client_settings, ensure_topics
from sandbox.settings import SandboxSettings
from tests.integration.conftest import need_apache_kafka, running
from tests.support.gateway import key_of, keys_of, site
from tests.support.kafka import read_all
from tests.support.secured_kafka import Acl, SecuredKafka, listed, settings
from tests.support.waiting import eventually
from tests.support.webhooks import SECRET, Receiver, receiver

pytestmark = pytest.mark.kafka

ACCOUNT = 1000
SHAPE = {"shards": 2, "partitions": 2, "replication_factor": 1}


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    need_apache_kafka()
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    for _ in running(broker):
        yield broker


def config_of(kafka: SecuredKafka, folder: Path, user: str, **other: Any) -> dict[str, Any]:
    """[kafka] for a user; None in `other` leaves a setting out."""
    found = {**SHAPE, "session_timeout": 6, **dict(settings(kafka, user, folder)), **other}
    return {name: value for name, value in found.items() if value is not None}


def typed(kafka: SecuredKafka, folder: Path, user: str, **other: Any) -> KafkaConfig:
    return msgspec.convert(config_of(kafka, folder, user, **other), KafkaConfig)


async def run(folder: Path, command: str, document: dict[str, Any], *words: str) -> tuple[int | None, str]:
    """Run a command of the gateway to its end; its exit code, None after 30 s, and what it said."""
    child = command_of(folder, command, document, *words)
    async with child:
        code = await child.wait(30.0)
        return code, child.log.read_text(encoding="utf-8")


def command_of(folder: Path, command: str, document: dict[str, Any], *words: str) -> Child:
    path = folder / f"{command}.toml"
    path.write_bytes(msgspec.toml.encode(document))
    line = [*command.split("-"), *words, *(["--config"] if "-" in command else []), str(path)]
    log = folder / f"{command}.log"
    return Child(command, [sys.executable, "-m", "gateway.cli", *line], log, {"COLUMNS": "1000"})


@pytest.fixture(scope="module")
def listed_only(kafka: SecuredKafka) -> None:
    """What the list says is allowed, under its own prefix."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(kafka.allow(listed()))
    loop.close()


@asynccontextmanager
async def serving(folder: Path, command: str, document: dict[str, Any], probe: str) -> AsyncIterator[Child]:
    """A service that is ready."""
    child = command_of(folder, command, document)

    async def ready() -> bool:
        """it is ready"""
        assert child.running, child.failure("ended by itself")
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://{probe}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async with child:
        await eventually(ready, 60.0, f"{command} is ready", interval=0.1)
        yield child


async def test_a_call_s_whole_trip_with_no_more_rights_than_are_listed(
    kafka: SecuredKafka, listed_only: None, tmp_path: Path
) -> None:
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    probes = {name: f"127.0.0.1:{free_port()}" for name in ("gateway", "streams")}
    async with receiver() as hooks, site(kafka, tmp_path / "site", SandboxSettings(keys=keys_of([ACCOUNT]))) as found:
        document = {**found.document, "metrics": probes}
        endpoints = [{"id": "crm", "url": hooks.url(), "secrets": [f"file:{tmp_path}/secret"]}]
        delivery = {"allow_http": True, "allow_networks": ["127.0.0.0/8"]}

        def of(user: str) -> dict[str, Any]:
            return {**document, "kafka": config_of(kafka, tmp_path, user), "endpoints": endpoints, "delivery": delivery}

        code, said = await run(tmp_path, "topics", of("topics"))
        assert (code, said) == (0, "ringcloud: the topics are there, and right\n")
        async with (
            serving(tmp_path, "poll", of("gateway"), probes["gateway"]),
            serving(tmp_path, "streams", of("streams"), probes["streams"]),
        ):
            words = ("--account", str(ACCOUNT), "--user", "400", "--num", "74951234567")
            code, said = await run(tmp_path, "commands-originate", of("commands"), *words)
            assert code == 0, said
            await eventually(
                lambda: any(b'"call.ended"' in one.body for one in hooks.received), 90.0, "the end came as a webhook"
            )
            await _declared_at_run_time(kafka, tmp_path, of("api"), hooks)
        for one in hooks.received:
            one.verify()
        consumer = AIOKafkaConsumer(
            "ringcloud.calls.v1",
            **client_settings(typed(kafka, tmp_path, "events", sasl_mechanism="PLAIN"), "reader"),
            group_id="my-program",
            isolation_level="read_committed",
            auto_offset_reset="earliest",
        )
        async with consumer, asyncio.timeout(30):
            types = []
            async for record in consumer:
                types.append(dict(record.headers)["ce_type"].decode())
                if types[-1] == "call.ended":
                    break
        assert types[0] == "call.started"
        assert len(await read_all(kafka.bootstrap, "ringcloud.webhook-attempts.v1")) >= len(types)
        for name in ("poll", "streams"):
            log = (tmp_path / f"{name}.log").read_text(encoding="utf-8")
            assert "uthoriz" not in log
            assert "Traceback" not in log


async def _declared_at_run_time(kafka: SecuredKafka, folder: Path, document: dict[str, Any], hooks: Receiver) -> None:
    """Have the API, as its own user, declare an endpoint that gets all events since yesterday, and look around."""
    (folder / "token").write_text("a-token-of-the-tests", encoding="utf-8")
    tokens = [{"name": "tests", "token": f"file:{folder}/token", "scopes": ["read", "write", "replay"]}]
    (folder / "api.toml").write_bytes(
        msgspec.toml.encode({**document, "api": {"listen": "127.0.0.1:0", "tokens": tokens}})
    )
    endpoint = {
        "id": "second",
        "url": hooks.url("/second"),
        "secrets": [f"file:{folder}/secret"],
        "start_from": (datetime.now(UTC) - timedelta(days=1)).isoformat(),
    }
    headers = {"Authorization": "Bearer a-token-of-the-tests"}
    async with (
        serving_api(load(folder / "api.toml")) as (url, _),
        aiohttp.ClientSession(url, headers=headers) as http,
    ):
        async with http.post("/v1/endpoints", json=endpoint) as answer:
            assert answer.status == 201, await answer.text()

        await eventually(
            lambda: any(b'"call.ended"' in one.body for one in hooks.at("/second")), 60.0, "the end was replayed"
        )
        for path in ("/v1/endpoints/second", "/v1/attempts?endpoint=crm", "/v1/dead-letters"):
            async with http.get(path) as answer:
                assert answer.status == 200, await answer.text()


def test_the_list_gives_nobody_more_than_the_trip_needs() -> None:
    rights = {(acl.user, acl.name): set(acl.operations) for acl in listed()}
    assert all("Create" not in operations for (user, _), operations in rights.items() if user != "topics")
    assert not [acl for acl in listed() if acl.resource == "cluster"]
    # Whoever reads events can't write them, and whoever delivers them neither.
    writers = {
        acl.user for acl in listed() if "Write" in acl.operations and acl.name in ("ringcloud.calls.v1", "ringcloud.")
    }
    assert writers == {"gateway"}


async def test_every_way_of_being_known_lets_in(kafka: SecuredKafka, listed_only: None, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(kafka.token("topics"), encoding="utf-8")
    by_token = {"sasl_mechanism": "OAUTHBEARER", "username": None, "password": None, "token": f"file:{token}"}
    certified = {"bootstrap": kafka.certified, "security_protocol": "SSL", "username": None, "password": None}
    for other in (
        {"sasl_mechanism": "SCRAM-SHA-512"},
        {"sasl_mechanism": "SCRAM-SHA-256"},
        by_token,
        {**certified, "client_certificate": f"file:{kafka.certificate('topics')}"},
    ):
        await ensure_topics(typed(kafka, tmp_path, "topics", **other))


async def test_a_token_comes_from_an_endpoint_once_while_it_is_good(
    kafka: SecuredKafka, listed_only: None, tmp_path: Path
) -> None:
    asked: list[tuple[str | None, dict[str, Any]]] = []

    async def give(request: web.Request) -> web.Response:
        form = dict(await request.post())
        asked.append((request.headers.get("Authorization"), form))
        return web.json_response({"access_token": kafka.token("topics"), "token_type": "Bearer", "expires_in": 300})

    app = web.Application()
    app.router.add_post("/token", give)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        for name, value in (("id", "the-client"), ("hush", "the-secret")):
            (tmp_path / name).write_text(value, encoding="utf-8")
        by_token = {
            "sasl_mechanism": "OAUTHBEARER",
            "username": None,
            "password": None,
            "token_endpoint": f"http://127.0.0.1:{runner.addresses[0][1]}/token",
            "token_client_id": f"file:{tmp_path}/id",
            "token_client_secret": f"file:{tmp_path}/hush",
            "token_scope": "kafka",
        }
        await ensure_topics(typed(kafka, tmp_path, "topics", **by_token))
    finally:
        await runner.cleanup()
    # One for all connections of the one client.
    assert asked == [("Basic dGhlLWNsaWVudDp0aGUtc2VjcmV0", {"grant_type": "client_credentials", "scope": "kafka"})]


REFUSED: dict[str, tuple[dict[str, Any], list[str]]] = {
    "password": ({"password": "wrong"}, ["kafka.username and kafka.password were refused", "SCRAM-SHA-512"]),
    "authority": ({"ca": None}, ["kafka.ca does not vouch for the broker"]),
    "no TLS": (
        {"security_protocol": "SASL_PLAINTEXT", "ca": None},
        ["kafka.security_protocol or kafka.client_certificate may not be what the listener asks for"],
    ),
    "token": (
        {"sasl_mechanism": "OAUTHBEARER", "username": None, "password": None, "token": "expired"},
        ["kafka: the token was refused", "invalid_token"],
    ),
    "no token": (
        {"sasl_mechanism": "OAUTHBEARER", "username": None, "password": None, "token": "absent"},
        ["kafka.token: ", "No such file or directory"],
    ),
    "no certificate": (
        {"bootstrap": "certified", "security_protocol": "SSL", "username": None, "password": None},
        ["kafka.security_protocol or kafka.client_certificate may not be what the listener asks for"],
    ),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_who_is_refused_is_told_what_is_wrong(
    kafka: SecuredKafka, listed_only: None, tmp_path: Path, case: str
) -> None:
    other, words = REFUSED[case]
    (tmp_path / "wrong").write_text("not-the-password", encoding="utf-8")
    (tmp_path / "expired").write_text(kafka.token("topics", seconds=-3600), encoding="utf-8")
    files = {name: f"file:{tmp_path}/{other[name]}" for name in ("password", "token") if other.get(name)}
    where = {"bootstrap": kafka.certified} if "bootstrap" in other else {}
    document = {"kafka": config_of(kafka, tmp_path, "topics", **{**other, **files, **where})}
    code, said = await run(tmp_path, "topics", document)
    assert code == 1
    (error,) = [line for line in said.splitlines() if line.startswith("Error: ")]
    assert [word for word in words if word not in error] == [], error
    assert "not-the-password" not in said
    assert (tmp_path / "expired").read_text(encoding="utf-8") not in said


LACKING = {
    "poll": {
        "group": ["GroupAuthorizationFailedError", "PREFIX-gateway"],
        "transactional-id": ["TransactionalIdAuthorizationFailed", "PREFIX-shard-"],
        "PREFIX.poller-state.v1": ["TopicAuthorizationFailedError", "PREFIX.poller-state.v1"],
        "PREFIX.accounts.v1": ["TopicAuthorizationFailedError", "PREFIX.accounts.v1"],
    },
    "streams": {
        "group": ["GroupAuthorizationFailedError", "PREFIX-"],
        "PREFIX.calls.v1": ["TopicAuthorizationFailedError", "PREFIX.calls.v1"],
    },
}


@pytest.mark.parametrize(
    ("command", "lacking"), [(command, lacking) for command, cases in LACKING.items() for lacking in cases]
)
async def test_a_right_that_is_missing_is_named(
    kafka: SecuredKafka, tmp_path: Path, prefix: str, command: str, lacking: str
) -> None:
    user = {"poll": "gateway"}.get(command, command)
    name = prefix.rstrip(".")
    without = lacking.replace("PREFIX", "ringcloud")
    allowed: list[Acl] = [acl for acl in listed() if acl.user == user and without not in (acl.resource, acl.name)]
    assert len(allowed) < len([acl for acl in listed() if acl.user == user])
    await kafka.allow(allowed, {"ringcloud": name})
    await ensure_topics(KafkaConfig(bootstrap=kafka.bootstrap, prefix=name, **SHAPE))
    probe = f"127.0.0.1:{free_port()}"
    for file in ("key", "password"):
        (tmp_path / file).write_text(key_of(ACCOUNT), encoding="utf-8")
    document = {
        "kafka": config_of(kafka, tmp_path, user, prefix=name),
        "ringcloud": {"base_url": "http://127.0.0.1:9"},
        "accounts": [
            {"id": ACCOUNT, "keys": [{"key": f"file:{tmp_path}/key", "password": f"file:{tmp_path}/password"}]}
        ],
        "metrics": {"gateway": probe, "streams": probe},
    }
    wanted = [word.replace("PREFIX", name) for word in LACKING[command][lacking]]
    async with command_of(tmp_path, command, document) as child:

        def named() -> bool:
            """the missing right is named in the log"""
            lines = child.log.read_text(encoding="utf-8").splitlines()
            return any(all(word in line for word in wanted) for line in lines)

        try:
            await eventually(named, 40.0)
        except AssertionError:
            raise AssertionError(child.tail()) from None


async def test_topics_that_may_not_be_made_are_named(kafka: SecuredKafka, tmp_path: Path, prefix: str) -> None:
    with pytest.raises(TopicError, match=r"\.v1: .*TopicAuthorizationFailedError"):
        await ensure_topics(typed(kafka, tmp_path, "gateway", prefix=prefix.rstrip(".")))
