"""Reads the API's times: local `YYYY-MM-DD HH:MM:SS`, ISO 8601 or epoch seconds; which of these is not documented."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import msgspec

from gateway.contract.times import Ms

Number = int | float | str

# What lies outside is no time of a call but something else read as one, epoch milliseconds for instance.
FIRST_YEAR, LAST_YEAR = 1970, 2200
_LAST_SECOND = int(datetime(LAST_YEAR, 1, 1, tzinfo=UTC).timestamp())
# Minutes that a zone's reader remembers, about 4 MB: a week of them is 10,080.
_KNOWN_MINUTES = 20_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_SECONDS: dict[str, Ms] = {f":{second:02}": second * 1000 for second in range(60)}
_LOCAL = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):([0-5]\d)", re.ASCII)
_DECIMAL = re.compile(r"\d{1,12}(\.\d{1,9})?", re.ASCII)


class WallTime(msgspec.Struct, frozen=True, gc=False):
    """An instant as a wall clock tells it, in ms UTC. The two differ only where the clock is turned back (the time
    comes twice) or forward (it never comes, and is read by the clock before the change and by the one after)."""

    earliest: Ms
    latest: Ms


class TimeReader:
    """Reads times whose zone, where they name none, is `zone`. Remembers whole minutes: most rows share them."""

    def __init__(self, zone: ZoneInfo) -> None:
        self._zone = zone
        self._minutes: dict[str, tuple[Ms, Ms]] = {}

    def read(self, value: Number) -> WallTime:
        """The instant that `value` means. Raises ValueError where it is none of the known forms."""
        if not isinstance(value, str):
            return _read_epoch(value)
        # `YYYY-MM-DD HH:MM` and `:SS`. Offsets from UTC have changed on whole minutes only since 1972.
        try:
            earliest, latest = self._minutes[value[:16]]
            second = _SECONDS[value[16:]]
        except KeyError:
            return self._read_text(value.strip())
        return WallTime(earliest + second, latest + second)

    def read_all(self, values: Iterable[str]) -> list[WallTime]:
        """The instants that these mean, as `read()` has them: for the many of a long list."""
        minutes, seconds = self._minutes, _SECONDS
        found = []
        for value in values:
            try:
                earliest, latest = minutes[value[:16]]
                second = seconds[value[16:]]
            except KeyError:
                found.append(self.read(value))
            else:
                found.append(WallTime(earliest + second, latest + second))
        return found

    def _read_text(self, text: str) -> WallTime:
        if (match := _LOCAL.fullmatch(text)) is not None:
            year, month, day, hour, minute, second = map(int, match.groups())
            found = self._place(datetime(year, month, day, hour, minute))  # noqa: DTZ001 - the zone is placed there
            if len(self._minutes) >= _KNOWN_MINUTES:
                self._minutes.clear()
            self._minutes[text[:16]] = found
            return WallTime(*(at + second * 1000 for at in found))
        if _DECIMAL.fullmatch(text):
            return _read_epoch(float(text) if "." in text else int(text))
        if len(text) < 12:  # a date alone is no time
            raise ValueError("not a time")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("not a time") from None
        return WallTime(*self._place(moment))

    def _place(self, moment: datetime) -> tuple[Ms, Ms]:
        if not FIRST_YEAR <= moment.year < LAST_YEAR:
            raise ValueError("not a time of this age")
        if moment.tzinfo is not None:
            at = _millis(moment)
            return at, at
        first, second = (_millis(moment.replace(tzinfo=self._zone, fold=fold)) for fold in (0, 1))
        return min(first, second), max(first, second)


@lru_cache(maxsize=128)
def reader_of(zone: ZoneInfo) -> TimeReader:
    """The reader of a zone, the same each time."""
    return TimeReader(zone)


def _read_epoch(value: float) -> WallTime:
    if not 0 <= value < _LAST_SECOND:
        raise ValueError("not epoch seconds of this age")
    at = value * 1000 if isinstance(value, int) else int(value * 1000)
    return WallTime(at, at)


def _millis(moment: datetime) -> Ms:
    return (moment - _EPOCH) // _MILLISECOND
