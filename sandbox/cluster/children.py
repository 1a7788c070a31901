"""The processes of a cluster: each with a log, none that outlives the one that started it."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 5.0
_POLL_SECONDS = 0.02
_TAIL_LINES = 10


class ClusterError(Exception):
    """The cluster cannot be started, or a part of it has ended; the text is for people."""


class Child:
    """A process that runs; its standard error is appended to a log, and so is its output unless it is to be read."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path) -> None:
        self._name = name
        self._process = process
        self._log = log

    async def first_line(self, seconds: float) -> bytes:
        """The first line that it prints; ClusterError when it ends before, or takes longer."""
        line = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                line = b"" if self._process.stdout is None else await self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise self.failure("did not start")
        return line

    async def until(self, ready: Callable[[], Awaitable[bool]], seconds: float) -> None:
        """Wait until `ready`; ClusterError when it ends before, or takes longer."""
        try:
            async with asyncio.timeout(seconds):
                while not await ready():
                    if self._process.returncode is not None:
                        raise self.failure("ended")
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            raise self.failure("is not ready in time") from None

    async def end(self) -> ClusterError:
        """Wait for its end, and say so."""
        await self._process.wait()
        return self.failure("ended")

    def failure(self, what: str) -> ClusterError:
        """What went wrong, with the last lines of its log."""
        lines = self._log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        return ClusterError("\n".join([f"{self._name} {what}; the end of its log:", *lines]))


@contextlib.asynccontextmanager
async def running(name: str, command: list[str], log: Path, *, read: bool = False) -> AsyncIterator[Child]:
    """Run a command while the block does; with `read` its standard output is kept to be read.

    A Ctrl-C in the terminal does not reach it: it is stopped in its turn, by SIGTERM and after a grace by SIGKILL.
    On Linux it dies with the thread that started it. ClusterError when it cannot be started.
    """
    with log.open("ab") as output:
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE if read else output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with(os.getpid()) if sys.platform == "linux" else None,
            )
        except OSError as error:
            raise ClusterError(f"{name} cannot be started: {error.strerror}") from None
    try:
        yield Child(name, process, log)
    finally:
        await _stop(process)


async def _stop(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(_GRACE_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _die_with(parent: int) -> Callable[[], None]:
    # Loaded before the fork: as little as possible is done after it.
    prctl = ctypes.CDLL(None).prctl

    def die() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the kernel was asked; then no signal would ever come.
        if os.getppid() != parent:
            os._exit(1)

    return die
