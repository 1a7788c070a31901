"""The client of the RingCloud API: a coroutine for each URL, over a pool and a limiter that many accounts share."""

from __future__ import annotations

from decimal import Decimal
from typing import Unpack

from gateway.ringcloud import limits
from gateway.ringcloud.calls import Calls
from gateway.ringcloud.recordings import Recordings
from gateway.ringcloud.resources import PhoneNumber, decode_balance, decode_phone_number
from gateway.ringcloud.session import Reading
from gateway.ringcloud.users import Users


class RingCloud(Calls, Users, Recordings):
    """A key of an account, and what can be asked with it.

        async with RingCloud(key, password) as api:
            await api.originate(user="400", num="74950001122")

    All coroutines wait for the limiter first. They take a `priority` (commands before polls in the same lane) and a
    `deadline` for being sent, in the limiter's time (`api.now()` plus seconds), and raise the errors of
    `gateway.ringcloud.errors` and no others. A change is sent once at most, and so is a poll by `fetch_…`; every other
    read is repeated up to `read_retries` times after a broken connection or a 5xx, each time in its turn.

    Without `http` or `limiter` it has its own; those handed in are shared and not closed.
    """

    async def balance(self, account_id: int, **reading: Unpack[Reading]) -> Decimal:
        """An account's balance; `account_id` is the number that its keys begin with. In which currency is not said."""
        return await self._get(decode_balance, limits.BALANCE, str(account_id), **reading)

    async def phone_number(self, number: str, **reading: Unpack[Reading]) -> PhoneNumber:
        """What is known of a telephone number in E.164, sent as it is given."""
        return await self._get(decode_phone_number, limits.PHONE_NUMBER, number, **reading)
