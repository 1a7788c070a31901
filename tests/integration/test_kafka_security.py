"""A real Kafka that asks who is there: every way to be known to it, and what is said to who is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from gateway.config import KafkaConfig
from gateway.dev.brokers import free_port
from gateway.runtime.kafka import TopicError, ensure_topics
from tests.integration.conftest import need_apache_kafka, running
from tests.support.gateway import key_of
from tests.support.secured_kafka import Acl, SecuredKafka, listed
from tests.support.secured_services import SHAPE, command_of, config_of, run, typed
from tests.support.waiting import eventually

pytestmark = pytest.mark.kafka

ACCOUNT = 1000


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    need_apache_kafka()
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    for _ in running(broker):
        yield broker


@pytest.fixture(scope="module")
def listed_only(kafka: SecuredKafka) -> None:
    """What the list says is allowed, under its own prefix."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(kafka.allow(listed()))
    loop.close()


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
