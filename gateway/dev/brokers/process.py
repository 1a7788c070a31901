"""A child process with a log: started apart from the terminal, bounded when stopped, gone when its parent is."""

import asyncio
import atexit
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Self

_TETHER = Path(__file__).with_name("tether.py")
_POLL_SECONDS = 0.05
_TAIL_BYTES = 4096
_TAIL_LINES = 20
# Below what Linux hands out to outgoing connections (32768 up): a client that keeps dialling a broker that is down
# can otherwise be given that very port and connect to itself.
_PORTS = range(15000, 32000)
# How many of the last ports stay claimed: whoever was given an earlier one listens by now.
_CLAIMED = 64
_claims: deque[socket.socket] = deque()
_RANDOM = random.SystemRandom()


@atexit.register
def _give_back() -> None:
    for claim in _claims:
        claim.close()


class BrokerError(Exception):
    """A broker could not be started, or died. The text carries the tail of its log."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on now, outside the range of outgoing connections.

    No other process that asks so is given it meanwhile: the UDP port of the same number, which nobody here uses, is
    held until this process ends or has asked for 64 others.

    Raises:
        BrokerError: None was found in many tries.
    """
    for _ in range(200):
        # Not the module's own generator: whoever seeds that would be given the same ports as another that seeded it.
        port = _RANDOM.choice(_PORTS)
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        if len(_claims) > _CLAIMED:
            _claims.popleft().close()
        return port
    raise BrokerError("no free TCP port was found on 127.0.0.1")


class Child:
    """One command, run in a session of its own (a Ctrl-C in the terminal does not reach it), output appended to a log.

    Start it from the main thread: on Linux the kernel kills it when the *thread* that started it ends.
    """

    def __init__(self, name: str, command: list[str], log: Path, env: dict[str, str] | None = None) -> None:
        """Take the name for messages, the command, the log's path, and what to add to the environment."""
        self.name = name
        self.log = log
        self._command = command
        self._env = env or {}
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process id while it runs, else None."""
        return self._popen.pid if self.running and self._popen else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def spawn(self) -> None:
        """Start the command; do nothing when it runs already."""
        if self.running:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - the command is ours
                [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self._env},
                start_new_session=True,
            )

    async def wait(self, seconds: float) -> int | None:
        """Wait for its end; return the exit code (negative: the signal), or None if it still runs after that long."""
        deadline = time.monotonic() + seconds
        while self._popen is not None and self._popen.poll() is None:
            if time.monotonic() >= deadline:
                return None
            await asyncio.sleep(_POLL_SECONDS)
        return self._popen.returncode if self._popen is not None else 0

    async def stop(self, grace_seconds: float) -> None:
        """Send SIGTERM, and SIGKILL if it still runs after the grace; return when it is gone, also when cancelled."""
        try:
            if self.running:
                self._signal(signal.SIGTERM)
                await self.wait(grace_seconds)
        finally:
            self._kill_and_reap()

    async def kill(self) -> None:
        """Send SIGKILL and return when it is gone."""
        self._kill_and_reap()

    def tail(self) -> str:
        """The last lines of the log; empty when there is none."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - _TAIL_BYTES))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-_TAIL_LINES:])

    def failure(self, what: str) -> BrokerError:
        """An error that says what went wrong, with the tail of the log."""
        return BrokerError(f"{self.name} {what}; the end of its log:\n{self.tail()}")

    async def __aenter__(self) -> Self:
        self.spawn()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill()

    def _kill_and_reap(self) -> None:
        if self._popen is None:
            return
        self._signal(signal.SIGKILL)
        try:
            # A killed process is gone within milliseconds: waiting here cannot be cancelled half-way.
            self._popen.wait(timeout=5)
        except subprocess.TimeoutExpired:
            raise self.failure("did not end after SIGKILL") from None
        self._popen = None

    def _signal(self, number: signal.Signals) -> None:
        if self._popen is None or self._popen.poll() is not None:
            return
        # It leads its session and so its group; it may have ended since it was asked.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._popen.pid, number)
