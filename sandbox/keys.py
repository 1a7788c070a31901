"""`sandbox keys …`: makes, lists and revokes the API keys of a sandbox that runs."""

import asyncio
import json
from typing import Any
from urllib.parse import quote

import aiohttp
import click

_TIMEOUT = aiohttp.ClientTimeout(total=30)
_URL = click.option("--url", required=True, help="Where the sandbox listens, e.g. http://127.0.0.1:8000.")
_RIGHTS = click.Choice(["RO", "RW"])


@click.group("keys")
def keys_command() -> None:
    """API keys of a running sandbox. Each answer is JSON, one key a line."""


@keys_command.command("list")
@_URL
def list_keys(url: str) -> None:
    """Show every key and its rights, without its password."""
    for key in _ask("GET", url, "keys"):
        click.echo(json.dumps(key))


@keys_command.command()
@click.option("--account", type=int, required=True, help="An account that the sandbox has.")
@click.option("--users", type=_RIGHTS, default="RW", show_default=True, help="Rights for users.")
@click.option("--calls", type=_RIGHTS, default="RW", show_default=True, help="Rights for calls.")
@_URL
def create(account: int, users: str, calls: str, url: str) -> None:
    """Make a key; its password is shown this once."""
    click.echo(json.dumps(_ask("POST", url, "keys", {"account": account, "users": users, "calls": calls})))


@keys_command.command()
@click.argument("key")
@_URL
def regenerate(key: str, url: str) -> None:
    """Give KEY another password, and show it this once."""
    click.echo(json.dumps(_ask("POST", url, f"keys/{quote(key, safe='')}/password")))


@keys_command.command()
@click.argument("key")
@_URL
def revoke(key: str, url: str) -> None:
    """Forget KEY: who asks with it is refused."""
    _ask("DELETE", url, f"keys/{quote(key, safe='')}")


def _ask(method: str, url: str, what: str, body: dict[str, Any] | None = None) -> Any:
    return asyncio.run(_request(method, f"{url.rstrip('/')}/_sandbox/{what}", body))


async def _request(method: str, url: str, body: dict[str, Any] | None) -> Any:
    try:
        async with (
            aiohttp.ClientSession(timeout=_TIMEOUT) as session,
            session.request(method, url, json=body) as response,
        ):
            answer = json.loads(await response.read())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise click.ClickException(f"no sandbox answers at {url}: {error or type(error).__name__}") from None
    if response.status != 200:
        raise click.ClickException(answer["error"])
    return answer
