"""`ringcloud-gateway listen`: a receiver of webhooks to look at, and to try an endpoint's behaviour with."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from typing import TYPE_CHECKING

import click
import msgspec

from gateway.cli_numbers import Number
from gateway.config import ConfigError, secret
from gateway.contract.secrets import SecretRef

if TYPE_CHECKING:
    from gateway.listening.records import Record


@click.command()
@click.option("--port", type=click.IntRange(0, 65_535), required=True, help="Where to listen; 0 takes a free one.")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--secret",
    "references",
    multiple=True,
    metavar="env:NAME|file:PATH",
    help="Verify with it: whsec_…, whpk_… or whsk_…. May be given several times, as while one is rotated.",
)
@click.option("--forward", metavar="URL", help="POST what is taken to it, unchanged, and answer what it answers.")
@click.option("--fail-rate", type=Number(0, 1), help="The share that fails, evenly spread. 0, or 1 with --status.")
@click.option("--status", type=click.IntRange(200, 599), help="What is answered to those that fail.  [default: 503]")
@click.option("--delay", type=Number(0, 3600), default=0.0, help="Seconds before each answer.")
@click.option("--json", "as_json", is_flag=True, help="A line of JSON for each webhook, with the whole event.")
def listen(
    port: int,
    host: str,
    references: tuple[str, ...],
    forward: str | None,
    fail_rate: float | None,
    status: int | None,
    delay: float,
    as_json: bool,
) -> None:
    """Receive webhooks: verify and show what arrives, pass it on, and fail on demand.

    What can't be verified is answered with 401. Other webhooks are answered with 204, or what --forward's URL says.
    """
    from gateway.listening.answers import FAILED, Demands
    from gateway.listening.records import line_of
    from gateway.listening.run import receive
    from streams.delivery.errors import SecretError

    if forward is not None and not forward.startswith(("http://", "https://")):
        raise click.BadParameter("must be an http:// or https:// URL", param_hint="--forward")
    secrets = [_secret(reference) for reference in references]
    if fail_rate is None:
        fail_rate = 0.0 if status is None else 1.0
    demands = Demands(fail_rate, FAILED if status is None else status, delay, forward)

    def told(record: Record) -> None:
        click.echo(msgspec.json.encode(record) if as_json else line_of(record))

    def ready(url: str) -> None:
        how = "verifying nothing: no --secret"
        if secrets:
            how = f"verifying with {len(secrets)} {'secret' if len(secrets) == 1 else 'secrets'}"
        click.echo(f"listening on {url}, {how}", err=True)

    async def serve() -> None:
        task = asyncio.ensure_future(receive(host, port, secrets, demands, ready=ready, told=told))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()

    try:
        asyncio.run(serve())
    except SecretError as error:
        raise click.BadParameter(str(error), param_hint="--secret") from None
    except BrokenPipeError:
        # Who read the lines has enough. Python flushes what is left, which would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        raise click.ClickException(f"{host}:{port}: {error.strerror or error}") from None


def _secret(reference: str) -> str:
    try:
        msgspec.convert(reference, SecretRef)
    except msgspec.ValidationError:
        # It may be the secret itself, so it is not repeated.
        raise click.BadParameter("must be env:NAME or file:PATH", param_hint="--secret") from None
    try:
        return secret(reference, "--secret")
    except ConfigError as error:
        raise click.ClickException(str(error)) from None
