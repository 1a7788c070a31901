"""The sandbox as several nodes: on a real Redis, and behind a real nginx."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from click.testing import CliRunner

from gateway.dev.brokers.process import free_port
from gateway.ringcloud import Http, RingCloud
from sandbox.clock import RealClock
from sandbox.cluster import stage
from sandbox.main import main
from sandbox.routes import Router
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, SandboxSettings, TrafficProfile
from sandbox.shared import RedisState
from sandbox.state import StateError
from tests.conftest import IN_CI
from tests.support.waiting import eventually
from tests.unit.sandbox.conftest import Api, md5

KEYS = [f"1000_k{number}" for number in range(12)]
PASSWORD = "demo"
REDIS_PASSWORD = "only-the-nodes-know"
SETTINGS: dict[str, Any] = {"keys": [KeySpec(key, PASSWORD) for key in KEYS]}
SHORT = TrafficProfile(ring_ms=(0, 300), talk_ms=(0, 600), talk_mean_ms=200, no_answer_ms=(100, 900))


@pytest.fixture(scope="module", autouse=True)
def _redis_and_nginx() -> None:
    missing = [name for name in ("redis-server", "nginx") if shutil.which(name, path=stage._PATH) is None]
    if missing and IN_CI:
        pytest.fail(f"needed with CI=true: {', '.join(missing)}", pytrace=False)
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


class RedisServer:
    """A Redis on loopback that can be stopped, paused and started again; with `keep`, it remembers."""

    def __init__(self, directory: Path, *, keep: bool = False) -> None:
        self.port = free_port()
        self.url = f"redis://:{REDIS_PASSWORD}@127.0.0.1:{self.port}/3"
        self._directory = directory
        self._keep = keep
        self._process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self._directory, "requirepass": REDIS_PASSWORD}
        settings |= {"save": "", "appendonly": "yes" if self._keep else "no", "appendfsync": "always"}
        command = ["redis-server", *(str(word) for name, value in settings.items() for word in (f"--{name}", value))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        async def listens() -> bool:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
                writer.close()
                await writer.wait_closed()
                return True
            return False

        await eventually(listens)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@asynccontextmanager
async def redis_server(directory: Path, *, keep: bool = False) -> AsyncIterator[RedisServer]:
    server = RedisServer(directory, keep=keep)
    await server.start()
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
async def redis(tmp_path: Path) -> AsyncIterator[RedisServer]:
    async with redis_server(tmp_path) as server:
        yield server


class Front(msgspec.Struct):
    """Where a client asks; stands where a test of one process has its server."""

    url: str


class Client(Api):
    """Signed requests with the first of the keys, unless told another."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        super().__init__(Front(url), RealClock(), session)

    async def request(self, method: str, path: str, *, key: str | None = KEYS[0], **given: Any) -> Any:
        return await super().request(method, path, key=key, **given)

    async def post(self, path: str, body: Any = None) -> Any:
        answer = await self.request("POST", f"/_sandbox/{path}", key=None, body=body)
        assert answer.status == 200, answer.text
        return answer.json

    async def ledger(self) -> str:
        return (await self.request("GET", "/_sandbox/ledger", key=None, format="jsonl")).text


@asynccontextmanager
async def client(url: str, trust: ssl.SSLContext | None = None) -> AsyncIterator[Client]:
    connector = aiohttp.TCPConnector(limit=0, **({} if trust is None else {"ssl": trust}))
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20), connector=connector) as session:
        # aiohttp repeats a GET by itself when the connection breaks, which would hide what the sandbox did.
        session._retry_connection = False
        yield Client(url, session)


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


class Running(msgspec.Struct):
    """A cluster as a process, and where its line says that it serves."""

    process: subprocess.Popen[bytes]
    url: str
    ca: str
    nodes: list[str]
    redis: str

    @property
    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca)

    @property
    def directory(self) -> Path:
        return Path(self.ca).parent

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(20)


def start_cluster(*options: str) -> Running:
    command = [sys.executable, "-m", "sandbox", "cluster", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.communicate()[1].decode())
    return Running(process, **msgspec.json.decode(line))


def descendants(pid: int) -> set[int]:
    """The processes that this one started, and those that they did."""
    children = {int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return children.union(*(descendants(child) for child in children))


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture(scope="module")
def cluster(_redis_and_nginx: None) -> Iterator[Running]:
    """A cluster of two nodes for tests that leave no trace in each other: each has keys and users of its own."""
    options = [f"--{name}={value}" for key in KEYS for name, value in (("key", key), ("password", PASSWORD))]
    running = start_cluster("--nodes", "2", *options)
    try:
        yield running
    finally:
        running.stop()
        running.process.communicate()


@pytest.fixture
async def fronts(cluster: Running) -> AsyncIterator[list[Client]]:
    """A client of each node, and last one of nginx."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(client(url)) for url in cluster.nodes]
        yield [*clients, await stack.enter_async_context(client(cluster.url, cluster.trust))]


# Limits -------------------------------------------------------------------------------------------------------------


async def test_exactly_one_of_many_at_once_passes_over_all_nodes(fronts: list[Client]) -> None:
    for key in KEYS[:4]:
        for number in range(400, 410):
            path = f"/v1/users/{number}"
            answers = await asyncio.gather(*(front.get(path, key=key) for front in fronts * 7))
            assert sorted(answer.status for answer in answers) == [200, *[429] * 20], (key, path)


async def test_exactly_one_of_many_changes_at_once_is_made(fronts: list[Client]) -> None:
    key, before = KEYS[4], (await fronts[0].ledger()).count("74950007777")
    answers = await asyncio.gather(*(front.originate("405", "74950007777", key=key) for front in fronts * 7))
    assert sorted(answer.status for answer in answers) == [200, *[429] * 20]
    assert [(await front.ledger()).count('"74950007777"') for front in fronts] == [before + 2] * 3


async def test_the_slot_comes_back_after_its_interval_and_not_before(fronts: list[Client]) -> None:
    async def once() -> int:
        answers = await asyncio.gather(*(front.get("/v1/users", key=KEYS[5]) for front in fronts))
        return sum(answer.status == 200 for answer in answers)

    assert await once() == 1
    assert await eventually(once, interval=0.02) == 1
    (lane,) = [lane for lane in (await fronts[2].admin("stats"))["lanes"] if lane["key"] == KEYS[5]]
    assert lane["accepted"] == 2
    # Refusals in between did not move it, and the time that passed is that of the limit.
    assert 1_000 <= lane["last_at_ms"] - lane["first_at_ms"] < 10_000
    assert lane["min_gap_ms"] < 1_000


async def test_a_refused_request_uses_no_slot(node: StartNode, redis: RedisServer) -> None:
    one, two = await node(redis.url), await node(redis.url)
    assert (await one.get("/v1/users", sign="0" * 32)).failure == 403
    assert (await two.get("/v1/users")).status == 200
    assert (await one.get("/v1/users")).failure == 429


# State --------------------------------------------------------------------------------------------------------------


async def test_what_is_done_through_one_node_is_seen_through_the_others_at_once(fronts: list[Client]) -> None:
    one, two, balanced = fronts
    name = (await one.change("/v1/users/create", {"key": KEYS[6]}, password="p1", num="460", mail="a@b.example")).data
    assert (await two.get(f"/v1/users/{name}", key=KEYS[6])).data["num"] == "460"
    assert (await two.change(f"/v1/users/{name}/update_password", {"key": KEYS[6]}, password="p2")).status == 200
    assert (await one.get(f"/v1/users/{name}", key=KEYS[7])).data["password"] == "p2"

    assert (await balanced.originate("406", "74950006666", key=KEYS[6])).status == 200
    for front, key in zip(fronts, KEYS[6:9], strict=True):
        rows = (await front.get("/v1/calls/active", key=key)).data
        assert [row["src"] for row in rows if row["dst"] == "74950006666"] == ["406"]

    new = await one.post("keys", {"account": 1000, "users": "RO"})
    signed = {"key": new["key"], "password": new["password"]}
    assert (await two.get("/v1/users", **signed)).status == 200
    assert (await one.get("/v1/users", **signed)).failure == 429
    assert (await two.change("/v1/users/406/voice_mail_box_on", signed)).failure == 403
    again = await balanced.post(f"keys/{new['key']}/password")
    assert (await one.get("/v1/users/401", **signed)).failure == 403
    signed["password"] = again["password"]
    assert (await one.get("/v1/users/401", **signed)).status == 200
    revoked = await two.request("DELETE", f"/_sandbox/keys/{new['key']}", key=None)
    assert new["key"] not in {key["key"] for key in revoked.json}
    assert [(await front.get("/v1/users/402", **signed)).failure for front in fronts] == [403] * 3


async def test_nodes_write_the_same_ledger(node: StartNode, redis: RedisServer) -> None:
    given = {"traffic": SHORT, "calls_per_minute": 6_000}
    one, two = await node(redis.url, **given), await node(redis.url, **given)
    for number, key in enumerate(KEYS):
        front = (one, two)[number % 2]
        assert await front.put("phones", {"account": 1000, "user": f"40{number % 10}", "registered": number % 3 > 0})
        assert (await front.originate(f"40{(number + 1) % 10}", "402", key=key)).status == 200
        await front.put("late", {"account": 1000, "shortest_ms": 0, "longest_ms": number})
        await two.get("/v1/calls/active", key=key)

    assert (await one.put("traffic", {"calls_per_minute": 0})).status == 200
    await eventually(lambda: all_ended(two))
    ledger = await one.ledger()
    assert len(ledger.splitlines()) > 12
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


# Failures -----------------------------------------------------------------------------------------------------------


async def test_a_node_that_was_killed_catches_up(redis: RedisServer, node: StartNode) -> None:
    one = await node(redis.url)
    options = [f"--{name}={value}" for key in KEYS for name, value in (("key", key), ("password", PASSWORD))]

    async def process() -> tuple[asyncio.subprocess.Process, str]:
        command = [sys.executable, "-m", "sandbox", *options, f"--state={redis.url}"]
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
    node: StartNode, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with redis_server(tmp_path, keep=True) as redis:
        one, two = await node(redis.url), await node(redis.url)
        assert (await one.originate("400", "74950001122")).status == 200
        ledger = await two.ledger()
        redis.stop()
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
        told = capsys.readouterr()
        assert "out of reach" in told.out + told.err
        for secret in (REDIS_PASSWORD, md5(KEYS[1] + PASSWORD)):
            assert secret not in told.out + told.err


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


# nginx --------------------------------------------------------------------------------------------------------------


async def test_our_own_client_over_https(cluster: Running) -> None:
    async with RingCloud(KEYS[9], PASSWORD, base_url=cluster.url, http=Http(ssl_context=cluster.trust)) as api:
        assert {user.user for user in await api.users()} >= {"400", "409"}
        await api.originate(user="407", num="74950005555")
        assert ("407", "74950005555") in {(row.src, row.dst) for row in await api.active()}
    async with client(cluster.url) as distrusting:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await distrusting.get("/v1/users")


async def test_both_nodes_serve_and_what_is_encoded_stays_so(cluster: Running, fronts: list[Client]) -> None:
    one, _, balanced = fronts
    await one.post(
        "calls",
        {"account": 1000, "src": "408", "dst": "409", "direction": "internal", "ring_ms": 60_000},
    )
    (name,) = [name for name in (await one.get("/v1/calls/channels", key=KEYS[10])).data if name.startswith("SIP/408-")]
    path = f"/v1/calls/channels/{name.replace('/', '%2F')}"
    assert (await balanced.get(path, key=KEYS[10])).data["Channel"] == name
    for _ in range(4):
        await balanced.get("/v1/nothing", key=KEYS[10])
    log = (cluster.directory / "nginx-access.log").read_text()
    assert all(url.removeprefix("http://") in log for url in cluster.nodes)


async def test_a_request_is_sent_to_one_node_once(fronts: list[Client]) -> None:
    one, _, balanced = fronts
    before = await one.ledger()
    await one.put("faults", {"account": 1000, "url": "originate", "kind": "drop", "count": 4})
    for waiting, key in ((3, KEYS[0]), (2, KEYS[1])):
        assert (await balanced.originate("400", "74950004444", key=key)).status == 502
        assert [order["count"] for order in await one.admin("faults")] == [waiting]
    await one.put("faults", {"account": 1000, "url": "originate", "kind": "drop", "count": 0})
    assert "74950004444" not in (await one.ledger()).removeprefix(before)
    await one.put("faults", {"account": 1000, "url": "complete", "kind": "drop", "count": 2})
    assert (await balanced.get("/v1/calls/complite", key=KEYS[0])).status == 502
    assert [order["count"] for order in await one.admin("faults")] == [1]
    await one.put("faults", {"account": 1000, "url": "complete", "kind": "drop", "count": 0})


@pytest.mark.parametrize(("version", "served"), [("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)])
async def test_tls(cluster: Running, version: str, served: bool) -> None:
    trust = cluster.trust
    with pytest.warns(DeprecationWarning, match="TLSv1_1") if not served else contextlib.nullcontext():
        trust.minimum_version = trust.maximum_version = ssl.TLSVersion[version]
    # A library's own level would refuse before nginx could.
    trust.set_ciphers("DEFAULT@SECLEVEL=0")
    async with client(cluster.url, trust) as balanced:
        if served:
            assert (await balanced.get("/v1/nothing")).failure == 404
        else:
            with pytest.raises(aiohttp.ClientConnectorError):
                await balanced.get("/v1/nothing")


async def test_no_log_holds_a_secret(cluster: Running, fronts: list[Client]) -> None:
    balanced = fronts[2]
    key, sign = KEYS[11], md5(KEYS[11] + PASSWORD)
    await balanced.get("/v1/users", key=key)
    await balanced.get("/v1/users", key=key, sign="f" * 32)
    await balanced.change("/v1/users/409/update_password", {"key": key}, password="never-written")
    await fronts[0].put("faults", {"account": 1000, "url": "channels", "kind": "drop"})
    assert (await balanced.get("/v1/calls/channels", key=key)).status == 502
    assert (await balanced.request("GET", "/" + "x" * 40_000, key=key)).status == 414
    host, port = cluster.url.removeprefix("https://").split(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=cluster.trust)
    writer.write(f"GET /v1/users?api_key={key}&hash={sign} HTTP/9.9\r\n\r\n".encode())
    await writer.drain()
    writer.close()
    with contextlib.suppress(ssl.SSLError):
        await writer.wait_closed()
    logs = {path.name: path.read_text() for path in cluster.directory.glob("*.log")}
    assert set(logs) == {"nginx-access.log", "nginx-error.log", "redis.log", "node-1.log", "node-2.log"}
    assert '"GET /v1/users" 200' in logs["nginx-access.log"]
    for secret in (key, sign, "f" * 32, "never-written", "api_key", PASSWORD):
        assert [name for name, text in logs.items() if secret in text] == [], secret


def test_nginx_finds_its_configuration_right(cluster: Running) -> None:
    with tempfile.TemporaryDirectory() as other:
        shutil.copytree(cluster.directory, other, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*.sock"))
        conf = Path(other, "nginx.conf")
        conf.write_text(conf.read_text().replace(str(cluster.directory), other))
        nginx = shutil.which("nginx", path=stage._PATH)
        command = [nginx, "-t", "-e", f"{other}/nginx-error.log", "-p", other, "-c", str(conf)]
        tested = subprocess.run(command, capture_output=True, check=False, timeout=20)
    assert tested.returncode == 0, tested.stderr.decode()
    assert b"[warn]" not in tested.stderr


# The process --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_cluster_starts_serves_and_ends_without_a_trace(number: signal.Signals) -> None:
    running = start_cluster("--nodes", "3")
    parts = descendants(running.process.pid)
    assert len(running.nodes) == 3
    # Redis, three nodes and nginx.
    assert len(parts) == 5
    async with client(running.url, running.trust) as balanced:
        assert (await balanced.get("/v1/users", key="1000_demo")).status == 200
    assert running.stop(number) == 0
    assert running.process.communicate() == (b"", b"")
    assert all(is_gone(pid) for pid in parts)
    assert not running.directory.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can")
async def test_nothing_outlives_a_cluster_that_is_killed() -> None:
    running = start_cluster("--nodes", "1")
    parts = descendants(running.process.pid)
    running.stop(signal.SIGKILL)
    running.process.communicate()
    await eventually(lambda: all(is_gone(pid) for pid in parts))
    shutil.rmtree(running.directory)


async def test_a_cluster_ends_when_a_part_of_it_does() -> None:
    running = start_cluster("--nodes", "1")
    nginx = max(descendants(running.process.pid))
    os.kill(nginx, signal.SIGKILL)
    assert running.process.wait(20) == 1
    assert running.process.communicate()[1].startswith(b"Error: nginx ended; the end of its log:")
    assert not running.directory.exists()


@pytest.mark.parametrize(("command", "package"), [("redis-server", "redis-server"), ("nginx", "nginx-light")])
def test_what_is_missing_is_named(command: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in {"redis-server", "nginx"} - {command}:
        (tmp_path / name).symlink_to(shutil.which(name, path=stage._PATH))
    monkeypatch.setattr(stage, "_PATH", str(tmp_path))
    result = CliRunner().invoke(main, ["cluster"])
    assert result.exit_code == 1
    assert result.output == f"Error: {command} is not installed: it is in the Debian package {package}\n"


@pytest.mark.parametrize(
    "options", [["--nodes", "0"], ["--key", "1000_demo"], ["--key", "demo", "--password", "x"], ["--time-zone", "Mars"]]
)
def test_wrong_options_are_a_usage_error(options: list[str]) -> None:
    assert CliRunner().invoke(main, ["cluster", *options]).exit_code == 2


def test_a_port_in_use_is_told(cluster: Running) -> None:
    port = cluster.url.rpartition(":")[2]
    result = CliRunner().invoke(main, ["cluster", "--nodes", "1", "--port", port])
    assert result.exit_code == 1
    assert result.output.startswith("Error: nginx ended")
    assert "Address already in use" in result.output
