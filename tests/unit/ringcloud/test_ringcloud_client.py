"""The client over real HTTP: what it sends, what it makes of each answer, and that no secret gets out."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
import logging
import traceback
from collections.abc import Callable

import pytest

from gateway.ringcloud import (
    ActiveRow,
    AuthenticationError,
    BadParameters,
    DeadlineExceeded,
    EnvelopeError,
    Flight,
    Http,
    Limiter,
    MethodNotAllowed,
    NotFound,
    Priority,
    RateLimited,
    ResponseTooLarge,
    RingCloud,
    RingCloudError,
    RowError,
    ServerError,
    TransportError,
    UnexpectedStatus,
)
from gateway.ringcloud.clock import Timer
from gateway.ringcloud.limits import ACTIVE, OPERATIONS, ORIGINATE, USER, operation_of
from tests.unit.ringcloud.scripted_server import Behaviour, Script, begin, drop, hang, raw, reply, scripted

KEY, PASSWORD = "1000_s3cr3tk3y", "p4ssw0rd/&+é"
HASH = hashlib.md5(f"{KEY}{PASSWORD}".encode()).hexdigest()
SECRETS = (KEY, PASSWORD, HASH)
ROW = {"src": "400", "dst": "401", "seconds": 3, "status": "current"}


class NoClock:
    """A clock at which every lane is always free: what is tested here is not the limiter."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        self.time += 1000.0
        return self.time

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        raise AssertionError("nobody waits")

    async def sleep_until(self, when: float) -> None:
        raise AssertionError("nobody sleeps")


class StoppedClock(NoClock):
    """A clock that stands still."""

    def now(self) -> float:
        return 100.0

    def call_at(self, when: float, call: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(3600, call)


def client(script: Script | str, **settings: object) -> RingCloud:
    url = script if isinstance(script, str) else script.url
    return RingCloud(KEY, PASSWORD, base_url=url, **{"limiter": Limiter(NoClock()), **settings})  # type: ignore[arg-type]


def no_secret(error: BaseException) -> None:
    """Nothing that anybody could print of an error holds a secret, what it came from included."""
    whole = [
        str(error),
        repr(error),
        repr(vars(error)),
        "".join(traceback.format_exception(error)),
        repr(error.__cause__),
        repr(error.__context__),
    ]
    for secret in SECRETS:
        assert not any(secret in text for text in whole)


async def failure(script: Script | str, kind: type[RingCloudError], **settings: object) -> RingCloudError:
    async with client(script, **settings) as api:
        with pytest.raises(kind) as raised:
            await api.active_calls()
    no_secret(raised.value)
    assert type(raised.value) is kind
    assert raised.value.url == f"{script if isinstance(script, str) else script.url}/v1/calls/active"
    return raised.value


async def test_five_lines_originate_a_call() -> None:
    async with scripted(reply({"id": 1})) as script:
        async with RingCloud(KEY, PASSWORD, base_url=script.url) as api:
            assert await api.originate(user="400", num="74950001122") == {"id": 1}
    (asked,) = script.asked
    assert (asked.method, asked.path) == ("POST", "/v1/calls")
    assert asked.query == {"api_key": KEY, "hash": HASH}
    assert asked.body == b'{"params":{"user":"400","num":"74950001122"}}'
    assert asked.headers["Content-Type"] == "application/json"


async def test_a_poll_carries_what_is_needed_to_compare_and_to_date_it() -> None:
    times = iter([1_000, 1_250])
    date = {"Date": "Tue, 03 Mar 2026 09:30:00 GMT"}
    async with scripted(reply([ROW], headers=date)) as script, Http(wall=lambda: next(times)) as http:
        api = client(script, http=http)
        answer = await api.fetch_active()
    assert (
        answer.body
        == b'{"status":"success","message":null,"data":[{"src":"400","dst":"401","seconds":3,"status":"current"}]}'
    )
    assert (answer.sent_at, answer.received_at, answer.server_date) == (1_000, 1_250, 1_772_530_200_000)
    assert api.read_active(answer) == [ActiveRow("400", "401", 3, "current")]


@pytest.mark.parametrize("date", ["", "soon", "Tue, 99 Mar 2026 09:30:00 GMT", "0"])
async def test_a_date_that_is_none_is_ignored(date: str) -> None:
    async with scripted(reply([], headers={"Date": date})) as script, client(script) as api:
        assert (await api.fetch_active()).server_date is None


@pytest.mark.parametrize(
    ("status", "kind", "maybe_done"),
    [
        (400, BadParameters, False),
        (401, AuthenticationError, False),
        (403, AuthenticationError, False),
        (404, NotFound, False),
        (405, MethodNotAllowed, False),
        (429, RateLimited, False),
        (500, ServerError, True),
        (502, ServerError, True),
        (599, ServerError, True),
        (201, UnexpectedStatus, True),
        (204, UnexpectedStatus, True),
        (418, UnexpectedStatus, True),
    ],
)
async def test_each_status_has_its_error(status: int, kind: type[RingCloudError], maybe_done: bool) -> None:
    async with scripted(reply(status=status, message=f"no: {KEY} {HASH} {PASSWORD}")) as script:
        error = await failure(script, kind)
    assert error.status == status
    assert error.message == ("no: *** *** ***" if status != 204 else UnexpectedStatus().message)
    assert error.maybe_done is maybe_done


async def test_redirects_are_not_followed() -> None:
    async with scripted(raw(b"", status=302, headers={"Location": "/v1/users"})) as script:
        error = await failure(script, UnexpectedStatus)
    assert (error.status, len(script.asked)) == (302, 1)


@pytest.mark.parametrize("body", [b"", b"<html>504 Gateway Time-out</html>", b'{"status": "error"}'])
async def test_a_failure_without_an_envelope_is_told_by_its_status(body: bytes) -> None:
    async with scripted(raw(body, status=500)) as script:
        assert (await failure(script, ServerError)).message == "RingCloud failed."


async def test_what_is_no_success_with_status_200() -> None:
    async with scripted(raw(b"<html>fine</html>", headers={"Content-Type": "text/html"})) as script:
        await failure(script, EnvelopeError)
    async with scripted(reply(message=f"key {KEY} is asleep")) as script:
        assert (await failure(script, EnvelopeError)).message == "key *** is asleep"
    async with scripted(reply([ROW, {**ROW, "seconds": -1}])) as script:
        error = await failure(script, RowError)
    assert isinstance(error, RowError)
    assert (error.row, error.field, error.status) == (1, "seconds", 200)


async def test_a_dropped_connection() -> None:
    async with scripted(drop) as script:
        error = await failure(script, TransportError)
    assert (error.maybe_done, error.status) == (True, None)


async def test_a_truncated_body() -> None:
    for length in (1000, None):
        async with scripted(begin(b'{"status":"success","data":[', length=length)) as script:
            error = await failure(script, TransportError)
        assert (error.maybe_done, error.status) == (True, 200)


async def test_what_is_not_http() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        await failure(f"http://{host}:{port}", TransportError)


async def test_nobody_listens() -> None:
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    server.close()
    await server.wait_closed()
    error = await failure(f"http://{host}:{port}", TransportError)
    assert isinstance(error, TransportError)
    assert error.maybe_sent is False
    assert error.maybe_done is False


async def test_a_name_that_does_not_exist() -> None:
    error = await failure("http://nowhere.invalid", TransportError)
    assert error.maybe_done is False


@pytest.mark.parametrize("behaviour", [hang, begin(b"{", length=10, then=hang)])
async def test_the_timeout_bounds_the_whole_request(behaviour: Behaviour) -> None:
    async with scripted(behaviour) as script:
        error = await failure(script, TransportError, timeout=0.2)
    assert error.maybe_done
    assert "within 0.2 s" in error.message


async def test_a_pool_that_is_full_is_no_request_sent() -> None:
    async with scripted(hang) as script, Http(max_connections=1) as http:
        first = asyncio.create_task(client(script, http=http, timeout=60).active_calls())
        await script.arrived.wait()
        error = await failure(script, TransportError, http=http, timeout=0.1)
        assert error.maybe_done is False
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
    assert len(script.asked) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        raw(b"x" * 5000),
        begin(b"x" * 5000, then=hang),
        raw(gzip.compress(b"x" * 5000), headers={"Content-Encoding": "gzip"}),
        raw(b"x" * 5000, status=500),
    ],
)
async def test_an_answer_that_is_too_large_is_not_read(behaviour: Behaviour) -> None:
    async with scripted(behaviour) as script:
        error = await failure(script, ResponseTooLarge, max_response_bytes=4096)
    assert "4096" in error.message


async def test_content_encoding_is_undone_and_a_broken_one_is_an_error() -> None:
    body = b'{"status":"success","data":[]}'
    async with (
        scripted(raw(gzip.compress(body), headers={"Content-Encoding": "gzip"})) as script,
        client(script) as api,
    ):
        assert (await api.fetch_active()).body == body
    async with scripted(raw(body, headers={"Content-Encoding": "gzip"})) as script:
        await failure(script, EnvelopeError)


async def test_a_get_is_not_repeated_on_a_kept_connection_that_is_closed() -> None:
    async with scripted(reply([]), drop, reply([])) as script, client(script) as api:
        await api.fetch_active()
        with pytest.raises(TransportError):
            await api.fetch_active()
        assert len(script.asked) == 2
        assert script.asked[0].connection == script.asked[1].connection


async def test_a_post_has_a_connection_of_its_own() -> None:
    async with scripted(reply([])) as script, client(script) as api:
        for _ in range(2):
            await api.active_calls()
            await api.originate("400", "1")
    gets = {asked.connection for asked in script.asked if asked.method == "GET"}
    posts = {asked.connection for asked in script.asked if asked.method == "POST"}
    assert (len(gets), len(posts)) == (1, 2)
    assert not gets & posts


async def test_cancelled_in_the_air_the_flight_tells() -> None:
    flight = Flight()
    async with scripted(hang) as script, client(script) as api:
        call = asyncio.create_task(api.originate("400", "1", flight=flight))
        await script.arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert flight.maybe_sent


async def test_cancelled_in_the_queue_nothing_was_sent() -> None:
    flight = Flight()
    async with scripted(reply()) as script, client(script, limiter=Limiter(StoppedClock())) as api:
        await api.originate("400", "1")
        call = asyncio.create_task(api.originate("400", "2", flight=flight))
        await asyncio.sleep(0)
        assert api.estimate(ORIGINATE) == pytest.approx(100 + 2 * 5.002)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
    assert not flight.maybe_sent
    assert len(script.asked) == 1


async def test_before_send_comes_before_the_request_and_can_stop_it() -> None:
    async with scripted(reply()) as script, client(script) as api:

        async def look() -> None:
            assert not script.asked

        async def stop() -> None:
            raise LookupError

        await api.originate("400", "1", before_send=look)
        with pytest.raises(LookupError):
            await api.originate("400", "1", before_send=stop)
    assert len(script.asked) == 1


async def test_a_deadline_that_cannot_be_met_is_told_before_anything_is_sent() -> None:
    async with scripted(reply([])) as script, client(script, limiter=Limiter(StoppedClock())) as api:
        await api.active_calls()
        with pytest.raises(DeadlineExceeded) as raised:
            await api.active_calls(priority=Priority.COMMAND, deadline=api.now() + 1)
    no_secret(raised.value)
    assert raised.value.url == f"{script.url}/v1/calls/active"
    assert not raised.value.maybe_done
    assert len(script.asked) == 1


async def test_a_429_tells_when_the_lane_is_free_again() -> None:
    limiter = Limiter(StoppedClock())
    async with scripted(reply(status=429, message="slower", headers={"Retry-After": "30"})) as script:
        error = await failure(script, RateLimited, limiter=limiter)
    assert isinstance(error, RateLimited)
    assert error.retry_after == pytest.approx(30.002)
    assert limiter.rate_limited == 1


async def test_a_request_that_failed_leaves_its_lane_usable() -> None:
    async with scripted(hang, drop, reply(status=500), reply([])) as script, client(script, timeout=0.2) as api:
        for _ in range(3):
            with pytest.raises(RingCloudError):
                await api.active_calls()
        assert await api.active_calls() == []


@pytest.mark.parametrize(("first", "second"), [("complite", "complete"), ("complete", "complite")])
async def test_the_other_spelling_is_tried_once_and_remembered(first: str, second: str) -> None:
    async with scripted(reply(status=404), reply([])) as script, client(script, completed_path=first) as api:
        assert await api.completed_calls(days=1) == []
        assert await api.completed_calls(days=1, num="400") == []
    assert [asked.path for asked in script.asked] == [f"/v1/calls/{name}" for name in (first, second, second)]
    assert [asked.query.get("num") for asked in script.asked] == [None, None, "400"]
    assert {asked.query["days"] for asked in script.asked} == {"1"}


async def test_where_neither_spelling_is_found_that_is_the_answer() -> None:
    async with scripted(reply(status=404)) as script, client(script) as api:
        with pytest.raises(NotFound):
            await api.completed_calls()
    assert [asked.path for asked in script.asked] == ["/v1/calls/complite", "/v1/calls/complete"]


async def test_names_are_encoded_into_the_path() -> None:
    async with scripted(reply({"Channel": "x", "user": "x"})) as script, client(script) as api:
        await api.channel("SIP/400-0000001a")
        await api.channel("Local/1@ctx;2 ?#%+é")
        await api.user("a/../b")
    assert [asked.path for asked in script.asked] == [
        "/v1/calls/channels/SIP%2F400-0000001a",
        "/v1/calls/channels/Local%2F1%40ctx%3B2%20%3F%23%25%2B%C3%A9",
        "/v1/users/a%2F..%2Fb",
    ]
    for name in ("", ".", ".."):
        with pytest.raises(BadParameters):
            await api.user(name)


async def test_any_key_and_parameter_arrive_as_they_are() -> None:
    odd = "1_a+b c&d=é%2F#?/\\\"'"
    async with scripted(reply([])) as script:
        async with RingCloud(odd, odd, base_url=f"{script.url}/prefix/") as api:
            await api.completed_calls(num=odd)
    (asked,) = script.asked
    assert asked.path == "/prefix/v1/calls/complite"
    assert asked.query == {
        "api_key": odd,
        "hash": hashlib.md5((odd + odd).encode()).hexdigest(),
        "days": "7",
        "num": odd,
    }


async def test_cookies_of_one_account_are_not_sent_for_another() -> None:
    async with scripted(reply([], headers={"Set-Cookie": "session=1"})) as script, Http() as http:
        await client(script, http=http).active_calls()
        await client(script, http=http).active_calls()
    assert not any("Cookie" in asked.headers for asked in script.asked)


async def test_a_shared_pool_outlives_its_clients() -> None:
    async with scripted(reply([])) as script, Http() as http:
        for _ in range(2):
            async with client(script, http=http) as api:
                await api.active_calls()
        assert len({asked.connection for asked in script.asked}) == 1


async def test_the_environments_proxy_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    async with scripted(reply([])) as script, client(script) as api:
        assert await api.active_calls() == []


def test_wrong_settings_are_refused() -> None:
    for wrong in ({"time_zone": "Mars/Olympus"}, {"time_zone": "../etc/passwd"}, {"base_url": "api.ringcloud.ru"}):
        with pytest.raises(ValueError, match="not a base URL|no such time zone"):
            RingCloud(KEY, PASSWORD, **wrong)


def test_a_client_does_not_show_its_secrets() -> None:
    assert not any(secret in repr(RingCloud(KEY, PASSWORD)) for secret in SECRETS)


async def test_no_log_line_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore", "aiohttp", "aiohttp.client", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    loop.slow_callback_duration = 0.0  # every step is logged as slow
    behaviours = [
        reply([ROW], headers={"Set-Cookie": "a=b; expires=never; ="}),
        reply(status=403, message=f"{KEY} {HASH}"),
        drop,
        begin(b"{", length=10),
        raw(b"x", headers={"Content-Encoding": "gzip"}),
        hang,
    ]
    async with scripted(*behaviours) as script, client(script, timeout=0.2) as api:
        await api.active_calls()
        for _ in behaviours[1:]:
            with pytest.raises(RingCloudError) as raised:
                await api.active_calls()
            logging.getLogger("user").error("failed", exc_info=raised.value)
        with pytest.raises(RingCloudError):
            await api.originate("400", "1")
    loop.set_debug(False)
    gc.collect()
    lines = [caplog.handler.format(record) for record in caplog.records]
    assert any("slow" in line or "took" in line for line in lines)
    for secret in (*SECRETS, "api_key"):
        assert not any(secret in line for line in lines)


def test_every_url_has_its_interval() -> None:
    intervals = {(o.method, o.template): o.interval for o in OPERATIONS}
    assert len(intervals) == len(OPERATIONS)
    assert intervals["POST", "/v1/users/create"] == 60
    assert intervals["GET", "/v1/calls/channels/{}"] == 2
    assert operation_of("GET", ACTIVE.path()) is ACTIVE
    assert operation_of("GET", USER.path("a/b")) is USER
    for operation in OPERATIONS:
        names = ["x"] * operation.template.count("{}")
        assert operation_of(operation.method, operation.path(*names)) is operation
    assert operation_of("DELETE", "/v1/users") is None
    assert operation_of("GET", "/v2/users") is None
