"""Puts a cluster together: Redis first, then the nodes, nginx last; stops them the other way round."""

import asyncio
import contextlib
import os
import shutil
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import msgspec

from sandbox.cluster.balancer import write_certificates, write_configuration
from sandbox.cluster.children import Child, ClusterError, running

_START_SECONDS = 30.0
_TIMEOUT = aiohttp.ClientTimeout(total=5)
# Debian has nginx where only root looks.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


class Address(msgspec.Struct, frozen=True):
    """Where a cluster serves: nginx's URL, whose certificate to trust, and what lies behind it."""

    url: str
    ca: str
    nodes: list[str]
    redis: str


class Cluster:
    """A cluster that serves at `address`."""

    def __init__(self, address: Address, parts: list[Child]) -> None:
        self.address = address
        self._parts = parts

    async def until_one_ends(self) -> None:
        """Wait, for ever unless a part of it ends by itself: then ClusterError."""
        ends = [asyncio.create_task(part.end()) for part in self._parts]
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            raise done.pop().result()
        finally:
            for end in ends:
                end.cancel()


@contextlib.asynccontextmanager
async def started(run: Path, nodes: int, host: str, port: int, options: list[str]) -> AsyncIterator[Cluster]:
    """A cluster of so many nodes with these command line options, while the block runs.

    It listens on `host` and `port` (0: a free one); what it writes, its logs among them, lies in `run`. ClusterError
    when a part is missing or does not start.
    """
    redis_server, nginx = _found("redis-server", "redis-server"), _found("nginx", "nginx-light")
    ca = write_certificates(run, host)
    async with AsyncExitStack() as stack:
        redis_socket = run / "redis.sock"
        redis = await stack.enter_async_context(
            running("Redis", _redis_command(redis_server, redis_socket), run / "redis.log")
        )
        await redis.until(lambda: _listens(redis_socket), _START_SECONDS)
        state = f"unix://{redis_socket}"
        serving = [
            await stack.enter_async_context(
                running(
                    f"node {number}",
                    [sys.executable, "-m", "sandbox", *options, f"--state={state}"],
                    run / f"node-{number}.log",
                    read=True,
                )
            )
            for number in range(1, nodes + 1)
        ]
        lines = await asyncio.gather(*(node.first_line(_START_SECONDS) for node in serving))
        urls = [str(msgspec.json.decode(line)["url"]) for line in lines]
        port = port or _free_port(host)
        configuration = write_configuration(run, host, port, urls)
        command = [nginx, "-e", str(run / "nginx-error.log"), "-p", str(run), "-c", str(configuration)]
        # One process, as workers would outlive a master that is killed.
        command += ["-g", "daemon off; master_process off;"]
        balancer = await stack.enter_async_context(running("nginx", command, run / "nginx-error.log"))
        address = Address(f"https://{host}:{port}", str(ca), urls, state)
        await balancer.until(lambda: _serves(address), _START_SECONDS)
        yield Cluster(address, [redis, *serving, balancer])


def _found(command: str, package: str) -> str:
    path = shutil.which(command, path=_PATH)
    if path is None:
        raise ClusterError(f"{command} is not installed: it is in the Debian package {package}")
    return path


def _redis_command(redis_server: str, listen: Path) -> list[str]:
    # No port at all, and a directory that is its owner's alone; nothing outlives the run.
    settings = {
        "port": "0",
        "unixsocket": str(listen),
        "unixsocketperm": "600",
        "save": "",
        "appendonly": "no",
        "dir": str(listen.parent),
        "daemonize": "no",
    }
    return [redis_server, *(word for name, value in settings.items() for word in (f"--{name}", value))]


async def _listens(path: Path) -> bool:
    try:
        _, writer = await asyncio.open_unix_connection(path)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def _serves(address: Address) -> bool:
    """Whether the cluster answers as a client would ask it."""
    context = ssl.create_default_context(cafile=address.ca)
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.get(f"{address.url}/_sandbox/health", ssl=context) as response,
        ):
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def _free_port(host: str) -> int:
    with socket.create_server((host, 0)) as probe:
        return int(probe.getsockname()[1])
