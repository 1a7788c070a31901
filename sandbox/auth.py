"""API keys: who is asking, whether the hash is theirs, and what they may do."""

import base64
import hashlib
import hmac
from collections.abc import Iterable

import msgspec

from sandbox.replies import ApiError
from sandbox.settings import KeySpec, Resource, Rights

_BODY_BYTES, _PASSWORD_BYTES = 12, 18
NEW_KEY_BYTES = _BODY_BYTES + _PASSWORD_BYTES


class KeyInfo(msgspec.Struct, frozen=True):
    """A key as it is listed: all but its secret."""

    key: str
    account: int
    users: Rights
    calls: Rights


class NewKey(msgspec.Struct, frozen=True):
    """A key as its maker gets it, this once: the password is not kept."""

    key: str
    password: str
    account: int
    users: Rights
    calls: Rights

    def __repr__(self) -> str:
        return f"NewKey(key={self.key!r}, password=***)"


class UnknownKeyError(LookupError):
    """There is no such key."""


class Keyring:
    """The keys of a sandbox. Passwords are kept as the hashes that requests have to bring."""

    def __init__(self, keys: Iterable[KeySpec]) -> None:
        self._known: dict[str, tuple[KeyInfo, bytes]] = {}
        for spec in keys:
            self._add(spec)

    def authenticate(self, api_key: str | None, given_hash: str | None) -> KeyInfo:
        """The key; ApiError 403 when a parameter is missing, the key unknown or the hash wrong."""
        if not api_key or not given_hash:
            raise ApiError(403, "api_key and hash are required")
        info, expected = self._known.get(api_key, (None, b"-" * 32))
        # An unknown key is compared too, so that it takes as long as a wrong hash.
        right = hmac.compare_digest(given_hash.encode(errors="replace"), expected)
        if info is None or not right:
            raise ApiError(403, "api_key or hash is wrong")
        return info

    def create(self, account: int, users: Rights, calls: Rights, drawn: bytes) -> NewKey:
        """Make a key of the account, its body and password made of `NEW_KEY_BYTES` random ones."""
        spec = KeySpec(f"{account}_{drawn[:_BODY_BYTES].hex()}", _password(drawn), users, calls)
        self._add(spec)
        return NewKey(spec.key, spec.password, account, users, calls)

    def regenerate(self, key: str, drawn: bytes) -> NewKey:
        """Give the key another password, made as in `create`; the former one is wrong from now on. UnknownKeyError."""
        info = self._info(key)
        spec = KeySpec(key, _password(drawn), info.users, info.calls)
        self._add(spec)
        return NewKey(key, spec.password, info.account, info.users, info.calls)

    def revoke(self, key: str) -> None:
        """Forget the key. UnknownKeyError."""
        self._info(key)
        del self._known[key]

    def keys(self) -> list[KeyInfo]:
        """Every key, in the order in which they were made."""
        return [info for info, _ in self._known.values()]

    def _add(self, spec: KeySpec) -> None:
        info = KeyInfo(spec.key, spec.account, spec.users, spec.calls)
        self._known[spec.key] = (info, _hash(spec.key, spec.password).encode())

    def _info(self, key: str) -> KeyInfo:
        if key not in self._known:
            raise UnknownKeyError(key)
        return self._known[key][0]


def permit(info: KeyInfo, resource: Resource | None, *, change: bool) -> None:
    """ApiError 403 unless the key's rights allow to read, or to `change`, the resource (None: any key may)."""
    rights = "RW" if resource is None else info.users if resource == "users" else info.calls
    if change and rights != "RW":
        raise ApiError(403, f"the key may only read {resource}")


def _password(drawn: bytes) -> str:
    return base64.urlsafe_b64encode(drawn[_BODY_BYTES:]).decode()


def _hash(key: str, password: str) -> str:
    # MD5 is what the API prescribes.
    return hashlib.md5(f"{key}{password}".encode(), usedforsecurity=False).hexdigest()
