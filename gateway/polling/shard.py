"""One shard at work: its producer, its accounts' pollers and its commands, all of which live and fall together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

import structlog
from aiokafka import ConsumerRecord
from aiokafka.errors import KafkaError, ProducerFenced

from gateway.config import KafkaConfig
from gateway.contract.topics import Topics
from gateway.polling.links import Links
from gateway.polling.poller import Poller
from gateway.polling.store import Memory, load_shard, remembered
from gateway.runtime.committer import Committer, NotCommitted
from gateway.runtime.kafka import transactional_producer
from gateway.runtime.shards import Handles

_log = structlog.get_logger(__name__)

_RESTART_SECONDS = 1.0


class CommandHandler(Protocol):
    """Executes a shard's commands."""

    @property
    def links(self) -> Links:
        """Which of them has started which call."""

    async def accept(self, records: Sequence[ConsumerRecord]) -> None:
        """Take these records of the command topic over: once this returns they are committed as read."""

    async def run(self) -> None:
        """Execute what was accepted, until cancelled."""

    async def settle(self, seconds: float) -> None:
        """Send nothing more, and wait, at most so many seconds, until it is written down what became of what was sent."""


class Work(Protocol):
    """Makes a shard's workers, and knows its accounts."""

    def accounts(self, shard: int) -> Mapping[int, object]:
        """The accounts of the shard by their numbers, each with what it is declared as, by which a change is known."""

    def poller(self, account: int, shard: Handles, memory: Memory, links: Links) -> Poller:
        """A poller for an account of the shard."""

    def commands(self, shard: Handles) -> CommandHandler:
        """The executor of the shard's commands."""


class Shard:
    """Runs one shard until cancelled; starts it anew from Kafka's state when it can't write."""

    def __init__(self, number: int, config: KafkaConfig, group: str, work: Work, accepted: Callable[[], None]) -> None:
        """`accepted` is called each time that a batch handed to `give` was taken over."""
        self.number = number
        self._config = config
        self._group = group
        self._work = work
        self._accepted = accepted
        self._inbox: asyncio.Queue[Sequence[ConsumerRecord]] = asyncio.Queue()
        self._batch: Sequence[ConsumerRecord] = ()
        self._declared = asyncio.Event()
        self._commands: CommandHandler | None = None
        self._polling: asyncio.Task[None] | None = None
        self._given_up = False
        self._log = _log.bind(shard=number)

    def give(self, records: Sequence[ConsumerRecord]) -> None:
        """Hand over records of the command topic. They are kept through restarts of the shard."""
        self._inbox.put_nowait(records)

    def accounts_changed(self) -> None:
        """Accounts of the shard were declared, withdrawn or declared anew: their pollers start, stop, or start anew."""
        self._declared.set()

    async def settle(self, seconds: float) -> None:
        """It is about to be cancelled: poll no more, send no more commands, and wait, at most so many seconds, for answers."""
        self._given_up = True
        if self._polling is not None:
            # Where the shard was lost unnoticed, another process polls already.
            self._polling.cancel()
        if self._commands is not None:
            await self._commands.settle(seconds)

    async def run(self) -> None:
        """Own the shard until cancelled, or until it falls as it is given up."""
        while not self._given_up:
            pause = _RESTART_SECONDS
            try:
                await _apart(self._once())
            except* (NotCommitted, KafkaError, OSError, TimeoutError) as group:
                errors = _leaves(group)
                if any(isinstance(error.__cause__ or error, ProducerFenced) for error in errors):
                    # Another process took the shard, by right or having slept through losing it. Within a session's
                    # timeout the group tells which of the two stays; to begin at once would fence the rightful owner.
                    pause = self._config.session_timeout
                self._log.warning("shard starts anew", seconds=pause, errors=[repr(error) for error in errors])
            await asyncio.sleep(pause)

    async def _once(self) -> None:
        topics = Topics(self._config.prefix)
        name = f"shard-{self.number}"
        # The id is the shard's and no one else's: whoever starts with it fences the owner before (law 7 of the differ).
        async with transactional_producer(self._config, name, f"{self._config.prefix}-{name}") as producer:
            kept = await load_shard(self._config, self.number)
            committer = Committer(producer, self._group)
            handles = Handles(self.number, committer, topics, kept)
            commands = self._commands = self._work.commands(handles)
            if self._given_up:
                return
            self._log.info("shard owned", accounts=len(self._work.accounts(self.number)))
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(committer.run())
                tasks.create_task(commands.run())
                tasks.create_task(self._accept(commands))
                self._polling = tasks.create_task(self._poll(handles, commands.links))

    async def _poll(self, handles: Handles, links: Links) -> None:
        """Run a poller for each account, as they are declared and withdrawn."""
        running: dict[int, tuple[object, Poller, asyncio.Task[None]]] = {}
        resting: dict[int, Memory] = {}
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._declared.clear()
                declared = self._work.accounts(self.number)
                for account in [one for one, (as_, _, _) in running.items() if declared.get(one) is not as_]:
                    _, poller, task = running.pop(account)
                    task.cancel()
                    await asyncio.wait([task])
                    resting[account] = poller.memory
                for account, as_ in declared.items():
                    if account not in running:
                        memory = resting.pop(account, None) or remembered(handles.kept.get(account, {}))
                        poller = self._work.poller(account, handles, memory, links)
                        running[account] = (as_, poller, tasks.create_task(poller.run()))
                await self._declared.wait()

    async def _accept(self, commands: CommandHandler) -> None:
        while True:
            if not self._batch:
                self._batch = await self._inbox.get()
            await commands.accept(self._batch)
            self._batch = ()
            self._accepted()


async def _apart(work: Coroutine[Any, Any, None]) -> None:
    """Await `work` in a task of its own: whoever is cancelled meanwhile cancels it, waits for its end, and then is.

    A task group that falls just as its task is cancelled raises its errors and drops the cancellation. Who wakes up
    after its session is told by the brokers and by the group at once, and would never let go.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task])
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        raise
    task.result()


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
