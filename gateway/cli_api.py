"""How the command line asks the admin API: where it is, who asks, and what is shown of its answers and problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any, TypeVar
from urllib.parse import quote

import click
import httpx
import msgspec

from gateway.config import ConfigError, secret

Command = TypeVar("Command", bound=Callable[..., Any])
Json = dict[str, Any]

_TIMEOUT = 60.0  # seconds; a page that is looked for in a long log takes a while


class Api:
    """The admin API, as whoever holds a token."""

    def __init__(self, url: str, token: str) -> None:
        """Take its URL, and a reference to the token."""
        try:
            bearer = secret(token, "--token")
        except ConfigError as error:
            raise click.ClickException(str(error)) from None
        if not bearer.isascii():
            raise click.ClickException("--token: is not ASCII")
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {bearer}"}, timeout=_TIMEOUT, trust_env=False
        )

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def ask(self, method: str, path: str, *, body: Any = None, query: Json | None = None) -> Any:
        """The answer as JSON; None where there is nothing in it. Raises ClickException with what the problem says."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            answer = self._client.request(method, path, json=body, params=given)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise click.ClickException(f"the API at {self._client.base_url}: {error or type(error).__name__}") from None
        try:
            found = msgspec.json.decode(answer.content) if answer.content else None
        except msgspec.DecodeError:
            found = answer.text[:200]
        if answer.is_success:
            return found
        if not isinstance(found, dict) or "detail" not in found:
            raise click.ClickException(f"{answer.status_code} from {answer.url}: {found or answer.reason_phrase}")
        where = f"{found['field']}: " if found.get("field") else ""
        raise click.ClickException(f"{where}{found['detail']} ({found.get('title', answer.status_code)})")

    def pages(self, path: str, query: Json, limit: int) -> Iterator[Json]:
        """`limit` items of a list at most, page by page."""
        cursor = None
        while limit > 0:
            page = self.ask("GET", path, query={**query, "limit": min(limit, 200), "cursor": cursor})
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page["next"]
            if cursor is None:
                return


def asking(command: Command) -> Command:
    """Give a command `--api`, `--token` and `--json`, and an `api` and `as_json` for its first arguments."""

    @click.option(
        "--api",
        "url",
        envvar="RINGCLOUD_GATEWAY_API",
        default="http://127.0.0.1:9466",
        show_default=True,
        show_envvar=True,
        help="Where the admin API is.",
    )
    @click.option(
        "--token",
        envvar="RINGCLOUD_GATEWAY_TOKEN",
        default="env:RINGCLOUD_API_TOKEN",
        show_default=True,
        show_envvar=True,
        metavar="env:NAME|file:PATH",
        help="Where the token is.",
    )
    @click.option("--json", "as_json", is_flag=True, help="A line of JSON for each thing.")
    def run(url: str, token: str, as_json: bool, **given: Any) -> Any:
        if not token.startswith(("env:", "file:")):
            # Not repeated: it may be the token itself.
            raise click.UsageError("--token must be env:NAME or file:PATH")
        with closing(Api(url, token)) as api:
            return command(api, as_json, **given)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    # What click's decorators above the command have noted.
    run.__click_params__ = [*getattr(command, "__click_params__", []), *getattr(run, "__click_params__", [])]  # type: ignore[attr-defined]
    return run  # type: ignore[return-value]


def show(as_json: bool, one: Json, line: Callable[[Json], str]) -> None:
    """Print a thing: as a line of JSON, or as `line` has it for people."""
    click.echo(msgspec.json.encode(one) if as_json else line(one))


def segment(text: str) -> str:
    """A part of a path."""
    return quote(text, safe="")


def columns(*cells: tuple[Any, int]) -> str:
    """Cells of these widths in a line; `-` for what is null."""
    return "  ".join(("-" if cell is None else str(cell)).ljust(width) for cell, width in cells).rstrip()
