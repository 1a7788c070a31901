"""Spans and the header that joins them, without Kafka: what is made, what is handed on, and what a collector may do."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from elasticapm.utils.disttracing import TraceParent
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from gateway.config import ConfigError, TracesConfig, load
from gateway.runtime.tracing import NO_TRACES, trace_headers, traceparent_of, tracing
from tests.support.collector import collector, exporting
from tests.support.waiting import eventually

UPSTREAM = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
# Longer than what may wait for a collector.
MANY = 20_000


@pytest.fixture(autouse=True)
async def _nothing_left_sending() -> AsyncIterator[None]:
    """Leave no thread behind that goes on: it would use the random numbers of tests to come."""
    yield
    await eventually(lambda: not exporting(), 60.0)


@pytest.fixture
def silent() -> Iterator[str]:
    """A collector's URL where connections are taken and nothing is ever answered."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1/traces"


def sampled(traceparent: str | None) -> bool:
    """Whether its trace is kept, as another library reads it."""
    read = TraceParent.from_string(traceparent or "")
    assert read is not None
    return bool(read.trace_options.recorded)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\xff",
        UPSTREAM.upper().encode(),
        UPSTREAM[:-1].encode(),
        UPSTREAM.encode() + b"\n",
        UPSTREAM.encode() + b"-00",
        b"ff" + UPSTREAM[2:].encode(),
        b"00-" + b"0" * 32 + UPSTREAM[35:].encode(),
        UPSTREAM[:36].encode() + b"0" * 16 + b"-01",
    ],
)
def test_what_is_no_traceparent_is_not_handed_on(value: bytes | None) -> None:
    assert traceparent_of([("traceparent", value)]) is None


def test_a_traceparent_is_handed_on_as_it_came() -> None:
    assert traceparent_of([("ce_id", b"x"), ("traceparent", UPSTREAM.encode())]) == UPSTREAM
    assert trace_headers(UPSTREAM) == (("traceparent", UPSTREAM.encode()),)
    assert traceparent_of([]) is None
    assert trace_headers(None) == ()


def test_of_two_neither_is_believed() -> None:
    assert traceparent_of([("traceparent", UPSTREAM.encode())] * 2) is None


@settings(deadline=None, derandomize=True)
@given(st.one_of(st.from_regex(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", fullmatch=True), st.text("0f-")))
def test_opentelemetry_reads_what_is_handed_on(value: str) -> None:
    read = TraceContextTextMapPropagator().extract({"traceparent": value})
    assert (traceparent_of([("traceparent", value.encode())]) is not None) == bool(read)


def test_without_traces_a_step_hands_on_what_it_was_given() -> None:
    with NO_TRACES.begin("attempt", UPSTREAM, "client", endpoint="crm") as span:
        span.note("refused", status=500)
        assert span.traceparent == UPSTREAM
    with NO_TRACES.begin("poll", None) as span:
        assert span.traceparent is None


async def test_a_step_continues_the_trace_that_it_was_given() -> None:
    async with collector() as there:
        async with tracing(TracesConfig(endpoint=there.url), "tests") as traces:
            with traces.begin("first", UPSTREAM, "consumer", account=7) as first:
                assert first.traceparent is not None
                with traces.begin("second", first.traceparent, "client", began=1_700_000_000_000) as second:
                    second.note("refused", status=500, nothing=None)
        one, other = there.named("first")[0], there.named("second")[0]
        assert (one.service, one.trace, one.parent) == ("tests", UPSTREAM[3:35], UPSTREAM[36:52])
        assert (other.trace, other.parent) == (one.trace, one.id)
        assert one.attributes == {"ringcloud.account": 7}
        assert other.attributes == {"ringcloud.status": 500}
        assert other.began == 1_700_000_000_000_000_000
        assert (other.failed, other.failure, one.failed) == (True, "refused", False)
        read = TraceParent.from_string(first.traceparent)
        assert read is not None
        assert (read.trace_id, read.span_id, read.trace_options.recorded) == (one.trace, one.id, True)


async def test_an_error_is_noted_by_its_type_and_without_its_text() -> None:
    async with collector() as there:
        async with tracing(TracesConfig(endpoint=there.url), "tests") as traces:
            with pytest.raises(ValueError, match="secret"), traces.begin("step", None):
                raise ValueError("a secret")
        (span,) = there.spans
        assert (span.failed, span.failure) == (True, "ValueError")
        assert "secret" not in str(span)


async def test_what_is_not_sampled_is_not_sent_and_says_so_down_the_line() -> None:
    async with collector() as there:
        async with tracing(TracesConfig(endpoint=there.url, sample_ratio=0.0), "tests") as traces:
            with traces.begin("poll", None) as begun:
                assert not sampled(begun.traceparent)
            # Who began the trace has decided for all of it.
            with traces.begin("attempt", UPSTREAM) as given:
                assert sampled(given.traceparent)
        async with tracing(TracesConfig(endpoint=there.url), "tests") as traces:
            with traces.begin("attempt", begun.traceparent) as given:
                assert not sampled(given.traceparent)
        assert [one.trace for one in there.spans] == [UPSTREAM[3:35]]


async def test_where_opentelemetry_is_told_to_be_off_nothing_is_made_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    async with collector() as there:
        async with tracing(TracesConfig(endpoint=there.url), "tests") as traces:
            with traces.begin("poll", None) as begun, traces.begin("attempt", UPSTREAM) as given:
                assert (begun.traceparent, given.traceparent) == (None, UPSTREAM)
        assert there.spans == []


async def test_a_collector_that_never_answers_costs_no_more_than_what_may_wait(
    silent: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with asyncio.timeout(60):
        async with tracing(TracesConfig(endpoint=silent), "tests") as traces:
            for _ in range(MANY):
                with traces.begin("step", None):
                    pass
            (batches,) = traces._tracer.span_processor._span_processors  # type: ignore[attr-defined]
            assert 0 < len(batches._batch_processor._queue) <= 4096
    assert "Queue full, dropping Span." in caplog.text


@pytest.mark.parametrize(
    "endpoint",
    [
        "collector:4318",
        "ftp://collector/v1/traces",
        "http://collector:4318",
        "http://user:hush@collector/v1/traces",
        "http://collector/v1/traces?token=hush",
    ],
)
def test_a_collector_is_a_whole_url_without_secrets(endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(f'[traces]\nendpoint = "{endpoint}"\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"traces\.endpoint: ") as raised:
        load(path)
    assert "hush" not in str(raised.value)


@pytest.mark.parametrize("endpoint", ["", "http://[::1]:4318/v1/traces", "https://otlp.example.com/otlp/v1/traces"])
def test_collectors_that_are(endpoint: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(f'[traces]\nendpoint = "{endpoint}"\nsample_ratio = 0.1\n', encoding="utf-8")
    assert load(path).traces == TracesConfig(endpoint=endpoint, sample_ratio=0.1)


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run code in a Python of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=120, check=False
    )


def test_where_traces_are_off_opentelemetry_is_not_imported() -> None:
    code = (
        "import asyncio, sys\n"
        "import gateway.cli, gateway.service, gateway.api.service, streams.service\n"
        "from gateway.config import TracesConfig\n"
        "from gateway.runtime.tracing import check_traces, tracing\n"
        "async def main():\n"
        "    async with tracing(TracesConfig(), 'tests') as traces:\n"
        "        with traces.begin('poll', None, account=1) as span: span.note(events=1)\n"
        "check_traces(TracesConfig())\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])\n"
    )
    done = run(code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# What an installation without the extra is like: the name can't be imported.
WITHOUT = "import sys; sys.modules['opentelemetry'] = None\nfrom gateway.cli import main\nmain(sys.argv[1:])\n"


@pytest.mark.parametrize("command", ["check", "poll", "streams"])
def test_asked_for_without_the_extra_they_are_an_error_at_the_start(command: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text(
        '[kafka]\nbootstrap = "127.0.0.1:9"\n[metrics]\ngateway = "127.0.0.1:0"\nstreams = "127.0.0.1:0"\n'
        '[traces]\nendpoint = "http://127.0.0.1:9/v1/traces"\n',
        encoding="utf-8",
    )
    done = run(WITHOUT, command, str(path))
    assert done.returncode == 1
    said = "traces.endpoint: traces need what `pip install 'ringcloud-gateway[traces]'` installs"
    assert said in done.stderr
    assert "Traceback" not in done.stderr
