"""The simulated PBX: accounts whose calls begin, ring, are answered and end as time passes."""

from sandbox.accounts import Habit, Phone, User
from sandbox.calls import Call, Direction, Disposition, Leg, Origination
from sandbox.clock import Clock
from sandbox.home import Account
from sandbox.ledger import Ledger
from sandbox.rows import RowWriter
from sandbox.settings import MAX_CALLS_PER_MINUTE, SandboxSettings

_MAX_SKEW_SECONDS = 7 * 86_400
_MAX_LATE_MS = 3_600_000


class UnknownUserError(LookupError):
    """The account has no such user."""


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
        self._accounts = {account: Account(account, settings, self._rows, now) for account in settings.accounts}
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
        habit: Habit | None = None,
    ) -> str:
        """Ring the user's phone (A) and, once it has answered, dial `num` (B). Returns the ledger's id of the call.

        Times and outcome are drawn from the seed; `a_ring_ms` sets how long A rings, and giving any of `ring_ms`,
        `talk_ms` and `disposition` sets what becomes of B, as in `place_call`. `habit` overrides that of A's phone.
        When A refuses, is silent or is not connected, B is never dialled and the call ends BUSY, NO ANSWER or FAILED.
        UnknownUserError when there is no such user, ValueError as in `place_call`.
        """
        home, now = self._live(account)
        caller, phone = self._user(home, user), home.phones.get(user, Phone())
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
        offline = not phone.registered
        habit = habit or phone.habit
        asked = Origination(user, num, None, None)
        if offline or habit != "answers":
            ring_ms = drawn_a_ms if habit == "refuses" else home.silence.between(profile.no_answer_ms)
            ring_ms = 0 if offline else ring_ms if a_ring_ms is None else max(0, a_ring_ms)
            talk_ms, disposition = None, "FAILED" if offline else "NO ANSWER" if habit == "silent" else "BUSY"
        else:
            asked.a_answered_at = now + (drawn_a_ms if a_ring_ms is None else max(0, a_ring_ms))
            asked.b_dialled_at = asked.a_answered_at + dial_ms
        call = home.place(
            caller.num,
            num,
            "internal" if num in home.names else "outgoing",
            now,
            ring_ms,
            talk_ms,
            disposition,
            drawn.no_recording,
            scripted=True,
            origination=asked,
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
        calls = home.shown(days, now)
        return b"[" + b",".join([call.row for call in calls if num is None or num in (call.src, call.dst)]) + b"]"

    def recordings(self, account: int, user: str) -> list[tuple[str, str]]:
        """File name and local time of answer of every recorded call of the user, by order of end.

        UnknownUserError when there is no such user.
        """
        home, now = self._live(account)
        self._user(home, user)
        return [
            (call.recording, self._rows.local(call.answered_at, home.skew_ms))
            for call in home.recordings.values()
            if user in call.owners and home.tells_of(call, now) and call.recording and call.answered_at is not None
        ]

    def recording_ms(self, account: int, user: str, name: str) -> int | None:
        """How long the recording of that file name talks (ms); None when the user has no such file.

        UnknownUserError when there is no such user.
        """
        home, now = self._live(account)
        self._user(home, user)
        call = home.recordings.get(name)
        if call is None or user not in call.owners or not home.tells_of(call, now) or call.answered_at is None:
            return None
        return call.ended_at - call.answered_at

    def channels(self, account: int) -> list[Leg]:
        """The channels that exist now."""
        home, now = self._live(account)
        return [leg for call in home.active.values() for leg in call.legs(now)]

    def users(self, account: int) -> dict[str, User]:
        """The users of the account by name."""
        return self._accounts[account].users

    def user(self, account: int, name: str) -> User:
        """The user, to read or to change; UnknownUserError when there is no such user."""
        return self._user(self._accounts[account], name)

    def add_user(self, account: int, num: str, password: str, mail: str) -> str:
        """A new user with a connected phone; returns the name. ValueError when the extension is taken."""
        return self._live(account)[0].add_user(num, password, mail)

    def renumber(self, account: int, user: str, num: str) -> None:
        """Give the user another extension. UnknownUserError; ValueError when it is another's."""
        home, _ = self._live(account)
        home.renumber(self._user(home, user), num)

    def phones(self, account: int) -> dict[str, Phone]:
        """The phones of the account by user."""
        return self._accounts[account].phones

    def set_phone(self, account: int, user: str, *, registered: bool | None = None, habit: Habit | None = None) -> None:
        """From now on the user's phone is connected or not, and answers, refuses or is silent when rung first.

        None leaves things as they are. A phone that is not connected calls nobody and cannot be reached; live calls
        go on. UnknownUserError when there is no such user.
        """
        home, _ = self._live(account)
        self._user(home, user)
        phone = home.phones[user]
        phone.registered = phone.registered if registered is None else registered
        phone.habit = habit or phone.habit

    def balance(self, account: int) -> float:
        """What the account has left, in the currency of its contract."""
        return self._accounts[account].balance

    def skew_ms(self, account: int) -> int:
        """By how much the account's clock is ahead of the true time, in ms."""
        return self._accounts[account].skew_ms

    def set_skew(self, account: int, seconds: float) -> None:
        """Set the account's clock off by `seconds`; rows that exist keep their times. ValueError beyond a week."""
        if not -_MAX_SKEW_SECONDS <= seconds <= _MAX_SKEW_SECONDS:
            raise ValueError("a clock is off by a week at most")
        self._live(account)[0].skew_ms = round(seconds * 1000)

    def late_ms(self, account: int) -> tuple[int, int]:
        """How late completed rows appear: the bounds, in ms."""
        return self._accounts[account].late_ms

    def set_late(self, account: int, shortest_ms: int, longest_ms: int) -> None:
        """Calls that end from now on appear in the completed list so many ms late; ValueError beyond an hour."""
        if not 0 <= shortest_ms <= longest_ms <= _MAX_LATE_MS:
            raise ValueError("a row is late by 0 to 3600000 ms, the lower bound first")
        self._live(account)[0].late_ms = (shortest_ms, longest_ms)

    def now(self) -> int:
        """The PBX's true time, epoch ms."""
        return self._clock.now()

    @staticmethod
    def _user(home: Account, name: str) -> User:
        found = home.users.get(name)
        if found is None:
            raise UnknownUserError(name)
        return found

    def _live(self, account: int) -> tuple[Account, int]:
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
