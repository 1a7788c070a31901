"""Admin URLs that take hold of the PBX: phones, calls on demand, clocks and late rows."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from sandbox.accounts import Habit
from sandbox.calls import Direction, Disposition
from sandbox.clock import Clock, VirtualClock
from sandbox.pbx import Pbx, UnknownUserError
from sandbox.replies import to_json

_MAX_CALLS = 20_000
_MAX_ADVANCE_SECONDS = 31 * 86_400


class AdminAsk(NamedTuple):
    """A request: the decoded variable parts of its path, its query, its body, and random bytes for what it makes."""

    args: tuple[str, ...]
    query: Mapping[str, str]
    body: bytes
    drawn: bytes


class AdminReply(NamedTuple):
    """The body of an answer 200."""

    body: bytes
    content_type: str = "application/json"


AdminAnswer = Callable[[AdminAsk], bytes | AdminReply]


class _PhoneOrder(msgspec.Struct):
    account: int
    user: str
    registered: bool | None = None
    habit: Habit | None = None


class _CallOrder(msgspec.Struct):
    """`count` identical calls at once, each as `Pbx.place_call` has it."""

    account: int
    src: str
    dst: str
    direction: Direction
    ring_ms: int
    talk_ms: int | None = None
    disposition: Disposition | None = None
    rec_file: str | None = None
    count: int = 1


class _Skew(msgspec.Struct):
    account: int
    seconds: float


class _Late(msgspec.Struct):
    account: int
    shortest_ms: int
    longest_ms: int


class _Advance(msgspec.Struct):
    advance: float


class Controls:
    """Answers the URLs in `urls`. ValueError and msgspec's errors tell that an order is wrong."""

    def __init__(self, pbx: Pbx, clock: Clock) -> None:
        self._pbx = pbx
        self._clock = clock
        self.urls: dict[str, dict[str, AdminAnswer]] = {
            "phones": {"GET": self._get_phones, "PUT": self._put_phone},
            "calls": {"POST": self._place_calls},
            "skew": {"GET": self._get_skew, "PUT": self._put_skew},
            "late": {"GET": self._get_late, "PUT": self._put_late},
            "clock": {"GET": self._get_clock, "PUT": self._put_clock},
        }

    def known(self, account: int) -> int:
        """The account; ValueError when there is no such."""
        if account not in self._pbx.accounts:
            raise ValueError("no such account")
        return account

    def _get_phones(self, ask: AdminAsk) -> bytes:
        asked = ask.query.get("account")
        accounts = self._pbx.accounts if asked is None else (self.known(int(asked)),)
        return to_json({str(account): self._pbx.phones(account) for account in accounts})

    def _put_phone(self, ask: AdminAsk) -> bytes:
        order = msgspec.json.decode(ask.body, type=_PhoneOrder)
        try:
            self._pbx.set_phone(self.known(order.account), order.user, registered=order.registered, habit=order.habit)
        except UnknownUserError:
            raise ValueError("no such user") from None
        return to_json(self._pbx.phones(order.account)[order.user])

    def _place_calls(self, ask: AdminAsk) -> bytes:
        order = msgspec.json.decode(ask.body, type=_CallOrder)
        if not 1 <= order.count <= _MAX_CALLS:
            raise ValueError(f"count lies between 1 and {_MAX_CALLS}")
        if not order.src or not order.dst:
            raise ValueError("src and dst are telephone numbers")
        account = self.known(order.account)
        return to_json(
            [
                self._pbx.place_call(
                    account,
                    order.src,
                    order.dst,
                    order.direction,
                    order.ring_ms,
                    order.talk_ms,
                    order.disposition,
                    rec_file=order.rec_file,
                )
                for _ in range(order.count)
            ]
        )

    def _get_skew(self, _: AdminAsk) -> bytes:
        return to_json([_Skew(account, self._pbx.skew_ms(account) / 1000) for account in self._pbx.accounts])

    def _put_skew(self, ask: AdminAsk) -> bytes:
        order = msgspec.json.decode(ask.body, type=_Skew)
        self._pbx.set_skew(self.known(order.account), order.seconds)
        return self._get_skew(ask)

    def _get_late(self, _: AdminAsk) -> bytes:
        return to_json([_Late(account, *self._pbx.late_ms(account)) for account in self._pbx.accounts])

    def _put_late(self, ask: AdminAsk) -> bytes:
        order = msgspec.json.decode(ask.body, type=_Late)
        self._pbx.set_late(self.known(order.account), order.shortest_ms, order.longest_ms)
        return self._get_late(ask)

    def _get_clock(self, _: AdminAsk) -> bytes:
        return to_json({"now": self._clock.now(), "virtual": isinstance(self._clock, VirtualClock)})

    def _put_clock(self, ask: AdminAsk) -> bytes:
        seconds = msgspec.json.decode(ask.body, type=_Advance).advance
        if not isinstance(self._clock, VirtualClock):
            raise ValueError("the clock is the machine's: only a virtual one can be advanced")
        if not 0 <= seconds <= _MAX_ADVANCE_SECONDS:
            raise ValueError("time goes forward, by 31 days at most")
        self._clock.advance(seconds)
        return self._get_clock(ask)
