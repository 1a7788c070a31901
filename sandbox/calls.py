"""One simulated call: its whole life is known when it is placed, and is shown only up to now."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

Direction = Literal["incoming", "outgoing", "internal"]
Disposition = Literal["ANSWERED", "NO ANSWER", "BUSY", "FAILED"]


@dataclass(slots=True)
class Origination:
    """How an originated call was asked for, and the true times of its first leg (epoch ms, UTC)."""

    user: str
    num: str
    a_answered_at: int
    b_dialled_at: int


class Leg(NamedTuple):
    """One channel of a live call; `since` is epoch ms, UTC."""

    name: str
    caller: str
    connected: str
    since: int


@dataclass(slots=True)
class Call:
    """A call with its future. All times are epoch ms, UTC, by the true clock.

    `number` counts the calls of an account from 1; `row` is the completed row as JSON, made once the call has ended.
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
    row: bytes = b""

    @property
    def id(self) -> str:
        """The ledger's name of the call; the API never shows it."""
        return f"{self.account}-{self.number}"

    def answered_by(self, now: int) -> bool:
        """Whether the called party has answered at `now`."""
        return self.answered_at is not None and self.answered_at <= now

    def legs(self, now: int) -> list[Leg]:
        """The channels that exist at `now`; the called party's leg of an originated call only once it is dialled."""
        source = "trunk" if self.direction == "incoming" else self.src
        target = "trunk" if self.direction == "outgoing" else self.dst
        b_since = self.started_at if self.origination is None else self.origination.b_dialled_at
        b_exists = b_since <= now
        # Two names a call, counted as a VoIP server counts its channels.
        a_name, b_name = f"SIP/{source}-{2 * self.number:08x}", f"SIP/{target}-{2 * self.number + 1:08x}"
        legs = [Leg(a_name, self.src, self.dst if b_exists else "", self.started_at)]
        if b_exists:
            legs.append(Leg(b_name, self.dst, self.src, b_since))
        return legs
