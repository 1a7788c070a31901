"""What can be asked about calls: the two lists, channels, and a call to be made."""

from __future__ import annotations

from typing import Final, Unpack

import msgspec

from gateway.contract.times import Ms
from gateway.ringcloud import limits
from gateway.ringcloud.envelope import decode_any, decode_envelope
from gateway.ringcloud.errors import NotFound
from gateway.ringcloud.http import Flight
from gateway.ringcloud.limits import Operation
from gateway.ringcloud.resources import Channel, decode_channel, decode_names
from gateway.ringcloud.rows import ActiveRow, CompletedRow, decode_active, decode_completed
from gateway.ringcloud.session import BeforeSend, CompletedPath, Got, Reading, Session
from gateway.ringcloud.turns import Priority

_COMPLETED: Final[dict[CompletedPath, Operation]] = {"complite": limits.COMPLITE, "complete": limits.COMPLETE}
_OTHER: Final[dict[CompletedPath, CompletedPath]] = {"complite": "complete", "complete": "complite"}


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """A 200 whose body is not decoded yet, so that equal bodies can be told without it.

    `sent_at` and `received_at` (its last byte) are by this machine's clock, `server_date` by the server's, to the
    second, where it told; all ms UTC. `url` has no query.
    """

    url: str
    body: bytes
    sent_at: Ms
    received_at: Ms
    server_date: Ms | None


class Calls(Session):
    """The URLs under `/v1/calls`."""

    async def fetch_active(self, *, priority: Priority = Priority.POLL, deadline: float | None = None) -> Answer:
        """The list of current calls, to be read by `read_active()` where it differs from the last one. Asked once: a poll
        that fails is followed by the next."""
        return _answer(await self._ask(limits.ACTIVE, priority=priority, deadline=deadline))

    def read_active(self, answer: Answer) -> list[ActiveRow]:
        """The current calls in `answer`. Raises EnvelopeError (RowError among it)."""
        with self._redacting():
            return decode_active(answer.body, url=answer.url)

    async def active_calls(
        self, *, priority: Priority = Priority.POLL, deadline: float | None = None
    ) -> list[ActiveRow]:
        """The current calls."""
        return self.read_active(await self._repeated(lambda: self.fetch_active(priority=priority, deadline=deadline)))

    async def fetch_completed(
        self,
        days: int = 7,
        num: str | None = None,
        *,
        priority: Priority = Priority.POLL,
        deadline: float | None = None,
    ) -> Answer:
        """The list of calls completed in the last `days` (1 to 7), to be read by `read_completed()` where it differs.

        `num` keeps those of one number. Where `complite` is not found, `complete` is tried once, and the other way
        round; what was found is asked first from then on. Otherwise asked once.
        """
        query = {"days": str(days)} if num is None else {"days": str(days), "num": num}
        spelling = self._completed_path
        try:
            reply = await self._ask(_COMPLETED[spelling], query=query, priority=priority, deadline=deadline)
        except NotFound:
            spelling = _OTHER[spelling]
            reply = await self._ask(_COMPLETED[spelling], query=query, priority=priority, deadline=deadline)
        self._completed_path = spelling
        return _answer(reply)

    def read_completed(self, answer: Answer) -> list[CompletedRow]:
        """The completed calls in `answer`; times without a zone are in the account's. Raises EnvelopeError."""
        with self._redacting():
            return decode_completed(answer.body, self.zone, url=answer.url)

    async def completed_calls(
        self,
        days: int = 7,
        num: str | None = None,
        *,
        priority: Priority = Priority.POLL,
        deadline: float | None = None,
    ) -> list[CompletedRow]:
        """The calls completed in the last `days` (1 to 7), of one number where `num` is given."""
        return self.read_completed(
            await self._repeated(lambda: self.fetch_completed(days, num, priority=priority, deadline=deadline))
        )

    async def originate(
        self,
        user: str,
        num: str,
        *,
        priority: Priority = Priority.COMMAND,
        deadline: float | None = None,
        before_send: BeforeSend | None = None,
        flight: Flight | None = None,
    ) -> object:
        """Ring `user`, and dial `num` once that one has answered. Returns what the API returns: it does not say what.

        Sent at most once. `before_send` is awaited when it is this request's turn, just before it is sent (what it
        raises stops it); `flight` tells afterwards whether it may have been sent, also where this was cancelled.
        """
        reply = await self._ask(
            limits.ORIGINATE,
            params={"user": user, "num": num},
            priority=priority,
            deadline=deadline,
            before_send=before_send,
            flight=flight,
        )
        return self._read(reply, _any_data)

    async def fetch_channels(self, *, priority: Priority = Priority.POLL, deadline: float | None = None) -> Answer:
        """The list of active channels, to be read by `read_channels()`. Asked once."""
        return _answer(await self._ask(limits.CHANNELS, priority=priority, deadline=deadline))

    def read_channels(self, answer: Answer) -> list[str]:
        """The names in `answer`. Raises EnvelopeError (RowError among it)."""
        with self._redacting():
            return decode_names(answer.body, url=answer.url)

    async def channels(self, **reading: Unpack[Reading]) -> list[str]:
        """The names of the active channels."""
        return await self._get(decode_names, limits.CHANNELS, **reading)

    async def fetch_channel(
        self, name: str, *, priority: Priority = Priority.POLL, deadline: float | None = None
    ) -> Answer:
        """One active channel, to be read by `read_channel()`; `name` as the list gives it. Asked once.

        Raises NotFound or BadParameters where it is gone.
        """
        return _answer(await self._ask(limits.CHANNEL, name, priority=priority, deadline=deadline))

    def read_channel(self, answer: Answer) -> Channel:
        """The channel in `answer`. Raises EnvelopeError (RowError among it)."""
        with self._redacting():
            return decode_channel(answer.body, url=answer.url)

    async def channel(self, name: str, **reading: Unpack[Reading]) -> Channel:
        """One active channel; `name` as `channels()` gives it. Raises NotFound or BadParameters where it is gone."""
        return await self._get(decode_channel, limits.CHANNEL, name, **reading)


def _answer(got: Got) -> Answer:
    reply = got.reply
    return Answer(
        url=got.url,
        body=reply.body,
        sent_at=reply.sent_at,
        received_at=reply.received_at,
        server_date=reply.date(),
    )


def _any_data(body: bytes, *, url: str) -> object:
    return decode_any(decode_envelope(body, url=url), url=url)
