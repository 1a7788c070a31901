"""Serves the admin API: Litestar on uvicorn, in one process, until it is told to stop."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from importlib.metadata import version
from typing import Any

import msgspec
import structlog
import uvicorn
from litestar import Litestar, Response, get
from litestar.exceptions import HTTPException

from gateway.api.commands import CommandOperations
from gateway.api.deliveries import DeliveryOperations
from gateway.api.description import document
from gateway.api.directory import Directory
from gateway.api.endpoints import EndpointOperations
from gateway.api.operations import Operation, handlers
from gateway.api.page import page
from gateway.api.problems import Problem, answer
from gateway.api.reading import Reader
from gateway.api.replaying import ReplayOperations
from gateway.api.replays import Replays
from gateway.api.tokens import Tokens
from gateway.config import Config, ConfigError
from gateway.contract.topics import Topics
from gateway.runtime.health import Brokers
from gateway.runtime.kafka import client_settings, ensure_topics
from gateway.runtime.sealing import Seals
from gateway.runtime.security import security_settings
from streams.outbox import Outbox

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# An endpoint with 10,000 numbers fits, and so does its record on the topic.
MOST_BODY_BYTES = 768 * 1024
# Seconds that requests under way get at a stop.
_STOP = 5


async def run_api(config: Config) -> None:
    """Serve until cancelled; then finish the requests under way, within seconds, and end all replays.

    Raises:
        ConfigError: A token or a sealing key is not there or is not one, or the address can't be listened on.
        TopicError: The topics don't fit.
        KafkaError: No broker can be reached at the start, or the endpoints can't be followed.
    """
    async with serving(config) as (_, ended):
        await ended


@asynccontextmanager
async def serving(config: Config) -> AsyncIterator[tuple[str, asyncio.Future[None]]]:
    """Serve, and give the URL and what fails when it can't go on. Raises as `run_api`."""
    tokens = Tokens(config.api.tokens)
    seals = Seals(config.delivery.sealing_keys)
    topics = Topics(config.kafka.prefix)
    reader = Reader(config.kafka)
    directory = Directory(config)
    outbox = Outbox(
        config.kafka.bootstrap, f"{config.kafka.prefix}-admin-api", security=security_settings(config.kafka)
    )
    brokers = Brokers(client_settings(config.kafka, "admin-api-health"))
    async with AsyncExitStack() as stack:
        listening = stack.enter_context(_listening(config.api.listen))
        await ensure_topics(config.kafka)
        stack.push_async_callback(outbox.stop)
        await outbox.start()
        following = asyncio.create_task(directory.follow())
        stack.push_async_callback(_end, following)
        asking = asyncio.create_task(brokers.run())
        stack.push_async_callback(_end, asking)
        deliveries = DeliveryOperations(reader, directory, topics)
        replays = Replays(reader, outbox, directory, topics, deliveries.find)
        stack.push_async_callback(replays.stop)
        endpoints = EndpointOperations(directory, seals, replays, outbox, topics)
        loaded = asyncio.create_task(directory.loaded.wait())
        stack.push_async_callback(_end, loaded)
        await asyncio.wait({following, loaded}, return_when=asyncio.FIRST_COMPLETED)
        if following.done():
            following.result()
        app = application(
            [
                *endpoints.operations(),
                *deliveries.operations(),
                *ReplayOperations(replays).operations(),
                *CommandOperations(reader, outbox, topics).operations(),
            ],
            tokens,
            brokers,
        )
        host, port = listening.getsockname()
        url = f"http://{host}:{port}"
        await stack.enter_async_context(_served(app, listening))
        _log.info("the admin API is served", url=url)
        yield url, following


def application(operations: Sequence[Operation[Any, Any]], tokens: Tokens, brokers: Brokers) -> Litestar:
    """The Litestar application of these operations, with its description and its health."""
    described = document(operations, version("ringcloud-gateway"))
    schema, html = msgspec.json.encode(described), page(described)

    @get("/schema")
    async def schema_json() -> Response[bytes]:
        return Response(schema, media_type="application/json")

    @get("/docs")
    async def docs() -> Response[bytes]:
        return Response(html, media_type="text/html")

    @get("/livez")
    async def livez() -> Response[bytes]:
        return Response(b"alive\n", media_type="text/plain")

    @get("/readyz")
    async def readyz() -> Response[bytes]:
        found = brokers.finding()
        if not found.ok:
            raise Problem(503, found.says)
        return Response(b"ready\n", media_type="text/plain")

    return Litestar(
        [
            *handlers(operations, tokens),
            schema_json,
            docs,
            livez,
            readyz,
        ],
        openapi_config=None,
        logging_config=None,
        request_max_body_size=MOST_BODY_BYTES,
        exception_handlers={Exception: answer, HTTPException: answer},
    )


class _Server(uvicorn.Server):
    """A server that leaves signals to whoever runs it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def _served(app: Litestar, listening: socket.socket) -> AsyncIterator[None]:
    server = _Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=_STOP,
        )
    )
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield
    finally:
        server.should_exit = True
        await task


@contextmanager
def _listening(listen: str) -> Iterator[socket.socket]:
    host, _, port = listen.rpartition(":")
    # asyncio turns Nagle's delay off only where the protocol is named.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, int(port)))
            listening.listen(128)
        except OSError as error:
            raise ConfigError("", "api.listen", f"can't listen on {listen}: {error.strerror}") from None
        listening.setblocking(False)
        yield listening


async def _end(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
