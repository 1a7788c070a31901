"""The command line: `ringcloud-gateway …`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
import uuid
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
import uvloop
from aiokafka.errors import KafkaError

from gateway import config as configuration
from gateway.cli_accounts import CONFIG_OPTION, account_commands
from gateway.cli_listen import listen
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


@main.command()
@click.option("--duration", type=click.FloatRange(min=10), help="Seconds of calls; without it, until Ctrl-C.")
@click.option("--calls-per-minute", type=click.FloatRange(min=0, max=6000), default=60, show_default=True)
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
def check(config: Path) -> None:
    """Check a configuration, its secrets included, and name the first field that is wrong."""
    from gateway.service import check_credentials
    from streams.delivery.proxying import proxy_of
    from streams.delivery.targets import targets_of

    try:
        loaded = configuration.load(config)
        check_credentials(loaded)
        proxy_of(loaded.delivery)
        targets_of(loaded.endpoints, allow_http=loaded.delivery.allow_http)
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


@main.group()
def commands() -> None:
    """Ask RingCloud for something through the command topic."""


@commands.command()
@CONFIG_OPTION
@click.option("--account", type=int, required=True)
@click.option("--user", required=True, help="Is rung first; needs a connected phone.")
@click.option("--num", required=True, help="Is dialled once the user has answered.")
@click.option("--id", "command_id", help="The same id is executed once; a new one by default.")
@click.option("--expires-in", type=click.FloatRange(0, 86_400), help="Seconds after which it is not executed any more.")
@click.option("--timeout", type=click.FloatRange(min=1), default=120, show_default=True, help="Seconds to follow it.")
def originate(
    config: Path,
    account: int,
    user: str,
    num: str,
    command_id: str | None,
    expires_in: float | None,
    timeout: float,
) -> None:
    """Call NUM for USER, and follow what becomes of it. Exits 0 when RingCloud took it."""
    from gateway.contract.commands import Originate
    from gateway.contract.faults import fault

    given = {
        "type": "call.originate",
        "id": command_id or str(uuid.uuid4()),
        "account": account,
        "user": user,
        "num": num,
    }
    if expires_in is not None:
        given["expires_at"] = (datetime.now(UTC) + timedelta(seconds=expires_in)).isoformat()
    try:
        command = msgspec.convert(given, Originate)
    except msgspec.ValidationError as error:
        raise click.UsageError(": ".join(fault(error))) from None
    loaded = _load(config)
    try:
        last = asyncio.run(_follow(loaded, command, timeout))
    except TimeoutError:
        raise click.ClickException(
            f"no final result within {timeout:.0f} s; command {command.id} is on its way"
        ) from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {loaded.kafka.bootstrap}: {error}") from None
    sys.exit(0 if last == "succeeded" else 1)


async def _follow(config: Config, command: Any, timeout: float) -> str:
    from gateway.commands.client import send_and_follow

    last = ""
    async for result in send_and_follow(config.kafka, command, timeout):
        last = result.status
        details = [result.message or "", f"until {result.until:%H:%M:%S} UTC" if result.until else ""]
        click.echo(f"{result.at:%H:%M:%S.%f}"[:-3] + "  " + "  ".join([result.status, *filter(None, details)]))
    return last


def _load(path: Path) -> Config:
    try:
        loaded = configuration.load(path)
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
    logs.set_up(loaded.log.format, loaded.log.level)
    return loaded


main.add_command(account_commands(_load))


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
