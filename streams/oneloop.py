"""Lets Faust's consumer live in the event loop of all else, not in a thread with a loop of its own.

A thread of Python's takes the interpreter's lock by turns of milliseconds: with the consumer in one, each write of a
webhook waited for it, and each record crossed from one loop to the other. Faust has the thread so that a worker that
blocks its loop stays in its group; nothing here blocks it.

Like the transport that uses this, it hooks into places that mode and Faust do not promise; they are checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from mode.threads import QueueServiceThread, ServiceThread
from mode.utils.futures import maybe_async

HOOKS = (
    (ServiceThread, "_serve"),
    (ServiceThread, "_gather_remaining_tasks"),
    (ServiceThread, "set_shutdown"),
    (QueueServiceThread, "call_thread"),
)


class LoopWorker:
    """In the place of mode's WorkerThread: serves in the loop that starts it."""

    def __init__(self, service: ServiceThread) -> None:
        self._service = service
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self._serving = asyncio.create_task(self._serve())

    def stop(self) -> None:
        """Nothing is left to do: the service waits for its own shutdown before, which is the end of serving."""

    async def _serve(self) -> None:
        try:
            await self._service._serve()  # noqa: SLF001 - what its thread would do
        except Exception:  # noqa: BLE001 - the service has told of it, and crashed what it belongs to
            self._service.set_shutdown()


class InLoop(QueueServiceThread):
    """To be mixed into a thread of Faust's, made with `thread_loop` the loop that it is made in."""

    abstract = True

    Worker: Any = LoopWorker

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `fun` and return what it returns, or what it makes when awaited."""
        return await maybe_async(fun(*args, **kwargs))

    async def _gather_remaining_tasks(self) -> None:
        """Leave them: the loop is not the service's own."""
