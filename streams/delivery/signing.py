"""Signs webhooks by Standard Webhooks, scheme v1 (HMAC-SHA256)."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Protocol

from streams.delivery.errors import SecretError

_PREFIX = "whsec_"
# The bounds that the Standard Webhooks specification sets on a symmetric secret, in bytes.
_SHORTEST, _LONGEST = 24, 64


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
        try:
            self._key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            # Without the cause: its text or its frames may show the secret.
            raise SecretError("not a signing secret: must be whsec_ and base64") from None
        if not _SHORTEST <= len(self._key) <= _LONGEST:
            raise SecretError(f"not a signing secret: {len(self._key)} bytes, must be {_SHORTEST} to {_LONGEST}")

    def sign(self, message: bytes) -> str:
        """See `Scheme.sign`."""
        return "v1," + base64.b64encode(hmac.digest(self._key, message, "sha256")).decode()


class Signer:
    """Signs with every secret of an endpoint, so that receivers can rotate theirs at any moment in between."""

    def __init__(self, schemes: Sequence[Scheme]) -> None:
        """Take at least one secret under its scheme."""
        self._schemes = tuple(schemes)

    @classmethod
    def of(cls, secrets: Sequence[str]) -> Signer:
        """A signer for these secrets.

        Raises:
            SecretError: One of them is not a signing secret.
        """
        return cls([HmacSha256(secret) for secret in secrets])

    def headers(self, webhook_id: str, timestamp: int, body: bytes) -> dict[str, str]:
        """The three headers of a webhook; `timestamp` in Unix seconds, `body` as it will be sent, byte for byte.

        What is signed is `id.timestamp.body`: the id must have no dot in it.
        """
        message = b"%s.%d.%s" % (webhook_id.encode(), timestamp, body)
        return {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(scheme.sign(message) for scheme in self._schemes),
        }
