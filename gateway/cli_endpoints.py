"""`ringcloud-gateway endpoints …`: endpoints that are declared at run time, by way of the admin API."""

from __future__ import annotations

from typing import IO, Any

import click
import msgspec

from gateway.cli_api import Api, Json, asking, columns, segment, show

_ENDPOINT = click.argument("endpoint", metavar="ID")


@click.group()
def endpoints() -> None:
    """Declare endpoints at run time, and see how they stand. Asks the admin API."""


@endpoints.command("list")
@asking
def list_(api: Api, as_json: bool) -> None:
    """All endpoints: id, state, where it is declared, URL."""
    for one in api.pages("/v1/endpoints", {}, 1_000_000):
        show(as_json, one, _line)


@endpoints.command("show")
@_ENDPOINT
@asking
def show_(api: Api, as_json: bool, endpoint: str) -> None:
    """One endpoint, whole."""
    show(as_json, api.ask("GET", _path(endpoint)), _whole)


@endpoints.command()
@_ENDPOINT
@click.argument("declaration", type=click.File("rb"), metavar="FILE")
@click.option("--start-from", metavar="TIME", help="Of a new one: send it the matching events since then (RFC 3339).")
@asking
def put(api: Api, as_json: bool, endpoint: str, declaration: IO[bytes], start_from: str | None) -> None:
    """Declare ID as the JSON or TOML in FILE (-: standard input) has it, or declare it anew.

    A new one without secrets gets one, which is shown this once.
    """
    given = {**_read(declaration), "id": endpoint}
    if "secrets" in given and start_from is None:
        show(as_json, api.ask("PUT", _path(endpoint), body=given), _line)
        return
    if start_from is not None:
        given["start_from"] = start_from
    show(as_json, api.ask("POST", "/v1/endpoints", body=given), _created)


@endpoints.command()
@_ENDPOINT
@asking
def remove(api: Api, as_json: bool, endpoint: str) -> None:  # noqa: ARG001 - there is nothing to show
    """Withdraw ID: what is still to be delivered to it becomes dead letters."""
    api.ask("DELETE", _path(endpoint))


@endpoints.command()
@_ENDPOINT
@asking
def pause(api: Api, as_json: bool, endpoint: str) -> None:
    """Deliver nothing to ID for now: what comes waits."""
    show(as_json, api.ask("POST", f"{_path(endpoint)}/pause"), _line)


@endpoints.command()
@_ENDPOINT
@asking
def enable(api: Api, as_json: bool, endpoint: str) -> None:
    """Deliver to ID again."""
    show(as_json, api.ask("POST", f"{_path(endpoint)}/enable"), _line)


@endpoints.command()
@_ENDPOINT
@asking
def disable(api: Api, as_json: bool, endpoint: str) -> None:
    """Deliver nothing to ID: what comes becomes dead letters."""
    show(as_json, api.ask("POST", f"{_path(endpoint)}/disable"), _line)


@endpoints.command()
@_ENDPOINT
@click.option("--secret", metavar="env:NAME|file:PATH", help="The new one; without it the gateway makes one.")
@click.option("--overlap", type=click.IntRange(0, 604_800), default=86_400, show_default=True, help="In seconds.")
@asking
def rotate(api: Api, as_json: bool, endpoint: str, secret: str | None, overlap: int) -> None:
    """Sign with a new secret, and with the old ones for a while yet."""
    body = {"secret": secret, "overlap": overlap}
    show(as_json, api.ask("POST", f"{_path(endpoint)}/rotate", body=body), _created)


@endpoints.command()
@_ENDPOINT
@asking
def test(api: Api, as_json: bool, endpoint: str) -> None:
    """Send a sample event to ID. `deliveries show` tells what becomes of it."""
    show(as_json, api.ask("POST", f"{_path(endpoint)}/test"), lambda one: str(one["delivery"]))


def _path(endpoint: str) -> str:
    return f"/v1/endpoints/{segment(endpoint)}"


def _read(declaration: IO[bytes]) -> Json:
    raw = declaration.read()
    try:
        found: Any = msgspec.json.decode(raw) if raw.lstrip()[:1] == b"{" else msgspec.toml.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{declaration.name}: neither JSON nor TOML: {error}") from None
    return msgspec.to_builtins(found)  # type: ignore[no-any-return] # of a table


def _line(one: Json) -> str:
    return columns((one["id"], 24), (one["state"], 8), (one["source"], 5), (one["endpoint"]["url"], 0))


def _created(one: Json) -> str:
    made = f"\nsecret, shown this once: {one['secret']}" if one.get("secret") else ""
    begun = f"\nreplay: {one['replay']}" if one.get("replay") else ""
    return f"{_line(one)}{made}{begun}"


def _whole(one: Json) -> str:
    return msgspec.json.format(msgspec.json.encode(one)).decode()
