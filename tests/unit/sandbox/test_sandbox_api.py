"""Every status of the API, its envelope, authentication, users, channels and origination over HTTP."""

import asyncio
import hashlib
import io

import msgspec
import pytest
from structlog.testing import capture_logs

from sandbox.pbx import UnknownUserError
from sandbox.settings import KeySpec, SandboxSettings

ALL_GETS = [
    "/v1/users",
    "/v1/users/400",
    "/v1/calls/active",
    "/v1/calls/complite",
    "/v1/calls/complete",
    "/v1/calls/channels",
]


@pytest.mark.parametrize("path", ALL_GETS)
async def test_reads_are_enveloped(api, path):
    answer = await api.get(path)
    assert answer.data is not None
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("path", [*ALL_GETS, "/v1/calls/channels/SIP%2F400-00000002"])
async def test_403_for_every_way_not_to_be_known(api, path):
    right = hashlib.md5(b"1000_demodemo", usedforsecurity=False).hexdigest()
    for wrong in (
        {"key": None},
        {"key": None, "api_key": "1000_demo"},
        {"key": None, "hash": right},
        {"key": "1000_other"},
        {"key": "", "password": ""},
        {"password": "wrong"},
        {"sign": ""},
        {"sign": "é" * 32},
        {"sign": "-" * 32},
    ):
        assert (await api.get(path, **wrong)).failure == 403, wrong
    assert (await api.request("GET", path, key="1000_demo", sign="0" * 32)).failure == 403


async def test_an_unknown_key_is_not_let_in_by_the_placeholder_hash(api):
    assert (await api.get("/v1/users", key="1_nobody", sign="-" * 32)).failure == 403


async def test_the_hash_is_lower_case_hex(api):
    upper = hashlib.md5(b"1000_demodemo", usedforsecurity=False).hexdigest().upper()
    assert (await api.get("/v1/users", sign=upper)).failure == 403


async def test_a_refused_hash_uses_no_slot(api):
    assert (await api.get("/v1/calls/active", password="wrong")).failure == 403
    assert (await api.get("/v1/calls/active")).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/calls/",
        "/v1/calls/active/",
        "/v1/calls/activ",
        "/v2/calls/active",
        "/v1/users/",
        "/v1/users/400/nothing",
        "/v1/calls/channels/SIP/400-00000002",
    ],
)
async def test_404_for_no_such_url(api, path):
    assert (await api.get(path)).failure == 404


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/calls", "POST"),
        ("POST", "/v1/calls/active", "GET"),
        ("PUT", "/v1/calls/complete", "GET"),
        ("DELETE", "/v1/users/400", "GET"),
        ("POST", "/v1/calls/channels/SIP%2F400-00000002", "GET"),
    ],
)
async def test_405_for_another_method(api, method, path, allow):
    answer = await api.request(method, path)
    assert answer.failure == 405
    assert answer.headers["Allow"] == allow


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"user": "400", "num": "74950001234"}',
        b'{"params": null}',
        b'{"params": []}',
        b'{"params": {}}',
        b'{"params": {"user": "400"}}',
        b'{"params": {"num": "74950001234"}}',
        b'{"params": {"user": "400", "num": ""}}',
        b'{"params": {"user": "400", "num": null}}',
        b'{"params": {"user": "400", "num": true}}',
        b'{"params": {"user": "400", "num": "call me"}}',
        b'{"params": {"user": ["400"], "num": "74950001234"}}',
        b'{"params": {"user": "nobody", "num": "74950001234"}}',
        pytest.param(io.BytesIO(b" " * 2_000_000), id="too large"),
    ],
)
async def test_400_for_a_wrong_body(api, raw):
    answer = await api.request("POST", "/v1/calls", raw=raw)
    assert answer.failure == 400
    assert api.pbx.ledger.records() == []


async def test_400_for_a_user_that_does_not_exist(api):
    assert (await api.get("/v1/users/499")).failure == 400


async def test_500_is_enveloped_and_logs_no_secret(api):
    # A lone surrogate cannot be encoded, so that the active list fails in earnest.
    api.pbx.place_call(1000, "\ud800", "400", "incoming", 60_000)
    with capture_logs() as logs:
        assert (await api.get("/v1/calls/active")).failure == 500
    assert [entry["event"] for entry in logs] == ["request failed"]
    text = repr(logs)
    assert "UnicodeEncodeError" in text
    assert "hash=" not in text
    assert "demo" not in text.replace("1000_demo", "")


async def test_a_request_that_cannot_be_parsed_leaves_no_secret_in_the_log(api, caplog):
    caplog.set_level("DEBUG")
    port = int(api.server.url.rpartition(":")[2])
    digest = hashlib.md5(b"1000_demodemo", usedforsecurity=False).hexdigest()
    url = f"/v1/calls/active?api_key=1000_demo&hash={digest}"
    for head in (f"GET {url}&x={'a' * 20_000} HTTP/1.1", f"GET {url} HTTP/x", f"G@T {url} HTTP/1.1"):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{head}\r\nHost: x\r\n\r\n".encode())
        assert b" 400 " in await asyncio.wait_for(reader.readline(), 10)
        writer.close()
        await writer.wait_closed()
    assert "sandbox.http" in {record.name for record in caplog.records}
    assert digest not in caplog.text


async def test_users(api):
    users = (await api.get("/v1/users")).data
    assert [user["user"] for user in users] == [str(number) for number in range(400, 410)]
    one = (await api.get("/v1/users/403")).data
    assert set(one) == {"account_id", "num", "user", "voice_mail_box", "mail", "password"}
    assert (one["account_id"], one["num"], one["user"]) == (1000, "403", "403")
    assert one["voice_mail_box"] in ("on", "off")
    assert one in users


async def test_accounts_are_apart(start):
    api = await start(keys=[KeySpec("1000_a", "x"), KeySpec("1001_b", "y"), KeySpec("1000_c", "z")])
    api.pbx.place_call(1000, "74950000001", "400", "incoming", 60_000)
    assert len((await api.get("/v1/calls/active", key="1000_a", password="x")).data) == 1
    assert len((await api.get("/v1/calls/active", key="1000_c", password="z")).data) == 1
    assert (await api.get("/v1/calls/active", key="1001_b", password="y")).data == []


@pytest.mark.parametrize("num", ["74950001234", 74950001234, "+74950001234"])
async def test_originate_dials_b_only_after_a_has_answered(api, num):
    answer = await api.originate("405", num)
    assert answer.data is None
    (row,) = (await api.get("/v1/calls/active")).data
    assert row == {"src": "405", "dst": str(num), "seconds": 0, "status": "current"}

    first = (await api.get("/v1/calls/channels")).data
    assert len(first) == 1
    assert first[0].startswith("SIP/405-")
    (record,) = api.pbx.ledger.records()
    assert record.originated_by.a_answered_at is None
    assert record.originated_by.b_dialled_at is None

    waited = 0.0
    while api.pbx.ledger.records()[0].originated_by.b_dialled_at is None:
        assert len(api.pbx.channels(1000)) == 1
        api.clock.advance(0.001)
        waited += 0.001
        assert waited < 5
    assert len(api.pbx.channels(1000)) == 2
    (record,) = api.pbx.ledger.records()
    asked = record.originated_by
    assert (asked.user, asked.num) == ("405", str(num))
    assert 1_000 <= asked.a_answered_at - record.started_at <= 3_000
    assert record.started_at < asked.a_answered_at < asked.b_dialled_at == api.clock.now()

    api.clock.advance(60)
    (record,) = api.pbx.ledger.records()
    assert record.ended_at >= asked.b_dialled_at
    assert record.direction == "outgoing"
    assert record.answered_at is None or record.answered_at >= asked.b_dialled_at
    (row,) = (await api.get("/v1/calls/complete")).data
    assert (row["src"], row["dst"], row["direction"]) == ("405", str(num), "outgoing")


async def test_originate_to_a_colleague_is_internal_and_can_be_scripted(api):
    api.pbx.originate(1000, "400", "401", a_ring_ms=1_500, ring_ms=2_000, talk_ms=4_000)
    api.clock.advance(30)
    (record,) = api.pbx.ledger.records()
    assert record.direction == "internal"
    assert record.disposition == "ANSWERED"
    assert record.originated_by.a_answered_at - record.started_at == 1_500
    assert record.answered_at - record.originated_by.b_dialled_at == 2_000
    assert record.ended_at - record.answered_at == 4_000
    with pytest.raises(UnknownUserError):
        api.pbx.originate(1000, "nobody", "401")
    with pytest.raises(ValueError, match="talk_ms"):
        api.pbx.originate(1000, "400", "401", disposition="ANSWERED")


async def test_channels_are_named_with_a_slash_and_described(api):
    api.pbx.place_call(1000, "74950000001", "402", "incoming", 5_000, 60_000)
    api.clock.advance(7)
    trunk, phone = (await api.get("/v1/calls/channels")).data
    assert trunk.startswith("SIP/trunk-")
    assert phone.startswith("SIP/402-")
    escaped = phone.replace("/", "%2F")
    assert (await api.get(f"/v1/calls/channels/{escaped}")).data == {
        "Channel": phone,
        "CallerIDNum": "402",
        "CallerIDName": "402",
        "ConnectedLineNum": "74950000001",
        "ConnectedLineName": "74950000001",
        "Seconds": 7,
    }
    # Another spelling of one URL is no other lane.
    assert (await api.get(f"/v1/calls/channels/{escaped.replace('%2F', '%2f')}")).failure == 429
    api.clock.advance(120)
    assert (await api.get(f"/v1/calls/channels/{escaped}")).failure == 404
    assert (await api.get("/v1/calls/channels")).data == []


def test_settings_refuse_what_makes_no_sense():
    good = [KeySpec("1000_demo", "demo")]
    for wrong in (
        {"keys": [*good, KeySpec("1000_demo", "other")]},
        {"keys": good, "calls_per_minute": -1},
        {"keys": good, "time_zone": "Europe/Atlantis"},
        {"keys": good, "users_per_account": 1},
    ):
        with pytest.raises(ValueError, match=r"."):
            SandboxSettings(**wrong)
    for key in ("demo", "_demo", "x_demo", "1000_", "1000"):
        with pytest.raises(ValueError, match="form"):
            KeySpec(key, "demo")


def test_passwords_are_not_printed():
    settings = SandboxSettings([KeySpec("1000_a", "s3cret")])
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in str(settings.keys[0])


async def test_admin_urls(api):
    assert (await api.admin("health"))["accounts"] == [1000]
    assert (await api.put("traffic", {"calls_per_minute": 120})).json == {"calls_per_minute": 120.0}
    api.clock.advance(60)
    ledger = await api.admin("ledger", account=1000)
    assert len(ledger) > 50
    assert ledger == msgspec.to_builtins(api.pbx.ledger.records())
    assert await api.admin("ledger", account=1001) == []
    assert (await api.put("traffic", {"calls_per_minute": 0})).status == 200
    api.clock.advance(60)
    assert len(await api.admin("ledger")) == len(ledger)
    assert api.pbx.active_count(1000) == 0


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "nothing", None, 404),
        ("PUT", "ledger", {}, 405),
        ("PUT", "traffic", {}, 400),
        ("PUT", "traffic", {"calls_per_minute": -1}, 400),
        ("PUT", "faults", {"account": 1000, "url": "active", "kind": "explode", "count": 1}, 400),
        ("PUT", "faults", {"account": 1000, "url": "nothing", "kind": "drop", "count": 1}, 400),
        ("PUT", "faults", {"account": 1001, "url": "active", "kind": "drop", "count": 1}, 400),
        ("PUT", "faults", {"account": 1000, "url": "active", "kind": "drop", "count": -1}, 400),
        ("GET", "ledger?account=x", None, 400),
    ],
)
async def test_admin_urls_refuse(api, method, path, body, status):
    path, _, query = path.partition("?")
    extra = dict([query.split("=")]) if query else {}
    answer = await api.request(method, f"/_sandbox/{path}", key=None, body=body, **extra)
    assert answer.status == status
    assert isinstance(answer.json["error"], str)


async def test_stats_count_answers_and_gaps(api):
    for gap in (7.5, 5.25, 1, 0):
        await api.get("/v1/calls/active")
        api.clock.advance(gap)
    await api.get("/v1/users/400")
    await api.get("/v1/nothing")
    stats = await api.admin("stats")
    counts = {(row["method"], row["path"], row["status"]): row["count"] for row in stats["requests"]}
    assert counts == {
        ("GET", "/v1/calls/active", 200): 3,
        ("GET", "/v1/calls/active", 429): 1,
        ("GET", "/v1/users/<username>", 200): 1,
        ("GET", "(unknown)", 404): 1,
    }
    assert stats["rate_limited"] == 1
    active, user = stats["lanes"]
    assert (active["path"], active["accepted"], active["rejected"], active["min_gap_ms"]) == (
        "/v1/calls/active",
        3,
        1,
        1000,
    )
    assert (user["path"], user["accepted"], user["min_gap_ms"]) == ("/v1/users/400", 1, None)
