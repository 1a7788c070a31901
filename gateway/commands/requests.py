"""What each command asks of RingCloud: its URL, the lane whose order it keeps, and whether it may be asked twice."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from typing import assert_never

import msgspec

from gateway.commands.rights import digits_of
from gateway.contract.commands import (
    Command,
    CreateUser,
    Originate,
    UpdateEmail,
    UpdateExtensionNumber,
    UpdatePassword,
    VoiceMailBoxOff,
    VoiceMailBoxOn,
)
from gateway.ringcloud import RingCloud, limits
from gateway.ringcloud.limits import Operation
from gateway.ringcloud.session import Sending

# Sends the command once at most; the name of the user that it made, where it makes one.
Send = Callable[[RingCloud, Sending], Awaitable[str | None]]


class Request(msgspec.Struct, frozen=True):
    """A command as a request. `lane` names the order that it keeps within its account.

    `repeatable`: to ask again for what was done changes nothing. `target` is a digest of what it is about.
    """

    operation: Operation
    names: tuple[str, ...]
    lane: tuple[str, ...]
    repeatable: bool
    send: Send
    target: bytes = b""


def password_of(command: Command) -> str | None:
    """The password that a command carries, sealed or not."""
    return command.password if isinstance(command, CreateUser | UpdatePassword) else None


def target_of(command: Command) -> bytes:
    """A digest of whom and what an originate dials, or of the user that is created. Empty for what may be repeated."""
    if isinstance(command, Originate):
        about = ["call", command.user, digits_of(command.num)]
    elif isinstance(command, CreateUser):
        about = ["user", command.num, command.mail]
    else:
        return b""
    return hashlib.blake2b(msgspec.json.encode(about), digest_size=8).digest()


def request_of(command: Command, password: str = "") -> Request:
    """The request that a command is; `password` is its own, opened."""
    match command:
        case Originate(user=user, num=num):

            async def originate(api: RingCloud, sending: Sending) -> None:
                await api.originate(user, num, **sending)

            return _once(limits.ORIGINATE, originate, target_of(command))
        case CreateUser(num=num, mail=mail):

            async def create(api: RingCloud, sending: Sending) -> str:
                return await api.create_user(password, num, mail, **sending)

            return _once(limits.CREATE_USER, create, target_of(command))
        case UpdatePassword(user=user):
            return _change(limits.UPDATE_PASSWORD, user, lambda api, how: api.update_password(user, password, **how))
        case UpdateExtensionNumber(user=user, num=num):
            return _change(
                limits.UPDATE_EXTENSION_NUMBER, user, lambda api, how: api.update_extension_number(user, num, **how)
            )
        case UpdateEmail(user=user, mail=mail):
            return _change(limits.UPDATE_EMAIL, user, lambda api, how: api.update_email(user, mail, **how))
        # Two URLs of one thing: the order between them matters, so they share a lane here.
        case VoiceMailBoxOn(user=user):
            return _change(
                limits.VOICE_MAIL_BOX_ON, user, lambda api, how: api.voice_mail_box_on(user, **how), "voice_mail_box"
            )
        case VoiceMailBoxOff(user=user):
            return _change(
                limits.VOICE_MAIL_BOX_OFF, user, lambda api, how: api.voice_mail_box_off(user, **how), "voice_mail_box"
            )
        case _:
            assert_never(command)


def _once(operation: Operation, send: Send, target: bytes) -> Request:
    return Request(operation, (), (operation.template,), repeatable=False, send=send, target=target)


def _change(
    operation: Operation, user: str, change: Callable[[RingCloud, Sending], Awaitable[None]], what: str = ""
) -> Request:
    async def send(api: RingCloud, sending: Sending) -> None:
        await change(api, sending)

    return Request(operation, (user,), (what or operation.template, user), repeatable=True, send=send)
