"""The list of rights, deploy/kafka/acls.csv, on a real broker: enough for all that is done, and nothing too much."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.record.default_records import DefaultRecordBatchBuilder

from gateway.contract.topics import Topics
from gateway.dev.brokers import free_port
from gateway.runtime.kafka import client_settings, ensure_topics
from gateway.runtime.shards import shard_of
from sandbox.settings import SandboxSettings
from tests.integration.conftest import need_apache_kafka, running
from tests.support.gateway import key_of, keys_of, site
from tests.support.kafka import read_all
from tests.support.secured_kafka import SecuredKafka, listed, rights
from tests.support.secured_services import SHAPE, command_of, config_of, ready, run, typed
from tests.support.waiting import eventually
from tests.support.webhooks import SECRET, Receiver, answering, receiver

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(400)]

ACCOUNT, BARRED = 1000, 2000
TOKEN = "a-token-of-the-tests"
TOPICS = Topics()
NODE = 1
USERS = sorted({acl.user for acl in listed()})


@pytest.fixture
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    need_apache_kafka()
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"))
    for _ in running(broker):
        yield broker


async def test_all_that_is_done_needs_each_right_and_no_other(kafka: SecuredKafka, tmp_path: Path) -> None:
    """Everything happens that makes a component read or write something; the broker notes by which right it let it."""
    await kafka.allow(listed())
    (tmp_path / "secret").write_text(SECRET, encoding="utf-8")
    (tmp_path / "token").write_text(TOKEN, encoding="utf-8")
    settings = SandboxSettings(keys=keys_of([ACCOUNT]))
    async with receiver() as hooks, site(kafka, tmp_path / "site", settings) as found:
        hooks.behaviours = {"/shaky": answering(500, 200), "/gone": answering(410)}

        def of(user: str) -> dict[str, Any]:
            return {**document, "kafka": config_of(kafka, tmp_path, user)}

        probes = {name: f"127.0.0.1:{free_port()}" for name in ("poll", "streams", "api")}
        document = {
            **found.document,
            "metrics": {"gateway": probes["poll"], "streams": probes["streams"]},
            "endpoints": [
                {"id": id_, "url": hooks.url(f"/{id_}"), "secrets": [f"file:{tmp_path}/secret"]}
                for id_ in ("crm", "shaky", "gone")
            ],
            "delivery": {"allow_http": True, "allow_networks": ["127.0.0.0/8"]},
            "api": {
                "listen": probes["api"],
                "tokens": [
                    {
                        "name": "tests",
                        "token": f"file:{tmp_path}/token",
                        "scopes": ["read", "write", "replay", "commands"],
                    }
                ],
            },
        }
        assert await run(tmp_path, "topics", of("topics")) == (0, "ringcloud: the topics are there, and right\n")
        async with AsyncExitStack() as services:
            for command, user in (("poll", "gateway"), ("streams", "streams"), ("api", "api")):
                await services.enter_async_context(ready(command_of(tmp_path, command, of(user)), probes[command]))
            await _commands(tmp_path, of("commands"), typed_as(kafka, tmp_path, "commands"))
            await _accounts(tmp_path, of("accounts"))
            await _over_the_api(f"http://{probes['api']}", hooks, tmp_path / "secret")

            async def told() -> bool:
                """the account whose key is refused and the endpoint that is gone are told of"""
                records = await read_all(kafka.bootstrap, TOPICS.gateway.name)
                return {b"account.degraded", b"endpoint.disabled"} <= {dict(one.headers)["ce_type"] for one in records}

            await eventually(told, 60.0, interval=0.5)

            async def found_home() -> bool:
                """the command that had gone astray was answered"""
                results = await read_all(kafka.bootstrap, TOPICS.command_results.name)
                return any(b'"astray"' in one.value for one in results)

            await eventually(found_home, 60.0, interval=0.5)
            await _lag(typed_as(kafka, tmp_path, "keda"))
        for one in hooks.received:
            one.verify()
        assert {"call.started", "call.ended"} <= {kind async for kind in _types(typed_as(kafka, tmp_path, "events"))}
        assert len(await read_all(kafka.bootstrap, TOPICS.command_dead_letters.name)) == 1
    assert kafka.denied() == set()
    assert rights() - kafka.used() == set(), "nothing of what was done needed these"


def typed_as(kafka: SecuredKafka, folder: Path, user: str) -> dict[str, Any]:
    """A client's settings for a user."""
    return client_settings(typed(kafka, folder, user), user)


async def _commands(folder: Path, document: dict[str, Any], client: dict[str, Any]) -> None:
    """Have a call placed, and send what is no command, and one that came to another shard than its account's."""
    words = ("--account", str(ACCOUNT), "--user", "400", "--num", "74951234567")
    code, said = await run(folder, "commands originate", document, *words)
    assert code == 0, said
    async with AIOKafkaProducer(**client, acks="all") as producer:
        await producer.send_and_wait(TOPICS.commands.name, b"no command", key=b"1000")
        command = {"type": "user.voice_mail_box_on", "id": "astray", "account": ACCOUNT, "user": "400"}
        elsewhere = 1 - shard_of(ACCOUNT, SHAPE["shards"])
        await producer.send_and_wait(TOPICS.commands.name, msgspec.json.encode(command), partition=elsewhere)


async def _accounts(folder: Path, document: dict[str, Any]) -> None:
    """Declare an account whose key is refused; the gateway notices, and says so."""
    for name in ("key", "password"):
        (folder / name).write_text(key_of(BARRED), encoding="utf-8")
    words = (str(BARRED), "--key", f"file:{folder}/key", f"file:{folder}/password")
    code, said = await run(folder, "accounts put", document, *words)
    assert code == 0, said
    code, said = await run(folder, "accounts list", document)
    assert code == 0
    assert [msgspec.json.decode(line)["id"] for line in said.splitlines()] == [BARRED]


async def _over_the_api(url: str, hooks: Receiver, secret: Path) -> None:
    """Declare an endpoint that gets all since yesterday, look at everything, and deliver again."""
    async with aiohttp.ClientSession(url, headers={"Authorization": f"Bearer {TOKEN}"}) as http:

        async def ask(method: str, path: str, body: Any = None, **headers: str) -> Any:
            async with http.request(method, path, json=body, headers=headers) as answer:
                assert answer.status < 300, await answer.text()
                return await answer.json()

        def ended() -> bool:
            """the end came to the endpoints that answer"""
            return all(any(b'"call.ended"' in one.body for one in hooks.at(path)) for path in ("/crm", "/shaky"))

        command = {"type": "user.voice_mail_box_off", "account": ACCOUNT, "user": "401"}
        assert (await ask("POST", "/v1/commands?wait=60", command, **{"Idempotency-Key": "once"}))["done"]
        await eventually(ended, 120.0)
        late = {
            "id": "late",
            "url": hooks.url("/late"),
            "secrets": [f"file:{secret}"],
            "start_from": (datetime.now(UTC) - timedelta(days=1)).isoformat(),
        }
        await ask("POST", "/v1/endpoints", late)
        await eventually(lambda: any(b'"call.ended"' in one.body for one in hooks.at("/late")), 60.0, "it is told late")

        async def letters() -> Any:
            """there are dead letters"""
            return (await ask("GET", "/v1/dead-letters"))["items"]

        assert {one["endpoint"] for one in await eventually(letters, 60.0, interval=0.5)} == {"gone"}
        (attempt, *_) = (await ask("GET", "/v1/attempts?endpoint=crm"))["items"]
        delivery = attempt["delivery"]
        assert (await ask("GET", f"/v1/deliveries/{delivery}"))["state"] == "delivered"
        again = len(hooks.at("/crm")) + 1
        await ask("POST", "/v1/replays", {"kind": "delivery", "delivery": delivery})
        await eventually(lambda: len(hooks.at("/crm")) >= again, 60.0, "it is delivered again")


async def _lag(client: dict[str, Any]) -> None:
    """Ask what KEDA asks: how far the groups are, and where their topics end."""
    followed = {"ringcloud-fanout": TOPICS.calls.name, "ringcloud-webhook-delivery": TOPICS.deliveries.name}
    admin = AIOKafkaAdminClient(**client)
    await admin.start()
    try:
        async with AIOKafkaConsumer(**client) as consumer:
            for group, topic in followed.items():
                done = await admin.list_consumer_group_offsets(group)
                assert {partition.topic for partition in done} == {topic}
                ends = await consumer.end_offsets(list(done))
                assert all(done[partition].offset <= end for partition, end in ends.items())
    finally:
        await admin.close()


async def _types(client: dict[str, Any]) -> AsyncIterator[str]:
    """The types of events on the topic of calls up to an end, as a program of somebody's reads them."""
    consumer = AIOKafkaConsumer(
        TOPICS.calls.name,
        **client,
        group_id="my-program",
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    async with consumer, asyncio.timeout(30):
        async for record in consumer:
            kind = dict(record.headers)["ce_type"].decode()
            yield kind
            if kind == "call.ended":
                return


async def test_everybody_reads_and_writes_what_is_their_own_and_nothing_else(
    kafka: SecuredKafka, tmp_path: Path
) -> None:
    await kafka.allow(listed())
    await ensure_topics(typed(kafka, tmp_path, "topics"))
    async with _connected(bootstrap_servers=kafka.bootstrap) as client:

        async def led() -> bool:
            """whoever may all reads every topic"""
            return set((await _read(client)).values()) == {0}

        await eventually(led)
    for user in USERS:
        async with _connected(**typed_as(kafka, tmp_path, user)) as client:
            for operation, attempt in (("Write", _write), ("Read", _read)):
                own = {topic.name for topic in TOPICS.all() if _listed(user, operation, topic.name)}
                codes = await attempt(client)
                assert set(codes) == {topic.name for topic in TOPICS.all()}
                assert {topic for topic, code in codes.items() if code == 0} == own, (user, operation)
                refused = {code for topic, code in codes.items() if topic not in own}
                assert refused <= {TopicAuthorizationFailedError.errno}, (user, operation)


@asynccontextmanager
async def _connected(**settings: Any) -> AsyncIterator[AIOKafkaClient]:
    client = AIOKafkaClient(**settings)
    await client.bootstrap()
    try:
        yield client
    finally:
        await client.close()


async def _write(client: AIOKafkaClient) -> dict[str, int]:
    """Write a record to each topic; the broker's answer by topic."""
    batch = DefaultRecordBatchBuilder(2, 0, 0, -1, -1, -1, 4096)
    batch.append(0, None, b"key", b"value", [])
    records = bytes(batch.build())
    answer = await client.send(
        NODE, ProduceRequest(None, -1, 5000, [(topic.name, [(0, records)]) for topic in TOPICS.all()])
    )
    return {topic: partitions[0][1] for topic, partitions in answer.topics}


async def _read(client: AIOKafkaClient) -> dict[str, int]:
    """Read each topic from its start; the broker's answer by topic."""
    wanted = [(topic.name, [(0, 0, 4096)]) for topic in TOPICS.all()]
    answer = await client.send(NODE, FetchRequest(10, 0, 1 << 20, 0, wanted))
    return {topic: partitions[0][1] for topic, partitions in answer.topics}


def _listed(user: str, operation: str, topic: str) -> bool:
    return any(
        (acl.user, acl.resource) == (user, "topic")
        and operation in acl.operations
        and (topic == acl.name if acl.pattern == "literal" else topic.startswith(acl.name))
        for acl in listed()
    )


def test_the_list_has_no_right_over_the_cluster_and_one_user_who_makes_topics() -> None:
    assert {right.resource for right in rights()} == {"topic", "group", "transactional-id"}
    assert {right.user for right in rights() if right.operation == "Create"} == {"topics"}
    # Whoever reads events can't write them, and whoever delivers them neither.
    assert [user for user in USERS if _listed(user, "Write", TOPICS.calls.name)] == ["gateway"]
