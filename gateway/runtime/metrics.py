"""Serves /metrics of the process, and says there when the service is ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, start_http_server

READY = "ringcloud_ready"


class MetricsError(Exception):
    """The address for /metrics can't be listened on."""


@asynccontextmanager
async def serve_metrics(listen: str, registry: CollectorRegistry = REGISTRY) -> AsyncIterator[Callable[[], None]]:
    """Serve `registry` on `listen` (`host:port`) from a thread. Gives a function to call once the service is ready.

    Raises MetricsError.
    """
    ready = Gauge(READY, "1 once the service has its partitions and does its work", registry=registry)
    try:
        host, _, port = listen.rpartition(":")
        try:
            server, thread = start_http_server(int(port), host or "0.0.0.0", registry)  # noqa: S104 - an empty host asks for it
        except OSError as error:
            raise MetricsError(f"metrics: can't listen on {listen}: {error.strerror}") from None
        try:
            yield lambda: ready.set(1)
        finally:
            # shutdown() waits for the serving thread to notice, up to half a second.
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()
    finally:
        registry.unregister(ready)
