"""Traces of a call's way from poll to webhook, as spans for an OpenTelemetry collector.

What joins them is W3C's `traceparent` header. It is handed on whether or not spans are made here, so that a part
without traces does not break another's.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import re
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import structlog

from gateway.config import ConfigError, TracesConfig
from gateway.contract.events import Header
from gateway.contract.times import Ms

# OpenTelemetry is imported where traces are on, and nowhere else: it is an extra, and takes a third of a second.
if TYPE_CHECKING:
    from opentelemetry import trace

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

HEADER = "traceparent"
# Version, trace id, parent id, flags: ff is no version, and ids of zeros are none (W3C Trace Context, 3.2.2).
_TRACEPARENT = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")

# Spans that wait for the collector; of what is more the oldest are dropped. A span is about 5 KiB.
_MOST_WAITING = 4096
_BATCH = 512
_DELAY_MS = 1000
# Seconds for the collector to take a batch, retries included, and the last ones at a stop.
_EXPORT, _LAST = 5.0, 2.0

Attribute = str | int
Kind = Literal["internal", "producer", "consumer", "client"]


def traceparent_of(headers: Sequence[tuple[str, bytes | None]]) -> str | None:
    """The `traceparent` among a record's headers; None where there is none, more than one, or none that is valid."""
    if not headers:
        return None
    found = [value for name, value in headers if name == HEADER]
    if len(found) != 1 or found[0] is None or not _TRACEPARENT.fullmatch(found[0]):
        return None
    return found[0].decode()


def trace_headers(traceparent: str | None) -> Sequence[Header]:
    """The header that hands a trace on with a record; none where there is no trace."""
    return () if traceparent is None else ((HEADER, traceparent.encode()),)


class Span:
    """A step of a trace while it is under way, or where no traces are kept: then it hands on what it was given."""

    __slots__ = ("traceparent",)

    def __init__(self, traceparent: str | None) -> None:
        """Take what the next step is to be given."""
        self.traceparent = traceparent

    def __enter__(self) -> Self:
        """Within the context it is under way."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """It ends; of an error the type is noted, and not its text, which may hold what is nobody's business."""

    def note(self, failure: str | None = None, **attributes: Attribute | None) -> None:
        """Note attributes (None: it is left out), and that it failed and as what. To be called while it is under way."""


class Traces:
    """Begins the steps of traces. This one keeps none; `tracing` gives the one that does."""

    def begin(
        self,
        name: str,  # noqa: ARG002 - for those that keep them
        parent: str | None,
        kind: Kind = "internal",  # noqa: ARG002
        began: Ms | None = None,  # noqa: ARG002
        **attributes: Attribute,  # noqa: ARG002
    ) -> Span:
        """A step, to be entered at once.

        Args:
            name: What is done.
            parent: The `traceparent` of the step before, valid; None: a trace begins here.
            kind: What it is to the step before and the next.
            began: Unix ms, where it began earlier than now.
            attributes: What is known of it; `ringcloud.` is put before each name. No number, no user, no URL.
        """
        return Span(parent)


NO_TRACES = Traces()


def check_traces(config: TracesConfig) -> None:
    """See whether traces can be made where they are asked for. Raises ConfigError where the extra is not installed."""
    if not config.endpoint:
        return
    try:
        import opentelemetry.exporter.otlp.proto.http.trace_exporter
        import opentelemetry.sdk.trace  # noqa: F401
    except ImportError as error:
        why = f"traces need what `pip install 'ringcloud-gateway[traces]'` installs ({error})"
        raise ConfigError("", "traces.endpoint", why) from None


@asynccontextmanager
async def tracing(config: TracesConfig, service: str) -> AsyncIterator[Traces]:
    """The traces of a service, by the configuration; spans that wait are sent at the end, for 2 s at most.

    A collector that is away costs what waits for it, which is bounded, and nothing else.

    Raises:
        ConfigError: They are asked for, and the extra is not installed.
    """
    if not config.endpoint:
        yield NO_TRACES
        return
    check_traces(config)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    version = importlib.metadata.version("ringcloud-gateway")
    provider = TracerProvider(
        # What was decided where a trace began holds for all of it.
        sampler=ParentBased(TraceIdRatioBased(config.sample_ratio)),
        resource=Resource.create({"service.name": service, "service.version": version}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(endpoint=config.endpoint, timeout=_EXPORT)
    provider.add_span_processor(
        BatchSpanProcessor(
            exporter,
            max_queue_size=_MOST_WAITING,
            schedule_delay_millis=_DELAY_MS,
            max_export_batch_size=_BATCH,
        )
    )
    try:
        yield _Kept(provider.get_tracer("ringcloud-gateway", version))
    finally:
        # Its own patience is 30 s, and can't be set.
        closing = threading.Thread(target=provider.shutdown, name="traces-closing", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _LAST)
        if closing.is_alive():
            _log.warning("the collector did not take the last spans in time")
            # What is left ends at once, instead of being tried again.
            exporter.shutdown()  # type: ignore[no-untyped-call]


class _Kept(Traces):
    def __init__(self, tracer: trace.Tracer) -> None:
        from opentelemetry import context, trace

        self._tracer = tracer
        self._kinds: dict[Kind, trace.SpanKind] = {
            "internal": trace.SpanKind.INTERNAL,
            "producer": trace.SpanKind.PRODUCER,
            "consumer": trace.SpanKind.CONSUMER,
            "client": trace.SpanKind.CLIENT,
        }
        # Spans are joined by what is handed on alone, never by what else runs in the task.
        self._nothing = context.Context()
        self._api: Any = trace

    def begin(
        self,
        name: str,
        parent: str | None,
        kind: Kind = "internal",
        began: Ms | None = None,
        **attributes: Attribute,
    ) -> Span:
        span = self._tracer.start_span(
            name,
            self._nothing if parent is None else self._context(parent),
            self._kinds[kind],
            _named(attributes),
            start_time=None if began is None else began * 1_000_000,
            record_exception=False,
        )
        return _Recorded(span, self._api, parent)

    def _context(self, parent: str) -> Any:
        _, trace_id, span_id, flags = parent.split("-")
        before = self._api.SpanContext(
            int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=self._api.TraceFlags(int(flags, 16))
        )
        return self._api.set_span_in_context(self._api.NonRecordingSpan(before), self._nothing)


class _Recorded(Span):
    __slots__ = ("_api", "_span")

    def __init__(self, span: trace.Span, api: Any, parent: str | None) -> None:
        at = span.get_span_context()
        # OTEL_SDK_DISABLED makes spans that are none.
        super().__init__(f"00-{at.trace_id:032x}-{at.span_id:016x}-{at.trace_flags:02x}" if at.is_valid else parent)
        self._span = span
        self._api = api

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.note(kind.__name__)
        self._span.end()

    def note(self, failure: str | None = None, **attributes: Attribute | None) -> None:
        self._span.set_attributes(_named(attributes))
        if failure is not None:
            self._span.set_status(self._api.Status(self._api.StatusCode.ERROR, failure))


def _named(attributes: dict[str, Any]) -> dict[str, Attribute]:
    return {f"ringcloud.{name}": value for name, value in attributes.items() if value is not None}
