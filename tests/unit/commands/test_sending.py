"""What is on the wire as a shard is given up: it is waited for, for a while, and nothing is sent any more."""

import asyncio

import pytest

from gateway.commands.sending import Sending


async def test_with_nothing_on_the_wire_nothing_is_waited_for() -> None:
    await asyncio.wait_for(Sending().close(3600), 5)
    sending = Sending()
    await sending.begin()
    sending.end()
    await asyncio.wait_for(sending.close(3600), 5)


async def test_it_is_waited_until_the_last_one_is_written_down() -> None:
    sending = Sending()
    await sending.begin()
    await sending.begin()
    closing = asyncio.create_task(sending.close(3600))
    await asyncio.sleep(0)
    sending.end()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not closing.done()
    sending.end()
    await asyncio.wait_for(closing, 5)


async def test_what_is_never_answered_is_waited_for_no_longer_than_that() -> None:
    sending = Sending()
    await sending.begin()
    await asyncio.wait_for(sending.close(0.01), 5)


async def test_nothing_is_sent_any_more() -> None:
    sending = Sending()
    await sending.close(1)
    late = asyncio.create_task(sending.begin())
    for _ in range(5):
        await asyncio.sleep(0)
    assert not late.done()
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
