"""A receiver of webhooks that can misbehave, call events to send, and the topics in between."""

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web
from aiokafka import AIOKafkaProducer
from standardwebhooks import Webhook

from gateway.config import Config, DeliveryConfig, KafkaConfig, MetricsConfig
from gateway.contract.endpoints import Endpoint
from gateway.contract.events import CallData, CallEvent, CallEventType, Evidence, encode_data, headers_of, source_of
from gateway.contract.topics import Topics
from tests.support.kafka import create_topic

SECRET = "whsec_" + base64.b64encode(b"a secret of the tests, 32 bytes.").decode()
OTHER_SECRET = "whsec_" + base64.b64encode(b"another secret, of 32 bytes too.").decode()
# Seconds between attempts in tests: two retries, soon.
QUICK = (1, 2)

Behaviour = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


@dataclass
class Received:
    """A webhook as it came, and the status it was answered with."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def id(self) -> str:
        """Its webhook-id."""
        return self.headers["webhook-id"]

    def verify(self, secret: str = SECRET) -> None:
        """Raise unless the signature is right."""
        Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """A web server on a loopback address that keeps what it gets; a path may have a behaviour of its own."""

    port: int
    scheme: str = "http"
    received: list[Received] = field(default_factory=list)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    # Requests that arrived, whether or not they were answered.
    arrived: int = 0

    def url(self, path: str = "/", host: str = "127.0.0.1") -> str:
        """A URL of it."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def at(self, path: str) -> list[Received]:
        """What came to a path."""
        return [one for one in self.received if one.path == path]

    def accepted(self, path: str | None = None) -> list[str]:
        """The webhook-ids that were answered with 2xx, in the order of arrival."""
        return [one.id for one in self.received if one.status < 300 and path in (None, one.path)]


@asynccontextmanager
async def receiver(
    host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A running receiver on a loopback address, over TLS if need be; stopped at the end."""

    async def handle(request: web.Request) -> web.StreamResponse:
        found.arrived += 1
        body = await request.read()
        behaviour = found.behaviours.get(request.path)
        response = await behaviour(request, body) if behaviour else web.Response()
        headers = {name.lower(): value for name, value in request.headers.items()}
        found.received.append(Received(request.path, headers, body, response.status))
        return response

    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, port, ssl_context=tls)
    await site.start()
    found = Receiver(runner.addresses[0][1], "http" if tls is None else "https")
    try:
        yield found
    finally:
        await runner.cleanup()


def answering(*statuses: int, headers: dict[str, str] | None = None) -> Behaviour:
    """Answers with these statuses in turn; the last one stays."""
    left: Iterator[int] = iter(statuses)
    last = statuses[-1]

    async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
        return web.Response(status=next(left, last), headers=headers)

    return behave


@contextmanager
def hanging() -> Iterator[Behaviour]:
    """Answers when the context ends."""
    over = asyncio.Event()

    async def behave(request: web.Request, body: bytes) -> web.StreamResponse:
        await over.wait()
        return web.Response()

    try:
        yield behave
    finally:
        over.set()


def config_for(
    bootstrap: str, prefix: str, endpoints: Sequence[Endpoint] = (), allow: Sequence[str] = ("127.0.0.0/8",)
) -> Config:
    """A configuration for tests."""
    return Config(
        kafka=KafkaConfig(bootstrap=bootstrap, prefix=prefix.rstrip("."), partitions=3, session_timeout=6.0),
        endpoints=tuple(endpoints),
        delivery=DeliveryConfig(allow_networks=tuple(allow), allow_http=True, window=50),
        metrics=MetricsConfig(streams="127.0.0.1:0"),
    )


def secret_file(where: Path, secret: str = SECRET) -> str:
    """A reference to a secret, which is written below `where`."""
    path = where / f"{abs(hash(secret))}.secret"
    path.write_text(secret)
    return f"file:{path}"


async def create_topics(config: Config, delays: Sequence[int] = QUICK, partitions: int = 3) -> Topics:
    """Create what the streams service needs."""
    topics = Topics(config.kafka.prefix, delays)
    needed = [topics.calls, topics.deliveries, *topics.retries.values(), topics.attempts, topics.dead_letters]
    await asyncio.gather(
        *(create_topic(config.kafka.bootstrap, topic.name, partitions) for topic in (*needed, topics.gateway)),
        create_topic(
            config.kafka.bootstrap, topics.endpoints.name, config.kafka.partitions, topics.endpoints.settings()
        ),
    )
    return topics


def call_event(
    call: str = "c1",
    sequence: int = 1,
    kind: CallEventType = "call.started",
    account: int = 7,
    rec_file: str | None = None,
) -> CallEvent:
    """A call event."""
    at = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC) + timedelta(seconds=sequence)
    return CallEvent(
        id=f"{call}-{sequence}",
        source=source_of(account),
        type=kind,
        subject=call,
        time=at,
        sequence=str(sequence),
        data=CallData(
            account=account,
            call_id=call,
            sequence=sequence,
            src="79990000000",
            dst="100",
            direction=None,
            not_before=at,
            not_after=at,
            observed_at=at,
            evidence=Evidence.ACTIVE,
            ambiguous=False,
            answered=None,
            rec_file=rec_file,
        ),
    )


async def produce_events(
    bootstrap: str, topic: str, events: Sequence[CallEvent], *, transactional_id: str, abort: bool = False
) -> None:
    """Write call events in one transaction, and commit or abort it."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id) as producer:
        await producer.begin_transaction()
        for event in events:
            await producer.send(
                topic, value=encode_data(event), key=event.data.call_id.encode(), headers=headers_of(event)
            )
        await producer.flush()
        await (producer.abort_transaction() if abort else producer.commit_transaction())


async def produce_raw(bootstrap: str, topic: str, *values: bytes | None, key: bytes = b"poison") -> None:
    """Write records as they are."""
    async with AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all") as producer:
        for value in values:
            await producer.send_and_wait(topic, value=value, key=key)
