"""Endpoints' secrets as the configuration declares them: which are read, and which sign when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from gateway.config import Config, ConfigError, load
from gateway.contract.endpoints import Endpoint
from gateway.contract.secrets import ExpiringSecret
from gateway.listening.verifier import Verifier
from streams.delivery.addresses import AddressPolicy
from streams.delivery.attempt import Sender
from streams.delivery.targets import targets_of
from streams.fanout import expand
from tests.support.webhooks import call_event, receiver

SHARED = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "old").write_text(SHARED, encoding="utf-8")
    (tmp_path / "new").write_text(PRIVATE, encoding="utf-8")
    return tmp_path


def configured(folder: Path, secrets: str) -> Config:
    path = folder / "gateway.toml"
    path.write_text(
        f'[[endpoints]]\nid = "crm"\nurl = "https://crm.example.com"\nsecrets = [{secrets}]\n'.replace(
            "FOLDER", str(folder)
        ),
        encoding="utf-8",
    )
    return load(path)


def rotation(expiry: datetime) -> str:
    return f'"file:FOLDER/new", {{ ref = "file:FOLDER/old", expires_at = {expiry:%Y-%m-%dT%H:%M:%SZ} }}'


def schemes(config: Config, at: datetime) -> list[str]:
    signer = targets_of(config.endpoints, lambda: NOW)["crm"].signer
    signed = signer.headers("d-1", int(at.timestamp()), b"{}")["webhook-signature"]
    return [signature.partition(",")[0] for signature in signed.split(" ")]


def test_an_old_secret_stops_signing_without_a_restart(folder: Path) -> None:
    config = configured(folder, rotation(NOW + DAY))
    assert schemes(config, NOW) == ["v1a", "v1"]
    assert schemes(config, NOW + DAY - timedelta(seconds=1)) == ["v1a", "v1"]
    assert schemes(config, NOW + DAY) == ["v1a"]


async def test_each_attempt_is_signed_with_what_is_valid_then(folder: Path) -> None:
    # The verifier goes by the clock: what was collected minutes ago is too old for it.
    now = start = datetime.now(UTC)
    expiry = start + timedelta(seconds=60)
    async with receiver() as there:
        config = configured(folder, rotation(expiry))
        endpoint = msgspec.structs.replace(config.endpoints[0], url=there.url())
        target = targets_of([endpoint], lambda: start, allow_http=True)["crm"]
        (delivery,) = expand(call_event(), [endpoint], start)
        sender = Sender(AddressPolicy(["127.0.0.0/8"]), lambda: now)
        try:
            assert (await sender.send(target, delivery)).delivered
            now = expiry
            assert (await sender.send(target, delivery)).delivered
        finally:
            await sender.close()
    during, after = there.received
    during.verify(SHARED)
    with pytest.raises(WebhookVerificationError):
        after.verify(SHARED)
    private = Verifier([PRIVATE])
    assert private(during.body, during.headers) == private(after.body, after.headers) == ("v1a",)


def test_a_secret_that_has_expired_may_be_gone(folder: Path) -> None:
    config = configured(folder, rotation(NOW - 30 * DAY))
    (folder / "old").unlink()
    assert schemes(config, NOW) == ["v1a"]


def test_a_secret_that_has_not_expired_may_not_be_gone(folder: Path) -> None:
    config = configured(folder, rotation(NOW + DAY))
    (folder / "old").unlink()
    with pytest.raises(ConfigError, match=r"endpoints\[0\]\.secrets\[1\]: No such file"):
        targets_of(config.endpoints, lambda: NOW)


def test_a_secret_that_expires_too_late_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"endpoints\[0\]\.secrets\[1\]\.expires_at: is more than 7 days ahead$"):
        configured(folder, rotation(NOW + 8 * DAY))


def test_one_secret_must_stay(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"endpoints\[0\]\.secrets: all of them expire: one must stay"):
        configured(folder, rotation(NOW + DAY).partition(", ")[2])


def test_an_endpoint_from_elsewhere_is_held_to_it_too(folder: Path) -> None:
    expiring = ExpiringSecret(ref=f"file:{folder}/old", expires_at=NOW + DAY)
    endpoint = Endpoint(id="crm", url="https://crm.example.com", secrets=(expiring,))
    with pytest.raises(ConfigError, match=r"endpoints\[0\]\.secrets: at least one must not expire"):
        targets_of([endpoint], lambda: NOW)


@pytest.mark.parametrize("secret", ["whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4=", "whsk_1SiA4o9hyqTC"])
def test_what_can_t_sign_is_named_and_not_shown(folder: Path, secret: str) -> None:
    (folder / "old").write_text(secret, encoding="utf-8")
    config = configured(folder, '"file:FOLDER/old"')
    with pytest.raises(ConfigError, match=r"endpoint crm: endpoints\[0\]\.secrets\[0\]: not a ") as caught:
        targets_of(config.endpoints)
    assert "1SiA4o9" not in str(caught.value)


HTTP = r"endpoints\[0\]\.url: must be an https:// URL; delivery\.allow_http = true allows http:// too$"


def test_http_is_refused_unless_it_is_allowed(folder: Path) -> None:
    path = folder / "gateway.toml"
    text = f'[[endpoints]]\nid = "crm"\nurl = "http://crm.example.com"\nsecrets = ["file:{folder}/new"]\n'
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=HTTP):
        load(path)
    path.write_text(f"{text}[delivery]\nallow_http = true\n", encoding="utf-8")
    endpoints = load(path).endpoints
    assert targets_of(endpoints, allow_http=True)["crm"].url.scheme == "http"
    with pytest.raises(ConfigError, match=HTTP):
        targets_of(endpoints)


@pytest.mark.parametrize("url", ["https://", "https:///hooks", "https://:443/", "https://crm:port/", "https://[::1/"])
def test_a_url_names_a_host(folder: Path, url: str) -> None:
    path = folder / "gateway.toml"
    path.write_text(f'[[endpoints]]\nid = "crm"\nurl = "{url}"\nsecrets = ["file:{folder}/new"]\n', encoding="utf-8")
    with pytest.raises(ConfigError, match=r"endpoints\[0\]\.url: is not a URL"):
        load(path)
