"""Who asks, and what they may do: bearer tokens, each with its scopes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.config import ConfigError, Scope, TokenConfig, secret

# A shorter one could be found by trying.
_SHORTEST = 16


@dataclass(frozen=True, slots=True)
class Holder:
    """Whoever holds a token."""

    name: str
    scopes: frozenset[Scope]


class Tokens:
    """The tokens by digest, so that how long a comparison takes tells nothing, not even a token's length."""

    def __init__(self, tokens: Sequence[TokenConfig]) -> None:
        """Read the tokens from where they are.

        Raises:
            ConfigError: There is none, one is not there, is too short or is another's as well; names the field, never
                the token.
        """
        if not tokens:
            raise ConfigError("", "api.tokens", "there is none: nobody could ask")
        self._holders: list[tuple[bytes, Holder]] = []
        for at, one in enumerate(tokens):
            field = f"api.tokens[{at}].token"
            token = secret(one.token, field)
            if len(token) < _SHORTEST:
                raise ConfigError("", field, f"is too short: {_SHORTEST} characters or more")
            if self.holder(f"Bearer {token}") is not None:
                raise ConfigError("", field, "is another's token as well")
            self._holders.append((_digest(token), Holder(one.name, frozenset(one.scopes))))

    def holder(self, authorization: str | None) -> Holder | None:
        """Whose token an `Authorization` header bears; None if it bears none, or nobody's."""
        scheme, _, token = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        given = _digest(token.strip())
        found: Holder | None = None
        for digest, holder in self._holders:
            if hmac.compare_digest(digest, given):
                found = holder
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
