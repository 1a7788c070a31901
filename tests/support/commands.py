"""Commands sent as any Kafka client could send them, and what became of them."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import MessageSizeTooLargeError
from aiokafka.structs import RecordMetadata

from tests.support.gateway import Site
from tests.support.kafka import admin_client, committed_offset, read_all
from tests.support.waiting import eventually

FINAL = {"succeeded", "failed", "rejected", "expired"}
# What is told of an originate's call, behind its outcome.
SEEN = ("ringing_a", "dialing_b", "observed")
LARGEST = 12_000_000


@dataclass
class Sender:
    """Sends commands to a site's topic."""

    place: Site
    producer: AIOKafkaProducer
    sent: RecordMetadata = field(init=False)

    async def originate(self, account: int, id_: str, num: str, user: str = "400", **more: Any) -> None:
        """Send a `call.originate`."""
        await self.send("call.originate", account, id_, user=user, num=num, **more)

    async def send(self, type_: str, account: int, id_: str, **fields: Any) -> None:
        """Send a command of any type."""
        await self.raw(account, json.dumps({"type": type_, "id": id_, "account": account, **fields}).encode())

    async def raw(
        self,
        account: int | None,
        value: bytes | None,
        partition: int | None = None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Send a record with the key of an account, or without one."""
        topic = self.place.topics.commands.name
        key = None if account is None else str(account).encode()
        self.sent = await self.producer.send_and_wait(topic, value, key, partition, headers=list(headers))

    async def large(self, account: int, value: bytes) -> None:
        """Send a record that the brokers take only where they are told to; some need a while to hear of it."""
        topic = self.place.topics.commands.name
        settings = {**self.place.topics.commands.settings(), "max.message.bytes": str(LARGEST)}
        async with admin_client(self.place.broker.bootstrap) as admin:
            await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)])

        async def taken() -> bool:
            """the brokers take the large record"""
            try:
                await self.raw(account, value)
            except MessageSizeTooLargeError:
                return False
            return True

        await eventually(taken, interval=0.2)

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
    async with AIOKafkaProducer(
        bootstrap_servers=place.broker.bootstrap, acks="all", max_request_size=LARGEST
    ) as producer:
        yield Sender(place, producer)


async def results(place: Site) -> list[dict[str, Any]]:
    """Every committed result so far, those of an account in order."""
    records = await read_all(place.broker.bootstrap, place.topics.command_results.name)
    return [json.loads(record.value) for record in records]


async def dead_letters(place: Site) -> list[dict[str, Any]]:
    """Every dead letter so far."""
    records = await read_all(place.broker.bootstrap, place.topics.command_dead_letters.name)
    return [json.loads(record.value) for record in records]


def is_over(result: dict[str, Any]) -> bool:
    """Whether it tells a command's outcome, by the published rule."""
    return result["status"] in FINAL or (result["status"] == "outcome_unknown" and result["reconciled"])


async def finished(place: Site, ids: Sequence[str], rejected: int = 0, timeout: float = 40.0) -> list[dict[str, Any]]:
    """Wait until these commands have their last result, and so many records were rejected; give all results."""

    async def done() -> list[dict[str, Any]]:
        """every command has its last result"""
        found = await results(place)
        over = {one["command_id"] for one in found if is_over(one)}
        refusals = sum(one["status"] == "rejected" for one in found)
        return found if over >= set(ids) and refusals >= rejected else []

    return await eventually(done, timeout, interval=0.5)


def steps(found: Sequence[dict[str, Any]], id_: str) -> list[str]:
    """The statuses of a command up to its outcome, one for each of its results, which are numbered from 1."""
    return [status for status in every_step(found, id_) if status not in SEEN]


def every_step(found: Sequence[dict[str, Any]], id_: str) -> list[str]:
    """The statuses of a command, with what was seen of its call behind its outcome, in order and each once."""
    own = [one for one in found if one["command_id"] == id_]
    assert [one["sequence"] for one in own] == [*range(1, len(own) + 1)], own
    statuses = [one["status"] for one in own]
    behind = [status for status in statuses if status in SEEN]
    assert behind == [status for status in SEEN if status in behind], statuses
    assert statuses[len(statuses) - len(behind) :] == behind, statuses
    return statuses


def last(found: Sequence[dict[str, Any]], id_: str) -> dict[str, Any]:
    """The result that tells a command's outcome, once it is known."""
    return [one for one in found if one["command_id"] == id_ and one["status"] not in SEEN][-1]


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
