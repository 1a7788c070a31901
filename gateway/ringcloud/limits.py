"""The API's URLs and how often each may be asked, as RingCloud announces it."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote

from gateway.ringcloud.errors import BadParameters


class Operation(NamedTuple):
    """One URL of the API: `{}` stands for a name in its path, `interval` is the least seconds between two requests.

    The interval holds for each completely identical URL (two users' URLs do not disturb each other) and each key.
    """

    method: str
    template: str
    interval: float

    def path(self, *names: str) -> str:
        """The path with `names` percent-encoded into it, `/` included.

        Raises BadParameters for a name that no path can carry (empty, `.` or `..`).
        """
        for name in names:
            if name in ("", ".", ".."):
                raise BadParameters(f"{name!r} cannot be a part of a URL", url=self.template)
        return self.template.format(*(quote(name, safe="") for name in names))


USERS: Final = Operation("GET", "/v1/users", 1.0)
USER: Final = Operation("GET", "/v1/users/{}", 1.0)
UPDATE_PASSWORD: Final = Operation("POST", "/v1/users/{}/update_password", 1.0)
UPDATE_EXTENSION_NUMBER: Final = Operation("POST", "/v1/users/{}/update_extension_number", 5.0)
UPDATE_EMAIL: Final = Operation("POST", "/v1/users/{}/update_email", 5.0)
VOICE_MAIL_BOX_ON: Final = Operation("POST", "/v1/users/{}/voice_mail_box_on", 5.0)
VOICE_MAIL_BOX_OFF: Final = Operation("POST", "/v1/users/{}/voice_mail_box_off", 5.0)
CREATE_USER: Final = Operation("POST", "/v1/users/create", 60.0)
RECORDS: Final = Operation("GET", "/v1/users/{}/records", 5.0)
RECORD: Final = Operation("GET", "/v1/users/{}/records/{}", 1.0)
CHANNELS: Final = Operation("GET", "/v1/calls/channels", 2.0)
CHANNEL: Final = Operation("GET", "/v1/calls/channels/{}", 2.0)
ORIGINATE: Final = Operation("POST", "/v1/calls", 5.0)
ACTIVE: Final = Operation("GET", "/v1/calls/active", 5.0)
# The announcement spells it `complite`; later clients ask for `complete`. Both exist.
COMPLITE: Final = Operation("GET", "/v1/calls/complite", 5.0)
COMPLETE: Final = Operation("GET", "/v1/calls/complete", 5.0)
# These two have no announced limit: the one that most URLs have is kept.
BALANCE: Final = Operation("GET", "/v1/accounts/{}/balance", 5.0)
PHONE_NUMBER: Final = Operation("GET", "/v1/phone_numbers/{}", 5.0)

OPERATIONS: Final[tuple[Operation, ...]] = (
    USERS,
    USER,
    UPDATE_PASSWORD,
    UPDATE_EXTENSION_NUMBER,
    UPDATE_EMAIL,
    VOICE_MAIL_BOX_ON,
    VOICE_MAIL_BOX_OFF,
    CREATE_USER,
    RECORDS,
    RECORD,
    CHANNELS,
    CHANNEL,
    ORIGINATE,
    ACTIVE,
    COMPLITE,
    COMPLETE,
    BALANCE,
    PHONE_NUMBER,
)


def operation_of(method: str, path: str) -> Operation | None:
    """The operation that a request's method and path belong to, or None: what metrics label a lane with.

    A fixed part of a path goes before a name, so `/v1/users/create` is never a user called `create`.
    """
    parts = path.split("/")
    found: Operation | None = None
    for operation in OPERATIONS:
        wanted = operation.template.split("/")
        fits = (
            operation.method == method
            and len(wanted) == len(parts)
            and all(want in ("{}", part) for want, part in zip(wanted, parts, strict=True))
        )
        if fits and (found is None or operation.template.count("{}") < found.template.count("{}")):
            found = operation
    return found
