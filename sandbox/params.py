"""What the URLs take: each parameter once, with the rule by which it is read and the words that describe it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.replies import ApiError


@dataclass(frozen=True, slots=True)
class Param:
    """A parameter of a query, of a POST's `params` or of a path, where its name stands as `<name>`.

    `pattern` is what the whole text has to match (empty: any text but the empty one), `rule` what a caller is told who
    sends another. `integers` are the bounds within which a JSON number is as good as its text, as JSON types are not
    documented; `(None, None)` is any, None is none. `refused` is the status for a path's part that names nothing.
    """

    name: str
    about: str
    example: str
    pattern: str = ""
    rule: str = ""
    integers: tuple[int | None, int | None] | None = None
    refused: int = 400

    def read(self, given: Mapping[str, Any]) -> str:
        """Its text among what was `given`; ApiError 400, which names it, when it is missing or wrong."""
        value: Any = given.get(self.name)
        # JSON makes no difference between 411 and 411.0.
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if whole and not isinstance(value, bool) and self.integers is not None:
            value = str(int(value))
        if not isinstance(value, str) or (not value and not self.pattern):
            raise ApiError(400, f"{self.name} is required")
        if self.pattern and re.fullmatch(self.pattern, value) is None:
            raise ApiError(400, self.rule)
        return value


DAYS = Param(
    "days", "How many days (of 24 h) to look back; 7 when left out.", "1", "[1-7]", "days is a number from 1 to 7"
)
NUM = Param(
    "num", "A telephone number.", "74950001122", r"\+?[0-9]{1,20}", "num is a telephone number", (0, 10**20 - 1)
)
USER = Param("user", "The user whose phone is rung first.", "400", integers=(None, None))
PASSWORD = Param("password", "The new password.", "s3cret", integers=(None, None))
EXTENSION = Param(
    "num", "The extension, unique in the account.", "450", "4[0-9][0-9]", "num has the form 4xx", (400, 499)
)
# White space is spelled out, as `\s` is not the same in every dialect that may read the description.
MAIL = Param("mail", "The mail address.", "a@b.example", r"[^@\x00-\x20\x7f]+@[^@\x00-\x20\x7f]+", "mail is an address")

PATH_PARAMS = {
    param.name: param
    for param in (
        Param("username", "The user's name.", "400"),
        Param("filename", "The name of a recording's file.", "20250303-120000-74950001122-400-1.wav", refused=404),
        Param("channel", "The name of a channel.", "SIP/400-00000004", refused=404),
        Param("id", "The number of the key's own account.", "1000", refused=403),
        Param("number", "A telephone number in E.164.", "+74950001122", r"\+?[1-9][0-9]{6,14}"),
    )
}
