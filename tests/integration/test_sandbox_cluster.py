"""`sandbox cluster`: nodes with a real Redis behind a real nginx."""

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
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest
from click.testing import CliRunner

from gateway.ringcloud import Http, RingCloud
from sandbox.cluster import stage
from sandbox.main import main
from tests.support.sandbox_nodes import (
    KEY_OPTIONS,
    KEYS,
    PASSWORD,
    Client,
    Running,
    client,
    descendants,
    is_gone,
    need,
    start_cluster,
)
from tests.support.waiting import eventually
from tests.unit.sandbox.conftest import md5


@pytest.fixture(scope="module", autouse=True)
def _redis_and_nginx() -> None:
    need("redis-server", "nginx")


@pytest.fixture(scope="module")
def cluster(_redis_and_nginx: None) -> Iterator[Running]:
    """A cluster of two nodes for tests that leave no trace in each other: each has keys and users of its own."""
    running = start_cluster("--nodes", "2", *KEY_OPTIONS)
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


async def test_exactly_one_of_many_at_once_passes_over_all_nodes(fronts: list[Client]) -> None:
    passed: dict[tuple[str, str], int] = {}
    for key in KEYS[:4]:
        for number in range(400, 410):
            path = f"/v1/users/{number}"
            answers = await asyncio.gather(*(front.get(path, key=key) for front in fronts * 7))
            assert {answer.status for answer in answers} == {200, 429}, (key, path)
            passed[key, path] = sum(answer.status == 200 for answer in answers)
    lanes = {(lane["key"], lane["path"]): lane for lane in (await fronts[0].admin("stats"))["lanes"]}
    for place, count in passed.items():
        lane = lanes[place]
        assert lane["accepted"] == count
        # One more for each interval that a machine with other things to do took over them.
        assert (count - 1) * lane["limit_ms"] <= lane["last_at_ms"] - lane["first_at_ms"], place


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


async def test_our_own_client_over_https(cluster: Running) -> None:
    async with (
        Http(ssl_context=cluster.trust) as http,
        RingCloud(KEYS[9], PASSWORD, base_url=cluster.url, http=http) as api,
    ):
        assert {user.user for user in await api.users()} >= {"400", "409"}
        await api.originate(user="407", num="74950005555")
        assert ("407", "74950005555") in {(row.src, row.dst) for row in await api.active_calls()}
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
