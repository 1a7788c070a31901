"""`ringcloud-gateway accounts …`: accounts that are declared at run time, on their topic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from aiokafka.errors import KafkaError

from gateway.config import AccountConfig, Config, ConfigError, check_zone
from gateway.contract.faults import fault

T = TypeVar("T")

# Of commands that write to Kafka.
CONFIG_OPTION = click.option(
    "--config",
    envvar="RINGCLOUD_GATEWAY_CONFIG",
    default="gateway.toml",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="For the brokers and the topics' prefix.",
)


def account_commands(load: Callable[[Path], Config]) -> click.Group:
    """The group of commands; `load` reads a configuration, which tells the brokers and the topics' prefix."""

    @click.group()
    @CONFIG_OPTION
    @click.pass_context
    def accounts(context: click.Context, config: Path) -> None:
        """Declare accounts at run time: every gateway takes them up, or lets them go, within a second."""
        context.obj = lambda: load(config)

    @accounts.command("list")
    @click.pass_obj
    def list_(config: Callable[[], Config]) -> None:
        """The accounts on the topic, a line of JSON each; secrets are references."""
        from gateway.polling.accounts import declared_accounts

        kafka = config().kafka
        for _, account in sorted(_run(kafka.bootstrap, declared_accounts(kafka)).items()):
            click.echo(msgspec.json.encode(account))

    @accounts.command()
    @click.argument("account", type=click.IntRange(min=1))
    @click.option(
        "--key",
        "keys",
        nargs=2,
        multiple=True,
        required=True,
        metavar="KEY PASSWORD",
        help="References, env:NAME or file:PATH, which each gateway must be able to read. Several share the polls.",
    )
    @click.option("--time-zone", default="Europe/Moscow", show_default=True, help="Of the times in RingCloud's rows.")
    @click.option("--channels", is_flag=True, help="Ask for the channels too.")
    @click.pass_obj
    def put(
        config: Callable[[], Config], account: int, keys: tuple[tuple[str, str], ...], time_zone: str, channels: bool
    ) -> None:
        """Declare ACCOUNT, or declare it anew."""
        from gateway.polling.accounts import declare_account

        given = {
            "id": account,
            "keys": [{"key": key, "password": password} for key, password in keys],
            "time_zone": time_zone,
            "channels": channels,
        }
        try:
            declared = msgspec.convert(given, AccountConfig)
            check_zone("--time-zone", "", time_zone)
        except msgspec.ValidationError as error:
            raise click.UsageError(": ".join(fault(error))) from None
        except ConfigError as error:
            raise click.UsageError(str(error)) from None
        kafka = config().kafka
        _run(kafka.bootstrap, declare_account(kafka, account, declared))

    @accounts.command()
    @click.argument("account", type=click.IntRange(min=1))
    @click.pass_obj
    def remove(config: Callable[[], Config], account: int) -> None:
        """Withdraw ACCOUNT: it is polled no more. What is known of its calls is kept, should it come again."""
        from gateway.polling.accounts import declare_account

        kafka = config().kafka
        _run(kafka.bootstrap, declare_account(kafka, account, None))

    return accounts


def _run(bootstrap: str, work: Coroutine[Any, Any, T]) -> T:
    try:
        return asyncio.run(work)
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {bootstrap}: {error}") from None
