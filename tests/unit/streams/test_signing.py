"""Signatures, against known vectors and against the standardwebhooks library.

Those of v1a are verified by implementations of ed25519 in other languages in `tests/unit/webhooks`.
"""

import base64
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from streams.delivery.errors import SecretError
from streams.delivery.signing import Key, Signer, scheme_of

SHARED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
ID, AT, BODY = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}'
V1 = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
V1A = "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg=="

keys = st.binary(min_size=24, max_size=64)
ids = st.from_regex(r"[A-Za-z0-9_-]{1,80}", fullmatch=True)


def secret_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


def signatures(signer: Signer, at: int = AT) -> list[str]:
    return signer.headers(ID, at, BODY)["webhook-signature"].split(" ")


@pytest.mark.parametrize("prefix", ["", "whsec_"])
def test_known_vector(prefix: str) -> None:
    signer = Signer.of([prefix + SHARED.removeprefix("whsec_")])
    assert signer.headers(ID, AT, BODY) == {
        "webhook-id": ID,
        "webhook-timestamp": str(AT),
        "webhook-signature": V1,
    }


def test_known_vector_of_a_private_key() -> None:
    assert signatures(Signer.of([PRIVATE])) == [V1A]


def test_a_seed_alone_is_a_private_key() -> None:
    seed = base64.b64decode(PRIVATE.removeprefix("whsk_"))[:32]
    assert signatures(Signer.of(["whsk_" + base64.b64encode(seed).decode()])) == [V1A]


def test_secrets_of_both_kinds_sign_in_their_order() -> None:
    assert signatures(Signer.of([SHARED, PRIVATE])) == [V1, V1A]
    assert signatures(Signer.of([PRIVATE, SHARED])) == [V1A, V1]


@given(at=st.integers(AT - 1_000_000, AT + 1_000_000), millis=st.integers(-1_000_000_000, 1_000_000_000))
def test_a_secret_signs_until_it_expires(at: int, millis: int) -> None:
    expiry = datetime.fromtimestamp(AT + millis / 1000, UTC)
    signer = Signer([Key(scheme_of(SHARED), expiry), Key(scheme_of(PRIVATE))])
    found = signatures(signer, at)
    assert len(found) == (2 if at * 1000 < AT * 1000 + millis else 1)
    assert found[-1].startswith("v1a,")


def test_a_secret_does_not_sign_at_the_very_time_of_its_expiry() -> None:
    signer = Signer([Key(scheme_of(SHARED)), Key(scheme_of(PRIVATE), datetime.fromtimestamp(AT, UTC))])
    assert len(signatures(signer, AT - 1)) == 2
    assert signatures(signer, AT) == [V1]


@pytest.mark.parametrize("keys", [[], [Key(scheme_of(SHARED), datetime(2100, 1, 1, tzinfo=UTC))]])
def test_nothing_is_ever_sent_unsigned(keys: list[Key]) -> None:
    with pytest.raises(SecretError, match="at least one must not expire"):
        Signer(keys)


@given(keys=st.lists(keys, min_size=1, max_size=4, unique=True), webhook_id=ids, body=st.text())
def test_every_secret_verifies(keys: list[bytes], webhook_id: str, body: str) -> None:
    secrets = [secret_of(key) for key in keys]
    # The library parses the body as JSON after it has verified it.
    content = b'"%s"' % base64.b64encode(body.encode())
    headers = Signer.of(secrets).headers(webhook_id, int(time.time()), content)
    assert len(headers["webhook-signature"].split(" ")) == len(keys)
    for secret in secrets:
        Webhook(secret).verify(content, headers)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_not/base64!",
        "whsec_" + base64.b64encode(b"short").decode(),
        secret_of(b"x" * 65),
        "whsk_aaaa",
        "whsk_",
        "whsk_not/base64!",
        "whsk_" + base64.b64encode(b"x" * 31).decode(),
        "whsk_" + base64.b64encode(b"x" * 64).decode(),
        "whpk_" + base64.b64encode(b"x" * 32).decode(),
        "ü" * 40,
    ],
)
def test_a_bad_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(SecretError) as caught:
        Signer.of([secret])
    shown = f"{caught.value}{caught.value!r}{caught.value.__cause__}"
    for part in (secret, secret.removeprefix("whsec_").removeprefix("whsk_")):
        assert not part or part not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
