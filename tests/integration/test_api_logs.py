"""Attempts, dead letters and deliveries by way of the admin API: newest first, page by page, straight from real brokers."""

import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from aiokafka import TopicPartition

from gateway.api.deliveries import endpoints_in
from gateway.api.reading import Reader
from gateway.contract.deliveries import Attempt, DeadLetter, Delivery, Outcome
from gateway.contract.endpoints import Endpoint
from gateway.contract.times import millis
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker, EmbeddedBroker
from streams.fanout import expand
from tests.support.admin import admin_config, administered, write
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import call_event, produce_events

ENDPOINTS = [f"endpoint-{n}" for n in range(6)]
OUTCOMES: list[Outcome] = ["delivered", "refused", "timeout"]
# Of late: what is older than its topic keeps may be gone at any time.
START = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)


def attempts(count: int) -> list[Attempt]:
    """Attempts a second apart, at endpoints, calls and outcomes drawn."""
    draw = random.Random(6)
    found = []
    for n in range(count):
        endpoint, call = draw.choice(ENDPOINTS), f"c{draw.randrange(20)}"
        found.append(
            Attempt(
                delivery=f"{call}-{draw.randrange(1, 4)}-{endpoint}",
                endpoint=endpoint,
                number=1,
                at=START + timedelta(seconds=n),
                duration=0.1,
                outcome=draw.choice(OUTCOMES),
            )
        )
    return found


def delivery(name: str = "c1", endpoint: str = "e", sequence: int = 1, at: datetime = START) -> Delivery:
    (made,) = expand(call_event(name, sequence), [Endpoint(id=endpoint, url="https://x/", secrets=("env:S",))], at)
    return made


def newest_first(found: list[Attempt], **wanted: Any) -> list[tuple[str, str]]:
    return [
        (one.delivery, one.at.isoformat())
        for one in reversed(found)
        if all(getattr(one, name) == value for name, value in wanted.items())
    ]


def told(items: list[Any]) -> list[tuple[str, str]]:
    return [(one["delivery"], datetime.fromisoformat(one["at"]).isoformat()) for one in items]


async def test_attempts_are_listed_newest_first_whatever_partition_has_them(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    made = attempts(500)
    async with administered(admin_config(broker.bootstrap, prefix, tmp_path)) as admin:
        topic = Topics(admin.config.kafka.prefix).attempts.name
        await write(admin.config, topic, [(one.endpoint.encode(), one, millis(one.at)) for one in made[:480]])
        assert len({record.partition for record in await read_all(broker.bootstrap, topic)}) == 3

        first = await admin.get("/v1/attempts", limit=7)
        assert told(first["items"]) == newest_first(made[:480])[:7]
        # What comes meanwhile does not move what follows.
        await write(admin.config, topic, [(one.endpoint.encode(), one, millis(one.at)) for one in made[480:]])
        second = await admin.get("/v1/attempts", limit=7, cursor=first["next"])
        assert told(second["items"]) == newest_first(made[:480])[7:14]

        assert told(await admin.all("/v1/attempts", 61)) == newest_first(made)
        for endpoint in ENDPOINTS:
            mine = newest_first(made, endpoint=endpoint)
            assert told(await admin.all("/v1/attempts", 40, endpoint=endpoint)) == mine
        late = newest_first(made, outcome="timeout")
        assert told(await admin.all("/v1/attempts", 50, outcome="timeout")) == late
        calls = [one for one in made if one.delivery.startswith("c7-")]
        assert calls
        assert told(await admin.all("/v1/attempts", 50, call="c7")) == newest_first(calls)
        events = [one for one in calls if one.delivery.startswith("c7-2-")]
        assert told(await admin.all("/v1/attempts", 50, event="c7-2")) == newest_first(events)
        since = START + timedelta(seconds=450)
        assert told(await admin.all("/v1/attempts", 50, since=since.isoformat())) == newest_first(made[450:])
        # An id has no end within another.
        assert await admin.all("/v1/attempts", 50, call="c") == []


async def test_of_an_endpoint_and_past_what_is_no_attempt(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with administered(admin_config(broker.bootstrap, prefix, tmp_path)) as admin:
        await admin.do("POST", "/v1/endpoints", {"id": "endpoint-1", "url": "https://x.example.com/"})
        made = attempts(30)
        records = [(one.endpoint.encode(), one, millis(one.at)) for one in made]
        await write(
            admin.config,
            Topics(admin.config.kafka.prefix).attempts.name,
            [*records, (b"endpoint-1", b"not JSON", None), (None, b"{}", None)],
        )
        mine = newest_first(made, endpoint="endpoint-1")
        assert told(await admin.all("/v1/endpoints/endpoint-1/attempts", 3)) == mine
        assert (await admin.ask("GET", "/v1/endpoints/nobody/attempts")).status_code == 404
        first = await admin.get("/v1/attempts", limit=1, endpoint="endpoint-1")
        reader, topic = Reader(admin.config.kafka), Topics(admin.config.kafka.prefix).attempts
        elsewhere = next(
            one for one in ENDPOINTS if reader.partitions(topic, one) != reader.partitions(topic, "endpoint-1")
        )
        other = await admin.ask("GET", "/v1/attempts", params={"endpoint": elsewhere, "cursor": first["next"]})
        assert (other.status_code, other.json()["field"]) == (422, "cursor")


async def test_a_page_ends_where_too_much_was_looked_at_and_its_cursor_goes_on(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    async with administered(config):
        topic = Topics(config.kafka.prefix).attempts
        made = attempts(400)
        await write(config, topic.name, [(one.endpoint.encode(), one, millis(one.at)) for one in made])
        reader = Reader(config.kafka)
        found: list[bytes] = []
        cursor, pages = None, 0
        while True:
            page = await reader.newest(
                reader.partitions(topic),
                lambda record: record.value if b'"c3-' in record.value else None,
                100,
                cursor=cursor,
                most=50,
            )
            found += page.items
            cursor, pages = page.next, pages + 1
            if cursor is None:
                break
        assert pages > 1
        assert len(found) == len([one for one in made if one.delivery.startswith("c3-")])


async def test_a_log_with_markers_of_transactions_is_read_whole(broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    async with administered(config):
        topic = Topics(config.kafka.prefix).calls
        for n in range(12):
            await produce_events(
                broker.bootstrap, topic.name, [call_event(f"c{n}")], transactional_id=f"{prefix}t", abort=n % 3 == 1
            )
        reader = Reader(config.kafka)
        page = await reader.newest(reader.partitions(topic), lambda record: record.key.decode(), 100)
        assert sorted(page.items) == sorted(f"c{n}" for n in range(12) if n % 3 != 1)
        assert page.next is None


async def test_dead_letters_are_listed_without_their_bodies(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with administered(admin_config(broker.bootstrap, prefix, tmp_path)) as admin:
        letters = [
            DeadLetter(
                at=START + timedelta(seconds=n),
                reason="410 Gone" if n % 2 else "not delivered in 10 attempts",
                delivery=delivery(f"c{n}", f"e{n % 4}"),
            )
            for n in range(20)
        ]
        await write(
            admin.config,
            Topics(admin.config.kafka.prefix).dead_letters.name,
            [
                (one.delivery.endpoint.encode() if one.delivery else None, one, millis(one.at))
                for one in [*letters, DeadLetter(at=START, reason="unreadable", raw=b"\xff")]
            ],
        )
        all_ = await admin.all("/v1/dead-letters", 6)
        assert len(all_) == 21
        mine = [one["delivery"] for one in await admin.all("/v1/dead-letters", 2, endpoint="e2")]
        assert mine == [f"c{n}-1-e2" for n in (18, 14, 10, 6, 2)]
        gone = [one["call_id"] for one in await admin.all("/v1/dead-letters", 50, reason="410")]
        assert gone == [f"c{n}" for n in range(19, 0, -2)]
        assert {"event", "raw"}.isdisjoint(all_[0])


async def test_a_delivery_tells_what_became_of_it(broker: Broker, prefix: str, tmp_path: Path) -> None:
    async with administered(admin_config(broker.bootstrap, prefix, tmp_path)) as admin:
        topics = Topics(admin.config.kafka.prefix)
        made = delivery("c1", "crm-2-b")
        other = delivery("c1", "crm-2-b", 2)
        path = f"/v1/deliveries/{made.id}"
        assert (await admin.ask("GET", path)).status_code == 404

        async def wrote(topic: str, value: Any, at: int) -> None:
            await write(admin.config, topic, [(b"crm-2-b", value, millis(START) + at)])

        def attempt(number: int, outcome: Outcome) -> Attempt:
            return Attempt(delivery=made.id, endpoint="crm-2-b", number=number, at=START, duration=0.1, outcome=outcome)

        await wrote(topics.deliveries.name, other, 0)
        await wrote(topics.deliveries.name, made, 0)
        found = await admin.get(path)
        assert (found["state"], found["attempts"], found["endpoint"]) == ("pending", [], "crm-2-b")
        assert found["event"]["id"] == "c1-1"
        await wrote(topics.attempts.name, attempt(1, "refused"), 1000)
        assert (await admin.get(path))["state"] == "pending"
        await wrote(topics.attempts.name, attempt(2, "timeout"), 2000)
        await wrote(topics.dead_letters.name, DeadLetter(at=START, reason="enough", delivery=made), 2001)
        found = await admin.get(path)
        assert (found["state"], found["given_up"]["reason"]) == ("given_up", "enough")
        assert [one["number"] for one in found["attempts"]] == [2, 1]
        # Resent.
        await wrote(topics.deliveries.name, made, 3000)
        assert (await admin.get(path))["state"] == "pending"
        await wrote(topics.attempts.name, attempt(1, "delivered"), 4000)
        assert (await admin.get(path))["state"] == "delivered"


def test_where_an_id_may_have_its_endpoint() -> None:
    assert endpoints_in("c1-1-crm") == ["crm"]
    assert endpoints_in("test-0af-1-crm-2-b") == ["crm-2-b", "b"]
    assert endpoints_in("nonsense") == []
    assert endpoints_in("") == []


async def test_one_endpoints_records_are_looked_for_where_producers_put_them(
    embedded_broker: Broker, prefix: str, tmp_path: Path
) -> None:
    config = admin_config(embedded_broker.bootstrap, prefix, tmp_path)
    async with administered(config):
        topic = Topics(config.kafka.prefix).attempts
        await write(config, topic.name, [(f"e{n}".encode(), b"{}", None) for n in range(40)])
        reader = Reader(config.kafka)
        for record in await read_all(embedded_broker.bootstrap, topic.name):
            assert reader.partitions(topic, record.key.decode()) == [TopicPartition(topic.name, record.partition)]


async def test_while_the_brokers_are_away_it_says_so(tmp_path: Path, prefix: str) -> None:
    async with (
        EmbeddedBroker(tmp_path / "broker") as broker,
        administered(admin_config(broker.bootstrap, prefix, tmp_path)) as admin,
    ):
        await admin.get("/v1/attempts")
        assert (await admin.client.get("/livez")).status_code == 200

        async def ready() -> bool:
            """the API is ready"""
            return (await admin.client.get("/readyz")).status_code == 200

        await eventually(ready)
        await broker.kill()
        for path in ("/v1/attempts", "/v1/dead-letters", "/v1/deliveries/c1-1-e"):
            answer = await admin.ask("GET", path)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
            assert "Kafka" in answer.json()["detail"]
        changed = await admin.ask("POST", "/v1/endpoints", {"id": "e", "url": "https://x.example.com/"})
        assert changed.status_code == 503
        assert (await admin.client.get("/livez")).status_code == 200
        # What is known goes on to be told.
        assert (await admin.get("/v1/endpoints"))["items"] == []

        async def unready() -> bool:
            """the API is no longer ready"""
            return (await admin.client.get("/readyz")).status_code == 503

        await eventually(unready, 40.0)
