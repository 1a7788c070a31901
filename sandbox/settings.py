"""Everything that can be set on a sandbox, as typed structs."""

import re
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

Profile = Literal["documented", "live"]
CompleteUrls = Literal["both", "complite", "complete"]
Resource = Literal["users", "calls"]
Rights = Literal["RO", "RW"]
Milliseconds = int
MAX_CALLS_PER_MINUTE = 1_000_000

_KEY = re.compile(r"(\d{1,12})_\S+", re.ASCII)


class KeySpec(msgspec.Struct, frozen=True):
    """An API key `<account number>_<body>`, its password, and its rights: to read (RO), or to change as well (RW).

    ValueError when the key has another form.
    """

    key: str
    password: str
    users: Rights = "RW"
    calls: Rights = "RW"

    def __post_init__(self) -> None:
        if _KEY.fullmatch(self.key) is None:
            raise ValueError("an API key has the form <account number>_<body>")

    @property
    def account(self) -> int:
        """The account: the integer before the first `_`."""
        return int(self.key.partition("_")[0])

    def __repr__(self) -> str:
        return f"KeySpec(key={self.key!r}, password=***, users={self.users!r}, calls={self.calls!r})"


class TrafficProfile(msgspec.Struct, frozen=True, kw_only=True):
    """What the placed calls look like. Shares are 0..1, times are milliseconds, ranges are inclusive.

    `short_share` of all calls last `short_ms` as a whole (ringing and talking); `instant_share` *of these* last
    `instant_ms`. `twin_share` of the arrivals bring one or two more calls of the same src and dst in the same second.
    ValueError when shares or ranges make no sense.
    """

    inbound: float = 0.45
    outbound: float = 0.35
    internal: float = 0.20

    answered: float = 0.65
    no_answer: float = 0.18
    busy: float = 0.11
    failed: float = 0.06

    short_share: float = 0.25
    short_ms: tuple[Milliseconds, Milliseconds] = (50, 4_000)
    instant_share: float = 0.2
    instant_ms: tuple[Milliseconds, Milliseconds] = (50, 1_000)
    twin_share: float = 0.03

    ring_ms: tuple[Milliseconds, Milliseconds] = (1_000, 7_000)
    talk_ms: tuple[Milliseconds, Milliseconds] = (1_000, 18_000)
    talk_mean_ms: Milliseconds = 7_000
    no_answer_ms: tuple[Milliseconds, Milliseconds] = (4_000, 20_000)
    refused_ms: tuple[Milliseconds, Milliseconds] = (100, 2_500)

    originate_a_ms: tuple[Milliseconds, Milliseconds] = (1_000, 3_000)
    originate_dial_ms: tuple[Milliseconds, Milliseconds] = (20, 200)

    def __post_init__(self) -> None:
        for total in (
            self.inbound + self.outbound + self.internal,
            self.answered + self.no_answer + self.busy + self.failed,
        ):
            if abs(total - 1) > 1e-6:
                raise ValueError("directions, and outcomes, each add up to 1")
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, tuple) and not 0 <= value[0] <= value[1]:
                raise ValueError(f"{name} is a range of milliseconds, the lower first")
            if isinstance(value, float) and not 0 <= value <= 1:
                raise ValueError(f"{name} is a share between 0 and 1")


class SandboxSettings(msgspec.Struct, frozen=True):
    """One sandbox: who may ask, how the PBX lives and how it presents itself.

    `calls_per_minute` is the total over all accounts. `profile` decides what an active row's `status` says.
    `time_zone` is that of every account. `clock_skew_seconds` is added to all times that the API shows (the `Date`
    header among them), never to the ledger. `hang_seconds` bounds the fault `hang`. `ledger_limit` is the number of
    calls remembered per account. With `reuse_channels` a channel name is given again once its call has ended.
    ValueError for unknown zones, duplicate keys and rates out of bounds.
    """

    keys: list[KeySpec]
    calls_per_minute: float = 0
    seed: int = 1
    profile: Profile = "documented"
    time_zone: str = "Europe/Moscow"
    clock_skew_seconds: float = 0
    complete_urls: CompleteUrls = "both"
    traffic: TrafficProfile = msgspec.field(default_factory=TrafficProfile)
    users_per_account: int = 10
    hang_seconds: float = 30
    ledger_limit: int = 1_000_000
    reuse_channels: bool = False

    def __post_init__(self) -> None:
        if len({spec.key for spec in self.keys}) != len(self.keys):
            raise ValueError("each API key is given once")
        if not 0 <= self.calls_per_minute <= MAX_CALLS_PER_MINUTE:
            raise ValueError(f"calls_per_minute lies between 0 and {MAX_CALLS_PER_MINUTE}")
        if not 2 <= self.users_per_account <= 100:
            raise ValueError("an account has 2 to 100 users (extensions 400-499)")
        try:
            ZoneInfo(self.time_zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"unknown time zone {self.time_zone!r}") from None

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which rows show their times."""
        return ZoneInfo(self.time_zone)

    @property
    def accounts(self) -> tuple[int, ...]:
        """Every account that has a key, ascending."""
        return tuple(sorted({spec.account for spec in self.keys}))
