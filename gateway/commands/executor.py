"""Executes a shard's commands: accepted in one transaction, sent in order through the limiter, each id once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import structlog
from aiokafka import ConsumerRecord, TopicPartition

from gateway.commands.accounts import Commanded
from gateway.commands.book import Book, CommandKey, now_ms
from gateway.commands.execution import DELAY_SECONDS, STALE_SECONDS, Means, execute
from gateway.commands.intake import Rejected, read_record, rejection
from gateway.commands.lanes import LaneKey, Lanes
from gateway.commands.linking import Linker
from gateway.commands.reconcile import Reconciler, extension_of
from gateway.commands.replies import ReplyTopics
from gateway.commands.requests import Request, request_of
from gateway.commands.rights import check_rights
from gateway.commands.sealing import Opener, SealError
from gateway.contract.commands import Command
from gateway.contract.times import Ms
from gateway.ringcloud.limits import ORIGINATE
from gateway.runtime.committer import Record
from gateway.runtime.shards import Handles, key_of, shard_of

_log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 60.0
# Who takes over asks for the users of what was sent so lately: most calls of before that were seen by their time.
_LATELY: Ms = 600_000
# RingCloud's answer times are not ours: what is sent as its time is over may be taken in a little later.
_SPARE: Ms = 2_000


class Executor:
    """The commands of one shard."""

    def __init__(
        self,
        shard: Handles,
        accounts: Mapping[int, Commanded],
        shards: int,
        timeout: float,
        opener: Opener,
        replies: ReplyTopics,
        at_once: asyncio.Semaphore,
    ) -> None:
        """`accounts` are all that are configured, of this shard or not. `timeout` bounds a request to RingCloud, in
        seconds; `at_once` how many user changes of the process are on the wire.
        """
        self._shard = shard
        self._accounts = accounts
        self._shards = shards
        self._replies = replies
        self._partition = TopicPartition(shard.topics.commands.name, shard.number)
        self._reach: Ms = int((STALE_SECONDS + timeout) * 1000) + _SPARE
        self._book = Book(shard, accounts)
        self._means = Means(self._book, accounts, opener, at_once, self._take, self._sent)
        self.links = Linker(self._book, accounts, self._reach)
        self._started = asyncio.Event()
        self._log = _log.bind(shard=shard.number)

    async def accept(self, records: Sequence[ConsumerRecord]) -> None:
        """Take over records of the command topic: each becomes accepted, rejected, or goes to the shard that it is of.

        One transaction holds the results, the accepted commands and the offsets, so each is taken over once. A command
        whose id is known is passed over. Raises NotCommitted.
        """
        await self._started.wait()
        await self._lanes.room()
        out: list[Record] = []
        fresh: list[tuple[CommandKey, Command]] = []
        before: Counter[LaneKey] = Counter()
        for record in records:
            try:
                command = read_record(record)
                if command.account not in self._accounts:
                    raise rejection(command, "account", f"account {command.account} is not configured")
                home = shard_of(command.account, self._shards)
                if home != self._shard.number:
                    # Its sender's partitioner is not Kafka's default, or it has no key.
                    out.append(Record(self._partition.topic, key_of(command.account), record.value, (), home))
                    continue
                key = CommandKey(command.account, command.id)
                if key not in self._book:
                    await self._check(command)
                    out += self._admit(key, command, record.offset, before)
                    fresh.append((key, command))
            except Rejected as rejected:
                out += self._reject(record, rejected)
        await self._shard.committer.commit(out, {self._partition: records[-1].offset + 1})
        for key, command in fresh:
            self._queue(key, command)

    async def settle(self, seconds: float) -> None:
        """Send nothing more, and wait, at most so many seconds, until it is written down what became of what was sent."""
        await self._means.sending.close(seconds)

    async def run(self) -> None:
        """Execute what was accepted, lane by lane in order, until cancelled. Raises NotCommitted."""
        async with asyncio.TaskGroup() as tasks:
            self._tasks = tasks
            self._lanes: Lanes[CommandKey] = Lanes(tasks, lambda key: execute(self._means, key))
            self._reconciler = Reconciler(self._means, self._reach, tasks)
            try:
                for account in {key.account for key in self._book}:
                    for key, kept, call in self._book.awaited(account):
                        if kept.sent_at > now_ms() - _LATELY and not call.extension:
                            tasks.create_task(self._learn(key))
                for key in self._book.unfinished():
                    await self._resume(key)
                self._started.set()
                while True:
                    await asyncio.sleep(_SWEEP_SECONDS)
                    await self._book.forget_old()
            finally:
                self._lanes.close()

    def _sent(self, key: CommandKey) -> None:
        if self._book[key].call is not None:
            # Beside the request: the call may be seen as soon as that is answered, and the number may have been changed
            # just before.
            self._tasks.create_task(self._learn(key))

    async def _learn(self, key: CommandKey) -> None:
        """Ask which number the user of an originate calls from, as lists know the user by that."""
        account, call = self._accounts.get(key.account), self._book[key].call
        if account is None or call is None:
            return
        extension = await extension_of(account, call.user)
        if extension not in ("", call.user):
            await self._book.know(key, extension)

    async def _resume(self, key: CommandKey) -> None:
        """Go on with what was accepted by whoever had the shard before."""
        try:
            command = self._book.command(key)
        except SealError as error:
            await self._means.finish(key, "failed", message=str(error))
            return
        if self._book[key].phase == "unknown" and not request_of(command).repeatable:
            self._take(key)
        else:
            self._queue(key, command)

    async def _check(self, command: Command) -> None:
        await self._replies.check(command)
        account = self._accounts[command.account].config
        try:
            check_rights(command, account, self._book.originated_today(command.account))
            self._means.password(command)
        except SealError as error:
            rejected = rejection(command, "password", str(error))
            rejected.reply_to = command.reply_to
            raise rejected from None
        except Rejected as rejected:
            rejected.reply_to = command.reply_to
            raise

    def _admit(self, key: CommandKey, command: Command, offset: int, before: Counter[LaneKey]) -> list[Record]:
        """Accept it. `before` are those of its batch, by their lanes."""
        out = self._book.admit(command, offset)
        if command.expires_at is not None and command.expires_at <= datetime.now(UTC):
            return out
        request = request_of(command)
        lane = (key.account, request.lane)
        seconds = self._seconds_until(key.account, request, self._lanes.ahead(lane) + before[lane])
        before[lane] += 1
        if seconds > DELAY_SECONDS:
            out += self._book.delay(key, now_ms() + int(seconds * 1000))
        return out

    def _seconds_until(self, account: int, request: Request, before: int) -> float:
        """When a request is expected to be sent behind `before` others of its lane, if all take their turns at once."""
        apis = self._accounts[account].apis
        rounds, behind = divmod(before, len(apis))
        # With so many before it on each key, the key whose turn comes then.
        waits = sorted(api.estimate(request.operation, *request.names) - api.now() for api in apis)
        return waits[behind] + rounds * request.operation.interval

    def _reject(self, record: ConsumerRecord, rejected: Rejected) -> list[Record]:
        if rejected.command_id and rejected.account and CommandKey(rejected.account, rejected.command_id) in self._book:
            # Told of already, as what it was when it came first.
            return []
        self._log.warning("command rejected", offset=record.offset, field=rejected.field, reason=rejected.message)
        return self._book.reject(record, rejected)

    def _queue(self, key: CommandKey, command: Command) -> None:
        account, request = self._accounts.get(key.account), request_of(command)
        # Calls go out by all keys at once. Changes of one thing keep their order, whichever key they go by.
        width = len(account.apis) if account is not None and request.operation is ORIGINATE else 1
        self._lanes.put((key.account, request.lane), key, width)

    def _take(self, key: CommandKey) -> None:
        self._reconciler.take(key)
