"""The book of a shard's commands: what is kept of each, and the results of each of its steps, in one transaction."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from datetime import date
from typing import Any, NamedTuple

import msgspec
from aiokafka import ConsumerRecord

from gateway.commands import metrics
from gateway.commands.accounts import Commanded
from gateway.commands.intake import Rejected
from gateway.commands.requests import password_of, target_of
from gateway.commands.rights import day_of, digits_of
from gateway.commands.sealing import SEALED, SealError
from gateway.commands.store import KeptCall, KeptCommand, Phase, command_part, encode, load
from gateway.contract.commands import (
    SEEN_STATUSES,
    Command,
    CommandDeadLetter,
    CommandResult,
    CommandStatus,
    Originate,
    type_of,
)
from gateway.contract.times import Ms, utc
from gateway.runtime.committer import Record
from gateway.runtime.shards import Handles, key_of, state_records

# The command topic keeps a day, so an id can come again for that long.
_REMEMBER: Ms = 25 * 3600 * 1000
# What says of an originate or a user.create that it was done, or may have been.
_MAYBE_DONE: frozenset[CommandStatus] = frozenset({"succeeded", "outcome_unknown", *SEEN_STATUSES})
_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


class CommandKey(NamedTuple):
    """What a command is known by: two accounts' senders don't agree on ids."""

    account: int
    id: str


class Book:
    """What is kept of a shard's commands. It lives in the accounts' state, not in the topic's offsets.

    `step()`, `know()` and `forget_old()` write; all else makes records for a transaction that the caller commits. A command's `raw`
    is its JSON, or, where it holds a password in clear, that in the account's vault.
    """

    def __init__(self, shard: Handles, accounts: Mapping[int, Commanded]) -> None:
        """`accounts` are all that are configured, of this shard or not."""
        self._shard = shard
        self._accounts = accounts
        self._kept: dict[CommandKey, KeptCommand] = {
            CommandKey(account, id_): kept for account, parts in shard.kept.items() for id_, kept in load(parts).items()
        }
        self._originated: Counter[tuple[int, date]] = Counter()
        self._awaited: dict[int, dict[CommandKey, None]] = defaultdict(dict)
        self._linked: dict[str, CommandKey] = {}
        for key, kept in self._kept.items():
            self._count(key.account, kept)
            self._look_out(key, None, kept)

    def __contains__(self, key: object) -> bool:
        return key in self._kept

    def __iter__(self) -> Iterator[CommandKey]:
        return iter(self._kept)

    def __getitem__(self, key: CommandKey) -> KeptCommand:
        return self._kept[key]

    def unfinished(self) -> Iterator[CommandKey]:
        """Those that are not done, in the order in which they came."""
        return iter([key for key, kept in self._kept.items() if kept.phase != "done"])

    def awaited(self, account: int) -> Iterator[tuple[CommandKey, KeptCommand, KeptCall]]:
        """The account's originates whose calls are looked out for, by the order in which they came."""
        for key in self._awaited.get(account, ()):
            kept = self._kept[key]
            if kept.call is not None:
                yield key, kept, kept.call

    def linked(self, call_id: str) -> CommandKey | None:
        """The originate that a call is of, while more of it is looked out for."""
        return self._linked.get(call_id)

    def seen(self, key: CommandKey, within: Ms) -> bool:
        """Whether the call of an originate was seen, and no other that near in time explains it."""
        call = self._kept[key].call
        return call is not None and call.id != "" and not self.alike(key, within, unseen=True)

    def alike(self, key: CommandKey, within: Ms, *, unseen: bool = False) -> int:
        """How many others of the account are about the same and may have been done that near in time.

        `unseen`: only those whose own call was not seen.
        """
        own = self._kept[key]
        return sum(
            other.account == key.account
            and kept.target == own.target
            and other != key
            and (kept.status in _MAYBE_DONE or kept.phase == "sending")
            and not (unseen and (kept.status == "observed" or (kept.call is not None and kept.call.id)))
            and abs(kept.sent_at - own.sent_at) <= within
            for other, kept in self._kept.items()
        )

    def originated_today(self, account: int) -> int:
        """How many calls the account has asked for, this day by its zone."""
        return self._originated[account, self._day(account, now_ms())]

    def command(self, key: CommandKey) -> Command:
        """A command that is not done. Raises SealError where what is kept of it can't be opened any more."""
        raw = self._kept[key].raw
        if not raw.startswith(b"{"):
            account = self._accounts.get(key.account)
            if account is None:
                raise SealError(f"account {key.account} is not configured any more")
            raw = account.vault.open(raw)
        return _decoder.decode(raw)

    def admit(self, command: Command, offset: int) -> list[Record]:
        """Take a command over: it is accepted."""
        raw = msgspec.json.encode(command)
        password = password_of(command)
        if password is not None and not password.startswith(SEALED):
            raw = self._accounts[command.account].vault.close(raw)
        now = now_ms()
        kept = KeptCommand(
            "accepted",
            0,
            now,
            raw,
            offset,
            type=type_of(command),
            accepted_at=now,
            target=target_of(command),
            reply_to=command.reply_to,
            call=KeptCall(command.user, digits_of(command.num)) if isinstance(command, Originate) else None,
        )
        self._count(command.account, kept)
        return self._record(CommandKey(command.account, command.id), kept, "accepted")

    def delay(self, key: CommandKey, until: Ms) -> list[Record]:
        """That a command waits, until then as it seems."""
        return self._record(key, self._kept[key], "delayed", until=utc(until))

    def reject(self, record: ConsumerRecord, rejected: Rejected) -> list[Record]:
        """What is told of a record that is not executed: a result, or a dead letter where there is nobody to tell."""
        if rejected.command_id is None:
            metrics.DEAD_LETTERS.inc()
            letter = CommandDeadLetter(
                at=utc(now_ms()),
                topic=record.topic,
                partition=record.partition,
                offset=record.offset,
                size=len(record.value or b""),
                message=rejected.message,
                field=rejected.field,
            )
            key = str(record.partition).encode()
            return [Record(self._shard.topics.command_dead_letters.name, key, msgspec.json.encode(letter))]
        result = CommandResult(
            command_id=rejected.command_id,
            account=rejected.account,
            type=rejected.type,
            sequence=1,
            status="rejected",
            at=utc(now_ms()),
            message=rejected.message,
            field=rejected.field,
        )
        return self._results(result, rejected.reply_to)

    async def step(
        self, key: CommandKey, phase: Phase, status: CommandStatus | None = None, **details: Any
    ) -> KeptCommand:
        """Commit a command's next phase, and a result with it where `status` is given (`details` are its fields).

        Raises NotCommitted.
        """
        now = now_ms()
        kept = msgspec.structs.replace(self._kept[key], phase=phase, at=now)
        if phase == "done":
            kept = msgspec.structs.replace(kept, raw=b"")
        elif phase == "sending":
            kept = msgspec.structs.replace(kept, sent_at=now)
        await self._shard.committer.commit(self._record(key, kept, status, **details))
        return self._kept[key]

    def _record(
        self, key: CommandKey, kept: KeptCommand, status: CommandStatus | None = None, **details: Any
    ) -> list[Record]:
        """The records that keep a command, and its result where `status` is given; behind that what was seen of its call."""
        told: list[tuple[CommandStatus, dict[str, Any]]] = [] if status is None else [(status, details)]
        call, done = kept.call, kept.phase == "done"
        if call is not None and done:
            if (status or kept.status) not in _MAYBE_DONE:
                call = None
            else:
                told += [(one, {"call_id": call.id or None}) for one in call.shown[call.told :]]
                call = None if "observed" in call.shown else msgspec.structs.replace(call, told=len(call.shown))
        records: list[Record] = []
        for one, fields in told:
            kept = msgspec.structs.replace(kept, sequence=kept.sequence + 1, status=one)
            result = CommandResult(
                command_id=key.id,
                account=key.account,
                type=kept.type,
                sequence=kept.sequence,
                status=one,
                at=utc(now_ms()),
                **fields,
            )
            records += self._results(result, kept.reply_to)
        return records + self._keep(key, msgspec.structs.replace(kept, call=call))

    def _keep(self, key: CommandKey, kept: KeptCommand) -> list[Record]:
        before = self._kept.get(key)
        self._kept[key] = kept
        self._look_out(key, before, kept)
        return state_records(self._shard, key.account, {command_part(key.id): encode(kept)})

    def _look_out(self, key: CommandKey, before: KeptCommand | None, kept: KeptCommand | None) -> None:
        """Look out for the call of a command, or no longer."""
        if kept is not None and kept.call is not None:
            self._awaited[key.account][key] = None
            if kept.call.id:
                self._linked[kept.call.id] = key
        elif before is not None and before.call is not None:
            self._awaited[key.account].pop(key, None)
            if not self._awaited[key.account]:
                del self._awaited[key.account]
            self._linked.pop(before.call.id, None)

    async def know(self, key: CommandKey, extension: str) -> None:
        """Commit the extension number of the user that an originate rings. Raises NotCommitted."""
        kept = self._kept.get(key)
        if kept is not None and kept.call is not None:
            call = msgspec.structs.replace(kept.call, extension=extension)
            await self._shard.committer.commit(self._keep(key, msgspec.structs.replace(kept, call=call)))

    def link(self, key: CommandKey, call_id: str, within: Ms) -> list[Record]:
        """That an originate has started this call.

        If its outcome was unknown it is known by that, unless another originate that near in time explains the call.
        """
        kept = self._called(key, id=call_id)
        if kept.phase == "unknown" and not self.alike(key, within, unseen=True):
            kept = msgspec.structs.replace(kept, phase="done", at=now_ms(), raw=b"")
            return self._record(key, kept, "succeeded", message="its call was seen", reconciled=True)
        return self._record(key, kept)

    def show(self, key: CommandKey, *seen: CommandStatus, channel: str = "") -> list[Record]:
        """That so much of the call of an originate was seen: it is told once the outcome is, each once and in order.

        `channel`: the user's, while it is the only one.
        """
        call = self._kept[key].call
        if call is None:
            return []
        last = max((SEEN_STATUSES.index(one) for one in call.shown), default=-1)
        fresh = tuple(one for one in SEEN_STATUSES if one in seen and SEEN_STATUSES.index(one) > last)
        if not fresh:
            return []
        return self._record(key, self._called(key, shown=call.shown + fresh, channel=channel))

    def _called(self, key: CommandKey, **changes: Any) -> KeptCommand:
        """The command with other things known of its call."""
        kept = self._kept[key]
        assert kept.call is not None  # noqa: S101 - what makes it one whose call is looked out for
        return msgspec.structs.replace(kept, call=msgspec.structs.replace(kept.call, **changes))

    async def forget_old(self) -> None:
        """Forget the ids of commands that are done and can't come again. Raises NotCommitted."""
        old = [key for key, kept in self._kept.items() if kept.phase == "done" and now_ms() - kept.at > _REMEMBER]
        records: list[Record] = []
        for key in old:
            records += state_records(self._shard, key.account, {command_part(key.id): None})
        if records:
            await self._shard.committer.commit(records)
        for key in old:
            self._look_out(key, self._kept.pop(key), None)
        # A zone's day may be another's yesterday.
        since = day_of(now_ms() - 2 * _REMEMBER, "UTC")
        for one in [one for one in self._originated if one[1] < since]:
            del self._originated[one]

    def _results(self, result: CommandResult, reply_to: str | None) -> list[Record]:
        metrics.RESULTS.labels(result.status).inc()
        value = msgspec.json.encode(result)
        name = self._shard.topics.command_results.name
        if result.account is None:
            return [Record(name, b"", value, (), self._shard.number)]
        key = key_of(result.account)
        return [Record(name, key, value), *([Record(reply_to, key, value)] if reply_to else [])]

    def _count(self, account: int, kept: KeptCommand) -> None:
        if kept.type == Originate.__struct_config__.tag:
            self._originated[account, self._day(account, kept.accepted_at)] += 1

    def _day(self, account: int, at: Ms) -> date:
        found = self._accounts.get(account)
        return day_of(at, found.config.time_zone if found else "UTC")


def now_ms() -> Ms:
    """The system's clock, ms UTC."""
    return time.time_ns() // 1_000_000
