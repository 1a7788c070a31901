"""All of a sandbox that changes: PBX, keys and faults. The same changes at the same times make the same machine."""

import contextlib
from typing import Any, NamedTuple

import msgspec

from sandbox.admin import PREFIX, Admin
from sandbox.auth import Keyring
from sandbox.clock import Clock
from sandbox.faults import FaultKind, Faults, Trouble
from sandbox.handlers import Ask
from sandbox.pbx import Pbx
from sandbox.replies import ApiError, failure, success
from sandbox.routes import Route, Router
from sandbox.settings import SandboxSettings

_HTML = b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><h1>502 Bad Gateway</h1></body>\r\n</html>\r\n"


class Change(msgspec.Struct, frozen=True, array_like=True):
    """A request that changes the machine, with all that its outcome depends on but the time.

    `path` is as sent, `drawn` random bytes for what the request generates. `account` is that of the key; an admin
    request has 0.
    """

    account: int
    method: str
    path: bytes
    body: bytes
    drawn: bytes = b""


class Served(NamedTuple):
    """What is answered, and what befalls the answer on its way."""

    status: int
    body: bytes
    headers: dict[str, str] | None = None
    content_type: str = "application/json"
    trouble: Trouble = Trouble(None)


class Machine:
    """One sandbox's PBX, keys and faults, by `clock`; deterministic, as the PBX is."""

    def __init__(self, settings: SandboxSettings, clock: Clock, router: Router) -> None:
        self.pbx = Pbx(settings, clock)
        self.keyring = Keyring(settings.keys)
        self.faults = Faults(clock, settings.seed)
        self.admin = Admin(self.pbx, self.faults, self.keyring, clock)
        self._router = router

    def serve(self, route: Route, ask: Ask) -> Served:
        """Answer a request that passed key and limit, badly when a fault waits for it."""
        trouble = self.faults.take(ask.account, route.name)
        kind = "audio/wav" if route.bare else "application/json"
        if trouble.kind not in (None, "truncated"):
            status, body = _misbehaved(trouble.kind, route)
            return Served(status, body, None, "text/html" if trouble.kind == "html200" else kind, trouble)
        try:
            data = route.handler(self.pbx, ask)
        except ApiError as error:
            return Served(error.status, failure(error.message), error.headers, kind, trouble)
        return Served(200, data if route.bare else success(data), None, kind, trouble)

    def repeat(self, change: Change) -> None:
        """Make a change that another node has answered for."""
        path = change.path.decode(errors="surrogateescape")
        # A request that was refused is refused here as well.
        with contextlib.suppress(ApiError):
            if path.startswith(PREFIX):
                self.admin.answer(change.method, path, {}, change.body, change.drawn)
                return
            match = self._router.find(change.method, path)
            if change.method == "POST":
                self.serve(match.route, Ask(change.account, match.args, {}, read_params(match.route, change.body)))
            else:
                # Its answer is nobody's here; only the fault that it used up is missed.
                self.faults.take(change.account, match.route.name)


def read_params(route: Route, body: bytes) -> dict[str, Any]:
    """The `params` that the body of a request brings; ApiError 400 when it has another form."""
    if not body and not route.params:
        return {}
    try:
        decoded = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ApiError(400, "the body is not JSON") from None
    params = decoded.get("params") if isinstance(decoded, dict) else None
    if not isinstance(params, dict):
        raise ApiError(400, 'the body has the form {"params": {...}}')
    return params


def _misbehaved(fault: FaultKind | None, route: Route) -> tuple[int, bytes]:
    if fault == "error500":
        return 500, failure("internal error")
    if fault == "error429":
        return 429, failure("too many requests")
    if fault == "html200":
        return 200, _HTML
    if fault == "empty_list":
        empty = b"[]" if route.listing else b"null"
        return 200, b"" if route.bare else success(empty)
    return 200, b""
