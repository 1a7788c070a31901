"""The streams service killed in mid-delivery, again and again, while call events keep coming: nothing is lost or out of order."""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer

from gateway.config import load
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallEvent, CallEventType, encode_data, headers_of
from gateway.contract.topics import Topics
from gateway.dev.brokers import Broker, Child, free_port
from gateway.runtime.endpoints import declare_endpoint
from gateway.runtime.kafka import ensure_topics
from streams.matching import EndpointIndex
from tests.support.delivering import Witness, endpoint
from tests.support.kafka import read_all
from tests.support.waiting import eventually
from tests.support.webhooks import Behaviour, Receiver, call_event, receiver

KILLS = 30
# A call's whole life.
LIFE: tuple[CallEventType, ...] = ("call.started", "call.answered", "call.ended", "call.updated")
# Calls begin so often, in seconds; each has an event at each turn.
TURN = 0.5
SEED = 20261125


class Producer:
    """Appends the events of calls to their topic, several calls at a time, until it is told to stop."""

    def __init__(self, bootstrap: str, topic: str, transactional_id: str) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._id = transactional_id
        self.events: list[CallEvent] = []
        self.over = asyncio.Event()

    async def run(self) -> None:
        """Append, and let each call that has begun come to its end."""
        async with AIOKafkaProducer(bootstrap_servers=self._bootstrap, transactional_id=self._id) as producer:
            alive: list[tuple[str, int]] = []
            for turn in itertools.count():
                if not self.over.is_set():
                    alive.append((f"call{turn}", 0))
                elif not alive:
                    return
                events = [call_event(call, done + 1, LIFE[done]) for call, done in alive]
                alive = [(call, done + 1) for call, done in alive if done + 1 < len(LIFE)]
                async with producer.transaction():
                    for event in events:
                        await producer.send(
                            self._topic, encode_data(event), event.data.call_id.encode(), headers=headers_of(event)
                        )
                self.events += events
                await asyncio.sleep(TURN)


def now_and_then(often: float, otherwise: Behaviour, seed: int) -> Behaviour:
    """Misbehaves so often as `otherwise` does, and answers 200 the rest of the time."""
    chance = random.Random(seed)

    async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
        return await otherwise(request, body) if chance.random() < often else web.Response()

    return behave


async def refuse(request: web.Request, body: bytes) -> web.StreamResponse:
    return web.Response(status=503)


async def hang(request: web.Request, body: bytes) -> web.StreamResponse:
    """Longer than its endpoint's timeout."""
    await asyncio.sleep(5)
    return web.Response()


def declared(there: Receiver, folder: Path) -> list[Endpoint]:
    """One of each kind; the last is declared at run time."""
    soon: dict[str, Any] = {"retries": [1] * 20}
    return [
        endpoint(there, folder, "plain"),
        endpoint(there, folder, "kept", ordering="call", concurrency=4, **soon),
        endpoint(there, folder, "rated", rate=200.0, events=["call.ended"]),
        endpoint(there, folder, "fails", **soon),
        endpoint(there, folder, "hangs", timeout=0.5, **soon),
        endpoint(there, folder, "thin", body="thin", events=["call.started", "call.ended"]),
    ]


def _written(one: Endpoint) -> dict[str, Any]:
    """As TOML has it, which has no null."""
    return {name: value for name, value in msgspec.to_builtins(one).items() if value is not None}


async def service_at(bootstrap: str, prefix: str, folder: Path, endpoints: list[Endpoint]) -> tuple[Child, Topics]:
    """The streams service as a process, all but the last of its endpoints in its file; its topics are made."""
    file = folder / "gateway.toml"
    file.write_bytes(
        msgspec.toml.encode(
            {
                "kafka": {
                    "bootstrap": bootstrap,
                    "prefix": prefix.rstrip("."),
                    "shards": 2,
                    "partitions": 3,
                    "replication_factor": 1,
                    "session_timeout": 1.0,
                },
                "endpoints": [_written(one) for one in endpoints[:-1]],
                "delivery": {"allow_http": True, "allow_networks": ["127.0.0.0/8"]},
                "metrics": {"streams": f"127.0.0.1:{free_port()}"},
            }
        )
    )
    config = load(file)
    await ensure_topics(config.kafka)
    await declare_endpoint(config, endpoints[-1].id, endpoints[-1])
    command = [sys.executable, "-m", "gateway.cli", "streams", str(file)]
    return Child("streams", command, folder / "streams.log"), Topics(config.kafka.prefix)


@pytest.mark.kafka
@pytest.mark.timeout(700)
async def test_killed_thirty_times_it_loses_nothing_and_keeps_order(
    apache_kafka: Broker, prefix: str, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    async with receiver() as there:
        endpoints = declared(there, tmp_path)
        witness = Witness(fails=0.1, seed=SEED)
        there.behaviours |= {
            "/kept": witness,
            "/fails": now_and_then(0.25, refuse, SEED),
            "/hangs": now_and_then(0.15, hang, SEED),
        }
        service, topics = await service_at(apache_kafka.bootstrap, prefix, tmp_path, endpoints)
        producer = Producer(apache_kafka.bootstrap, topics.calls.name, f"{prefix}calls")
        async with service, asyncio.TaskGroup() as tasks:
            producing = tasks.create_task(producer.run())
            for _ in range(KILLS):
                # Such as were not there before, or it might never get beyond what it repeats after each kill.
                await more_taken(there, chance.randint(3, 20))
                # At any instant between two commits, or after several.
                await asyncio.sleep(chance.uniform(0, 3))
                await service.kill()
                service.spawn()
            producer.over.set()
            await producing
            await settle(producer, endpoints, there)
            assert service.pid is not None
            os.kill(service.pid, signal.SIGTERM)
            assert await service.wait(30.0) == 0, service.tail()
        judge(producer, endpoints, there, witness)
        assert await read_all(apache_kafka.bootstrap, topics.dead_letters.name) == []


def taken(there: Receiver) -> set[tuple[str, str]]:
    """The endpoint and the webhook-id of each delivery that was accepted."""
    return {(one.path[1:], one.id) for one in there.received if one.status < 300}


async def more_taken(there: Receiver, count: int) -> None:
    """Wait until so many more deliveries were accepted."""
    enough = len(taken(there)) + count
    await eventually(lambda: len(taken(there)) >= enough, 40.0, "new deliveries after a start", interval=0.25)


def expected(producer: Producer, endpoints: list[Endpoint]) -> set[tuple[str, str]]:
    """The endpoint and the webhook-id of each delivery that there must be."""
    index = EndpointIndex(endpoints)
    return {(one.id, f"{event.id}-{one.id}") for event in producer.events for one in index.matching(event)}


def missing(producer: Producer, endpoints: list[Endpoint], there: Receiver) -> list[tuple[str, str]]:
    """What was not accepted yet."""
    return sorted(expected(producer, endpoints) - taken(there))


async def settle(producer: Producer, endpoints: list[Endpoint], there: Receiver) -> None:
    """Wait until nothing is missing, or nothing came for long; what is still missing then, `judge` shows.

    The kills have left most deliveries behind several times over, and all of them are made.
    """
    fewest, since = sys.maxsize, time.monotonic()
    while fewest and time.monotonic() - since < 60.0:
        if (left := len(missing(producer, endpoints, there))) < fewest:
            fewest, since = left, time.monotonic()
        await asyncio.sleep(0.5)


def judge(producer: Producer, endpoints: list[Endpoint], there: Receiver, witness: Witness) -> None:
    """Print what came, and hold it against what must hold."""
    wanted = expected(producer, endpoints)
    came = Counter((one.path[1:], one.id) for one in there.received if one.status < 300)
    ids: dict[tuple[str, str], set[str]] = {}
    bodies: dict[str, set[bytes]] = {}
    for got in there.received:
        ids.setdefault((got.path[1:], msgspec.json.decode(got.body)["id"]), set()).add(got.id)
        bodies.setdefault(got.id, set()).add(got.body)
    lines = [
        f"{len(producer.events)} events, {KILLS} kills, {there.arrived} requests",
        f"{'endpoint':10} {'expected':>9} {'accepted':>9} {'again':>6} {'missing':>8}",
    ]
    for one in endpoints:
        mine = {pair for pair in wanted if pair[0] == one.id}
        accepted = sum(count for pair, count in came.items() if pair in mine)
        again = accepted - len(mine & came.keys())
        lines.append(f"{one.id:10} {len(mine):9} {accepted:9} {again:6} {len(mine - came.keys()):8}")
    lines += [
        f"deliveries under two ids: {sum(len(found) > 1 for found in ids.values())}",
        f"ids with two bodies: {sum(len(found) > 1 for found in bodies.values())}",
        f"attempts before a call's earlier events were taken: {len(witness.early)}",
    ]
    lost = missing(producer, endpoints, there)
    lines.append(f"missing: {lost[:10]}")
    sys.stdout.write("\n" + "\n".join(lines) + "\n")
    assert lost == []
    assert set(came) == wanted
    assert all(len(found) == 1 for found in ids.values())
    assert all(len(found) == 1 for found in bodies.values())
    assert witness.early == []
    # Nothing is shown if nothing was cut off.
    assert sum(came.values()) > len(came)
