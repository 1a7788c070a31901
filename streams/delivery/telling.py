"""What the log tells of deliveries: of which call they are, for whom, and which attempt; no number, URL or body."""

from __future__ import annotations

from typing import Any

import structlog

from gateway.contract.deliveries import Attempt, Delivery

_log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


def attempt_failed(delivery: Delivery, attempt: Attempt, given_up: str | None) -> None:
    """Tell of an attempt that failed and, with a reason, that it was the delivery's last."""
    log = _log.bind(**_known(delivery), attempt=attempt.number)
    log.info("an attempt failed", outcome=attempt.outcome, status=attempt.status)
    if given_up is not None:
        log.warning("a delivery was given up", reason=given_up)


def record_given_up(topic: str, offset: int, reason: str, delivery: Delivery | None) -> None:
    """Tell of a record that was given up without an attempt; None: it could not be read as a delivery."""
    known = {} if delivery is None else _known(delivery)
    _log.warning("a record was given up", topic=topic, offset=offset, reason=reason, **known)


def _known(delivery: Delivery) -> dict[str, Any]:
    return {
        "account": delivery.account,
        "call_id": delivery.call_id,
        "endpoint": delivery.endpoint,
        "delivery": delivery.id,
    }
