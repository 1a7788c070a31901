"""What is kept of commands is what the next owner goes on from."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.commands.accounts import Commanded
from gateway.commands.book import Book, now_ms
from gateway.commands.intake import Rejected
from gateway.commands.rights import check_rights
from gateway.commands.sealing import Vault
from gateway.commands.store import KeptCommand, command_part, encode
from gateway.config import AccountConfig, KeyConfig
from gateway.contract.commands import Originate, UpdateEmail
from gateway.contract.topics import Topics
from gateway.runtime.committer import Record
from gateway.runtime.shards import Handles

ACCOUNT = AccountConfig(id=1000, keys=(KeyConfig(key="env:K", password="env:P"),), daily_originates=2)
CALL = Originate(id="a", account=1000, user="400", num="74950001122")


def book(parts: dict[str, bytes]) -> Book:
    """The book of a shard of which these parts are kept."""
    none: Any = None
    return Book(Handles(0, none, Topics(), {1000: parts}), {1000: Commanded(ACCOUNT, (), Vault(["p"]))})


def kept(records: list[Record]) -> dict[str, bytes]:
    """The parts that these records keep."""
    state = [record for record in records if record.topic == Topics().poller_state.name]
    return {record.key.decode().partition("/")[2]: record.value for record in state if record.value is not None}


def test_the_calls_of_a_day_are_counted_through_a_restart() -> None:
    before = book({})
    parts = kept(before.admit(CALL, 1)) | kept(before.admit(msgspec.structs.replace(CALL, id="b"), 2))
    parts |= kept(before.admit(UpdateEmail(id="c", account=1000, user="400", mail="a@b.c"), 3))
    after = book(parts)
    assert before.originated_today(1000) == after.originated_today(1000) == 2
    with pytest.raises(Rejected, match="2 calls today"):
        check_rights(CALL, ACCOUNT, after.originated_today(1000))


def test_yesterdays_calls_are_not_todays() -> None:
    long_ago = now_ms() - 25 * 3600 * 1000
    parts = {command_part("a"): encode(KeptCommand("done", 2, long_ago, accepted_at=long_ago))}
    assert book(parts).originated_today(1000) == 0


def test_what_was_accepted_is_what_is_executed() -> None:
    after = book(kept(book({}).admit(CALL, 1)))
    (key,) = after.unfinished()
    assert after.command(key) == CALL
    assert [call.num for _, _, call in after.awaited(1000)] == [CALL.num]


def test_what_was_kept_before_calls_were_looked_out_for_is_still_read() -> None:
    whole = msgspec.msgpack.decode(encode(KeptCommand("done", 2, now_ms(), status="succeeded")))
    older = book({command_part("a"): msgspec.msgpack.encode(whole[:-1])})
    assert len([*older]) == 1
    assert [*older.awaited(1000)] == []
