"""Deliveries made again: jobs that read a topic, and write what is to be delivered once more, no faster than asked.

A resend is the delivery as it was, under the id that it had, with its attempts counted from 0. What a job is at is in
this process's memory alone: it ends with the process, and what it has resent by then stays resent.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog
from aiokafka import ConsumerRecord, TopicPartition
from aiokafka.errors import KafkaError

from gateway.api.directory import Directory
from gateway.api.problems import Problem
from gateway.api.reading import Reader, Span, forward, spans_of
from gateway.api.shapes import ReplayAsked, ReplayDeadLetters, ReplayDelivery, ReplayEvents, ReplayView
from gateway.contract.deliveries import DeadLetter, Delivery
from gateway.contract.events import ContractError, decode_event
from gateway.contract.times import utc
from gateway.contract.topics import Topics
from gateway.runtime.tracing import trace_headers, traceparent_of
from streams.fanout import expand
from streams.matching import EndpointIndex
from streams.outbox import MAX_DELIVERY_BYTES, Outbox

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# Jobs under way at once, and those that are kept to be looked at.
MOST_RUNNING = 8
_MOST_KEPT = 100
# Seconds within which every process that expands events knows of an endpoint that is new. What came until then is
# resent, and may be delivered twice, under one webhook-id.
_LEARNED = 5.0
# Deliveries on their way to the brokers at once.
_IN_FLIGHT = 500
# Seconds by which a job that was held up may make good for it: its rate holds over any longer time.
_CATCH_UP = 0.05
# A sleep is no more exact than this, in seconds.
_TICK = 0.002
# Ids of dead letters that a job remembers so as to resend each once: some 20 MB.
_MOST_REMEMBERED = 200_000

_letter = msgspec.json.Decoder(DeadLetter).decode
_encode = msgspec.json.Encoder().encode

# With the `traceparent` that it had, which it keeps.
Found = tuple[Delivery, str | None]


class ReplayFailed(Exception):
    """A replay can't go on; says why."""


@dataclass(eq=False)
class Job:
    """A replay and how far it is."""

    asked: ReplayAsked
    endpoint: str
    by: str
    id: str = field(default_factory=lambda: uuid.uuid4().hex)
    state: str = "running"
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    ended_at: datetime | None = None
    done: int = 0
    total: int | None = None
    resent: int = 0
    skipped: int = 0
    reached: datetime | None = None
    error: str | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def view(self) -> ReplayView:
        """As the API shows it."""
        shown: dict[str, Any] = {name: getattr(self, name) for name in ReplayView.__struct_fields__}
        return ReplayView(**shown)


class Replays:
    """The jobs of this process."""

    def __init__(
        self,
        reader: Reader,
        outbox: Outbox,
        directory: Directory,
        topics: Topics,
        find: Callable[[str], Awaitable[Found | None]],
    ) -> None:
        """Take what reads the topics, what writes deliveries, what knows the endpoints, and what finds a delivery."""
        self._reader = reader
        self._outbox = outbox
        self._directory = directory
        self._topics = topics
        self._find = find
        self._jobs: dict[str, Job] = {}

    def all(self) -> list[Job]:
        """The jobs, newest first."""
        return list(reversed(self._jobs.values()))

    def get(self, job: str) -> Job:
        """A job by its id.

        Raises:
            Problem: 404, there is none.
        """
        if (found := self._jobs.get(job)) is None:
            raise Problem(404, f"there is no replay {job[:64]}; those of an API that was stopped are forgotten")
        return found

    async def begin(self, asked: ReplayAsked, by: str) -> Job:
        """Begin a replay that `by` asks for.

        Raises:
            Problem: 404, there is no such delivery or endpoint; 409, the endpoint is disabled, or too many are under way.
            KafkaError, TimeoutError: The brokers don't answer.
        """
        if not isinstance(asked, ReplayDelivery):
            return self.start(asked, by)
        found = await self._find(asked.delivery)
        if found is None:
            raise Problem(404, f"nothing is kept of a delivery {asked.delivery[:200]}", "delivery")
        return self.start(asked, by, found=found)

    def start(self, asked: ReplayAsked, by: str, *, found: Found | None = None, new: bool = False) -> Job:
        """Begin a replay, of the delivery `found` where that is asked for; `new`: its endpoint was declared just now.

        Raises:
            Problem: As `begin`.
        """
        endpoint = found[0].endpoint if found is not None else getattr(asked, "endpoint", "")
        if self._directory.get(endpoint).state == "disabled":
            raise Problem(409, f"the endpoint {endpoint} is disabled: what is resent would become dead letters again")
        if isinstance(asked, ReplayEvents) and asked.offsets is not None:
            there = {str(tp.partition) for tp in self._reader.partitions(self._topics.calls)}
            if not set(asked.offsets) <= there:
                raise Problem(422, f"the topic has the partitions 0 to {len(there) - 1}", "offsets")
        if sum(job.ended_at is None for job in self._jobs.values()) >= MOST_RUNNING:
            raise Problem(409, f"{MOST_RUNNING} replays are under way: wait, or cancel one")
        job = Job(asked, endpoint, by)
        ended = [one.id for one in self._jobs.values() if one.ended_at is not None]
        for old in ended[: -(_MOST_KEPT - 1)]:
            del self._jobs[old]
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._run(job, self._deliveries(job, found, new=new)))
        return job

    async def cancel(self, job: Job) -> None:
        """End a job, if it has not ended; what is resent by then stays so."""
        if job.task is not None and not job.task.done():
            job.task.cancel()
            await asyncio.gather(job.task, return_exceptions=True)
            if job.ended_at is None:  # it had not begun
                job.state, job.ended_at = "cancelled", datetime.now(UTC)

    async def stop(self) -> None:
        """End all jobs."""
        await asyncio.gather(*(self.cancel(job) for job in self._jobs.values()))

    async def _run(self, job: Job, deliveries: AsyncGenerator[Found, None]) -> None:
        pace = _Pace(job.asked.rate)
        written: deque[asyncio.Future[Any]] = deque()
        try:
            async with aclosing(deliveries):
                async for delivery, traceparent in deliveries:
                    await pace.turn()
                    self._check(job)
                    # Its time begins anew, and so does a worker's patience with an endpoint that it does not know.
                    resend = msgspec.structs.replace(delivery, attempts=0, due_at=None, created_at=datetime.now(UTC))
                    value = _encode(resend)
                    if len(value) > MAX_DELIVERY_BYTES:
                        job.skipped += 1
                        continue
                    topic, headers = self._topics.deliveries.name, trace_headers(traceparent)
                    written.append(await self._outbox.enqueue(topic, resend.endpoint.encode(), value, headers))
                    job.resent += 1
                    while len(written) >= _IN_FLIGHT or (written and written[0].done()):
                        await written.popleft()
            while written:
                await written.popleft()
            job.state = "done"
        except asyncio.CancelledError:
            job.state = "cancelled"
            raise
        except ReplayFailed as error:
            job.state, job.error = "failed", str(error)
        except (KafkaError, TimeoutError) as error:
            job.state, job.error = "failed", f"Kafka does not answer ({type(error).__name__})"
        except Exception:  # noqa: BLE001 - a job's failure is its own; the API goes on
            job.state, job.error = "failed", "the gateway failed; its log says why"
            _log.exception("a replay failed", replay=job.id)
        finally:
            job.ended_at = datetime.now(UTC)
            _log.info("a replay ended", replay=job.id, endpoint=job.endpoint, state=job.state, resent=job.resent)

    def _check(self, job: Job) -> None:
        known = self._directory.find(job.endpoint)
        if known is None:
            raise ReplayFailed("the endpoint was removed")
        if known.state == "disabled":
            raise ReplayFailed("the endpoint was disabled")

    def _deliveries(self, job: Job, found: Found | None, *, new: bool) -> AsyncGenerator[Found, None]:
        match job.asked:
            case ReplayDeadLetters() as asked:
                return self._dead_letters(job, asked)
            case ReplayEvents() as asked:
                return self._events(job, asked, new=new)
            case _:
                return self._one(job, found)

    async def _one(self, job: Job, found: Found | None) -> AsyncGenerator[Found, None]:
        job.total = 1
        if found is not None:
            yield found
        job.done = 1

    async def _dead_letters(self, job: Job, asked: ReplayDeadLetters) -> AsyncGenerator[Found, None]:
        seen: set[str] = set()
        partitions = self._reader.partitions(self._topics.dead_letters, asked.endpoint)
        async with self._reader.consumer() as consumer:
            spans = await spans_of(consumer, partitions, since=asked.since, until=asked.until)
            async with aclosing(self._records(job, consumer, spans)) as records:
                async for record in records:
                    try:
                        letter = _letter(record.value or b"")
                    except msgspec.MsgspecError:
                        job.skipped += 1
                        continue
                    found = letter.delivery
                    if found is None or found.endpoint != asked.endpoint or found.id in seen:
                        continue
                    if asked.reason is not None and asked.reason not in letter.reason:
                        continue
                    if len(seen) < _MOST_REMEMBERED:
                        seen.add(found.id)
                    yield found, traceparent_of(record.headers)

    async def _events(self, job: Job, asked: ReplayEvents, *, new: bool) -> AsyncGenerator[Found, None]:
        endpoint = self._directory.get(asked.endpoint).endpoint
        if new:
            await asyncio.sleep(_LEARNED)
        index = EndpointIndex([endpoint])
        partitions = self._reader.partitions(self._topics.calls)
        if asked.offsets is not None:
            partitions = [tp for tp in partitions if str(tp.partition) in asked.offsets]
        async with self._reader.consumer() as consumer:
            spans = await spans_of(consumer, partitions, since=asked.since, until=asked.until)
            if asked.offsets is not None:
                spans = {tp: (max(begin, asked.offsets[str(tp.partition)]), end) for tp, (begin, end) in spans.items()}
            async with aclosing(self._records(job, consumer, spans)) as records:
                async for record in records:
                    try:
                        event = decode_event(list(record.headers or ()), record.value)
                    except ContractError:
                        job.skipped += 1
                        continue
                    if asked.events and event.type not in asked.events:
                        continue
                    if asked.accounts and event.data.account not in asked.accounts:
                        continue
                    for delivery in expand(event, index.matching(event), datetime.now(UTC)):
                        yield delivery, traceparent_of(record.headers)

    async def _records(
        self, job: Job, consumer: Any, spans: Mapping[TopicPartition, Span]
    ) -> AsyncGenerator[ConsumerRecord, None]:
        """The records within the spans, counted as they are done with."""
        job.total = sum(max(end - begin, 0) for begin, end in spans.values())
        # A span begins at an offset that may have been deleted since, and ends where there may be no record.
        left = {tp: begin for tp, (begin, end) in spans.items() if begin < end}
        async with aclosing(forward(consumer, spans)) as batches:
            async for tp, records, position in batches:
                for record in records:
                    yield record
                    job.done += record.offset + 1 - left[tp]
                    left[tp] = record.offset + 1
                    job.reached = utc(record.timestamp)
                if position > left[tp]:
                    job.done += position - left[tp]
                    left[tp] = position


class _Pace:
    """Lets so many pass in a second, evenly."""

    def __init__(self, rate: float) -> None:
        self._spacing = 1 / rate
        self._clock = asyncio.get_running_loop().time
        self._next = self._clock()

    async def turn(self) -> None:
        """Wait for the next turn."""
        now = self._clock()
        if self._next - now > _TICK:
            await asyncio.sleep(self._next - now)
        self._next = max(self._next, now - _CATCH_UP) + self._spacing
