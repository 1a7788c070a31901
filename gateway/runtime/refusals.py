"""Says why no broker lets a client in: aiokafka writes that to its log alone, and raises "Unable to bootstrap"."""

from __future__ import annotations

import ssl
from contextvars import ContextVar
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.conn import AIOKafkaConnection, OAuthAuthenticator
from aiokafka.errors import (
    AuthenticationFailedError,
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)

# Brokers that a text is about, at most: the task that keeps a client's metadata begins within `bootstrap`.
_MOST_REASONS = 9
_connect = AIOKafkaConnection.connect
_step = OAuthAuthenticator.step
_reasons: ContextVar[list[str] | None] = ContextVar("reasons", default=None)


def mend_refusals() -> None:
    """Let `bootstrap` of every client of this process raise KafkaConnectionError with what each broker's refusal was.

    To be called after others that mend `bootstrap`; may be called again.
    """
    AIOKafkaConnection.connect = _connect_noted
    OAuthAuthenticator.step = _step_unless_refused
    bootstrap = AIOKafkaClient.bootstrap
    if hasattr(bootstrap, "explains"):
        return

    async def explained(self: AIOKafkaClient) -> None:
        reasons: list[str] = []
        token = _reasons.set(reasons)
        try:
            await bootstrap(self)
        except KafkaConnectionError:
            raise KafkaConnectionError("; ".join(reasons) or "no broker is named") from None
        finally:
            _reasons.reset(token)

    explained.explains = True  # type: ignore[attr-defined]
    AIOKafkaClient.bootstrap = explained


async def _connect_noted(self: AIOKafkaConnection) -> Any:
    try:
        return await _connect(self)
    except (KafkaError, OSError, TimeoutError) as error:
        if (reasons := _reasons.get()) is not None and len(reasons) < _MOST_REASONS:
            reasons.append(f"{self.host}:{self.port}: {reason(error)}")
        raise


async def _step_unless_refused(self: OAuthAuthenticator, payload: bytes | None) -> Any:
    # A broker that refuses a token says so in the answer to it (RFC 7628, 3.2.2), which aiokafka takes for a welcome.
    if payload:
        raise AuthenticationFailedError(f"kafka: the token was refused: {payload[:200].decode(errors='replace')}")
    return await _step(self, payload)


def reason(error: BaseException) -> str:
    """In words, why a connection was not made, and which setting that is about. No secret is in it."""
    match error:
        case SaslAuthenticationFailed():
            said = str(error).removeprefix(f"[Error {error.errno}] {type(error).__name__}").lstrip(": ")
            return f"kafka.username and kafka.password were refused: {said}"
        case AuthenticationFailedError():
            return str(error).removeprefix(f"{type(error).__name__}: ")
        case UnsupportedSaslMechanismError():
            return f"kafka.sasl_mechanism is not one of the brokers': {error}"
        case IllegalSaslStateError():
            return f"kafka.security_protocol is not the listener's: {error}"
        case ssl.SSLCertVerificationError():
            return f"kafka.ca does not vouch for the broker: {error.verify_message}"
        case ssl.SSLError():
            return f"kafka.security_protocol: no TLS there, or not this client's: {error.reason or error}"
        case TimeoutError():
            return "no answer in time"
        case KafkaConnectionError():
            said = str(error).removeprefix("KafkaConnectionError: ")
            return f"{said}: kafka.security_protocol or kafka.client_certificate may not be what the listener asks for"
    return str(error) or type(error).__name__
