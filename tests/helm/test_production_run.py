"""docs/production.md, carried out: on a real Kafka with TLS, SCRAM and ACLs, from its first command to a webhook."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.dev.brokers import CACHE_DIR, free_port
from gateway.dev.brokers.apache import _jars
from sandbox.server import SandboxServer
from sandbox.settings import SandboxSettings
from tests.helm.page import carry_out, manifests
from tests.helm.pods import Pod
from tests.integration.conftest import need_apache_kafka, running
from tests.support.gateway import keys_of
from tests.support.secured_kafka import SecuredKafka, rights
from tests.support.secured_services import ready
from tests.support.waiting import eventually
from tests.support.webhooks import receiver

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

COMPONENTS = ("topics", "gateway", "streams", "api")
ACCOUNTS = (1000, 2000)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredKafka]:
    """A broker that knows nobody but an administrator."""
    need_apache_kafka()
    broker = SecuredKafka(tmp_path_factory.mktemp("secured"), users=["admin"])
    for _ in running(broker):
        yield broker


@pytest.fixture(scope="module")
def carried_out(kafka: SecuredKafka, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the page's commands were run."""
    folder = tmp_path_factory.mktemp("production")
    # What the page asks for beforehand.
    (folder / "ca.crt").write_bytes(kafka.ca.read_bytes())
    (folder / "admin.properties").write_text(
        "security.protocol=SASL_SSL\nsasl.mechanism=SCRAM-SHA-512\nssl.truststore.type=PEM\n"
        f"ssl.truststore.location={kafka.ca}\n"
        "sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required "
        f'username="admin" password="{kafka.passwords["admin"]}";\n',
        encoding="utf-8",
    )
    for spec in keys_of(ACCOUNTS):
        account = spec.key.partition("_")[0]
        (folder / f"{account}-key").write_text(spec.key, encoding="utf-8")
        (folder / f"{account}-password").write_text(spec.password, encoding="utf-8")
    carry_out(folder, kafka.secured, asyncio.run(_jars(CACHE_DIR, print)))
    return folder


@pytest.fixture
def pods(carried_out: Path, tmp_path: Path) -> dict[str, Pod]:
    rendered, secrets = manifests(carried_out / "rendered.yaml"), manifests(carried_out / "made.yaml")
    return {name: Pod(tmp_path, name, rendered, secrets) for name in COMPONENTS}


def test_the_secrets_that_are_made_are_those_that_are_mounted(carried_out: Path, pods: dict[str, Pod]) -> None:
    namespace, *secrets = manifests(carried_out / "made.yaml")
    assert (namespace["kind"], namespace["metadata"]["name"]) == ("Namespace", "ringcloud")
    assert {one["metadata"]["namespace"] for one in secrets} == {"ringcloud"}
    mounted = {
        volume["secret"]["secretName"] for pod in pods.values() for volume in pod.spec["volumes"] if "secret" in volume
    }
    assert mounted == {one["metadata"]["name"] for one in secrets}


async def test_each_pod_has_the_secrets_that_it_reads(pods: dict[str, Pod]) -> None:
    for name, pod in pods.items():
        async with pod.check() as check:
            assert await check.wait(60.0) == 0, (name, check.tail())
        assert check.tail().endswith("right: 2 accounts, 1 endpoints")


async def test_a_call_of_each_account_becomes_a_webhook(
    kafka: SecuredKafka, carried_out: Path, pods: dict[str, Pod]
) -> None:
    settings = SandboxSettings(keys=keys_of(ACCOUNTS), calls_per_minute=60)
    async with receiver() as hooks, SandboxServer(settings) as sandbox, AsyncExitStack() as services:
        probes = {name: f"127.0.0.1:{free_port()}" for name in ("gateway", "streams", "api")}
        for pod in pods.values():
            # Where others are on this machine, and nothing else.
            endpoint = msgspec.toml.decode(pod.config.read_bytes())["endpoints"][0]
            pod.configure(
                {
                    "kafka": {"bootstrap": kafka.secured, "replication_factor": 1, "session_timeout": 6},
                    "ringcloud": {"base_url": sandbox.url},
                    "metrics": {name: probes[name] for name in ("gateway", "streams")},
                    "api": {"listen": probes["api"]},
                    "delivery": {"allow_http": True, "allow_networks": ["127.0.0.0/8"]},
                },
                endpoints=[{**endpoint, "url": hooks.url("/hooks")}],
            )
        async with pods["topics"].run() as topics:
            assert await topics.wait(90.0) == 0, topics.tail()
        for name, probe in probes.items():
            await services.enter_async_context(ready(pods[name].run(), probe))

        def told() -> bool:
            """a start of each account came as a webhook"""
            bodies = [msgspec.json.decode(one.body) for one in hooks.at("/hooks")]
            return {one["data"]["account"] for one in bodies if one["type"] == "call.started"} == set(ACCOUNTS)

        await eventually(told, 90.0)
        for one in hooks.received:
            one.verify((carried_out / "signing-secret").read_text(encoding="utf-8"))
        headers = {"Authorization": f"Bearer {(carried_out / 'token').read_text(encoding='utf-8').strip()}"}
        async with (
            aiohttp.ClientSession(headers=headers) as http,
            http.get(f"http://{probes['api']}/v1/attempts") as answer,
        ):
            assert answer.status == 200
            found: dict[str, Any] = await answer.json()
            assert {one["outcome"] for one in found["items"]} == {"delivered"}
    assert kafka.denied() == set()
    users = set(COMPONENTS)
    assert {one for one in kafka.used() if one.user in users} <= {one for one in rights() if one.user in users}
