"""[kafka] as a whole: what contradicts itself is refused, and tokens are asked for as long as they last."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from aiokafka.errors import AuthenticationFailedError

from gateway.config import ConfigError, KafkaConfig, load
from gateway.runtime import security
from gateway.runtime.security import EndpointToken, FileToken, security_settings

PASSWORD = {"username": "env:USER_OF_KAFKA", "password": "env:PASSWORD_OF_KAFKA"}
TOKEN = {"security_protocol": "SASL_SSL", "sasl_mechanism": "OAUTHBEARER"}
CLIENT = {"token_client_id": "env:ID", "token_client_secret": "env:HUSH"}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "a password for nobody": (PASSWORD, "kafka.username: goes with SASL"),
    "a CA without TLS": ({"ca": "file:/ca.pem"}, "kafka.ca: goes with no security_protocol PLAINTEXT"),
    "no user": ({"security_protocol": "SASL_SSL"}, "kafka.username: is needed"),
    "no password": ({"security_protocol": "SASL_SSL", "username": "env:U"}, "kafka.password: is needed"),
    "no token": (TOKEN, "kafka.token: or token_endpoint is needed"),
    "a password with tokens": (
        {**TOKEN, **PASSWORD, "token": "file:/t"},
        "kafka.username: goes with SASL, and with no",
    ),
    "no client": ({**TOKEN, "token_endpoint": "https://a/b"}, "kafka.token_client_id: is needed"),
    "two tokens": (
        {**TOKEN, **CLIENT, "token_endpoint": "https://a/b", "token": "file:/t"},
        "kafka.token: goes with no",
    ),
    "a client without endpoint": ({**TOKEN, **CLIENT, "token": "file:/t"}, "kafka.token_client_id: goes with"),
    "a key alone": ({"security_protocol": "SSL", "client_key": "file:/k"}, "kafka.client_certificate: is needed"),
    "the password itself": (
        {"security_protocol": "SASL_SSL", "username": "env:U", "password": "hush"},
        "kafka.password: must be env:NAME or file:PATH",
    ),
    "no such mechanism": ({"sasl_mechanism": "GSSAPI"}, "kafka.sasl_mechanism: Invalid enum value 'GSSAPI'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_contradicts_itself_is_refused(tmp_path: Path, case: str) -> None:
    given, words = WRONG[case]
    path = tmp_path / "gateway.toml"
    path.write_bytes(msgspec.toml.encode({"kafka": given}))
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert words in str(refused.value)
    assert "hush" not in str(refused.value)


def settings_of(**given: Any) -> dict[str, Any]:
    return security_settings(msgspec.convert(given, KafkaConfig))


def test_each_protocol_gives_what_aiokafka_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER_OF_KAFKA", "gateway")
    monkeypatch.setenv("PASSWORD_OF_KAFKA", "hush")
    assert settings_of() == {"security_protocol": "PLAINTEXT"}
    found = settings_of(security_protocol="SASL_SSL", sasl_mechanism="PLAIN", **PASSWORD)
    context = found.pop("ssl_context")
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert found == {
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "PLAIN",
        "sasl_plain_username": "gateway",
        "sasl_plain_password": "hush",
    }


def test_what_can_t_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"kafka\.username: variable USER_OF_KAFKA is not set"):
        settings_of(security_protocol="SASL_SSL", **PASSWORD)
    with pytest.raises(ConfigError, match=r"kafka\.ca: No such file"):
        settings_of(security_protocol="SSL", ca=f"file:{tmp_path}/none")
    (tmp_path / "text").write_text("no certificate", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"kafka\.ca: holds no certificate"):
        settings_of(security_protocol="SSL", ca=f"file:{tmp_path}/text")
    with pytest.raises(ConfigError, match=r"kafka\.client_certificate: is no certificate"):
        settings_of(security_protocol="SSL", client_certificate=f"file:{tmp_path}/text")


async def test_a_token_s_file_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "token"
    provider = FileToken(str(path))
    with pytest.raises(AuthenticationFailedError, match=r"kafka\.token: .*No such file"):
        await provider.token()
    for text in ("one", "another"):
        path.write_text(f"{text}\n", encoding="utf-8")
        assert await provider.token() == text
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(AuthenticationFailedError, match="is empty"):
        await provider.token()


@asynccontextmanager
async def endpoint(*answers: web.Response) -> AsyncIterator[tuple[str, list[str]]]:
    """A token endpoint that gives these answers in turn; its URL, and what it was asked."""
    asked: list[str] = []

    async def give(request: web.Request) -> web.Response:
        asked.append(await request.text())
        return answers[len(asked) - 1]

    app = web.Application()
    app.router.add_post("/token", give)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/token", asked
    finally:
        await runner.cleanup()


async def test_a_token_is_renewed_before_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(security.time, "monotonic", lambda: now)
    answers = [web.json_response({"access_token": f"token-{at}", "expires_in": 100}) for at in range(2)]
    async with endpoint(*answers) as (url, asked):
        provider = EndpointToken(url, "id", "hush", None)
        assert await provider.token() == "token-0"
        now = 1079.0
        assert await provider.token() == "token-0"
        now = 1081.0
        assert await provider.token() == "token-1"
        assert asked == ["grant_type=client_credentials"] * 2


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (web.json_response({"error": "invalid_client"}, status=401), "answered 401: invalid_client"),
        (web.Response(status=302, headers={"Location": "https://elsewhere.example.com"}), "answered 302"),
        (web.Response(text="<html>"), "answered with no access_token"),
    ],
)
async def test_an_endpoint_that_gives_none_is_named(answer: web.Response, words: str) -> None:
    async with endpoint(answer) as (url, _):
        with pytest.raises(AuthenticationFailedError) as refused:
            await EndpointToken(url, "id", "hush", "scope").token()
    assert "kafka.token_endpoint: " in str(refused.value)
    assert words in str(refused.value)
    assert "hush" not in str(refused.value)


async def test_an_endpoint_that_is_away_is_named() -> None:
    with pytest.raises(AuthenticationFailedError, match=r"kafka\.token_endpoint: http://127\.0\.0\.1:9/: "):
        await EndpointToken("http://127.0.0.1:9/", "id", "hush", None).token()
