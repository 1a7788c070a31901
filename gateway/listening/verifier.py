"""Verifies webhooks by Standard Webhooks: v1 under shared secrets, v1a under public keys."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from streams.delivery.errors import SecretError
from streams.delivery.signing import PRIVATE, PUBLIC, Ed25519, HmacSha256, decoded

# Seconds that a webhook's timestamp may be off, as the Standard Webhooks libraries have it.
TOLERANCE = 300


class NotVerifiedError(Exception):
    """A webhook is not proved to be genuine; the message says why."""


class Verify(Protocol):
    """Decides whether a webhook is genuine."""

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> tuple[str, ...]:
        """The schemes of the signatures that are right; `headers` finds a name in lower case.

        Raises:
            NotVerifiedError: It is not proved to be genuine.
        """


class _Lock(Protocol):
    scheme: str

    def opens(self, message: bytes, signature: str) -> bool: ...


class _Shared:
    scheme = "v1"

    def __init__(self, secret: str) -> None:
        self._key = HmacSha256(secret)

    def opens(self, message: bytes, signature: str) -> bool:
        return hmac.compare_digest(self._key.sign(message).encode(), f"v1,{signature}".encode())


class _Public:
    scheme = "v1a"

    def __init__(self, secret: str) -> None:
        raw = Ed25519(secret).public if secret.startswith(PRIVATE) else decoded(secret, PUBLIC)
        try:
            self._key = Ed25519PublicKey.from_public_bytes(raw)
        except ValueError:
            raise SecretError(f"not a public key: {len(raw)} bytes, must be 32") from None

    def opens(self, message: bytes, signature: str) -> bool:
        try:
            self._key.verify(base64.b64decode(signature, validate=True), message)
        except (InvalidSignature, binascii.Error, ValueError):
            return False
        return True


class Verifier:
    """Verifies under any of several secrets, as a receiver does while one is rotated."""

    def __init__(self, secrets: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        """Take the secrets (`whsec_…`, `whpk_…`, or `whsk_…`, whose public key is used) and the time in Unix seconds.

        Raises:
            SecretError: One of them is none; the message does not show it.
        """
        self._locks: list[_Lock] = [
            _Public(secret) if secret.startswith((PUBLIC, PRIVATE)) else _Shared(secret) for secret in secrets
        ]
        self._clock = clock

    def __call__(self, body: bytes, headers: Mapping[str, str]) -> tuple[str, ...]:
        """See `Verify`."""
        webhook_id, timestamp, given = (
            _header(headers, name) for name in ("webhook-id", "webhook-timestamp", "webhook-signature")
        )
        if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 16):
            raise NotVerifiedError("webhook-timestamp is not in Unix seconds")
        age = round(self._clock()) - int(timestamp)
        if abs(age) > TOLERANCE:
            raise NotVerifiedError(f"webhook-timestamp is {abs(age)} s {'old' if age > 0 else 'ahead'}")
        message = b"%s.%s.%s" % (webhook_id.encode(errors="replace"), timestamp.encode(), body)
        signatures = [part.partition(",")[::2] for part in given.split(" ")]
        right = tuple(
            scheme
            for scheme, signature in signatures
            if any(lock.scheme == scheme and lock.opens(message, signature) for lock in self._locks)
        )
        if not right:
            if {scheme for scheme, _ in signatures}.isdisjoint(lock.scheme for lock in self._locks):
                raise NotVerifiedError("no signature is of a scheme that the secrets are for")
            raise NotVerifiedError("no signature is right")
        return right


def _header(headers: Mapping[str, str], name: str) -> str:
    value = headers.get(name)
    if not value:
        raise NotVerifiedError(f"{name} is missing")
    return value
