"""One command, from the head of its lane to what became of it: sent in its turn, repeated where that is safe, or not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import structlog

from gateway.commands import metrics
from gateway.commands.accounts import Commanded
from gateway.commands.book import Book, CommandKey, now_ms
from gateway.commands.choice import Choice
from gateway.commands.evidence import judge_change
from gateway.commands.requests import Request, password_of, request_of
from gateway.commands.sealing import Opener, SealError
from gateway.commands.sending import Sending
from gateway.contract.commands import Command
from gateway.contract.times import utc
from gateway.ringcloud import (
    AuthenticationError,
    BadParameters,
    DeadlineExceeded,
    RateLimited,
    RingCloud,
    RingCloudError,
    TransportError,
)

_log = structlog.get_logger(__name__)

# A wait shorter than this is not worth a result of its own.
DELAY_SECONDS = 0.5
# Who slept for longer between writing down that it sends and sending may have lost the shard to another process
# meanwhile, which Kafka tells at the next write, and RingCloud never.
STALE_SECONDS = 8.0
# What was not sent, and a change that is safe to repeat, is tried this often, with a longer pause each time.
_ATTEMPTS = 5
_PAUSE = 2.0
# How often a user is asked for to see whether a change was made.
_LOOKS = 3

_Last = Literal["succeeded", "failed", "expired", "outcome_unknown"]


class _NotSent(Exception):
    """It was this command's turn, and it was not sent after all."""

    def __init__(self, *, expired: bool) -> None:
        super().__init__(expired)
        self.expired = expired


@dataclass(frozen=True)
class Means:
    """What the executions of a shard share.

    `at_once` bounds how many user changes are on the wire; `unknown` takes what is to be reconciled; `sent` is told of what
    is about to be sent.
    """

    book: Book
    accounts: Mapping[int, Commanded]
    opener: Opener
    at_once: asyncio.Semaphore
    unknown: Callable[[CommandKey], None]
    sent: Callable[[CommandKey], None]
    choice: Choice = field(default_factory=Choice)
    sending: Sending = field(default_factory=Sending)

    def password(self, command: Command) -> str:
        """The password of a command, opened; empty for one that has none. Raises SealError."""
        password = password_of(command)
        return "" if password is None else self.opener.open(password)

    async def finish(self, key: CommandKey, status: _Last, **details: object) -> None:
        """Write down a command's last result. Raises NotCommitted."""
        await self.book.step(key, "done", status, **details)
        _log.info("command done", command=key.id, account=key.account, status=status)


async def execute(means: Means, key: CommandKey) -> None:
    """Execute a command whose turn in its lane it is. Raises NotCommitted."""
    account = means.accounts.get(key.account)
    if account is None:
        await means.finish(key, "failed", message=f"account {key.account} is not configured any more")
        return
    try:
        command = means.book.command(key)
        password = means.password(command)
    except SealError as error:
        await means.finish(key, "failed", message=f"password: {error}")
        return
    await _Execution(means, key, command, account, password).run()


class _Execution:
    def __init__(self, means: Means, key: CommandKey, command: Command, account: Commanded, password: str) -> None:
        self._means = means
        self._book = means.book
        self._key = key
        self._command = command
        self._account = account
        self._password = password
        self._request: Request = request_of(command, password)
        self._refused: set[RingCloud] = set()
        self._tries = 0
        self._maybe_done = False
        self._under_way = False

    async def run(self) -> None:
        phase = self._book[self._key].phase
        if phase == "unknown":
            await self._look()
            return
        if phase == "sending":
            # The process ended between sending and the answer: it may have been executed.
            if not self._request.repeatable:
                await self._become_unknown(message="interrupted while the request was on its way")
                return
            metrics.REPEATED.inc()
            self._maybe_done = True
        while not await self._turn():
            pass

    async def _turn(self) -> bool:
        """Have a turn, of which those hear who wait for what is under way. False where it waits on."""
        try:
            return await self._attempt()
        finally:
            self._ended()

    def _ended(self) -> None:
        if self._under_way:
            self._under_way = False
            self._means.sending.end()

    async def _attempt(self) -> bool:
        """Send it in its turn and write down what became of it. False where it waits on."""
        if self._expired():
            return await self._expire()
        api = self._means.choice.api(self._account, self._request, self._refused)
        if api is None:
            return await self._finish("failed", http_status=403, message="no key of the account has the right to")
        try:
            user = await self._send(api)
        except _NotSent as error:
            return await self._expire() if error.expired else await self._wait()
        except DeadlineExceeded:
            return await self._expire()
        except RateLimited as error:
            # Refused before anything was done; the limiter holds the lane back.
            return await self._wait(error.retry_after)
        except AuthenticationError as error:
            self._means.choice.refused(api, self._request)
            self._refused.add(api)
            if len(self._refused) < len(self._account.apis):
                return await self._wait()
            return await self._finish("failed", http_status=error.status, message=error.message)
        except RingCloudError as error:
            return await self._failed(error)
        self._means.choice.allowed(api, self._request)
        return await self._finish("succeeded", http_status=200, **({"user": user} if user else {}))

    async def _send(self, api: RingCloud) -> str | None:
        # User changes may be many: they never take all connections, so that no call waits for one.
        bulk = self._request.operation.template.startswith("/v1/users")
        held = False

        async def before_send() -> None:
            nonlocal held
            if bulk:
                await self._means.at_once.acquire()
                held = True
            await self._means.sending.begin()
            self._under_way = True
            began = time.monotonic()
            await self._book.step(self._key, "sending")
            if self._expired():
                raise _NotSent(expired=True)
            if time.monotonic() - began > STALE_SECONDS:
                raise _NotSent(expired=False)
            self._means.sent(self._key)

        try:
            return await self._request.send(api, {"deadline": self._deadline(api), "before_send": before_send})
        finally:
            if held:
                self._means.at_once.release()

    async def _failed(self, error: RingCloudError) -> bool:
        unsent = isinstance(error, TransportError) and not error.maybe_sent
        self._tries += 1
        self._maybe_done = self._maybe_done or error.maybe_done
        if self._tries < _ATTEMPTS and (unsent or (self._request.repeatable and error.maybe_done)):
            if not unsent:
                metrics.REPEATED.inc()
            await self._wait()
            self._ended()
            await asyncio.sleep(_PAUSE * self._tries)
            return False
        if self._maybe_done:
            return await self._become_unknown(http_status=error.status, message=error.message)
        message = f"not sent: {error.message}" if unsent else error.message
        return await self._finish("failed", http_status=error.status, message=message)

    async def _wait(self, seconds: float | None = None) -> bool:
        """It waits for another turn, in so many seconds where that is known."""
        phase: Literal["sending", "accepted"] = "sending" if self._maybe_done else "accepted"
        if seconds is not None and seconds > DELAY_SECONDS:
            await self._book.step(self._key, phase, "delayed", until=utc(now_ms() + int(seconds * 1000)))
        else:
            await self._book.step(self._key, phase)
        return False

    async def _expire(self) -> bool:
        if self._maybe_done:
            return await self._become_unknown(message="expired before it could be repeated")
        return await self._finish("expired")

    async def _become_unknown(self, **details: object) -> bool:
        await self._book.step(self._key, "unknown", "outcome_unknown", **details)
        _log.warning("command's outcome unknown", command=self._key.id, account=self._key.account)
        if self._request.repeatable:
            # In its lane: what comes after it may change the same again.
            await self._look()
        else:
            self._means.unknown(self._key)
        return True

    async def _look(self) -> None:
        """Ask for the user to see whether the change was made."""
        for look in range(_LOOKS):
            api = self._account.apis[look % len(self._account.apis)]
            try:
                user = await api.user(self._request.names[0])
            except BadParameters as error:
                await self._finish("failed", http_status=400, message=error.message, reconciled=True)
                return
            except RingCloudError:
                await asyncio.sleep(_PAUSE)
                continue
            verdict = judge_change(self._command, user, self._password)
            if verdict == "open":
                break
            status: Literal["succeeded", "failed"] = "succeeded" if verdict == "done" else "failed"
            await self._finish(status, message="by what the user is now", reconciled=True)
            return
        await self._finish("outcome_unknown", message="RingCloud does not tell what the user is now", reconciled=True)

    async def _finish(self, status: _Last, **details: object) -> bool:
        await self._means.finish(self._key, status, **details)
        return True

    def _expired(self) -> bool:
        return self._command.expires_at is not None and self._command.expires_at <= datetime.now(UTC)

    def _deadline(self, api: RingCloud) -> float | None:
        expires_at = self._command.expires_at
        # Not by milliseconds since the epoch: a time near the calendar's ends has none in UTC.
        return None if expires_at is None else api.now() + (expires_at - datetime.now(UTC)).total_seconds()
