"""The sandbox's own URLs under `/_sandbox/`: JSON without an envelope, and the ledger as JSON lines."""

from collections.abc import Mapping
from urllib.parse import unquote

import msgspec

from sandbox.auth import NEW_KEY_BYTES, Keyring, UnknownKeyError
from sandbox.clock import Clock
from sandbox.controls import AdminAnswer, AdminAsk, AdminReply, Controls
from sandbox.faults import ANY_URL, FaultOrder, FaultRule, Faults
from sandbox.pbx import Pbx
from sandbox.replies import ApiError, to_json
from sandbox.routes import ROUTE_NAMES
from sandbox.settings import Rights

PREFIX = "/_sandbox/"
# How many random bytes a change may use.
DRAWN_BYTES = NEW_KEY_BYTES


class _Traffic(msgspec.Struct):
    calls_per_minute: float


class _KeyOrder(msgspec.Struct):
    account: int
    users: Rights = "RW"
    calls: Rights = "RW"


class Admin:
    """Answers the admin URLs. No authentication: the sandbox holds nothing that is real."""

    def __init__(self, pbx: Pbx, faults: Faults, keyring: Keyring, clock: Clock) -> None:
        self._pbx = pbx
        self._faults = faults
        self._keyring = keyring
        controls = Controls(pbx, clock)
        self._known = controls.known
        # By template; `*` stands for one variable part.
        self._urls: dict[str, dict[str, AdminAnswer]] = {
            "health": {"GET": self._health},
            "ledger": {"GET": self._ledger},
            "traffic": {"GET": self._get_traffic, "PUT": self._put_traffic},
            "faults": {"GET": self._get_faults, "PUT": self._put_faults},
            "fault-rules": {"GET": self._get_rules, "PUT": self._put_rules},
            "keys": {"GET": self._get_keys, "POST": self._create_key},
            "keys/*": {"DELETE": self._revoke_key},
            "keys/*/password": {"POST": self._regenerate_key},
            **controls.urls,
        }

    def has(self, method: str, path: str) -> bool:
        """Whether there is such a URL with this method; `path` is as sent."""
        try:
            return method in self._find(path.removeprefix(PREFIX))[0]
        except ApiError:
            return False

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes, drawn: bytes) -> AdminReply:
        """The JSON answer; `path` is as sent, `drawn` are the random bytes that a change may use.

        ApiError 404, 405, or 400 for a bad body or query.
        """
        methods, args = self._find(path.removeprefix(PREFIX))
        handler = methods.get(method)
        if handler is None:
            allowed = ", ".join(methods)
            raise ApiError(405, f"use {allowed}", {"Allow": allowed})
        try:
            answer = handler(AdminAsk(args, query, body, drawn))
        except UnknownKeyError:
            raise ApiError(404, "no such key") from None
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
            raise ApiError(400, str(error)) from None
        return AdminReply(answer) if isinstance(answer, bytes) else answer

    def _find(self, path: str) -> tuple[dict[str, AdminAnswer], tuple[str, ...]]:
        parts = path.split("/")
        for template, methods in self._urls.items():
            wanted = template.split("/")
            if len(wanted) == len(parts) and all(
                part if want == "*" else want == part for want, part in zip(wanted, parts, strict=True)
            ):
                return methods, tuple(unquote(part) for want, part in zip(wanted, parts, strict=True) if want == "*")
        raise ApiError(404, "no such URL")

    def _health(self, _: AdminAsk) -> bytes:
        return to_json({"status": "ok", "now": self._pbx.now(), "accounts": self._pbx.accounts})

    def _ledger(self, ask: AdminAsk) -> bytes | AdminReply:
        asked, form = ask.query.get("account"), ask.query.get("format", "json")
        account = None if asked is None else int(asked)
        if form == "jsonl":
            return AdminReply(self._pbx.ledger.jsonl(account), "application/x-ndjson")
        if form != "json":
            raise ValueError("format is json or jsonl")
        return to_json(self._pbx.ledger.records(account))

    def _get_traffic(self, _: AdminAsk) -> bytes:
        return to_json(_Traffic(self._pbx.calls_per_minute))

    def _put_traffic(self, ask: AdminAsk) -> bytes:
        self._pbx.set_rate(msgspec.json.decode(ask.body, type=_Traffic).calls_per_minute)
        return self._get_traffic(ask)

    def _get_faults(self, _: AdminAsk) -> bytes:
        return to_json(self._faults.waiting())

    def _put_faults(self, ask: AdminAsk) -> bytes:
        order = msgspec.json.decode(ask.body, type=FaultOrder)
        self._known(order.account)
        if order.url not in ROUTE_NAMES:
            raise ValueError(f"url is one of {', '.join(sorted(ROUTE_NAMES))}")
        self._faults.order(order)
        return self._get_faults(ask)

    def _get_rules(self, _: AdminAsk) -> bytes:
        return to_json(self._faults.rules())

    def _put_rules(self, ask: AdminAsk) -> bytes:
        rules = msgspec.json.decode(ask.body, type=list[FaultRule])
        for rule in rules:
            self._known(rule.account)
            if rule.url != ANY_URL and rule.url not in ROUTE_NAMES:
                raise ValueError(f"url is {ANY_URL} or one of {', '.join(sorted(ROUTE_NAMES))}")
        self._faults.set_rules(rules)
        return self._get_rules(ask)

    def _get_keys(self, _: AdminAsk) -> bytes:
        return to_json(self._keyring.keys())

    def _create_key(self, ask: AdminAsk) -> bytes:
        order = msgspec.json.decode(ask.body, type=_KeyOrder)
        return to_json(self._keyring.create(self._known(order.account), order.users, order.calls, ask.drawn))

    def _revoke_key(self, ask: AdminAsk) -> bytes:
        self._keyring.revoke(ask.args[0])
        return self._get_keys(ask)

    def _regenerate_key(self, ask: AdminAsk) -> bytes:
        return to_json(self._keyring.regenerate(ask.args[0], ask.drawn))
