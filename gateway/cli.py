"""The command line: `ringcloud-gateway …`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import click
import uvloop
from aiokafka.errors import KafkaError

from gateway import config as configuration
from gateway.cli_accounts import account_commands
from gateway.cli_commands import command_commands
from gateway.cli_endpoints import endpoints
from gateway.cli_listen import listen
from gateway.cli_numbers import Number
from gateway.cli_replays import deliveries, dlq, replay
from gateway.config import Config, ConfigError
from gateway.runtime import logs
from gateway.runtime.kafka import TopicError
from gateway.runtime.metrics import MetricsError
from sandbox.main import main as sandbox_command

_CONFIG = click.argument("config", type=click.Path(dir_okay=False, path_type=Path), metavar="CONFIG")


# A process imports what it runs: the demo's packages are not on a server, and Faust takes half a second to load.


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Turns RingCloud's polled call lists into exactly-once Kafka events, signed webhooks and metrics."""


main.add_command(sandbox_command, "sandbox")
main.add_command(listen)
for group in (endpoints, deliveries, dlq, replay):
    main.add_command(group)


@main.command()
@click.option("--duration", type=Number(min=10), help="Seconds of calls; without it, until Ctrl-C.")
@click.option("--calls-per-minute", type=Number(min=0, max=6000), default=60, show_default=True)
@click.option("--accounts", type=click.IntRange(1, 200), default=3, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True, help="The same seed places the same calls.")
@click.option(
    "--broker",
    default="embedded",
    show_default=True,
    metavar="embedded|kafka|HOST:PORT",
    help="Where Kafka comes from.",
)
@click.option("--summary", type=click.Path(dir_okay=False, path_type=Path), help="Write what was found as JSON.")
def dev(**given: Any) -> None:
    """Run every part at once on this machine and watch the whole trip of a call."""
    from gateway.dev.demo import run_demo
    from gateway.dev.options import DevError, DevOptions

    options = DevOptions(**given)
    if options.broker not in ("embedded", "kafka") and not _is_address(options.broker):
        raise click.BadParameter("is embedded, kafka or HOST:PORT", param_hint="--broker")
    try:
        sys.exit(asyncio.run(run_demo(options)))
    except DevError as error:
        raise click.ClickException(str(error)) from None


@main.command()
@_CONFIG
def poll(config: Path) -> None:
    """Run the gateway: poll, diff, commit events, execute commands."""
    from gateway.service import run_gateway

    loaded = _load(config)
    _serve(run_gateway(loaded))


@main.command()
@_CONFIG
def streams(config: Path) -> None:
    """Run the streams: fan events out and deliver webhooks."""
    from streams.service import run_streams

    loaded = _load(config)
    _serve(run_streams(loaded))


@main.command()
@_CONFIG
def api(config: Path) -> None:
    """Serve the admin API: endpoints, what was delivered to them, replays."""
    from gateway.api.service import run_api

    loaded = _load(config)
    _serve(run_api(loaded))


@main.command()
@_CONFIG
def topics(config: Path) -> None:
    """Create the topics that are missing and check the others, where the services may not."""
    from gateway.runtime.kafka import ensure_topics

    loaded = _load(config)

    async def make() -> None:
        await ensure_topics(loaded.kafka)
        click.echo(f"{loaded.kafka.prefix}: the topics are there, and right")

    _serve(make())


@main.command()
@_CONFIG
@click.option(
    "--service",
    type=click.Choice(["poll", "streams", "api", "topics"]),
    help="Read the secrets of this one alone: where it runs, the others' are not.",
)
def check(config: Path, service: str | None) -> None:
    """Check a configuration, its secrets included, and name the first field that is wrong."""
    from gateway.api.tokens import Tokens
    from gateway.runtime.sealing import Seals
    from gateway.runtime.security import security_settings
    from gateway.runtime.tracing import check_traces
    from gateway.service import check_credentials
    from gateway.work import opener
    from streams.delivery.proxying import proxy_of
    from streams.delivery.targets import targets_of

    try:
        loaded = configuration.load(config)
        if service in ("poll", None):
            check_credentials(loaded)
            opener(loaded)
        security_settings(loaded.kafka)
        if service in ("poll", "streams", None):
            check_traces(loaded.traces)
        if service in ("streams", "api", None):
            seals = Seals(loaded.delivery.sealing_keys)
        if service in ("streams", None):
            proxy_of(loaded.delivery)
            targets_of(loaded.endpoints, allow_http=loaded.delivery.allow_http, read=seals.read)
        if loaded.api.tokens and service in ("api", None):
            Tokens(loaded.api.tokens)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    click.echo(f"{config}: right: {len(loaded.accounts)} accounts, {len(loaded.endpoints)} endpoints")


@main.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), metavar="DIR")
def schemas(directory: Path) -> None:
    """Write the contract into DIR: JSON Schemas and an AsyncAPI document, made from what the gateway runs on."""
    from gateway.schemas.files import write

    try:
        written = write(directory)
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    for path in written:
        click.echo(path)


def _load(path: Path) -> Config:
    try:
        loaded = configuration.load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    logs.set_up(loaded.log.format, loaded.log.level)
    return loaded


main.add_command(account_commands(_load))
main.add_command(command_commands(_load))


def _serve(service: Coroutine[Any, Any, None]) -> None:
    """Run a service until SIGTERM or SIGINT, or until it fails: then say why and exit 1."""
    status = 0
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until_told(service))
    except* (ConfigError, TopicError, MetricsError, KafkaError) as group:
        click.ClickException("; ".join(_reasons(group))).show()
        status = 1
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread()):
        # Faust's consumer waits in a thread of its own for brokers that are away; all that can be kept is kept.
        logging.shutdown()
        os._exit(status)
    sys.exit(status)


async def _until_told(service: Coroutine[Any, Any, None]) -> None:
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(service)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return


def _reasons(group: BaseExceptionGroup[BaseException]) -> list[str]:
    found: list[str] = []
    for error in group.exceptions:
        found += _reasons(error) if isinstance(error, BaseExceptionGroup) else [str(error) or repr(error)]
    return found


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit()


if __name__ == "__main__":
    main(prog_name="ringcloud-gateway")
