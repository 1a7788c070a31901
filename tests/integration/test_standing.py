"""Endpoints that are declared, changed, paused, disabled and removed under deliveries, on real brokers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from gateway.config import Config
from gateway.contract.deliveries import Attempt, DeadLetter
from gateway.contract.endpoints import EndpointStatus
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from gateway.runtime.endpoints import declare_endpoint, declared_endpoints, state_endpoint
from streams.delivery import standing
from streams.delivery.circuits import THRESHOLD
from tests.support.delivering import attempts_made, decoded, endpoint, lag, produce, working
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import (
    OTHER_SECRET,
    SECRET,
    Receiver,
    answering,
    config_for,
    create_topics,
    hanging,
    receiver,
    secret_file,
)

PAUSED = EndpointStatus(state="paused", since=datetime(2026, 11, 25, tzinfo=UTC), reason="asked")
DISABLED = msgspec.structs.replace(PAUSED, state="disabled")


async def letters(config: Config, topics: Topics) -> list[DeadLetter]:
    return await decoded(config, topics.dead_letters.name, DeadLetter)


async def all_committed(config: Config, topics: Topics) -> bool:
    """nothing is left to read"""
    return (
        await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0
        and await lag(config, "webhook-retries", [one.name for one in topics.retries.values()]) == 0
    )


async def given_up(config: Config, topics: Topics, wanted: Sequence[str], reason: str) -> None:
    """Wait until these deliveries, and no others, are dead letters, all for this reason, and nothing else is left."""

    async def buried() -> bool:
        """they are dead letters"""
        return len(await letters(config, topics)) >= len(wanted)

    await eventually(buried, timeout=30)

    async def done() -> bool:
        """nothing is left to read"""
        return await all_committed(config, topics)

    await eventually(done, timeout=30)
    found = await letters(config, topics)
    assert sorted(one.delivery.id for one in found if one.delivery is not None) == sorted(wanted)
    assert {one.reason for one in found} == {reason}


async def notices(config: Config, topics: Topics) -> list[tuple[str, bytes, dict[str, object]]]:
    """The gateway's own events: type, key and data."""
    records = await read_all(config.kafka.bootstrap, topics.gateway.name)
    return [(dict(one.headers)["ce_type"].decode(), one.key, msgspec.json.decode(one.value)) for one in records]


async def test_a_delivery_that_comes_before_its_endpoint_waits_for_it(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix)
        topics = await create_topics(config)
        async with working(config):
            wanted = await produce(config, topics, "c", 20)

            async def put_off() -> bool:
                """all are parked"""
                return await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0

            await eventually(put_off)
            await declare_endpoint(config, "e", endpoint(there, tmp_path))
            await eventually(lambda: sorted(there.accepted()) == sorted(wanted))
        assert await letters(config, topics) == []
        assert {one.number for one in await decoded(config, topics.attempts.name, Attempt)} == {1}


async def test_a_change_leads_what_waits_to_the_new_place_and_lets_attempts_under_way_end(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as old, receiver() as new:
        config = config_for(broker.bootstrap, prefix)
        topics = await create_topics(config, partitions=1)
        await declare_endpoint(config, "e", endpoint(old, tmp_path, concurrency=2))
        async with working(config):
            with hanging() as behaviour:
                old.behaviours["/e"] = behaviour
                wanted = await produce(config, topics, "c", 30)
                await eventually(lambda: old.arrived == 2)
                changed = endpoint(new, tmp_path, concurrency=8)
                changed = msgspec.structs.replace(changed, secrets=(secret_file(tmp_path, OTHER_SECRET),))
                await declare_endpoint(config, "e", changed)
                await eventually(lambda: len(new.accepted()) == 28)
                assert old.received == []
            await eventually(lambda: len(old.accepted()) == 2)
        assert sorted([*old.accepted(), *new.accepted()]) == sorted(wanted)
        for one in old.received:
            one.verify(SECRET)
        for one in new.received:
            one.verify(OTHER_SECRET)
        assert await letters(config, topics) == []


async def test_a_change_that_is_refused_changes_nothing_and_a_mended_url_is_tried_at_once(
    embedded_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as wrong, receiver() as right:
        config = config_for(embedded_broker.bootstrap, prefix)
        topics = await create_topics(config, partitions=1)
        wrong.behaviours["/e"] = answering(500)
        await declare_endpoint(config, "e", endpoint(wrong, tmp_path, concurrency=1))
        async with working(config) as metrics:
            wanted = await produce(config, topics, "c", 10)

            def is_open() -> bool:
                """the circuit is open"""
                return metrics.registry.get_sample_value("ringcloud_webhook_circuit_open", {"endpoint": "e"}) == 1

            await eventually(is_open)
            mended = endpoint(right, tmp_path)
            await declare_endpoint(
                config, "e", msgspec.structs.replace(mended, secrets=(f"file:{tmp_path}/not-there",))
            )
            await declare_endpoint(config, "f", endpoint(right, tmp_path, "f"))
            await produce(config, topics, "d", 1, to="f")
            await eventually(lambda: len(right.accepted("/f")) == 1)
            assert is_open()
            await declare_endpoint(config, "e", mended)
            await eventually(lambda: not is_open())
            # Without a probe: each of those parked is attempted when it comes.
            await eventually(lambda: sorted(right.accepted("/e")) == sorted(wanted), timeout=30)
        assert len(wrong.received) == THRESHOLD


async def test_of_an_endpoint_that_is_removed_all_that_waits_is_given_up(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix)
        topics = await create_topics(config, partitions=1)
        for name in ("e", "f"):
            await declare_endpoint(config, name, endpoint(there, tmp_path, name, concurrency=2, ordering="call"))
        async with working(config):
            with hanging() as behaviour:
                there.behaviours["/e"] = behaviour
                # So many that some wait in the lane, and some on the retry topics.
                wanted = await produce(config, topics, "c", 3 * config.delivery.window)
                await eventually(lambda: there.arrived == 2)
                await declare_endpoint(config, "e", None)
                late = await produce(config, topics, "d", 3)
                # Until the worker knows, what waits in the lane goes on as soon as there is room.
                await eventually(lambda: letters(config, topics), what="the worker knows that the endpoint is gone")
                others = await produce(config, topics, "o", 5, to="f")
                await eventually(lambda: sorted(there.accepted("/f")) == sorted(others))
            await eventually(lambda: len(there.accepted("/e")) == 2)
            expected = {*wanted, *late} - set(there.accepted("/e"))
            await given_up(config, topics, sorted(expected), "the endpoint was removed")
        assert there.arrived == 2 + 5


async def test_while_an_endpoint_is_paused_its_deliveries_wait_and_none_is_lost(
    broker: Broker, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standing, "PAUSE", 2.0)
    async with receiver() as there:
        # Of the configuration file: statuses hold for those as well.
        config = config_for(
            broker.bootstrap, prefix, [endpoint(there, tmp_path), endpoint(there, tmp_path, "k", ordering="call")]
        )
        topics = await create_topics(config, partitions=1)
        for name in ("e", "k"):
            await state_endpoint(config, name, PAUSED)
        async with working(config):
            wanted = {name: await produce(config, topics, "c", 60, to=name) for name in ("e", "k")}

            async def waiting() -> bool:
                """all of them are on the retry topics, and have been written there more than once"""
                parked = [
                    one for topic in topics.retries.values() for one in await read_all(broker.bootstrap, topic.name)
                ]
                return len(parked) > 3 * 120

            await eventually(waiting, timeout=30)
            assert await lag(config, "webhook-delivery", [topics.deliveries.name]) == 0
        assert there.arrived == 0
        async with working(config):
            for name in ("e", "k"):
                await state_endpoint(config, name, None)
            for name in ("e", "k"):
                await eventually(lambda name=name: sorted(there.accepted(f"/{name}")) == sorted(wanted[name]))
        assert await letters(config, topics) == []
        assert {one.number for one in await decoded(config, topics.attempts.name, Attempt)} == {1}


async def test_while_an_endpoint_is_disabled_its_deliveries_become_dead_letters(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix, [endpoint(there, tmp_path, concurrency=1)])
        topics = await create_topics(config, partitions=1)
        async with working(config):
            with hanging() as behaviour:
                there.behaviours["/e"] = behaviour
                wanted = await produce(config, topics, "c", 3 * config.delivery.window)
                await eventually(lambda: there.arrived == 1)
                await state_endpoint(config, "e", DISABLED)
                wanted += await produce(config, topics, "d", 3)
                await given_up_but_one(config, topics, wanted, "the endpoint is disabled (asked)")
            await eventually(lambda: len(there.accepted()) == 1)
            assert there.arrived == 1
            await state_endpoint(config, "e", None, was=DISABLED)
            await delivered_again(config, topics, there)
        given = [one for one in await letters(config, topics) if one.delivery and one.delivery.id in wanted]
        assert sorted([one.delivery.id for one in given if one.delivery] + there.accepted()[:1]) == sorted(wanted)
        assert {one.delivery.attempts for one in given if one.delivery} == {0}
        (first, second) = await notices(config, topics)
        assert (first[0], first[1], first[2]["endpoint"], first[2]["reason"]) == (
            "endpoint.disabled",
            b"e",
            "e",
            "asked",
        )
        assert (second[0], second[1], second[2]["since"]) == ("endpoint.enabled", b"e", first[2]["since"])


async def delivered_again(config: Config, topics: Topics, there: Receiver) -> None:
    """Wait until a delivery that is made now is delivered."""
    tries: list[str] = []

    async def again() -> bool:
        """a new delivery is delivered"""
        tries.extend(await produce(config, topics, f"try{len(tries)}x", 1))
        return not set(tries).isdisjoint(there.accepted())

    await eventually(again, interval=0.3)


async def given_up_but_one(config: Config, topics: Topics, wanted: Sequence[str], reason: str) -> None:
    """Wait until all of these but one, which is under way, are dead letters for this reason."""

    async def buried() -> bool:
        """they are dead letters"""
        return len(await letters(config, topics)) == len(wanted) - 1

    await eventually(buried, timeout=30)
    assert {one.reason for one in await letters(config, topics)} == {reason}


async def test_an_endpoint_that_is_gone_is_disabled_for_all_and_for_good(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix, [endpoint(there, tmp_path, concurrency=1)])
        topics = await create_topics(config, partitions=1)
        there.behaviours["/e"] = answering(410)
        async with working(config):
            await produce(config, topics, "c", 3)

            async def all_given_up() -> bool:
                """all three are dead letters"""
                return len(await letters(config, topics)) == 3

            await eventually(all_given_up)
        # Another worker knows it from the topic.
        async with working(config):
            await produce(config, topics, "d", 2)

            async def those_too() -> bool:
                """the two that came later are dead letters"""
                return len(await letters(config, topics)) == 5

            await eventually(those_too)
        assert len(there.received) == 1
        reasons = sorted(one.reason for one in await letters(config, topics))
        assert reasons == [
            "the endpoint is disabled (gone)",
            "the endpoint is disabled (gone)",
            "the endpoint is disabled (gone)",
            "the endpoint is disabled (gone)",
            "the endpoint is gone (410); last: HTTP 410",
        ]
        status = (await declared_endpoints(config)).statuses["e"]
        assert (status.state, status.reason) == ("disabled", "gone")
        ((kind, key, data),) = await notices(config, topics)
        assert (kind, key, data["reason"]) == ("endpoint.disabled", b"e", "gone")
        assert set(data) == {"endpoint", "reason", "since", "observed_at"}
        # It is delivered to again once somebody says so.
        there.behaviours["/e"] = answering(200)
        async with working(config):
            await state_endpoint(config, "e", None, was=status)
            await delivered_again(config, topics, there)


async def test_an_endpoint_that_fails_for_too_long_is_disabled_whoever_counts(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        config = config_for(broker.bootstrap, prefix, [endpoint(there, tmp_path, retries=[1] * 20)])
        topics = await create_topics(config, partitions=1)
        down = True

        async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
            return web.Response(status=500 if down else 200)

        there.behaviours["/e"] = behave

        async def failing_since() -> datetime | None:
            """the topic says since when it fails"""
            status = (await declared_endpoints(config)).statuses.get("e")
            return None if status is None else status.failing_since

        began = datetime.now(UTC)
        async with working(config):
            wanted = await produce(config, topics, "c", 10)
            since = await eventually(failing_since)
            assert since is not None
            assert began < since < datetime.now(UTC)
            attempts = len(there.received)
        # A success ends it.
        down = False
        async with working(config):
            await eventually(lambda: sorted(there.accepted()) == sorted(wanted), timeout=40)

            async def well() -> bool:
                """the topic says that it is well"""
                return "e" not in (await declared_endpoints(config)).statuses

            await eventually(well)
        assert attempts >= THRESHOLD
        assert await notices(config, topics) == []
        # It begins anew; the second worker goes on from what the first one wrote.
        down = True
        async with working(config):
            await produce(config, topics, "d", 10)
            again = await eventually(failing_since)
            assert again is not None
            assert again > since
        there.received.clear()
        long_ago = msgspec.structs.replace(
            (await declared_endpoints(config)).statuses["e"], failing_since=again - timedelta(days=5)
        )
        await state_endpoint(config, "e", long_ago)
        async with working(config) as metrics:

            async def disabled() -> bool:
                """all of them are dead letters"""
                return len(await letters(config, topics)) == 10

            await eventually(disabled, timeout=40)
            assert attempts_made(metrics) <= 10
        status = (await declared_endpoints(config)).statuses["e"]
        assert (status.state, status.reason, status.failing_since) == ("disabled", "failing", long_ago.failing_since)
        ((kind, _, data),) = await notices(config, topics)
        assert (kind, data["reason"]) == ("endpoint.disabled", "failing")
        assert all("the endpoint is disabled (failing)" in one.reason for one in await letters(config, topics))
        assert there.url() not in str(data)
