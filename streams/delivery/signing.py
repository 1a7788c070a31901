"""Signs webhooks by Standard Webhooks: scheme v1 (HMAC-SHA256) and scheme v1a (ed25519)."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from streams.delivery.errors import SecretError

SHARED, PRIVATE, PUBLIC = "whsec_", "whsk_", "whpk_"
# The bounds that the Standard Webhooks specification sets on a symmetric secret, in bytes.
_SHORTEST, _LONGEST = 24, 64
# An ed25519 seed, and a public key, in bytes. Libraries by NaCl's model keep a private key as both, one after the other.
_SEED = 32


class Scheme(Protocol):
    """One secret under one scheme of signing."""

    def sign(self, message: bytes) -> str:
        """The signature of `message` as it stands in the header: the scheme's name, a comma, the signature in base64."""


class HmacSha256:
    """Scheme v1: HMAC-SHA256 under a shared secret."""

    def __init__(self, secret: str) -> None:
        """Take a secret: `whsec_` and 24 to 64 bytes in base64 (the prefix may be missing).

        Raises:
            SecretError: It is not that; the message does not show it.
        """
        self._key = decoded(secret, SHARED)
        if not _SHORTEST <= len(self._key) <= _LONGEST:
            raise SecretError(f"not a signing secret: {len(self._key)} bytes, must be {_SHORTEST} to {_LONGEST}")

    def sign(self, message: bytes) -> str:
        """See `Scheme.sign`."""
        return "v1," + base64.b64encode(hmac.digest(self._key, message, "sha256")).decode()


class Ed25519:
    """Scheme v1a: ed25519 under a private key. Receivers hold the public one only, and can't sign."""

    def __init__(self, secret: str) -> None:
        """Take a private key: `whsk_` and, in base64, the 32 bytes of its seed, with its public key's 32 or without.

        Raises:
            SecretError: It is not that; the message does not show it.
        """
        raw = decoded(secret, PRIVATE)
        if len(raw) not in (_SEED, 2 * _SEED):
            raise SecretError(f"not a private key: {len(raw)} bytes, must be {_SEED} or {2 * _SEED}")
        self._key = Ed25519PrivateKey.from_private_bytes(raw[:_SEED])
        self.public = self._key.public_key().public_bytes_raw()
        if raw[_SEED:] not in (b"", self.public):
            # Receivers would be given the one and could not verify what the other signs.
            raise SecretError("not a private key: its second half is not the public key of the first")

    def sign(self, message: bytes) -> str:
        """See `Scheme.sign`."""
        return "v1a," + base64.b64encode(self._key.sign(message)).decode()


def scheme_of(secret: str) -> Scheme:
    """The secret under the scheme that its prefix names: `whsk_` is v1a, `whsec_` and none are v1.

    Raises:
        SecretError: It is not a secret to sign with; the message does not show it.
    """
    if secret.startswith(PUBLIC):
        raise SecretError("not a signing secret: whpk_ is a public key, which only verifies")
    return Ed25519(secret) if secret.startswith(PRIVATE) else HmacSha256(secret)


def decoded(secret: str, prefix: str) -> bytes:
    """What stands behind `prefix`, which may be missing, in base64.

    Raises:
        SecretError: It is no base64; the message does not show it.
    """
    try:
        return base64.b64decode(secret.removeprefix(prefix), validate=True)
    except (binascii.Error, ValueError):
        # Without the cause: its text or its frames may show the secret.
        raise SecretError(f"not a signing secret: must be {prefix} and base64") from None


@dataclass(frozen=True, slots=True)
class Key:
    """What signs, until `expires_at`; without it, for good."""

    scheme: Scheme
    expires_at: datetime | None = None


class Signer:
    """Signs with every secret of an endpoint, so that receivers can rotate theirs at any moment in between."""

    def __init__(self, keys: Sequence[Key]) -> None:
        """Take the keys, of which at least one must not expire: nothing is ever sent unsigned.

        Raises:
            SecretError: All of them expire.
        """
        if all(key.expires_at is not None for key in keys):
            raise SecretError("at least one must not expire")
        # Of keys that do, the time in Unix seconds; what is signed bears whole ones.
        self._keys = [(key.scheme, key.expires_at.timestamp() if key.expires_at else None) for key in keys]

    @classmethod
    def of(cls, secrets: Sequence[str]) -> Signer:
        """A signer for these secrets, which don't expire.

        Raises:
            SecretError: One of them is not a signing secret.
        """
        return cls([Key(scheme_of(secret)) for secret in secrets])

    def headers(self, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The three headers of a webhook, signed with each secret that has not expired at `timestamp`.

        `timestamp` is in Unix seconds, `body` is as it will be sent, byte for byte. What is signed is
        `id.timestamp.body`: the id must have no dot in it.
        """
        message = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
        signing = [scheme for scheme, expiry in self._keys if expiry is None or timestamp < expiry]
        return {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(scheme.sign(message) for scheme in signing),
        }
