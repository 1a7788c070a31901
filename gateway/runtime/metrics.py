"""Serves /metrics of the process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import start_http_server


class MetricsError(Exception):
    """The address for /metrics can't be listened on."""


@contextmanager
def serve_metrics(listen: str) -> Iterator[None]:
    """Serve the process's metrics on `listen` (`host:port`) from a thread. Raises MetricsError."""
    host, _, port = listen.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host or "0.0.0.0")  # noqa: S104 - what an empty host asks for
    except OSError as error:
        raise MetricsError(f"metrics: can't listen on {listen}: {error.strerror}") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
