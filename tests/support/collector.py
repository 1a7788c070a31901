"""A collector of traces: an OTLP/HTTP receiver that keeps the spans it gets."""

import gzip
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


@dataclass(frozen=True)
class Collected:
    """A span as it came over the wire; ids in hex, an empty `parent` where it has none, times in ns."""

    service: str
    name: str
    trace: str
    id: str
    parent: str
    kind: int
    began: int
    ended: int
    attributes: dict[str, Any]
    failed: bool
    failure: str


@dataclass
class Collector:
    """A running one."""

    url: str
    spans: list[Collected] = field(default_factory=list)

    def named(self, name: str) -> list[Collected]:
        """The spans of a name."""
        return [one for one in self.spans if one.name == name]

    def by_id(self, span: str) -> Collected:
        """The span of an id, of which there must be one."""
        (found,) = [one for one in self.spans if one.id == span]
        return found


def exporting() -> list[threading.Thread]:
    """The threads that still have spans to send, though their service may have stopped."""
    return [one for one in threading.enumerate() if one.name.startswith(("OtelBatch", "traces-closing"))]


@asynccontextmanager
async def collector(port: int = 0) -> AsyncIterator[Collector]:
    """A collector on the loopback address; stopped at the end."""

    async def take(request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        found.spans += _spans(ExportTraceServiceRequest.FromString(body))
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=answer, content_type="application/x-protobuf")

    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    found = Collector(f"http://127.0.0.1:{runner.addresses[0][1]}/v1/traces")
    try:
        yield found
    finally:
        await runner.cleanup()


def _spans(request: ExportTraceServiceRequest) -> list[Collected]:
    return [
        Collected(
            service=_attributes(resource.resource.attributes)["service.name"],
            name=span.name,
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            kind=span.kind,
            began=span.start_time_unix_nano,
            ended=span.end_time_unix_nano,
            attributes=_attributes(span.attributes),
            failed=span.status.code == span.status.STATUS_CODE_ERROR,
            failure=span.status.message,
        )
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def _attributes(given: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in given}
