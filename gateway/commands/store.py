"""What is kept of a command: that it was accepted, whether it may have been sent, what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from gateway.contract.commands import CommandStatus
from gateway.contract.times import Ms

# accepted: waits for its turn. sending: it may be on the wire. unknown: it may have been done, and RingCloud's lists are
# asked. done: only remembered, so that its id runs once.
Phase = Literal["accepted", "sending", "unknown", "done"]


class KeptCall(msgspec.Struct, frozen=True, array_like=True):
    """What the call of a `call.originate` is known by, and what was seen of it."""

    user: str
    num: str  # its digits in international form
    extension: str = ""  # the user's, where it is known and is not its name
    id: str = ""  # the call's, once it was seen
    channel: str = ""  # the user's, while it was the call's only one
    shown: tuple[CommandStatus, ...] = ()  # what was seen, in order
    told: int = 0  # how many of these there are results of


class KeptCommand(msgspec.Struct, frozen=True, array_like=True):
    """A command's part of its account's state. `raw` is the command, empty once it is done; see `Book` for its form."""

    phase: Phase
    sequence: int  # of its last result
    at: Ms  # when it came into this phase
    raw: bytes = b""
    offset: int = 0  # of its record in the shard's command topic: the order in which commands are executed
    type: str = "call.originate"
    accepted_at: Ms = 0
    sent_at: Ms = 0  # no later than it was sent; 0 while it was not
    target: bytes = b""  # a digest of what it is about, by which two that are about the same are told
    status: CommandStatus = "accepted"  # of its last result
    reply_to: str | None = None
    call: KeptCall | None = None  # of a `call.originate` whose call is looked out for


_PREFIX = "command/"


def command_part(command_id: str) -> str:
    """The name of a command's part."""
    return f"{_PREFIX}{command_id}"


def encode(kept: KeptCommand) -> bytes:
    """The part as it is kept."""
    return _encode(kept)


def load(parts: Mapping[str, bytes]) -> dict[str, KeptCommand]:
    """The commands among an account's parts, by id, in the order in which they came. Raises msgspec.MsgspecError."""
    found = {name.removeprefix(_PREFIX): _decode(raw) for name, raw in parts.items() if name.startswith(_PREFIX)}
    return dict(sorted(found.items(), key=lambda item: item[1].offset))


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(KeptCommand).decode
