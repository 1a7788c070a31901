"""Commands: what may be asked of RingCloud through Kafka, and what became of it."""

from __future__ import annotations

import typing
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
# RingCloud puts it into a URL: it is one part of a path there.
UserName = Annotated[str, msgspec.Meta(min_length=1, max_length=64, pattern=r"^(?!\.{1,2}$)", description="A user")]
Extension = Annotated[
    str, msgspec.Meta(pattern=r"^4[0-9]{2}$(?!\n)", description="Extension number, unique in the account")
]
Mail = Annotated[
    str,
    msgspec.Meta(max_length=254, pattern=r"^[^@\x00-\x20\x7f]+@[^@\x00-\x20\x7f]+$(?!\n)", description="Mail address"),
]
Password = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=1024,
        description="The password, or `sealed:` and what `ringcloud-gateway commands seal` makes of it",
    ),
]

CommandStatus = Literal[
    "accepted",
    "delayed",
    "succeeded",
    "failed",
    "rejected",
    "expired",
    "outcome_unknown",
    "ringing_a",
    "dialing_b",
    "observed",
]
# What can tell a command's outcome; `is_last` says of a result whether it does.
FINAL_STATUSES: frozenset[CommandStatus] = frozenset({"succeeded", "failed", "rejected", "expired", "outcome_unknown"})
# What follows the outcome of a `call.originate` once its call is seen, in this order.
SEEN_STATUSES: tuple[CommandStatus, ...] = ("ringing_a", "dialing_b", "observed")


class _Command(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What every command has. Its repr shows no password."""

    id: CommandId
    account: Account
    expires_at: Annotated[UtcTime | None, msgspec.Meta(description="Not executed after this")] = None
    reply_to: Annotated[
        str | None, msgspec.Meta(description="A topic of `commands.reply_topics` that gets the results as well")
    ] = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, account={self.account})"


class Originate(_Command, frozen=True, tag="call.originate"):
    """Ring `user` (A); when A answers, dial `num` (B). Never sent twice: a crash in between ends in `outcome_unknown`."""

    user: Annotated[str, msgspec.Meta(min_length=1, max_length=64, description="Name of a user with a connected phone")]
    num: Annotated[str, msgspec.Meta(pattern=r"^\+?[0-9*#]{1,32}$(?!\n)", description="The number to dial")]


class CreateUser(_Command, frozen=True, tag="user.create"):
    """Make a user; the result tells its name. Never sent twice: a crash in between ends in `outcome_unknown`."""

    password: Password
    num: Extension
    mail: Mail


class UpdatePassword(_Command, frozen=True, tag="user.update_password"):
    """Give a user another password."""

    user: UserName
    password: Password


class UpdateExtensionNumber(_Command, frozen=True, tag="user.update_extension_number"):
    """Give a user another extension number."""

    user: UserName
    num: Extension


class UpdateEmail(_Command, frozen=True, tag="user.update_email"):
    """Give a user another mail address."""

    user: UserName
    mail: Mail


class VoiceMailBoxOn(_Command, frozen=True, tag="user.voice_mail_box_on"):
    """Switch a user's voice mail box on."""

    user: UserName


class VoiceMailBoxOff(_Command, frozen=True, tag="user.voice_mail_box_off"):
    """Switch a user's voice mail box off."""

    user: UserName


Command = (
    Originate | CreateUser | UpdatePassword | UpdateExtensionNumber | UpdateEmail | VoiceMailBoxOn | VoiceMailBoxOff
)
CommandType = Literal[
    "call.originate",
    "user.create",
    "user.update_password",
    "user.update_extension_number",
    "user.update_email",
    "user.voice_mail_box_on",
    "user.voice_mail_box_off",
]
COMMAND_TYPES: tuple[CommandType, ...] = typing.get_args(CommandType)


def type_of(command: Command) -> CommandType:
    """The command's type, as it is written."""
    return typing.cast("CommandType", command.__struct_config__.tag)


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """One step in a command's life; `is_last` tells whether its outcome is known by it."""

    command_id: CommandId
    account: Annotated[int | None, msgspec.Meta(description="Null where the command could not be read that far")]
    type: Annotated[str | None, msgspec.Meta(description="The command's type")]
    sequence: Annotated[int, msgspec.Meta(ge=1, description="Position among the command's results, from 1")]
    status: CommandStatus
    at: UtcTime
    until: Annotated[UtcTime | None, msgspec.Meta(description="Of delayed: when it is expected to be sent")] = None
    http_status: Annotated[int | None, msgspec.Meta(description="RingCloud's HTTP status, where it answered")] = None
    message: Annotated[str | None, msgspec.Meta(description="RingCloud's message, or why, in words")] = None
    field: Annotated[str | None, msgspec.Meta(description="Of rejected: the field that is wrong")] = None
    user: Annotated[str | None, msgspec.Meta(description="Of user.create that succeeded: the new user's name")] = None
    call_id: Annotated[
        str | None, msgspec.Meta(description="Of observed, and of the phases before it where it is known: the call")
    ] = None
    reconciled: Annotated[
        bool,
        msgspec.Meta(description="Found by what RingCloud's lists show, after an outcome_unknown"),
    ] = False


class CommandDeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A record of the command topic that has no id to answer to. Its value stays where it is: it may hold a password."""

    at: UtcTime
    topic: str
    partition: int
    offset: int
    size: Annotated[int, msgspec.Meta(ge=0, description="Bytes of the record's value")]
    message: Annotated[str, msgspec.Meta(description="Why it can't be executed, in words")]
    field: Annotated[str | None, msgspec.Meta(description="The field that is wrong")] = None


def is_last(result: CommandResult) -> bool:
    """Whether the outcome is known by it: an `outcome_unknown` is followed by what reconciling it came to.

    What still follows of a `call.originate` tells of its call (`SEEN_STATUSES`), if that is seen.
    """
    if result.status in SEEN_STATUSES:
        return True
    return result.status in FINAL_STATUSES and (result.reconciled or result.status != "outcome_unknown")
