"""One trace of a call's way, from the poll to the webhook: over real brokers, to a real receiver and a collector."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, ConsumerRecord
from elasticapm.utils.disttracing import TraceParent

from gateway.config import Config, TracesConfig
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallEvent, encode_data, headers_of
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from sandbox.settings import SandboxSettings
from tests.integration.test_fanout import running
from tests.integration.test_replay import replayed
from tests.support.admin import admin_config, administered
from tests.support.collector import Collected, Collector, collector, exporting
from tests.support.gateway import keys_of, site
from tests.support.kafka import create_topic, read_all
from tests.support.waiting import eventually
from tests.support.webhooks import QUICK, Receiver, answering, call_event, config_for, receiver, secret_file

ACCOUNT = 1000
SRC, DST = "79161110001", "401"
UPSTREAM = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
# All that spans may say. No number, no user, no URL.
SAID = {
    "poll": {"ringcloud.account", "ringcloud.asked", "ringcloud.events"},
    "commit": {"ringcloud.account", "ringcloud.shard"},
    "fan-out": {"ringcloud.partition", "ringcloud.offset", "ringcloud.records"},
    "attempt": {
        "ringcloud.delivery",
        "ringcloud.endpoint",
        "ringcloud.attempt",
        "ringcloud.outcome",
        "ringcloud.status",
    },
}


@pytest.fixture(autouse=True)
async def _nothing_left_sending() -> AsyncIterator[None]:
    """Leave no thread behind that goes on: it would use the random numbers of tests to come."""
    yield
    await eventually(lambda: not exporting(), 60.0)


def traceparents(record: ConsumerRecord) -> list[str]:
    """Those in a record's headers."""
    return [value.decode() for name, value in record.headers if name == "traceparent"]


def span_of(there: Collector, header: str) -> Collected:
    """The collected span that a header names, as another library reads it."""
    read = TraceParent.from_string(header)
    assert read is not None
    assert read.trace_options.recorded
    found = there.by_id(read.span_id)
    assert found.trace == read.trace_id
    return found


async def quick_topics(config: Config) -> Topics:
    """The retry topics that end soon, beside those that are there."""
    topics = Topics(config.kafka.prefix, QUICK)
    await asyncio.gather(
        *(create_topic(config.kafka.bootstrap, one.name, config.kafka.partitions) for one in topics.retries.values())
    )
    return topics


def crm(there: Receiver, folder: Path, **more: Any) -> Endpoint:
    """An endpoint that tries again after a second, once."""
    settings = {"id": "crm", "url": there.url("/crm"), "secrets": (secret_file(folder),), "retries": (1,)}
    return msgspec.convert({**settings, **more}, Endpoint)


async def test_one_trace_goes_from_the_poll_to_the_webhook(broker: Broker, tmp_path: Path) -> None:
    settings = SandboxSettings(keys=keys_of([ACCOUNT]), calls_per_minute=0)
    async with collector() as traced, receiver() as there, site(broker, tmp_path / "site", settings) as place:
        place.document["traces"] = {"endpoint": traced.url}
        there.behaviours["/crm"] = answering(503, 200)
        config = msgspec.structs.replace(
            config_for(broker.bootstrap, place.config.kafka.prefix, [crm(there, tmp_path)]),
            traces=TracesConfig(endpoint=traced.url),
        )
        gateway = place.gateway()
        async with gateway:
            topics = await quick_topics(config)
            async with running(config):
                # What ends before the first poll is history.
                await place.polled()
                place.sandbox.pbx.place_call(ACCOUNT, SRC, DST, "incoming", 2_500, 4_000)
                await place.all_told()
                calls = await place.records()
                # The first of them was tried twice.
                await eventually(lambda: len(there.received) == len(calls) + 1, what="all webhooks")
            await gateway.stop()
        assert gateway.mishaps() == []
        deliveries = await read_all(broker.bootstrap, topics.deliveries.name)
        (retry,) = await read_all(broker.bootstrap, topics.retries[1].name)

    ways = {_way(traced, webhook.headers["traceparent"]) for webhook in there.received}
    assert len({attempt for *_, attempt in ways}) == len(there.received)
    assert len({fan_out for *_, fan_out, _ in ways}) == len(calls)
    # What was seen in one poll is of one trace; the call rang, was answered and ended in several.
    assert 2 <= len({trace for trace, *_ in ways}) <= len(calls)
    assert {(commit, fan_out, attempt) for _, commit, fan_out, attempt in ways} == _joined(traced, calls, deliveries)

    first, again = sorted(
        (one for one in traced.named("attempt") if one.attributes["ringcloud.delivery"] == there.received[0].id),
        key=lambda one: int(one.attributes["ringcloud.attempt"]),
    )
    assert (first.trace, first.parent) == (again.trace, again.parent)
    (handed_on,) = traceparents(retry)
    assert span_of(traced, handed_on).id == first.parent
    assert [(one.failed, one.failure, one.attributes["ringcloud.status"]) for one in (first, again)] == [
        (True, "refused", 503),
        (False, "", 200),
    ]
    for span in traced.spans:
        assert set(span.attributes) == SAID[span.name]
        assert span.began <= span.ended
        said = str(sorted(span.attributes.items()))
        assert SRC not in said
        assert "127.0.0.1" not in said
    assert {one.attributes["ringcloud.account"] for one in traced.named("poll")} == {ACCOUNT}
    assert {(one.name, one.service) for one in traced.spans} == {
        ("poll", "ringcloud-gateway"),
        ("commit", "ringcloud-gateway"),
        ("fan-out", "ringcloud-streams"),
        ("attempt", "ringcloud-streams"),
    }


def _way(traced: Collector, header: str) -> tuple[str, str, str, str]:
    """The trace of a webhook, and its spans of the commit, the fan-out and the attempt, by their ids."""
    attempt = span_of(traced, header)
    fan_out = traced.by_id(attempt.parent)
    commit = traced.by_id(fan_out.parent)
    poll = traced.by_id(commit.parent)
    chain = [poll, commit, fan_out, attempt]
    assert [one.name for one in chain] == ["poll", "commit", "fan-out", "attempt"]
    assert poll.parent == ""
    assert len({one.trace for one in chain}) == 1
    assert poll.began <= commit.began <= commit.ended <= poll.ended
    return poll.trace, commit.id, fan_out.id, attempt.id


def _joined(
    traced: Collector, calls: list[ConsumerRecord], deliveries: list[ConsumerRecord]
) -> set[tuple[str, str, str]]:
    """The same of all attempts, by what the records' headers say."""
    told = {dict(record.headers)["ce_id"].decode(): traceparents(record) for record in calls}
    found: set[tuple[str, str, str]] = set()
    for record in deliveries:
        delivery = msgspec.json.decode(record.value)["id"]
        (begun,), (made,) = told[delivery.removesuffix("-crm")], traceparents(record)
        found.update(
            (span_of(traced, begun).id, span_of(traced, made).id, attempt.id)
            for attempt in traced.named("attempt")
            if attempt.attributes["ringcloud.delivery"] == delivery
        )
    return found


async def write(config: Config, topics: Topics, event: CallEvent, *traceparent: bytes) -> None:
    """Write a call event as somebody's gateway may have."""
    headers = [*headers_of(event), *(("traceparent", one) for one in traceparent)]
    async with AIOKafkaProducer(bootstrap_servers=config.kafka.bootstrap, acks="all") as producer:
        await producer.send_and_wait(topics.calls.name, encode_data(event), key=event.subject.encode(), headers=headers)


async def test_without_traces_a_header_from_upstream_is_handed_on_through_retries_and_replays(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        there.behaviours["/crm"] = answering(500)
        config = admin_config(broker.bootstrap, prefix, tmp_path, [crm(there, tmp_path)])
        topics = Topics(config.kafka.prefix, QUICK)
        async with administered(config) as admin, running(config):
            for name, given in (("with", [UPSTREAM.encode()]), ("without", []), ("wrong", [b"00-1-2-03"])):
                await write(config, topics, call_event(name), *given)

            async def given_up() -> list[ConsumerRecord]:
                """all three are given up"""
                letters = await read_all(broker.bootstrap, topics.dead_letters.name)
                return letters if len(letters) == 3 else []

            letters = await eventually(given_up, 60.0)
            assert len(there.received) == 6
            there.behaviours["/crm"] = answering(200)
            delivery = "with-1-crm"
            # As it was given up, as all were given up, and from the events.
            assert (await replayed(admin, {"kind": "delivery", "delivery": delivery}))["resent"] == 1
            assert (await replayed(admin, {"kind": "dead_letters", "endpoint": "crm"}))["resent"] == 3
            everything = {"kind": "events", "endpoint": "crm", "since": "2020-01-01T00:00:00Z"}
            assert (await replayed(admin, everything))["resent"] == 3
            # As it was made: it had not been given up.
            await write(config, topics, call_event("new"), UPSTREAM.encode())
            await eventually(lambda: "new-1-crm" in there.accepted(), what="the new one")
            assert (await replayed(admin, {"kind": "delivery", "delivery": "new-1-crm"}))["resent"] == 1
            await eventually(lambda: len(there.accepted()) == 9, what="all that was resent")
        deliveries = await read_all(broker.bootstrap, topics.deliveries.name)
        retries = await read_all(broker.bootstrap, topics.retries[1].name)

    for webhook in there.received:
        upstream = webhook.id in (delivery, "new-1-crm")
        assert webhook.headers.get("traceparent") == (UPSTREAM if upstream else None), webhook.id
        webhook.verify()
    for record in (*deliveries, *retries, *letters):
        expected = [UPSTREAM] if b'"with-1-crm"' in record.value or b'"new-1-crm"' in record.value else []
        assert traceparents(record) == expected
    assert len(deliveries) == 3 + 1 + 3 + 3 + 1 + 1
    # Parked they were too, while the endpoint was left alone.
    assert len(retries) >= 3


async def test_without_traces_a_gateway_writes_no_header(broker: Broker, tmp_path: Path) -> None:
    settings = SandboxSettings(keys=keys_of([ACCOUNT]), calls_per_minute=0)
    async with site(broker, tmp_path / "site", settings) as place, place.gateway() as gateway:
        await place.polled()
        place.sandbox.pbx.place_call(ACCOUNT, SRC, DST, "incoming", 1_000, 1_000)
        await place.all_told()
        records = await place.records()
        await gateway.stop()
        assert records
        assert [found for record in records for found in traceparents(record)] == []


async def test_with_a_collector_that_is_away_everything_is_delivered(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with collector() as gone:
        pass
    async with receiver() as there:
        config = msgspec.structs.replace(
            admin_config(broker.bootstrap, prefix, tmp_path, [crm(there, tmp_path)]),
            traces=TracesConfig(endpoint=gone.url),
        )
        topics = Topics(config.kafka.prefix, QUICK)
        async with administered(config), running(config):
            for n in range(20):
                await write(config, topics, call_event(f"c{n}"), UPSTREAM.encode())
            await eventually(lambda: len(there.accepted()) == 20, 60.0, what="all webhooks")
        found = [one.headers["traceparent"] for one in there.received]
        assert {one[:36] for one in found} == {UPSTREAM[:36]}
        assert len({one[36:52] for one in found}) == 20
