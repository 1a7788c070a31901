"""What each command is as a request: its URL and pace as announced, its lane, and whether it may be repeated."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.commands.requests import request_of, target_of
from gateway.contract.commands import Command, Originate
from tests.unit.commands.test_intake import EACH

# As RingCloud announces it: path, seconds between two.
ANNOUNCED = {
    "call.originate": ("/v1/calls", 5),
    "user.create": ("/v1/users/create", 60),
    "user.update_password": ("/v1/users/anna/update_password", 1),
    "user.update_extension_number": ("/v1/users/anna/update_extension_number", 5),
    "user.update_email": ("/v1/users/anna/update_email", 5),
    "user.voice_mail_box_on": ("/v1/users/anna/voice_mail_box_on", 5),
    "user.voice_mail_box_off": ("/v1/users/anna/voice_mail_box_off", 5),
}
ONCE = ("call.originate", "user.create")


def command(given: dict[str, Any], **changes: Any) -> Command:
    found: Command = msgspec.convert({**given, **changes}, Command)
    return found


@pytest.mark.parametrize("given", EACH, ids=lambda given: given["type"])
def test_each_is_what_ringcloud_announces(given: dict[str, Any]) -> None:
    request = request_of(command(given))
    path, interval = ANNOUNCED[given["type"]]
    assert (request.operation.path(*request.names), request.operation.interval) == (path, interval)
    assert request.operation.method == "POST"
    assert request.repeatable == (given["type"] not in ONCE)
    assert bool(request.target) == (given["type"] in ONCE)


def test_a_lane_is_a_thing_that_is_changed() -> None:
    lanes = {given["type"]: request_of(command(given)).lane for given in EACH}
    assert lanes["user.voice_mail_box_on"] == lanes["user.voice_mail_box_off"]
    assert len(set(lanes.values())) == len(EACH) - 1
    mails = [request_of(command(EACH[4], user=user, mail=f"{user}@b.c")).lane for user in ("anna", "boris")]
    assert len(set(mails)) == 2
    assert request_of(command(EACH[0], user="boris")).lane == lanes["call.originate"]


def test_a_target_is_whom_and_what_however_it_is_written() -> None:
    def target(**changes: str) -> bytes:
        return target_of(Originate(**{"id": "a", "account": 1, "user": "anna", "num": "74950001122", **changes}))

    assert target() == target(num="+74950001122") == target(num="84950001122") == target(id="b")
    assert len({target(), target(user="boris"), target(num="74950001133")}) == 3
