"""The receiver's verification: known vectors, what the standardwebhooks library signs, and forgeries of each kind."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from gateway.listening.verifier import TOLERANCE, NotVerifiedError, Verifier
from streams.delivery.errors import SecretError

SHARED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
AT, BODY = 1614265330, b'{"test": 2432232314}'
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="
HEADERS = {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": str(AT),
    "webhook-signature": f"{V1} {V1A}",
}
OTHER = "whsec_" + base64.b64encode(b"another secret of 32 bytes......").decode()
OTHER_PUBLIC = (
    "whpk_" + base64.b64encode(Ed25519PrivateKey.from_private_bytes(b"x" * 32).public_key().public_bytes_raw()).decode()
)


def verified(secrets: list[str], body: bytes = BODY, at: float = AT, **changes: str | None) -> tuple[str, ...]:
    headers = {**HEADERS, **{f"webhook-{name}": value for name, value in changes.items()}}
    return Verifier(secrets, lambda: at)(body, {name: value for name, value in headers.items() if value is not None})


@pytest.mark.parametrize(
    ("secrets", "schemes"),
    [
        ([SHARED], ("v1",)),
        ([SHARED.removeprefix("whsec_")], ("v1",)),
        ([PUBLIC], ("v1a",)),
        ([PRIVATE], ("v1a",)),
        ([PUBLIC, SHARED], ("v1", "v1a")),
        ([OTHER, OTHER_PUBLIC, PUBLIC], ("v1a",)),
    ],
)
def test_the_known_vectors_are_genuine(secrets: list[str], schemes: tuple[str, ...]) -> None:
    assert verified(secrets) == schemes


@given(key=st.binary(min_size=24, max_size=64), body=st.text(), at=st.integers(1, 4_000_000_000))
def test_what_the_library_signs_is_genuine(key: bytes, body: str, at: int) -> None:
    secret = "whsec_" + base64.b64encode(key).decode()
    signature = Webhook(secret).sign(HEADERS["webhook-id"], datetime.fromtimestamp(at, UTC), body)
    assert verified([secret], body.encode(), at, timestamp=str(at), signature=signature) == ("v1",)
    with pytest.raises(NotVerifiedError):
        verified([secret], body.encode() + b" ", at, timestamp=str(at), signature=signature)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"id": None}, "webhook-id is missing"),
        ({"timestamp": None}, "webhook-timestamp is missing"),
        ({"signature": None}, "webhook-signature is missing"),
        ({"signature": ""}, "webhook-signature is missing"),
        ({"timestamp": "soon"}, "webhook-timestamp is not in Unix seconds"),
        ({"timestamp": "-1"}, "webhook-timestamp is not in Unix seconds"),
        ({"timestamp": "１614265330"}, "webhook-timestamp is not in Unix seconds"),
        ({"timestamp": "9" * 5_000}, "webhook-timestamp is not in Unix seconds"),
        ({"id": "msg_other"}, "no signature is right"),
        ({"id": "msg_\udcff"}, "no signature is right"),
        ({"timestamp": str(AT + 1)}, "no signature is right"),
        ({"signature": V1.replace("v1,", "v1a,")}, "no signature is right"),
        ({"signature": V1A.replace("v1a,", "v1,")}, "no signature is right"),
        ({"signature": "v1,ü v1a,ü"}, "no signature is right"),
        ({"signature": "v1 v1a"}, "no signature is right"),
        ({"signature": "v2,AAAA  ,"}, "no signature is of a scheme that the secrets are for"),
    ],
)
def test_what_is_not_genuine_is_told_why(changes: dict[str, str | None], reason: str) -> None:
    with pytest.raises(NotVerifiedError) as caught:
        verified([SHARED, PUBLIC], **changes)
    assert str(caught.value) == reason


@pytest.mark.parametrize("secret", [OTHER, OTHER_PUBLIC])
def test_another_secret_s_signature_is_not_right(secret: str) -> None:
    with pytest.raises(NotVerifiedError, match="no signature is right"):
        verified([secret])


def test_a_secret_of_another_scheme_is_told() -> None:
    with pytest.raises(NotVerifiedError, match="no signature is of a scheme that the secrets are for"):
        verified([PUBLIC], signature=V1)


def test_a_timestamp_may_be_five_minutes_off() -> None:
    for off in (-TOLERANCE, TOLERANCE):
        assert verified([SHARED], at=AT + off) == ("v1",)
    with pytest.raises(NotVerifiedError, match="webhook-timestamp is 301 s old"):
        verified([SHARED], at=AT + TOLERANCE + 1)
    with pytest.raises(NotVerifiedError, match="webhook-timestamp is 301 s ahead"):
        verified([SHARED], at=AT - TOLERANCE - 1)


@pytest.mark.parametrize("secret", ["whsec_", "whpk_", "whpk_AAAA", "whpk_?", "whsk_AAAA", "hush"])
def test_what_is_no_secret_is_refused(secret: str) -> None:
    with pytest.raises(SecretError):
        Verifier([secret])
