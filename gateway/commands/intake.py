"""Records of the command topic into commands, or into a rejection that names the field."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from gateway.contract.commands import Command
from gateway.contract.faults import fault

# Larger than any command can be; what is larger is not even decoded.
MAX_BYTES = 64 * 1024


class Rejected(Exception):
    """A record is no command that can be executed. Carries what could be read of it, for the result."""

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


def read(value: bytes | None) -> Command:
    """The command in a record's value. Raises Rejected."""
    if value is None:
        raise Rejected("the record has no value")
    if len(value) > MAX_BYTES:
        raise Rejected(f"the record has {len(value)} bytes, a command has {MAX_BYTES} at most")
    try:
        command = _decode(value)
        # A command type that stands alone is decoded without being named; what is dialled must be asked for by name.
        _decode_named(value)
    except msgspec.ValidationError as error:
        field, message = fault(error)
        raise Rejected(message, field=field or None, **_known(value)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Rejected(f"not JSON: {error}") from None
    except RecursionError:
        raise Rejected("nested too deeply") from None
    return command


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


class _Named(msgspec.Struct):
    type: str


_decode_named = msgspec.json.Decoder(_Named).decode
_decode = msgspec.json.Decoder(Command).decode
