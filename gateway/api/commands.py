"""The operations on commands: written to their topic as any Kafka client could, and what became of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRecord, TopicPartition

from gateway.api.operations import Asked, Nothing, Operation, Reply
from gateway.api.problems import Problem
from gateway.api.reading import Page, Reader
from gateway.api.shapes import AskedCommand, CommandQuery, CommandView, IdempotencyHeaders, SendQuery
from gateway.commands.intake import MAX_BYTES, Rejected, read
from gateway.contract.commands import Command, CommandResult, is_last, type_of
from gateway.contract.topics import Topics
from gateway.runtime.shards import key_of
from streams.outbox import Outbox

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)

_result = msgspec.json.Decoder(CommandResult).decode

# A command is looked for by the bytes of its id, which costs little a record. It is enough for some days of a busy shard.
_MOST_SEARCHED = 200_000
# Of one id: it is a command's, or its sender made it up badly.
_MOST_ALIKE = 200
# Requests that wait for an outcome at once, each of which holds a connection to the brokers.
_MOST_WAITING = 100
# Seconds for the brokers to take a command.
_TAKE = 10.0
_AGAIN = 5


class CommandOperations:
    """Sends commands, and reads what became of them."""

    def __init__(self, reader: Reader, outbox: Outbox, topics: Topics) -> None:
        """Take what reads the topics, and what writes to them."""
        self._reader = reader
        self._outbox = outbox
        self._topics = topics
        self._waiting = 0
        self._sending: WeakValueDictionary[tuple[int, str], asyncio.Lock] = WeakValueDictionary()

    def operations(self) -> Sequence[Operation[Any, Any]]:
        """All of them."""
        return [
            Operation(
                "POST",
                "/v1/commands",
                "send_command",
                "Ask RingCloud for something: a call, or a change of a user",
                "commands",
                self._send,
                AskedCommand,
                SendQuery,
                CommandView,
                status=202,
                also=(200,),
                headers=IdempotencyHeaders,
                problems=(409, 422),
            ),
            Operation(
                "GET",
                "/v1/commands/{id}",
                "get_command",
                "A command, and what became of it so far",
                "read",
                self._get,
                Nothing,
                CommandQuery,
                CommandView,
            ),
        ]

    async def _send(self, asked: Asked[Any, SendQuery]) -> Reply:
        command, may_be_known = _command(asked)
        value = msgspec.json.encode(command)
        if len(value) > MAX_BYTES:
            raise Problem(413, f"the command has {len(value)} bytes, {MAX_BYTES} is the most")
        async with self._tail(asked.query.wait, command.account, command.id) as tail:
            lock = self._sending.setdefault((command.account, command.id), asyncio.Lock())
            async with lock:
                known = await self._find(command.id, command.account) if may_be_known else None
                if known is None:
                    what = {"command": command.id, "account": command.account, "type": type_of(command)}
                    _log.info("command sent", by=asked.by.name, **what)
                    async with asyncio.timeout(_TAKE):
                        await self._outbox.send(self._topics.commands.name, key_of(command.account), value)
                elif known != command:
                    field = "id" if asked.headers.key is None else "Idempotency-Key"
                    raise Problem(409, "there was another command of this id", field)
            results = [] if known is None else await self._results(command.id, command.account)
            results = await tail.after(results, command.account)
        view = _view(command.id, command.account, type_of(command), results)
        location = f"/v1/commands/{command.id}?account={command.account}"
        return Reply(view, location=location, status=200 if view.done else 202)

    async def _get(self, asked: Asked[Nothing, CommandQuery]) -> Reply:
        name, account = asked.path["id"], asked.query.account
        async with self._tail(asked.query.wait, account, name) as tail:
            results = await self._results(name, account)
            if results and results[0].account is not None:
                whose, type_ = results[0].account, results[0].type
            elif (command := await self._find(name, account)) is not None:
                whose, type_ = command.account, type_of(command)
            else:
                raise Problem(404, f"nothing is kept of a command {name[:128]}")
            results = await tail.after(results, whose)
        return Reply(_view(name, whose, type_, results))

    async def _find(self, name: str, account: int | None) -> Command | None:
        """The command of this id as it was sent first, as far as the topic is kept; None where there is none."""

        def wanted(record: ConsumerRecord) -> Command | None:
            if name.encode() not in (record.value or b""):
                return None
            try:
                found = read(record.value)
            except Rejected:
                return None
            if found.id != name or account not in (None, found.account):
                return None
            return found

        partitions = self._partitions(self._topics.commands.name, account)
        page: Page[Command] = await self._reader.newest(partitions, wanted, _MOST_ALIKE, most=_MOST_SEARCHED)
        return page.items[-1] if page.items else None

    async def _results(self, name: str, account: int | None) -> list[CommandResult]:
        """The results of this id so far, of the account that used it last; since its last use, where there were several."""
        found: list[tuple[int, int, CommandResult]] = []

        def first(record: ConsumerRecord) -> CommandResult | None:
            result = _result_of(record, name, account)
            if result is None or result.account is None:
                return None
            found.append((record.timestamp, record.offset, result))
            # What was before its first step is another's.
            return result if result.sequence == 1 else None

        partitions = self._partitions(self._topics.command_results.name, account)
        await self._reader.newest(partitions, first, 1, most=_MOST_SEARCHED)
        found.sort(key=lambda one: one[:2])
        own = [result for _, _, result in found if result.account == found[-1][2].account]
        begin = max((at for at, result in enumerate(own) if result.sequence == 1), default=0)
        return own[begin:]

    def _partitions(self, topic: str, account: int | None) -> list[TopicPartition]:
        (found,) = [one for one in self._topics.all() if one.name == topic]
        return self._reader.partitions(found, None if account is None else str(account))

    @asynccontextmanager
    async def _tail(self, wait: int | None, account: int | None, name: str) -> AsyncIterator[_Tail]:
        """What is told of a command from now on. Raises Problem where too many wait."""
        if wait is None:
            yield _Tail(None, 0, name)
            return
        if self._waiting >= _MOST_WAITING:
            raise Problem(503, f"{_MOST_WAITING} requests wait already: ask without wait", Retry_After=str(_AGAIN))
        self._waiting += 1
        try:
            async with self._reader.consumer() as consumer:
                partitions = self._partitions(self._topics.command_results.name, account)
                consumer.assign(partitions)
                for partition, end in (await consumer.end_offsets(partitions)).items():
                    consumer.seek(partition, end)
                yield _Tail(consumer, wait, name)
        finally:
            self._waiting -= 1


class _Tail:
    """What is told of a command from a moment on."""

    def __init__(self, consumer: AIOKafkaConsumer | None, wait: int, name: str) -> None:
        self._consumer = consumer
        self._deadline = asyncio.get_running_loop().time() + wait
        self._name = name

    async def after(self, results: Sequence[CommandResult], account: int) -> list[CommandResult]:
        """These results and those that follow, up to the outcome or the end of the waiting."""
        found = {result.sequence: result for result in results}
        loop = asyncio.get_running_loop()
        while self._consumer and not any(map(is_last, found.values())) and loop.time() < self._deadline:
            left = max(1, int(1000 * (self._deadline - loop.time())))
            for records in (await self._consumer.getmany(timeout_ms=left)).values():
                told = [result for one in records if (result := _result_of(one, self._name, account)) is not None]
                found |= {result.sequence: result for result in told}
        return [found[sequence] for sequence in sorted(found)]


def _command(asked: Asked[Any, SendQuery]) -> tuple[Command, bool]:
    """The command that is asked for, and whether its id may have been used before."""
    key = (asked.headers.key or "").strip('"') or None
    if key and asked.body.id and key != asked.body.id:
        raise Problem(422, "is not the Idempotency-Key: give one of them", "id")
    given = key or asked.body.id
    fields = {name: getattr(asked.body, name) for name in asked.body.__struct_fields__}
    named = {**msgspec.to_builtins(fields), "id": given or str(uuid.uuid4())}
    return msgspec.convert({**named, "type": asked.body.__struct_config__.tag}, Command), given is not None


def _result_of(record: ConsumerRecord, name: str, account: int | None) -> CommandResult | None:
    """The result in a record, if it is of this command."""
    if name.encode() not in (record.value or b""):
        return None
    try:
        result = _result(record.value or b"")
    except msgspec.MsgspecError:
        return None
    return result if result.command_id == name and account in (None, result.account) else None


def _view(name: str, account: int, type_: str | None, results: Sequence[CommandResult]) -> CommandView:
    return CommandView(
        id=name,
        account=account,
        type=type_,
        status=results[-1].status if results else "sent",
        done=any(map(is_last, results)),
        results=list(results),
    )
