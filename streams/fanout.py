"""Expands each call event into a delivery for every endpoint that wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

import faust
import msgspec
import structlog
from aiokafka.errors import KafkaError

from gateway.contract.deliveries import DeadLetter, Delivery, delivery_id
from gateway.contract.endpoints import Body, Endpoint
from gateway.contract.events import CallEvent, ContractError, Header, decode_event
from gateway.contract.thin import thin
from gateway.contract.topics import Topics
from gateway.runtime.tracing import NO_TRACES, Traces, trace_headers, traceparent_of
from streams.errors import FanOutError
from streams.matching import EndpointIndex
from streams.metrics import StreamsMetrics
from streams.outbox import MAX_DELIVERY_BYTES, Outbox

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Events whose deliveries are on their way to the brokers at once.
_IN_FLIGHT = 1000

_encode = msgspec.json.Encoder().encode

Record = tuple[str, bytes | None, bytes]  # topic, key, value


class CallRecord(Protocol):
    """A record of the call events' topic, as Faust's Message has it."""

    headers: Any
    value: bytes | None
    partition: int
    offset: int


def expand(event: CallEvent, endpoints: Iterable[Endpoint], now: datetime) -> list[Delivery]:
    """A delivery of `event` for each of `endpoints`, made at `now`.

    The body, a CloudEvent in structured JSON, is encoded once, and is what every receiver of full, or of thin, bodies
    gets byte for byte.
    """
    bodies: dict[Body, msgspec.Raw] = {}
    deliveries: list[Delivery] = []
    for endpoint in endpoints:
        body = bodies.get(endpoint.body)
        if body is None:
            body = bodies[endpoint.body] = msgspec.Raw(_encode(event if endpoint.body == "full" else thin(event)))
        deliveries.append(
            Delivery(
                id=delivery_id(event.id, endpoint.id),
                endpoint=endpoint.id,
                event_type=event.type,
                account=event.data.account,
                call_id=event.data.call_id,
                event=body,
                created_at=now,
            )
        )
    return deliveries


class FanOut:
    """The work of the Faust agent: hand the deliveries of an event over, and acknowledge the event when they are written.

    Faust acknowledges an event whose agent raised, and commits past what is acknowledged out of order. So the agent
    never raises, takes acknowledgement into its own hands and gives it strictly in order; many events' deliveries may
    be on their way meanwhile. The outbox retries whatever may pass. What cannot be written for good ends the service:
    from that event on nothing is acknowledged, and a restart begins there.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        topics: Topics,
        outbox: Outbox,
        metrics: StreamsMetrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        traces: Traces = NO_TRACES,
    ) -> None:
        """Take the endpoints, where deliveries and dead letters go, the figures and traces to keep and the clock."""
        self._endpoints = EndpointIndex(endpoints)
        self._topics = topics
        self._outbox = outbox
        self._metrics = metrics
        self._clock = clock
        self._traces = traces
        self._pending: asyncio.Queue[tuple[Any, Any, list[asyncio.Future[Any]]]] = asyncio.Queue(_IN_FLIGHT)

    def declare(self, endpoint: str, as_: Endpoint | None) -> None:
        """Make deliveries for an endpoint as it is from now on; None: for it no more."""
        if as_ is None:
            self._endpoints.remove(endpoint)
        else:
            self._endpoints.put(as_)

    async def agent(self, stream: Any) -> None:
        """Work on Faust's stream of records for as long as there are any; goes on with `settle` beside it."""
        manual = stream.noack()
        async for event in manual.events():
            written = await self._hand_over(event.message)
            await self._pending.put((manual, event, written))

    async def settle(self) -> None:
        """Acknowledge events in order as their deliveries are written; runs until cancelled.

        Raises:
            FanOutError: Something can never be written. No later event is acknowledged.
        """
        while True:
            stream, event, written = await self._pending.get()
            try:
                for future in written:
                    await future
            except KafkaError as error:
                raise FanOutError("deliveries cannot be written") from error
            await stream.ack(event)
            self._pending.task_done()

    async def drained(self, timeout: float) -> bool:
        """Wait, at most `timeout` seconds, until every event that was taken is acknowledged; say whether it is so."""
        try:
            async with asyncio.timeout(timeout):
                await self._pending.join()
        except TimeoutError:
            return False
        return True

    async def _hand_over(self, record: CallRecord) -> list[asyncio.Future[Any]]:
        before = traceparent_of(record.headers or ())
        try:
            with self._traces.begin(
                "fan-out", before, "consumer", partition=record.partition, offset=record.offset
            ) as span:
                records = self.records(record)
                span.note(records=len(records))
                headers = trace_headers(span.traceparent)
                return [await self._outbox.enqueue(*one, headers) for one in records]
        except KafkaError as error:
            # For `settle` to meet in its turn: raised here, Faust would take the event for done.
            failed: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            failed.set_exception(error)
            return [failed]

    def records(self, record: CallRecord) -> list[Record]:
        """What is written because of `record`: its deliveries, or why there are none, as dead letters."""
        headers: list[Header] = list(record.headers or ())
        try:
            event = decode_event(headers, record.value)
            now = self._clock()
            deliveries = expand(event, self._endpoints.matching(event), now)
        except ContractError as error:
            return [self._dead_letter(record, "unreadable", f"not a call event: {error}")]
        except Exception as error:  # noqa: BLE001 - no record may stop the consumer
            return [self._dead_letter(record, "unreadable", f"could not be expanded: {type(error).__name__}")]
        self._metrics.event(event, now)
        records: list[Record] = []
        for delivery in deliveries:
            value = _encode(delivery)
            if len(value) > MAX_DELIVERY_BYTES:
                reason = f"event {event.id} is too large to be delivered: {len(value)} bytes"
                records.append(self._dead_letter(record, "too_large", reason))
            else:
                self._metrics.delivery(delivery.endpoint)
                records.append((self._topics.deliveries.name, delivery.endpoint.encode(), value))
        return records

    def _dead_letter(self, record: CallRecord, code: str, reason: str) -> Record:
        self._metrics.dead_letter(code)
        _log.warning("a call event was given up", partition=record.partition, offset=record.offset, reason=code)
        # base64 makes it a third larger.
        fits = len(record.value or b"") < MAX_DELIVERY_BYTES * 2 // 3
        letter = DeadLetter(at=self._clock(), reason=reason[:2000], raw=record.value if fits else None)
        return self._topics.dead_letters.name, None, _encode(letter)


def add_agent(app: faust.App, topics: Topics, fan_out: FanOut) -> None:
    """Let `fan_out` work on the call events that the app reads.

    There is one agent, which counts events for the metrics as well. With two on one topic, a record that one has seen
    and the other not when partitions are taken away is never acknowledged, and Faust waits for it for good.
    """
    calls = app.topic(
        topics.calls.name,
        key_type=bytes,
        value_type=bytes,
        key_serializer="raw",
        value_serializer="raw",
        internal=False,
    )

    @app.agent(calls, name="fanout")
    async def fanout(stream: Any) -> None:
        await fan_out.agent(stream)
