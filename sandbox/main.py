"""The sandbox as a process: reads its command line, says where it listens, and runs until it is told to stop."""

import asyncio
import signal
import sys
from collections.abc import Coroutine

import click
import msgspec
import structlog

from sandbox.clock import Clock, RealClock, VirtualClock
from sandbox.keys import keys_command
from sandbox.server import SandboxServer
from sandbox.settings import KeySpec, Profile, SandboxSettings


@click.group(invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=0, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free port.")
@click.option("--key", "keys", multiple=True, help="API key, <account>_<body>. May be repeated.")
@click.option("--password", "passwords", multiple=True, help="Password of the key, one for each --key.")
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
@click.option("--reuse-channels", is_flag=True, help="Give a channel's name again once its call has ended.")
@click.option("--virtual", is_flag=True, help="Time stands still until PUT /_sandbox/clock advances it.")
@click.pass_context
def main(
    context: click.Context,
    host: str,
    port: int,
    keys: tuple[str, ...],
    passwords: tuple[str, ...],
    calls_per_minute: float,
    seed: int,
    profile: Profile,
    time_zone: str,
    clock_skew: float,
    reuse_channels: bool,
    virtual: bool,
) -> None:
    """Serve the RingCloud API over a simulated PBX.

    Prints one line of JSON, {"url": ...}, once it listens; SIGINT and SIGTERM end it with exit status 0.
    """
    if context.invoked_subcommand is not None:
        return
    # Not required of a subcommand, so not required by the options themselves.
    if not keys:
        raise click.UsageError("Missing option '--key'.")
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
            reuse_channels=reuse_channels,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    # Standard output belongs to the line with the URL.
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        _run(_serve(settings, host, port, VirtualClock() if virtual else RealClock()))
    except OSError as error:
        raise click.ClickException(f"cannot listen on {host}:{port}: {error.strerror}") from None


main.add_command(keys_command)


def _run(work: Coroutine[None, None, None]) -> None:
    try:
        import uvloop
    except ImportError:  # it exists for CPython on Unix only
        asyncio.run(work)
    else:
        uvloop.run(work)


async def _serve(settings: SandboxSettings, host: str, port: int, clock: Clock) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    async with SandboxServer(settings, port, clock, host=host) as server:
        click.echo(msgspec.json.encode({"url": server.url}))
        sys.stdout.flush()
        await stopped.wait()
