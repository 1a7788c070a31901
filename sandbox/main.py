"""The sandbox as a process: reads its command line, says where it listens, and runs until it is told to stop."""

import asyncio
import signal
import sys
from collections.abc import Coroutine

import click
import msgspec
import structlog

from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, Profile, SandboxSettings


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--key", "keys", multiple=True, required=True, help="API key, <account>_<body>. May be repeated.")
@click.option("--password", "passwords", multiple=True, required=True, help="Password of the key, one for each --key.")
@click.option("--calls-per-minute", default=0.0, show_default=True, help="Mean rate over all accounts.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same traffic.")
@click.option(
    "--profile",
    type=click.Choice(["documented", "live"]),
    default="documented",
    show_default=True,
    help="Status of active rows: always `current`, or `ringing` and `answered`.",
)
@click.option("--time-zone", default="Europe/Moscow", show_default=True, help="Zone of the times in rows.")
@click.option("--clock-skew", default=0.0, show_default=True, help="Seconds by which the API's clock is off.")
def main(
    host: str,
    port: int,
    keys: tuple[str, ...],
    passwords: tuple[str, ...],
    calls_per_minute: float,
    seed: int,
    profile: Profile,
    time_zone: str,
    clock_skew: float,
) -> None:
    """Serve the RingCloud API over a simulated PBX.

    Prints one line of JSON, {"url": ...}, once it listens; SIGINT and SIGTERM end it with exit status 0.
    """
    if len(keys) != len(passwords):
        raise click.UsageError("give one --password for each --key")
    try:
        settings = SandboxSettings(
            keys=[KeySpec(key, password) for key, password in zip(keys, passwords, strict=True)],
            calls_per_minute=calls_per_minute,
            seed=seed,
            profile=profile,
            time_zone=time_zone,
            clock_skew_seconds=clock_skew,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    # Standard output belongs to the line with the URL.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        _run(_serve(settings, host, port))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None


def _run(work: Coroutine[None, None, None]) -> None:
    try:
        import uvloop
    except ImportError:  # it exists for CPython on Unix only
        asyncio.run(work)
    else:
        uvloop.run(work)


async def _serve(settings: SandboxSettings, host: str, port: int) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with SandboxServer(settings, port, host=host) as server:
        click.echo(msgspec.json.encode({"url": server.url}))
        sys.stdout.flush()
        await stopped.wait()
