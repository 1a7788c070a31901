"""Signing secrets that the gateway makes: sealed, so that they may lie on a topic, and opened where webhooks are signed."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from gateway.config import ConfigError, secret

_SEALED = "sealed:"
# What Standard Webhooks recommends at least, and more than HMAC-SHA256 gains by.
_SECRET_BYTES = 32


class Seals:
    """Seals secrets by the first of `delivery.sealing_keys`, and opens what any of them has sealed."""

    def __init__(self, keys: Sequence[str]) -> None:
        """Read the keys from where these references say; there may be none.

        Raises:
            ConfigError: One is not there or is no Fernet key; names the field, never the key.
        """
        fernets: list[Fernet] = []
        for at, reference in enumerate(keys):
            field = f"delivery.sealing_keys[{at}]"
            try:
                fernets.append(Fernet(secret(reference, field)))
            except ConfigError:
                raise
            except ValueError:
                # Without the cause: its frames may show the key.
                raise ConfigError("", field, "is no Fernet key: 32 bytes in URL-safe base64") from None
        self._fernet = MultiFernet(fernets) if fernets else None

    @property
    def can_seal(self) -> bool:
        """Whether there is a key."""
        return self._fernet is not None

    def make(self) -> tuple[str, str]:
        """A new signing secret (`whsec_…`), and the reference that opens as it.

        Raises:
            ConfigError: There is no key.
        """
        if self._fernet is None:
            raise ConfigError("", "delivery.sealing_keys", "there is none: no secret can be kept")
        made = "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode()
        return made, _SEALED + self._fernet.encrypt(made.encode()).decode()

    def read(self, reference: str, field: str) -> str:
        """The secret behind a reference of any kind: as `gateway.config.secret`, and what is sealed besides.

        Raises:
            ConfigError: It is not there, or no key opens it; names `field`, never the secret.
        """
        if not is_sealed(reference):
            return secret(reference, field)
        if self._fernet is None:
            raise ConfigError("", field, "is sealed, and there are no delivery.sealing_keys here")
        try:
            return self._fernet.decrypt(reference.removeprefix(_SEALED)).decode()
        except InvalidToken:
            raise ConfigError("", field, "is sealed by none of delivery.sealing_keys") from None


def is_sealed(reference: str) -> bool:
    """Whether the secret is in the reference itself."""
    return reference.startswith(_SEALED)
