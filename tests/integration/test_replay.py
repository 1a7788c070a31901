"""Replays on real brokers, up to receivers: the same webhook-ids again, all that was asked for, no faster, and no more."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from gateway.contract.deliveries import DeadLetter, Delivery
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallEvent
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker
from streams.fanout import expand
from tests.support.admin import Admin, admin_config, administered, write
from tests.support.delivering import decoded, working
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import Receiver, answering, call_event, produce_events, receiver

ENDED = ("done", "cancelled", "failed")


def events(count: int) -> list[CallEvent]:
    """Events of as many calls, every other of account 8, every third an end."""
    return [
        call_event(f"c{n}", 1, "call.ended" if n % 3 == 0 else "call.started", account=7 + n % 2) for n in range(count)
    ]


def made_for(name: str, found: Sequence[CallEvent]) -> list[Delivery]:
    endpoint = Endpoint(id=name, url="https://x/", secrets=("env:S",))
    return [one for event in found for one in expand(event, [endpoint], datetime.now(UTC) - timedelta(days=2))]


async def replayed(admin: Admin, asked: dict[str, Any]) -> dict[str, Any]:
    """What has become of a replay at its end."""
    begun = await admin.ask("POST", "/v1/replays", {"rate": 1000, **asked})
    assert begun.status_code == 202, begun.text
    path = begun.headers["location"]

    async def ended() -> Any:
        found = await admin.get(path)
        return found if found["state"] in ENDED else None

    return await eventually(ended, 40.0, what="the replay ends")  # type: ignore[no-any-return]


async def resent(admin: Admin) -> list[Delivery]:
    return await decoded(admin.config, Topics(admin.config.kafka.prefix).deliveries.name, Delivery)


async def declared(admin: Admin, name: str, there: Receiver | None = None, **more: Any) -> str:
    """Declare an endpoint at the receiver's path of its name; give its secret."""
    url = there.url(f"/{name}") if there else "https://x.example.com/"
    return str((await admin.do("POST", "/v1/endpoints", {"id": name, "url": url, **more}))["secret"])


async def test_what_was_given_up_comes_again_under_its_own_id(broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    async with receiver() as there, administered(config) as admin, working(config):
        secret = await declared(admin, "crm", there, retries=[1], ordering="call")
        there.behaviours["/crm"] = answering(500)
        tests = [(await admin.do("POST", "/v1/endpoints/crm/test"))["delivery"] for _ in range(3)]

        async def given_up() -> bool:
            """all three are given up"""
            return len((await admin.get("/v1/dead-letters", endpoint="crm"))["items"]) == 3

        await eventually(given_up, 60.0)
        assert there.accepted() == []
        assert {one["state"] for one in [await admin.get(f"/v1/deliveries/{name}") for name in tests]} == {"given_up"}
        there.behaviours["/crm"] = answering(200)

        job = await replayed(admin, {"kind": "delivery", "delivery": tests[0]})
        assert (job["state"], job["resent"], job["endpoint"], job["by"]) == ("done", 1, "crm", "all")
        await eventually(lambda: there.accepted() == tests[:1], what="the one")
        job = await replayed(admin, {"kind": "dead_letters", "endpoint": "crm"})
        assert (job["state"], job["resent"], job["done"], job["total"]) == ("done", 3, 3, 3)
        await eventually(lambda: len(there.accepted()) == 4, what="all of them")
        assert Counter(there.accepted()) == {tests[0]: 2, tests[1]: 1, tests[2]: 1}
        for one in there.received:
            one.verify(secret)

        async def delivered() -> bool:
            """all three are known as delivered"""
            found = [await admin.get(f"/v1/deliveries/{name}") for name in tests]
            return {one["state"] for one in found} == {"delivered"} and found[1]["attempts"][0]["number"] == 1

        await eventually(delivered)


async def test_what_was_delivered_can_come_again_even_out_of_order(broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    async with receiver() as there, administered(config) as admin, working(config):
        await declared(admin, "crm", there, ordering="call")
        made = made_for("crm", [call_event("c1", n) for n in (1, 2, 3)])
        made = [msgspec.structs.replace(one, created_at=datetime.now(UTC)) for one in made]
        await write(config, Topics(config.kafka.prefix).deliveries.name, [(b"crm", one, None) for one in made])
        await eventually(lambda: there.accepted() == [one.id for one in made], what="all, in order")
        for count, again in enumerate((made[0], made[2], made[1]), start=4):
            assert (await replayed(admin, {"kind": "delivery", "delivery": again.id}))["state"] == "done"
            # Of those that wait together the earlier one would go first.
            await eventually(lambda count=count: len(there.accepted()) == count, what="each once more")
        assert there.accepted()[3:] == [made[0].id, made[2].id, made[1].id]
        bodies = {one.id: {other.body for other in there.received if other.id == one.id} for one in there.received}
        assert all(len(found) == 1 for found in bodies.values())


async def test_dead_letters_are_resent_once_each_by_filter(broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    async with administered(config) as admin:
        await declared(admin, "e")
        topic = Topics(config.kafka.prefix).dead_letters.name
        mine, others = made_for("e", events(20)), made_for("other", events(20))
        start = datetime.now(UTC) - timedelta(hours=1)

        def letter(n: int, one: Delivery) -> DeadLetter:
            reason = "410 Gone" if n % 2 else "not delivered"
            return DeadLetter(
                at=start + timedelta(seconds=n), reason=reason, delivery=msgspec.structs.replace(one, attempts=10)
            )

        records: list[tuple[bytes | None, Any, int | None]] = []
        for n, pair in enumerate(zip(mine, others, strict=True)):
            for one in pair:
                when = int((start + timedelta(seconds=n)).timestamp() * 1000)
                records.append((one.endpoint.encode(), letter(n, one), when))
        await write(config, topic, [*records, *records[:6], (b"e", b"not JSON", None)])

        job = await replayed(admin, {"kind": "dead_letters", "endpoint": "e"})
        assert (job["state"], job["resent"], job["skipped"], job["error"]) == ("done", 20, 1, None)
        found = await resent(admin)
        assert [one.id for one in found] == [one.id for one in mine]
        assert {one.attempts for one in found} == {0}
        # They are as if made now, to a worker that does not know the endpoint yet.
        assert all(datetime.now(UTC) - one.created_at < timedelta(minutes=5) for one in found)
        assert [bytes(one.event) for one in found] == [bytes(one.event) for one in mine]

        job = await replayed(admin, {"kind": "dead_letters", "endpoint": "e", "reason": "410"})
        assert job["resent"] == 10
        span = {
            "since": (start + timedelta(seconds=15)).isoformat(),
            "until": (start + timedelta(seconds=18)).isoformat(),
        }
        job = await replayed(admin, {"kind": "dead_letters", "endpoint": "e", **span})
        assert job["resent"] == 3
        assert [one.id for one in (await resent(admin))[30:]] == [one.id for one in mine[15:18]]


async def test_events_from_a_time_or_offsets_by_the_filters_of_now(broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    topics = Topics(config.kafka.prefix)
    async with administered(config) as admin:
        await declared(admin, "e", accounts=[8])
        early, late = events(30)[:12], events(30)[12:]
        for part, found in enumerate((early, late)):
            await produce_events(
                broker.bootstrap, topics.calls.name, found, transactional_id=f"{prefix}{part}", abort=False
            )
            await produce_events(
                broker.bootstrap,
                topics.calls.name,
                [call_event("gone")],
                transactional_id=f"{prefix}{part}",
                abort=True,
            )
            if part == 0:
                await asyncio.sleep(0.02)
                between = datetime.now(UTC)
                await asyncio.sleep(0.02)
        await write(config, topics.calls.name, [(b"poison", b"{}", None)])

        async def sent(**asked: Any) -> list[str]:
            before = len(await resent(admin))
            job = await replayed(admin, {"kind": "events", "endpoint": "e", **asked})
            assert (job["state"], job["done"]) == ("done", job["total"]), job
            return sorted(one.id for one in (await resent(admin))[before:])

        def expected(found: Sequence[CallEvent], account: int = 8) -> list[str]:
            return sorted(f"{one.id}-e" for one in found if one.data.account == account)

        everything = datetime(2020, 1, 1, tzinfo=UTC).isoformat()
        assert await sent(since=everything) == expected([*early, *late])
        assert await sent(since=between.isoformat()) == expected(late)
        assert await sent(since=everything, until=between.isoformat()) == expected(early)
        assert await sent(since=everything, events=["call.ended"]) == expected(
            [one for one in [*early, *late] if one.type == "call.ended"]
        )
        assert await sent(since=everything, accounts=[7]) == []
        await admin.do("PATCH", "/v1/endpoints/e", {"accounts": [7]})
        assert await sent(since=everything) == expected([*early, *late], 7)

        records = await read_all(broker.bootstrap, topics.calls.name)
        third = sorted({record.offset for record in records if record.partition == 1})[2]
        keys = {record.key.decode() for record in records if record.partition == 1 and record.offset >= third}
        assert await sent(offsets={"1": third}) == expected([one for one in [*early, *late] if one.subject in keys], 7)
        job = await replayed(admin, {"kind": "events", "endpoint": "e", "since": everything})
        assert job["skipped"] == 1
        assert job["reached"] is not None


async def test_it_keeps_to_its_rate_and_can_be_cancelled(broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    async with administered(config) as admin:
        await declared(admin, "e")
        topic = Topics(config.kafka.prefix).calls.name
        found = events(200)
        await produce_events(broker.bootstrap, topic, found, transactional_id=f"{prefix}t")
        asked = {"kind": "events", "endpoint": "e", "since": "2020-01-01T00:00:00Z", "rate": 20}
        path = (await admin.ask("POST", "/v1/replays", asked)).headers["location"]

        async def begun() -> Any:
            found = await admin.get(path)
            return found if found["resent"] >= 10 else None

        job = await eventually(begun)
        assert job["state"] == "running"
        assert 0 < job["done"] <= job["total"]
        cancelled = await admin.do("DELETE", path)
        assert (cancelled["state"], cancelled["error"]) == ("cancelled", None)
        assert await admin.do("DELETE", path) == cancelled
        sent = await resent(admin)
        assert len(sent) == cancelled["resent"] < 200
        # By the clock of the records themselves: never more in a second than it may, but for what it catches up.
        at = sorted(
            record.timestamp for record in await read_all(broker.bootstrap, Topics(config.kafka.prefix).deliveries.name)
        )
        assert (len(at) - 2) / 20 <= (at[-1] - at[0]) / 1000 + 0.1


async def test_it_ends_where_its_endpoint_does_and_none_begins_in_vain(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    async with administered(config) as admin:
        for name in ("gone", "off"):
            await declared(admin, name)
        topic = Topics(config.kafka.prefix).calls.name
        await produce_events(broker.bootstrap, topic, events(100), transactional_id=f"{prefix}t")
        since = "2020-01-01T00:00:00Z"
        slow = [
            (
                await admin.ask("POST", "/v1/replays", {"kind": "events", "endpoint": name, "since": since, "rate": 5})
            ).headers["location"]
            for name in ("gone", "off")
        ]
        await admin.do("DELETE", "/v1/endpoints/gone")
        await admin.do("POST", "/v1/endpoints/off/disable")
        for path, why in zip(slow, ("removed", "disabled"), strict=True):

            async def failed(path: str = path) -> Any:
                found = await admin.get(path)
                return found if found["state"] == "failed" else None

            assert why in (await eventually(failed, what=why))["error"]
        for asked, status, field in (
            ({"kind": "events", "endpoint": "gone", "since": since}, 404, None),
            ({"kind": "events", "endpoint": "off", "since": since}, 409, None),
            ({"kind": "delivery", "delivery": "c1-1-nobody"}, 404, "delivery"),
            ({"kind": "events", "endpoint": "off"}, 422, "since"),
            ({"kind": "everything"}, 400, "kind"),
            ({"kind": "dead_letters", "endpoint": "off", "rate": 0}, 400, "rate"),
        ):
            refused = await admin.ask("POST", "/v1/replays", asked)
            assert (refused.status_code, refused.json()["field"]) == (status, field), (asked, refused.text)
        await admin.do("POST", "/v1/endpoints/off/enable")
        offsets = {"kind": "events", "endpoint": "off", "offsets": {"3": 0}}
        refused = await admin.ask("POST", "/v1/replays", offsets)
        assert (refused.status_code, refused.json()["field"]) == (422, "offsets")
        assert (await admin.ask("GET", "/v1/replays/none")).status_code == 404


async def test_replays_are_listed_and_only_so_many_are_under_way(broker: Broker, prefix: str, tmp_path: Path) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    async with administered(config) as admin:
        await declared(admin, "e")
        await produce_events(
            broker.bootstrap, Topics(config.kafka.prefix).calls.name, events(100), transactional_id=f"{prefix}t"
        )
        asked = {"kind": "events", "endpoint": "e", "since": "2020-01-01T00:00:00Z", "rate": 1}
        begun = [await admin.ask("POST", "/v1/replays", asked) for _ in range(9)]
        assert [one.status_code for one in begun] == [202] * 8 + [409]
        ids = [one.json()["id"] for one in begun[:8]]
        assert [one["id"] for one in await admin.all("/v1/replays", 3)] == ids[::-1]
        await admin.do("DELETE", f"/v1/replays/{ids[0]}")
        assert (await admin.ask("POST", "/v1/replays", asked)).status_code == 202


async def test_a_new_endpoint_starts_from_the_past_and_misses_nothing(
    broker: Broker, prefix: str, tmp_path: Path
) -> None:
    config = admin_config(broker.bootstrap, prefix, tmp_path)
    async with receiver() as there, administered(config) as admin, working(config):
        topic = Topics(config.kafka.prefix).calls.name
        found = events(20)
        random.Random(1).shuffle(found)
        await produce_events(broker.bootstrap, topic, found[:10], transactional_id=f"{prefix}t")
        answer = await admin.do(
            "POST",
            "/v1/endpoints",
            {"id": "crm", "url": there.url("/crm"), "start_from": "2020-01-01T00:00:00Z", "accounts": [8]},
        )
        # Nobody fans out here: what comes while every process learns of the endpoint is the replay's too.
        await produce_events(broker.bootstrap, topic, found[10:], transactional_id=f"{prefix}t")
        expected = {f"{one.id}-crm" for one in found if one.data.account == 8}
        await eventually(lambda: set(there.accepted()) == expected, 40.0, what="all of the past")
        job = await admin.get(f"/v1/replays/{answer['replay']}")
        assert (job["asked"]["kind"], job["asked"]["endpoint"]) == ("events", "crm")
        for one in there.received:
            one.verify(answer["secret"])
        assert len(there.received) == len(expected)
