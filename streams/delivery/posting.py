"""What aiohttp makes a webhook's request of, without what a webhook has no use for."""

from __future__ import annotations

from typing import Final

from aiohttp.abc import AbstractStreamWriter
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.payload import BytesPayload
from multidict import CIMultiDict, istr

from streams.delivery.phases import running


class Body(BytesPayload):
    """A request's body. aiohttp would make a map of headers for each, to hold a content type that is given anyway."""

    _SHARED: Final = CIMultiDict({"content-type": "application/octet-stream"})

    def __init__(self, value: bytes) -> None:
        self.value = self._value = value
        self._size = len(value)
        self._headers = self._SHARED
        self._encoding = self._filename = None


class Request(ClientRequest):
    """A request with the headers that it is given and no other. Tells the running stopwatch when it was sent."""

    DEFAULT_HEADERS: dict[istr, str] = {}  # noqa: RUF012 - as aiohttp has it

    async def write_bytes(
        self, writer: AbstractStreamWriter, conn: Connection, content_length: int | None = None
    ) -> None:
        """See `ClientRequest.write_bytes`."""
        await super().write_bytes(writer, conn, content_length)
        running.get().sent()
