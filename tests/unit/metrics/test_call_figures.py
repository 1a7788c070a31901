"""Calls counted from their events, against a count by hand."""

from typing import Any

import msgspec
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from gateway.contract.events import CallEventType, Evidence
from streams.call_figures import CallFigures
from tests.unit.contract.events import ONE

CALL = "01HF7YAT00000000000000000A"


class Counted:
    """Figures, and what they are told."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._figures = CallFigures(self.registry)

    def tell(self, type_: CallEventType, **data: Any) -> None:
        """Tell of an event of account 7."""
        facts = msgspec.structs.replace(ONE.data, account=7, **data)
        self._figures.event(msgspec.structs.replace(ONE, type=type_, data=facts))

    def of(self, name: str, **labels: str) -> float | None:
        """A sample of account 7."""
        return self.registry.get_sample_value(f"ringcloud_{name}", {"account": "7", **labels})


def test_an_answered_call_seen_live_has_its_direction_at_its_end() -> None:
    seen = Counted()
    seen.tell("call.started", direction=None, evidence=Evidence.ACTIVE)
    seen.tell("call.answered", direction="incoming", evidence=Evidence.COMPLETE, answered=True)
    end = {"direction": "incoming", "disposition": "ANSWERED", "duration": 65, "answered": True}
    seen.tell("call.ended", evidence=Evidence.COMPLETE, **end)
    assert seen.of("calls_started_total", direction="unknown") == 1
    assert seen.of("calls_answered_total", direction="incoming") == 1
    assert seen.of("calls_ended_total", direction="incoming", disposition="ANSWERED") == 1
    assert seen.of("answered_call_seconds_total", direction="incoming") == 65
    assert seen.of("calls_unobserved_total") == 0
    buckets = {
        limit: seen.registry.get_sample_value(
            "ringcloud_answered_call_duration_seconds_bucket", {"direction": "incoming", "le": limit}
        )
        for limit in ("60.0", "120.0")
    }
    assert buckets == {"60.0": 0, "120.0": 1}


def test_a_call_that_nobody_answered_adds_no_duration() -> None:
    seen = Counted()
    seen.tell("call.ended", direction="incoming", disposition="NO ANSWER", duration=30, answered=False)
    assert seen.of("calls_ended_total", direction="incoming", disposition="NO ANSWER") == 1
    assert seen.of("answered_call_seconds_total", direction="incoming") == 0


def test_calls_that_only_the_completed_list_told_of_are_counted_as_unobserved() -> None:
    seen = Counted()
    seen.tell("call.started", direction="outgoing", evidence=Evidence.COMPLETE)
    seen.tell("call.started", direction=None, evidence=Evidence.CHANNELS)
    assert seen.of("calls_unobserved_total") == 1
    assert seen.of("calls_started_total", direction="outgoing") == 1


def test_absence_ambiguity_and_changes_are_counted_once_a_call() -> None:
    seen = Counted()
    seen.tell("call.started", ambiguous=True, evidence=Evidence.ACTIVE)
    seen.tell("call.ended", ambiguous=True, evidence=Evidence.ABSENCE, direction=None, disposition=None)
    seen.tell("call.updated", ambiguous=True, evidence=Evidence.COMPLETE, direction="incoming")
    assert seen.of("calls_ambiguous_total") == 1
    assert seen.of("calls_absent_total") == 1
    assert seen.of("calls_ended_total", direction="unknown", disposition="unknown") == 1
    assert seen.of("calls_updated_total") == 1


def test_a_duration_carries_its_call_as_exemplar_and_no_number() -> None:
    seen = Counted()
    facts = {"direction": "incoming", "disposition": "ANSWERED", "duration": 65, "answered": True}
    seen.tell("call.ended", call_id=CALL, src="74951234567", **facts)
    text = generate_latest(seen.registry).decode()
    assert f'# {{call_id="{CALL}"}} 65.0' in text
    assert "74951234567" not in text
    # An id that is longer than an exemplar may be costs the exemplar, not the event.
    seen.tell("call.ended", call_id="x" * 200, **facts)
    assert seen.of("calls_ended_total", direction="incoming", disposition="ANSWERED") == 2
