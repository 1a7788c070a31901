"""API keys: made, listed, regenerated and revoked over the admin API and the command line, and their rights."""

import asyncio

import msgspec
import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from sandbox.auth import NewKey
from sandbox.main import main
from sandbox.settings import KeySpec

KEYS = [
    KeySpec("1000_all", "p"),
    KeySpec("1000_ro", "p", users="RO", calls="RO"),
    KeySpec("1000_users", "p", calls="RO"),
    KeySpec("1000_calls", "p", users="RO"),
]
USER_CHANGES = [
    "update_password",
    "update_extension_number",
    "update_email",
    "voice_mail_box_on",
    "voice_mail_box_off",
]
PARAMS = {"password": "p", "mail": "a@b.example"}


@pytest.mark.parametrize(
    ("key", "users", "calls"),
    [("1000_all", 200, 200), ("1000_ro", 403, 403), ("1000_users", 200, 403), ("1000_calls", 403, 200)],
)
async def test_rights_are_asked_for_each_change(start, key, users, calls):
    api = await start(keys=KEYS)
    asked = {"key": key, "password": "p"}
    for change in USER_CHANGES:
        answer = await api.change(f"/v1/users/400/{change}", asked, num="450", **PARAMS)
        assert answer.status == users, change
    answer = await api.change("/v1/users/create", asked, num="451", **PARAMS)
    assert answer.status == users
    assert len(api.pbx.users(1000)) == (11 if users == 200 else 10)
    assert (await api.originate("400", "74950001122", **asked)).status == calls
    assert len(api.pbx.ledger.records()) == (1 if calls == 200 else 0)
    for path in ("/v1/users", "/v1/users/400/records", "/v1/calls/active", "/v1/accounts/1000/balance"):
        assert (await api.get(path, **asked)).status == 200


async def test_a_right_that_is_missing_uses_no_slot(start):
    api = await start(keys=KEYS)
    for _ in range(2):
        assert (await api.originate("400", "401", key="1000_ro", password="p")).failure == 403


async def test_the_life_of_a_key(api):
    with capture_logs() as logs:
        made = await api.request("POST", "/_sandbox/keys", key=None, body={"account": 1000, "calls": "RO"})
        key, password = made.json["key"], made.json["password"]
        assert made.json == {"key": key, "password": password, "account": 1000, "users": "RW", "calls": "RO"}
        assert key.startswith("1000_")
        assert (await api.get("/v1/users", key=key, password=password)).status == 200

        listed = await api.admin("keys")
        assert [one["key"] for one in listed] == ["1000_demo", key]
        assert all(set(one) == {"key", "account", "users", "calls"} for one in listed)

        again = await api.request("POST", f"/_sandbox/keys/{key}/password", key=None)
        assert (again.json["key"], again.json["calls"]) == (key, "RO")
        assert again.json["password"] != password
        api.clock.advance(1)
        assert (await api.get("/v1/users", key=key, password=password)).failure == 403
        assert (await api.get("/v1/users", key=key, password=again.json["password"])).status == 200

        assert (await api.request("DELETE", f"/_sandbox/keys/{key}", key=None)).status == 200
        assert (await api.get("/v1/users", key=key, password=again.json["password"])).failure == 403
        assert [one["key"] for one in await api.admin("keys")] == ["1000_demo"]
    assert password not in repr(logs)
    assert password not in repr(msgspec.convert(made.json, NewKey))


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "keys", {"account": 1001}, 400),
        ("POST", "keys", {"account": 1000, "calls": "WO"}, 400),
        ("POST", "keys", {}, 400),
        ("PUT", "keys", {}, 405),
        ("DELETE", "keys/1000_nobody", None, 404),
        ("POST", "keys/1000_nobody/password", None, 404),
        ("GET", "keys/1000_demo", None, 405),
        ("GET", "keys/", None, 404),
    ],
)
async def test_the_admin_api_refuses(api, method, path, body, status):
    answer = await api.request(method, f"/_sandbox/{path}", key=None, body=body)
    assert (answer.status, list(answer.json)) == (status, ["error"])


async def test_the_command_line(api):
    async def run(*options: str) -> tuple[int, str]:
        # The command has an event loop of its own, so it gets a thread of its own.
        result = await asyncio.to_thread(CliRunner().invoke, main, ["keys", *options, "--url", api.server.url])
        return result.exit_code, result.output

    code, output = await run("create", "--account", "1000", "--users", "RO")
    made = msgspec.json.decode(output)
    assert (code, made["users"], made["calls"]) == (0, "RO", "RW")
    key = made["key"]
    assert (await api.get("/v1/users", key=key, password=made["password"])).status == 200

    code, output = await run("list")
    assert [msgspec.json.decode(line)["key"] for line in output.splitlines()] == ["1000_demo", key]
    assert made["password"] not in output

    code, output = await run("regenerate", key)
    api.clock.advance(1)
    assert (await api.get("/v1/users", key=key, password=made["password"])).failure == 403
    assert (await api.get("/v1/users", key=key, password=msgspec.json.decode(output)["password"])).status == 200

    assert await run("revoke", key) == (0, "")
    assert await run("revoke", key) == (1, "Error: no such key\n")
    assert (await run("create", "--account", "7"))[1] == "Error: no such account\n"
    await api.server.__aexit__(None, None, None)
    code, output = await run("list")
    assert (code, output.startswith("Error: no sandbox answers at ")) == (1, True)
