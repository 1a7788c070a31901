"""How an endpoint may be reached: what its declaration may say of URL, TLS and headers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

import msgspec

if TYPE_CHECKING:
    from gateway.contract.endpoints import Endpoint

FileRef = Annotated[str, msgspec.Meta(pattern=r"^file:[^\x00]+$(?!\n)")]
Headers = Annotated[
    dict[str, str],
    msgspec.Meta(
        max_length=32,
        description="Headers that every webhook carries besides its own; a value may be env:NAME or file:PATH",
    ),
]

# What frames a request, what the connection needs, what traces are joined by, and what says that a webhook is ours.
_RESERVED = frozenset(
    (
        *("accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host"),
        *("keep-alive", "te", "traceparent", "trailer", "transfer-encoding", "upgrade"),
    )
)
_RESERVED_PREFIXES = ("webhook-", "proxy-")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # a token of RFC 9110
_VALUE = re.compile(r"[!-~](?:[\t -~]{0,4094}[!-~])?")
_REFERENCE = re.compile(r"env:[A-Za-z_][A-Za-z0-9_]*|file:[^\x00\n]+")


def reach_fault(endpoint: Endpoint, *, allow_http: bool) -> tuple[str, str] | None:
    """What is wrong with how `endpoint` is to be reached: the field and why; None if nothing is.

    `allow_http` is `delivery.allow_http`. No value of a header is in the text.
    """
    if why := _url_fault(endpoint.url, allow_http=allow_http):
        return "url", why
    if not endpoint.url.startswith("https:"):
        for field in ("ca", "client_certificate", "client_key"):
            if getattr(endpoint, field) is not None:
                return field, "is of no use: url is no https:// URL"
    if endpoint.client_key is not None and endpoint.client_certificate is None:
        return "client_key", "is of no use without client_certificate"
    return _headers_fault(endpoint.headers, has_credentials="@" in urlsplit(endpoint.url).netloc)


def is_reference(value: str) -> bool:
    """Whether a header's value is a reference to where it is."""
    return value.startswith(("env:", "file:"))


def value_fault(value: str) -> str | None:
    """What is wrong with what a header is to say, not with a reference to it; None if nothing is."""
    if _VALUE.fullmatch(value):
        return None
    # A line break would end the header, and begin another one.
    return "must be 1 to 4096 printable ASCII characters, without a line break and without blanks at its ends"


def _url_fault(url: str, *, allow_http: bool) -> str | None:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return "is not a URL"
    if not parts.hostname:
        return "is not a URL: it names no host"
    if parts.scheme != "https" and not allow_http:
        return "must be an https:// URL; delivery.allow_http = true allows http:// too"
    return None


def _headers_fault(headers: Mapping[str, str], *, has_credentials: bool) -> tuple[str, str] | None:
    seen: set[str] = set()
    for name, value in headers.items():
        if not _NAME.fullmatch(name):
            return "headers", f"{name[:128]!r} is not the name of a header"
        field, low = f"headers.{name}", name.lower()
        if low in _RESERVED or low.startswith(_RESERVED_PREFIXES):
            return field, "is the gateway's own to set"
        if low in seen:
            return field, "is there twice: capitals make no difference"
        if low == "authorization" and has_credentials:
            return field, "url has a user already"
        seen.add(low)
        if is_reference(value):
            if not _REFERENCE.fullmatch(value):
                return field, "must be env:NAME or file:PATH where it begins so"
        elif why := value_fault(value):
            return field, why
    return None
