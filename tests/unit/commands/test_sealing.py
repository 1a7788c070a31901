"""Sealed passwords open with the gateway's key alone, and errors repeat nothing."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey, SealedBox

from gateway.commands.sealing import SEALED, Opener, SealError, Vault, make_keys, seal

PAIR = make_keys()
passwords = st.text(min_size=1, max_size=128).filter(lambda text: not text.startswith(SEALED) and _encodable(text))


def _encodable(text: str) -> bool:
    return not any("\ud800" <= sign <= "\udfff" for sign in text)


@given(passwords)
def test_what_is_sealed_opens(password: str) -> None:
    sealed = seal(password, PAIR.public)
    assert password not in sealed or len(password) < 4
    assert Opener(PAIR.private).open(sealed) == password
    assert Opener(PAIR.private).open(password) == Opener(None).open(password) == password


def test_no_two_seals_are_alike() -> None:
    assert seal("hush", PAIR.public) != seal("hush", PAIR.public)


@pytest.mark.parametrize(
    "sealed",
    [
        SEALED,
        f"{SEALED}AAAA",
        f"{SEALED}no base64!",
        seal("hush", make_keys().public),
        seal("hush", PAIR.public)[:-8] + "AAAAAAA=",
        seal("", PAIR.public),
        seal("x" * 129, PAIR.public),
    ],
    # Keys are made anew in each process, and names must not be.
    ids=range(7),
)
def test_what_is_not_sealed_for_it_is_refused_without_being_repeated(sealed: str) -> None:
    with pytest.raises(SealError) as caught:
        Opener(PAIR.private).open(sealed)
    assert "hush" not in str(caught.value)
    assert sealed not in str(caught.value)


def test_bytes_that_are_no_text_are_refused() -> None:
    private = PrivateKey(base64.b64decode(PAIR.private.removeprefix("rgsk_")))
    raw = SealedBox(private.public_key).encrypt(b"\xff\xfe")
    with pytest.raises(SealError):
        Opener(PAIR.private).open(SEALED + base64.b64encode(raw).decode())


def test_without_a_key_nothing_sealed_opens() -> None:
    with pytest.raises(SealError, match=r"commands\.private_key is not set"):
        Opener(None).open(seal("hush", PAIR.public))


@pytest.mark.parametrize(
    "key", ["", "rgsk_", PAIR.public, "rgsk_AAAA", f"{PAIR.private}=", PAIR.private[5:]], ids=range(6)
)
def test_what_is_no_private_key_is_refused(key: str) -> None:
    with pytest.raises(SealError, match="rgsk_") as caught:
        Opener(key)
    assert PAIR.private[5:15] not in str(caught.value)


def test_the_private_key_seals_nothing() -> None:
    with pytest.raises(SealError, match="rgpk_"):
        seal("hush", PAIR.private)
    assert PAIR.private not in repr(PAIR)


@given(st.binary(max_size=300))
def test_a_vault_opens_what_it_closed_and_by_every_password(content: bytes) -> None:
    closed = Vault(["one"]).close(content)
    assert Vault(["two", "one"]).open(closed) == content
    with pytest.raises(SealError):
        Vault(["two"]).open(closed)
