"""The envelope of every answer, and the error that becomes one."""

from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode
_HEAD = b'{"status":"success","message":null,"data":'


class ApiError(Exception):
    """An answer other than 200: HTTP `status`, a `message` for people and extra `headers`."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers


def success(data: bytes) -> bytes:
    """The envelope around `data`, which is JSON already."""
    return b"%b%b}" % (_HEAD, data)


def failure(message: str) -> bytes:
    """The envelope of a failure."""
    return _encode({"status": "error", "message": message, "data": None})


def to_json(value: Any) -> bytes:
    """`value` as JSON; anything that msgspec encodes."""
    return _encode(value)
