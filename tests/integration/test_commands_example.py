"""The CRM of docs/commands.md: its 30 lines run, and tell what becomes of a call."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from gateway.commands.intake import read
from gateway.config import AccountConfig, CommandsConfig
from gateway.contract.commands import COMMAND_TYPES, CommandStatus
from gateway.dev.brokers import Broker
from tests.support.command_example import PAGE, example, run_example
from tests.support.gateway import Runs, run_on_each


@pytest.fixture(scope="module")
def runs(brokers: dict[str, Broker], tmp_path_factory: pytest.TempPathFactory) -> Runs[dict[str, list[str]]]:
    """The example on every broker."""
    return run_on_each(brokers, tmp_path_factory.mktemp("example"), example=run_example)


def test_the_example_tells_what_becomes_of_a_call(runs: Runs[dict[str, list[str]]], broker_name: str) -> None:
    said = runs.of(broker_name, "example")
    *rings, seen, code = [line for line in said["rings"] if "waits" not in line]
    assert rings == ["taken over", "RingCloud took it"]
    assert re.fullmatch("its events are those of call [0-9A-Z]{26}", seen)
    assert code == "exit 0"
    assert [line for line in said["refused"] if "waits" not in line] == [
        "taken over",
        "RingCloud: no such user",
        "exit 0",
    ]
    assert said["wrong"] == ["wrong: num account 4400 does not let it be dialled", "exit 0"]


def test_the_example_has_30_lines_and_handles_each_result() -> None:
    lines = [line for line in example().splitlines() if line.strip()]
    assert len(lines) <= 30
    for status in get_args(CommandStatus):
        assert f'"{status}": "' in example()


def test_every_command_is_shown_and_right() -> None:
    shown = re.findall(r'^\{"type".*?\}$', PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    read_ = [read(one.encode()) for one in shown]
    assert [one.__struct_config__.tag for one in read_] == list(COMMAND_TYPES)


def test_every_setting_is_told_of() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in ("allow", "dial", "daily_originates"):
        assert name in AccountConfig.__struct_fields__
        assert f"{name} = " in page
    for name in CommandsConfig.__struct_fields__:
        assert f"{name} = " in page
