"""One simulated call: its whole life is known when it is placed, and is shown only up to now."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Direction = Literal["incoming", "outgoing", "internal"]
Disposition = Literal["ANSWERED", "NO ANSWER", "BUSY", "FAILED"]


@dataclass(slots=True)
class Origination:
    """How an originated call was asked for, and the true times of its first leg (epoch ms, UTC).

    Both times are None when A does not answer: B is never dialled then.
    """

    user: str
    num: str
    a_answered_at: int | None
    b_dialled_at: int | None


class Leg(NamedTuple):
    """One channel of a live call; `since` is epoch ms, UTC."""

    name: str
    caller: str
    connected: str
    since: int


@dataclass(slots=True)
class Call:
    """A call with its future. All times are epoch ms, UTC, by the true clock.

    `number` counts the calls of an account from 1; `owners` are the users who took part. `slot` numbers its channels,
    given when it starts. `row` is the completed row as JSON, made once the call has ended, and shown from `shown_at` on.
    """

    account: int
    number: int
    src: str
    dst: str
    direction: Direction
    started_at: int
    answered_at: int | None
    ended_at: int
    disposition: Disposition
    rec_file: str | None
    scripted: bool
    origination: Origination | None = None
    owners: tuple[str, ...] = ()
    slot: int = 0
    row: bytes = b""
    shown_at: int = 0

    @property
    def id(self) -> str:
        """The ledger's name of the call; the API never shows it."""
        return f"{self.account}-{self.number}"

    @property
    def recording(self) -> str | None:
        """The file name of its recording; None where there is none."""
        return None if self.answered_at is None or self.rec_file is None else self.rec_file.rpartition("/")[2]

    def answered_by(self, now: int) -> bool:
        """Whether the called party has answered at `now`."""
        return self.answered_at is not None and self.answered_at <= now

    def legs(self, now: int) -> list[Leg]:
        """The channels that exist at `now`; the called party's leg of an originated call only once it is dialled."""
        source = "trunk" if self.direction == "incoming" else self.src
        target = "trunk" if self.direction == "outgoing" else self.dst
        b_since = self.started_at if self.origination is None else self.origination.b_dialled_at
        b_exists = b_since is not None and b_since <= now
        # Two names a call, counted as a VoIP server counts its channels.
        a_name, b_name = f"SIP/{source}-{2 * self.slot:08x}", f"SIP/{target}-{2 * self.slot + 1:08x}"
        legs = [Leg(a_name, self.src, self.dst if b_exists else "", self.started_at)]
        if b_since is not None and b_exists:
            legs.append(Leg(b_name, self.dst, self.src, b_since))
        return legs
