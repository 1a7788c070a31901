"""Endpoints that are declared, changed and withdrawn at run time, on real brokers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest
import structlog
from aiokafka import AIOKafkaProducer

from gateway.config import Config, ConfigError
from gateway.contract.deliveries import Delivery
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallEvent, Header, encode_data, headers_of
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from gateway.runtime.endpoints import Declared, declare_endpoint, declared_endpoints
from streams.endpoints import Endpoints
from streams.fanout import FanOut
from streams.metrics import StreamsMetrics
from streams.outbox import Outbox
from tests.support.kafka import create_topic
from tests.support.waiting import eventually
from tests.support.webhooks import call_event, config_for


def endpoint(name: str, url: str = "https://example.com/", reference: str = "env:S") -> Endpoint:
    return Endpoint(id=name, url=url, secrets=(reference,), events=("call.ended",))


async def with_topic(broker: Broker, prefix: str, *configured: Endpoint) -> Config:
    config = config_for(broker.bootstrap, prefix, configured)
    config = msgspec.structs.replace(config, kafka=msgspec.structs.replace(config.kafka, partitions=3))
    topic = Topics(config.kafka.prefix).endpoints
    await create_topic(broker.bootstrap, topic.name, 3, topic.settings())
    return config


@asynccontextmanager
async def following(config: Config, *listeners: Declared) -> AsyncIterator[Endpoints]:
    """Endpoints that have read what there is."""
    loaded = asyncio.Event()
    found = Endpoints(config, *listeners)
    follower = asyncio.create_task(found.follow(loaded.set))
    waiting = asyncio.create_task(loaded.wait())
    try:
        await asyncio.wait({follower, waiting}, timeout=30, return_when=asyncio.FIRST_COMPLETED)
        assert loaded.is_set()
        yield found
        assert not follower.done()
    finally:
        waiting.cancel()
        follower.cancel()
        await asyncio.gather(follower, waiting, return_exceptions=True)


async def test_they_come_change_and_go_and_all_are_told(broker: Broker, prefix: str) -> None:
    config = await with_topic(broker, prefix, endpoint("toml"))
    await declare_endpoint(config, "early", endpoint("early"))
    await declare_endpoint(config, "gone", endpoint("gone"))
    await declare_endpoint(config, "gone", None)
    told: list[tuple[str, str, Endpoint | None]] = []
    async with following(
        config,
        lambda name, one: told.append(("first", name, one)),
        lambda name, one: told.append(("second", name, one)),
    ) as found:
        assert found.current() == [endpoint("toml"), endpoint("early")]
        told.clear()
        changed = endpoint("early", "https://other.example.com/")
        await declare_endpoint(config, "early", changed)
        await eventually(lambda: found.current() == [endpoint("toml"), changed], what="the change")
        await declare_endpoint(config, "early", changed)
        await declare_endpoint(config, "toml", endpoint("toml", "https://topic.example.com/"))
        await declare_endpoint(config, "toml", None)
        await declare_endpoint(config, "late", endpoint("late"))
        await declare_endpoint(config, "early", None)
        await eventually(lambda: found.current() == [endpoint("toml"), endpoint("late")], what="the last ones")
    assert [one for one in told if one[1] == "early"] == [
        ("first", "early", changed),
        ("second", "early", changed),
        ("second", "early", None),
        ("first", "early", None),
    ]
    assert [one for one in told if one[1] == "late"] == [
        ("first", "late", endpoint("late")),
        ("second", "late", endpoint("late")),
    ]
    # The file goes before the topic.
    assert not [one for one in told if one[1] == "toml"]
    there = await declared_endpoints(config)
    assert there.endpoints == {"late": endpoint("late")}


async def test_what_is_wrong_or_refused_is_named_and_what_was_there_stands(broker: Broker, prefix: str) -> None:
    config = await with_topic(broker, prefix)
    good = endpoint("good")
    told: list[tuple[str, Endpoint | None]] = []

    def refuses_a_secret(name: str, one: Endpoint | None) -> None:
        if one is not None and one.secrets != ("env:S",):
            raise ConfigError(f"endpoint {name}", "secrets[0]", "is not there")

    with structlog.testing.capture_logs() as logs:
        async with following(config, refuses_a_secret, lambda name, one: told.append((name, one))) as found:
            await declare_endpoint(config, "good", good)
            await eventually(lambda: found.current() == [good], what="the right one")
            wrong = [
                (b"good", b"not JSON", "not JSON"),
                (b"good", b'{"id": "good", "url": "https://example.com/"}', "secrets: is missing"),
                (b"good", msgspec.json.encode(endpoint("other")), "id: is other, the key says good"),
                (b"\xff", msgspec.json.encode(good), "id: is good"),
                (
                    b"good",
                    b'{"id": "good", "url": "http://x/", "secrets": ["env:S"], "filter": "a"}',
                    "filter: no event",
                ),
                (
                    b"good",
                    b'{"id": "good", "url": "https://x/", "secrets": [{"ref": "env:S", '
                    b'"expires_at": "2020-01-01T00:00:00Z"}]}',
                    "secrets: all of them expire",
                ),
                (b"good", msgspec.json.encode(endpoint("good", reference="env:OTHER")), "secrets[0]: is not there"),
            ]
            topic = Topics(config.kafka.prefix).endpoints.name
            async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap) as producer:
                for key, value, _ in wrong:
                    await producer.send_and_wait(topic, value=value, key=key)
            await declare_endpoint(config, "last", endpoint("last"))

            def all_named() -> bool:
                """each record was named by what is wrong with it"""
                said = [one["error"] for one in logs if one["log_level"] == "error"]
                return all(any(reason in error for error in said) for *_, reason in wrong)

            await eventually(all_named)
            await eventually(lambda: found.current() == [good, endpoint("last")], what="those that are right")
    assert told == [("good", good), ("last", endpoint("last"))]


async def test_a_wrong_one_is_not_written(embedded_broker: Broker, prefix: str) -> None:
    config = await with_topic(embedded_broker, prefix)
    config = msgspec.structs.replace(config, delivery=msgspec.structs.replace(config.delivery, allow_http=False))
    with pytest.raises(ConfigError) as caught:
        await declare_endpoint(config, "e", endpoint("e", "http://example.com/"))
    assert caught.value.field == "url"
    assert (await declared_endpoints(config)).endpoints == {}


class Record:
    """An event's record on the calls' topic."""

    partition = 0
    offset = 0

    def __init__(self, event: CallEvent) -> None:
        self.headers: list[Header] = headers_of(event)
        self.value: bytes | None = encode_data(event)


async def test_the_fan_out_makes_deliveries_for_what_was_declared(broker: Broker, prefix: str) -> None:
    config = await with_topic(broker, prefix, endpoint("toml"))
    fan_out = FanOut(
        config.endpoints, Topics(config.kafka.prefix), Outbox(broker.bootstrap, "never-started"), StreamsMetrics()
    )
    ended = Record(call_event(kind="call.ended"))

    def delivered() -> list[str]:
        return [msgspec.json.decode(value, type=Delivery).endpoint for _, _, value in fan_out.records(ended)]

    async with following(config, fan_out.declare):
        assert delivered() == ["toml"]
        await declare_endpoint(config, "new", endpoint("new"))
        await eventually(lambda: delivered() == ["toml", "new"], what="deliveries for the new one")
        started = msgspec.structs.replace(endpoint("new"), events=("call.started",))
        await declare_endpoint(config, "new", started)
        await eventually(lambda: delivered() == ["toml"], what="no deliveries for the changed one")
        await declare_endpoint(config, "new", endpoint("new"))
        await eventually(lambda: delivered() == ["toml", "new"], what="deliveries for the changed one")
        await declare_endpoint(config, "new", None)
        await eventually(lambda: delivered() == ["toml"], what="no deliveries for the withdrawn one")
