"""The simulated PBX: accounts whose calls begin, ring, are answered and end as time passes."""

import heapq
from bisect import bisect_right
from collections import deque

from sandbox.accounts import User, make_users
from sandbox.calls import Call, Direction, Disposition, Leg, Origination
from sandbox.clock import Clock
from sandbox.ledger import Ledger
from sandbox.rows import RowWriter
from sandbox.settings import MAX_CALLS_PER_MINUTE, SandboxSettings
from sandbox.traffic import Arrivals, OutcomeSource

_DAY_MS = 86_400_000
_KEPT_DAYS = 7


class UnknownUserError(LookupError):
    """The account has no such user."""


class _Account:
    """One account, brought up to a moment by `advance`."""

    def __init__(self, account: int, settings: SandboxSettings, rows: RowWriter, now: int) -> None:
        self.account = account
        self.users = make_users(account, settings.users_per_account, settings.seed)
        self.extensions = [user.num for user in self.users.values()]
        self.arrivals = Arrivals(account, settings.seed, settings.traffic, self.extensions)
        self.origination = OutcomeSource(f"{settings.seed}/{account}/origination", settings.traffic)
        self.now = now
        self.active: dict[int, Call] = {}
        self.completed: list[Call] = []
        self.history: deque[Call] = deque(maxlen=settings.ledger_limit)
        self._rows = rows
        self._count = 0
        self._starting: list[tuple[int, int, Call]] = []
        self._ending: list[tuple[int, int, Call]] = []

    def advance(self, now: int) -> int:
        """Live until `now` (epoch ms); a wall clock that was set back stands still here. Returns the time reached."""
        now = max(now, self.now)
        for plan in self.arrivals.until(now):
            ring_ms, talk_ms, disposition, no_recording = plan.outcome
            self.place(
                plan.src, plan.dst, plan.direction, plan.at, ring_ms, talk_ms, disposition, no_recording, scripted=False
            )
        while self._starting and self._starting[0][0] <= now:
            _, number, call = heapq.heappop(self._starting)
            self.active[number] = call
            self.history.append(call)
            heapq.heappush(self._ending, (call.ended_at, number, call))
        ended = False
        while self._ending and self._ending[0][0] <= now:
            _, number, call = heapq.heappop(self._ending)
            del self.active[number]
            call.row = self._rows.completed(call)
            self.completed.append(call)
            ended = True
        if ended:
            self._forget(now)
        self.now = now
        return now

    def place(
        self,
        src: str,
        dst: str,
        direction: Direction,
        at: int,
        ring_ms: int,
        talk_ms: int | None,
        disposition: Disposition,
        no_recording: str | None,
        *,
        scripted: bool,
        origination: Origination | None = None,
    ) -> Call:
        """Put a call on the schedule; it rings from `at` (epoch ms), an originated one from when B is dialled."""
        self._count += 1
        rung_at = (at if origination is None else origination.b_dialled_at) + ring_ms
        call = Call(
            account=self.account,
            number=self._count,
            src=src,
            dst=dst,
            direction=direction,
            started_at=at,
            answered_at=None if talk_ms is None else rung_at,
            ended_at=rung_at + (talk_ms or 0),
            disposition=disposition,
            rec_file=no_recording
            if talk_ms is None
            else self._rows.recording_path(self.account, self._count, src, dst, at),
            scripted=scripted,
            origination=origination,
        )
        heapq.heappush(self._starting, (at, call.number, call))
        return call

    def set_rate(self, calls_per_minute: float, now: int) -> None:
        """Change the rate of arrivals from `now` on; at 0 not even a twin that was due within the second starts."""
        self.arrivals.set_rate(calls_per_minute, now)
        if calls_per_minute <= 0:
            self._starting = [entry for entry in self._starting if entry[2].scripted]
            heapq.heapify(self._starting)

    def _forget(self, now: int) -> None:
        oldest = bisect_right(self.completed, now - _KEPT_DAYS * _DAY_MS, key=lambda call: call.ended_at)
        # In lumps, as each cut moves the whole list.
        if oldest > 1000:
            del self.completed[:oldest]


class Pbx:
    """All accounts of a sandbox. Every question first lets the account live until the clock's now.

    Deterministic: the same settings and the same calls of these methods at the same times give the same ledger,
    however often it is asked in between. Methods that take an account raise KeyError for one that does not exist.
    """

    def __init__(self, settings: SandboxSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._rows = RowWriter(settings)
        now = clock.now()
        self._accounts = {account: _Account(account, settings, self._rows, now) for account in settings.accounts}
        self._rate = 0.0
        self.ledger = Ledger(self._history)
        self.set_rate(settings.calls_per_minute)

    @property
    def accounts(self) -> tuple[int, ...]:
        """The account numbers, ascending."""
        return tuple(self._accounts)

    @property
    def calls_per_minute(self) -> float:
        """The present mean rate of arrivals, over all accounts."""
        return self._rate

    def set_rate(self, calls_per_minute: float) -> None:
        """Place calls at this mean rate over all accounts from now on; ValueError when out of bounds."""
        if not 0 <= calls_per_minute <= MAX_CALLS_PER_MINUTE:
            raise ValueError(f"calls_per_minute lies between 0 and {MAX_CALLS_PER_MINUTE}")
        self._rate = float(calls_per_minute)
        for account in self._accounts.values():
            account.set_rate(self._rate / len(self._accounts), account.advance(self._clock.now()))

    def stop_placing(self) -> None:
        """Place no more calls of its own accord; the live ones go to their natural end."""
        self.set_rate(0)

    def place_call(
        self,
        account: int,
        src: str,
        dst: str,
        direction: Direction,
        ring_ms: int,
        talk_ms: int | None = None,
        disposition: Disposition | None = None,
        *,
        rec_file: str | None = None,
    ) -> str:
        """Start a call now: it rings `ring_ms`, then talks `talk_ms` (None: not answered) and ends.

        `disposition` defaults to ANSWERED when it talks and to NO ANSWER otherwise. `rec_file` is what the completed
        row shows for a call without a recording (None, or the text "None"). Returns the ledger's id of the call;
        ValueError when times are negative or the disposition contradicts `talk_ms`.
        """
        disposition = _scripted(ring_ms, talk_ms, disposition)
        home, now = self._live(account)
        call = home.place(src, dst, direction, now, ring_ms, talk_ms, disposition, rec_file, scripted=True)
        home.advance(now)
        return call.id

    def originate(
        self,
        account: int,
        user: str,
        num: str,
        *,
        a_ring_ms: int | None = None,
        ring_ms: int | None = None,
        talk_ms: int | None = None,
        disposition: Disposition | None = None,
    ) -> str:
        """Ring the user's phone (A) and, once it has answered, dial `num` (B). Returns the ledger's id of the call.

        Times and outcome are drawn from the seed; `a_ring_ms` sets how long A rings, and giving any of `ring_ms`,
        `talk_ms` and `disposition` sets what becomes of B, as in `place_call`. UnknownUserError when there is no
        such user, ValueError as in `place_call`.
        """
        home, now = self._live(account)
        caller = home.users.get(user)
        if caller is None:
            raise UnknownUserError(user)
        source, profile = home.origination, self._settings.traffic
        # Always drawn, so that a script does not shift what later calls get.
        drawn_a_ms, dial_ms, drawn = (
            source.between(profile.originate_a_ms),
            source.between(profile.originate_dial_ms),
            source.draw(),
        )
        if ring_ms is None and talk_ms is None and disposition is None:
            talk_ms, disposition = drawn.talk_ms, drawn.disposition
        ring_ms = drawn.ring_ms if ring_ms is None else ring_ms
        disposition = _scripted(ring_ms, talk_ms, disposition)
        a_ring_ms = drawn_a_ms if a_ring_ms is None else max(0, a_ring_ms)
        answered_at = now + a_ring_ms
        call = home.place(
            caller.num,
            num,
            "internal" if num in home.extensions else "outgoing",
            now,
            ring_ms,
            talk_ms,
            disposition,
            drawn.no_recording,
            scripted=True,
            origination=Origination(user, num, answered_at, answered_at + dial_ms),
        )
        home.advance(now)
        return call.id

    def active_count(self, account: int) -> int:
        """How many calls are live now."""
        return len(self._live(account)[0].active)

    def active_json(self, account: int) -> bytes:
        """The active list as JSON, by order of start."""
        home, now = self._live(account)
        return self._rows.active(home.active.values(), now)

    def completed_json(self, account: int, days: int = 7, num: str | None = None) -> bytes:
        """The calls that ended within the last `days` (of 24 h) as JSON, by order of end; `num` is src or dst."""
        home, now = self._live(account)
        first = bisect_right(home.completed, now - days * _DAY_MS, key=lambda call: call.ended_at)
        calls = home.completed[first:]
        return b"[" + b",".join([call.row for call in calls if num is None or num in (call.src, call.dst)]) + b"]"

    def channels(self, account: int) -> list[Leg]:
        """The channels that exist now."""
        home, now = self._live(account)
        return [leg for call in home.active.values() for leg in call.legs(now)]

    def users(self, account: int) -> dict[str, User]:
        """The users of the account by name."""
        return self._accounts[account].users

    def now(self) -> int:
        """The PBX's true time, epoch ms."""
        return self._clock.now()

    def _live(self, account: int) -> tuple[_Account, int]:
        home = self._accounts[account]
        return home, home.advance(self._clock.now())

    def _history(self, account: int | None) -> tuple[int, list[Call]]:
        now = self._clock.now()
        homes = [home for home in self._accounts.values() if account is None or home.account == account]
        now = max([now, *(home.now for home in homes)])
        for home in homes:
            home.advance(now)
        calls = [call for home in homes for call in home.history]
        calls.sort(key=lambda call: (call.started_at, call.account, call.number))
        return now, calls


def _scripted(ring_ms: int, talk_ms: int | None, disposition: Disposition | None) -> Disposition:
    if ring_ms < 0 or (talk_ms is not None and talk_ms < 0):
        raise ValueError("times are not negative")
    disposition = disposition or ("NO ANSWER" if talk_ms is None else "ANSWERED")
    if (disposition == "ANSWERED") != (talk_ms is not None):
        raise ValueError("talk_ms is given for an answered call and for no other")
    return disposition
