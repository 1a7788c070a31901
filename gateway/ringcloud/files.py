"""A file that appears whole or not at all, written without holding up the event loop."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self, TypeVar

# Small pieces are gathered up to this: a trip to a thread costs more than writing them.
_GATHER = 256 * 1024

Done = TypeVar("Done")


class NewFile:
    """`async with NewFile(path) as file: await file.write(…)`.

    Written beside `path` and renamed at the end; removed where the block is left by an exception. `size` is how many
    bytes were written. All of it raises OSError.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._gathered = bytearray()
        self.size = 0

    async def __aenter__(self) -> Self:
        self._file, self._temporary = await _in_thread(lambda: _beside(self._path), undo=_discard)
        return self

    async def write(self, piece: bytes) -> None:
        """Append `piece`."""
        self._gathered += piece
        self.size += len(piece)
        if len(self._gathered) >= _GATHER:
            await self._flush()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        done = False
        try:
            if error is None:
                await self._flush()
                await _in_thread(lambda: _finish(self._file, self._temporary, self._path))
                done = True
        finally:
            if not done:
                _discard((self._file, self._temporary))

    async def _flush(self) -> None:
        piece, self._gathered = self._gathered, bytearray()
        await _in_thread(lambda: self._file.write(piece))


def _beside(path: Path) -> tuple[BinaryIO, Path]:
    """A temporary file in the directory of `path`: a rename is atomic only within a file system."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", suffix=".part", dir=path.parent)
    return os.fdopen(descriptor, "wb"), Path(name)


def _finish(file: BinaryIO, temporary: Path, path: Path) -> None:
    file.flush()
    os.fsync(file.fileno())
    file.close()
    temporary.replace(path)


def _discard(made: tuple[BinaryIO, Path]) -> None:
    file, temporary = made
    with suppress(OSError):
        file.close()
    temporary.unlink(missing_ok=True)


async def _in_thread(work: Callable[[], Done], *, undo: Callable[[Done], None] | None = None) -> Done:
    """The outcome of `work`, done in a thread. A cancellation waits for it, so that nobody closes a file that is being
    written to; `undo` then takes its outcome back."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if task.exception() is None and undo is not None:
            undo(task.result())
        raise
