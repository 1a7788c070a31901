"""The filters and the thin body that docs/webhooks.md shows are right."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from gateway.contract.events import CallEvent
from gateway.contract.filters import Filter
from gateway.contract.thin import thin
from tests.unit.schemas.blocks import examples_in

TEXT = (Path(__file__).parents[3] / "docs" / "webhooks.md").read_text(encoding="utf-8")
EVENTS = [event for event in examples_in("events.md") if event["type"].startswith("call.")]


def test_the_filters_shown_take_some_events_and_leave_others_out() -> None:
    shown = [tomllib.loads(line)["filter"] for line in re.findall(r"^filter = .*$", TEXT, re.MULTILINE)]
    assert len(shown) > 2
    long: dict[str, Any] = {**EVENTS[0], "data": {**EVENTS[0]["data"], "src": "402", "duration": 61}}
    corrected: dict[str, Any] = {**EVENTS[0], "type": "call.updated"}
    corrected["data"] = {**corrected["data"], "changed": ["disposition"]}
    for expression in shown:
        answers = {Filter(expression).matches(event) for event in [*EVENTS, long, corrected]}
        assert answers == {True, False}, expression


def test_the_thin_body_shown_is_that_of_an_event() -> None:
    (shown,) = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)]
    full = {**EVENTS[0], **shown, "data": {**EVENTS[0]["data"], **shown["data"]}}
    assert json.loads(msgspec.json.encode(thin(msgspec.convert(full, CallEvent)))) == shown
