"""Commands: what may be asked of RingCloud through Kafka, and what became of it."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from gateway.contract.times import UtcTime

CommandId = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=128,
        pattern=r"^[A-Za-z0-9_:-]+$(?!\n)",
        description="Chosen by the sender; the same id is executed once",
    ),
]
Account = Annotated[int, msgspec.Meta(ge=1, description="RingCloud account number")]

CommandStatus = Literal["accepted", "delayed", "succeeded", "failed", "rejected", "expired", "outcome_unknown"]
FINAL_STATUSES: frozenset[CommandStatus] = frozenset({"succeeded", "failed", "rejected", "expired", "outcome_unknown"})


class Originate(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type", tag="call.originate"
):
    """Ring `user` (A); when A answers, dial `num` (B). Never sent twice: a crash in between ends in `outcome_unknown`."""

    id: CommandId
    account: Account
    user: Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="Name of a user with a connected phone")]
    num: Annotated[str, msgspec.Meta(pattern=r"^\+?[0-9*#]{1,32}$(?!\n)", description="The number to dial")]
    expires_at: Annotated[UtcTime | None, msgspec.Meta(description="Not executed after this")] = None


Command = Originate


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """One step in a command's life. The last one has a status of FINAL_STATUSES."""

    command_id: Annotated[str | None, msgspec.Meta(description="Null where the command could not be read that far")]
    account: int | None
    type: Annotated[str | None, msgspec.Meta(description="The command's type")]
    sequence: Annotated[int, msgspec.Meta(ge=1, description="Position among the command's results, from 1")]
    status: CommandStatus
    at: UtcTime
    until: Annotated[UtcTime | None, msgspec.Meta(description="Of delayed: when it is expected to be sent")] = None
    http_status: Annotated[int | None, msgspec.Meta(description="RingCloud's HTTP status, where it answered")] = None
    message: Annotated[str | None, msgspec.Meta(description="RingCloud's message, or why, in words")] = None
    field: Annotated[str | None, msgspec.Meta(description="Of rejected: the field that is wrong")] = None
