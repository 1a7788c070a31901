"""How brokers are started, watched and ended."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.dev.brokers import ApacheKafka, Broker, BrokerError, EmbeddedBroker, apache_kafka_available, free_port
from gateway.dev.brokers.apache import _jars
from tests.integration.conftest import need_apache_kafka
from tests.support.processes import listening_addresses, session_of
from tests.support.waiting import eventually

# 127.0.0.1 as the kernel writes it, and the same mapped into IPv6.
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F"}

# A parent that starts a broker, says where, and waits to be killed.
PARENT = """
import asyncio, pathlib, sys
from gateway.dev.brokers import EmbeddedBroker

async def main():
    async with EmbeddedBroker(pathlib.Path(sys.argv[1])) as broker:
        print(broker.bootstrap, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Broker]:
    """Makes a broker, not started."""
    if request.param == "kafka":
        need_apache_kafka()
        return lambda: ApacheKafka(tmp_path)
    return lambda: EmbeddedBroker(tmp_path)


def accepts(bootstrap: str) -> bool:
    host, _, port = bootstrap.rpartition(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_a_broker_listens_on_loopback_only(broker: Broker) -> None:
    assert broker.pid is not None
    assert listening_addresses(broker.pid) <= LOOPBACK


def test_a_ctrl_c_in_the_terminal_does_not_reach_a_broker(broker: Broker) -> None:
    assert broker.pid is not None
    assert session_of(broker.pid) != session_of(0)


async def test_a_broker_that_dies_at_start_is_an_error_with_the_end_of_its_log(make: Callable[[], Broker]) -> None:
    broker = make()
    with socket.socket() as occupant:
        host, _, port = broker.bootstrap.rpartition(":")
        occupant.bind((host, int(port)))
        occupant.listen()
        with pytest.raises(BrokerError, match=r"(?is)ended at start with exit code \d+.*already in use"):
            await broker.start()
    assert broker.pid is None


async def test_a_broker_that_is_not_ready_in_time_is_an_error(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        with pytest.raises(BrokerError, match=r"was not ready within 0\.2 s"):
            await broker.ready(timeout=0.2)
        os.kill(broker.pid, signal.SIGCONT)


async def test_a_broker_that_does_not_listen_to_sigterm_is_killed(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path) as broker:
        assert broker.pid is not None
        os.kill(broker.pid, signal.SIGSTOP)
        async with asyncio.timeout(8):
            await broker.stop()
        assert not accepts(broker.bootstrap)


async def test_a_broker_whose_start_is_cancelled_is_ended(make: Callable[[], Broker]) -> None:
    broker = make()
    starting = asyncio.create_task(broker.start())
    await eventually(lambda: broker.pid is not None, timeout=60, what="the broker's process is there")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert broker.pid is None


async def test_what_is_awaited_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    async with EmbeddedBroker(tmp_path, progress=told.append):
        assert told == ["starting the embedded broker…"]


async def test_a_broker_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    async with asyncio.timeout(30):
        bootstrap = (await parent.stdout.readline()).decode().strip()
    assert accepts(bootstrap)
    parent.kill()
    await parent.communicate()
    await eventually(lambda: not accepts(bootstrap), what="the broker is gone too")


@pytest.mark.kafka
async def test_the_jars_are_fetched_once_when_two_ask_at_the_same_time(tmp_path: Path) -> None:
    need_apache_kafka()
    told: list[str] = []
    one, other = await asyncio.gather(_jars(tmp_path, told.append), _jars(tmp_path, told.append))
    assert one == other
    assert list(one.glob("kafka_2.13-4.*.jar"))
    assert {path.relative_to(tmp_path).parts[0] for path in one.parent.glob("*")} == {one.name, "lock"}
    assert told == ["fetching Apache Kafka's jars (once)…"] * 2


def test_without_maven_or_a_java_new_enough_it_is_said_why_there_is_no_kafka(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert apache_kafka_available() == "Maven (mvn) is not installed"
    program(tmp_path / "mvn", "")
    assert apache_kafka_available() == "Java is not installed"
    program(tmp_path / "java", """echo 'openjdk version "11.0.2" 2019-01-15' >&2""")
    assert apache_kafka_available() == "Java 17 or newer is needed, this is Java 11"
    program(tmp_path / "java", """echo 'java version "1.8.0_401"' >&2""")
    assert apache_kafka_available() == "Java 17 or newer is needed, this is Java 8"
    program(tmp_path / "java", """echo 'openjdk version "21" 2023-09-19' >&2""")
    assert apache_kafka_available() is None


def test_a_free_port_is_not_one_that_is_taken() -> None:
    with socket.socket() as taken:
        port = free_port()
        taken.bind(("127.0.0.1", port))
        assert port not in {free_port() for _ in range(500)}


def test_a_free_port_is_given_to_one_process_only() -> None:
    port = free_port()
    code = "from gateway.dev.brokers import process; process._PORTS = [int(input())]; process.free_port()"
    other = subprocess.run([sys.executable, "-c", code], input=str(port), text=True, capture_output=True)
    assert "no free TCP port was found" in other.stderr


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
