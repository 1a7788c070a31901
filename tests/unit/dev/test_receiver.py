"""The demo's receiver takes what is signed, and nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from gateway.dev.receiver import Arrival, Receiver
from tests.unit.contract.events import ONE

SECRET = "whsec_" + b64encode(b"x" * 24).decode()
BODY = msgspec.json.encode(ONE)


@pytest.fixture
async def arrivals() -> AsyncIterator[tuple[Receiver, list[Arrival]]]:
    told: list[Arrival] = []
    receiver = Receiver(SECRET, told.append)
    await receiver.start()
    yield receiver, told
    await receiver.stop()


def signed(secret: str, at: datetime) -> dict[str, str]:
    return {
        "webhook-id": "d-1",
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": Webhook(secret).sign("d-1", at, BODY.decode()),
    }


async def posted(url: str, body: bytes, headers: dict[str, str]) -> int:
    async with aiohttp.ClientSession() as http, http.post(url, data=body, headers=headers) as response:
        return response.status


async def test_a_signed_webhook_is_told(arrivals: tuple[Receiver, list[Arrival]]) -> None:
    receiver, told = arrivals
    assert await posted(receiver.url, BODY, signed(SECRET, datetime.now(UTC))) == 204
    (arrival,) = told
    assert msgspec.convert(arrival.event, type(ONE)) == ONE
    assert arrival.webhook_id == "d-1"
    assert (receiver.verified, receiver.refused) == (1, 0)


async def test_anything_else_is_refused(arrivals: tuple[Receiver, list[Arrival]]) -> None:
    receiver, told = arrivals
    now = datetime.now(UTC)
    right = signed(SECRET, now)
    other = "whsec_" + b64encode(b"y" * 24).decode()
    for body, headers in [
        (BODY, {}),
        (BODY, signed(other, now)),
        (BODY, signed(SECRET, now - timedelta(minutes=10))),
        (BODY[:-1] + b" }", right),
        (BODY, {**right, "webhook-id": "d-2"}),
        (BODY, {**right, "webhook-timestamp": "soon"}),
        (b"\xff", right),
    ]:
        assert await posted(receiver.url, body, headers) == 401
    assert told == []
    assert (receiver.verified, receiver.refused) == (0, 7)
