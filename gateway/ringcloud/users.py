"""What can be asked about the users of an account, and changed in them."""

from __future__ import annotations

from typing import Unpack

from gateway.ringcloud import limits
from gateway.ringcloud.limits import Operation
from gateway.ringcloud.resources import User, decode_done, decode_name, decode_user, decode_users
from gateway.ringcloud.session import Reading, Sending, Session


class Users(Session):
    """The URLs under `/v1/users`, recordings apart. Each change is sent once at most; `user` is a user's name."""

    async def users(self, **reading: Unpack[Reading]) -> list[User]:
        """The account's users."""
        return await self._get(decode_users, limits.USERS, **reading)

    async def user(self, name: str, **reading: Unpack[Reading]) -> User:
        """One user. Raises BadParameters where there is none of this name."""
        return await self._get(decode_user, limits.USER, name, **reading)

    async def create_user(self, password: str, num: str, mail: str, **sending: Unpack[Sending]) -> str:
        """Create a user with the extension number `num`. Returns the new user's name.

        Raises BadParameters where RingCloud does not take one of the three, an EnvelopeError (with `maybe_done`) where
        it may have made a user and does not say which.
        """
        params = {"password": password, "num": num, "mail": mail}
        got = await self._ask(limits.CREATE_USER, params=params, hidden=(password,), **sending)
        return self._read(got, decode_name, password)

    async def update_password(self, user: str, password: str, **sending: Unpack[Sending]) -> None:
        """Change a user's password. Raises BadParameters where the user or the password is none."""
        got = await self._ask(
            limits.UPDATE_PASSWORD, user, params={"password": password}, hidden=(password,), **sending
        )
        self._read(got, decode_done, password)

    async def update_extension_number(self, user: str, num: str, **sending: Unpack[Sending]) -> None:
        """Change a user's extension number. Raises BadParameters where it is not of the form 4xx, or is taken."""
        await self._change(limits.UPDATE_EXTENSION_NUMBER, user, {"num": num}, **sending)

    async def update_email(self, user: str, mail: str, **sending: Unpack[Sending]) -> None:
        """Change a user's e-mail address. Raises BadParameters where the user or the address is none."""
        await self._change(limits.UPDATE_EMAIL, user, {"mail": mail}, **sending)

    async def voice_mail_box_on(self, user: str, **sending: Unpack[Sending]) -> None:
        """Switch a user's voice mail box on. Raises BadParameters where the user is none."""
        await self._change(limits.VOICE_MAIL_BOX_ON, user, {}, **sending)

    async def voice_mail_box_off(self, user: str, **sending: Unpack[Sending]) -> None:
        """Switch a user's voice mail box off. Raises BadParameters where the user is none."""
        await self._change(limits.VOICE_MAIL_BOX_OFF, user, {}, **sending)

    async def _change(
        self, operation: Operation, user: str, params: dict[str, str], **sending: Unpack[Sending]
    ) -> None:
        self._read(await self._ask(operation, user, params=params, **sending), decode_done)
