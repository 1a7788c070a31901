"""Asks RingCloud's lists what became of commands whose answers never came, one set of questions for all of an account."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

import structlog

from gateway.commands.accounts import Commanded
from gateway.commands.book import CommandKey, now_ms
from gateway.commands.evidence import Dialled, Look, Verdict, judge_call, judge_new_user
from gateway.commands.execution import Means
from gateway.commands.sealing import SealError
from gateway.contract.commands import CreateUser, Originate
from gateway.contract.times import Ms
from gateway.ringcloud import Answer, BadParameters, Priority, RingCloud, RingCloudError, User

_log = structlog.get_logger(__name__)

T = TypeVar("T")

# Between two looks. The lists are polled too, and each question takes a poll's turn.
_LOOK_SECONDS = 10.0
# By then what was done shows: a completed row may come late.
_LATE: Ms = 25_000
# Who has not found out by then won't: it stays unknown. A look that began before, of this length at most (each list has
# to wait for its turn), is within the minute.
_GIVE_UP: Ms = 48_000
_LONGEST_LOOK = 12.0
# But whoever takes a case over has so long for it, however long nobody looked.
_LEAST: Ms = 30_000
_DAY: Ms = 24 * 3600 * 1000
_KEPT_DAYS = 7


class Reconciler:
    """Takes commands that may have been done, and writes down what the lists show of them within a minute."""

    def __init__(self, means: Means, reach: Ms, tasks: asyncio.TaskGroup) -> None:
        """`reach`: how long after it was written down that a request is sent RingCloud may have taken it in."""
        self._means = means
        self._reach = reach
        self._tasks = tasks
        self._cases: dict[int, list[CommandKey]] = defaultdict(list)
        self._taken: dict[CommandKey, Ms] = {}
        self._sources: dict[CommandKey, frozenset[str]] = {}

    def take(self, key: CommandKey) -> None:
        """Find out what became of a command whose phase is `unknown`."""
        self._cases[key.account].append(key)
        self._taken[key] = now_ms()
        if len(self._cases[key.account]) == 1:
            self._tasks.create_task(self._watch(key.account))

    async def _watch(self, account: int) -> None:
        while cases := self._cases[account]:
            # As they are now: more may come, and are looked into the next time.
            await self._look(account, list(cases))
            if cases:
                await asyncio.sleep(self._pause(cases))
        del self._cases[account]

    def _pause(self, keys: list[CommandKey]) -> float:
        """Seconds until the next look: the earlier where one of these can be decided then."""
        now = now_ms()
        decisive = [at for key in keys for at in (self._late_at(key), self._give_up_at(key)) if at > now]
        return min([_LOOK_SECONDS, *((at - now) / 1000 for at in decisive)])

    async def _look(self, number: int, keys: list[CommandKey]) -> None:
        for key in keys:
            if not self._open(key) or self._means.book.seen(key, 2 * self._reach):
                await self._settle(key, "done", "", now_ms())
        keys = [key for key in keys if self._open(key)]
        if not keys:
            return
        account = self._means.accounts.get(number)
        look: Look | None = None
        users: list[User] | None = None
        began = now_ms()
        if account is not None:
            types = {self._means.book[key].type for key in keys}
            since = min(self._means.book[key].sent_at for key in keys)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST_LOOK):
                    if Originate.__struct_config__.tag in types:
                        look = await _asked(account, lambda api: _lists(api, since))
                    if CreateUser.__struct_config__.tag in types:
                        users = await _asked(account, _users)
        for key in keys:
            verdict, user = await self._judge(key, account, look, users, began)
            await self._settle(key, verdict, user, began)

    async def _judge(
        self, key: CommandKey, account: Commanded | None, look: Look | None, users: list[User] | None, began: Ms
    ) -> tuple[Verdict, str]:
        if not self._open(key):
            return "open", ""
        try:
            command = self._means.book.command(key)
            password = self._means.password(command)
        except SealError:
            return "open", ""
        sent_at = self._means.book[key].sent_at
        late = began >= self._late_at(key)
        if isinstance(command, Originate) and look is not None and account is not None:
            sources = await self._who(key, command.user, account)
            asked = Dialled(sources, command.num, sent_at, sent_at + self._reach)
            return judge_call(asked, look, self._means.book.alike(key, 2 * self._reach), late=late), ""
        if isinstance(command, CreateUser) and users is not None:
            verdict, user = judge_new_user(users, command.num, command.mail, password, late=late)
            # Another command made that user, and RingCloud gives an extension number once.
            return ("undone", "") if verdict == "done" and self._means.book.alike(key, _DAY) else (verdict, user)
        return "open", ""

    async def _settle(self, key: CommandKey, verdict: Verdict, user: str, began: Ms) -> None:
        if not self._open(key):
            pass  # its call was seen meanwhile, and all is told
        elif verdict == "open" and (began < self._late_at(key) or now_ms() < self._give_up_at(key)):
            return
        elif verdict == "done":
            details = {"user": user} if user else {}
            await self._means.finish(key, "succeeded", message="found in RingCloud's lists", reconciled=True, **details)
        elif verdict == "undone":
            await self._means.finish(key, "failed", message="not to be found in RingCloud's lists", reconciled=True)
        else:
            message = "RingCloud's lists don't tell whether it was done"
            await self._means.finish(key, "outcome_unknown", message=message, reconciled=True)
        self._cases[key.account].remove(key)
        self._sources.pop(key, None)
        del self._taken[key]

    def _late_at(self, key: CommandKey) -> Ms:
        return self._means.book[key].sent_at + self._reach + _LATE

    def _give_up_at(self, key: CommandKey) -> Ms:
        return max(self._means.book[key].at + _GIVE_UP, self._taken[key] + _LEAST)

    def _open(self, key: CommandKey) -> bool:
        """Whether its outcome is still to be found."""
        return self._means.book[key].phase == "unknown"

    async def _who(self, key: CommandKey, user: str, account: Commanded) -> frozenset[str]:
        """What a row's `src` may be for the user: the name, and the extension number once it is known."""
        if key not in self._sources:
            found = await _asked(account, lambda api: _user(api, user))
            if found is None:
                return frozenset([user])
            self._sources[key] = frozenset([user, *([found.num] if found.num else [])])
        return self._sources[key]


async def extension_of(account: Commanded, user: str) -> str:
    """A user's extension number, which is what lists of calls know it by; empty where RingCloud does not tell."""
    found = await _asked(account, lambda api: _user(api, user))
    return (found.num if found is not None else None) or ""


async def _asked(account: Commanded, ask: Callable[[RingCloud], Awaitable[T]]) -> T | None:
    """What one of the account's keys is told; None where none is."""
    for api in account.apis:
        try:
            return await ask(api)
        except RingCloudError as error:
            _log.warning("no answer about what a command did", account=account.config.id, error=str(error))
    return None


async def _lists(api: RingCloud, since: Ms) -> Look:
    """Both lists, the active one first: a call that ends in between is in both, and never in none."""
    active = await api.fetch_active(priority=Priority.COMMAND)
    days = min(_KEPT_DAYS, (now_ms() - since) // _DAY + 1)
    completed = await api.fetch_completed(days, priority=Priority.COMMAND)
    return Look(
        api.read_active(active),
        (active.sent_at + active.received_at) // 2,
        api.read_completed(completed),
        _ahead(completed),
    )


def _ahead(answer: Answer) -> Ms | None:
    """How far the server's clock is ahead of ours; it tells whole seconds."""
    if answer.server_date is None:
        return None
    return answer.server_date + 500 - (answer.sent_at + answer.received_at) // 2


async def _users(api: RingCloud) -> list[User]:
    """The account's users; one by one where the list has names alone."""
    return [one if one.num is not None else await api.user(one.user) for one in await api.users()]


async def _user(api: RingCloud, name: str) -> User:
    try:
        return await api.user(name)
    except BadParameters:
        return User(user=name)
