"""The streams service as a process: it says when it is ready, and ends when it is told to, brokers or not."""

import os
import signal
import sys
from pathlib import Path

import aiohttp
import msgspec

from gateway.config import load
from gateway.dev.brokers import Child, EmbeddedBroker, free_port
from gateway.runtime.kafka import ensure_topics
from gateway.runtime.metrics import READY
from tests.support.waiting import eventually

# What the brokers being away may cost at a stop, with a margin for a busy machine.
END_SECONDS = 30.0


async def test_told_to_end_while_its_brokers_are_away_it_ends(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path / "broker") as broker:
        service, metrics = await _service(broker.bootstrap, tmp_path)
        async with service:
            await eventually(lambda: _ready(metrics), 40.0, what="the streams service is ready")
            await broker.kill()
            assert service.pid is not None
            os.kill(service.pid, signal.SIGTERM)
            assert await service.wait(END_SECONDS) == 0, service.tail()


async def test_told_to_end_it_ends_and_leaves_nothing_behind(tmp_path: Path) -> None:
    async with EmbeddedBroker(tmp_path / "broker") as broker:
        service, metrics = await _service(broker.bootstrap, tmp_path)
        async with service:
            await eventually(lambda: _ready(metrics), 40.0, what="the streams service is ready")
            assert service.pid is not None
            os.kill(service.pid, signal.SIGTERM)
            assert await service.wait(END_SECONDS) == 0, service.tail()
            log = service.log.read_text()
    for mishap in ("Traceback", "never retrieved", "Unclosed", "did not stop"):
        assert mishap not in log


async def _service(bootstrap: str, folder: Path) -> tuple[Child, str]:
    """The service, to be entered, and where its metrics are."""
    (folder / "secret").write_text("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    metrics = f"127.0.0.1:{free_port()}"
    file = folder / "gateway.toml"
    file.write_bytes(
        msgspec.toml.encode(
            {
                "kafka": {"bootstrap": bootstrap, "shards": 2, "partitions": 2, "replication_factor": 1},
                "endpoints": [{"id": "crm", "url": "http://127.0.0.1:9/", "secrets": [f"file:{folder}/secret"]}],
                "delivery": {"allow_http": True},
                "metrics": {"streams": metrics},
            }
        )
    )
    await ensure_topics(load(file).kafka)
    return Child(
        "streams", [sys.executable, "-m", "gateway.cli", "streams", str(file)], folder / "streams.log"
    ), metrics


async def _ready(metrics: str) -> bool:
    try:
        async with aiohttp.ClientSession() as http, http.get(f"http://{metrics}/metrics") as answer:
            return f"{READY} 1.0" in await answer.text()
    except aiohttp.ClientError:
        return False
