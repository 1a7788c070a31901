"""What is told of a webhook: as a line for people and as a line of JSON."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click
import msgspec

from gateway.listening.answers import Reply
from gateway.listening.server import Hook

# Ids that are remembered, so that another attempt is known for what it is; the oldest are forgotten.
_REMEMBERED = 100_000
# Characters of a text that are shown in a line.
_LONGEST = 80
_COLOURS = {"call.started": "cyan", "call.answered": "green", "call.ended": "white", "call.updated": "magenta"}


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook and what it was answered with. `verified` is null where there was no secret to verify with."""

    at: datetime
    webhook_id: str | None
    # How often this id came, this time included, and whether it was answered with 2xx before.
    attempt: int
    taken_before: bool
    verified: bool | None
    schemes: tuple[str, ...]
    reason: str | None
    type: str | None
    account: int | None
    src: str | None
    dst: str | None
    sequence: int | None
    status: int
    note: str
    # The body, where it is JSON.
    event: Any


class Recorder:
    """Makes records, and remembers what came before. Ids of what is refused are not remembered: anyone can send them."""

    def __init__(self) -> None:
        self._attempts: OrderedDict[str, tuple[int, bool]] = OrderedDict()

    def arrived(self, hook: Hook) -> tuple[int, bool]:
        """Count a webhook as it comes: which attempt it is, and whether one before it was answered with 2xx."""
        webhook_id = hook.headers.get("webhook-id")
        if hook.refusal is not None or webhook_id is None:
            return 1, False
        count, taken = self._attempts.pop(webhook_id, (0, False))
        self._attempts[webhook_id] = (count + 1, taken)
        if len(self._attempts) > _REMEMBERED:
            self._attempts.popitem(last=False)
        return count + 1, taken

    def answered(self, hook: Hook, attempt: tuple[int, bool], reply: Reply, *, verifying: bool) -> Record:
        """The record of a webhook that is answered; `attempt` is what `arrived` said of it."""
        webhook_id = hook.headers.get("webhook-id")
        if webhook_id is not None and webhook_id in self._attempts and 200 <= reply.response.status < 300:
            self._attempts[webhook_id] = (self._attempts[webhook_id][0], True)
        event = _json_of(hook.body)
        attributes = event if isinstance(event, Mapping) else {}
        data = attributes.get("data")
        data = data if isinstance(data, Mapping) else {}
        return Record(
            at=hook.at,
            webhook_id=webhook_id,
            attempt=attempt[0],
            taken_before=attempt[1],
            verified=(hook.refusal is None) if verifying else None,
            schemes=hook.schemes,
            reason=hook.refusal.reason if hook.refusal is not None else None,
            type=_text(attributes.get("type")),
            account=_number(data.get("account")),
            src=_text(data.get("src")),
            dst=_text(data.get("dst")),
            sequence=_number(data.get("sequence")),
            status=reply.response.status,
            note=reply.note,
            event=event,
        )


def line_of(record: Record) -> str:
    """A record as a line for a terminal, coloured, with the time of here; nothing in it controls the terminal."""
    kind = _shown(record.type)
    numbers = f"{_shown(record.src)} → {_shown(record.dst)}"
    parts = [
        click.style(record.at.astimezone().strftime("%H:%M:%S.%f")[:-3], dim=True),
        click.style(f"{kind:<14}", fg=_COLOURS.get(kind), bold=True),
        f"{_shown(record.account):>6}",
        f"{numbers:<32}",
        f"seq {_shown(record.sequence)}",
        click.style(_shown(record.webhook_id), dim=True),
        _verdict(record),
    ]
    if record.attempt > 1:
        again = f"attempt {record.attempt}" + (", though taken before" if record.taken_before else "")
        parts.append(click.style(again, fg="yellow"))
    answer = f"→ {record.status} {_shown(record.note)}"
    parts.append(click.style(answer, fg="green" if 200 <= record.status < 300 else "red"))
    return "  ".join(parts)


def _verdict(record: Record) -> str:
    if record.reason is not None:
        return click.style(f"NOT VERIFIED: {record.reason}", fg="red", bold=True)
    if record.verified is None:
        return click.style("not verified: no secret given", fg="yellow")
    return click.style(f"verified {' '.join(record.schemes)}", fg="green")


def _shown(value: object) -> str:
    text = "–" if value is None else str(value)
    text = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text[: _LONGEST + 1])
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _json_of(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
