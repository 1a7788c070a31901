"""One account of the simulated PBX: its users, its phones, and its calls as time passes."""

import heapq
import random
from bisect import bisect_right
from collections import deque

from sandbox.accounts import Phone, User, make_users
from sandbox.calls import Call, Direction, Disposition, Origination
from sandbox.rows import RowWriter
from sandbox.settings import SandboxSettings
from sandbox.traffic import Arrivals, OutcomeSource, Plan

DAY_MS = 86_400_000
_KEPT_DAYS = 7


class Account:
    """One account, brought up to a moment by `advance`."""

    def __init__(self, account: int, settings: SandboxSettings, rows: RowWriter, now: int) -> None:
        seed = f"{settings.seed}/{account}"
        self.account = account
        self.users = make_users(account, settings.users_per_account, settings.seed)
        self.phones = {name: Phone() for name in self.users}
        self.names = {user.num: name for name, user in self.users.items()}
        self.extensions = [user.num for user in self.users.values()]
        self.arrivals = Arrivals(account, settings.seed, settings.traffic, self.extensions)
        self.origination = OutcomeSource(f"{seed}/origination", settings.traffic)
        # Apart from the rest, so that a silent phone does not shift what later calls get.
        self.silence = OutcomeSource(f"{seed}/silence", settings.traffic)
        self.balance = OutcomeSource(f"{seed}/balance", settings.traffic).between((1_000, 9_999_999)) / 100
        self.now = now
        self.skew_ms = round(settings.clock_skew_seconds * 1000)
        self.late_ms = (0, 0)
        self.active: dict[int, Call] = {}
        self.completed: list[Call] = []
        self.recordings: dict[str, Call] = {}
        self.history: deque[Call] = deque(maxlen=settings.ledger_limit)
        self._rows = rows
        self._count = 0
        self._starting: list[tuple[int, int, Call]] = []
        self._ending: list[tuple[int, int, Call]] = []
        self._late = random.Random(f"{seed}/late")  # noqa: S311 - reproducible by intent, guards nothing
        # Channel slots that were given back, the lowest first; None where names are never used again.
        self._free_slots: list[int] | None = [] if settings.reuse_channels else None
        self._slots = 0

    def advance(self, now: int) -> int:
        """Live until `now` (epoch ms); a wall clock that was set back stands still here. Returns the time reached."""
        now = max(now, self.now)
        for plan in self.arrivals.until(now):
            self._arrive(plan)
        ended = False
        # In the order of time, so that what a call finds does not depend on how often the account was asked.
        while True:
            starts = self._starting[0][0] if self._starting else now + 1
            ends = self._ending[0][0] if self._ending else now + 1
            if min(starts, ends) > now:
                break
            if ends <= starts:
                self._end(heapq.heappop(self._ending)[2])
                ended = True
            else:
                self._start(heapq.heappop(self._starting)[2])
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
        dialled_at = None if origination is None else origination.b_dialled_at
        rung_at = (at if dialled_at is None else dialled_at) + ring_ms
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
            else self._rows.recording_path(self.account, self._count, src, dst, at, self.skew_ms),
            scripted=scripted,
            origination=origination,
            owners=tuple(self.names[num] for num in dict.fromkeys((src, dst)) if num in self.names),
        )
        heapq.heappush(self._starting, (at, call.number, call))
        return call

    def set_rate(self, calls_per_minute: float, now: int) -> None:
        """Change the rate of arrivals from `now` on; at 0 not even a twin that was due within the second starts."""
        self.arrivals.set_rate(calls_per_minute, now)
        if calls_per_minute <= 0:
            self._starting = [entry for entry in self._starting if entry[2].scripted]
            heapq.heapify(self._starting)

    def add_user(self, num: str, password: str, mail: str) -> str:
        """A new user with a connected phone; the name is the extension, or derived from it where that is taken.

        ValueError when the extension is taken.
        """
        if num in self.names:
            raise ValueError("num is taken")
        name, again = num, 1
        while name in self.users:
            again += 1
            name = f"{num}-{again}"
        self.users[name] = User(
            account_id=self.account, num=num, user=name, voice_mail_box="off", mail=mail, password=password
        )
        self.phones[name] = Phone()
        self.names[num] = name
        self.extensions.append(num)
        return name

    def renumber(self, user: User, num: str) -> None:
        """Give `user` another extension; ValueError when it is another's."""
        if self.names.get(num, user.user) != user.user:
            raise ValueError("num is taken")
        self.names[num] = self.names.pop(user.num)
        self.extensions[self.extensions.index(user.num)] = num
        user.num = num

    def shown(self, days: int, now: int) -> list[Call]:
        """The calls that ended within the last `days` (of 24 h) and whose rows are not late, by order of end."""
        first = bisect_right(self.completed, now - days * DAY_MS, key=lambda call: call.ended_at)
        return [call for call in self.completed[first:] if call.shown_at <= now]

    def tells_of(self, call: Call, now: int) -> bool:
        """Whether the recording of an ended call is listed and served: as long as the call's row is shown."""
        return call.shown_at <= now and call.ended_at > now - _KEPT_DAYS * DAY_MS

    def _arrive(self, plan: Plan) -> None:
        ring_ms, talk_ms, disposition, no_recording = plan.outcome
        if not self._reachable(plan.src):
            return
        if not self._reachable(plan.dst):
            ring_ms, talk_ms, disposition = 0, None, "FAILED"
        self.place(
            plan.src, plan.dst, plan.direction, plan.at, ring_ms, talk_ms, disposition, no_recording, scripted=False
        )

    def _reachable(self, num: str) -> bool:
        name = self.names.get(num)
        return name is None or self.phones[name].registered

    def _start(self, call: Call) -> None:
        if self._free_slots:
            call.slot = heapq.heappop(self._free_slots)
        elif self._free_slots is not None:
            self._slots += 1
            call.slot = self._slots
        else:
            call.slot = call.number
        self.active[call.number] = call
        self.history.append(call)
        heapq.heappush(self._ending, (call.ended_at, call.number, call))

    def _end(self, call: Call) -> None:
        del self.active[call.number]
        if self._free_slots is not None:
            heapq.heappush(self._free_slots, call.slot)
        call.row = self._rows.completed(call, self.skew_ms)
        call.shown_at = call.ended_at + (self._late.randint(*self.late_ms) if self.late_ms[1] else 0)
        self.completed.append(call)
        if call.recording is not None:
            self.recordings[call.recording] = call

    def _forget(self, now: int) -> None:
        oldest = bisect_right(self.completed, now - _KEPT_DAYS * DAY_MS, key=lambda call: call.ended_at)
        # In lumps, as each cut moves the whole list.
        if oldest > 1000:
            for call in self.completed[:oldest]:
                self.recordings.pop(call.recording or "", None)
            del self.completed[:oldest]
