"""A sandbox with all its settings, as a process: `python -m tests.chaos.sandbox SETTINGS.json PORT`."""

import asyncio
import sys
from pathlib import Path

import msgspec
import uvloop

from sandbox.server import SandboxServer
from sandbox.settings import SandboxSettings


async def _serve(settings: SandboxSettings, port: int) -> None:
    async with SandboxServer(settings, port):
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=SandboxSettings), int(sys.argv[2])))
