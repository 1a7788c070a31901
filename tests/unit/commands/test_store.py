"""What is kept of commands comes back, and only of commands."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.commands.store import KeptCommand, command_part, encode, load
from gateway.contract.commands import COMMAND_TYPES

kept_commands = st.builds(
    KeptCommand,
    phase=st.sampled_from(["accepted", "sending", "unknown", "done"]),
    sequence=st.integers(0, 100),
    at=st.integers(0, 2**45),
    raw=st.binary(max_size=50),
    offset=st.integers(0, 2**40),
    type=st.sampled_from(COMMAND_TYPES),
    accepted_at=st.integers(0, 2**45),
    sent_at=st.integers(0, 2**45),
    target=st.binary(max_size=8),
    reply_to=st.none() | st.text(max_size=20),
)
ids = st.from_regex(r"[A-Za-z0-9_:-]{1,128}", fullmatch=True)


@given(st.dictionaries(ids, kept_commands, max_size=6))
def test_what_was_kept_is_loaded_in_the_order_in_which_it_came(commands: dict[str, KeptCommand]) -> None:
    loaded = load({command_part(id_): encode(kept) for id_, kept in commands.items()})
    assert loaded == commands
    offsets = [kept.offset for kept in loaded.values()]
    assert offsets == sorted(offsets)


def test_parts_of_other_owners_are_ignored() -> None:
    assert load({"mark": b"\xff", "live/A": b"", "done/1": b"\x00"}) == {}


def test_bytes_that_are_no_command_are_told() -> None:
    with pytest.raises(msgspec.MsgspecError):
        load({command_part("a"): b"\xff"})
