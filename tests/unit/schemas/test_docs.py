"""The examples in docs/events.md: they fit the schemas, and are what the gateway writes."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.schemas import stories
from tests.unit.schemas.blocks import block_of, examples_in
from tests.unit.schemas.judge import json_of, judge_of

EXAMPLES = examples_in("events.md")
LIFE = stories.a_call()
TOLD = [*LIFE, *stories.a_call_without_a_row()[2:], *stories.an_outage(), *stories.a_long_downtime()]
TOLD += stories.an_endpoint_that_was_gone()


def test_every_type_has_an_example() -> None:
    assert {example["type"] for example in EXAMPLES} == {
        "call.started",
        "call.answered",
        "call.ended",
        "call.updated",
        "gap.detected",
        "account.degraded",
        "account.recovered",
        "endpoint.disabled",
        "endpoint.enabled",
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example["id"])
def test_an_example_fits_its_schema(example: dict[str, Any]) -> None:
    judge_of("call-event" if example["type"].startswith("call.") else "gateway-event").validate(example)


def test_the_examples_are_what_the_gateway_writes() -> None:
    assert len(EXAMPLES) == len(TOLD)
    for example, event in zip(EXAMPLES, TOLD, strict=True):
        right = json_of(event)
        assert example == right, f"docs/events.md has it otherwise; the gateway writes:\n{block_of(right)}"
