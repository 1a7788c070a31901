"""Records of the command topic into commands, or into a rejection that names the field."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from aiokafka import ConsumerRecord

from gateway.contract.commands import Command
from gateway.contract.faults import fault
from gateway.runtime.shards import key_of

# Larger than any command can be; what is larger is not even decoded.
MAX_BYTES = 64 * 1024


class Rejected(Exception):
    """A record is no command that can be executed. Carries what could be read of it, for the result.

    `reply_to` is set by whoever has checked that results may go there.
    """

    reply_to: str | None = None

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        command_id: str | None = None,
        account: int | None = None,
        type_: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.command_id = command_id
        self.account = account
        self.type = type_


def read_record(record: ConsumerRecord) -> Command:
    """The command in a record, whose headers are not looked at. Raises Rejected."""
    command = read(record.value)
    # Without a key it may have come anywhere. With another account's, its sender's rights and order are that one's.
    if record.key is not None and record.key != key_of(command.account):
        raise rejection(command, "account", "is not the record's key")
    return command


def rejection(command: Command, field: str, message: str) -> Rejected:
    """That a command which could be read is not executed."""
    return Rejected(
        message,
        field=field,
        command_id=command.id,
        account=command.account,
        type_=str(command.__struct_config__.tag),
    )


def read(value: bytes | None) -> Command:
    """The command in a record's value. Raises Rejected, whose words repeat nothing that may be a password."""
    if value is None:
        raise Rejected("the record has no value")
    if len(value) > MAX_BYTES:
        raise Rejected(f"the record has {len(value)} bytes, a command has {MAX_BYTES} at most")
    try:
        return _decoder.decode(value)
    except msgspec.ValidationError as error:
        field, message = fault(error)
        raise Rejected(message, field=field or None, **_known(value)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(f"not JSON: {error}") from None
    except RecursionError:
        raise Rejected("nested too deeply") from None


def _known(value: bytes) -> dict[str, Any]:
    """What can be said of a command that is wrong somewhere: its id, account and type, where these are right."""
    try:
        given = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    if not isinstance(given, dict):
        return {}
    id_, account, type_ = given.get("id"), given.get("account"), given.get("type")
    return {
        "command_id": id_ if isinstance(id_, str) and re.fullmatch(r"[A-Za-z0-9_:-]{1,128}", id_) else None,
        "account": account if isinstance(account, int) and not isinstance(account, bool) else None,
        "type_": type_ if isinstance(type_, str) and len(type_) <= 64 else None,
    }


_decoder: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)
