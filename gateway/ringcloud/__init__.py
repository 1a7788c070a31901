"""Typed async client of the RingCloud API: its calls, their errors, its per-URL limiter. Knows nothing of Kafka."""

from gateway.ringcloud.calls import Answer
from gateway.ringcloud.client import RingCloud
from gateway.ringcloud.clock import Clock, LoopClock
from gateway.ringcloud.errors import (
    AuthenticationError,
    BadParameters,
    DeadlineExceeded,
    EnvelopeError,
    MethodNotAllowed,
    NotFound,
    RateLimited,
    ResponseTooLarge,
    RingCloudError,
    RowError,
    ServerError,
    StatusError,
    TransportError,
    UnexpectedStatus,
)
from gateway.ringcloud.http import Flight, Http
from gateway.ringcloud.limiter import Limiter
from gateway.ringcloud.resources import Channel, PhoneNumber, Recording, User
from gateway.ringcloud.rows import ActiveRow, CompletedRow, decode_active, decode_completed
from gateway.ringcloud.times import WallTime
from gateway.ringcloud.turns import Lane, Observer, Priority

__all__ = [
    "ActiveRow",
    "Answer",
    "AuthenticationError",
    "BadParameters",
    "Channel",
    "Clock",
    "CompletedRow",
    "DeadlineExceeded",
    "EnvelopeError",
    "Flight",
    "Http",
    "Lane",
    "Limiter",
    "LoopClock",
    "MethodNotAllowed",
    "NotFound",
    "Observer",
    "PhoneNumber",
    "Priority",
    "RateLimited",
    "Recording",
    "ResponseTooLarge",
    "RingCloud",
    "RingCloudError",
    "RowError",
    "ServerError",
    "StatusError",
    "TransportError",
    "UnexpectedStatus",
    "User",
    "WallTime",
    "decode_active",
    "decode_completed",
]
