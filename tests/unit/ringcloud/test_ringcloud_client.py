"""The client over real HTTP: what it sends and in what order, and what it makes of good answers."""

from __future__ import annotations

import asyncio
from urllib.parse import unquote

import pytest

from gateway.ringcloud import (
    ActiveRow,
    AuthenticationError,
    BadParameters,
    DeadlineExceeded,
    Flight,
    Http,
    Limiter,
    MethodNotAllowed,
    NotFound,
    Priority,
    RateLimited,
    RingCloud,
    RingCloudError,
    ServerError,
    UnexpectedStatus,
)
from gateway.ringcloud.limits import ACTIVE, OPERATIONS, ORIGINATE, USER, operation_of
from tests.unit.ringcloud.clients import (
    HASH,
    KEY,
    PASSWORD,
    ROW,
    StoppedClock,
    client,
    failure,
    md5,
    no_secret,
)
from tests.unit.ringcloud.scripted_server import hang, reply, scripted


async def test_five_lines_originate_a_call() -> None:
    async with scripted(reply({"id": 1})) as script, RingCloud(KEY, PASSWORD, base_url=script.url) as api:
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
    names = ["SIP/400-0000001a", "Local/1@ctx;2 ?#%+é", "a/../b", "%2F", "400"]
    async with scripted(reply({"Channel": "x", "user": "x"})) as script, client(script) as api:
        for name in names:
            await api.channel(name)
        await api.user("400/1")
    assert script.asked[0].path == "/v1/calls/channels/SIP%2F400-0000001a"
    assert {asked.path.count("/") for asked in script.asked[:-1]} == {4}
    assert [unquote(asked.path.split("/")[-1]) for asked in script.asked] == [*names, "400/1"]
    for name in ("", ".", ".."):
        with pytest.raises(BadParameters):
            await api.user(name)


async def test_any_key_and_parameter_arrive_as_they_are() -> None:
    odd = "1_a+b c&d=é%2F#?/\\\"'"
    async with scripted(reply([])) as script, RingCloud(odd, odd, base_url=f"{script.url}/prefix/") as api:
        await api.completed_calls(num=odd)
    (asked,) = script.asked
    assert asked.path == "/prefix/v1/calls/complite"
    assert asked.query == {
        "api_key": odd,
        "hash": md5(odd + odd),
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
        with pytest.raises(ValueError, match=r"not a base URL|no such time zone"):
            RingCloud(KEY, PASSWORD, **wrong)  # type: ignore[arg-type]


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
