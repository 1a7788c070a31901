"""Runs the fan-out and the delivery worker in one process and one event loop."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import faust
import prometheus_client
import structlog

from gateway.config import Config
from gateway.contract.deliveries import RETRY_DELAYS
from gateway.contract.endpoints import Endpoint
from gateway.contract.topics import Topics
from gateway.runtime.garbage import spare_the_collector
from gateway.runtime.health import Brokers, Health
from gateway.runtime.kafka import client_settings
from gateway.runtime.metrics import serve_metrics
from gateway.runtime.security import security_settings
from gateway.runtime.tracing import NO_TRACES, Traces, tracing
from streams.app import create_app
from streams.delivery.worker import DeliveryWorker
from streams.endpoints import Endpoints
from streams.errors import FanOutError, StreamsError
from streams.fanout import FanOut
from streams.metrics import StreamsMetrics
from streams.outbox import Outbox
from streams.watch import Reader, finding, watch_backlogs

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

# What is made of the events of one commit is written at once: a request to the brokers costs as much as an expansion.
_LINGER_MS = 2
# Seconds that events already taken get to be written at a stop.
_DRAIN = 3.0
# Seconds for Faust to commit and leave its group; without brokers it would try for good.
_FAUST_STOP = 5.0


async def run_streams(
    config: Config,
    *,
    on_ready: Callable[[], None] | None = None,
    metrics: StreamsMetrics | None = None,
    delays: Sequence[int] = RETRY_DELAYS,
) -> None:
    """Expand call events and deliver webhooks until cancelled; then finish what is under way, within bounds, and commit.

    Args:
        config: The whole configuration. The topics must exist.
        on_ready: Called once, when the endpoints declared at run time are known and both halves have their partitions.
        metrics: Figures to keep; by default those of a registry of its own, with the process's own figures.
        delays: Seconds between attempts; each has its retry topic.

    Raises:
        ConfigError: An endpoint's secret, or a sealing key, is not there or is not one; traces lack their extra.
        KafkaError: No broker can be reached at the start, or the endpoints' topic can't be read.
        StreamsError, DeliveryError: One of the halves cannot go on; the other was stopped as well.
        MetricsError: The metrics cannot be served where they should.
    """
    spare_the_collector()
    metrics = metrics or _own_metrics()
    health = Health("partitions", "kafka")
    brokers = Brokers(client_settings(config.kafka, "health"))
    health.give("kafka", brokers.finding)
    async with AsyncExitStack() as stack:
        traces = await stack.enter_async_context(tracing(config.traces, "ringcloud-streams"))
        worker = DeliveryWorker(config, metrics, delays=delays, traces=traces)
        await stack.enter_async_context(serve_metrics(config.metrics.streams, health, metrics.registry))
        data_dir = stack.enter_context(tempfile.TemporaryDirectory(prefix="ringcloud-streams-"))
        fan_out = FanOutService(config, metrics, delays, Path(data_dir), traces)
        # What delivers knows an endpoint before there are deliveries made for it.
        endpoints = Endpoints(config, worker.declare, fan_out.declare, stated=worker.state)
        follower = await stack.enter_async_context(endpoints.followed())
        stack.push_async_callback(worker.stop)
        await worker.start()
        stack.push_async_callback(fan_out.stop)
        # Deliveries go on while Faust takes its second or two to start.
        tasks = [follower, asyncio.create_task(worker.run())]
        try:
            await fan_out.start()
            readers: list[Reader] = [fan_out, *worker.intakes]
            health.give("partitions", finding(readers))
            tasks += [
                asyncio.create_task(health.run()),
                asyncio.create_task(brokers.run()),
                asyncio.create_task(watch_backlogs(readers, metrics)),
                asyncio.create_task(fan_out.run()),
                asyncio.create_task(_tell(on_ready, worker, fan_out)),
            ]
            await _first_failure(tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class FanOutService:
    """The Faust app and what it needs, under a loop of ours.

    Faust's own Worker would add signal handlers, logging and autodiscovery, none of which is wanted here; `start` and
    `stop` of the app are all that it does besides.
    """

    def __init__(
        self,
        config: Config,
        metrics: StreamsMetrics,
        delays: Sequence[int],
        data_dir: Path,
        traces: Traces = NO_TRACES,
    ) -> None:
        """Take the configuration; to be made within the running loop."""
        topics = Topics(config.kafka.prefix, delays)
        self._outbox = Outbox(
            config.kafka.bootstrap,
            f"{config.kafka.prefix}-fanout",
            linger_ms=_LINGER_MS,
            security=security_settings(config.kafka),
        )
        self._fan_out = FanOut(config.endpoints, topics, self._outbox, metrics, traces=traces)
        self._app: faust.App = create_app(config, topics, self._fan_out, data_dir)
        self._settling: asyncio.Task[None] | None = None
        self._assigned = asyncio.Event()

        async def assigned(_app: Any, /, *_: Any, signal: Any, **__: Any) -> None:  # noqa: ARG001 - Faust names it
            self._assigned.set()

        async def revoked(_app: Any, /, *_: Any, signal: Any, **__: Any) -> None:  # noqa: ARG001
            self._assigned.clear()

        self._app.on_partitions_assigned.connect(assigned)
        self._app.on_partitions_revoked.connect(revoked)

    def declare(self, endpoint: str, as_: Endpoint | None) -> None:
        """Make deliveries for an endpoint as it is from now on; None: for it no more."""
        self._fan_out.declare(endpoint, as_)

    async def start(self) -> None:
        """Connect and begin.

        Raises:
            KafkaError: No broker can be reached.
            FanOutError: Faust did not start.
        """
        await self._outbox.start()
        self._settling = asyncio.create_task(self._fan_out.settle())
        await self._app.start()
        self._check()

    async def ready(self) -> None:
        """Wait until the group has given the app its partitions."""
        await self._assigned.wait()

    def partitions(self) -> int | None:
        """How many partitions are owned; None while the group has not decided."""
        return len(self._app.consumer.assignment()) if self._assigned.is_set() else None

    async def backlog(self) -> dict[str, int]:
        """How many call events are not acknowledged, of the partitions that the app owns, by topic.

        A transaction's end takes an offset of its own: a partition at rest counts as one behind.

        Raises:
            KafkaError: The brokers did not say.
        """
        consumer: Any = self._app.consumer
        found: dict[str, int] = {}
        if not self._assigned.is_set():
            return found
        tps = list(consumer.assignment())
        ends, begins = await consumer.highwaters(*tps), await consumer.earliest_offsets(*tps)
        for tp in tps:
            done = consumer._committed_offset[tp]  # noqa: SLF001 - Faust tells nobody
            behind = ends[tp] - (begins[tp] if done is None else done)
            found[tp.topic] = found.get(tp.topic, 0) + max(behind, 0)
        return found

    async def run(self) -> None:
        """Go on until cancelled.

        Raises:
            FanOutError: It cannot.
        """
        if self._settling is None:
            raise RuntimeError("the fan-out is not started")
        faust_stopped = asyncio.create_task(self._app.wait_until_stopped())
        try:
            done, _ = await asyncio.wait({self._settling, faust_stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            faust_stopped.cancel()
        if self._settling in done:
            self._settling.result()
        self._check()
        raise FanOutError("Faust stopped by itself")

    async def stop(self) -> None:
        """Take no more events, acknowledge those taken, commit, disconnect."""
        failed = self._settling is not None and self._settling.done()
        if self._app.started and not self._app.crashed and not failed:
            self._app.consumer.stop_flow()
            self._app.flow_control.suspend()
            if not await self._fan_out.drained(_DRAIN):
                _log.warning("some call events will be expanded again after the next start")
        try:
            async with asyncio.timeout(_FAUST_STOP):
                await self._app.stop()
        except TimeoutError:
            _log.warning("Faust did not stop: some call events will be expanded again after the next start")
        finally:
            if self._settling is not None:
                self._settling.cancel()
                await asyncio.gather(self._settling, return_exceptions=True)
            await self._outbox.stop()

    def _check(self) -> None:
        if self._app.crashed:
            raise FanOutError("Faust crashed") from self._app.crash_reason


async def _tell(told: Callable[[], None] | None, worker: DeliveryWorker, fan_out: FanOutService) -> None:
    await asyncio.gather(worker.ready(), fan_out.ready())
    _log.info("webhooks are being delivered")
    if told is not None:
        told()


async def _first_failure(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait until one of the tasks fails, and raise its error."""
    pending = set(tasks)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    raise StreamsError("nothing is left to run")


def _own_metrics() -> StreamsMetrics:
    metrics = StreamsMetrics()
    prometheus_client.ProcessCollector(registry=metrics.registry)
    prometheus_client.PlatformCollector(registry=metrics.registry)
    prometheus_client.GCCollector(registry=metrics.registry)
    return metrics
