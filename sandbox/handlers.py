"""What each URL of the RingCloud API answers, over the simulated PBX."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.pbx import Pbx, UnknownUserError
from sandbox.replies import ApiError, to_json

_NUMBER = re.compile(r"\+?\d{1,20}", re.ASCII)


@dataclass(slots=True)
class Ask:
    """A request that passed authentication and limits.

    `args` are the decoded variable parts of the path; `params` come from the body of a POST, and are empty for a GET.
    """

    account: int
    args: tuple[str, ...]
    query: Mapping[str, str]
    params: dict[str, Any]


# A handler returns the envelope's `data` as JSON, or raises ApiError.
Handler = Callable[[Pbx, Ask], bytes]


def active(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/active."""
    return pbx.active_json(ask.account)


def complete(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/complite and /v1/calls/complete: query `days` 1..7 and `num`."""
    days = ask.query.get("days", "7")
    if days not in ("1", "2", "3", "4", "5", "6", "7"):
        raise ApiError(400, "days is a number from 1 to 7")
    num = ask.query.get("num")
    if num is not None and _NUMBER.fullmatch(num) is None:
        raise ApiError(400, "num is a telephone number")
    return pbx.completed_json(ask.account, int(days), num)


def originate(pbx: Pbx, ask: Ask) -> bytes:
    """POST /v1/calls: params `user` and `num`."""
    user = _text(ask.params, "user")
    num = _text(ask.params, "num")
    if _NUMBER.fullmatch(num) is None:
        raise ApiError(400, "num is a telephone number")
    try:
        pbx.originate(ask.account, user, num)
    except UnknownUserError:
        raise ApiError(400, "no such user") from None
    return b"null"


def users(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/users."""
    return to_json(list(pbx.users(ask.account).values()))


def user(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/users/<username>."""
    found = pbx.users(ask.account).get(ask.args[0])
    if found is None:
        raise ApiError(400, "no such user")
    return to_json(found)


def channels(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/channels."""
    return to_json([leg.name for leg in pbx.channels(ask.account)])


def channel(pbx: Pbx, ask: Ask) -> bytes:
    """GET /v1/calls/channels/<channel>."""
    for leg in pbx.channels(ask.account):
        if leg.name == ask.args[0]:
            return to_json(
                {
                    "Channel": leg.name,
                    "CallerIDNum": leg.caller,
                    "CallerIDName": leg.caller,
                    "ConnectedLineNum": leg.connected,
                    "ConnectedLineName": leg.connected,
                    "Seconds": (pbx.now() - leg.since) // 1000,
                }
            )
    raise ApiError(404, "no such channel")


def _text(params: dict[str, Any], name: str) -> str:
    value = params.get(name)
    # JSON types are not documented, so a number is as good as its text.
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise ApiError(400, f"{name} is required")
    return value
