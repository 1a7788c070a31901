"""Receives webhooks until it is told to stop, and tells of each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from aiohttp import web

from gateway.listening.answers import Answers, Demands
from gateway.listening.records import Record, Recorder
from gateway.listening.server import Hook, HookServer
from gateway.listening.verifier import Verifier


async def receive(
    host: str,
    port: int,
    secrets: Sequence[str],
    demands: Demands,
    *,
    ready: Callable[[str], None],
    told: Callable[[Record], None],
) -> None:
    """Receive until cancelled. `ready` is called once with the URL, `told` with each webhook when it is answered.

    What `told` raises ends it. Without `secrets` nothing is verified and all is taken.

    Raises:
        SecretError: One of the secrets is none.
        OSError: It can't listen there.
    """
    recorder = Recorder()
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    async with Answers(demands) as answers:

        async def answer(hook: Hook) -> web.StreamResponse:
            attempt = recorder.arrived(hook)
            reply = await answers.to(hook)
            try:
                told(recorder.answered(hook, attempt, reply, verifying=bool(secrets)))
            except Exception as error:  # noqa: BLE001 - handed to whoever waits
                if not over.done():
                    over.set_exception(error)
            return reply.response

        server = HookServer(Verifier(secrets) if secrets else None, answer, host=host, port=port)
        try:
            await server.start()
            ready(server.url)
            await over
        finally:
            await server.stop()
