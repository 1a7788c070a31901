"""The gateway's services and commands as processes on a Kafka that asks who is there."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from gateway.config import KafkaConfig
from gateway.dev.brokers import Child
from tests.support.secured_kafka import SecuredKafka, settings
from tests.support.waiting import eventually

SHAPE = {"shards": 2, "partitions": 2, "replication_factor": 1}


def config_of(kafka: SecuredKafka, folder: Path, user: str, **other: Any) -> dict[str, Any]:
    """[kafka] for a user; None in `other` leaves a setting out."""
    found = {**SHAPE, "session_timeout": 6, **dict(settings(kafka, user, folder)), **other}
    return {name: value for name, value in found.items() if value is not None}


def typed(kafka: SecuredKafka, folder: Path, user: str, **other: Any) -> KafkaConfig:
    """The same as the gateway reads it."""
    return msgspec.convert(config_of(kafka, folder, user, **other), KafkaConfig)


async def run(folder: Path, command: str, document: dict[str, Any], *words: str) -> tuple[int | None, str]:
    """Run a command (`topics`, `commands originate`) to its end; its exit code, None after 90 s, and what it said."""
    child = command_of(folder, command, document, *words)
    async with child:
        code = await child.wait(90.0)
        return code, child.log.read_text(encoding="utf-8")


def command_of(folder: Path, command: str, document: dict[str, Any], *words: str) -> Child:
    """A command as a process, not started; its configuration and its log are in the folder."""
    name = command.replace(" ", "-")
    path = folder / f"{name}.toml"
    path.write_bytes(msgspec.toml.encode(document))
    match command.split():
        case ["accounts" as group, *rest]:
            line = [group, "--config", str(path), *rest, *words]
        case [group, *rest] if rest:
            line = [group, *rest, *words, "--config", str(path)]
        case _:
            line = [command, *words, str(path)]
    log = folder / f"{name}.log"
    log.unlink(missing_ok=True)
    return Child(command, [sys.executable, "-m", "gateway.cli", *line], log, {"COLUMNS": "1000"})


@asynccontextmanager
async def ready(child: Child, probe: str) -> AsyncIterator[Child]:
    """A service (`host:port` answers /readyz), started, ready, and ended by SIGTERM."""

    async def answers() -> bool:
        """it is ready"""
        assert child.running, child.failure("ended by itself")
        try:
            async with aiohttp.ClientSession() as http, http.get(f"http://{probe}/readyz") as response:
                return response.status == 200
        except aiohttp.ClientError:
            return False

    async with child:
        await eventually(answers, 60.0, f"{child.log.stem} is ready", interval=0.1)
        yield child
        await child.stop(20.0)
