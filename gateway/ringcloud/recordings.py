"""What can be asked about recordings: their list, and each as a stream or into a file."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import Unpack

from gateway.ringcloud import limits
from gateway.ringcloud.errors import EnvelopeError
from gateway.ringcloud.files import NewFile
from gateway.ringcloud.http import Arriving
from gateway.ringcloud.resources import Recording, decode_records
from gateway.ringcloud.session import Reading, Session

# What a proxy or a page of errors answers instead of the file, with status 200.
_NO_RECORDING = ("text/html", "application/json")


class Recordings(Session):
    """The URLs under `/v1/users/<username>/records`."""

    async def records(self, user: str, **reading: Unpack[Reading]) -> list[Recording]:
        """A user's recordings; times without a zone are in the account's. Raises BadParameters where there is no such
        user, RowError where a row cannot be read."""

        def decode(body: bytes, *, url: str) -> list[Recording]:
            return decode_records(body, self.zone, url=url)

        return await self._get(decode, limits.RECORDS, user, **reading)

    @asynccontextmanager
    async def record(self, user: str, filename: str, **reading: Unpack[Reading]) -> AsyncIterator[AsyncIterator[bytes]]:
        """One recording, piece by piece (some KiB each), never whole in memory; `filename` as `records()` gives it.

            async with api.record("400", "1.wav") as pieces:
                async for piece in pieces: ...

        The turn in the URL's lane and a connection are held until the block is left. Entering raises NotFound where
        there is no such file and any other error of a request; reading on raises TransportError where the next piece
        does not come within the client's `timeout` or the file ends too early, ResponseTooLarge past
        `max_record_bytes`, EnvelopeError where the file is empty. Entering is repeated where that may help, reading on
        never: what was handed out cannot be taken back.
        """
        async with AsyncExitStack() as stack:
            arriving = await self._repeated(
                lambda: stack.enter_async_context(self._open(limits.RECORD, user, filename, **reading))
            )
            yield await stack.enter_async_context(aclosing(_pieces(arriving)))

    async def save_record(
        self, user: str, filename: str, path: str | os.PathLike[str], **reading: Unpack[Reading]
    ) -> int:
        """Write one recording to the file `path`. Returns its size in bytes.

        The file appears whole (or replaces the one that was there) or not at all, and can be read by its owner only.
        Raises what `record()` raises, and OSError where the file cannot be written. Repeated as a whole where that may
        help.
        """

        async def once() -> int:
            async with self._open(limits.RECORD, user, filename, **reading) as arriving, NewFile(path) as file:
                async for piece in _pieces(arriving):
                    await file.write(piece)
                return file.size

        return await self._repeated(once)


async def _pieces(arriving: Arriving) -> AsyncGenerator[bytes, None]:
    kind = arriving.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in _NO_RECORDING:
        raise EnvelopeError(f"the answer is no recording but {kind}", status=arriving.status, url=arriving.url)
    empty = True
    async for piece in arriving:
        empty = False
        yield piece
    if empty:
        # How RingCloud says that it failed; a status other than 200 should have told before.
        raise EnvelopeError("the recording is empty", status=arriving.status, url=arriving.url)
