"""Tells where an attempt's time goes: the host's name, the connection, TLS, the request, the wait, the answer's body."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Literal

import aiohttp
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from gateway.contract.deliveries import Phases

_now = time.perf_counter

Phase = Literal["resolve", "connect", "tls", "send", "wait", "body"]


class Stopwatch:
    """Times one attempt, phase by phase. A phase that it comes to twice, at another address, is the sum."""

    __slots__ = ("_begun", "_dialled", "_phase", "_steps", "_steps_left")

    def __init__(self) -> None:
        self._phase: Phase | None = None
        # Each phase that was entered, and when; they are added up once, at the end.
        self._begun: list[tuple[Phase, float]] = []
        self._dialled = False
        # How many steps of a connection come before TLS, and of the present one still; none where there is no TLS.
        self._steps = self._steps_left = 0

    def enter(self, phase: Phase) -> None:
        """End the phase that there is, and begin `phase`."""
        self._phase = phase
        self._begun.append((phase, _now()))

    def connecting(self, *, proxied: bool, tls: bool) -> None:
        """A connection is looked for. Through a proxy, TLS begins once there is a tunnel in the connection to it."""
        self._steps = 0 if not tls else 2 if proxied else 1
        self.enter("connect" if proxied else "resolve")

    def dialling(self) -> None:
        """An address is dialled, maybe after others that failed."""
        self._steps_left = self._steps
        if self._phase != "connect":
            self.enter("connect")

    def dialled(self) -> None:
        """There is a connection, or a tunnel within it."""
        self._dialled = True
        self._steps_left -= 1
        if self._steps_left == 0:
            self.enter("tls")

    def connected(self) -> None:
        """There is a connection for the request."""
        if not self._dialled:
            # One was there, and to find it is no phase.
            self._begun.pop()
        self.enter("send")

    def sent(self) -> None:
        """All of the request was handed over, unless the answer was faster."""
        if self._phase == "send":
            self.enter("wait")

    def read(self) -> Phases:
        """The times of all phases so far; that of the present one ends here."""
        took: dict[str, float] = {}
        until = _now()
        for phase, since in reversed(self._begun):
            took[phase] = round(took.get(phase, 0.0) + until - since, 6)
            until = since
        return Phases(**took)


running: ContextVar[Stopwatch] = ContextVar("running")


class TimedConnector(aiohttp.TCPConnector):
    """Tells the running stopwatch how a connection comes about.

    aiohttp's own way to be told, its traces, costs a seventh of an attempt and knows nothing of TLS.
    """

    def __init__(self, sockets: Callable[..., Any], **settings: Any) -> None:
        """Take what makes the sockets, and aiohttp's settings."""

        def make_socket(info: Any) -> Any:
            running.get().dialling()
            return sockets(info)

        super().__init__(socket_factory=make_socket, **settings)
        make_protocol = self._factory

        def make_timed_protocol() -> Any:
            # Asked for when a connection stands and TLS, where there is any, is about to begin.
            running.get().dialled()
            return make_protocol()

        self._factory = make_timed_protocol  # type: ignore[assignment]

    async def connect(self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout) -> Connection:
        """See `aiohttp.TCPConnector.connect`."""
        watch = running.get()
        watch.connecting(proxied=req.proxy is not None, tls=req.is_ssl())
        connection = await super().connect(req, traces, timeout)
        watch.connected()
        return connection
