"""The ledger: what truly happened, to the millisecond, with nothing of the future in it."""

from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec

from sandbox.calls import Call, Direction, Disposition

_MOST_CHANGES = 1_000_000


class OriginatedBy(msgspec.Struct, frozen=True):
    """Who asked for an originated call, and when its first leg answered and its second was dialled (epoch ms)."""

    user: str
    num: str
    a_answered_at: int | None
    b_dialled_at: int | None


class LedgerRecord(msgspec.Struct, frozen=True):
    """One call. Times are epoch ms, UTC, by the true clock; None means that it has not happened (yet)."""

    id: str
    account: int
    src: str
    dst: str
    direction: Direction
    started_at: int
    answered_at: int | None
    ended_at: int | None
    disposition: Disposition | None
    originated_by: OriginatedBy | None


class UserChange(msgspec.Struct, frozen=True):
    """One change of a user that was asked for and made; a password's value is left out. `at` is epoch ms."""

    at: int
    account: int
    user: str
    what: Literal["created", "password", "num", "mail", "voice_mail_box"]
    value: str


class Ledger:
    """Reads the calls of a PBX. `calls` brings the PBX up to date and returns (now, calls in order of start).

    `changes` are the changes of users, in their order, as many as are remembered.
    """

    def __init__(self, calls: Callable[[int | None], tuple[int, list[Call]]]) -> None:
        self._calls = calls
        self.changes: deque[UserChange] = deque(maxlen=_MOST_CHANGES)

    def records(self, account: int | None = None) -> list[LedgerRecord]:
        """Every call that has started, of one account or of all, by start; an unknown account has none."""
        now, calls = self._calls(account)
        return [_record(call, now) for call in calls]

    def jsonl(self, account: int | None = None) -> bytes:
        """The same as JSON, one object a line."""
        return msgspec.json.Encoder().encode_lines(self.records(account))

    def to_jsonl(self, path: str | Path) -> None:
        """Write all records to `path`, one JSON object a line; OSError when that fails."""
        Path(path).write_bytes(self.jsonl())


def _record(call: Call, now: int) -> LedgerRecord:
    ended = call.ended_at <= now
    asked = call.origination
    return LedgerRecord(
        id=call.id,
        account=call.account,
        src=call.src,
        dst=call.dst,
        direction=call.direction,
        started_at=call.started_at,
        answered_at=_past(call.answered_at, now),
        ended_at=call.ended_at if ended else None,
        disposition=call.disposition if ended else None,
        originated_by=None
        if asked is None
        else OriginatedBy(asked.user, asked.num, _past(asked.a_answered_at, now), _past(asked.b_dialled_at, now)),
    )


def _past(at: int | None, now: int) -> int | None:
    return at if at is not None and at <= now else None
