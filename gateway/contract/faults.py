"""Says what is wrong with a document that does not fit a struct: the field, and the reason in words for people."""

from __future__ import annotations

import re

import msgspec

# What a document says is repeated in errors only up to here: it may be long.
_LONGEST = 200
# Part of a pattern, as msgspec repeats it, and what it asks for.
_FORMS = (
    ("^(env:", "must be env:NAME or file:PATH"),
    ("^file:", "must be file:PATH"),
    ("^https?://", "must be an http:// or https:// URL"),
    ("^[^:]*:[0-9]", "must be HOST:PORT or :PORT"),
    ("[0-9*#]{1,32}", "must be a number to dial: up to 32 digits, * and #, with a + before them at most"),
    ("ufeff]{1,64}$(?!", "must be a number, or how one begins and a *: 64 characters at most, none of them blank"),
    ("^[a-z0-9_-]", "must be 1 to 64 lower-case letters, digits, _ and -"),
    ("^[A-Za-z0-9_:-]", "must be letters, digits, _, : and -"),
    ("^[A-Za-z0-9._-]", "must be letters, digits, ., _ and -"),
)


def fault(error: msgspec.ValidationError) -> tuple[str, str]:
    """The field (`accounts[0].id`; empty for the document as a whole) and what is wrong with it.

    The text never repeats a value but one that was to name a kind of thing.
    """
    what, _, where = str(error).rpartition(" - at `")
    if not what:
        what, where = str(error), ""
    field = where.removesuffix("`").removeprefix("$").lstrip(".")
    named = re.search(r"(missing required|unknown) field `([^`]*)`", what)
    if named:
        inner = f"{field}.{named[2][:_LONGEST]}".lstrip(".")
        return inner, "is missing" if named[1].startswith("missing") else "is not known"
    if checked := re.fullmatch(r"`([a-z_]+)`: (.*)", what, re.DOTALL):  # by the struct itself
        return f"{field}.{checked[1]}".lstrip("."), checked[2][:_LONGEST]
    if "matching regex" in what:
        what = next((words for part, words in _FORMS if part in what), "has a wrong form")
    if what.startswith("Invalid value '"):
        what = f"there is no {what.removeprefix('Invalid value ')}"
    return field, what[:_LONGEST]
