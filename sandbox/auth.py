"""API keys: who is asking, and whether the hash is theirs."""

import hashlib
import hmac
from collections.abc import Iterable

from sandbox.replies import ApiError
from sandbox.settings import KeySpec


class Keyring:
    """The keys of a sandbox. Passwords are kept as the hashes that requests have to bring."""

    def __init__(self, keys: Iterable[KeySpec]) -> None:
        self._known = {spec.key: (spec.account, _hash(spec.key, spec.password).encode()) for spec in keys}

    def authenticate(self, api_key: str | None, given_hash: str | None) -> int:
        """The account of the key; ApiError 403 when a parameter is missing, the key unknown or the hash wrong."""
        if not api_key or not given_hash:
            raise ApiError(403, "api_key and hash are required")
        account, expected = self._known.get(api_key, (None, b"-" * 32))
        # An unknown key is compared too, so that it takes as long as a wrong hash.
        right = hmac.compare_digest(given_hash.encode(errors="replace"), expected)
        if account is None or not right:
            raise ApiError(403, "api_key or hash is wrong")
        return account


def _hash(key: str, password: str) -> str:
    # MD5 is what the API prescribes.
    return hashlib.md5(f"{key}{password}".encode(), usedforsecurity=False).hexdigest()
