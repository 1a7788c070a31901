"""Call events on their whole way through the streams service, on real brokers, to a real receiver."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.config import Config, ConfigError, MetricsConfig
from gateway.contract.deliveries import DeadLetter
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallEvent
from gateway.dev.brokers import Broker, free_port
from streams.service import run_streams
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import (
    OTHER_SECRET,
    QUICK,
    SECRET,
    Receiver,
    call_event,
    config_for,
    create_topics,
    produce_events,
    produce_raw,
    receiver,
    secret_file,
)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[None]:
    """The streams service, ready; stopped at the end as by Ctrl-C."""
    ready = asyncio.Event()
    service = asyncio.create_task(run_streams(config, on_ready=ready.set, delays=QUICK))
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({service, waiting}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        if service.done():
            service.result()
        assert ready.is_set()
        yield
        assert not service.done(), service
    finally:
        waiting.cancel()
        service.cancel()
        with pytest.raises(asyncio.CancelledError):
            await service


def received(there: Receiver, least: int) -> bool:
    """so many webhooks were received"""
    return len(there.received) >= least


async def test_committed_events_arrive_once_and_verified(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        secrets = (secret_file(tmp_path, SECRET), secret_file(tmp_path, OTHER_SECRET))
        config = config_for(
            broker.bootstrap,
            prefix,
            [
                Endpoint(id="all", url=there.url("/all"), secrets=secrets),
                Endpoint(id="ended", url=there.url("/ended"), secrets=secrets, events=("call.ended",), accounts=(7,)),
            ],
        )
        topics = await create_topics(config)
        calls = topics.calls.name
        started = [call_event(f"c{n}") for n in range(10)]
        ended = [call_event(f"c{n}", 2, "call.ended") for n in range(10)]
        await produce_events(broker.bootstrap, calls, started, transactional_id=f"{prefix}a")
        await produce_events(broker.bootstrap, calls, [call_event("never")], transactional_id=f"{prefix}b", abort=True)
        async with running(config):
            await produce_events(broker.bootstrap, calls, ended, transactional_id=f"{prefix}a")
            await eventually(lambda: len(there.received) >= 30, what="30 webhooks")
        assert sorted(there.accepted("/all")) == sorted(f"{event.id}-all" for event in started + ended)
        assert sorted(there.accepted("/ended")) == sorted(f"{event.id}-ended" for event in ended)
        for one in there.received:
            one.verify(SECRET)
            one.verify(OTHER_SECRET)
            assert one.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
        first = next(one for one in there.received if one.id == "c0-1-all")
        assert msgspec.json.decode(first.body, type=CallEvent) == started[0]


async def test_filters_choose_and_a_thin_body_is_signed_like_any(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:

        def endpoint(name: str, **settings: Any) -> Endpoint:
            return Endpoint(id=name, url=there.url(f"/{name}"), secrets=(secret_file(tmp_path),), **settings)

        config = config_for(
            broker.bootstrap,
            prefix,
            [
                endpoint("all"),
                endpoint("thin", body="thin", events=("call.ended",)),
                endpoint("in", directions=("incoming",)),
                endpoint("early", directions=("unknown",), dispositions=("unknown",), numbers=("7999*",)),
                endpoint("long", filter="data.duration > `60` && starts_with(data.src, '7')"),
                endpoint("never", accounts=(8,), filter="data.account == `7`"),
            ],
        )
        topics = await create_topics(config)
        started = [call_event(f"c{n}") for n in range(3)]
        ended = [call_event(f"c{n}", 2, "call.ended") for n in range(3)]
        told = {0: ("incoming", "ANSWERED", 61), 1: ("outgoing", "ANSWERED", 61), 2: ("incoming", "BUSY", 60)}
        for n, (direction, disposition, duration) in told.items():
            data = msgspec.structs.replace(
                ended[n].data, direction=direction, disposition=disposition, duration=duration
            )
            ended[n] = msgspec.structs.replace(ended[n], data=data)
        await produce_events(broker.bootstrap, topics.calls.name, started + ended, transactional_id=f"{prefix}a")
        async with running(config):
            await eventually(partial(received, there, 16), what="16 webhooks")
        assert {
            name: sorted(there.accepted(f"/{name}")) for name in ("all", "thin", "in", "early", "long", "never")
        } == {
            "all": sorted(f"{event.id}-all" for event in started + ended),
            "thin": ["c0-2-thin", "c1-2-thin", "c2-2-thin"],
            "in": ["c0-2-in", "c2-2-in"],
            "early": ["c0-1-early", "c1-1-early", "c2-1-early"],
            "long": ["c0-2-long", "c1-2-long"],
            "never": [],
        }
        for one in there.received:
            one.verify()
        for one in there.at("/thin"):
            body = msgspec.json.decode(one.body)
            assert f"{body['id']}-thin" == one.id
            assert body["data"] == {"account": 7, "call_id": body["subject"], "sequence": 2}
            assert b"79990000000" not in one.body


async def test_what_a_producer_commits_after_an_abort_arrives(
    apache_kafka: Broker, prefix: str, tmp_path: Path
) -> None:
    """Not on the embedded broker: it tells readers of aborts that lie before what they read, and they drop the rest."""
    async with receiver() as there:
        config = config_for(
            apache_kafka.bootstrap, prefix, [Endpoint(id="e", url=there.url("/"), secrets=(secret_file(tmp_path),))]
        )
        topics = await create_topics(config, partitions=1)

        async def produce(name: str, *, abort: bool = False) -> None:
            await produce_events(
                apache_kafka.bootstrap,
                topics.calls.name,
                [call_event(name)],
                transactional_id=f"{prefix}a",
                abort=abort,
            )

        async with running(config):
            await produce("before")
            await produce("never", abort=True)
            await eventually(lambda: there.accepted() == ["before-1-e"])
            await produce("after")
            await eventually(lambda: there.accepted() == ["before-1-e", "after-1-e"])


async def test_a_restart_repeats_nothing_and_loses_nothing(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(
            broker.bootstrap, prefix, [Endpoint(id="e", url=there.url("/"), secrets=(secret_file(tmp_path),))]
        )
        topics = await create_topics(config)
        for turn in range(3):
            async with running(config):
                # Each transaction leaves a marker, which is a gap between the records.
                for n in range(10):
                    events = [call_event(f"t{turn}c{n}", 1), call_event(f"t{turn}c{n}", 2, "call.ended")]
                    await produce_events(broker.bootstrap, topics.calls.name, events, transactional_id=f"{prefix}a")
                await eventually(partial(received, there, 20 * (turn + 1)))
        assert len(there.received) == len({one.id for one in there.received}) == 60


async def test_a_second_service_takes_its_part_and_nothing_is_lost_or_repeated(
    apache_kafka: Broker, prefix: str, tmp_path: Path
) -> None:
    """Not on the embedded broker, which refuses commits while a group rebalances."""
    async with receiver() as there:
        config = config_for(
            apache_kafka.bootstrap, prefix, [Endpoint(id="e", url=there.url("/"), secrets=(secret_file(tmp_path),))]
        )
        topics = await create_topics(config, partitions=4)
        wanted: list[str] = []

        async def produce(name: str, count: int) -> None:
            events = [call_event(f"{name}{n}") for n in range(count)]
            await produce_events(
                apache_kafka.bootstrap, topics.calls.name, events, transactional_id=f"{prefix}{name[0]}"
            )
            wanted.extend(f"{event.id}-e" for event in events)

        over = asyncio.Event()

        async def keep_producing() -> None:
            for turn in itertools.count():
                if over.is_set():
                    return
                await produce(f"a{turn}x", 5)

        async with running(config):
            producing = asyncio.create_task(keep_producing())
            async with running(config):
                await produce("b", 50)
            over.set()
            await producing
            await eventually(lambda: set(there.accepted()) >= set(wanted), timeout=30)
        assert sorted(there.accepted()) == sorted(wanted)


async def test_poison_goes_to_the_dead_letters_and_the_rest_goes_on(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    async with receiver() as there:
        config = config_for(
            broker.bootstrap, prefix, [Endpoint(id="e", url=there.url("/"), secrets=(secret_file(tmp_path),))]
        )
        topics = await create_topics(config, partitions=1)
        calls = topics.calls.name
        huge = call_event("huge", rec_file="x" * 950_000)
        async with running(config):
            await produce_raw(broker.bootstrap, calls, b"not a call event", None, b"\xff\xfe")
            await produce_events(broker.bootstrap, calls, [huge, call_event("good")], transactional_id=f"{prefix}a")
            await eventually(lambda: there.accepted() == ["good-1-e"], what="the event after the poison")
        letters = [
            msgspec.json.decode(record.value, type=DeadLetter)
            for record in await read_all(broker.bootstrap, topics.dead_letters.name)
        ]
        assert [letter.raw for letter in letters] == [b"not a call event", None, b"\xff\xfe", None]
        assert "ce_specversion" in letters[0].reason
        assert "too large" in letters[3].reason


async def test_metrics_are_served_and_hold_no_number(embedded_broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with receiver() as there:
        config = config_for(
            embedded_broker.bootstrap, prefix, [Endpoint(id="e", url=there.url("/"), secrets=(secret_file(tmp_path),))]
        )
        listen = f"127.0.0.1:{free_port()}"
        config = msgspec.structs.replace(config, metrics=MetricsConfig(streams=listen))
        topics = await create_topics(config)
        async with running(config), aiohttp.ClientSession() as session:
            await produce_events(
                embedded_broker.bootstrap, topics.calls.name, [call_event()], transactional_id=f"{prefix}a"
            )

            async def figures() -> Any:
                """the attempt is counted"""
                async with session.get(f"http://{listen}/metrics") as response:
                    text = await response.text()
                return text if 'attempts_total{endpoint="e",outcome="delivered"} 1.0' in text else None

            text = await eventually(figures)
        assert 'ringcloud_calls_started_total{account="7",direction="unknown"} 1.0' in text
        assert "ringcloud_webhook_attempt_seconds_bucket" in text
        assert "79990000000" not in text
        assert there.url() not in text


async def test_a_bad_secret_is_named_by_its_field_and_not_shown(tmp_path: Path) -> None:
    reference = secret_file(tmp_path, "whsec_c2hvcnQ=")
    config = config_for("127.0.0.1:1", "p", [Endpoint(id="e", url="http://127.0.0.1/", secrets=(reference,))])
    with pytest.raises(ConfigError) as caught:
        await run_streams(config)
    assert caught.value.field == "endpoints[0].secrets[0]"
    assert "c2hvcnQ" not in str(caught.value)
