"""`ringcloud-gateway deliveries|dlq|replay …`: what was delivered, what was not, and delivering again, by the admin API."""

from __future__ import annotations

import time
from typing import Any

import click
import msgspec

from gateway.cli_api import Api, Json, asking, columns, segment, show
from gateway.cli_numbers import Number

_LOOK = 0.3  # seconds between looks at a replay
_LIMIT = click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
_SINCE = click.option("--since", metavar="TIME", help="Nothing before it (RFC 3339, as 2026-11-25T10:00:00Z).")
_RATE = click.option("--rate", type=Number(0.1, 10_000), default=50, show_default=True, help="A second.")
_OUTCOMES = ["delivered", "refused", "failed", "timeout", "unreachable", "blocked"]


@click.group()
def deliveries() -> None:
    """What was attempted, and what became of it. Asks the admin API."""


@deliveries.command("list")
@click.option("--endpoint", help="At this endpoint.")
@click.option("--event", help="Of this event.")
@click.option("--call", help="Of this call's events.")
@click.option("--outcome", type=click.Choice(_OUTCOMES))
@_SINCE
@_LIMIT
@asking
def list_attempts(api: Api, as_json: bool, limit: int, **query: Any) -> None:
    """Attempts, newest first: when, outcome, status, which of the delivery's, seconds, delivery."""
    for one in api.pages("/v1/attempts", query, limit):
        show(as_json, one, _attempt)


@deliveries.command("show")
@click.argument("delivery", metavar="ID")
@asking
def show_delivery(api: Api, as_json: bool, delivery: str) -> None:
    """One delivery: its state, its attempts, and whether it was given up."""
    show(as_json, api.ask("GET", f"/v1/deliveries/{segment(delivery)}"), _delivery)


@click.group()
def dlq() -> None:
    """Deliveries that were given up. Asks the admin API."""


@dlq.command("list")
@click.option("--endpoint", help="Of this endpoint.")
@click.option("--reason", help="Whose reason contains this.")
@_SINCE
@_LIMIT
@asking
def list_dead_letters(api: Api, as_json: bool, limit: int, **query: Any) -> None:
    """Dead letters, newest first: when, delivery, attempts, why."""
    for one in api.pages("/v1/dead-letters", query, limit):
        show(as_json, one, _dead_letter)


@dlq.command("replay")
@click.option("--endpoint", help="All of this endpoint.")
@click.option("--delivery", help="This one.")
@click.option("--reason", help="Those whose reason contains this.")
@_SINCE
@click.option("--until", metavar="TIME", help="Those given up before it.")
@_RATE
@asking
def replay_dead_letters(
    api: Api,
    as_json: bool,
    endpoint: str | None,
    delivery: str | None,
    rate: float,
    **narrowed: str | None,
) -> None:
    """Deliver again what was given up, each under its own webhook-id."""
    if (endpoint is None) == (delivery is None):
        raise click.UsageError("needs either --endpoint or --delivery")
    if delivery is not None:
        if any(narrowed.values()):
            raise click.UsageError("--reason, --since and --until go with --endpoint")
        _follow(api, as_json, {"kind": "delivery", "delivery": delivery, "rate": rate})
    else:
        _follow(api, as_json, {"kind": "dead_letters", "endpoint": endpoint, "rate": rate, **narrowed})


@click.command()
@click.option("--endpoint", required=True, help="To this endpoint, as its filters are now.")
@_SINCE
@click.option(
    "--offset",
    "offsets",
    multiple=True,
    metavar="PARTITION:OFFSET",
    help="In place of --since: where to begin in a partition of the calls topic. Several; the others are not read.",
)
@click.option("--until", metavar="TIME", help="Nothing from then on; without it, up to now.")
@click.option("--event", "events", multiple=True, help="Events of this type only. Several.")
@click.option("--account", "accounts", type=int, multiple=True, help="Of this account only. Several.")
@_RATE
@asking
def replay(
    api: Api,
    as_json: bool,
    endpoint: str,
    since: str | None,
    offsets: tuple[str, ...],
    until: str | None,
    events: tuple[str, ...],
    accounts: tuple[int, ...],
    rate: float,
) -> None:
    """Send call events once more, from a time or from offsets on, and follow that. Ctrl-C cancels it."""
    if (since is None) != bool(offsets):
        raise click.UsageError("needs either --since or --offset")
    asked: Json = {"kind": "events", "endpoint": endpoint, "since": since, "until": until, "rate": rate}
    asked |= {"events": events, "accounts": accounts}
    if offsets:
        asked["offsets"] = dict(_offset(one) for one in offsets)
    _follow(api, as_json, asked)


def _offset(text: str) -> tuple[str, int]:
    partition, _, offset = text.partition(":")
    if not (partition.isascii() and partition.isdigit() and offset.isascii() and offset.isdigit()):
        raise click.UsageError(f"--offset is PARTITION:OFFSET, not {text}")
    return partition, int(offset)


def _follow(api: Api, as_json: bool, asked: Json) -> None:
    """Begin a replay and follow it to its end; exit 1 where that is no good one."""
    job = api.ask("POST", "/v1/replays", body=asked)
    path = f"/v1/replays/{segment(job['id'])}"
    try:
        if as_json:
            while job["state"] == "running":
                click.echo(msgspec.json.encode(job))
                time.sleep(_LOOK)
                job = api.ask("GET", path)
        else:
            job = _with_bar(api, job, path)
    except KeyboardInterrupt:
        job = api.ask("DELETE", path)
    show(as_json, job, _ended)
    if job["state"] != "done":
        raise SystemExit(1)


def _with_bar(api: Api, job: Json, path: str) -> Json:
    while job["state"] == "running" and job["total"] is None:
        time.sleep(_LOOK)
        job = api.ask("GET", path)
    # On stderr, as what is no result.
    with click.progressbar(length=job["total"] or 0, file=click.get_text_stream("stderr")) as bar:
        seen = 0
        while True:
            bar.label = f"replay {job['id'][:8]}: {job['resent']} resent"
            bar.update(job["done"] - seen)
            seen = job["done"]
            if job["state"] != "running":
                return job
            time.sleep(_LOOK)
            job = api.ask("GET", path)


def _ended(job: Json) -> str:
    skipped = f", {job['skipped']} skipped" if job["skipped"] else ""
    why = f": {job['error']}" if job["error"] else ""
    return f"replay {job['id']} {job['state']}{why}: {job['resent']} resent{skipped}, {job['done']} records read"


def _attempt(one: Json) -> str:
    return columns(
        (one["at"][:19] + "Z", 20),
        (one["outcome"], 11),
        (one["status"], 4),
        (one["number"], 3),
        (f"{one['duration']:.3f}", 7),
        (one["delivery"], 0),
    )


def _dead_letter(one: Json) -> str:
    return columns((one["at"][:19] + "Z", 20), (one["delivery"], 40), (one["attempts"], 3), (one["reason"], 0))


def _delivery(one: Json) -> str:
    lines = [f"{one['id']}  {one['state'].replace('_', ' ')}"]
    if one["given_up"]:
        lines.append(f"given up {one['given_up']['at'][:19]}Z: {one['given_up']['reason']}")
    return "\n".join([*lines, *map(_attempt, one["attempts"])])
