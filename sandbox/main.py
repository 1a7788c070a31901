"""The sandbox as a process: reads its command line, says where it listens, and runs until it is told to stop."""

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any

import click
import msgspec
import structlog

from sandbox.clock import RealClock, VirtualClock
from sandbox.cluster.command import cluster_command
from sandbox.keys import keys_command
from sandbox.options import sandbox_options, settings_of
from sandbox.routes import Router
from sandbox.server import SandboxServer
from sandbox.settings import SandboxSettings
from sandbox.state import MemoryState, State, StateError

_IN_MEMORY = "memory"


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@sandbox_options
@click.option("--virtual", is_flag=True, help="Time stands still until PUT /_sandbox/clock advances it.")
@click.option(
    "--state",
    "state_url",
    default=_IN_MEMORY,
    show_default=True,
    metavar="memory|redis://…",
    help="Where state and limits live; processes with one Redis are one sandbox.",
)
@click.pass_context
def main(context: click.Context, /, host: str, port: int, virtual: bool, state_url: str, **given: Any) -> None:
    """Serve the RingCloud API over a simulated PBX.

    Prints one line of JSON, {"url": ...}, once it listens; SIGINT and SIGTERM end it with exit status 0.
    """
    if context.invoked_subcommand is not None:
        return
    settings = settings_of(**given)
    # Standard output belongs to the line with the URL.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    state = _state(settings, state_url, virtual=virtual)
    try:
        _run(_serve(settings, host, port, state))
    except StateError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None


main.add_command(keys_command)
main.add_command(cluster_command)


def _state(settings: SandboxSettings, url: str, *, virtual: bool) -> State:
    router = Router(settings.complete_urls)
    if url == _IN_MEMORY:
        return MemoryState(settings, VirtualClock() if virtual else RealClock(), router)
    if virtual:
        raise click.UsageError("--virtual goes with --state memory only")
    try:
        from sandbox.shared import RedisState
    except ImportError:
        raise click.ClickException("--state needs the package redis: install ringcloud-gateway[cluster]") from None
    try:
        return RedisState(url, settings, router)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--state") from None


def _run(work: Coroutine[None, None, None]) -> None:
    try:
        import uvloop
    except ImportError:  # it exists for CPython on Unix only
        asyncio.run(work)
    else:
        uvloop.run(work)


async def _serve(settings: SandboxSettings, host: str, port: int, state: State) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with SandboxServer(settings, port, host=host, state=state) as server:
        click.echo(msgspec.json.encode({"url": server.url}))
        sys.stdout.flush()
        await stopped.wait()
