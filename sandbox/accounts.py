"""The users of an account, and how their phones behave."""

import random
from typing import Literal

import msgspec

# What the phone's owner does when the system rings it for an origination.
Habit = Literal["answers", "refuses", "silent"]


class User(msgspec.Struct):
    """A user as `GET /v1/users/<username>` shows it; `num` is the extension, `password` that of the SIP phone."""

    account_id: int
    num: str
    user: str
    voice_mail_box: str
    mail: str
    password: str

    def __repr__(self) -> str:
        return f"User(account_id={self.account_id}, num={self.num!r}, user={self.user!r})"


class Phone(msgspec.Struct):
    """The phone of a user: connected by SIP or not, and what its owner does when it rings for an origination."""

    registered: bool = True
    habit: Habit = "answers"


def make_users(account: int, count: int, seed: int) -> dict[str, User]:
    """`count` users of an account by name, extensions from 400; the same seed gives the same passwords."""
    rng = random.Random(f"{seed}/{account}/users")  # noqa: S311 - passwords of phones that do not exist
    users: dict[str, User] = {}
    for extension in map(str, range(400, 400 + count)):
        users[extension] = User(
            account_id=account,
            num=extension,
            user=extension,
            voice_mail_box=rng.choice(("on", "off")),
            mail=f"{extension}@account{account}.example",
            password=f"{rng.getrandbits(64):016x}",
        )
    return users
