"""What is known of a telephone number: a small table in place of the numbering plan of the world."""

import re

import msgspec

_E164 = re.compile(r"\+?([1-9]\d{6,14})", re.ASCII)


class NumberInfo(msgspec.Struct, frozen=True):
    """Where a number belongs; None where the table does not know."""

    country: str | None
    region: str | None = None
    operator: str | None = None


# The longest prefix that fits wins.
_PREFIXES = {
    "1": NumberInfo("United States"),
    "44": NumberInfo("United Kingdom"),
    "49": NumberInfo("Germany"),
    "7": NumberInfo("Russia"),
    "7495": NumberInfo("Russia", "Moscow", "MGTS"),
    "7499": NumberInfo("Russia", "Moscow", "MGTS"),
    "7812": NumberInfo("Russia", "Saint Petersburg", "Rostelecom"),
    "7903": NumberInfo("Russia", None, "Beeline"),
    "7916": NumberInfo("Russia", "Moscow", "MTS"),
    "7925": NumberInfo("Russia", "Moscow", "MegaFon"),
}


def look_up(number: str) -> NumberInfo:
    """What is known of an E.164 number, with or without its `+`; ValueError when it is none."""
    match = _E164.fullmatch(number)
    if match is None:
        raise ValueError("not an E.164 number")
    digits = match[1]
    fitting = [prefix for prefix in _PREFIXES if digits.startswith(prefix)]
    return _PREFIXES[max(fitting, key=len)] if fitting else NumberInfo(None)
