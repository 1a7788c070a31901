"""Serves what the process says of itself: /metrics, /livez and /readyz."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, Gauge, disable_created_metrics, make_wsgi_app

from gateway.runtime.health import Finding, Health

READY = "ringcloud_ready"

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], Any]


class MetricsError(Exception):
    """The address for /metrics can't be listened on."""


class _Server(ThreadingMixIn, WSGIServer):
    # Who asks and never reads holds up nobody, and no end.
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    # Seconds for a request to come.
    timeout = 10

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named as the overridden one's
        """Say nothing: a probe a second is no news."""


@asynccontextmanager
async def serve_metrics(listen: str, health: Health, registry: CollectorRegistry = REGISTRY) -> AsyncIterator[None]:
    """Serve `registry` and `health` on `listen` (`host:port`), from a thread: a loop that hangs can be told of.

    /metrics comes in the form that is asked for: Prometheus's text, or OpenMetrics, which alone carries exemplars.

    Raises MetricsError.
    """
    # A series for each series, that tells when it began, is twice the price and nobody's question.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    ready = Gauge(
        READY, "1 while the service has its partitions, or stands by, and the brokers answer", registry=registry
    )
    ready.set_function(lambda: health.ready)
    try:
        host, _, port = listen.rpartition(":")
        try:
            server = _listen(host or "0.0.0.0", int(port), _app(registry, health))  # noqa: S104 - an empty host asks for it
        except OSError as error:
            raise MetricsError(f"metrics: can't listen on {listen}: {error.strerror}") from None
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        thread.start()
        try:
            yield
        finally:
            # shutdown() waits for the serving thread to notice.
            await asyncio.to_thread(server.shutdown)
            server.server_close()
            thread.join()
    finally:
        registry.unregister(ready)


def _listen(host: str, port: int, app: Any) -> WSGIServer:
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    server = type("_Server", (_Server,), {"address_family": family})
    return make_server(str(address[0]), port, app, server, _Handler)


def _app(registry: CollectorRegistry, health: Health) -> Callable[[Environ, StartResponse], Iterable[bytes]]:
    metrics = make_wsgi_app(registry)

    def answer(environ: Environ, start: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if path == "/metrics":
            found: Iterable[bytes] = metrics(environ, start)
            return found
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD"):
            return _say(start, "405 Method Not Allowed", {"error": "only GET is answered"})
        if path == "/livez":
            live = health.live()
            return _say(start, _status(live.ok), {"live": live.ok, "checks": _words({"loop": live})})
        if path == "/readyz":
            findings = health.findings()
            ready = all(one.ok for one in findings.values())
            return _say(start, _status(ready), {"ready": ready, "checks": _words(findings)})
        return _say(start, "404 Not Found", {"error": "there are /metrics, /livez and /readyz"})

    return answer


def _words(findings: dict[str, Finding]) -> dict[str, Any]:
    return {name: {"ok": one.ok, "says": one.says} for name, one in findings.items()}


def _status(ok: bool) -> str:
    return "200 OK" if ok else "503 Service Unavailable"


def _say(start: StartResponse, status: str, body: dict[str, Any]) -> Iterable[bytes]:
    start(status, [("Content-Type", "application/json"), ("Cache-Control", "no-store")])
    return [json.dumps(body).encode()]
