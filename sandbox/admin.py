"""The sandbox's own URLs under `/_sandbox/`: health, ledger, stats, traffic and faults. Plain JSON, no envelope."""

from collections.abc import Callable, Mapping

import msgspec

from sandbox.faults import FaultOrder, Faults
from sandbox.pbx import Pbx
from sandbox.replies import ApiError, to_json
from sandbox.routes import ROUTE_NAMES
from sandbox.stats import Stats

PREFIX = "/_sandbox/"

_Answer = Callable[[Mapping[str, str], bytes], bytes]


class _Traffic(msgspec.Struct):
    calls_per_minute: float


class Admin:
    """Answers the admin URLs. No authentication: the sandbox holds nothing that is real."""

    def __init__(self, pbx: Pbx, stats: Stats, faults: Faults) -> None:
        self._pbx = pbx
        self._stats = stats
        self._faults = faults
        self._urls: dict[str, dict[str, _Answer]] = {
            "health": {"GET": self._health},
            "ledger": {"GET": self._ledger},
            "stats": {"GET": self._get_stats},
            "traffic": {"GET": self._get_traffic, "PUT": self._put_traffic},
            "faults": {"GET": self._get_faults, "PUT": self._put_faults},
        }

    def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes) -> bytes:
        """The JSON answer; ApiError 404, 405, or 400 for a bad body or query."""
        methods = self._urls.get(path.removeprefix(PREFIX))
        if methods is None:
            raise ApiError(404, "no such URL")
        handler = methods.get(method)
        if handler is None:
            allowed = ", ".join(methods)
            raise ApiError(405, f"use {allowed}", {"Allow": allowed})
        try:
            return handler(query, body)
        except (msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
            raise ApiError(400, str(error)) from None

    def _health(self, query: Mapping[str, str], body: bytes) -> bytes:  # noqa: ARG002
        return to_json({"status": "ok", "now": self._pbx.now(), "accounts": self._pbx.accounts})

    def _ledger(self, query: Mapping[str, str], body: bytes) -> bytes:  # noqa: ARG002
        account = query.get("account")
        return to_json(self._pbx.ledger.records(None if account is None else int(account)))

    def _get_stats(self, query: Mapping[str, str], body: bytes) -> bytes:  # noqa: ARG002
        return to_json(self._stats.report())

    def _get_traffic(self, query: Mapping[str, str], body: bytes) -> bytes:  # noqa: ARG002
        return to_json(_Traffic(self._pbx.calls_per_minute))

    def _put_traffic(self, query: Mapping[str, str], body: bytes) -> bytes:
        self._pbx.set_rate(msgspec.json.decode(body, type=_Traffic).calls_per_minute)
        return self._get_traffic(query, body)

    def _get_faults(self, query: Mapping[str, str], body: bytes) -> bytes:  # noqa: ARG002
        return to_json(self._faults.waiting())

    def _put_faults(self, query: Mapping[str, str], body: bytes) -> bytes:
        order = msgspec.json.decode(body, type=FaultOrder)
        if order.account not in self._pbx.accounts:
            raise ValueError("no such account")
        if order.url not in ROUTE_NAMES:
            raise ValueError(f"url is one of {', '.join(sorted(ROUTE_NAMES))}")
        self._faults.order(order)
        return self._get_faults(query, body)
