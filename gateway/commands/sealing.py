"""Passwords in commands, sealed for the gateway alone; and how the gateway keeps a command that holds one.

A sealed box of NaCl (libsodium): whoever has the public key can close one, only the private key opens it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence

import msgspec
from nacl.encoding import RawEncoder
from nacl.exceptions import CryptoError
from nacl.hash import blake2b
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.secret import SecretBox

SEALED = "sealed:"
_PRIVATE, _PUBLIC = "rgsk_", "rgpk_"
_LONGEST = 128


class SealError(ValueError):
    """A key or a sealed password is not what it should be. The message repeats neither."""


class KeyPair(msgspec.Struct, frozen=True):
    """A new pair, as text: the private one is for the gateway's configuration, the public one for senders."""

    private: str
    public: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


def make_keys() -> KeyPair:
    """A new pair of keys."""
    key = PrivateKey.generate()
    return KeyPair(_PRIVATE + _text(bytes(key)), _PUBLIC + _text(bytes(key.public_key)))


def seal(password: str, public_key: str) -> str:
    """The password as a command carries it: `sealed:` and base64. Raises SealError for a key that is none."""
    box = SealedBox(PublicKey(_key(public_key, _PUBLIC)))
    return SEALED + _text(box.encrypt(password.encode()))


class Opener:
    """Opens what was sealed with a private key's public half; without a key it opens nothing."""

    def __init__(self, private_key: str | None) -> None:
        """Raises SealError for a key that is none."""
        self._box = None if private_key is None else SealedBox(PrivateKey(_key(private_key, _PRIVATE)))

    def open(self, password: str) -> str:
        """The password itself, sealed or not. Raises SealError where it can't be opened, or is no password."""
        opened = self._opened(password) if password.startswith(SEALED) else password
        if not 0 < len(opened) <= _LONGEST:
            raise SealError(f"has 1 to {_LONGEST} characters")
        return opened

    def _opened(self, password: str) -> str:
        if self._box is None:
            raise SealError("is sealed, and commands.private_key is not set")
        try:
            return self._box.decrypt(base64.b64decode(password.removeprefix(SEALED), validate=True)).decode()
        except (binascii.Error, CryptoError, UnicodeDecodeError, ValueError, TypeError):
            raise SealError("is not sealed with this gateway's public key") from None


class Vault:
    """Closes what is kept of an account's commands with what only its gateways know: its API passwords.

    A compacted topic shows superseded records until it is compacted, so nothing on it holds a password in clear.
    """

    def __init__(self, passwords: Sequence[str]) -> None:
        """`passwords` are those of the account's API keys: the first closes, each opens."""
        self._boxes = [
            SecretBox(
                blake2b(one.encode(), digest_size=SecretBox.KEY_SIZE, person=b"ringcloud-vault", encoder=RawEncoder)
            )
            for one in passwords
        ]

    def close(self, content: bytes) -> bytes:
        """`content`, for `open()` alone."""
        return bytes(self._boxes[0].encrypt(content))

    def open(self, closed: bytes) -> bytes:
        """What was closed. Raises SealError where its API password is not among the account's any more."""
        for box in self._boxes:
            try:
                return bytes(box.decrypt(closed))
            except CryptoError:
                continue
        raise SealError("the account's API password has changed, and what was kept can't be opened")


def _key(text: str, prefix: str) -> bytes:
    try:
        if not text.startswith(prefix):
            raise ValueError
        raw = base64.b64decode(text.removeprefix(prefix), validate=True)
        if len(raw) != PrivateKey.SIZE:
            raise ValueError
    except ValueError:
        raise SealError(f"is not a key of `ringcloud-gateway commands keys`, which begins with {prefix}") from None
    return raw


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
