"""An admin API that is served, and who asks it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
from aiokafka import AIOKafkaProducer

from gateway.api.service import serving
from gateway.config import ApiConfig, Config, Scope, TokenConfig
from gateway.contract.endpoints import Endpoint
from gateway.contract.topics import Topics
from tests.support.kafka import create_topic
from tests.support.webhooks import QUICK, config_for

# A Fernet key of the tests alone.
SEALING_KEY = "dGhlIHRlc3RzJyBzZWFsaW5nIGtleSwgMzIgYnl0ZXM="
TOKENS: dict[str, tuple[Scope, ...]] = {
    "all": ("read", "write", "replay", "commands"),
    "reader": ("read",),
    "writer": ("write",),
    "replayer": ("replay",),
    "commander": ("commands",),
}


def token_of(name: str) -> str:
    """The token of a name."""
    return f"the token of {name} in tests"


@dataclass
class Admin:
    """The API, and what it runs on."""

    url: str
    config: Config
    client: httpx.AsyncClient

    async def ask(self, method: str, path: str, body: Any = None, *, by: str = "all", **more: Any) -> httpx.Response:
        """What is answered to the holder of a token."""
        headers = {"Authorization": f"Bearer {token_of(by)}"} | more.pop("headers", {})
        return await self.client.request(method, path, json=body, headers=headers, **more)

    async def get(self, path: str, **query: Any) -> Any:
        """The answer to a GET, which must be 200."""
        answer = await self.ask("GET", path, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def do(self, method: str, path: str, body: Any = None) -> Any:
        """The answer to what must succeed."""
        answer = await self.ask(method, path, body)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def all(self, path: str, limit: int, **query: Any) -> list[Any]:
        """Everything that a list has, page by page, each of which keeps to the limit."""
        found: list[Any] = []
        cursor: dict[str, str] = {}
        while True:
            page = await self.get(path, limit=limit, **query, **cursor)
            assert len(page["items"]) <= limit
            found += page["items"]
            if page["next"] is None:
                return found
            cursor = {"cursor": page["next"]}


def admin_config(
    bootstrap: str, prefix: str, folder: Path, endpoints: Sequence[Endpoint] = (), *, sealing: bool = True
) -> Config:
    """A configuration with the tokens and the sealing key in files below `folder`."""
    config = config_for(bootstrap, prefix, endpoints)
    tokens = []
    for name, scopes in TOKENS.items():
        (folder / f"{name}.token").write_text(token_of(name) + "\n")
        tokens.append(TokenConfig(name=name, token=f"file:{folder}/{name}.token", scopes=scopes))
    (folder / "sealing.key").write_text(SEALING_KEY)
    keys = (f"file:{folder}/sealing.key",) if sealing else ()
    return msgspec.structs.replace(
        config,
        kafka=msgspec.structs.replace(config.kafka, shards=2, replication_factor=1),
        delivery=msgspec.structs.replace(config.delivery, sealing_keys=keys),
        api=ApiConfig(listen="127.0.0.1:0", tokens=tuple(tokens)),
    )


@asynccontextmanager
async def administered(config: Config) -> AsyncIterator[Admin]:
    """An API that is served, with the topics of quick retries beside its own; it must not fail meanwhile."""
    topics = Topics(config.kafka.prefix, QUICK).retries.values()
    await asyncio.gather(*(create_topic(config.kafka.bootstrap, one.name, config.kafka.partitions) for one in topics))
    async with serving(config) as (url, ended), httpx.AsyncClient(base_url=url, timeout=60) as client:
        yield Admin(url, config, client)
        assert not ended.done(), ended


async def write(config: Config, topic: str, records: Sequence[tuple[bytes | None, Any, int | None]]) -> None:
    """Write records in order: key, value (bytes as they are, else as JSON) and when, in ms."""
    async with AIOKafkaProducer(bootstrap_servers=config.kafka.bootstrap, acks="all") as producer:
        for key, value, at in records:
            raw = value if isinstance(value, bytes) else msgspec.json.encode(value)
            await producer.send(topic, raw, key=key, timestamp_ms=at)
        await producer.flush()
