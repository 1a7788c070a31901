"""Commands sent as any Kafka client could send them, and what became of them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.structs import RecordMetadata

from tests.support.gateway import Site
from tests.support.kafka import committed_offset, read_all
from tests.support.waiting import eventually

FINAL = {"succeeded", "failed", "rejected", "expired", "outcome_unknown"}


@dataclass
class Sender:
    """Sends commands to a site's topic."""

    place: Site
    producer: AIOKafkaProducer
    sent: RecordMetadata = field(init=False)

    async def originate(self, account: int, id_: str, num: str, user: str = "400", **more: Any) -> None:
        """Send a `call.originate`."""
        given = {"type": "call.originate", "id": id_, "account": account, "user": user, "num": num, **more}
        await self.raw(account, json.dumps(given).encode())

    async def raw(self, account: int, value: bytes | None, partition: int | None = None) -> None:
        """Send a record with the key of an account."""
        topic = self.place.topics.commands.name
        self.sent = await self.producer.send_and_wait(topic, value, str(account).encode(), partition)

    async def taken_over(self) -> None:
        """Wait until the group has taken over what was sent last."""
        group = f"{self.place.config.kafka.prefix}-gateway"

        async def committed() -> bool:
            """the command was taken over"""
            offset = await committed_offset(self.place.broker.bootstrap, group, self.sent.topic_partition)
            return offset is not None and offset > self.sent.offset

        await eventually(committed, interval=0.2)


@asynccontextmanager
async def sender(place: Site) -> AsyncIterator[Sender]:
    """A sender over a plain producer."""
    async with AIOKafkaProducer(bootstrap_servers=place.broker.bootstrap, acks="all") as producer:
        yield Sender(place, producer)


async def results(place: Site) -> list[dict[str, Any]]:
    """Every committed result so far, those of an account in order."""
    records = await read_all(place.broker.bootstrap, place.topics.command_results.name)
    return [json.loads(record.value) for record in records]


async def finished(place: Site, ids: Sequence[str], rejected: int = 0, timeout: float = 40.0) -> list[dict[str, Any]]:
    """Wait until these commands have their last result, and so many records were rejected; give all results."""

    async def done() -> list[dict[str, Any]]:
        """every command has its last result"""
        found = await results(place)
        over = {one["command_id"] for one in found if one["status"] in FINAL}
        refusals = sum(one["status"] == "rejected" for one in found)
        return found if over >= set(ids) and refusals >= rejected else []

    return await eventually(done, timeout, interval=0.5)


def steps(found: Sequence[dict[str, Any]], id_: str) -> list[str]:
    """The statuses of a command, one for each of its results, which are numbered from 1."""
    own = [one for one in found if one["command_id"] == id_]
    assert [one["sequence"] for one in own] == [*range(1, len(own) + 1)], own
    return [one["status"] for one in own]


def last(found: Sequence[dict[str, Any]], id_: str) -> dict[str, Any]:
    """A command's last result."""
    return [one for one in found if one["command_id"] == id_][-1]


async def originate_by_cli(place: Site, account: int, user: str, num: str) -> tuple[int, str]:
    """`ringcloud-gateway commands originate` as a process: its exit code and what it printed."""
    options = {"--config": str(place.folder / "site.toml"), "--account": str(account), "--user": user, "--num": num}
    words = [word for pair in options.items() for word in pair]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gateway.cli",
        "commands",
        "originate",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()
