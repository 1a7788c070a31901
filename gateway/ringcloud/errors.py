"""Every error of the RingCloud client.

RingCloudError
├── DeadlineExceeded          never sent: the limiter had no slot before the deadline
├── TransportError            no answer: timeout, no connection, a broken one
├── ResponseTooLarge          an answer larger than is read
├── StatusError               an answer whose HTTP status is not 200
│   ├── BadParameters         400
│   ├── AuthenticationError   403 (401 too)
│   ├── NotFound              404
│   ├── MethodNotAllowed      405
│   ├── RateLimited           429
│   ├── ServerError           5xx
│   └── UnexpectedStatus      any other
└── EnvelopeError             HTTP 200, but not a valid success
    └── RowError              a row that cannot be read
"""

from __future__ import annotations


class RingCloudError(Exception):
    """The RingCloud API could not be used.

    `status` is the HTTP status where there was an answer, `url` the URL without its query, `message` the reason in
    words. None of them, and so not `str()` either, ever holds the API key, the hash or a password.
    """

    # Whether what was asked may have been done at RingCloud all the same. The answer for errors of a kind; an error
    # that knows better overrides it.
    maybe_done: bool = True

    def __init__(self, message: str = "", *, status: int | None = None, url: str = "") -> None:
        self.message = message or (type(self).__doc__ or "").partition("\n")[0]
        self.status = status
        self.url = url
        super().__init__(self.message)

    def __str__(self) -> str:
        return ": ".join(str(part) for part in (self.url, self.status, self.message) if part)


class DeadlineExceeded(RingCloudError):
    """No slot was free before the deadline; nothing was sent."""

    maybe_done = False


class TransportError(RingCloudError):
    """No whole answer came.

    `maybe_sent` is False only where it is certain that not a byte of the request reached the server: there never was
    a connection for it.
    """

    def __init__(self, message: str = "", *, maybe_sent: bool = True, status: int | None = None, url: str = "") -> None:
        super().__init__(message, status=status, url=url)
        self.maybe_sent = maybe_sent
        self.maybe_done = maybe_sent


class ResponseTooLarge(RingCloudError):
    """The answer is larger than the limit; the rest of it was not read."""

    def __init__(self, limit: int, *, status: int | None = None, url: str = "") -> None:
        super().__init__(f"the answer is larger than {limit} bytes", status=status, url=url)
        self.limit = limit


class StatusError(RingCloudError):
    """An answer whose HTTP status is not 200."""


class BadParameters(StatusError):
    """The parameters are wrong, or a user does not exist."""

    maybe_done = False


class AuthenticationError(StatusError):
    """The key or the hash is wrong, or the key's rights do not allow this."""

    maybe_done = False


class NotFound(StatusError):
    """There is no such URL or file."""

    maybe_done = False


class MethodNotAllowed(StatusError):
    """GET where POST is meant, or the other way round."""

    maybe_done = False


class RateLimited(StatusError):
    """Too many requests.

    `retry_after` is in how many seconds the limiter lets the next request to this URL go, or None where no limiter
    was asked.
    """

    maybe_done = False

    def __init__(
        self, message: str = "", *, retry_after: float | None = None, status: int | None = 429, url: str = ""
    ) -> None:
        super().__init__(message, status=status, url=url)
        self.retry_after = retry_after


class ServerError(StatusError):
    """RingCloud failed."""


class UnexpectedStatus(StatusError):
    """A status that the API does not document."""


class EnvelopeError(RingCloudError):
    """HTTP 200, but the body is not a valid success."""


class RowError(EnvelopeError):
    """A row that cannot be read.

    `row` is its index in the answer's list, `field` the name of what is wrong in it (None: the row as a whole).
    """

    def __init__(self, row: int, field: str | None, reason: str, *, status: int | None = 200, url: str = "") -> None:
        where = f"row {row}" if field is None else f"row {row}, {field}"
        super().__init__(f"{where}: {reason}", status=status, url=url)
        self.row = row
        self.field = field


_BY_STATUS: dict[int, type[StatusError]] = {
    400: BadParameters,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFound,
    405: MethodNotAllowed,
    429: RateLimited,
}


def error_of_status(status: int, message: str = "", *, url: str = "") -> StatusError:
    """The error that an HTTP status other than 200 means; `message` is RingCloud's own, where it gave one."""
    kind = _BY_STATUS.get(status, ServerError if 500 <= status <= 599 else UnexpectedStatus)
    return kind(message, status=status, url=url)
