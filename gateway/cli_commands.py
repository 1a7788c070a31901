"""`ringcloud-gateway commands …`: asks RingCloud for something through the command topic, and seals passwords for it."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
from aiokafka.errors import KafkaError

from gateway.cli_accounts import CONFIG_OPTION
from gateway.cli_numbers import Number
from gateway.config import Config
from gateway.contract.faults import fault

_Load = Callable[[Path], Config]


class _Sending(NamedTuple):
    """What every command that is sent is given."""

    config: Path
    account: int
    command_id: str | None
    expires_in: float | None
    reply_to: str | None
    timeout: float


def command_commands(load: _Load) -> click.Group:
    """The group of commands; `load` reads a configuration, which tells the brokers and the topics' prefix."""

    @click.group()
    def commands() -> None:
        """Ask RingCloud for something through the command topic, and follow what becomes of it."""

    @commands.command()
    @_sending
    @click.option("--user", required=True, help="Is rung first; needs a connected phone.")
    @click.option("--num", required=True, help="Is dialled once the user has answered.")
    def originate(sending: _Sending, user: str, num: str) -> None:
        """Call NUM for USER. Exits 0 when RingCloud took it."""
        _send(load, sending, "call.originate", user=user, num=num)

    @commands.command()
    @_sending
    @_sealing
    @click.option("--num", required=True, help="The extension number, 4xx.")
    @click.option("--mail", required=True, help="The mail address.")
    def create_user(sending: _Sending, public_key: str | None, num: str, mail: str) -> None:
        """Make a user; the password is asked for, or the first line of what is piped in."""
        _send(load, sending, "user.create", password=_password(public_key), num=num, mail=mail)

    @commands.command()
    @_sending
    @_sealing
    @click.argument("user")
    def update_password(sending: _Sending, public_key: str | None, user: str) -> None:
        """Give USER another password; it is asked for, or the first line of what is piped in."""
        _send(load, sending, "user.update_password", user=user, password=_password(public_key))

    @commands.command()
    @_sending
    @click.argument("user")
    @click.argument("num")
    def update_extension_number(sending: _Sending, user: str, num: str) -> None:
        """Give USER the extension number NUM, 4xx."""
        _send(load, sending, "user.update_extension_number", user=user, num=num)

    @commands.command()
    @_sending
    @click.argument("user")
    @click.argument("mail")
    def update_email(sending: _Sending, user: str, mail: str) -> None:
        """Give USER the mail address MAIL."""
        _send(load, sending, "user.update_email", user=user, mail=mail)

    @commands.command()
    @_sending
    @click.argument("user")
    def voice_mail_box_on(sending: _Sending, user: str) -> None:
        """Switch USER's voice mail box on."""
        _send(load, sending, "user.voice_mail_box_on", user=user)

    @commands.command()
    @_sending
    @click.argument("user")
    def voice_mail_box_off(sending: _Sending, user: str) -> None:
        """Switch USER's voice mail box off."""
        _send(load, sending, "user.voice_mail_box_off", user=user)

    commands.add_command(_keys)
    commands.add_command(_seal)
    return commands


@click.command("keys")
@click.argument("private_key", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE")
def _keys(private_key: Path) -> None:
    """Make a pair of keys: the private one is written to FILE, the public one is printed, for whoever seals."""
    from gateway.commands.sealing import make_keys

    pair = make_keys()
    try:
        private_key.touch(mode=0o600, exist_ok=False)
        private_key.write_text(f"{pair.private}\n", encoding="ascii")
    except OSError as error:
        raise click.ClickException(f"{private_key}: {error.strerror}") from None
    click.echo(pair.public)


@click.command("seal")
@click.argument("public_key")
def _seal(public_key: str) -> None:
    """Seal a password with PUBLIC_KEY, for a command's `password`. It is asked for, or the first line piped in."""
    click.echo(_password(public_key))


def _sending(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that all have that send one, as a `_Sending`."""

    def gathered(**given: Any) -> None:
        command(sending=_Sending(**{name: given.pop(name) for name in _Sending._fields}), **given)

    gathered.__name__, gathered.__doc__ = command.__name__, command.__doc__
    gathered.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined] # click's own
    options = (
        CONFIG_OPTION,
        click.option("--account", type=int, required=True),
        click.option("--id", "command_id", help="The same id is executed once; a new one by default."),
        click.option("--expires-in", type=Number(0, 86_400), help="Seconds after which it is not executed any more."),
        click.option("--reply-to", help="A topic of `commands.reply_topics` that gets the results as well."),
        click.option("--timeout", type=Number(min=1), default=120, show_default=True, help="Seconds to follow it."),
    )
    for option in reversed(options):
        gathered = option(gathered)
    return gathered


def _sealing(command: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--public-key",
        envvar="RINGCLOUD_GATEWAY_PUBLIC_KEY",
        help="Seal the password with it; `ringcloud-gateway commands keys` made it.",
    )(command)


def _password(public_key: str | None) -> str:
    """The password that is typed or piped in, sealed where there is a key to seal it with."""
    from gateway.commands.sealing import SealError, seal

    if sys.stdin.isatty():
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        password = click.get_text_stream("stdin").readline().rstrip("\r\n")
    if not password:
        raise click.UsageError("the password is empty")
    try:
        return password if public_key is None else seal(password, public_key)
    except SealError as error:
        raise click.UsageError(f"the public key {error}") from None


def _send(load: _Load, sending: _Sending, type_: str, **fields: str) -> None:
    """Send a command, print each step, and exit 0 if it succeeded."""
    from gateway.contract.commands import Command

    given: dict[str, Any] = {
        "type": type_,
        "id": sending.command_id or str(uuid.uuid4()),
        "account": sending.account,
        **fields,
    }
    if sending.expires_in is not None:
        given["expires_at"] = (datetime.now(UTC) + timedelta(seconds=sending.expires_in)).isoformat()
    if sending.reply_to is not None:
        given["reply_to"] = sending.reply_to
    try:
        command: Any = msgspec.convert(given, type=Command)
    except msgspec.ValidationError as error:
        raise click.UsageError(": ".join(fault(error))) from None
    loaded = load(sending.config)
    try:
        last = asyncio.run(_follow(loaded, command, sending.timeout))
    except TimeoutError:
        raise click.ClickException(
            f"no final result within {sending.timeout:.0f} s; command {command.id} is on its way"
        ) from None
    except KafkaError as error:
        raise click.ClickException(f"Kafka at {loaded.kafka.bootstrap}: {error}") from None
    sys.exit(0 if last == "succeeded" else 1)


async def _follow(config: Config, command: Any, timeout: float) -> str:
    from gateway.commands.client import send_and_follow

    last = ""
    async for result in send_and_follow(config.kafka, command, timeout):
        last = result.status
        details = [
            f"{result.field}: {result.message}" if result.field else result.message or "",
            f"until {result.until:%H:%M:%S} UTC" if result.until else "",
            f"user {result.user}" if result.user else "",
        ]
        click.echo(f"{result.at:%H:%M:%S.%f}"[:-3] + "  " + "  ".join([result.status, *filter(None, details)]))
    return last
