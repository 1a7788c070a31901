"""Signatures, against the known vector and against the standardwebhooks library."""

import base64
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from streams.delivery.errors import SecretError
from streams.delivery.signing import Signer

keys = st.binary(min_size=24, max_size=64)
ids = st.from_regex(r"[A-Za-z0-9_-]{1,80}", fullmatch=True)


def secret_of(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key).decode()


@pytest.mark.parametrize("prefix", ["", "whsec_"])
def test_known_vector(prefix: str) -> None:
    signer = Signer.of([prefix + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
    assert signer.headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}') == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


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
        "ü" * 40,
    ],
)
def test_a_bad_secret_is_refused_and_not_shown(secret: str) -> None:
    with pytest.raises(SecretError) as caught:
        Signer.of([secret])
    shown = f"{caught.value}{caught.value!r}{caught.value.__cause__}"
    for part in (secret, secret.removeprefix("whsec_")):
        assert not part or part not in shown
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
