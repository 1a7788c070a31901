"""Executes a shard's commands: accepted in one transaction, sent in order through the limiter, each id once."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec
import structlog
from aiokafka import ConsumerRecord, TopicPartition

from gateway.commands import metrics
from gateway.commands.intake import Rejected, read
from gateway.commands.store import KeptCommand, Phase, command_part, encode, load
from gateway.contract.commands import Command, CommandResult, CommandStatus
from gateway.contract.times import Ms, utc
from gateway.ringcloud import (
    DeadlineExceeded,
    Flight,
    Priority,
    RateLimited,
    RingCloud,
    RingCloudError,
    TransportError,
)
from gateway.ringcloud.limits import ORIGINATE
from gateway.runtime.committer import Committer, Record
from gateway.runtime.shards import Handles, key_of, shard_of, state_records

_log = structlog.get_logger(__name__)

# The command topic keeps a day, so an id can come again for that long.
_REMEMBER: Ms = 25 * 3600 * 1000
_SWEEP_SECONDS = 60.0
# A wait shorter than this is not worth a result of its own.
_DELAY_SECONDS = 0.5
# A connection that could not be made is tried this often; nothing was sent, so nothing is repeated.
_CONNECT_ATTEMPTS = 5
_CONNECT_PAUSE = 2.0


class Executor:
    """The commands of one shard. What is accepted lives in the accounts' state, not in the topic's offsets."""

    def __init__(self, shard: Handles, apis: Mapping[int, Sequence[RingCloud]], shards: int) -> None:
        """`apis` are the keys of every account that is configured, of this shard or not."""
        self._shard = shard
        self._committer: Committer = shard.committer
        self._apis = apis
        self._shards = shards
        self._partition = TopicPartition(shard.topics.commands.name, shard.number)
        self._commands: dict[tuple[int, str], KeptCommand] = {
            (account, id_): kept for account, parts in shard.kept.items() for id_, kept in load(parts).items()
        }
        self._queues: dict[int, asyncio.Queue[Command]] = defaultdict(asyncio.Queue)
        self._lanes: set[int] = set()
        self._log = _log.bind(shard=shard.number)

    async def accept(self, records: Sequence[ConsumerRecord]) -> None:
        """Take over records of the command topic: each becomes accepted, rejected, or goes to the shard that it is of.

        One transaction holds the results, the accepted commands and the offsets, so each is taken over once. A command
        whose id is known is passed over. Raises NotCommitted.
        """
        out: list[Record] = []
        fresh: list[Command] = []
        for record in records:
            try:
                command = read(record.value)
                self._check_account(command)
            except Rejected as rejection:
                self._log.warning(
                    "command rejected", offset=record.offset, field=rejection.field, reason=rejection.message
                )
                out.append(self._rejection(rejection))
                continue
            home = shard_of(command.account, self._shards)
            if home != self._shard.number:
                # Its sender's partitioner is not Kafka's default, or its key is not the account.
                out.append(Record(self._partition.topic, key_of(command.account), record.value, (), home))
            elif (command.account, command.id) not in self._commands:
                kept = KeptCommand("accepted", 0, _now(), msgspec.json.encode(command), record.offset)
                out += self._step(command, "accepted", kept)
                fresh.append(command)
        await self._committer.commit(out, {self._partition: records[-1].offset + 1})
        for command in fresh:
            self._queues[command.account].put_nowait(command)
            self._lane_started(command.account)

    async def run(self) -> None:
        """Execute what was accepted, account by account in order, until cancelled. Raises NotCommitted."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks: asyncio.TaskGroup = tasks
            for (account, _), kept in list(self._commands.items()):
                if kept.phase != "done":
                    self._queues[account].put_nowait(msgspec.json.decode(kept.raw, type=Command))
            for account in list(self._queues):
                self._lane_started(account)
            tasks.create_task(self._sweep())

    def _lane_started(self, account: int) -> None:
        if account not in self._lanes:
            self._lanes.add(account)
            self._tasks.create_task(self._lane(account))

    async def _lane(self, account: int) -> None:
        while True:
            await self._execute(await self._queues[account].get())

    async def _execute(self, command: Command) -> None:
        kept = self._commands[command.account, command.id]
        if kept.phase == "sending":
            # The process ended between sending and the answer: it may have been executed, so it is never sent again.
            return await self._finish(
                command, "outcome_unknown", message="interrupted while the request was on its way"
            )
        if command.account not in self._apis:
            return await self._finish(
                command, "failed", message=f"account {command.account} is not configured any more"
            )
        api = self._apis[command.account][0]
        done = False
        while not done:
            if self._expired(command):
                return await self._finish(command, "expired")
            wait = api.estimate(ORIGINATE) - api.now()
            if wait > _DELAY_SECONDS:
                await self._commit(command, "delayed", "accepted", until=_now() + int(wait * 1000))
            done = await self._send(command, api)
        return None

    async def _send(self, command: Command, api: RingCloud) -> bool:
        """Send it in its turn and write down what became of it. False where it was refused undone and waits on."""

        async def before_send() -> None:
            await self._commit(command, None, "sending")

        for attempt in range(1, _CONNECT_ATTEMPTS + 1):
            flight = Flight()
            try:
                await api.originate(
                    command.user,
                    command.num,
                    priority=Priority.COMMAND,
                    deadline=self._deadline(command, api),
                    before_send=before_send,
                    flight=flight,
                )
            except DeadlineExceeded:
                await self._finish(command, "expired")
            except RateLimited:
                # Refused before anything was done; the limiter holds the lane back.
                await self._commit(command, None, "accepted")
                return False
            except RingCloudError as error:
                unsent = isinstance(error, TransportError) and not error.maybe_sent
                if unsent and attempt < _CONNECT_ATTEMPTS:
                    await self._commit(command, None, "accepted")
                    await asyncio.sleep(_CONNECT_PAUSE * attempt)
                    continue
                status: CommandStatus = "outcome_unknown" if error.maybe_done else "failed"
                message = f"not sent: {error.message}" if unsent else error.message
                await self._finish(command, status, http_status=error.status, message=message)
            else:
                await self._finish(command, "succeeded", http_status=200)
            break
        return True

    def _expired(self, command: Command) -> bool:
        return command.expires_at is not None and command.expires_at <= datetime.now(UTC)

    def _deadline(self, command: Command, api: RingCloud) -> float | None:
        if command.expires_at is None:
            return None
        # Not by milliseconds since the epoch: a time near the calendar's ends has none in UTC.
        return api.now() + (command.expires_at - datetime.now(UTC)).total_seconds()

    def _check_account(self, command: Command) -> None:
        if command.account not in self._apis:
            raise Rejected(
                f"account {command.account} is not configured",
                field="account",
                command_id=command.id,
                account=command.account,
                type_=_type_of(command),
            )

    async def _finish(
        self, command: Command, status: CommandStatus, *, http_status: int | None = None, message: str | None = None
    ) -> None:
        await self._commit(command, status, "done", http_status=http_status, message=message)
        self._log.info("command done", command=command.id, account=command.account, status=status)

    async def _commit(
        self,
        command: Command,
        status: CommandStatus | None,
        phase: Phase,
        *,
        until: Ms | None = None,
        http_status: int | None = None,
        message: str | None = None,
    ) -> None:
        """Write the command's next phase, and a result with it where `status` is given."""
        before = self._commands[command.account, command.id]
        raw = b"" if phase == "done" else before.raw
        kept = msgspec.structs.replace(before, phase=phase, at=_now(), raw=raw)
        await self._committer.commit(
            self._step(command, status, kept, until=until, http_status=http_status, message=message)
        )

    def _step(
        self,
        command: Command,
        status: CommandStatus | None,
        kept: KeptCommand,
        *,
        until: Ms | None = None,
        http_status: int | None = None,
        message: str | None = None,
    ) -> list[Record]:
        records: list[Record] = []
        if status is not None:
            kept = msgspec.structs.replace(kept, sequence=kept.sequence + 1)
            result = CommandResult(
                command_id=command.id,
                account=command.account,
                type=_type_of(command),
                sequence=kept.sequence,
                status=status,
                at=utc(_now()),
                until=None if until is None else utc(until),
                http_status=http_status,
                message=message,
            )
            records.append(self._result(result))
        self._commands[command.account, command.id] = kept
        return records + state_records(self._shard, command.account, {command_part(command.id): encode(kept)})

    def _rejection(self, rejection: Rejected) -> Record:
        return self._result(
            CommandResult(
                command_id=rejection.command_id,
                account=rejection.account,
                type=rejection.type,
                sequence=1,
                status="rejected",
                at=utc(_now()),
                message=rejection.message,
                field=rejection.field,
            )
        )

    def _result(self, result: CommandResult) -> Record:
        metrics.RESULTS.labels(result.status).inc()
        key = b"" if result.account is None else key_of(result.account)
        return Record(self._shard.topics.command_results.name, key, msgspec.json.encode(result))

    async def _sweep(self) -> None:
        """Forget, once a minute, the ids of commands that are done and can't come again."""
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            old = [who for who, kept in self._commands.items() if kept.phase == "done" and _now() - kept.at > _REMEMBER]
            records: list[Record] = []
            for account, id_ in old:
                records += state_records(self._shard, account, {command_part(id_): None})
            if records:
                await self._committer.commit(records)
            for who in old:
                del self._commands[who]


def _type_of(command: Command) -> str:
    return str(command.__struct_config__.tag)


def _now() -> Ms:
    return time.time_ns() // 1_000_000
