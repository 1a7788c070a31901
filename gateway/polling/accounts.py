"""Accounts declared at run time: a compacted topic that every gateway follows, and what writes it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition

from gateway.config import AccountConfig, ConfigError, KafkaConfig, check_zone
from gateway.contract.faults import fault
from gateway.contract.topics import Topics
from gateway.runtime.kafka import client_settings, stop_consumer
from gateway.runtime.shards import key_of

_log = structlog.get_logger(__name__)

# An account's number, and what it is declared as; None where it was withdrawn.
Declared = Callable[[int, AccountConfig | None], None]


async def follow_accounts(config: KafkaConfig, declared: Declared, loaded: Callable[[], None]) -> None:
    """Tell `declared` of every account on the topic, and of each change from then on, until cancelled.

    `loaded` is called once everything is told of that was there at the start. A record that is no account, or that
    `declared` refuses by a ConfigError, is logged by its field, partition and offset, and what was declared before it
    stands. Raises KafkaError.
    """
    topic = Topics(config.prefix).accounts.name
    partitions = [TopicPartition(topic, number) for number in range(config.shards)]
    consumer = AIOKafkaConsumer(
        **client_settings(config, "accounts"),
        isolation_level="read_committed",
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=500,
    )
    try:
        await consumer.start()
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        behind = {partition for partition, end in ends.items() if end > 0}
        if not behind:
            loaded()
        while True:
            for records in (await consumer.getmany(timeout_ms=1000)).values():
                for record in records:
                    _tell(record, declared)
            if behind:
                behind = {one for one in behind if await consumer.position(one) < ends[one]}
                if not behind:
                    loaded()
    finally:
        await stop_consumer(consumer)


async def declared_accounts(config: KafkaConfig) -> dict[int, AccountConfig]:
    """The accounts on the topic now. Records that are none are logged. Raises KafkaError."""
    found: dict[int, AccountConfig] = {}

    def declared(account: int, as_: AccountConfig | None) -> None:
        if as_ is None:
            found.pop(account, None)
        else:
            found[account] = as_

    class _Loaded(Exception):
        pass

    def loaded() -> None:
        raise _Loaded

    with suppress(_Loaded):
        await follow_accounts(config, declared, loaded)
    return found


async def declare_account(config: KafkaConfig, account: int, as_: AccountConfig | None) -> None:
    """Declare an account, or withdraw it with None. Returns once the brokers have it. Raises KafkaError."""
    producer = AIOKafkaProducer(**client_settings(config, "accounts"), acks="all", enable_idempotence=True)
    await producer.start()
    try:
        value = None if as_ is None else msgspec.json.encode(as_)
        await producer.send_and_wait(Topics(config.prefix).accounts.name, value=value, key=key_of(account))
    finally:
        await producer.stop()


def _tell(record: ConsumerRecord, declared: Declared) -> None:
    where = f"{record.topic}[{record.partition}]@{record.offset}"
    try:
        account = _number(where, record.key)
        declared(account, None if record.value is None else _read(where, account, record.value))
    except ConfigError as error:
        _log.error("an account on the topic is wrong and was passed over", error=str(error))


def _number(where: str, key: bytes | None) -> int:
    text = (key or b"").decode("ascii", "replace")
    if not text.isascii() or not text.isdigit() or not 0 < len(text) < 20:
        raise ConfigError(where, "key", "is not an account number")
    return int(text)


def _read(where: str, account: int, value: bytes) -> AccountConfig:
    try:
        found = msgspec.json.decode(value, type=AccountConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(where, *fault(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(where, "", f"not JSON: {error}") from None
    if found.id != account:
        raise ConfigError(where, "id", f"is {found.id}, the key says {account}")
    check_zone(where, "time_zone", found.time_zone)
    return found
