"""What of a shard's commands is on its way to RingCloud, so that who gives the shard up can wait for the answers."""

from __future__ import annotations

import asyncio


class Sending:
    """Counts the commands that are sent, or about to be, and whose outcome is not written down yet."""

    def __init__(self) -> None:
        self._under_way = 0
        self._none = asyncio.Event()
        self._none.set()
        self._over = False

    async def begin(self) -> None:
        """One is about to be sent; `end` is due for it. Does not return once nothing may be sent any more."""
        if self._over:
            # Whoever waits here is cancelled with the shard; its command is the next owner's.
            await asyncio.get_running_loop().create_future()
        self._under_way += 1
        self._none.clear()

    def end(self) -> None:
        """What became of one is written down, or will not be here."""
        self._under_way -= 1
        if not self._under_way:
            self._none.set()

    async def close(self, seconds: float) -> None:
        """Let nothing more be sent, and wait, at most so many seconds, until nothing is under way."""
        self._over = True
        try:
            async with asyncio.timeout(seconds):
                await self._none.wait()
        except TimeoutError:
            # It is cut off, and is the next owner's to find out about.
            return
