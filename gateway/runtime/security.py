"""How a client proves to the brokers who it is, and they to it: aiokafka's settings from those of `[kafka]`."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import aiohttp
import msgspec
from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import AuthenticationFailedError

from gateway.config import ConfigError, KafkaConfig, secret

# Seconds for the token endpoint to answer.
_TOKEN_TIMEOUT = 10.0
# A token is renewed when so much of its time is left: whoever gets it still has to show it.
_TOKEN_RESERVE = 0.2
# Seconds that a token counts as good whose endpoint doesn't say how long it is.
_TOKEN_LIFE = 60.0
_LARGEST_TOKEN = 64 * 1024


def security_settings(config: KafkaConfig) -> dict[str, Any]:
    """What an aiokafka client is made with to be let in; the files and variables referred to are read now.

    To be called where the client is made: a password or certificate that has changed holds from the next client on.

    Raises ConfigError, which names the field, never the secret.
    """
    settings: dict[str, Any] = {"security_protocol": config.security_protocol}
    if config.security_protocol.endswith("SSL"):
        settings["ssl_context"] = tls_context(config)
    if not config.security_protocol.startswith("SASL"):
        return settings
    settings["sasl_mechanism"] = config.sasl_mechanism
    if config.sasl_mechanism == "OAUTHBEARER":
        settings["sasl_oauth_token_provider"] = _token_provider(config)
    else:
        settings["sasl_plain_username"] = _secret(config, "username")
        settings["sasl_plain_password"] = _secret(config, "password")
    return settings


def tls_context(config: KafkaConfig) -> ssl.SSLContext:
    """The context for connections to the brokers, whose certificates and names are verified in any case.

    Raises ConfigError naming the file's field.
    """
    try:
        context = ssl.create_default_context(cafile=_file(config, "ca"))
    except ssl.SSLError:
        raise ConfigError("", "kafka.ca", "holds no certificate in PEM") from None
    certificate, key = _file(config, "client_certificate"), _file(config, "client_key")
    if certificate is not None:
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(certificate, key, password="")
        except ssl.SSLError:
            of = "" if key is None else " of kafka.client_key"
            what = f"is no certificate with the private key{of}, in PEM and without a password"
            raise ConfigError("", "kafka.client_certificate", what) from None
    return context


class FileToken(AbstractTokenProvider):  # type: ignore[misc] # aiokafka has no types
    """A token from a file, read anew each time: whoever put it there renews it."""

    def __init__(self, path: str) -> None:
        self._path = path

    async def token(self) -> str:
        """The token. Raises AuthenticationFailedError naming the file."""
        try:
            found = await asyncio.to_thread(Path(self._path).read_text, "utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not readable as text"
            raise AuthenticationFailedError(f"kafka.token: {self._path}: {reason}") from None
        if not found.strip():
            raise AuthenticationFailedError(f"kafka.token: {self._path}: is empty")
        return found.strip()


class EndpointToken(AbstractTokenProvider):  # type: ignore[misc] # aiokafka has no types
    """A token from an endpoint for client credentials (RFC 6749, 4.4), kept for as long as it is good."""

    def __init__(self, endpoint: str, client_id: str, client_secret: str, scope: str | None) -> None:
        self._endpoint = endpoint
        self._auth = aiohttp.encode_basic_auth(client_id, client_secret)
        self._form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {})}
        self._found: tuple[str, float] | None = None
        # Faust's consumer asks from a thread, and a loop, of its own.
        self._asking: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    async def token(self) -> str:
        """A token that is good for a while. Raises AuthenticationFailedError naming the endpoint and what it said."""
        # Connections that open at once ask once.
        async with self._asking.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            if self._found is None or self._found[1] <= time.monotonic():
                self._found = await self._ask()
            return self._found[0]

    async def _ask(self) -> tuple[str, float]:
        began = time.monotonic()
        timeout = aiohttp.ClientTimeout(total=_TOKEN_TIMEOUT)
        try:
            async with (
                aiohttp.ClientSession(timeout=timeout, trust_env=False) as http,
                http.post(
                    self._endpoint,
                    data=self._form,
                    headers={"Authorization": self._auth, "Accept": "application/json"},
                    allow_redirects=False,
                ) as response,
            ):
                body = await response.content.read(_LARGEST_TOKEN)
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._refusal(str(error) or type(error).__name__) from None
        if status != 200:
            raise self._refusal(f"answered {status}{_reason(body)}")
        try:
            answer = msgspec.json.decode(body, type=_TokenAnswer)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise self._refusal("answered with no access_token") from None
        return answer.access_token, began + (answer.expires_in or _TOKEN_LIFE) * (1 - _TOKEN_RESERVE)

    def _refusal(self, why: str) -> AuthenticationFailedError:
        return AuthenticationFailedError(f"kafka.token_endpoint: {self._endpoint}: {why}")


class _TokenAnswer(msgspec.Struct):
    access_token: str
    expires_in: float | None = None


class _TokenError(msgspec.Struct):
    error: str


def _reason(body: bytes) -> str:
    """What RFC 6749 (5.2) has an endpoint say of a refusal."""
    try:
        return f": {msgspec.json.decode(body, type=_TokenError).error[:200]}"
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return ""


def _token_provider(config: KafkaConfig) -> AbstractTokenProvider:
    if config.token_endpoint is None:
        if config.token is None:
            raise ConfigError("", "kafka.token", "is needed for OAUTHBEARER")
        return FileToken(config.token.removeprefix("file:"))
    client_id, client_secret = _secret(config, "token_client_id"), _secret(config, "token_client_secret")
    return EndpointToken(config.token_endpoint, client_id, client_secret, config.token_scope)


def _secret(config: KafkaConfig, field: str) -> str:
    reference: str | None = getattr(config, field)
    if reference is None:
        raise ConfigError("", f"kafka.{field}", "is needed")
    return secret(reference, f"kafka.{field}")


def _file(config: KafkaConfig, field: str) -> str | None:
    """The path that a reference names, after a look whether it can be read."""
    reference: str | None = getattr(config, field)
    if reference is None:
        return None
    path = reference.removeprefix("file:")
    try:
        with Path(path).open("rb"):
            pass
    except OSError as error:
        raise ConfigError(path, f"kafka.{field}", error.strerror or type(error).__name__) from None
    return path
