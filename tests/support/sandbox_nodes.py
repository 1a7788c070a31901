"""Nodes and clusters of the sandbox, and the Redis they share, as tests run and ask them."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from gateway.dev.brokers.process import free_port
from sandbox.clock import RealClock
from sandbox.cluster import stage
from tests.conftest import IN_CI
from tests.support.waiting import eventually
from tests.unit.sandbox.conftest import Api

KEYS = [f"1000_k{number}" for number in range(12)]
PASSWORD = "demo"
KEY_OPTIONS = [f"--{name}={value}" for key in KEYS for name, value in (("key", key), ("password", PASSWORD))]
REDIS_PASSWORD = "only-the-nodes-know"


def need(*commands: str) -> None:
    """Skip the test when one of these is not installed; with CI=true fail it."""
    missing = ", ".join(name for name in commands if shutil.which(name, path=stage._PATH) is None)
    if missing and IN_CI:
        pytest.fail(f"needed with CI=true: {missing}", pytrace=False)
    if missing:
        pytest.skip(f"not installed: {missing}")


class RedisServer:
    """A Redis on loopback that can be stopped, paused and started again; with `keep`, it remembers."""

    def __init__(self, directory: Path, *, keep: bool = False) -> None:
        self.port = free_port()
        self.url = f"redis://:{REDIS_PASSWORD}@127.0.0.1:{self.port}/3"
        self._directory = directory
        self._keep = keep
        self._process: subprocess.Popen[bytes] | None = None

    def _spawn(self) -> None:
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self._directory, "requirepass": REDIS_PASSWORD}
        settings |= {"save": "", "appendonly": "yes" if self._keep else "no", "appendfsync": "always"}
        command = ["redis-server", *(str(word) for name, value in settings.items() for word in (f"--{name}", value))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    async def start(self) -> None:
        """Start it, and wait until it listens."""
        self._spawn()

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
