"""Nodes of the sandbox that share a real Redis: one state, one order, one set of limits."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from gateway.dev.brokers.process import free_port
from sandbox.routes import Router
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings, TrafficProfile
from sandbox.shared import RedisState
from sandbox.state import Order, StateError
from tests.support.sandbox_nodes import (
    KEY_OPTIONS,
    KEYS,
    PASSWORD,
    REDIS_PASSWORD,
    Client,
    RedisServer,
    client,
    need,
    redis_server,
)
from tests.support.waiting import eventually
from tests.unit.sandbox.conftest import md5

SETTINGS: dict[str, Any] = {"keys": [KeySpec(key, PASSWORD) for key in KEYS]}
SHORT = TrafficProfile(
    ring_ms=(0, 300),
    talk_ms=(0, 600),
    talk_mean_ms=200,
    no_answer_ms=(100, 900),
    short_ms=(50, 400),
    instant_ms=(0, 50),
    refused_ms=(100, 300),
    originate_a_ms=(50, 200),
)


@pytest.fixture(scope="module", autouse=True)
def _redis() -> None:
    need("redis-server")


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


StartNode = Callable[..., Coroutine[Any, Any, Client]]


@pytest.fixture
async def node() -> AsyncIterator[StartNode]:
    """Start a node of a Redis in this process; as many as a test likes."""
    async with AsyncExitStack() as stack:

        async def start(url: str, **given: Any) -> Client:
            settings = SandboxSettings(**{**SETTINGS, **given})
            state = RedisState(url, settings, Router(settings.complete_urls))
            server = await stack.enter_async_context(SandboxServer(settings, state=state))
            return await stack.enter_async_context(client(server.url))

        yield start


async def test_a_refused_request_uses_no_slot(node: StartNode, redis: RedisServer) -> None:
    one, two = await node(redis.url), await node(redis.url)
    assert (await one.get("/v1/users", sign="0" * 32)).failure == 403
    assert (await two.get("/v1/users")).status == 200
    assert (await one.get("/v1/users")).failure == 429


async def test_nodes_write_the_same_ledger(node: StartNode, redis: RedisServer) -> None:
    given = {"traffic": SHORT, "calls_per_minute": 6_000}
    one, two = await node(redis.url, **given), await node(redis.url, **given)
    for number, key in enumerate(KEYS):
        front = (one, two)[number % 2]
        assert await front.put("phones", {"account": 1000, "user": f"40{number % 10}", "registered": number % 3 > 0})
        assert (await front.originate(f"40{(number + 1) % 10}", "402", key=key)).status == 200
        await front.put("late", {"account": 1000, "shortest_ms": 0, "longest_ms": number})
        await two.get("/v1/calls/active", key=key)

    body = {"account": 1000, "src": "405", "dst": "406", "direction": "internal", "ring_ms": 10}
    names = await asyncio.gather(*((one, two)[number % 2].post("calls", body) for number in range(200)))
    assert len({name for made in names for name in made}) == 200
    assert (await one.put("traffic", {"calls_per_minute": 0})).status == 200
    await eventually(lambda: all_ended(two))
    ledger = await one.ledger()
    assert len(ledger.splitlines()) > 212
    assert await two.ledger() == ledger
    # One that joins late makes all of it again.
    assert await (await node(redis.url, **given)).ledger() == ledger


async def all_ended(front: Client) -> bool:
    """No call is live."""
    return '"ended_at":null' not in await front.ledger()


async def test_faults_are_as_many_over_all_nodes_as_were_ordered(node: StartNode, redis: RedisServer) -> None:
    one, two = await node(redis.url), await node(redis.url)
    await one.put("faults", {"account": 1000, "url": "active", "kind": "error500", "count": 5})
    answers = await asyncio.gather(
        *((one, two)[number % 2].get("/v1/calls/active", key=key) for number, key in enumerate(KEYS))
    )
    assert sorted(answer.status for answer in answers) == [200] * 7 + [500] * 5
    assert await one.admin("faults") == await two.admin("faults") == []


async def test_rules_draw_as_those_of_one_process_do(node: StartNode, redis: RedisServer) -> None:
    nodes = [await node(redis.url), await node(redis.url)]
    async with SandboxServer(SandboxSettings(**SETTINGS)) as server, client(server.url) as alone:
        for front in (nodes[0], alone):
            await front.put("fault-rules", [{"account": 1000, "kind": "error500", "probability": 0.5}])

        async def statuses(fronts: list[Client]) -> list[int]:
            return [
                (await fronts[(number + user) % len(fronts)].get(f"/v1/users/40{user}", key=key)).status
                for number, key in enumerate(KEYS[:4])
                for user in range(10)
            ]

        drawn = await statuses(nodes)
        assert set(drawn) == {200, 500}
        assert drawn == await statuses([alone])


async def test_stats_are_those_of_the_whole_cluster(node: StartNode, redis: RedisServer) -> None:
    one, two = await node(redis.url), await node(redis.url)
    statuses = [(await front.get("/v1/calls/active")).status for front in (one, two, one)]
    assert statuses == [200, 429, 429]

    async def counted() -> bool:
        report = await two.admin("stats")
        requests = [(row["path"], row["status"], row["count"]) for row in report["requests"]]
        return requests == [("/v1/calls/active", 200, 1), ("/v1/calls/active", 429, 2)] and report["rate_limited"] == 2

    await eventually(counted)
    (lane,) = (await one.admin("stats"))["lanes"]
    assert (lane["key"], lane["method"], lane["path"], lane["limit_ms"]) == (KEYS[0], "GET", "/v1/calls/active", 5_000)
    assert (lane["accepted"], lane["rejected"]) == (1, 2)
    assert 0 < lane["min_gap_ms"] <= lane["last_at_ms"] - lane["first_at_ms"] < 5_000


async def test_lanes_do_not_gather_in_redis(node: StartNode, redis: RedisServer) -> None:
    one = await node(redis.url)
    for user in range(5):
        await one.get(f"/v1/users/nobody-{user}")

    async def keys() -> list[bytes]:
        from redis.asyncio import Redis

        async with Redis.from_url(redis.url) as connection:
            return await connection.keys("ringcloud-sandbox:lane:*")

    assert await keys()

    async def forgotten() -> bool:
        return not await keys()

    await eventually(forgotten)


async def test_a_node_that_was_killed_catches_up(redis: RedisServer, node: StartNode) -> None:
    one = await node(redis.url)

    async def process() -> tuple[asyncio.subprocess.Process, str]:
        command = [sys.executable, "-m", "sandbox", *KEY_OPTIONS, f"--state={redis.url}"]
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        return child, msgspec.json.decode(await asyncio.wait_for(child.stdout.readline(), 20))["url"]

    first, url = await process()
    async with client(url) as two:
        assert (await two.put("phones", {"account": 1000, "user": "400", "habit": "refuses"})).status == 200
        assert (await two.originate("400", "74950001122")).status == 200
    first.kill()
    await first.wait()
    # More than a node takes from the log at once.
    for number in range(1_200):
        body = {"account": 1000, "src": f"{number}", "dst": "400", "direction": "incoming", "ring_ms": 1}
        await one.post("calls", body)
    new = await one.post("keys", {"account": 1000})
    second, url = await process()
    try:
        async with client(url) as two:
            assert (await two.get("/v1/users", key=new["key"], password=new["password"])).status == 200
            await eventually(lambda: all_ended(one))
            ledger = await two.ledger()
            assert ledger == await one.ledger()
            assert len(ledger.splitlines()) == 1_201
            assert (await two.admin("phones"))["1000"]["400"]["habit"] == "refuses"
    finally:
        second.terminate()
        assert await second.wait() == 0


async def is_away(front: Client) -> bool:
    """The node says that it cannot tell."""
    health = await front.request("GET", "/_sandbox/health", key=None)
    return health.status == 500 and health.json == {"error": "the shared state is out of reach"}


async def is_back(front: Client) -> bool:
    """The node answers again."""
    return (await front.request("GET", "/_sandbox/health", key=None)).status == 200


async def test_while_redis_is_away_nothing_is_answered_and_afterwards_all_is_there(
    node: StartNode, tmp_path: Path
) -> None:
    async with redis_server(tmp_path, keep=True) as redis:
        one, two = await node(redis.url), await node(redis.url)
        assert (await one.originate("400", "74950001122")).status == 200
        ledger = await two.ledger()
        redis.stop()
        with capture_logs() as told:
            assert await is_away(one)
            for front in (one, two):
                assert (await front.get("/v1/users", key=KEYS[1])).failure == 500
                assert (await front.originate("401", "74950001122", key=KEYS[1])).failure == 500
                assert (await front.request("GET", "/_sandbox/stats", key=None)).status == 500
                assert (await front.put("traffic", {"calls_per_minute": 6_000})).status == 500
            await redis.start()
            for front in (one, two):
                await eventually(lambda front=front: is_back(front))
                assert (await front.admin("traffic")) == {"calls_per_minute": 0}
            assert (await one.get("/v1/users", key=KEYS[1])).status == 200
            assert (await two.get("/v1/users", key=KEYS[1])).failure == 429
            assert len((await two.ledger()).splitlines()) == len(ledger.splitlines()) == 1
        assert "out of reach" in told[0]["event"]
        for secret in (REDIS_PASSWORD, md5(KEYS[1] + PASSWORD)):
            assert secret not in str(told)


async def test_a_redis_that_hangs_is_away_as_well(node: StartNode, redis: RedisServer) -> None:
    one = await node(redis.url)
    redis.signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(15):
            answers = await asyncio.gather(*(one.get("/v1/users", key=key) for key in KEYS * 5))
        assert {answer.failure for answer in answers} == {500}
    finally:
        redis.signal(signal.SIGCONT)
    await eventually(lambda: is_back(one))


async def test_a_redis_that_forgot_everything_is_a_new_beginning_for_all_nodes(
    node: StartNode, redis: RedisServer
) -> None:
    one, two = await node(redis.url), await node(redis.url)
    assert (await one.originate("400", "74950001122")).status == 200
    name = (await two.change("/v1/users/create", password="p", num="450", mail="a@b.example")).data
    redis.stop()
    assert await is_away(two)
    await redis.start()
    for front in (two, one):
        await eventually(lambda front=front: is_back(front))
        assert await front.ledger() == ""
    assert (await one.get(f"/v1/users/{name}")).failure == 400
    assert (await two.originate("401", "74950001122")).status == 200
    assert (await one.originate("401", "74950001122")).failure == 429
    assert len((await one.ledger()).splitlines()) == 1


async def test_nodes_of_other_settings_are_refused_and_told_which(node: StartNode, redis: RedisServer) -> None:
    await node(redis.url, seed=1)
    with pytest.raises(StateError, match=r"have other settings: profile, seed$") as refused:
        await node(redis.url, seed=2, profile="live")
    assert REDIS_PASSWORD not in str(refused.value)
    with pytest.raises(StateError, match=r"other settings: keys$"):
        await node(redis.url, keys=[KeySpec(key, "another") for key in KEYS])


def sandbox(*options: str, before: str = "") -> tuple[int, str]:
    """Run the command to its end, after some Python; exit status and what it says."""
    code = f"import sys; {before or 'pass'}; from sandbox.main import main; main()"
    keys = ("--key", "1000_demo", "--password", "demo")
    ended = subprocess.run([sys.executable, "-c", code, *keys, *options], capture_output=True, timeout=30, check=False)
    assert ended.stdout == b""
    return ended.returncode, ended.stderr.decode()


def test_a_node_says_why_it_does_not_start() -> None:
    url = f"redis://:{REDIS_PASSWORD}@127.0.0.1:{free_port()}/3"
    status, said = sandbox("--state", url)
    assert status == 1
    assert said.splitlines()[-1] == f"Error: no Redis answers at {url.replace(f':{REDIS_PASSWORD}@', '')}"
    assert REDIS_PASSWORD not in said
    status, said = sandbox("--state", url, before="sys.modules['redis'] = None")
    assert (status, said) == (1, "Error: --state needs the package redis: install ringcloud-gateway[cluster]\n")
    assert sandbox("--state", "http://127.0.0.1")[0] == 2
    assert sandbox("--state", url, "--virtual")[0] == 2


async def test_a_reply_that_is_lost_is_nobody_s_answer_and_what_was_asked_is_done_once(
    node: StartNode, redis: RedisServer
) -> None:
    to_lose = 0
    carried: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal to_lose
        with contextlib.closing(writer):
            while data := await reader.read(65_536):
                if to_lose and writer.get_extra_info("sockname")[1] == port:
                    to_lose -= 1
                    return
                writer.write(data)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        carried.append(writer)
        there, here = await asyncio.open_connection("127.0.0.1", redis.port)
        await asyncio.gather(relay(reader, here), relay(there, writer), return_exceptions=True)

    between = await asyncio.start_server(connected, "127.0.0.1", 0)
    port = between.sockets[0].getsockname()[1]
    async with between:
        one, two = await node(redis.url.replace(str(redis.port), str(port))), await node(redis.url)
        to_lose = 1
        assert (await one.originate("400", "74950001122")).failure == 500
        for front in (two, one):
            assert len((await front.ledger()).splitlines()) == 1
            assert (await front.originate("400", "74950001122")).failure == 429
        for writer in carried:
            # From Python 3.12 on a server waits for these.
            writer.close()


async def test_a_fault_that_is_ordered_while_a_reply_is_on_its_way_is_used_up_on_all_nodes(
    node: StartNode, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    two = await node(redis.url)
    settings = SandboxSettings(**SETTINGS)
    state = RedisState(redis.url, settings, Router(settings.complete_urls))
    async with SandboxServer(settings, state=state) as server, client(server.url) as one:
        ask, overtaken = state._store.step, False

        async def overtake(cluster: bytes, known: int, order: Order, entry: bytes) -> Any:
            nonlocal overtaken
            reply = await ask(cluster, known, order, entry)
            if order.lane is not None and not overtaken:
                overtaken = True
                await two.put("faults", {"account": 1000, "url": "users", "kind": "error500", "count": 2})
                assert len(await one.admin("faults")) == 1
            return reply

        monkeypatch.setattr(state._store, "step", overtake)
        assert (await one.get("/v1/users")).failure == 500
        assert [(await front.admin("faults"))[0]["count"] for front in (one, two)] == [1, 1]
        assert (await two.get("/v1/users")).failure == 429
