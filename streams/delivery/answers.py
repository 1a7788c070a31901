"""What is kept of a receiver's answer: bounded, as text, and with nothing in it that the gateway keeps secret."""

from __future__ import annotations

import base64
import binascii
import functools
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from urllib.parse import quote

from yarl import URL

REDACTED = "[redacted]"
BODY_KEPT = 1024  # bytes
# Read before it is cut, so that no secret is cut in two and passes for something else.
BODY_SEEN = 16 * 1024
HEADERS_KEPT = 32
HEADER_KEPT = 256  # characters
_LONGEST_NAME = 64

# Shorter ones are no secrets, and to strike them out would leave nothing that can be read.
_SHORTEST = 6
# In a URL's path only what is this long is taken for a token.
_SHORTEST_SEGMENT = 16
_TELLING = re.compile("auth|cookie|token|secret|signature|passw|credential|api-?key|session|csrf|jwt")
# Our own signatures, as JSON, HTML and URLs write them too.
_SIGNATURE = re.compile(r"v1a?(?:,|%2[Cc]|&#44;|\\u002[Cc])[A-Za-z0-9+/=\\%&#;]{20,}")


class Redactor:
    """Strikes out what is secret, wherever a receiver repeats it."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Take the secrets. Each is known again as it is, in its parts (`Bearer …`), and as JSON, HTML and URLs write it."""
        forms = {form for secret in secrets for part in _parts(secret) for form in _forms(part)}
        longest_first = sorted(forms, key=len, reverse=True)
        self.longest = len(longest_first[0]) if longest_first else 0
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def __call__(self, text: str) -> str:
        """`text` without secrets and signatures."""
        if self._known is not None:
            text = self._known.sub(REDACTED, text)
        return _SIGNATURE.sub(REDACTED, text)


def secrets_of(url: URL) -> Iterator[str]:
    """What may be secret in an endpoint's URL: user and password, its path and query as a whole, values, long segments."""
    if url.user is not None:
        yield f"{url.user}:{url.password or ''}"
        yield base64.b64encode(f"{url.user}:{url.password or ''}".encode()).decode()
    yield from filter(None, (url.user, url.password, url.raw_query_string, url.query_string))
    if url.raw_query_string:
        yield url.raw_path_qs
    yield from url.query.values()
    yield from (segment for segment in url.parts if len(segment) >= _SHORTEST_SEGMENT)


def kept_headers(headers: Mapping[str, str], redact: Redactor) -> dict[str, str]:
    """An answer's headers, without those that carry secrets of the receiver's; names in lower case."""
    kept: dict[str, str] = {}
    for name, value in headers.items():
        known = _name(name)
        if known is None:
            continue
        if known == "location":
            value = value.partition("?")[0]
        if known in kept:
            value = f"{kept[known]}, {value}"
        elif len(kept) == HEADERS_KEPT:
            break
        kept[known] = value
    said = "\n".join(kept.values())
    if said.isascii() and redact(said) == said:
        # As nearly always: one look at all of them is cheaper than one at each.
        return kept if len(said) <= HEADER_KEPT else {name: value[:HEADER_KEPT] for name, value in kept.items()}
    return {name: redact(_text(value))[:HEADER_KEPT] for name, value in kept.items()}


def kept_body(body: bytes, redact: Redactor) -> str:
    """The first KiB of an answer's body; of `body` no more than `BODY_SEEN` bytes count."""
    if not body:
        return ""
    text = redact(body[:BODY_SEEN].decode(errors="replace"))
    if len(body) > BODY_SEEN:
        # The end may be a part of a secret; where much was struck out, it is within what is kept.
        last = text.rfind(REDACTED)
        text = text[: max(last + len(REDACTED) if last >= 0 else 0, len(text) - redact.longest)]
    if len(text) <= BODY_KEPT and text.isascii():
        return text
    return text.encode()[:BODY_KEPT].decode(errors="ignore")


@functools.lru_cache(maxsize=1024)
def _name(name: str) -> str | None:
    """A header's name in lower case; None where what it says is not kept."""
    low = name.lower()
    if len(low) > _LONGEST_NAME or not low.isascii() or _TELLING.search(low):
        return None
    return low


def _text(value: str) -> str:
    # What is not UTF-8 in a header comes as lone surrogates, which can't be written.
    return value if value.isascii() else value.encode(errors="surrogateescape").decode(errors="replace")


def _parts(secret: str) -> Iterator[str]:
    """The whole, each word of it, and what stands behind `Basic`."""
    for part in {secret, *secret.split()}:
        yield part
        try:
            user, separator, password = base64.b64decode(part, validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            continue
        if separator:
            yield from (f"{user}:{password}", password)


def _forms(secret: str) -> Iterator[str]:
    if len(secret) < _SHORTEST:
        return
    escaped = json.dumps(secret)[1:-1]
    yield from (
        secret,
        escaped,
        escaped.replace("/", "\\/"),
        quote(secret),
        quote(secret, safe=""),
        html.escape(secret),
    )
