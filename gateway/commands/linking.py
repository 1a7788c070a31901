"""Which call each originate has started, by what the differ tells of the account's calls.

A call is an originate's if the user's number called the number that was asked for, and it may have begun while the
request was on its way, or shortly after its answer. One call is linked to one originate, and one originate to one call:
of several that fit, one that RingCloud said it took goes before one whose outcome is open, then the one whose time is
nearest, then the one that came first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.calls.differ import Channels, Diff, Window
from gateway.calls.state import Call
from gateway.commands.accounts import Commanded
from gateway.commands.book import Book, CommandKey
from gateway.commands.rights import digits_of
from gateway.commands.store import KeptCommand
from gateway.contract.events import CallEvent
from gateway.contract.times import Ms, millis
from gateway.runtime.committer import Record

# How long after its answer RingCloud may begin a call.
_SETTLE: Ms = 10_000


class Linker:
    """Links the originates of a shard to their calls, in the transaction in which these are told of."""

    def __init__(self, book: Book, accounts: Mapping[int, Commanded], reach: Ms) -> None:
        """`reach`: how long after it was written down that a request is sent RingCloud may have taken it in."""
        self._book = book
        self._accounts = accounts
        self._reach = reach

    def told(self, account: int, diff: Diff) -> tuple[Sequence[CallEvent], list[Record]]:
        """The events of `diff`, with the id of the command that started a call; and what to commit with them."""
        events, records = list(diff.events), []
        started = [at for at, event in enumerate(events) if event.type == "call.started"]
        for at in sorted(started, key=lambda at: events[at].time):
            event = events[at]
            key = self._whose(account, event)
            if key is not None:
                events[at] = msgspec.structs.replace(event, data=msgspec.structs.replace(event.data, command_id=key.id))
                records += self._book.link(key, event.subject, 2 * self._reach)
                if not self._told_of_phases(account):
                    records += self._book.show(key, "observed")
        for part in diff.parts.values():
            if isinstance(part, Call) and part.dialled and (key := self._book.linked(part.id)):
                records += self._book.show(key, "dialing_b", "observed")
        for event in diff.events:
            if event.type in ("call.answered", "call.ended") and (key := self._book.linked(event.subject)):
                # Who answered was dialled; of a call that has ended nothing more is shown.
                phase = ("dialing_b",) if event.type == "call.answered" else ()
                records += self._book.show(key, *phase, "observed")
        return events, records

    def ringing(self, account: int, channels: Channels) -> list[Record]:
        """What to commit of users' phones that ring: a channel of the user's that has no other side yet."""
        records: list[Record] = []
        for leg in channels.legs:
            begun = leg.begun()
            if not leg.caller or leg.connected or begun is None:
                continue
            awaited = list(self._book.awaited(account))
            if any(call.channel == leg.name for _, _, call in awaited):
                continue
            fits = [
                key
                for key, kept, call in awaited
                if not call.shown and leg.caller in (call.user, call.extension) and self._gap(kept, begun) is not None
            ]
            if fits:
                records += self._book.show(fits[0], "ringing_a", channel=leg.name)
        return records

    def _whose(self, account: int, event: CallEvent) -> CommandKey | None:
        src, dst = event.data.src, digits_of(event.data.dst)
        bounds = Window(millis(event.data.not_before), millis(event.data.not_after))
        fits = [
            ((kept.phase != "done" or kept.status == "outcome_unknown", gap), key)
            for key, kept, call in self._book.awaited(account)
            if not call.id
            and call.num == dst
            and src in (call.user, call.extension)
            and (gap := self._gap(kept, bounds)) is not None
        ]
        return min(fits, key=lambda one: one[0])[1] if fits else None

    def _gap(self, kept: KeptCommand, begun: Window) -> Ms | None:
        """How long after its request was taken in something began at the least; None where it can't be its doing."""
        if not kept.sent_at or kept.phase == "accepted" or begun.received < kept.sent_at:
            return None
        latest = kept.sent_at + self._reach
        gap = max(0, begun.sent - (min(kept.at, latest) if kept.phase == "done" else latest))
        return gap if gap <= _SETTLE else None

    def _told_of_phases(self, account: int) -> bool:
        """Whether its channels will tell when the called side of a call is dialled."""
        found = self._accounts.get(account)
        return found is not None and found.config.channels
